"""Jobs that run again after they have succeeded."""

from __future__ import annotations

import pytest

from aiorq2 import InvalidOption, Queue, Repeat
from aiorq2.backends.redis import RedisBackend
from aiorq2.registry import ScheduledJobRegistry
from aiorq2.results import ResultType
from aiorq2.terms import as_repeat
from tests.flow.at_work import at_work, drain, make_due
from tests.support import jobs
from tests.support.eventually import eventually


async def test_repeated_job_runs_once_and_then_so_many_times(backend: RedisBackend) -> None:
    """``Repeat(times=2)`` is three runs, each with a result of its own, as in RQ."""
    job = await Queue("q", backend).enqueue(jobs.record, "x", repeat=Repeat(2))
    assert (job.repeats_left, job.repeat_intervals) == (2, [0])

    await drain(backend)

    assert jobs.recorded == ["x"] * 3
    assert await job.wait(timeout=5) == "x"
    assert job.repeats_left == 0
    assert [one.type for one in await job.results()] == [ResultType.SUCCESSFUL] * 3


async def test_number_stands_for_a_repeat(backend: RedisBackend) -> None:
    """``repeat=1`` is ``Repeat(1)``."""
    await Queue("q", backend).enqueue(jobs.record, "x", repeat=1)

    await drain(backend)

    assert jobs.recorded == ["x"] * 2


async def test_intervals_are_used_in_order_and_the_last_one_stays(backend: RedisBackend) -> None:
    """Between its runs the job is scheduled, and says how many are left."""
    queue = Queue("q", backend)
    scheduled = ScheduledJobRegistry(queue=queue)
    job = await queue.enqueue(jobs.record, "x", repeat=Repeat(3, interval=[100, 200]))
    waits = []

    for left in (2, 1, 0):
        await drain(backend)
        assert await job.get_status() == "scheduled"
        assert job.repeats_left == left
        due, ended = await scheduled.get_scheduled_time(job), (await job.results())[0].created_at
        assert ended is not None
        waits.append(round((due - ended).total_seconds()))
        await make_due(backend)

    await drain(backend)
    assert await job.get_status() == "finished"
    assert waits == [100, 200, 200]


@pytest.mark.parametrize(
    "intervals",
    ["[Infinity]", "[NaN, -Infinity]", "[1e300]", '["soon"]', "[" * 100_000],
    ids=range(5),
)
async def test_intervals_that_are_none_are_left_out(backend: RedisBackend, intervals: str) -> None:
    """Whatever another program has written there: the job is repeated at once, and the worker goes on."""
    job = await Queue("q", backend).enqueue(jobs.record, "x")
    key = backend.keys.job(job.id)
    await backend.run(["HSET", key, "repeats_left", 1, "repeat_intervals", intervals])

    await drain(backend)

    assert jobs.recorded == ["x"] * 2
    assert await job.get_status() == "finished"
    assert job.repeat_intervals == [0]


async def test_wait_is_for_the_last_run(backend: RedisBackend) -> None:
    """A job between two runs has not ended; what it returned meanwhile can be read."""
    job = await Queue("q", backend).enqueue(jobs.record, "x", repeat=Repeat(1, interval=60))

    await drain(backend)
    with pytest.raises(TimeoutError):
        await job.wait(timeout=0.05)
    latest = await job.latest_result()
    assert latest is not None
    assert latest.return_value == "x"

    await make_due(backend)
    await drain(backend)
    assert await job.wait(timeout=5) == "x"


async def test_failure_ends_the_repetition(backend: RedisBackend) -> None:
    """Only a success is repeated; retries come before."""
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 2, retry=1, repeat=5)

    await drain(backend)

    assert await job.get_status() == "failed"
    assert jobs.attempts["k"] == 2
    assert job.repeats_left == 5


async def test_cancelled_job_is_not_repeated(backend: RedisBackend) -> None:
    """Neither between its runs nor after the run in which it was cancelled."""
    queue = Queue("q", backend)
    between = await queue.enqueue(jobs.nothing, repeat=Repeat(5, interval=60))
    await drain(backend)

    await between.cancel()
    during = await queue.enqueue(jobs.wait_gate, "g", repeat=5)
    async with at_work(backend):
        await eventually(during.is_started)
        await during.cancel()
        await eventually(during.is_stopped)

    assert await between.get_status() == "canceled"
    assert await ScheduledJobRegistry(queue=queue).count() == 0


async def test_scheduled_job_can_be_repeated(backend: RedisBackend) -> None:
    """``enqueue_in`` and ``enqueue_many`` take ``repeat`` as well."""
    queue = Queue("q", backend)
    await queue.enqueue_in(60, jobs.record, "a", repeat=1)
    await queue.enqueue_many([Queue.prepare_data(jobs.record, ("b",), repeat=1)])

    await make_due(backend)
    await drain(backend)

    assert sorted(jobs.recorded) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("times", [0, -1, True, 1.5, "2", 1_000_001, 2**63])
def test_times_that_cannot_be_meant_are_refused(times: object) -> None:
    """At least one, a whole number, and not so many that nobody could count them."""
    with pytest.raises(InvalidOption, match="times"):
        Repeat(times)  # type: ignore[arg-type]


def test_intervals_that_cannot_be_meant_are_refused() -> None:
    """As in RQ, none is negative; unlike in RQ there is at least one."""
    with pytest.raises(InvalidOption, match="interval"):
        Repeat(1, interval=-1)
    with pytest.raises(InvalidOption, match="interval"):
        Repeat(1, interval=[1, -2])
    with pytest.raises(InvalidOption, match="repeat must be"):
        as_repeat("often")
