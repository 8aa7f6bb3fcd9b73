"""What is scheduled, over all queues: looking at it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NoReturn

from aiorq2.backends import crons, inspect, scheduled
from aiorq2.backends.redis import RedisBackend
from aiorq2.cron import in_zone
from aiorq2.cron_jobs import CronJob
from aiorq2.errors import NoSuchCronJobError
from aiorq2.job import Job
from aiorq2.serializers import Serializer
from aiorq2.states import JobStatus
from aiorq2.timing import as_utc

Until = datetime | timedelta | float | None


class Agenda:
    """The half of ``Scheduler`` that changes nothing."""

    queue_name: str
    backend: RedisBackend
    serializer: Serializer
    timezone: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.queue_name}>"

    def __contains__(self, job: object) -> NoReturn:
        raise TypeError("`in` would have to ask Redis: use `await scheduler.contains(job)`")

    def __len__(self) -> NoReturn:
        raise TypeError("len(scheduler) would have to ask Redis: use `await scheduler.count()`")

    def __bool__(self) -> bool:
        return True

    async def contains(self, job: Job | CronJob | str) -> bool:
        """Return whether a job is scheduled, or there is a recurring entry that has not ended. Redis: 1 or 2 calls."""
        entry = await self.entry_of(job.name if isinstance(job, CronJob) else job)
        if entry is not None:
            return not entry.has_ended
        if isinstance(job, CronJob):
            return False
        (status,) = await inspect.statuses(self.backend, [id_of(job)])
        return status is JobStatus.SCHEDULED

    async def get_cron_job(self, name: str) -> CronJob:
        """Return the recurring entry of this name or id.

        Raises:
            NoSuchCronJobError: there is none.

        Redis: 1 pipeline.
        """
        found = await self.entry_of(name)
        if found is None:
            raise NoSuchCronJobError(f"cron {name!r}: there is no such entry")
        return found

    async def get_cron_jobs(self) -> list[CronJob]:
        """Return all recurring entries, by name; those that have ended, too. Redis: 1 call, and 1 pipeline per 200."""
        names = await crons.names(self.backend)
        found = await crons.records(self.backend, names)
        return [CronJob(one, self.backend, self.serializer) for one in found if one is not None]

    async def count(self, until: Until = None) -> int:
        """Return how many jobs and recurring entries are scheduled, of all queues, or due ``until`` a time, as for ``get_jobs``.

        Redis: 1 call and 1 pipeline.
        """
        return await scheduled.count(self.backend, await self._limit(until))

    async def get_jobs(
        self,
        until: Until = None,
        with_times: bool = False,
        offset: int | None = None,
        length: int | None = None,
    ) -> list[Any]:
        """Return the jobs and the recurring entries that are scheduled, of all queues, by their times.

        Args:
            until: only what is due until then: a ``datetime``, a ``timedelta`` from now, or seconds since the epoch.
            with_times: return pairs, with the time at which each is due.
            offset: leave out so many.
            length: return so many at the most.

        Redis: 1 call, 1 pipeline, and 1 per 500 jobs.
        """
        start = offset or 0
        most = None if length is None else start + length
        found = (await scheduled.scheduled(self.backend, await self._limit(until), most))[start:]
        names = [one.name for one in found if one.kind == "cron"]
        ids = [one.name for one in found if one.kind == "job"]
        jobs = iter(await Job.fetch_many(ids, self.backend, self.serializer))
        entries = iter(await crons.records(self.backend, names))
        pairs: list[tuple[Job | CronJob, datetime | None]] = []
        for one in found:
            item: Any = next(jobs if one.kind == "job" else entries)
            if item is not None:  # else it is gone meanwhile
                item = item if one.kind == "job" else CronJob(item, self.backend, self.serializer)
                pairs.append((item, crons.moment_of(one.due)))
        return list(pairs) if with_times else [item for item, _ in pairs]

    async def entry_of(self, job: Job | CronJob | str) -> CronJob | None:
        """Return the entry that is meant, by its name or id; None if a job is. Redis: 1 pipeline where only a text is given."""
        if isinstance(job, CronJob):
            return job
        if isinstance(job, Job):
            return None
        names = list(dict.fromkeys([job, job.removeprefix("cron-")]))
        found = [
            one
            for one in await crons.records(self.backend, [n for n in names if n])
            if one is not None
        ]
        return CronJob(found[0], self.backend, self.serializer) if found else None

    async def _limit(self, until: Until) -> float | None:
        if until is None:
            return None
        if isinstance(until, datetime):
            return as_utc(in_zone(until, self.timezone)).timestamp()
        if isinstance(until, timedelta):
            return await crons.now(self.backend) + until.total_seconds()
        return float(until)


def id_of(job: Job | CronJob | str) -> str:
    """Return the id of a job that may be given by it."""
    return job if isinstance(job, str) else job.id
