"""Have jobs run at a time, after a while, or again and again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, overload
from uuid import uuid4

from aiorq2.agenda import Agenda, id_of
from aiorq2.backends import connect, crons
from aiorq2.backends.redis import RedisBackend
from aiorq2.cron import Dialect, checked_zone, in_zone, local_timezone
from aiorq2.cron_drafts import write
from aiorq2.cron_jobs import CronJob
from aiorq2.cron_spec import CronSpec
from aiorq2.cron_sync import Synced, sync
from aiorq2.errors import InvalidJobOperation, InvalidOption
from aiorq2.job import Job
from aiorq2.options import EnqueueOptions, as_names, checked_name
from aiorq2.patrol import Patrol, Prepare
from aiorq2.queue import Queue
from aiorq2.serializers import Serializer
from aiorq2.serializers import resolve as resolve_serializer
from aiorq2.signals import stopping_on_signals
from aiorq2.timing import Duration, as_utc, seconds

NOTICES_S = 15
"""Within how many seconds ``run()`` notices that Redis has gone silent: as a worker does by default."""
Func = Callable[..., Any] | str


class Scheduler(Agenda):
    """Schedule jobs, once or again and again, with the names and the arguments of the rq-scheduler package.

    Making one touches no network. Workers carry out what is scheduled for their queues; ``run()`` does it for all, where none may.

    Args:
        queue: the queue of what is scheduled, unless it says otherwise: a name or a ``Queue``. Of several shards, the scheduler is
            for that in which it lives.
        interval: how often ``run()`` looks, in seconds, though nothing that it has heard of is due: jobs that rq has scheduled.
        backend: where jobs live; default ``connect()``.
        serializer: as the queues'.
        handle_signals: have SIGTERM and SIGINT end ``run()``; default: in the main thread, unless somebody else handles them.
        prepare: awaited by ``run()`` before it looks for the first time, with the backend that it goes by.
        timezone: the zone of datetimes and of patterns that name none; default: that of a ``Queue`` that is given, else UTC.
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
        handle_signals: bool | None = None,
        prepare: Prepare | None = None,
        timezone: str | None = None,
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
        self.timezone = checked_zone(timezone or getattr(queue, "timezone", "UTC"))
        self._queue = queue if isinstance(queue, Queue) else None
        self._handle_signals = handle_signals
        self._prepare = prepare
        self._patrol: Patrol | None = None

    # -- once ------------------------------------------------------------------------------------------------------------

    async def enqueue_at(
        self, scheduled_time: datetime, func: Func, /, *args: Any, **kwargs: Any
    ) -> Job:
        """Have ``func(*args, **kwargs)`` run at a point in time, as ``Queue.enqueue_at`` does. Redis: 1 call."""
        queue = self._queue_for(kwargs.pop("queue_name", None))
        return await queue.enqueue_at(in_zone(scheduled_time, self.timezone), func, *args, **kwargs)

    async def enqueue_in(
        self, time_delta: Duration, func: Func, /, *args: Any, **kwargs: Any
    ) -> Job:
        """Have ``func(*args, **kwargs)`` run after a while, as ``Queue.enqueue_in`` does. Redis: 1 call."""
        queue = self._queue_for(kwargs.pop("queue_name", None))
        return await queue.enqueue_in(time_delta, func, *args, **kwargs)

    @overload
    async def schedule(
        self,
        scheduled_time: datetime | Duration,
        func: Func,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        interval: None = None,
        repeat: None = None,
        **options: Any,
    ) -> Job: ...
    @overload
    async def schedule(
        self,
        scheduled_time: datetime | Duration,
        func: Func,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        interval: Duration,
        repeat: int | None = None,
        **options: Any,
    ) -> CronJob: ...
    @overload
    async def schedule(
        self,
        scheduled_time: timedelta | float | str,
        func: Func,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        repeat: int,
        **options: Any,
    ) -> CronJob: ...
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
            scheduled_time: of the first run: a ``datetime``, or a ``timedelta`` or seconds from now.
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
        scheduled_time = in_zone(scheduled_time, self.timezone)
        named = {
            "job_timeout": timeout,
            "result_ttl": result_ttl,
            "ttl": ttl,
            "description": description,
            "meta": meta,
            **{one: in_zone(value, self.timezone) for one, value in options.items()},
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
        timezone: str | None = None,
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
            timezone: the zone in which the pattern is meant, such as ``"Europe/Berlin"``; default: the scheduler's.
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
            timezone=local_timezone() if use_local_timezone else timezone or self.timezone, **told,
            **{one: in_zone(value, self.timezone) for one, value in options.items()},
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
        entry = await self.entry_of(job)
        if entry is not None:
            await entry.cancel()
        else:
            await self.backend.cancel(id_of(job))

    async def change_execution_time(self, job: Job | CronJob | str, date_time: datetime) -> None:
        """Have a scheduled job, or the next run of a recurring entry, at another time.

        Raises:
            NoSuchJobError: there is neither.
            InvalidJobOperation: the job is not scheduled any more.

        Redis: 1 call; 3 or 4 for an entry.
        """
        if not isinstance(date_time, datetime):
            raise InvalidOption(f"a datetime is needed, not {type(date_time).__name__}")
        moment = as_utc(in_zone(date_time, self.timezone))
        entry = await self.entry_of(job)
        if entry is not None:
            await entry.move(moment)
        else:
            await self.backend.reschedule(id_of(job), moment.timestamp())

    async def sync(
        self,
        declared: Iterable[CronSpec],
        *,
        source: str,
        version: float | None = None,
        dry_run: bool = False,
        keep: Collection[str] = (),
    ) -> Synced:
        """Make the recurring entries of a source those that are declared: add, update, leave alone what is the same, and remove
        those that are gone. Entries made at run time, and other sources', are not touched. One that is paused
        stays so, and one that has ended does not begin again. Any number of processes may do so at their start.

        Args:
            source: what stands for the code that declares them, such as the name of the application.
            version: of that code, a number that grows: where a newer one has spoken, an older one changes nothing.
            dry_run: write nothing, and return what would be done.
            keep: the names of entries that are not removed, though they are not declared here.

        Raises:
            InvalidOption: a name stands twice, or something cannot be meant; nothing was written.
            InvalidJobOperation: other code declares an entry of this name.

        Redis: 2 calls, 1 pipeline per 200 entries, and 1 call per entry declared or removed.
        """
        return await sync(
            self.backend,
            declared,
            source,
            self._queue_for,
            version=version,
            dry_run=dry_run,
            keep=keep,
        )

    # -- running ---------------------------------------------------------------------------------------------------------

    async def run(self, burst: bool = False, queues: Sequence[str] = ()) -> None:
        """Carry out what is due, of all queues or some, until told to stop. Any number of processes may; workers do it as well.

        It sleeps until something is due, and looks every ``interval`` seconds in any case. While Redis is away, it waits for it.

        Args:
            burst: carry out what is due now, and return.
            queues: the names of those that are meant; all there are if none is given.

        Raises:
            BackendRefused: Redis does not want us, or is too old.
            BackendUnavailable: only in a burst; otherwise it waits for Redis.

        Redis: about 2 calls a second; for what is due, 1 call per 100 jobs, 1 pipeline per 100 entries; per interval, 1 per 200.
        """
        names = as_names(queues, "queue")
        if burst:
            await Patrol(self.backend, self.interval, names, self._prepare).sweep()
            return
        if self._patrol is not None:
            raise InvalidJobOperation("this scheduler runs already; make another one")
        backend = self.backend.patient(NOTICES_S)
        self._patrol = Patrol(backend, self.interval, names, self._prepare)
        try:
            with stopping_on_signals(self.request_stop, self._handle_signals):
                await self._patrol.run()
        finally:
            self._patrol = None
            await backend.close()

    def request_stop(self) -> None:
        """Have ``run`` return."""
        if self._patrol is not None:
            self._patrol.stop()

    def is_home_of(self, queue: str | None) -> bool:
        """Return whether a queue (by default the scheduler's) lives where this scheduler writes: of several shards, one has it."""
        home = self._queue_for(queue).backend
        return (home.location, home.key_prefix) == (self.backend.location, self.backend.key_prefix)

    # -- inside ----------------------------------------------------------------------------------------------------------

    def _queue_for(self, name: str | None) -> Queue:
        if self._queue is not None:
            return self._queue if name is None else self._queue.named(name)
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
        is_date = isinstance(scheduled_time, datetime)
        return await self._queue_for(queue_name).schedule_call(
            func,
            tuple(args or ()),
            dict(kwargs or {}),
            EnqueueOptions.checked(**named),
            due_at=as_utc(scheduled_time).timestamp() if is_date else None,  # type: ignore[arg-type]
            due_in=None if is_date else seconds(scheduled_time, name="scheduled_time"),  # type: ignore[arg-type]
        )

    async def _first(self, scheduled_time: datetime | Duration) -> float:
        if isinstance(scheduled_time, datetime):
            return round(as_utc(scheduled_time).timestamp(), 3)
        delay = seconds(scheduled_time, name="scheduled_time")
        return round(await crons.now(self.backend) + delay, 3)

    async def _write(self, spec: CronSpec, mode: crons.Mode, *, anonymous: bool = False) -> CronJob:
        queue = self._queue_for(spec.queue)
        if not self.is_home_of(spec.queue):
            raise InvalidOption(
                f"cron {spec.name!r}: queue {queue.name!r} lives in {queue.backend.key_prefix}, and this scheduler writes to"
                f" {self.backend.key_prefix}: an entry lives with its queue, take the scheduler of that one"
            )
        await write(self.backend, spec, queue, mode, anonymous=anonymous)
        return await CronJob.fetch(spec.name, self.backend, self.serializer)
