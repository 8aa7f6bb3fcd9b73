"""A worker as it announced itself, ours or rq's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from aiorq2.backends.base import JobRecord
from aiorq2.backends.keys import Keys
from aiorq2.backends.line import Command
from aiorq2.backends.wire import fields_of


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker as it announced itself, and the runs that stand under its name as ``<job>:<execution>``. The names are RQ's."""

    name: str
    key: str
    hostname: str
    ip_address: str
    pid: int | None
    version: str
    python_version: str
    state: str
    queues: tuple[str, ...]
    birth_date: datetime | None
    last_heartbeat: datetime | None
    successful_job_count: int
    failed_job_count: int
    total_working_time: float
    """In seconds."""
    executions: tuple[str, ...]
    death_date: datetime | None = None
    """When it took itself off the lists; it is forgotten a minute later."""
    shutdown_requested_date: datetime | None = None
    """When it was told to stop, if it is one of rq's."""
    is_ours: bool = False
    """Whether it is one of aiorq2."""

    @property
    def current_execution_count(self) -> int:
        """How many jobs it runs."""
        return len(self.executions)

    @property
    def job_ids(self) -> tuple[str, ...]:
        """The jobs it runs."""
        return tuple(job_of(one) for one in self.executions)

    def queue_names(self) -> list[str]:
        """Return the names of its queues, the most important first."""
        return list(self.queues)

    def get_state(self) -> str:
        """Return what it does: ``busy``, ``idle``, ``started`` or ``suspended``."""
        return self.state

    def get_current_job_id(self) -> str | None:
        """Return a job that it runs, None if it runs none; there may be many, see ``job_ids``."""
        return next(iter(self.job_ids), None)


def commands_for(keys: Keys, names: Sequence[str]) -> list[Command]:
    """Return the commands whose replies ``workers_of`` takes: two for each worker."""
    return [
        command
        for name in names
        for command in (["HGETALL", keys.worker(name)], ["SMEMBERS", keys.worker_executions(name)])
    ]


def workers_of(
    keys: Keys, names: Sequence[str], replies: Sequence[Any], *, dead: bool = False
) -> list[WorkerRecord]:
    """Return those of the workers that are there; with ``dead`` also those that have just gone."""
    return [
        _worker_of(keys, JobRecord(name, fields_of(flat)), members or ())
        for name, flat, members in zip(names, replies[::2], replies[1::2], strict=True)
        if flat and (dead or b"death" not in flat[::2])
    ]


def _worker_of(keys: Keys, hash_: JobRecord, members: Iterable[bytes]) -> WorkerRecord:
    text = hash_.text
    running = sorted(member.decode("utf-8", "replace") for member in members)
    if not running and text("current_job"):
        running = [text("current_job") or ""]  # rq before 3.0
    state = text("state") or ""
    return WorkerRecord(
        name=hash_.id,
        key=keys.worker(hash_.id),
        hostname=text("hostname") or "",
        ip_address=text("ip_address") or "",
        pid=hash_.number("pid"),
        version=text("version") or "",
        python_version=text("python_version") or "",
        state="busy"
        if running and state == "idle"
        else state,  # ours is as old as the last heartbeat
        queues=tuple((text("queues") or "").split(",")) if text("queues") else (),
        birth_date=hash_.time("birth"),
        last_heartbeat=hash_.time("last_heartbeat"),
        successful_job_count=hash_.number("successful_job_count") or 0,
        failed_job_count=hash_.number("failed_job_count") or 0,
        total_working_time=hash_.real("total_working_time") or 0.0,
        executions=tuple(running),
        death_date=hash_.time("death"),
        shutdown_requested_date=hash_.time("shutdown_requested_date"),
        is_ours="aio_instance" in hash_.fields,
    )


def job_of(member: str) -> str:
    """Return the job of a run, ``<job>:<execution>``; ids of rq's jobs have had colons in them, and rq 1 wrote the job alone."""
    job_id, _, last = member.rpartition(":")
    return job_id or last


def together(one: WorkerRecord, other: WorkerRecord) -> WorkerRecord:
    """Return the records that a worker of several shards has in two of them as one."""
    return replace(
        one,
        state="busy" if "busy" in (one.state, other.state) else one.state,
        queues=(*one.queues, *other.queues),
        executions=(*one.executions, *other.executions),
        successful_job_count=one.successful_job_count + other.successful_job_count,
        failed_job_count=one.failed_job_count + other.failed_job_count,
        total_working_time=one.total_working_time + other.total_working_time,
    )
