"""What is in a queue: looking at it, and clearing it."""

from __future__ import annotations

from aiorq2.backends import inspect, sweeping
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import NoSuchJobError
from aiorq2.job import Job
from aiorq2.options import any_job_id
from aiorq2.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ReadyJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from aiorq2.serializers import Serializer
from aiorq2.timing import to_iso

CHUNK = 500
"""How many jobs ``empty`` deletes at a time."""


class QueueContents:
    """The half of ``Queue`` that puts nothing into it. Every coroutine is one call to Redis unless it says otherwise."""

    name: str
    backend: RedisBackend
    serializer: Serializer
    job_class: type[Job]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QueueContents) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        raise TypeError("len(queue) would have to ask Redis: use `await queue.count()`")

    @property
    def key(self) -> str:
        """The key of its list in Redis."""
        return self.backend.keys.queue(self.name)

    # -- registries ------------------------------------------------------------------------------------------------------

    @property
    def started_job_registry(self) -> StartedJobRegistry:
        """The jobs of this queue that run."""
        return StartedJobRegistry(queue=self)

    @property
    def finished_job_registry(self) -> FinishedJobRegistry:
        """Those that have returned."""
        return FinishedJobRegistry(queue=self)

    @property
    def failed_job_registry(self) -> FailedJobRegistry:
        """Those that have failed, or were stopped."""
        return FailedJobRegistry(queue=self)

    @property
    def deferred_job_registry(self) -> DeferredJobRegistry:
        """Those that wait for others."""
        return DeferredJobRegistry(queue=self)

    @property
    def ready_job_registry(self) -> ReadyJobRegistry:
        """Those that rq is about to put into it."""
        return ReadyJobRegistry(queue=self)

    @property
    def scheduled_job_registry(self) -> ScheduledJobRegistry:
        """Those that wait for their time."""
        return ScheduledJobRegistry(queue=self)

    @property
    def canceled_job_registry(self) -> CanceledJobRegistry:
        """Those that were cancelled."""
        return CanceledJobRegistry(queue=self)

    # -- looking ---------------------------------------------------------------------------------------------------------

    async def count(self) -> int:
        """Return how many jobs wait."""
        return int((await self.backend.run(["LLEN", self.backend.keys.queue(self.name)]))[0])

    async def is_empty(self) -> bool:
        """Return whether no job waits."""
        return await self.count() == 0

    async def get_job_ids(self, offset: int = 0, length: int = -1) -> list[str]:
        """Return the ids that wait, the next one first, ``length`` of them from ``offset`` on (-1: all)."""
        return await inspect.queued_ids(self.backend, self.name, offset, length)

    async def get_jobs(self, offset: int = 0, length: int = -1) -> list[Job]:
        """Return the jobs that wait. Redis: 1 call and 1 pipeline per 500 jobs."""
        ids = await self.get_job_ids(offset, length)
        return [
            job
            for job in await self.job_class.fetch_many(ids, self.backend, self.serializer)
            if job is not None
        ]

    async def job_ids(self) -> list[str]:
        """Return all ids that wait, the next one first."""
        return await self.get_job_ids()

    async def jobs(self) -> list[Job]:
        """Return all jobs that wait, the next one first; as ``get_jobs``."""
        return await self.get_jobs()

    async def fetch_job(self, job_id: str) -> Job | None:
        """Return the job of this id if it is this queue's, None where there is none."""
        try:
            job = await self.job_class.fetch(job_id, self.backend, self.serializer)
        except NoSuchJobError:
            return None
        return job if job.origin == self.name else None

    async def get_job_position(self, job_or_id: Job | str) -> int | None:
        """Return the place of a job in the queue, from 0; None when it is not in it."""
        return await inspect.position(self.backend, self.name, _id_of(job_or_id))

    # -- clearing --------------------------------------------------------------------------------------------------------

    async def empty(self) -> int:
        """Delete the jobs that wait and return how many there were. Redis: 1 call per 500 jobs."""
        removed, left = 0, -1
        while left:
            limit = CHUNK if left < 0 else min(left, CHUNK)
            _, count, behind, more = await self.backend.call(
                "empty", queue=self.name, limit=limit, now_iso=to_iso(self.backend.time())
            )
            left = behind if left < 0 else min(left - count, behind)
            removed += count
            if more:
                await self.backend.release()
        return removed

    async def delete(self, delete_jobs: bool = True) -> None:
        """Delete the queue, with the jobs that wait in it unless told otherwise. Recurring entries and scheduled jobs stay, and
        while there are any, the queue is listed. Redis: 1 call, and as ``empty``."""
        if delete_jobs:
            await self.empty()
        await self.backend.call("delete_queue", queue=self.name)

    async def compact(self) -> int:
        """Take out of the list what nobody could run: ids without a job, and repetitions. Returns how many.

        Redis: 1 call per 10 000 ids; each is atomic, so that no job is ever out of the list.
        """
        return await sweeping.compact(self.backend, self.name)

    async def remove(self, job_or_id: Job | str) -> int:
        """Take a job out of the list, as RQ does: its data stays, and nobody will run it until it is enqueued again.
        ``job.cancel()`` or ``job.delete()`` is what you want. Returns whether it was there (0 or 1)."""
        return int(
            (
                await self.backend.run(
                    ["LREM", self.backend.keys.queue(self.name), 1, _id_of(job_or_id)]
                )
            )[0]
        )


def _id_of(job_or_id: Job | str) -> str:
    return job_or_id.id if isinstance(job_or_id, Job) else any_job_id(job_or_id)
