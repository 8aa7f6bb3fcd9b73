"""Look at a Redis that rq and aiorq2 share, say what is wrong, and mend what can be mended without losing a job.

Looking changes nothing. It is done in small steps, and whatever may be wrong is looked at again after a pause, so that a busy
system is neither held up nor accused of what was only on its way.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from aiorq2.backends import browse, inspect
from aiorq2.backends.redis import RedisBackend
from aiorq2.doctor.findings import KINDS, Finding, Gathering, Kind, Report
from aiorq2.doctor.jobs import JobLook
from aiorq2.doctor.lifetimes import look_at_lifetimes
from aiorq2.doctor.mending import mend
from aiorq2.doctor.places import Places
from aiorq2.doctor.queues import QueueLook, look_at_places
from aiorq2.doctor.registries import look_at_groups, look_at_rates, look_at_registries
from aiorq2.doctor.second_look import SecondLook
from aiorq2.doctor.surroundings import look_at_redis, look_at_schedules, look_at_workers
from aiorq2.doctor.suspects import Suspects
from aiorq2.doctor.tour import Progress, Tour
from aiorq2.errors import InvalidOption

__all__ = ["KINDS", "Finding", "Kind", "Progress", "Report", "examine", "mend"]

_JOB = re.compile(r"job:(?P<job>[^:].*)")
_QUEUE = re.compile(r"queue:(?!_compact:|inline-)(?P<queue>.+?)(?<!:intermediate)")
_GROUP = re.compile(r"group:(?P<group>.+)")


async def examine(
    backend: RedisBackend,
    *,
    patience: float = 5.0,
    limit: int | None = None,
    ignore: Iterable[str] = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Return what is wrong with the jobs, queues and workers under the backend's prefix, and with the Redis that holds them.

    Args:
        patience: seconds after which what may be wrong is looked at again; rq moves jobs in steps between which they are nowhere.
        limit: look at no more than so many keys and entries of lists; None for all.
        ignore: names of ``KINDS`` of which nothing is to be said.
        on_progress: told how far it is.

    Raises:
        InvalidOption: ``ignore`` names a kind that there is not.

    Redis: 3 pipelines per some 1000 keys, 2 calls per 1000 entries of lists and registries, and about 20 for each queue.
    """
    unknown = sorted(set(ignore) - KINDS.keys())
    if unknown:
        raise InvalidOption(f"ignore: there is no {unknown[0]!r}; there are {', '.join(KINDS)}")
    tour = Tour(backend, limit, on_progress)
    tour.total = await browse.total(backend)
    examination = _Examination(tour, Gathering(ignore))
    await examination.first_look()
    if examination.suspects:
        await asyncio.sleep(patience)
        await examination.second_look()
    findings = examination.gathering.findings()
    return Report(findings, tour.seen, is_complete=not tour.is_over)


class _Examination:
    def __init__(self, tour: Tour, gathering: Gathering) -> None:
        self._tour = tour
        self.gathering = gathering
        self.suspects = Suspects()
        self._queues: list[str] = []

    async def first_look(self) -> None:
        """Note what is wrong, and what may be."""
        tour, suspects = self._tour, self.suspects
        self._queues = await inspect.queue_names(tour.backend)
        await look_at_redis(tour, self.gathering)
        await look_at_workers(tour, self._queues, suspects, self.gathering)
        await look_at_schedules(tour, self._queues, suspects)
        await look_at_rates(tour, suspects)
        places = await Places.read(tour, self._queues, QueueLook(tour, suspects))
        await look_at_places(tour, places, suspects)
        await self._look_at_keys(places)
        await look_at_registries(tour, self._queues, suspects)

    async def second_look(self) -> None:
        """Note which of those that may be wrong are."""
        unlisted = [one.where for one in self.suspects.of("unlisted-queue")]
        places = await Places.read(self._tour, [*self._queues, *unlisted])
        await SecondLook(self._tour, places).convict(self.suspects, self.gathering)

    async def _look_at_keys(self, places: Places) -> None:
        look = JobLook(self._tour, places, self.suspects, self.gathering)
        async for names in self._key_names():
            await look([one for one in _matching(_JOB, names) if not _is_beside_job(one)])
            await look_at_lifetimes(self._tour, names, self.suspects)
            await look_at_groups(self._tour, _matching(_GROUP, names), self.suspects)
            for queue in _matching(_QUEUE, names):
                if queue not in self._queues and ":first_seen:" not in queue:
                    self.suspects.add("unlisted-queue", queue, queue)
        look.tell_serializers()

    async def _key_names(self) -> AsyncIterator[list[str]]:
        async for names in browse.key_names(self._tour.backend):
            if self._tour.is_over:
                return
            self._tour.saw(len(names))
            yield names


def _matching(pattern: re.Pattern[str], names: Sequence[str]) -> list[str]:
    return [found[1] for found in map(pattern.fullmatch, names) if found is not None]


def _is_beside_job(job_id: str) -> bool:
    return job_id.endswith(":dependents")
