"""Looking at a rate limit: who is in, and who waits in line. The module and the names are RQ's."""

from __future__ import annotations

from aiorq2.backends import browse, sweeping
from aiorq2.backends.kept import Source, backend_of
from aiorq2.job import Job
from aiorq2.terms import RateLimit

__all__ = ["RateLimit", "RateLimitRegistry"]


class RateLimitRegistry:
    """The jobs with one rate limit. Every coroutine is one call to Redis unless it says otherwise.

    >>> limit = RateLimitRegistry("api", backend)
    >>> await limit.get_rate_limited_job_count()
    """

    def __init__(
        self, key: str, backend: Source | None = None, *, connection: Source | None = None
    ) -> None:
        self.key = key
        self.backend = backend_of(backend, connection)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key}>"

    @classmethod
    async def all(
        cls, backend: Source | None = None, *, connection: Source | None = None
    ) -> list[RateLimitRegistry]:
        """Return the limits that are in use, by key. Redis: 1 call per some 1000 of them."""
        found = backend_of(backend, connection)
        keys = {one async for page in browse.set_pages(found, found.keys.rates()) for one in page}
        return [cls(one, found) for one in sorted(keys)]

    @classmethod
    def from_job(cls, job: Job) -> RateLimitRegistry | None:
        """Return the limit of a job, None if it has none."""
        return None if job.rate_limit_key is None else cls(job.rate_limit_key, job.backend)

    @property
    def config_key(self) -> str:
        """The key of the hash with the concurrency."""
        return self.backend.keys.rate(self.key)

    @property
    def allowed_key(self) -> str:
        """The key of the sorted set of those that are in."""
        return self.backend.keys.rate_allowed(self.key)

    @property
    def rate_limited_key(self) -> str:
        """The key of the sorted set of those that wait in line."""
        return self.backend.keys.rate_waiting(self.key)

    async def concurrency(self) -> int | None:
        """Return how many may be in at once, as the latest job said; None where the limit is not in use."""
        (found,) = await self.backend.run(["HGET", self.config_key, "concurrency"])
        return None if found is None else int(found)

    async def get_allowed_job_ids(self) -> list[str]:
        """Return the jobs that are queued or running, the longest there first."""
        return await self._members(self.allowed_key)

    async def get_rate_limited_job_ids(self) -> list[str]:
        """Return the jobs that wait in line, the next one first."""
        return await self._members(self.rate_limited_key)

    async def get_allowed_job_count(self) -> int:
        """Return how many are queued or running."""
        return int((await self.backend.run(["ZCARD", self.allowed_key]))[0])

    async def get_rate_limited_job_count(self) -> int:
        """Return how many wait in line."""
        return int((await self.backend.run(["ZCARD", self.rate_limited_key]))[0])

    async def cleanup(self) -> int:
        """Give places whose jobs are gone to the next in line, as workers do by themselves, of all limits; returns how many."""
        return await sweeping.sweep_rates(self.backend)

    async def _members(self, key: str) -> list[str]:
        (members,) = await self.backend.run(["ZRANGE", key, 0, -1])
        return [browse.text_of(one) for one in members]
