"""A handle on one job: what was last seen of it, and what can be done to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Protocol, Self, TypeVar

from aiorq2.backends import inspect, wire
from aiorq2.backends.base import Ended, JobRecord, Observed
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import NoSuchJobError
from aiorq2.executions import Execution
from aiorq2.lineage import delete_with_dependents
from aiorq2.options import JobSpec
from aiorq2.payloads import encode_value
from aiorq2.results import Result, ResultType, result_of_entry, result_of_record
from aiorq2.seen import SeenJob
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


class Job(SeenJob):
    """One job, as it was last read. Attributes never touch Redis; what does is a coroutine.

    ``refresh()``, ``get_status()`` and ``wait()`` bring every attribute up to date, ``meta``, ``result`` and ``exc_info`` included.

    >>> job = await queue.enqueue(add, 1, 2)
    >>> await job.wait(timeout=10)
    3
    """

    control: Control | None = None
    """The run that this job is in, inside of it."""

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
        return await inspect.dependent_ids(self._backend, [self.id])

    async def dependents(self) -> list[Job]:
        """Return the jobs that wait for it. Redis: 1 call, and 1 pipeline per 500 of them."""
        found = await Job.fetch_many(await self.dependent_ids(), self._backend, self._serializer)
        return [job for job in found if job is not None]

    async def blocked_by(self) -> list[Job]:
        """Return the jobs for which it waits in vain, unless they are requeued: those that ended badly, where it minds.

        Redis: 1 pipeline per 500 of those that it waits for.
        """
        if self.status is not JobStatus.DEFERRED or self.on_parent_failure == "run":
            return []
        bad = {JobStatus.STOPPED, JobStatus.CANCELED}
        if not self.allow_dependency_failures:
            bad.add(JobStatus.FAILED)
        return [job for job in await self.fetch_dependencies() if job.status in bad]

    async def get_executions(self) -> list[Execution]:
        """Return the runs of it that are under way, the oldest first. Redis: 2 calls."""
        return await Execution.of_job(self.id, self._backend)

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
            await delete_with_dependents(self._backend, self.id)
        else:
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
        raw = encode_value(self._serializer, self.meta, what="meta", context=self._record.context)
        reply = await self._backend.call("save_meta", id=self.id, meta=raw)
        if reply[0] != b"OK":
            raise NoSuchJobError(f"job {self.id!r}: cannot save meta, there is no such job")

    def prepare(self, spec: JobSpec) -> None:
        """Become what is about to be enqueued; for ``Queue``."""
        self.spec = spec
        self._record = wire.record_of_spec(spec)


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


async def cancel_job(
    job_id: str, backend: RedisBackend, *, enqueue_dependents: bool = False
) -> None:
    """Cancel the job of this id, as ``job.cancel()``. Redis: 1 call."""
    await backend.cancel(job_id, enqueue_dependents=enqueue_dependents)


async def requeue_job(
    job_id: str,
    backend: RedisBackend,
    serializer: str | Serializer | None = None,
    *,
    at_front: bool = False,
) -> Job:
    """Put the job of this id, which has ended, back into its queue, and return it. Redis: 2 calls.

    Raises:
        NoSuchJobError: there is none.
        InvalidJobOperation: it has not ended.
    """
    await backend.requeue(job_id, at_front=at_front)
    return await Job.fetch(job_id, backend, serializer)
