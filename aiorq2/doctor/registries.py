"""Are there jobs behind the members of registries, groups and rate limits?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from aiorq2.backends import browse
from aiorq2.backends.inspect import registry_key
from aiorq2.doctor.suspects import Suspects
from aiorq2.doctor.tour import Tour
from aiorq2.states import JobStatus

SWEPT_S = 1200.0
"""Within how long workers, rq's too, drop members of a registry whose time is over."""
SKEW_S = 60.0
"""How far the clocks of rq's processes may be ahead of Redis'."""
_BY_END = ("finished", "failed")
"""The registries whose scores say until when a job is kept."""
_NAMES = ("finished", "failed", "canceled", "deferred", "scheduled", "ready")
_HOLDING = (JobStatus.QUEUED, JobStatus.STARTED)


async def look_at_registries(tour: Tour, queues: Iterable[str], suspects: Suspects) -> None:
    """Note members whose jobs are gone. Redis: 2 calls and 1 pipeline per some 1000 members, 6 at least for each queue."""
    for queue in queues:
        for registry in _NAMES:
            key = registry_key(tour.keys, registry, queue)
            async for entries in browse.sorted_set_pages(tour.backend, key):
                if tour.is_over:
                    return
                tour.saw(len(entries))
                now = await browse.clock(tour.backend)
                wrong = [one for one, score in entries if _should_be(registry, score, now)]
                for name in await gone(tour, wrong):
                    suspects.add("member-without-job", queue, name, detail=registry)


def _should_be(registry: str, score: float, now: float) -> bool:
    """Whether there should be a job behind a member; one that was to go lately, or soon, may be gone and not swept yet."""
    if registry == "canceled" or (registry in _BY_END and 0 < score < math.inf):
        return not now - SWEPT_S < score < now + SKEW_S
    return True


async def look_at_groups(tour: Tour, groups: Iterable[str], suspects: Suspects) -> None:
    """Note groups of which no job is left. Redis: 1 call and 1 pipeline per group, more where the first 1000 are gone."""
    for group in groups:
        count = await members_gone(tour, group)
        tour.saw(1)
        if count:
            suspects.add("empty-group", group, group, detail=str(count))


async def members_gone(tour: Tour, group: str) -> int:
    """Return how many members a group has if all are gone, else 0."""
    found: set[str] = set()
    async for members in browse.set_pages(tour.backend, tour.keys.group(group)):
        if len(await gone(tour, members)) < len(members):
            return 0
        found.update(members)
    return len(found)


async def look_at_rates(tour: Tour, suspects: Suspects) -> None:
    """Note places in rate limits that are held by jobs which neither wait nor run. Redis: 1 call and 1 pipeline per limit."""
    async for rates in browse.set_pages(tour.backend, tour.keys.rates()):
        for rate in rates:
            async for entries in browse.sorted_set_pages(
                tour.backend, tour.keys.rate_allowed(rate)
            ):
                tour.saw(len(entries))
                for name in await idle(tour, [member for member, _ in entries]):
                    suspects.add("stuck-slot", rate, name)


async def idle(tour: Tour, ids: Sequence[str]) -> list[str]:
    """Return those of some jobs that neither wait in a queue nor run. Redis: 1 pipeline."""
    found = zip(ids, await browse.facts(tour.backend, ids), strict=True)
    return [one for one, facts in found if facts is None or facts.record.status not in _HOLDING]


async def gone(tour: Tour, ids: Sequence[str]) -> list[str]:
    """Return those of some jobs that are gone. Redis: 1 pipeline."""
    replies = await browse.read(tour.backend, [["EXISTS", tour.keys.job(one)] for one in ids])
    return [one for one, exists in zip(ids, replies, strict=True) if not exists]
