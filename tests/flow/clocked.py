"""A backend on a clock of the test's own, and workers that live by it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aiorq2.backends.redis import RedisBackend
from aiorq2.timing import ManualClock
from tests.flow.at_work import drain
from tests.support import jobs

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
"""A Wednesday."""


def clock_of(backend: RedisBackend) -> ManualClock:
    """Return the clock that a backend of the fixture ``clocked`` lives by."""
    assert isinstance(backend.clock, ManualClock)
    return backend.clock


async def later(backend: RedisBackend, delta: timedelta | float, queue: str = "q") -> list[str]:
    """Let time pass, have a worker do what is due then, and return what was recorded meanwhile."""
    clock_of(backend).travel(delta)
    before = len(jobs.recorded)
    await drain(backend, queue)
    return jobs.recorded[before:]


async def minute_by_minute(backend: RedisBackend, minutes: int) -> list[int]:
    """Return in which of the following minutes something ran, once for each run."""
    return [minute for minute in range(1, minutes + 1) for _ in await later(backend, 60)]
