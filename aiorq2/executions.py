"""The runs of jobs that are under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aiorq2.backends.base import JobRecord
from aiorq2.backends.kept import Source, backend_of
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.wire import record_of
from aiorq2.errors import NoSuchExecutionError


@dataclass(frozen=True)
class Execution:
    """One run of a job, as its worker announced it; RQ's ``Execution``.

    >>> for execution in await job.get_executions():
    ...     print(execution.worker_name, execution.created_at)
    """

    id: str
    job_id: str
    worker_name: str = ""
    created_at: datetime | None = None
    last_heartbeat: datetime | None = None

    @property
    def composite_key(self) -> str:
        """The name of the run in lists: ``<job>:<execution>``."""
        return f"{self.job_id}:{self.id}"

    @classmethod
    async def fetch(
        cls,
        id: str,
        job_id: str,
        backend: Source | None = None,
        *,
        connection: Source | None = None,
    ) -> Execution:
        """Return the run of this id.

        Raises:
            NoSuchExecutionError: it is over, or never was.

        Redis: 1 call.
        """
        found = await _fetched(backend_of(backend, connection), job_id, [id])
        if not found:
            raise NoSuchExecutionError(f"job {job_id!r}: there is no execution {id!r}")
        return found[0]

    @classmethod
    async def of_job(cls, job_id: str, backend: RedisBackend) -> list[Execution]:
        """Return the runs of a job that are under way, the oldest first. Redis: 2 calls."""
        return await _fetched(backend, job_id, await execution_ids(backend, job_id))


async def execution_ids(backend: RedisBackend, job_id: str) -> list[str]:
    """Return the ids of the runs of a job that are under way, the oldest first. Redis: 1 call."""
    (ids,) = await backend.run(["ZRANGE", backend.keys.executions(job_id), 0, -1])
    return [one.decode() for one in ids]


async def _fetched(backend: RedisBackend, job_id: str, ids: Sequence[str]) -> list[Execution]:
    """Return those of the runs that are not over. Redis: 1 pipeline."""
    if not ids:
        return []
    replies = await backend.run(*[["HGETALL", backend.keys.execution(job_id, one)] for one in ids])
    return [
        _execution_of(job_id, record_of(one, flat))
        for one, flat in zip(ids, replies, strict=True)
        if flat
    ]


def _execution_of(job_id: str, record: JobRecord) -> Execution:
    return Execution(
        id=record.id,
        job_id=job_id,
        worker_name=record.text("worker_name") or "",
        created_at=_instant(record.real("created_at")),
        last_heartbeat=_instant(record.real("last_heartbeat")),
    )


def _instant(epoch: float | None) -> datetime | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)
