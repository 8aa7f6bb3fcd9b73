"""A handle on one recurring entry, and how one is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import sha1
from secrets import token_hex
from typing import Any, Self

from aiorq2.backends import crons
from aiorq2.backends.base import cron_context
from aiorq2.backends.crons import CronDraft, CronRecord, Saved, moment_of
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.scripts import Arg
from aiorq2.backends.wire import template_fields
from aiorq2.cron_spec import CronSpec
from aiorq2.errors import InvalidJobOperation, InvalidOption, NoSuchCronJobError
from aiorq2.job import Job
from aiorq2.queue import Queue
from aiorq2.rhythm import Policies, Rhythm
from aiorq2.seen import SeenJob
from aiorq2.serializers import Serializer
from aiorq2.serializers import resolve as resolve_serializer
from aiorq2.states import JobStatus
from aiorq2.timing import as_utc

TRIES = 5
"""How often an edit is tried that somebody else's comes between."""


class CronJob(SeenJob):
    """A recurring entry, as it was last read: a template, of which each tick makes a job of its own.

    What it makes, it shows like a job (``func_name``, ``args``, ``timeout``, ``meta`` …). Attributes never touch Redis.

    >>> cron = await scheduler.cron("0 0 12 * * ?", add, args=(1, 2), name="noon")
    >>> cron.next_run
    """

    def __init__(self, record: CronRecord, backend: RedisBackend, serializer: Serializer) -> None:
        super().__init__(record.template, backend, serializer)
        self._cron = record

    @classmethod
    async def fetch(
        cls, name: str, backend: RedisBackend, serializer: str | Serializer | None = None
    ) -> Self:
        """Return the entry of this name.

        Raises:
            NoSuchCronJobError: there is none.

        Redis: 1 pipeline.
        """
        (record,) = await crons.records(backend, [name])
        if record is None:
            raise NoSuchCronJobError(f"cron {name!r}: there is no such entry")
        return cls(record, backend, resolve_serializer(serializer))

    def __repr__(self) -> str:
        beat = self._cron.entry.text("pattern") or f"every {self.interval:g} s"
        return f"<{type(self).__name__} {self.name}: {beat} {self.description}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CronJob) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    # -- what was last seen ----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name, unique among the entries."""
        return self._cron.name

    @property
    def pattern(self) -> str | None:
        """The cron pattern as text; None: it has an interval."""
        return self._cron.entry.text("pattern")

    @property
    def interval(self) -> float | None:
        """The seconds between two ticks; None: it has a pattern."""
        return self._cron.entry.real("interval")

    @property
    def timezone(self) -> str:
        """The time zone of the pattern."""
        return self._cron.entry.text("timezone") or "UTC"

    @property
    def policies(self) -> Policies:
        """What happens when things do not go as planned, and when they begin and end."""
        return self._cron.policies

    @property
    def rhythm(self) -> Rhythm:
        """When it ticks.

        Raises:
            InvalidOption: its pattern cannot be read here.
        """
        return self._cron.rhythm

    @property
    def next_run(self) -> datetime | None:
        """When it is due next; None: it is paused or has ended."""
        return moment_of(self._cron.due) if self.state == "active" else None

    @property
    def last_run(self) -> datetime | None:
        """The tick that made the latest run."""
        return moment_of(self._cron.entry.real("last_tick"))

    @property
    def last_job_id(self) -> str | None:
        """The id of the latest job."""
        return self._cron.entry.text("last_job")

    @property
    def runs(self) -> int:
        """How many jobs it has made."""
        return self._cron.entry.number("runs") or 0

    @property
    def skipped(self) -> int:
        """How many ticks ``overlap="skip"`` has left out."""
        return self._cron.entry.number("skipped") or 0

    @property
    def runs_left(self) -> int | None:
        """How many more runs there will be; None: no end to them."""
        return self._cron.entry.number("runs_left")

    @property
    def state(self) -> str:
        """``active``, ``paused`` or ``ended``."""
        return self._cron.state

    @property
    def is_paused(self) -> bool:
        """Whether it makes no runs until it is resumed."""
        return self.state == "paused"

    @property
    def has_ended(self) -> bool:
        """Whether it makes no runs any more."""
        return self.state == "ended"

    @property
    def error(self) -> str | None:
        """Why it could not be looked at, if so."""
        return self._cron.entry.text("error")

    @property
    def created_at(self) -> datetime | None:
        """When it was first written."""
        return self._cron.entry.time("created_at")

    @property
    def source(self) -> str:
        """The code that declares it; empty: it was made at run time."""
        return self._cron.entry.text("source") or ""

    # -- reading and doing -----------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read the entry again. Redis: 1 pipeline.

        Raises:
            NoSuchCronJobError: it is gone.
        """
        (record,) = await crons.records(self._backend, [self.name])
        if record is None:
            raise NoSuchCronJobError(f"cron {self.name!r}: there is no such entry")
        self._cron = record
        self._record = record.template
        self._call = self._meta = None

    async def get_jobs(self, n: int = 20) -> list[Job]:
        """Return the latest ``n`` jobs that it has made and that are still there, the newest first. Redis: 2 calls."""
        ids = await crons.run_ids(self._backend, self.name, n)
        found = await Job.fetch_many(ids, self._backend, self._serializer)
        return [job for job in found if job is not None]

    async def cancel(self) -> None:
        """Remove the entry; the jobs that it has made stay as they are. Redis: 1 call.

        Raises:
            NoSuchCronJobError: it is gone.
        """
        await crons.remove(self._backend, self.name)

    async def pause(self) -> None:
        """Make no runs until ``resume()``; what is due meanwhile is not caught up. Redis: 2 calls.

        Raises:
            NoSuchCronJobError: it is gone.
            InvalidJobOperation: it has ended.
        """
        await self._adjust("pause", "paused", lambda _: (None, None))

    async def resume(self) -> None:
        """Go on, with the next tick from now on. Redis: 3 calls.

        Raises:
            NoSuchCronJobError: it is gone.
            InvalidJobOperation: it has ended, or has no tick left.
        """
        now = await crons.now(self._backend)
        await self._adjust("resume", "active", lambda record: _following(record, now, "resume"))

    async def move(self, moment: datetime) -> None:
        """Have the next run at another time; an interval counts from there on. Redis: 2 calls.

        Raises:
            NoSuchCronJobError: it is gone.
            InvalidJobOperation: it has ended.
        """
        tick = round(as_utc(moment).timestamp(), 3)
        fields: dict[str, Arg] = {"anchor": f"{tick:.3f}"} if self.interval is not None else {}
        await self._adjust("move", "active", lambda _: (tick, tick), fields)

    async def run_now(self) -> Job:
        """Make a run at once, whatever times, policies and state say; it is not counted by ``repeat``. Redis: 2 calls.

        Raises:
            NoSuchCronJobError: it is gone.
        """
        job_id = f"{self.id}-run-{token_hex(4)}"
        await crons.run(self._backend, self.name, job_id)
        return await Job.fetch(job_id, self._backend, self._serializer)

    async def _adjust(
        self, verb: str, state: str, times: Any, fields: Mapping[str, Arg] | None = None
    ) -> None:
        for _ in range(TRIES):
            await self.refresh()
            tick, due = times(self._cron)
            if await crons.adjust(
                self._backend, self._cron, verb, state=state, tick=tick, due=due, fields=fields
            ):
                await self.refresh()
                return
        raise InvalidJobOperation(f"cron {self.name!r}: cannot {verb}, it changes all the time")


def _following(record: CronRecord, now: float, verb: str) -> tuple[float, float]:
    rhythm = record.rhythm
    tick = rhythm.next(now)
    if tick is None:
        raise InvalidJobOperation(f"cron {record.name!r}: cannot {verb}, it has no run left")
    return tick, rhythm.due(tick)


def draft_of(spec: CronSpec, queue: Queue, now: float, *, source: str = "") -> CronDraft:
    """Return what is written of an entry: its fields, the template of its jobs, and when it is due first.

    Raises:
        InvalidOption: it would never run; and as ``Queue.enqueue``.
    """
    options = replace(spec.options, job_id=spec.id)
    job, _ = queue.prepared(
        spec.func, spec.args, dict(spec.kwargs), options, context=cron_context(spec.name)
    )
    template = {
        **template_fields(replace(job, status=JobStatus.SCHEDULED)),
        "aio_cron": spec.name,
    }
    rhythm = spec.rhythm(round(now, 3))
    tick = rhythm.next((spec.anchor or now) - 0.001 if spec.interval is not None else now)
    if tick is None:
        raise InvalidOption(f"cron {spec.name!r}: it would never run; look at its pattern and end")
    entry = _entry_fields(spec, rhythm, job.func_name)
    told = {name: value for name, value in entry.items() if name != "anchor" or spec.anchor}
    return CronDraft(
        name=spec.name,
        queue=queue.name,
        entry=entry,
        template=template,
        definition=_digest([told, queue.name, spec.policies.repeat, _stable(template)]),
        rhythm=_rhythm_text(told, spec),
        tick=tick,
        due=rhythm.due(tick),
        repeat=spec.policies.repeat,
        source=source,
    )


def _entry_fields(spec: CronSpec, rhythm: Rhythm, func_name: str) -> dict[str, Arg]:
    own = spec.policies
    fields: dict[str, Arg | None] = {
        "id": spec.id,
        "func_name": func_name,
        "pattern": spec.pattern.text if spec.pattern else None,
        "timezone": spec.pattern.timezone if spec.pattern else None,
        "dialect": spec.pattern.dialect if spec.pattern else None,
        "interval": spec.interval,
        "anchor": None if spec.pattern else f"{rhythm.beat.anchor:.3f}",  # type: ignore[union-attr]
        "catch_up": own.catch_up,
        "grace": own.grace,
        "overlap": own.overlap,
        "jitter": own.jitter or None,
        "start": None if own.start is None else f"{own.start:.3f}",
        "end": None if own.end is None else f"{own.end:.3f}",
        "history": own.history,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _rhythm_text(told: Mapping[str, Arg], spec: CronSpec) -> str:
    names = ("pattern", "timezone", "dialect", "interval", "anchor", "start", "end", "jitter")
    return " ".join(f"{name}={told[name]!s}" for name in names if name in told)


def _stable(template: Mapping[str, Arg]) -> list[tuple[str, Arg]]:
    return [(name, value) for name, value in template.items() if name not in ("created_at",)]


def _digest(parts: object) -> str:
    return sha1(repr(parts).encode("utf-8", "backslashreplace"), usedforsecurity=False).hexdigest()


async def write(
    backend: RedisBackend,
    spec: CronSpec,
    queue: Queue,
    mode: crons.Mode,
    *,
    source: str = "",
    version: float | None = None,
    anonymous: bool = False,
) -> Saved:
    """Write an entry. Redis: 2 calls.

    Raises:
        InvalidOption: it would never run; and as ``Queue.enqueue``.
    """
    draft = draft_of(spec, queue, await crons.now(backend), source=source)
    if anonymous:
        draft = replace(draft, entry={**draft.entry, "anonymous": 1})
    return await crons.save(backend, draft, mode, version=version)
