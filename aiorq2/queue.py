"""Put jobs into a queue, and look at what waits there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Never, Self

from aiorq2 import left_out
from aiorq2.backends import inspect
from aiorq2.backends.durable import all_added, token_of
from aiorq2.backends.kept import Source, backend_of
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.shards import Shards
from aiorq2.backends.wire import record_of_spec
from aiorq2.contents import QueueContents
from aiorq2.cron import checked_zone, in_zone
from aiorq2.drafts import Draft, Func, arguments_of, refuse_unknown, split_options
from aiorq2.errors import (
    BackendFull,
    BackendRefused,
    BackendUnavailable,
    DuplicateJobError,
    InvalidJobOperation,
    InvalidOption,
    NoSuchJobError,
)
from aiorq2.executor import JobContext
from aiorq2.inline import run_inline
from aiorq2.job import Job
from aiorq2.options import (
    DEFAULT_TIMEOUT,
    NO_OPTIONS,
    EnqueueData,
    EnqueueOptions,
    JobSpec,
    ResultStore,
    checked_name,
)
from aiorq2.payloads import PAYLOAD_LIMIT
from aiorq2.serializers import Serializer
from aiorq2.serializers import resolve as resolve_serializer
from aiorq2.states import JobStatus
from aiorq2.terms import Durable, as_durable
from aiorq2.timing import Duration, as_utc, seconds

CHUNK = 500
"""How many jobs ``enqueue_many`` encodes and sends at a time."""


class Queue(QueueContents):
    """A queue of jobs. Making one touches no network; every coroutine is one call to Redis unless it says otherwise.

    Args:
        name: its name.
        backend: where it lives; default ``connect()``. Of several shards, that which its name leads to.
        default_timeout: seconds (or a duration) that a run may take, unless the job says otherwise; -1 for ever.
        is_async: False runs each job at once, in this process: it has ended when ``enqueue`` returns.
        serializer: ``"json"``, ``"pickle"``, ``signed(…)`` or an object with ``dumps`` and ``loads``; workers need the same.
        results: where results are kept: ``"hash"``, or ``"stream"`` where rq must be able to read them.
        payload_limit: bytes that the arguments, and the meta, of a job may take.
        durable: how many replicas of Redis must have a job before its enqueueing returns, unless it says otherwise: a number, or
            ``Durable(replicas, timeout)``.
        timezone: the zone of datetimes that name none, such as ``"Europe/Berlin"``.
        connection: RQ's word for ``backend``; a URL or a ``redis.asyncio.Redis``.
        job_class: what the handles on its jobs are: ``Job``, or a class that is derived from it.
        job_context: what jobs run in with ``is_async=False``; as for ``Worker``.
        carry: returns what goes into the meta of every job that is enqueued, beneath what its caller says.

    >>> queue = Queue("low", backend=connect("redis://localhost:6379/0"))
    >>> job = await queue.enqueue(add, 1, 2, job_timeout=60)
    """

    DEFAULT_TIMEOUT: ClassVar[int] = DEFAULT_TIMEOUT
    """Seconds that a run may take where nobody says how long; RQ's."""

    def __init__(
        self,
        name: str = "default",
        backend: Source | Shards | None = None,
        *,
        default_timeout: Duration | None = None,
        is_async: bool = True,
        serializer: str | Serializer | object | None = None,
        results: ResultStore = "hash",
        payload_limit: int = PAYLOAD_LIMIT,
        durable: Durable | int | None = None,
        timezone: str = "UTC",
        connection: Source | Shards | None = None,
        job_class: type[Job] = Job,
        job_context: JobContext | None = None,
        carry: Callable[[], dict[str, Any]] | None = None,
        **unused: Never,
    ) -> None:
        left_out.refuse("Queue", unused, left_out.QUEUE)
        if results not in ("hash", "stream"):
            raise InvalidOption(f"Queue(results={results!r}): 'hash' or 'stream'")
        self.name = checked_name(name, "queue")
        self.backend, self._shards = _home(self.name, backend, connection)
        self.default_timeout = (
            _timeout(default_timeout) if default_timeout is not None else DEFAULT_TIMEOUT
        )
        self.is_async = is_async
        self.serializer = resolve_serializer(serializer)
        self.results = results
        self.payload_limit = payload_limit
        self.timezone = checked_zone(timezone)
        self.job_class = job_class
        self.job_context = job_context
        self._carry = carry
        self.durable = as_durable(durable)
        self._refuse_what_cannot_last(self.durable)

    def named(self, name: str) -> Self:
        """Return a queue of this name that is like this one otherwise."""
        other = copy(self)
        other.name = checked_name(name, "queue")
        if self._shards is not None:
            other.backend = self._shards.of(other.name)
        return other

    # -- enqueueing ------------------------------------------------------------------------------------------------------

    async def enqueue(self, f: Func, /, *args: Any, **kwargs: Any) -> Job:
        """Enqueue ``f(*args, **kwargs)``. RQ's reserved keywords (``job_timeout``, ``job_id``, ``retry`` …) are options, the rest
        goes to the function; with ``args=`` or ``kwargs=`` the arguments are given explicitly.

        Raises:
            InvalidOption: an option that cannot be meant, or a function that a worker could not find.
            SerializationError, PayloadTooLarge: the arguments cannot be carried.
            DuplicateJobError: ``unique=True`` and the id is taken.
            InvalidJobOperation: a job with this ``job_id`` is running, or one that it depends on waits for a job of this id.
            BackendUnavailable: Redis was away for too long; the call may be repeated with the same ``job_id``.
            NotDurable: ``durable=``, and too few replicas have the job; it is enqueued, and the call may be repeated.

        Redis: 1 call, shared with concurrent callers.
        """
        args, kwargs, options = split_options(args, kwargs)
        checked = EnqueueOptions.checked(**options) if options else NO_OPTIONS
        return await self._enqueue(f, args, kwargs, checked)

    async def enqueue_at(self, moment: datetime, f: Func, /, *args: Any, **kwargs: Any) -> Job:
        """Enqueue ``f(*args, **kwargs)`` at a point in time; a naive ``datetime`` is in the queue's ``timezone`` (in RQ it is local
        time). One that is past is due at once. Options as for ``enqueue``. Redis: 1 call.
        """
        if not isinstance(moment, datetime):
            raise InvalidOption(f"enqueue_at: a datetime is needed, not {type(moment).__name__}")
        return await self._schedule(f, args, kwargs, due_at=self._instant(moment))

    async def enqueue_in(self, delay: Duration, f: Func, /, *args: Any, **kwargs: Any) -> Job:
        """Enqueue ``f(*args, **kwargs)`` after a ``timedelta`` (or seconds, or "1h30m"), by Redis' clock. Redis: 1 call."""
        return await self._schedule(f, args, kwargs, due_in=seconds(delay, name="enqueue_in"))

    def _instant(self, moment: datetime) -> float:
        return as_utc(in_zone(moment, self.timezone)).timestamp()

    async def _schedule(
        self,
        f: Func,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        due_at: float | None = None,
        due_in: float | None = None,
    ) -> Job:
        args, kwargs, named = split_options(args, kwargs)
        options = EnqueueOptions.checked(**named)
        return await self.schedule_call(f, args, kwargs, options, due_at=due_at, due_in=due_in)

    async def schedule_call(
        self,
        func: Func,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: EnqueueOptions,
        *,
        due_at: float | None = None,
        due_in: float | None = None,
    ) -> Job:
        """Have a job wait for its time (seconds since the epoch, or from now), and then for the jobs that it depends on. With
        ``is_async=False`` as well it is stored, not run. Redis: 1 call."""
        spec, job = self.prepared(func, args, kwargs, options)
        spec = replace(spec, status=JobStatus.SCHEDULED, due_at=due_at, due_in=due_in)
        return await self._send_prepared(spec, job)

    async def schedule_job(self, job: Job, moment: datetime, unique: bool = False) -> Job:
        """Have a job wait for its time: one that ``create_job`` made, or one that is scheduled, for which it is another time.

        Args:
            unique: a job with this id must not exist yet.

        Raises:
            InvalidJobOperation: it waits in a queue, runs or has ended.
            DuplicateJobError: ``unique`` and the id is taken.

        Redis: 1 call.
        """
        due_at = self._instant(moment)
        if job.spec is None:
            _refuse_duplicate(job, unique)
            await self.backend.reschedule(job.id, due_at)
            return job
        spec = replace(self._adopted(job.spec, unique), status=JobStatus.SCHEDULED, due_at=due_at)
        return await self._send_prepared(spec, job)

    async def enqueue_call(
        self,
        func: Func,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        **options: Any,
    ) -> Job:
        """Enqueue with everything explicit; ``timeout`` is ``job_timeout``. As ``enqueue`` otherwise."""
        refuse_unknown(options)
        if timeout is not None:
            options["job_timeout"] = timeout
        return await self._enqueue(
            func, *arguments_of(args, kwargs), EnqueueOptions.checked(**options)
        )

    @staticmethod
    def prepare_data(
        func: Func,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        **options: Any,
    ) -> EnqueueData:
        """Return one job for ``enqueue_many``; options as for ``enqueue_call``."""
        refuse_unknown(options)
        if timeout is not None:
            options["job_timeout"] = timeout
        checked = EnqueueOptions.checked(**options) if options else NO_OPTIONS
        return EnqueueData(func, *arguments_of(args, kwargs), checked)

    async def enqueue_many(
        self, job_datas: Iterable[EnqueueData], group_id: str | None = None
    ) -> list[Job]:
        """Enqueue many jobs. All are encoded before the first is sent, so that a bad one among them leaves none behind.

        Args:
            group_id: the name of the group that they join; see ``Group``.

        Raises:
            InvalidOption: the same ``job_id`` stands twice among them; and as ``enqueue``.
            DuplicateJobError, InvalidJobOperation: as ``enqueue``, of the first that was refused; the notes of the error name the
                others. All that were not refused are enqueued.
            NotDurable: some have too few replicas (``error.job_ids``); all are enqueued.

        Redis: 1 pipeline per 256 jobs, and per 500 that ``unique="return"`` hands back.
        """
        group_id = None if group_id is None else checked_name(group_id, "group")
        datas = list(job_datas)
        ids = [data.options.job_id for data in datas if data.options.job_id]
        if len(ids) != len(set(ids)):
            raise InvalidOption("enqueue_many: the same job_id stands twice among the jobs")
        pairs = []
        for index, data in enumerate(datas):
            pairs.append(
                self.prepared(data.func, data.args, data.kwargs, data.options, group=group_id)
            )
            if index % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)  # let others have the loop
        if not self.is_async:
            return all_added([await self._run_or_refuse(spec, job) for spec, job in pairs])
        found: list[Job | Exception] = []
        for start in range(0, len(pairs), CHUNK):
            found += await self._send_chunk(pairs[start : start + CHUNK])
        return all_added(found)

    async def _send_chunk(self, pairs: Sequence[tuple[JobSpec, Job]]) -> list[Job | Exception]:
        """Send jobs; returns their handles, or why they were refused: those behind are enqueued as well.

        Raises:
            BackendError: Redis is away, full, or does not want us: there is no use in going on.
        """
        outcomes = await self._add_each([spec for spec, _ in pairs])
        for one in outcomes:
            if isinstance(one, BackendUnavailable | BackendFull | BackendRefused):
                raise one
        there = await self._handed_back([spec for spec, _ in pairs], outcomes)
        found: list[Job | Exception] = []
        for (spec, job), outcome in zip(pairs, outcomes, strict=True):
            if isinstance(outcome, Exception):
                found.append(there.get(spec.id, outcome))
                continue
            if outcome is not spec.status:
                job.see_status(outcome)
            found.append(job)
        return found

    async def _handed_back(
        self, specs: Sequence[JobSpec], outcomes: Sequence[JobStatus | Exception]
    ) -> dict[str, Job | Exception]:
        """Return the jobs that are there already and are wanted in place of new ones, by id."""
        ids = [
            spec.id
            for spec, outcome in zip(specs, outcomes, strict=True)
            if isinstance(outcome, DuplicateJobError) and spec.options.unique == "return"
        ]
        found = await self.job_class.fetch_many(ids, self.backend, self.serializer)
        return {job.id: job for job in found if job is not None}

    async def _run_or_refuse(self, spec: JobSpec, job: Job) -> Job | Exception:
        try:
            return await self._send(spec, job)
        except (DuplicateJobError, InvalidJobOperation) as error:  # those behind are run as well
            return error

    def create_job(
        self,
        func: Func,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Job:
        """Return a job that is not in Redis yet; ``enqueue_job`` puts it there."""
        refuse_unknown(options)
        spec, job = self.prepared(
            func, *arguments_of(args, kwargs), EnqueueOptions.checked(**options)
        )
        job.prepare(spec)
        return job

    async def enqueue_job(self, job: Job, at_front: bool = False, unique: bool = False) -> Job:
        """Enqueue a job that ``create_job`` made, with the meta that its handle has by now, or one of this queue that has ended,
        again. Redis: 1 call.

        Args:
            unique: a job with this id must not exist yet.

        Raises:
            InvalidJobOperation: it is waiting or running, or belongs to another queue.
            DuplicateJobError: ``unique`` and the id is taken.
        """
        if job.spec is None:
            _refuse_duplicate(job, unique)
            if job.origin != self.name:
                raise InvalidJobOperation(
                    f"job {job.id!r}: cannot enqueue in {self.name!r}, it is a job of queue {job.origin!r}"
                )
            await self.backend.requeue(job.id, at_front=at_front)
            return job
        spec = self._adopted(job.spec, unique)
        options = replace(spec.options, at_front=at_front or spec.options.at_front)
        return await self._send_prepared(replace(spec, options=options), job)

    def _adopted(self, spec: JobSpec, unique: bool) -> JobSpec:
        """Return a job that was made somewhere as one of this queue."""
        options = replace(spec.options, unique=unique or spec.options.unique)
        durable = self._durability(options)
        return replace(
            spec,
            origin=self.name,
            options=options,
            timeout=self.default_timeout if options.job_timeout is None else spec.timeout,
            results=self.results,
            durable=durable,
            token=token_of(spec.id, self.name, spec.data) if durable else spec.token,
        )

    async def _enqueue(
        self, func: Func, args: tuple[Any, ...], kwargs: dict[str, Any], options: EnqueueOptions
    ) -> Job:
        return await self._send(*self.prepared(func, args, kwargs, options))

    async def _send_prepared(self, spec: JobSpec, job: Job) -> Job:
        """Send a spec that is not the one the handle was made with."""
        spec = job.with_meta(spec, self.payload_limit)
        job.prepare(spec)
        sent = await self._send(spec, job)
        job.spec = None
        return sent

    async def _send(self, spec: JobSpec, job: Job) -> Job:
        try:
            if not self.is_async and spec.status is not JobStatus.SCHEDULED:
                return await self._run_inline(spec, job)
            (status,) = await self._add([spec])
        except DuplicateJobError:
            if spec.options.unique != "return":
                raise
            return await self.job_class.fetch(spec.id, self.backend, self.serializer)
        if status is not spec.status:
            job.see_status(status)
        return job

    async def refuse_across(self, options: Sequence[EnqueueOptions]) -> None:
        """Return if jobs of this queue with these options have to do with nothing in another shard; as ``Shards.refuse_across``."""
        if self._shards is not None:
            await self._shards.refuse_across(self.backend, options)

    async def _add(self, specs: Sequence[JobSpec]) -> list[JobStatus]:
        if self._shards is not None:
            await self.refuse_across([spec.options for spec in specs])
        return await self.backend.add(specs)

    async def _add_each(self, specs: Sequence[JobSpec]) -> list[JobStatus | Exception]:
        if self._shards is not None:
            await self.refuse_across([spec.options for spec in specs])
        return await self.backend.add_each(specs)

    async def _run_inline(self, spec: JobSpec, job: Job) -> Job:
        await run_inline(self.backend, spec, self.serializer, self.job_class, self.job_context)
        with suppress(NoSuchJobError):  # result_ttl=0
            await job.refresh()
        return job

    def prepared(
        self,
        func: Func,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: EnqueueOptions,
        *,
        group: str | None = None,
        context: str | None = None,
    ) -> tuple[JobSpec, Job]:
        """Encode a call into what travels, and the handle on it; for the parts of this package that send it themselves.

        Args:
            context: what a signature of the payload is tied to; default: the job.
        """
        if options.rate_limit is not None and not self.is_async:
            raise InvalidOption("rate_limit: a queue with is_async=False runs every job at once")
        if self._carry is not None and context is None and (carried := self._carry()):
            options = replace(options, meta={**carried, **(options.meta or {})})
        draft = Draft(
            serializer=self.serializer,
            origin=self.name,
            default_timeout=self.default_timeout,
            payload_limit=self.payload_limit,
            results=self.results,
            created_at=self.backend.time(),
            durable=self._durability(options),
        )
        spec, call = draft.of_call(func, args, kwargs, options, group=group, context=context)
        job = self.job_class(record_of_spec(spec), self.backend, self.serializer, call=call)
        return spec, job

    def _durability(self, options: EnqueueOptions) -> Durable | None:
        """Return how many replicas must have a job, None if it is not to wait for any."""
        durable = self.durable if options.durable is None else options.durable
        if durable is None or not durable.replicas:
            return None
        self._refuse_what_cannot_last(durable)
        return durable

    def _refuse_what_cannot_last(self, durable: Durable | None) -> None:
        if durable is None or not durable.replicas:
            return
        if not self.is_async:
            raise InvalidOption("durable: a queue with is_async=False runs every job at once")
        if not self.backend.has_replicas:
            raise InvalidOption(
                f"durable: {self.backend.location} has no replicas; leave it out, or give 0"
            )

    # -- finding ---------------------------------------------------------------------------------------------------------

    @classmethod
    async def all(
        cls, backend: Source | None = None, *, connection: Source | None = None, **options: Any
    ) -> list[Self]:
        """Return every queue that ever had a job; ``options`` as for ``Queue``."""
        found = backend_of(backend, connection)
        return [cls(name, found, **options) for name in await inspect.queue_names(found)]

    @classmethod
    def from_queue_key(
        cls,
        queue_key: str,
        backend: Source | None = None,
        *,
        connection: Source | None = None,
        **options: Any,
    ) -> Self:
        """Return the queue whose list has this key; ``options`` as for ``Queue``.

        Raises:
            InvalidOption: it is not the key of a queue under the backend's prefix.
        """
        found = backend_of(backend, connection)
        prefix = found.keys.queue("")
        if not queue_key.startswith(prefix):
            raise InvalidOption(
                f"{queue_key[:60]!r} is not the key of a queue: they begin with {prefix!r}"
            )
        return cls(queue_key.removeprefix(prefix), found, **options)


def _refuse_duplicate(job: Job, unique: bool) -> None:
    if unique:
        raise DuplicateJobError(f"job {job.id!r}: it exists, and was to be unique")


def _home(
    queue: str, backend: Source | Shards | None, connection: Source | Shards | None
) -> tuple[RedisBackend, Shards | None]:
    """Return where a queue lives, and the shards of which that is one, if it is one of several."""
    if not isinstance(backend, Shards) and not isinstance(connection, Shards):
        return backend_of(backend, connection), None
    if backend is not None and connection is not None:
        raise InvalidOption("give backend or connection, not both")
    shards = backend if isinstance(backend, Shards) else connection
    assert isinstance(shards, Shards)
    return shards.of(queue), shards


def _timeout(value: Duration) -> int | float:
    return seconds(value, name="default_timeout", minimum=0.001, infinite=True)
