"""Have jobs run at a time, after a while, or again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any, NoReturn
from uuid import uuid4

from aiorq2.backends import connect, crons, inspect, scheduled
from aiorq2.backends.redis import RedisBackend
from aiorq2.cron import Dialect
from aiorq2.cron_jobs import CronJob, write
from aiorq2.cron_spec import CronSpec, local_timezone
from aiorq2.errors import InvalidOption, NoSuchCronJobError
from aiorq2.job import Job
from aiorq2.options import EnqueueOptions, checked_name
from aiorq2.queue import Queue
from aiorq2.serializers import Serializer
from aiorq2.serializers import resolve as resolve_serializer
from aiorq2.states import JobStatus
from aiorq2.ticking import Ticker
from aiorq2.timing import Duration, as_utc, seconds

log = logging.getLogger("aiorq2.scheduler")

Func = Callable[..., Any] | str
Until = datetime | timedelta | float | None

PROMOTE = 100
"""How many due jobs of a queue one call moves."""
SLICES = 10
"""How many such calls there are in a row."""
RQ_LOOK_S = 1.0
"""How soon it looks again at a queue that rq's scheduler is in charge of."""


class Scheduler:
    """Schedule jobs, once or again and again, with the names and the arguments of the rq-scheduler package.

    Making one touches no network. Workers carry out what is scheduled for their queues; ``run()`` does it for all queues, where
    there is no worker that may.

    Args:
        queue: the queue of what is scheduled, unless it says otherwise: a name or a ``Queue``.
        interval: how often ``run()`` looks, in seconds, though nothing that it has heard of is due: jobs that rq has scheduled.
        backend: where jobs live; default ``connect()``.
        serializer: as the queues'.
        connection: RQ's word for ``backend``.

    >>> scheduler = Scheduler("low", backend=backend)
    >>> await scheduler.enqueue_in(timedelta(minutes=10), add, 1, 2)
    >>> await scheduler.cron("0 0 12 * * ?", add, args=(1, 2), name="noon")
    """

    def __init__(
        self,
        queue: str | Queue = "default",
        interval: Duration = 60,
        backend: RedisBackend | None = None,
        *,
        serializer: str | Serializer | object | None = None,
        connection: Any = None,
    ) -> None:
        if backend is not None and connection is not None:
            raise InvalidOption("Scheduler: give backend or connection, not both")
        if isinstance(queue, Queue):
            backend = queue.backend if backend is None and connection is None else backend
            serializer = queue.serializer if serializer is None else serializer
        if not isinstance(backend, RedisBackend):  # RQ's connection may stand in its place
            backend = connect(backend if backend is not None else connection)
        self.backend = backend
        self.queue_name = checked_name(getattr(queue, "name", queue), "queue")
        self.interval = seconds(interval, name="interval", minimum=0.1)
        self.serializer = resolve_serializer(serializer)
        self._queue = queue if isinstance(queue, Queue) else None
        self._stopping: asyncio.Event | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.queue_name}>"

    def __contains__(self, job: object) -> NoReturn:
        raise TypeError("`in` would have to ask Redis: use `await scheduler.contains(job)`")

    def __len__(self) -> NoReturn:
        raise TypeError("len(scheduler) would have to ask Redis: use `await scheduler.count()`")

    def __bool__(self) -> bool:
        return True

    # -- once ------------------------------------------------------------------------------------------------------------

    async def enqueue_at(
        self, scheduled_time: datetime, func: Func, /, *args: Any, **kwargs: Any
    ) -> Job:
        """Have ``func(*args, **kwargs)`` run at a point in time, as ``Queue.enqueue_at`` does. Redis: 1 call."""
        queue = self._queue_for(kwargs.pop("queue_name", None))
        return await queue.enqueue_at(scheduled_time, func, *args, **kwargs)

    async def enqueue_in(
        self, time_delta: Duration, func: Func, /, *args: Any, **kwargs: Any
    ) -> Job:
        """Have ``func(*args, **kwargs)`` run after a while, as ``Queue.enqueue_in`` does. Redis: 1 call."""
        queue = self._queue_for(kwargs.pop("queue_name", None))
        return await queue.enqueue_in(time_delta, func, *args, **kwargs)

    async def schedule(
        self,
        scheduled_time: datetime | Duration,
        func: Func,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        interval: Duration | None = None,
        repeat: int | None = None,
        result_ttl: Duration | None = None,
        ttl: Duration | None = None,
        timeout: Duration | None = None,
        id: str | None = None,
        description: str | None = None,
        queue_name: str | None = None,
        meta: dict[str, Any] | None = None,
        **options: Any,
    ) -> Job | CronJob:
        """Have ``func`` run at a time, or after a while, and again every ``interval``.

        Args:
            scheduled_time: of the first run: a ``datetime`` (naive: UTC), or a ``timedelta`` or seconds from now.
            interval: seconds between two runs; they are counted from the first and do not drift.
            repeat: how many *more* runs there are after the first; None with an interval: no end to them. Without an interval, that
                is the time to the first run, where it was given as such.
            id: the job's, or the entry's; another entry of that id is replaced.
            timeout: seconds that a run may take.
            options: further options of ``enqueue``, and the policies of a recurring entry.

        Returns a ``Job`` for one run, else a ``CronJob``.

        Raises:
            InvalidOption: ``repeat`` with a ``datetime`` and no interval; and as ``Queue.enqueue``.

        Redis: 1 call; 3 for what recurs.
        """
        named = {
            "job_timeout": timeout,
            "result_ttl": result_ttl,
            "ttl": ttl,
            "description": description,
            "meta": meta,
            **options,
        }
        told = {name: value for name, value in named.items() if value is not None}
        if interval is None and repeat is not None:
            if isinstance(scheduled_time, datetime):
                raise InvalidOption("repeat needs an interval, where the first run has a date")
            interval = scheduled_time
        if interval is None:
            if id is not None:
                told["job_id"] = id
            return await self._schedule_once(scheduled_time, func, args, kwargs, told, queue_name)
        if repeat is not None and (
            isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 0
        ):
            raise InvalidOption(f"repeat={repeat!r:.60}: a whole number of further runs is needed")
        first = await self._first(scheduled_time)
        key = id or str(uuid4())
        spec = CronSpec.of(
            key, func, args or (), kwargs, interval=interval, first=first, id=key, queue=queue_name,
            repeat=None if repeat is None else repeat + 1, **told,
        )  # fmt: skip
        return await self._write(spec, "replace", anonymous=id is None)

    async def cron(
        self,
        cron_string: str,
        func: Func,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        repeat: int | None = None,
        queue_name: str | None = None,
        result_ttl: Duration | None = None,
        ttl: Duration | None = None,
        id: str | None = None,
        timeout: Duration | None = None,
        description: str | None = None,
        meta: dict[str, Any] | None = None,
        use_local_timezone: bool = False,
        *,
        name: str | None = None,
        timezone: str = "UTC",
        dialect: Dialect = "auto",
        **options: Any,
    ) -> CronJob:
        """Have ``func`` run whenever a cron pattern says so. The same name, or the same declaration without one, is one entry,
        however many processes make it; declared otherwise, it is changed.

        Args:
            cron_string: five fields, or six or seven with the seconds first.
            repeat: how many runs in all; None: no end to them.
            id: what the ids of its jobs begin with; also the name, if none is given.
            use_local_timezone: the pattern is meant in this machine's time zone.
            name: of the entry; by default made out of the declaration.
            timezone: the zone in which the pattern is meant, such as ``"Europe/Berlin"``.
            dialect: see ``CronPattern``.
            options: policies (``catch_up``, ``grace``, ``overlap``, ``jitter``, ``start``, ``end``), and options of ``enqueue``.

        Raises:
            InvalidCronPattern: the pattern cannot be meant.
            InvalidOption: something else cannot.

        Redis: 3 calls.
        """
        named = {"result_ttl": result_ttl, "ttl": ttl, "description": description, "meta": meta}
        told: dict[str, Any] = {one: value for one, value in named.items() if value is not None}
        spec = CronSpec.of(
            name if name is not None else id, func, args or (), kwargs, pattern=cron_string, id=id, timeout=timeout,
            queue=queue_name or self.queue_name, repeat=repeat, dialect=dialect,
            timezone=local_timezone() if use_local_timezone else timezone, **told, **options,
        )  # fmt: skip
        return await self._write(spec, "update")

    # -- changing --------------------------------------------------------------------------------------------------------

    async def cancel(self, job: Job | CronJob | str) -> None:
        """Cancel a scheduled job, or remove a recurring entry, given as such or by its id (an entry also by its name).

        Raises:
            NoSuchJobError: there is neither.
            InvalidJobOperation: the job has ended.

        Redis: 1 call; 2 or 3 for an id.
        """
        entry = await self._entry(job)
        if entry is not None:
            await entry.cancel()
        else:
            await self.backend.cancel(_id_of(job))

    async def change_execution_time(self, job: Job | CronJob | str, date_time: datetime) -> None:
        """Have a scheduled job, or the next run of a recurring entry, at another time; a naive ``datetime`` is UTC.

        Raises:
            NoSuchJobError: there is neither.
            InvalidJobOperation: the job is not scheduled any more.

        Redis: 1 call; 3 or 4 for an entry.
        """
        if not isinstance(date_time, datetime):
            raise InvalidOption(f"a datetime is needed, not {type(date_time).__name__}")
        entry = await self._entry(job)
        if entry is not None:
            await entry.move(date_time)
        else:
            await self.backend.reschedule(_id_of(job), as_utc(date_time).timestamp())

    # -- looking ---------------------------------------------------------------------------------------------------------

    async def contains(self, job: Job | CronJob | str) -> bool:
        """Return whether a job is scheduled, or there is a recurring entry that has not ended. Redis: 1 or 2 calls."""
        entry = await self._entry(job)
        if entry is not None:
            return not entry.has_ended
        (status,) = await inspect.statuses(self.backend, [_id_of(job)])
        return status is JobStatus.SCHEDULED

    async def get_cron_job(self, name: str) -> CronJob:
        """Return the recurring entry of this name or id.

        Raises:
            NoSuchCronJobError: there is none.

        Redis: 1 pipeline.
        """
        found = await self._entry(name)
        if found is None:
            raise NoSuchCronJobError(f"cron {name!r}: there is no such entry")
        return found

    async def get_cron_jobs(self) -> list[CronJob]:
        """Return all recurring entries, by name; those that have ended, too. Redis: 1 call, and 1 pipeline per 200."""
        names = await crons.names(self.backend)
        found = await crons.records(self.backend, names)
        return [CronJob(one, self.backend, self.serializer) for one in found if one is not None]

    async def count(self, until: Until = None) -> int:
        """Return how many jobs and recurring entries are scheduled, of all queues, or due ``until`` a time, as for ``get_jobs``.

        Redis: 1 call and 1 pipeline.
        """
        return await scheduled.count(self.backend, await self._limit(until))

    async def get_jobs(
        self,
        until: Until = None,
        with_times: bool = False,
        offset: int | None = None,
        length: int | None = None,
    ) -> list[Any]:
        """Return the jobs and the recurring entries that are scheduled, of all queues, by their times.

        Args:
            until: only what is due until then: a ``datetime``, a ``timedelta`` from now, or seconds since the epoch.
            with_times: return pairs, with the time at which each is due.
            offset: leave out so many.
            length: return so many at the most.

        Redis: 1 call, 1 pipeline, and 1 per 500 jobs.
        """
        start = offset or 0
        most = None if length is None else start + length
        found = (await scheduled.scheduled(self.backend, await self._limit(until), most))[start:]
        names = [one.name for one in found if one.kind == "cron"]
        ids = [one.name for one in found if one.kind == "job"]
        jobs = iter(await Job.fetch_many(ids, self.backend, self.serializer))
        entries = iter(await crons.records(self.backend, names))
        pairs: list[tuple[Job | CronJob, datetime | None]] = []
        for one in found:
            item: Any = next(jobs if one.kind == "job" else entries)
            if item is not None:  # else it is gone meanwhile
                item = item if one.kind == "job" else CronJob(item, self.backend, self.serializer)
                pairs.append((item, crons.moment_of(one.due)))
        return list(pairs) if with_times else [item for item, _ in pairs]

    # -- running ---------------------------------------------------------------------------------------------------------

    async def run(self, burst: bool = False) -> None:
        """Carry out what is due, of all queues, until told to stop; any number of processes may do so, and workers do it as well.

        It sleeps until something is due, and looks every ``interval`` seconds in any case.

        Args:
            burst: carry out what is due now, and return.

        Redis: 1 call and 1 pipeline whenever something is due or was scheduled to be due before the rest.
        """
        backend = self.backend if burst else self.backend.patient()
        self._stopping = asyncio.Event()
        runner = _Runner(backend, self._stopping, self.interval)
        try:
            await runner.run(burst)
        finally:
            self._stopping = None
            if backend is not self.backend:
                await backend.close()

    def request_stop(self) -> None:
        """Have ``run`` return."""
        if self._stopping is not None:
            self._stopping.set()

    # -- inside ----------------------------------------------------------------------------------------------------------

    def _queue_for(self, name: str | None) -> Queue:
        if self._queue is not None and name in (None, self._queue.name):
            return self._queue
        return Queue(name or self.queue_name, self.backend, serializer=self.serializer)

    async def _schedule_once(
        self,
        scheduled_time: datetime | Duration,
        func: Func,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        named: Mapping[str, Any],
        queue_name: str | None,
    ) -> Job:
        options = EnqueueOptions.checked(**named)
        is_date = isinstance(scheduled_time, datetime)
        return await self._queue_for(queue_name).schedule_call(
            func,
            tuple(args or ()),
            dict(kwargs or {}),
            options,
            due_at=as_utc(scheduled_time).timestamp() if is_date else None,  # type: ignore[arg-type]
            due_in=None if is_date else seconds(scheduled_time, name="scheduled_time"),  # type: ignore[arg-type]
        )

    async def _first(self, scheduled_time: datetime | Duration) -> float:
        if isinstance(scheduled_time, datetime):
            return round(as_utc(scheduled_time).timestamp(), 3)
        delay = seconds(scheduled_time, name="scheduled_time")
        return round(await crons.now(self.backend) + delay, 3)

    async def _write(self, spec: CronSpec, mode: crons.Mode, *, anonymous: bool = False) -> CronJob:
        await write(self.backend, spec, self._queue_for(spec.queue), mode, anonymous=anonymous)
        return await CronJob.fetch(spec.name, self.backend, self.serializer)

    async def _entry(self, job: Job | CronJob | str) -> CronJob | None:
        """Return the entry that is meant; None if a job is."""
        if isinstance(job, CronJob):
            return job
        if isinstance(job, Job):
            return None
        names = list(dict.fromkeys([job, job.removeprefix("cron-")]))
        found = [
            one
            for one in await crons.records(self.backend, [n for n in names if n])
            if one is not None
        ]
        return CronJob(found[0], self.backend, self.serializer) if found else None

    async def _limit(self, until: Until) -> float | None:
        if until is None:
            return None
        if isinstance(until, datetime):
            return as_utc(until).timestamp()
        if isinstance(until, timedelta):
            return await crons.now(self.backend) + until.total_seconds()
        return float(until)


class _Runner:
    """One ``run()``."""

    def __init__(self, backend: RedisBackend, stopping: asyncio.Event, interval: float) -> None:
        self._backend = backend
        self._stopping = stopping
        self._interval = interval
        self._ticker = Ticker(backend, token_hex(8), ())
        self._news = asyncio.Event()

    async def run(self, burst: bool) -> None:
        channel = self._backend.keys.due_news()
        if not burst:
            await self._backend.subscribe(channel, lambda _: self._news.set())
        try:
            while not self._stopping.is_set():
                self._news.clear()
                left = await self._pass()
                if burst and not self._news.is_set():
                    return
                await self._sleep(self._interval if left is None else min(left, self._interval))
        finally:
            if not burst:
                await self._backend.unsubscribe(channel)

    async def _pass(self) -> float | None:
        """Carry out what is due; returns the seconds until the next thing is."""
        queues = await inspect.queue_names(self._backend)
        moments = [await self._promote(queue) for queue in queues]
        now = await crons.now(self._backend)
        _, left = await self._ticker.tick(queues) if queues else (0, None)
        # What is due and was not moved is in the care of rq's scheduler.
        waits = [one - now if one > now else RQ_LOOK_S for one in moments if one is not None]
        return min(waits if left is None else [*waits, left], default=None)

    async def _promote(self, queue: str) -> float | None:
        for _ in range(SLICES):
            moved, next_due = await self._backend.promote(queue, limit=PROMOTE)
            if moved < PROMOTE:
                return next_due
        self._news.set()  # there is more; others have their turn first
        return None

    async def _sleep(self, duration: float) -> None:
        waiting = [asyncio.create_task(one.wait()) for one in (self._stopping, self._news)]
        await asyncio.wait(
            waiting, timeout=max(duration, 0.001), return_when=asyncio.FIRST_COMPLETED
        )
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


def _id_of(job: Job | CronJob | str) -> str:
    return job if isinstance(job, str) else job.id
