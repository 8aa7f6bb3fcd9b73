"""Jobs that belong together: enqueued at once, looked at and waited for as one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from aiorq2.backends import inspect, sweeping
from aiorq2.backends.kept import Source, backend_of
from aiorq2.errors import InvalidOption, NoSuchGroupError
from aiorq2.job import Job
from aiorq2.options import EnqueueData, any_job_id, checked_name
from aiorq2.serializers import Serializer
from aiorq2.states import JobStatus

AWAITED = 50
"""How many members ``wait`` waits for at a time; when they have ended, it looks at all of them."""


class Enqueues(Protocol):
    """A queue, as far as a group is concerned."""

    async def enqueue(self, f: Any, /, *args: Any, **kwargs: Any) -> Job: ...

    async def enqueue_many(
        self, job_datas: Iterable[EnqueueData], group_id: str | None = None
    ) -> list[Job]: ...


@dataclass(frozen=True)
class Progress:
    """How far the members of a group are; ``counts`` has the statuses that occur."""

    total: int
    counts: dict[JobStatus, int]
    gone: int = 0
    """Members that have ended and are not kept any more, or were deleted."""

    @property
    def ended(self) -> int:
        """How many have ended, well or not."""
        return self.gone + sum(count for status, count in self.counts.items() if status.is_terminal)

    @property
    def is_done(self) -> bool:
        """Whether all have."""
        return self.ended == self.total

    @property
    def share(self) -> float:
        """The share that has ended, 0 to 1."""
        return self.ended / self.total if self.total else 1.0


class Group:
    """Jobs that belong together, whatever their queues. The name of a group is all there is to it: making one sends nothing.

    >>> group = Group.create(backend)
    >>> await group.enqueue_many(queue, [Queue.prepare_data(thumbnail, (name,)) for name in names])
    >>> await group.on_complete(queue, publish)
    >>> progress = await group.wait(timeout=60)
    """

    def __init__(
        self,
        backend: Source | None = None,
        name: str | None = None,
        *,
        serializer: str | Serializer | None = None,
        connection: Source | None = None,
    ) -> None:
        self.backend = backend_of(backend, connection)
        self.name = uuid4().hex if name is None else checked_name(name, "group")
        self._serializer = serializer

    def __repr__(self) -> str:
        return f"Group(id={self.name})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def key(self) -> str:
        """The key of its members in Redis."""
        return self.backend.keys.group(self.name)

    # -- finding ---------------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        backend: Source | None = None,
        name: str | None = None,
        *,
        serializer: str | Serializer | None = None,
        connection: Source | None = None,
    ) -> Group:
        """Return a group that has no jobs yet."""
        return cls(backend, name, serializer=serializer, connection=connection)

    @classmethod
    async def fetch(
        cls,
        name: str,
        backend: Source | None = None,
        serializer: str | Serializer | None = None,
        *,
        connection: Source | None = None,
    ) -> Group:
        """Return the group of this name.

        Raises:
            NoSuchGroupError: there is none that has jobs.

        Redis: 1 call.
        """
        group = cls(backend, name, serializer=serializer, connection=connection)
        if not (await group.backend.run(["EXISTS", group.key]))[0]:
            raise NoSuchGroupError(f"there is no group {name!r}")
        return group

    @classmethod
    async def all(
        cls, backend: Source | None = None, *, connection: Source | None = None
    ) -> list[Group]:
        """Return the groups that have jobs, by name. Redis: 2 calls."""
        found = backend_of(backend, connection)
        (members,) = await found.run(["SMEMBERS", found.keys.groups()])
        groups = [cls(found, name.decode()) for name in sorted(members)]
        replies = await found.run(*[["EXISTS", group.key] for group in groups]) if groups else []
        return [group for group, exists in zip(groups, replies, strict=True) if exists]

    @classmethod
    async def clean_registries(
        cls, backend: Source | None = None, *, connection: Source | None = None
    ) -> None:
        """Clean up every group, and forget those that are empty, as RQ's workers do. Redis: as ``cleanup`` for each."""
        found = backend_of(backend, connection)
        (members,) = await found.run(["SMEMBERS", found.keys.groups()])
        for name in members:
            await cls(found, name.decode()).cleanup()

    # -- its jobs --------------------------------------------------------------------------------------------------------

    async def enqueue_many(self, queue: Enqueues, job_datas: Iterable[EnqueueData]) -> list[Job]:
        """Enqueue jobs that join the group, each in the same step. Redis: 1 pipeline per 256 jobs.

        Raises:
            InvalidOption: the queue lives elsewhere than the group, for one in another shard.
        """
        home = getattr(queue, "backend", self.backend)
        if (home.location, home.key_prefix) != (self.backend.location, self.backend.key_prefix):
            raise InvalidOption(
                f"group {self.name!r} lives in {self.backend.key_prefix} at {self.backend.location}, the queue in"
                f" {home.key_prefix} at {home.location}: a group is where its jobs are"
            )
        return await queue.enqueue_many(job_datas, group_id=self.name)

    async def on_complete(self, queue: Enqueues, f: Any, /, *args: Any, **kwargs: Any) -> Job:
        """Enqueue ``f(*args, **kwargs)`` to run when all that are in the group now have ended, well or not; options as for
        ``queue.enqueue``. What they returned it finds with ``await get_current_job().fetch_dependencies()``.

        Redis: 2 calls.
        """
        taken = {"depends_on", "on_parent_failure"} & kwargs.keys()
        if taken:
            raise InvalidOption(f"on_complete: {', '.join(sorted(taken))} is what it is about")
        ids = await self.get_job_ids()
        waits = {"depends_on": ids, "on_parent_failure": "run"} if ids else {}
        return await queue.enqueue(f, *args, **kwargs, **waits)

    async def get_job_ids(self) -> list[str]:
        """Return the ids of its jobs. Redis: 1 call."""
        (members,) = await self.backend.run(["SMEMBERS", self.key])
        return sorted(one.decode() for one in members)

    async def get_jobs(self) -> list[Job]:
        """Return its jobs, as far as they are still there. Redis: 1 call, and 1 pipeline per 500 jobs."""
        ids = await self.get_job_ids()
        found = await Job.fetch_many(ids, self.backend, self._serializer)
        return [job for job in found if job is not None]

    async def delete_job(self, job_id: str) -> None:
        """Take a job out of the group; the job itself stays, as in RQ. Redis: 1 call."""
        await self.backend.run(["SREM", self.key, any_job_id(job_id)])

    async def cleanup(self) -> int:
        """Forget the jobs that are gone, and the group if none is left; returns how many. Redis: 1 call per 500 jobs."""
        return await sweeping.clean_group(self.backend, self.name)

    # -- how far it is ---------------------------------------------------------------------------------------------------

    async def progress(self) -> Progress:
        """Return how many of its jobs are in which status. Redis: 1 call, and 1 pipeline per 500 jobs."""
        return await self._progress_of(await self.get_job_ids())

    async def wait(self, timeout: float | None = None) -> Progress:
        """Wait until all that are in the group now have ended, and return how. The ends are pushed, not polled.

        Args:
            timeout: seconds; None for ever.

        Raises:
            TimeoutError: not all have ended in time; they go on.

        Redis: as ``progress``, twice, and ``job.wait`` for some of those that have not ended.
        """
        ids = await self.get_job_ids()
        async with asyncio.timeout(timeout):
            while not (progress := await self._progress_of(ids)).is_done:
                await self._wait_for_some(ids)
        return progress

    async def _wait_for_some(self, ids: Sequence[str]) -> None:
        """Wait until some of those have ended that have not."""
        statuses = await inspect.statuses(self.backend, ids)
        open_ = [
            one
            for one, status in zip(ids, statuses, strict=True)
            if status is not None and not status.is_terminal
        ]
        await asyncio.gather(*[self.backend.ended(one, None) for one in open_[:AWAITED]])

    async def _progress_of(self, ids: Sequence[str]) -> Progress:
        statuses = await inspect.statuses(self.backend, ids)
        counts: dict[JobStatus, int] = {}
        for status in statuses:
            if status is not None:
                counts[status] = counts.get(status, 0) + 1
        return Progress(len(ids), counts, gone=statuses.count(None))
