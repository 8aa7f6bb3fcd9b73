"""A clock of the test's own: what happens at a certain time is tried without waiting for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aiorq2 import Queue, connect
from aiorq2.backends import scripts
from aiorq2.timing import ManualClock
from tests.flow.at_work import drain
from tests.support import jobs

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


async def test_injected_clock_is_the_only_one_that_counts(
    backend_url: str, key_prefix: str
) -> None:
    """An hour is over when the clock says so, for scripts, workers and records alike."""
    clock = ManualClock(NOON)
    backend = connect(backend_url, key_prefix=key_prefix, clock=clock)
    job = await Queue("q", backend).enqueue_in("1h", jobs.nothing)

    assert not await drain(backend)
    clock.travel(timedelta(minutes=59))
    assert not await drain(backend)
    clock.travel(60)
    assert await drain(backend)

    await job.refresh()
    assert job.created_at == NOON
    assert job.enqueued_at == job.started_at == job.ended_at == NOON + timedelta(hours=1)
    await backend.close()


async def test_backends_with_and_without_a_clock_work_on_the_same_data(
    backend_url: str, key_prefix: str
) -> None:
    """A clock is a matter of the process: its scripts are others, the data is the same."""
    clocked = connect(backend_url, key_prefix=key_prefix, clock=ManualClock(NOON))
    plain = connect(backend_url, key_prefix=key_prefix)
    job = await Queue("q", clocked).enqueue(jobs.add, 1, 2)

    await drain(plain)

    assert await job.wait(timeout=5) == 3
    assert job.created_at == NOON
    await clocked.close()
    await plain.close()


def test_clock_travels_both_ways() -> None:
    """By a ``timedelta`` or seconds, or to a point in time; otherwise it stands still."""
    clock = ManualClock(NOON)

    clock.travel(timedelta(days=1))
    clock.travel(-3600)
    assert clock.now() == datetime(2024, 5, 2, 11, tzinfo=UTC)

    clock.travel_to(datetime(2030, 1, 1))  # noqa: DTZ001  naive is UTC
    assert clock.time() == clock.time() == datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    assert ManualClock(1.5).time() == 1.5


@pytest.mark.parametrize("name", scripts.all_names())
def test_scripts_without_a_clock_are_the_same_with_one(name: str) -> None:
    """What asks Redis for the time is told it instead, and nothing else is."""
    plain, clocked = scripts.load(name), scripts.load(name, given_clock=True)

    assert not plain.takes_now
    assert clocked.takes_now == ("redis.call('TIME')" in plain.text)
    assert (clocked.text == plain.text) is not clocked.takes_now
    assert "'TIME'" not in clocked.text
