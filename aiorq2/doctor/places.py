"""Where ids stand: in the lists of the queues, in rq's intermediate ones, and among the leases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from aiorq2.backends import browse
from aiorq2.backends.workers import job_of
from aiorq2.doctor.tour import Tour

Look = Callable[[str, Sequence[str]], Awaitable[None]]


class Places:
    """All ids that stood somewhere while it was read; a job that stays where it is, is among them.

    Of the ids in queues only hashes are kept, some 70 bytes each: a million of them are no trouble.
    """

    def __init__(self) -> None:
        self._queued: dict[str, set[int]] = {}
        self.taken: dict[str, set[str]] = {}
        """By queue, what rq has taken out of it and not started."""
        self.leases: dict[str, dict[str, float]] = {}
        """By queue, the runs ``<job>:<execution>`` and the ends of their leases."""
        self.repeated: dict[str, set[str]] = {}
        """By queue, the ids that stand in it more than once."""
        self._leased: set[str] = set()

    @classmethod
    async def read(cls, tour: Tour, queues: Iterable[str], look: Look | None = None) -> Places:
        """Read them all; ``look`` is shown each page of a queue. Redis: 1 call per some 1000 ids, 3 at least for each queue."""
        places = cls()
        for queue in queues:
            await places._read_queue(tour, queue, look)
        return places

    def is_somewhere(self, job_id: str) -> bool:
        """Whether a job stood in any queue, or has a lease."""
        return (
            job_id in self._leased
            or any(hash(job_id) in ids for ids in self._queued.values())
            or any(job_id in ids for ids in self.taken.values())
        )

    def is_leased(self, job_id: str) -> bool:
        """Whether a job has a lease, be it over."""
        return job_id in self._leased

    def is_in_queue(self, queue: str, job_id: str) -> bool:
        """Whether a job stood in the list of this queue."""
        return hash(job_id) in self._queued.get(queue, ())

    def length(self, queue: str) -> int:
        """How many different ids stood in the list of a queue."""
        return len(self._queued.get(queue, ()))

    async def _read_queue(self, tour: Tour, queue: str, look: Look | None) -> None:
        keys, backend = tour.keys, tour.backend
        seen = self._queued[queue] = set()
        repeated = self.repeated[queue] = set()
        async for page in browse.list_pages(backend, keys.queue(queue)):
            if look is not None:
                await look(queue, page)
            for job_id in page:
                if hash(job_id) in seen:
                    repeated.add(job_id)
                seen.add(hash(job_id))
        self.taken[queue] = set()
        async for page in browse.list_pages(backend, keys.intermediate(queue)):
            self.taken[queue].update(page)
        self.leases[queue] = {}
        async for entries in browse.sorted_set_pages(backend, keys.wip(queue)):
            self.leases[queue].update(entries)
        self._leased |= {job_of(member) for member in self.leases[queue]}
