"""Are the ids in the lists of queues those of jobs that wait, and is every lease alive?"""

from __future__ import annotations

from collections.abc import Sequence

from aiorq2.backends import browse
from aiorq2.doctor.places import Places
from aiorq2.doctor.suspects import Suspects
from aiorq2.doctor.tour import Tour
from aiorq2.states import JobStatus

DEAD_S = 60.0
"""How long a lease must have been over; a worker frees what is in its queues within a few seconds, rq's within 10 minutes."""


class QueueLook:
    """Looks at each page of a queue while ``Places`` reads it."""

    def __init__(self, tour: Tour, suspects: Suspects) -> None:
        self._tour = tour
        self._suspects = suspects

    async def __call__(self, queue: str, page: Sequence[str]) -> None:
        """Note ids of a page that should not be there. Redis: 1 pipeline."""
        if self._tour.is_over:
            return
        self._tour.saw(len(page))
        for job_id, facts in zip(page, await browse.facts(self._tour.backend, page), strict=True):
            if facts is None:
                self._suspects.add("id-without-job", queue, job_id, None)
            elif facts.record.status.is_terminal:
                self._suspects.add("ended-but-queued", queue, job_id, facts)


async def look_at_places(tour: Tour, places: Places, suspects: Suspects) -> None:
    """Note ids that stand in a queue more than once, leases that are long over, and what rq has taken and not started.

    Redis: 1 call, 1 pipeline per queue.
    """
    for queue, repeated in places.repeated.items():
        for job_id in repeated:
            suspects.add("repeated-id", queue, job_id)
    now = await browse.clock(tour.backend)
    for queue, leases in places.leases.items():
        for member, deadline in leases.items():
            if deadline < now - DEAD_S:
                suspects.add("dead-lease", queue, member, (repr(deadline),), f"{DEAD_S:.0f} s")
    for queue, taken in places.taken.items():
        ids = [one for one in taken if not places.is_leased(one)]
        for job_id, facts in zip(ids, await browse.facts(tour.backend, ids), strict=True):
            if facts is None or facts.record.status is JobStatus.QUEUED:
                suspects.add("stuck-in-intermediate", queue, job_id, facts)
