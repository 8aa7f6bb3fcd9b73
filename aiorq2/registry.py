"""The lists of jobs that a queue keeps by what has become of them, with RQ's names. Reading changes nothing; ``cleanup`` does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar, Never, NoReturn, Protocol, TypeVar

from aiorq2 import left_out
from aiorq2.backends import inspect, sweeping
from aiorq2.backends.kept import Source, backend_of
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import InvalidOption, NoSuchJobError
from aiorq2.executions import execution_ids
from aiorq2.job import Job
from aiorq2.options import any_job_id, checked_name
from aiorq2.serializers import Serializer
from aiorq2.serializers import resolve as resolve_serializer
from aiorq2.states import JobStatus
from aiorq2.timing import as_utc

R = TypeVar("R", bound="Registry")


class HasJobs(Protocol):
    """A queue, as far as a registry is concerned."""

    name: str
    backend: RedisBackend
    serializer: Serializer


class Registry:
    """What the registries have in common. Every coroutine is one call to Redis unless it says otherwise.

    Args:
        name: the name of the queue.
        backend: where it lives; default ``connect()``.
        queue: instead of the three others.
        serializer: as the queue's.
        connection: RQ's word for ``backend``.

    >>> failed = FailedJobRegistry(queue=queue)
    >>> for job_id in await failed.get_job_ids():
    ...     await failed.requeue(job_id)
    """

    kind: ClassVar[str]
    """The name of the registry in ``inspect.REGISTRIES``."""
    statuses: ClassVar[Sequence[JobStatus]] = ()
    """The statuses of the jobs in it."""

    def __init__(
        self,
        name: str = "default",
        backend: Source | None = None,
        *,
        queue: HasJobs | None = None,
        serializer: str | Serializer | object | None = None,
        connection: Source | None = None,
        **unused: Never,
    ) -> None:
        left_out.refuse(type(self).__name__, unused, left_out.REGISTRY)
        if queue is not None:
            self.name, self.backend, self.serializer = queue.name, queue.backend, queue.serializer
            return
        self.name = checked_name(name, "queue")
        self.backend = backend_of(backend, connection)
        self.serializer = resolve_serializer(serializer)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Registry) and (other.key, other.backend.location) == (
            self.key,
            self.backend.location,
        )

    def __hash__(self) -> int:
        return hash(self.key)

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> NoReturn:
        raise TypeError("len(registry) would have to ask Redis: use `await registry.count()`")

    def __contains__(self, job: object) -> NoReturn:
        raise TypeError("`in` would have to ask Redis: use `await registry.contains(job)`")

    @property
    def key(self) -> str:
        """The key in Redis."""
        return inspect.registry_key(self.backend.keys, self.kind, self.name)

    # -- looking ---------------------------------------------------------------------------------------------------------

    async def count(self) -> int:
        """Return how many jobs are in it; those whose time is over count until somebody cleans up."""
        return await inspect.registry_count(self.backend, self.kind, self.name)

    async def get_job_count(self, cleanup: bool = False) -> int:
        """Return how many jobs are in it, after a ``cleanup()`` if asked for (RQ: by default)."""
        if cleanup:
            await self.cleanup()
        return await self.count()

    async def get_job_ids(
        self, start: int = 0, end: int = -1, desc: bool = False, cleanup: bool = False
    ) -> list[str]:
        """Return the ids from rank ``start`` to ``end``, both included, negative ones counted from the end; ``desc``: the last
        first. ``cleanup()`` comes before if asked for (RQ: by default)."""
        if cleanup:
            await self.cleanup()
        return [inspect.job_in(self.kind, one) for one in await self._members(start, end, desc)]

    async def get_jobs(self, start: int = 0, end: int = -1, desc: bool = False) -> list[Job]:
        """Return the jobs themselves, as far as they are still there. Redis: 1 call, and 1 pipeline per 500 jobs."""
        ids = await self.get_job_ids(start, end, desc)
        return [
            job
            for job in await Job.fetch_many(ids, self.backend, self.serializer)
            if job is not None
        ]

    async def contains(self, job_or_id: Job | str) -> bool:
        """Return whether a job is in it."""
        return await self._score(job_or_id) is not None

    async def get_expired_job_ids(self, timestamp: float | None = None) -> list[str]:
        """Return the ids of the jobs whose time is over now, or at ``timestamp`` (seconds since the epoch)."""
        until = self.backend.time() if timestamp is None else timestamp
        found = await inspect.registry_until(self.backend, self.kind, self.name, until)
        return [inspect.job_in(self.kind, one) for one in found]

    async def get_expiration_time(self, job: Job | str) -> datetime | None:
        """Return until when a job is in it; None for ever.

        Raises:
            NoSuchJobError: it is not in it.
        """
        score = await self._score(job)
        if score is None:
            raise NoSuchJobError(f"job {_id_of(job)!r}: it is not in {self!r}")
        return None if score < 0 or math.isinf(score) else datetime.fromtimestamp(score, UTC)

    async def _members(self, start: int, end: int, desc: bool) -> list[str]:
        entries = await inspect.registry_range(
            self.backend, self.kind, self.name, start, end, desc=desc
        )
        return [member for member, _ in entries]

    async def _score(self, job_or_id: Job | str) -> float | None:
        return await inspect.registry_score(self.backend, self.kind, self.name, _id_of(job_or_id))

    # -- changing --------------------------------------------------------------------------------------------------------

    async def remove(self, job: Job | str, delete_job: bool = False) -> bool:
        """Take a job out of it, as RQ does: its data stays, and it is in no list then. Returns whether it was in it.

        Args:
            delete_job: delete the job (1 more call).

        Raises:
            InvalidJobOperation: it is to be deleted and runs.
        """
        job_id = _id_of(job)
        was_in_it = await self.contains(job_id) if delete_job else False
        if delete_job:
            await self.backend.delete(job_id)
        removed = (await self.backend.run(["ZREM", self.key, job_id]))[0]
        return was_in_it or bool(removed)

    async def requeue(self, job_or_id: Job | str, at_front: bool = False) -> Job:
        """Put a job of this registry back into its queue, and return it. Redis: 2 calls.

        Raises:
            NoSuchJobError: it is gone.
            InvalidJobOperation: it is not in this registry, or has not ended.
        """
        job_id = _id_of(job_or_id)
        await self.backend.requeue(job_id, at_front=at_front, among=self.statuses)
        if not isinstance(job_or_id, Job):
            return await Job.fetch(job_id, self.backend, self.serializer)
        await job_or_id.refresh()
        return job_or_id

    async def cleanup(self, timestamp: float | None = None) -> int:
        """Drop what is over, or gone; returns how much. Workers do so by themselves. Redis: 1 call per 500 jobs.

        Args:
            timestamp: what is over by then (seconds since the epoch); by default, now.
        """
        return await sweeping.sweep(self.backend, self.name, before=timestamp)


class FinishedJobRegistry(Registry):
    """Jobs that have returned, until their ``result_ttl`` is over."""

    kind = "finished"
    statuses = (JobStatus.FINISHED,)


class FailedJobRegistry(Registry):
    """Jobs that have failed or were stopped while they ran, until their ``failure_ttl`` is over."""

    kind = "failed"
    statuses = (JobStatus.FAILED, JobStatus.STOPPED)


class CanceledJobRegistry(Registry):
    """Jobs that were cancelled before they ran; cleaned of those that are gone."""

    kind = "canceled"
    statuses = (JobStatus.CANCELED,)

    async def get_expired_job_ids(self, timestamp: float | None = None) -> list[str]:
        """As in RQ: what was cancelled has no time that could be over."""
        raise NotImplementedError("canceled jobs are listed by the time of their cancelling")

    async def get_expiration_time(self, job: Job | str) -> datetime | None:
        """As above."""
        raise NotImplementedError("canceled jobs are listed by the time of their cancelling")


class StartedJobRegistry(Registry):
    """Jobs that run; its entries are runs, ``<job>:<execution>``, listed by the end of their leases."""

    kind = "started"
    statuses = (JobStatus.STARTED,)

    async def get_job_and_execution_ids(
        self, start: int = 0, end: int = -1, desc: bool = False
    ) -> list[tuple[str, str]]:
        """Return the ids of the jobs and of their runs, from rank ``start`` to ``end``."""
        pairs = [one.rpartition(":") for one in await self._members(start, end, desc)]
        return [(job or execution, execution if job else "") for job, _, execution in pairs]

    async def remove(self, job: Job | str, delete_job: bool = False) -> bool:
        """As in RQ: a run is not taken out; ``job.cancel()`` ends it."""
        raise NotImplementedError("a run is not taken out of its registry: cancel the job")

    async def cleanup(self, timestamp: float | None = None) -> int:
        """Free the jobs whose worker died, as workers do by themselves; returns how many. Redis: 1 call per 100 jobs.

        They go back to the front of the queue, or fail; nobody is called back (a worker that does it calls ``on_failure``).

        Raises:
            InvalidOption: a ``timestamp`` was given; leases are judged by Redis' clock alone.
        """
        if timestamp is not None:
            raise InvalidOption("leases are judged by Redis' clock: give no timestamp")
        freed = 0
        while True:
            reaped = await self.backend.reap(self.name, max_deaths=MAX_DEATHS)
            freed += len(reaped.requeued) + len(reaped.failed)
            if reaped.releases:
                await self.backend.release()
            if reaped.next_in is None or reaped.next_in > 0:
                return freed

    async def _score(self, job_or_id: Job | str) -> float | None:
        """Return the latest end of the job's leases. Redis: 2 calls, and 1 per run."""
        job_id = _id_of(job_or_id)
        ids = await execution_ids(self.backend, job_id)
        members = [job_id, *(f"{job_id}:{one}" for one in ids)]  # rq 1 wrote the bare id
        scores = [
            await inspect.registry_score(self.backend, self.kind, self.name, one) for one in members
        ]
        return max((one for one in scores if one is not None), default=None)


class DeferredJobRegistry(Registry):
    """Jobs that wait for others."""

    kind = "deferred"
    statuses = (JobStatus.DEFERRED,)

    async def cleanup(self, timestamp: float | None = None) -> int:
        """Ask the parents of up to 500 jobs again, should a process have died before it told them; returns how many are free."""
        before = await self.count()
        await sweeping.sweep_deferred(self.backend, self.name, limit=sweeping.SLICE)
        return max(before - await self.count(), 0)


class ReadyJobRegistry(Registry):
    """Jobs that rq is about to put into their queue; aiorq2 does that in one step and leaves none here."""

    kind = "ready"
    statuses = (JobStatus.READY_TO_ENQUEUE,)

    async def cleanup(self, timestamp: float | None = None) -> int:
        """Put them into their queue, should rq have died before it did; returns how many. Redis: 1 call per 500 jobs."""
        return await sweeping.sweep_ready(self.backend, self.name)


class ScheduledJobRegistry(Registry):
    """Jobs that wait for their time."""

    kind = "scheduled"
    statuses = (JobStatus.SCHEDULED,)

    async def schedule(self, job: Job | str, scheduled_datetime: datetime) -> None:
        """Give a scheduled job another time; a naive ``datetime`` is UTC. (A new one is scheduled with ``queue.enqueue_at``.)

        Raises:
            NoSuchJobError: it is gone.
            InvalidJobOperation: it is not scheduled.
        """
        await self.backend.reschedule(_id_of(job), as_utc(scheduled_datetime).timestamp())

    async def get_jobs_to_schedule(
        self, timestamp: float | None = None, chunk_size: int = 1000
    ) -> list[str]:
        """Return the ids of at most ``chunk_size`` jobs that are due now, or at ``timestamp`` (seconds since the epoch)."""
        until = self.backend.time() if timestamp is None else timestamp
        return await inspect.registry_until(self.backend, self.kind, self.name, until, chunk_size)

    async def get_scheduled_time(self, job_or_id: Job | str) -> datetime:
        """Return when a job is due.

        Raises:
            NoSuchJobError: it is not scheduled.
        """
        moment = await self.get_expiration_time(job_or_id)
        assert moment is not None
        return moment

    async def cleanup(self, timestamp: float | None = None) -> int:
        """Nothing is ever over here; as in RQ, nothing is done."""
        return 0


MAX_DEATHS = 3
"""A job whose worker has died so many times has failed, as with ``Worker(max_deaths=…)``."""

REGISTRIES: tuple[type[Registry], ...] = (
    StartedJobRegistry,
    FinishedJobRegistry,
    FailedJobRegistry,
    DeferredJobRegistry,
    ReadyJobRegistry,
    ScheduledJobRegistry,
    CanceledJobRegistry,
)


async def clean_registries(queue: HasJobs) -> None:
    """Clean up all registries of a queue, and the rate limits, as RQ's function of this name does."""
    for registry in (
        StartedJobRegistry,
        FinishedJobRegistry,
        DeferredJobRegistry,
        ReadyJobRegistry,
    ):
        await registry(queue=queue).cleanup()
    await sweeping.sweep_rates(queue.backend)


def _id_of(job_or_id: Job | str) -> str:
    return job_or_id.id if isinstance(job_or_id, Job) else any_job_id(job_or_id)
