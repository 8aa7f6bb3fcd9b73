"""A handle on one job: what was last seen of it, and what can be done to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Protocol, Self

from aiorq2.backends import inspect, wire
from aiorq2.backends.base import Ended, JobRecord, Observed, Progressed
from aiorq2.backends.kept import Source, backend_of
from aiorq2.drafts import Draft, Func, arguments_of, refuse_unknown
from aiorq2.errors import InvalidJobOperation, NoSuchJobError
from aiorq2.executions import Execution
from aiorq2.lineage import delete_dependents
from aiorq2.loops import blocking_outside_the_loop
from aiorq2.options import EnqueueOptions, JobSpec, any_job_id
from aiorq2.payloads import encode_value
from aiorq2.progress import Progress, packed
from aiorq2.results import Result, ResultType, result_of_entry, result_of_record
from aiorq2.seen import SeenJob
from aiorq2.serializers import Serializer
from aiorq2.serializers import resolve as resolve_serializer
from aiorq2.states import JobStatus
from aiorq2.timing import Duration

MAX_RESULTS = 50
"""How many entries ``results()`` reads at the most."""


class Control(Protocol):
    """What a running job can ask the run that it is in."""

    has_ended: bool

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
    counterpart: Any = None
    """The same job as rq's, for the plain functions that rq was told to call back; only where rq enqueued it and is there."""

    # -- making ----------------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        func: Func,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        backend: Source | None = None,
        *,
        connection: Source | None = None,
        serializer: str | Serializer | None = None,
        timeout: Duration | None = None,
        id: str | None = None,
        origin: str = "",
        **options: Any,
    ) -> Self:
        """Return a job that is not in Redis yet: ``queue.enqueue_job`` puts it there, and so makes it one of that queue.

        Args:
            serializer: as the queue's.
            timeout: seconds that a run may take; default: the queue's.
            options: the other options of ``Queue.enqueue``.
        """
        refuse_unknown(options)
        found, reads_with = backend_of(backend, connection), resolve_serializer(serializer)
        draft = Draft(serializer=reads_with, origin=origin, created_at=found.time())
        given = {"job_timeout": timeout, "job_id": id}
        options |= {name: value for name, value in given.items() if value is not None}
        asked = EnqueueOptions.checked(**options)
        spec, call = draft.of_call(func, *arguments_of(args, kwargs), asked)
        job = cls(wire.record_of_spec(spec), found, reads_with, call=call)
        job.prepare(spec)
        return job

    # -- finding ---------------------------------------------------------------------------------------------------------

    @classmethod
    async def fetch(
        cls,
        id: str,
        backend: Source | None = None,
        serializer: str | Serializer | None = None,
        *,
        connection: Source | None = None,
    ) -> Self:
        """Return the job of this id.

        Args:
            backend: where it lives, or RQ's ``connection``; so for the others below. Default: ``connect()``.
            serializer: as its queue's.

        Raises:
            InvalidOption: the id is no text (so for the others below).
            NoSuchJobError: there is none.

        Redis: 1 call.
        """
        found = backend_of(backend, connection)
        job = cls(JobRecord(any_job_id(id), {}), found, resolve_serializer(serializer))
        await job.refresh()
        return job

    @classmethod
    async def fetch_many(
        cls,
        job_ids: Iterable[str],
        backend: Source | None = None,
        serializer: str | Serializer | None = None,
        *,
        connection: Source | None = None,
    ) -> list[Self | None]:
        """Return the jobs of these ids, None where there is none. Redis: 1 pipeline per 500 jobs, and one for the
        results of those that keep them in a stream."""
        found = backend_of(backend, connection)
        reads_with = resolve_serializer(serializer)
        records = await inspect.records(found, [any_job_id(one) for one in job_ids])
        entries = await inspect.latest_entries(
            found, [one.id for one in records if one and one.has_streamed_result]
        )
        jobs: list[Self | None] = []
        for record in records:
            job = None if record is None else cls(record, found, reads_with)
            if job is not None and record is not None:
                job._see(Observed(record, entries.get(record.id)))
            jobs.append(job)
        return jobs

    @classmethod
    async def exists(
        cls,
        job_id: str,
        backend: Source | None = None,
        *,
        connection: Source | None = None,
    ) -> bool:
        """Return whether there is a job of this id. Redis: 1 call."""
        found = backend_of(backend, connection)
        return bool((await found.run(["EXISTS", found.keys.job(any_job_id(job_id))]))[0])

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

    async def is_ready_to_enqueue(self) -> bool:
        """Whether those that it waited for are done, and rq has not enqueued it yet."""
        return await self.get_status() is JobStatus.READY_TO_ENQUEUE

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
        """Return the ids of the jobs that wait for it; a scheduled one is among them from its time on. Redis: 1 call."""
        return await inspect.dependent_ids(self._backend, [self.id])

    async def dependents(self) -> list[Job]:
        """Return the jobs that wait for it, as ``dependent_ids``. Redis: 1 call, and 1 pipeline per 500 of them."""
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
        """Return how the last run ended; waits up to ``timeout`` seconds for one that has not. Redis: 1 call.

        Raises:
            InvalidJobOperation: it was to wait inside of this job, as with ``wait``.
        """
        if timeout > 0:
            self._refuse_to_wait_inside()
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
            InvalidJobOperation: called inside of this job while it runs, or in a task that it has begun: it would wait for itself.

        Redis: 1 call to leave word and 1 to read the record; 1 subscription per process.
        """
        self._refuse_to_wait_inside()
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

    def _refuse_to_wait_inside(self) -> None:
        here = job_called_back.get() or get_current_job()
        if here is None or here.key != self.key or here.backend.location != self.backend.location:
            return
        # A job that has ended and is not being called back: this is a task that it has left behind.
        has_ended = here.control is not None and here.control.has_ended
        if job_called_back.get() or (here.status is JobStatus.STARTED and not has_ended):
            raise InvalidJobOperation(
                f"job {self.id!r}: cannot wait for its own end while it runs; enqueue what is to follow it with depends_on"
            )

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
            await self.delete_dependents()
        await self._backend.delete(self.id)

    async def delete_dependents(self) -> None:
        """Delete the jobs that wait for it, and those that wait for these; one that runs is left alone, and a scheduled one whose
        time has not come (it runs then, as after every parent that is gone).

        Redis: 1 pipeline per 100 of them.
        """
        await delete_dependents(self._backend, self.id)

    def save_meta(self) -> Awaitable[None]:
        """Write ``meta``. ``await`` it on the loop; in a thread or process of a plain function it blocks until it is done,
        so code written for RQ (``job.save_meta()``) works as it stands. Redis: 1 call.

        Raises:
            NoSuchJobError: the job is gone.
            SerializationError: something in it cannot be carried.
        """
        return blocking_outside_the_loop(self._save_meta, self._backend.close)

    def progress(self, done: float, text: str = "") -> Awaitable[None]:
        """Say how far the job is: the share that is done, from 0 to 1, and a text for people. ``await`` it on the loop; in a
        thread or process of a plain function it blocks until it is written. Redis: 1 call.

        Raises:
            InvalidOption: it cannot be meant.
            NoSuchJobError: the job is gone.
        """
        raw = packed(done, text)
        return blocking_outside_the_loop(lambda: self._note_progress(raw), self._backend.close)

    async def follow(self) -> AsyncIterator[Progress]:
        """Yield how the job is, now and whenever that changes, until it has ended. It is pushed, not polled.

        Raises:
            NoSuchJobError: the job is gone.

        Redis: 1 call, 1 subscription per process, and 1 call a second beneath it.
        """
        last = None
        async for news in self._backend.follow(self.id):
            now = self._progress_of(news)
            if now != last:
                last = now
                yield now

    def _progress_of(self, news: Ended | Observed | Progressed) -> Progress:
        if isinstance(news, Progressed):
            now = {"status": JobStatus.STARTED.value.encode(), "aio_progress": news.raw}
            self._record = JobRecord(self.id, {**self._record.fields, **now})
            return self.progressed
        if isinstance(news, Observed):
            if news.record is None and self.status.is_terminal:  # not kept, but its end was seen
                return self.progressed
            self._see(news)
        elif not self._see_pushed(news):
            raise NoSuchJobError(f"job {self.id!r}: it was deleted")
        return self.progressed

    async def _note_progress(self, raw: str) -> None:
        reply = await self._backend.call("progress", id=self.id, progress=raw)
        if reply[0] != b"OK":
            raise NoSuchJobError(f"job {self.id!r}: cannot note its progress, there is no such job")

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


current_job: ContextVar[Job | None] = ContextVar("aiorq2_current_job", default=None)
job_called_back: ContextVar[Job | None] = ContextVar("aiorq2_job_called_back", default=None)
"""The job whose callback this is: its end is written when that has returned."""


def get_current_job() -> Job | None:
    """Return the job that is running here, in a coroutine, a thread or a process; None outside of jobs."""
    return current_job.get()


async def cancel_job(
    job_id: str,
    backend: Source | None = None,
    *,
    enqueue_dependents: bool = False,
    connection: Source | None = None,
) -> None:
    """Cancel the job of this id, as ``job.cancel()``. Redis: 1 call."""
    found = backend_of(backend, connection)
    await found.cancel(any_job_id(job_id), enqueue_dependents=enqueue_dependents)


async def requeue_job(
    job_id: str,
    backend: Source | None = None,
    serializer: str | Serializer | None = None,
    *,
    at_front: bool = False,
    connection: Source | None = None,
) -> Job:
    """Put the job of this id, which has ended, back into its queue, and return it. Redis: 2 calls.

    Raises:
        NoSuchJobError: there is none.
        InvalidJobOperation: it has not ended.
    """
    found = backend_of(backend, connection)
    await found.requeue(any_job_id(job_id), at_front=at_front)
    return await Job.fetch(job_id, found, serializer)
