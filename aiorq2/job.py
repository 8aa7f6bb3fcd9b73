"""A handle on one job: what was last seen of it, and what can be done to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol, Self, TypeVar

from aiorq2.backends import inspect, wire
from aiorq2.backends.base import Ended, JobRecord, Observed
from aiorq2.backends.redis import RedisBackend
from aiorq2.callables import describe_call
from aiorq2.errors import DeserializationError, JobCancelled, JobFailed, NoSuchJobError
from aiorq2.options import JobSpec
from aiorq2.payloads import Call, decode_call, decode_value, encode_value
from aiorq2.results import Result, ResultType, result_of_entry, result_of_record, value_of_record
from aiorq2.serializers import Serializer
from aiorq2.serializers import resolve as resolve_serializer
from aiorq2.states import JobStatus

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, None]]

MAX_RESULTS = 50
"""How many entries ``results()`` reads at the most."""


class Control(Protocol):
    """What a running job can ask the run that it is in."""

    def check_cancelled(self) -> None: ...


class Job:
    """One job, as it was last read. Attributes never touch Redis; what does is a coroutine.

    ``refresh()``, ``get_status()`` and ``wait()`` bring every attribute up to date, ``meta``, ``result`` and ``exc_info`` included.

    >>> job = await queue.enqueue(add, 1, 2)
    >>> await job.wait(timeout=10)
    3
    """

    def __init__(
        self,
        record: JobRecord,
        backend: RedisBackend,
        serializer: Serializer,
        *,
        call: Call | None = None,
    ) -> None:
        self.id = record.id
        self._backend = backend
        self._serializer = serializer
        self._record = record
        self._call = call
        self._meta: dict[str, Any] | None = None
        self.control: Control | None = None
        self.spec: JobSpec | None = None
        """What ``Queue.create_job`` made, until it is enqueued."""
        self._latest: Result | None = None
        self._value: Any = None
        self._unreadable: DeserializationError | None = None
        self.exc_info: str | None = None
        """The traceback of the last failure as text, if the job had failed when it was last looked at; else None."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {self.description}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # -- finding ---------------------------------------------------------------------------------------------------------

    @classmethod
    async def fetch(
        cls, id: str, backend: RedisBackend, serializer: str | Serializer | None = None
    ) -> Self:
        """Return the job of this id.

        Raises:
            NoSuchJobError: there is none.

        Redis: 1 call.
        """
        job = cls(JobRecord(id, {}), backend, resolve_serializer(serializer))
        await job.refresh()
        return job

    @classmethod
    async def fetch_many(
        cls, ids: Sequence[str], backend: RedisBackend, serializer: str | Serializer | None = None
    ) -> list[Self | None]:
        """Return the jobs of these ids, None where there is none. Redis: 1 pipeline per 500 jobs, and one for the
        results of those that keep them in a stream."""
        found = resolve_serializer(serializer)
        records = await inspect.records(backend, ids)
        entries = await inspect.latest_entries(
            backend, [one.id for one in records if one and one.has_streamed_result]
        )
        jobs: list[Self | None] = []
        for record in records:
            job = None if record is None else cls(record, backend, found)
            if job is not None and record is not None:
                job._see(Observed(record, entries.get(record.id)))
            jobs.append(job)
        return jobs

    @classmethod
    async def exists(cls, id: str, backend: RedisBackend) -> bool:
        """Return whether there is a job of this id. Redis: 1 call."""
        return bool((await backend.run(["EXISTS", backend.keys.job(id)]))[0])

    # -- what was last seen ----------------------------------------------------------------------------------------------

    @property
    def func_name(self) -> str:
        """The dotted name of the function.

        Raises:
            DeserializationError: the payload was written with another serializer (also ``args`` and ``kwargs``).
        """
        return self._decoded().func_name

    @property
    def instance(self) -> object | None:
        """The object whose method is called, if one is."""
        return self._decoded().instance

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments."""
        return self._decoded().args

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments."""
        return self._decoded().kwargs

    @property
    def data(self) -> bytes:
        """The payload as it lies in Redis."""
        return self._record.fields.get("data", b"")

    @property
    def result(self) -> Any:
        """The return value, if the job had finished when it was last looked at; else None.

        Raises:
            DeserializationError: it was written with another serializer. Only here: the rest of the job can be read.
        """
        if self._unreadable is not None:
            raise self._unreadable
        return self._value

    @property
    def description(self) -> str:
        """A text for people, by default the call."""
        told = self._record.text("description")
        if told is not None or self._call is None:
            return told or ""
        return describe_call(self._call.func_name, self._call.args, self._call.kwargs)

    @property
    def origin(self) -> str:
        """The name of the queue."""
        return self._record.origin

    @property
    def meta(self) -> dict[str, Any]:
        """What the job and its users keep beside it. Change it freely, then ``await job.save_meta()``."""
        if self._meta is None:
            raw = self._record.fields.get("meta")
            self._meta = (
                decode_value(self._serializer, raw, what="meta", context=self.id) if raw else {}
            )
        return self._meta

    @meta.setter
    def meta(self, meta: dict[str, Any]) -> None:
        self._meta = meta

    @property
    def status(self) -> JobStatus:
        """The status that was last seen; ``await get_status()`` asks Redis."""
        return self._record.status

    @property
    def timeout(self) -> float | int | None:
        """Seconds that a run may take; -1 for ever."""
        exact = self._record.real("aio_timeout")
        return exact if exact is not None else self._record.number("timeout")

    @property
    def ttl(self) -> int | None:
        """Seconds for which the job may wait before it is dropped."""
        return self._record.number("ttl")

    @property
    def result_ttl(self) -> int | None:
        """Seconds for which a result is kept; -1 for ever, None as the worker has it."""
        return self._record.number("result_ttl")

    @property
    def failure_ttl(self) -> int | None:
        """Seconds for which a failed job is kept; -1 for ever, None a year."""
        return self._record.number("failure_ttl")

    @property
    def created_at(self) -> datetime | None:
        """When it was made."""
        return self._record.time("created_at")

    @property
    def enqueued_at(self) -> datetime | None:
        """When it was last put into its queue."""
        return self._record.time("enqueued_at")

    @property
    def started_at(self) -> datetime | None:
        """When its last run began."""
        return self._record.time("started_at")

    @property
    def ended_at(self) -> datetime | None:
        """When its last run ended."""
        return self._record.time("ended_at")

    @property
    def worker_name(self) -> str | None:
        """The worker of the last run."""
        return self._record.text("worker_name")

    @property
    def retries_left(self) -> int | None:
        """How often it may still be repeated after an exception."""
        return self._record.number("retries_left")

    @property
    def number_of_retries(self) -> int | None:
        """How many retries it has asked for by returning a ``Retry``."""
        return self._record.number("number_of_retries")

    @property
    def attempt(self) -> int:
        """How often it has been started; runs that were given back do not count."""
        return self._record.number("aio_attempt") or 0

    @property
    def origin_group(self) -> str | None:
        """The name of the group it belongs to."""
        return self._record.text("group_id")

    @property
    def repeats_left(self) -> int | None:
        """How many more runs there will be after a success."""
        return self._record.number("repeats_left")

    @property
    def dependency_ids(self) -> list[str]:
        """The ids of the jobs that it waits, or waited, for."""
        return self._record.texts("dependency_ids")

    def callback_name(self, event: str) -> str | None:
        """Return the dotted name of the function to call on ``success``, ``failure`` or ``stopped``."""
        return self._record.text(f"{event}_callback_name")

    def callback_timeout(self, event: str) -> int | None:
        """Return how many seconds that function may take."""
        return self._record.number(f"{event}_callback_timeout")

    def see_status(self, status: JobStatus) -> None:
        """Take ``status`` for the last one seen: callbacks run before it is written, and see it all the same, as in RQ."""
        self._record = JobRecord(self.id, {**self._record.fields, "status": status.value.encode()})

    # -- reading ---------------------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read the job again.

        Raises:
            NoSuchJobError: it is gone.

        Redis: 1 call.
        """
        self._see(await self._backend.observe(self.id))

    async def get_status(self, refresh: bool = True) -> JobStatus:
        """Return the status. Redis: 1 call, none with ``refresh=False``.

        Raises:
            NoSuchJobError: the job is gone.
        """
        if refresh:
            await self.refresh()
        return self.status

    async def is_queued(self) -> bool:
        """Return whether it waits in its queue. Redis: 1 call (so do all the predicates)."""
        return await self.get_status() is JobStatus.QUEUED

    async def is_started(self) -> bool:
        """Return whether it runs."""
        return await self.get_status() is JobStatus.STARTED

    async def is_finished(self) -> bool:
        """Return whether it has returned."""
        return await self.get_status() is JobStatus.FINISHED

    async def is_failed(self) -> bool:
        """Return whether it has failed."""
        return await self.get_status() is JobStatus.FAILED

    async def is_stopped(self) -> bool:
        """Return whether it was stopped while it ran."""
        return await self.get_status() is JobStatus.STOPPED

    async def is_canceled(self) -> bool:
        """Return whether it was cancelled before it ran."""
        return await self.get_status() is JobStatus.CANCELED

    async def is_scheduled(self) -> bool:
        """Return whether it waits for its time."""
        return await self.get_status() is JobStatus.SCHEDULED

    async def is_deferred(self) -> bool:
        """Return whether it waits for other jobs."""
        return await self.get_status() is JobStatus.DEFERRED

    async def get_meta(self, refresh: bool = True) -> dict[str, Any]:
        """Return ``meta``, read again. Redis: 1 call."""
        if refresh:
            await self.refresh()
        return self.meta

    async def get_position(self) -> int | None:
        """Return the place in the queue, from 0; None when it is not in it. Redis: 1 call."""
        return await inspect.position(self._backend, self.origin, self.id)

    async def fetch_dependencies(self) -> list[Job]:
        """Return the jobs that it waits, or waited, for, as far as they are still there. Redis: 1 pipeline per 500 of them."""
        found = await Job.fetch_many(self.dependency_ids, self._backend, self._serializer)
        return [job for job in found if job is not None]

    async def dependency(self) -> Job | None:
        """Return the first of them. Redis: 1 call."""
        found = await Job.fetch_many(self.dependency_ids[:1], self._backend, self._serializer)
        return found[0] if found else None

    async def dependent_ids(self) -> list[str]:
        """Return the ids of the jobs that wait for it. Redis: 1 call."""
        reply = await self._backend.run(["SMEMBERS", self._backend.keys.dependents(self.id)])
        return sorted(one.decode() for one in reply[0])

    async def dependents(self) -> list[Job]:
        """Return the jobs that wait for it. Redis: 1 call, and 1 pipeline per 500 of them."""
        found = await Job.fetch_many(await self.dependent_ids(), self._backend, self._serializer)
        return [job for job in found if job is not None]

    async def return_value(self, refresh: bool = True) -> Any:
        """Return what the function returned, None while it has not. Redis: 1 call."""
        if refresh:
            await self.refresh()
        return self.result

    async def results(self) -> list[Result]:
        """Return what was kept of the runs, the newest first. Redis: 1 pipeline.

        Raises:
            NoSuchJobError: the job is gone.
        """
        await self.refresh()
        entries = await inspect.result_entries(self._backend, self.id, MAX_RESULTS)
        kept = [
            result_of_entry(self.id, entry_id, fields, self._serializer)
            for entry_id, fields in entries
        ]
        latest = result_of_record(self._record, self._serializer)
        if latest is not None and not any(one.type is ResultType.SUCCESSFUL for one in kept):
            kept.insert(0, latest)
        return kept

    async def latest_result(self, timeout: float = 0) -> Result | None:
        """Return how the last run ended; waits up to ``timeout`` seconds for one that has not. Redis: 1 call."""
        if timeout > 0:
            with suppress(TimeoutError):
                await self._backend.ended(self.id, timeout)
        return next(iter(await self.results()), None)

    async def wait(self, timeout: float | None = None) -> Any:
        """Wait for the end of the job and return what it returned. The end is pushed, not polled.

        Args:
            timeout: seconds; None for ever.

        Raises:
            JobFailed: it failed; carries the remote traceback as text.
            JobCancelled: it was cancelled or stopped.
            NoSuchJobError: it is gone.
            TimeoutError: it has not ended in time; it goes on.

        Redis: 1 call to leave word and 1 to read the record; 1 subscription per process.
        """
        async with asyncio.timeout(timeout):
            while True:
                news = await self._backend.ended(self.id, None)
                try:
                    if isinstance(news, Observed):
                        self._see(news)
                    else:
                        await self.refresh()
                except NoSuchJobError:
                    if not isinstance(news, Ended) or not self._see_pushed(news):
                        raise
                if self.status.is_terminal:  # else requeued between the message and the look
                    return self._value_or_error()

    # -- doing -----------------------------------------------------------------------------------------------------------

    async def cancel(
        self, enqueue_dependents: bool = False, remove_from_dependencies: bool = False
    ) -> None:
        """Cancel the job; if it runs, tell its worker to stop it (it then ends as ``stopped``). Redis: 1 call.

        Args:
            enqueue_dependents: it counts as done for the jobs that wait for it.
            remove_from_dependencies: the jobs that it waits for forget it (1 more call).

        Raises:
            NoSuchJobError: it is gone.
            InvalidJobOperation: it has ended.
        """
        await self._backend.cancel(self.id, enqueue_dependents=enqueue_dependents)
        if remove_from_dependencies and self.dependency_ids:
            keys = self._backend.keys
            await self._backend.run(
                *[["SREM", keys.dependents(parent), self.id] for parent in self.dependency_ids]
            )

    async def requeue(self, at_front: bool = False) -> None:
        """Put a job that has ended back into its queue. Redis: 1 call.

        Raises:
            NoSuchJobError: it is gone.
            InvalidJobOperation: it has not ended.
        """
        await self._backend.requeue(self.id, at_front=at_front)

    async def delete(self, delete_dependents: bool = False) -> None:
        """Delete the job and its results, with ``delete_dependents`` those that wait for it, too. Redis: 1 call each.

        Raises:
            NoSuchJobError: it is gone.
            InvalidJobOperation: it runs; cancel it first.
        """
        if delete_dependents:
            for dependent in await self.dependents():
                await dependent.delete(delete_dependents=True)
        await self._backend.delete(self.id)

    def save_meta(self) -> Awaitable[None]:
        """Write ``meta``. ``await`` it on the loop; in a thread or process of a plain function it blocks until it is done,
        so code written for RQ (``job.save_meta()``) works as it stands. Redis: 1 call.

        Raises:
            NoSuchJobError: the job is gone.
            SerializationError: something in it cannot be carried.
        """
        return blocking_outside_the_loop(self._save_meta, self._backend.close)

    def check_cancelled(self) -> None:
        """Inside the job: return if it may go on, raise ``CancelledError`` if it is to stop. Never touches Redis."""
        if self.control is not None:
            self.control.check_cancelled()

    async def _save_meta(self) -> None:
        raw = encode_value(self._serializer, self.meta, what="meta", context=self.id)
        reply = await self._backend.call("save_meta", id=self.id, meta=raw)
        if reply[0] != b"OK":
            raise NoSuchJobError(f"job {self.id!r}: cannot save meta, there is no such job")

    def prepare(self, spec: JobSpec) -> None:
        """Become what is about to be enqueued; for ``Queue``."""
        self.spec = spec
        self._record = wire.record_of_spec(spec)

    # -- seeing ----------------------------------------------------------------------------------------------------------

    def _decoded(self) -> Call:
        if self._call is None:
            self._call = decode_call(self._serializer, self.data, context=self.id)
        return self._call

    def _see(self, observed: Observed) -> None:
        if observed.record is None:
            raise NoSuchJobError(f"job {self.id!r}: there is no such job")
        if observed.record.fields.get("data") != self.data:
            self._call = None  # the id was used again
        self._record = observed.record
        self._meta = None
        self._latest = None
        self._value, self._unreadable = None, None
        try:
            if observed.entry is not None:
                self._latest = result_of_entry(self.id, *observed.entry, self._serializer)
            self._value = self._value_seen()
        except DeserializationError as error:
            self._unreadable = error
        self.exc_info = self._exc_info_seen()

    def _value_seen(self) -> Any:
        if self.status is not JobStatus.FINISHED:
            return None
        if "result" in self._record.fields:
            return value_of_record(self._record, self._serializer)
        return (
            self._latest.return_value
            if self._latest and self._latest.type is ResultType.SUCCESSFUL
            else None
        )

    def _exc_info_seen(self) -> str | None:
        if self.status not in (JobStatus.FAILED, JobStatus.STOPPED) or self._latest is None:
            return None
        return self._latest.exc_string

    def _see_pushed(self, news: Ended) -> bool:
        """Take from the message what was not to be kept (``result_ttl=0``); returns whether there was anything."""
        ended = JobRecord(self.id, {**self._record.fields, "status": news.status.encode()})
        if not ended.status.is_terminal:
            return False
        self._record = ended
        self._value = (
            decode_value(self._serializer, news.value, what="result", context=self.id)
            if news.value
            else None
        )
        return True

    def _value_or_error(self) -> Any:
        match self.status:
            case JobStatus.FINISHED:
                return self.result
            case JobStatus.FAILED:
                raise JobFailed(self.id, self.exc_info)
            case status:
                how = "stopped" if status is JobStatus.STOPPED else "cancelled"
                raise JobCancelled(f"job {self.id!r} was {how}")


class Done:
    """An awaitable that is done."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


def blocking_outside_the_loop(work: Work, close: Work) -> Awaitable[None]:
    """Return ``work()`` on an event loop; in a thread without one, do it before returning: on the worker's loop if it has one,
    else on a new one, whose connections are closed with ``close()``."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        return work()
    bridge = loop_bridge.get()
    if bridge is not None:
        bridge(work)
    else:
        asyncio.run(closing(work(), close))
    return Done()


async def closing(work: Awaitable[T], close: Work) -> T:
    """Do ``work``, the last on this loop, and close its connections."""
    try:
        return await work
    finally:
        await close()


loop_bridge: ContextVar[Callable[[Work], None] | None] = ContextVar(
    "aiorq2_loop_bridge", default=None
)
"""How a thread that runs a job has something done on the worker's loop."""
current_job: ContextVar[Job | None] = ContextVar("aiorq2_current_job", default=None)


def get_current_job() -> Job | None:
    """Return the job that is running here, in a coroutine, a thread or a process; None outside of jobs."""
    return current_job.get()
