"""A handle on one recurring entry: what was last seen of it, and what can be done to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from secrets import token_hex
from typing import Any, Self

from aiorq2.backends import crons
from aiorq2.backends.crons import CronRecord, moment_of
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.scripts import Arg
from aiorq2.cron_drafts import edit
from aiorq2.errors import InvalidJobOperation, InvalidOption, NoSuchCronJobError
from aiorq2.job import Job
from aiorq2.rhythm import Policies, Rhythm
from aiorq2.seen import SeenJob
from aiorq2.serializers import Serializer
from aiorq2.serializers import resolve as resolve_serializer
from aiorq2.timing import as_utc, duration_text

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
        return f"<{type(self).__name__} {self.name}: {self.beat} {self.description}>"

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
    def beat(self) -> str:
        """The pattern, or ``every 1h30m``."""
        return self.pattern or f"every {duration_text(self.interval or 0)}"

    def describe(self) -> str:
        """Return when it runs, in words: ``At 12:00, every day, UTC``."""
        try:
            pattern = self._cron.pattern
        except InvalidOption as error:
            return f"cannot be read here: {error}"
        return pattern.describe() if pattern else f"Every {duration_text(self.interval or 0)}"

    def upcoming(self, count: int) -> list[datetime]:
        """Return the next times at which it is due, the pending one first, fewer if it ends before; none while it is paused.

        Raises:
            InvalidOption: its pattern cannot be read here.
        """
        rhythm, most = self.rhythm, count if self.runs_left is None else min(count, self.runs_left)
        ticks = islice(rhythm.from_(self._cron.tick), most) if self.state == "active" else ()
        return [at for at in (moment_of(rhythm.due(tick)) for tick in ticks) if at is not None]

    @property
    def timezone(self) -> str:
        """The time zone of the pattern."""
        return self._cron.entry.text("timezone") or "UTC"

    @property
    def function(self) -> str:
        """The dotted name of the function, as it was noted down: unlike ``func_name`` it is not read from the payload."""
        return self._cron.entry.text("func_name") or ""

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
        """Go on, with the next tick from now on, or with the time that it was moved to. One that is not paused is left alone.

        Redis: 3 calls.

        Raises:
            NoSuchCronJobError: it is gone.
            InvalidJobOperation: it has ended, or has no tick left.
        """
        now = await crons.now(self._backend)
        await self._adjust("resume", "active", lambda record: _following(record, now, "resume"))

    async def move(self, moment: datetime) -> None:
        """Have the next run at another time; an interval counts from there on. One that is paused stays so. Redis: 2 calls.

        Raises:
            NoSuchCronJobError: it is gone.
            InvalidJobOperation: it has ended.
        """
        tick = round(as_utc(moment).timestamp(), 3)
        fields: dict[str, Arg] = {"anchor": f"{tick:.3f}"} if self.interval is not None else {}
        await self._adjust("move", None, lambda _: (tick, tick), fields)

    async def save(self, **changes: Any) -> None:
        """Change the entry: ``pattern``, ``timezone``, ``interval``, ``args``, ``kwargs``, ``timeout``, ``description``, ``meta``,
        the policies and so on. What is not named stays, the pending run too unless its time is what changes. Redis: 3 calls.

        Of an entry that code declares, the next ``sync`` of that code takes the changes back. An entry that has ended begins again
        only if ``repeat`` changes, or if its times do (``end``, say) and it has runs left.

        Raises:
            NoSuchCronJobError: it is gone.
            InvalidJobOperation: it was changed since it was read.
            InvalidOption: a change cannot be meant, or it would never run.
        """
        saved = await edit(self._backend, self._cron, self._serializer, changes)
        await self.refresh()
        if saved == "outdated":
            raise InvalidJobOperation(f"cron {self.name!r}: cannot save, it was changed meanwhile")

    async def run_now(self) -> Job:
        """Make a run at once, whatever times, policies and state say; it is not counted by ``repeat``. Redis: 2 calls.

        Raises:
            NoSuchCronJobError: it is gone.
        """
        job_id = f"{self.id}-run-{token_hex(4)}"
        await crons.run(self._backend, self.name, job_id)
        return await Job.fetch(job_id, self._backend, self._serializer)

    async def _adjust(
        self, verb: str, state: str | None, times: Any, fields: Mapping[str, Arg] | None = None
    ) -> None:
        for _ in range(TRIES):
            await self.refresh()
            seen = self._cron
            if seen.state == state:
                return  # what is pending, or due by now, stays
            tick, due = times(seen)
            if await crons.adjust(
                self._backend,
                seen,
                verb,
                state=state or seen.state,
                tick=tick,
                due=due,
                fields=fields,
            ):
                await self.refresh()
                return
        raise InvalidJobOperation(f"cron {self.name!r}: cannot {verb}, it changes all the time")


def _following(record: CronRecord, now: float, verb: str) -> tuple[float, float]:
    if record.tick is not None and record.due is not None and record.due > now:
        return record.tick, record.due  # it was moved while it was paused
    rhythm = record.rhythm
    tick = rhythm.next(now)
    if tick is None:
        raise InvalidJobOperation(f"cron {record.name!r}: cannot {verb}, it has no run left")
    return tick, rhythm.due(tick)
