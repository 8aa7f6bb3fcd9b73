"""One job of an id at a time."""

from __future__ import annotations

import asyncio

import pytest

from aiorq2 import DuplicateJobError, InvalidOption, Job, Queue, RateLimit
from aiorq2.backends.redis import RedisBackend
from tests.flow.at_work import drain
from tests.support import jobs


async def test_second_job_of_the_same_id_is_refused(backend: RedisBackend) -> None:
    """``unique=True`` raises while there is a job of that id, whatever its status, as in RQ."""
    queue = Queue("q", backend)
    await queue.enqueue(jobs.nothing, job_id="x", unique=True)

    with pytest.raises(DuplicateJobError, match=r"job 'x'.*\(queued\)"):
        await queue.enqueue(jobs.nothing, job_id="x", unique=True)
    await drain(backend)
    with pytest.raises(DuplicateJobError, match=r"\(finished\)"):
        await queue.enqueue(jobs.nothing, job_id="x", unique=True)

    assert await queue.count() == 0


async def test_id_is_free_again_when_the_job_is_gone(backend: RedisBackend) -> None:
    """Deleted, expired, or not kept."""
    queue = Queue("q", backend)
    first = await queue.enqueue(jobs.nothing, job_id="x", unique=True)
    await first.delete()
    await queue.enqueue(jobs.nothing, job_id="x", unique=True, result_ttl=0)
    await drain(backend)

    assert await queue.enqueue(jobs.nothing, job_id="x", unique=True) == first


async def test_existing_job_can_be_handed_back(backend: RedisBackend) -> None:
    """``unique="return"``: whoever is second gets the first one's job, with its result when it has one."""
    queue = Queue("q", backend)
    first = await queue.enqueue(jobs.add, 1, 2, job_id="x", unique="return")

    second = await queue.enqueue(jobs.add, 3, 4, job_id="x", unique="return")

    assert (second.id, second.args) == (first.id, (1, 2))
    await drain(backend)
    assert await second.wait(timeout=5) == 3
    third = await queue.enqueue(jobs.add, 3, 4, job_id="x", unique="return")
    assert third.result == 3


async def test_existing_job_is_handed_back_among_many(backend: RedisBackend) -> None:
    """It stands in the place of the one that was to be made; the others are enqueued."""
    queue = Queue("q", backend)
    await queue.enqueue(jobs.add, 1, 2, job_id="b")
    await drain(backend)

    made = await queue.enqueue_many(
        Queue.prepare_data(jobs.add, (3, 4), job_id=one, unique="return") for one in "abc"
    )

    assert [job.id for job in made] == ["a", "b", "c"]
    assert (made[1].args, made[1].status, made[1].result) == ((1, 2), "finished", 3)
    assert await queue.get_job_ids() == ["a", "c"]


async def test_existing_job_is_handed_back_inline(backend: RedisBackend) -> None:
    """With ``is_async=False`` as well, alone and among many; it does not run again."""
    queue = Queue("q", backend, is_async=False)
    await queue.enqueue(jobs.record, "first", job_id="x", unique="return")

    second = await queue.enqueue(jobs.record, "second", job_id="x", unique="return")
    third, other = await queue.enqueue_many(
        Queue.prepare_data(jobs.record, ("third",), job_id=one, unique="return") for one in "xy"
    )

    assert (second.result, third.result, other.result) == ("first", "first", "third")
    assert jobs.recorded == ["first", "third"]


@pytest.mark.parametrize("is_async", [True, False])
async def test_refusal_of_some_keeps_no_other_out(backend: RedisBackend, is_async: bool) -> None:
    """All that can be are enqueued, those behind as well; the error is the first one's, and its notes name the others."""
    queue = Queue("q", backend, is_async=is_async)
    count = 600 if is_async else 10
    taken = [f"j{count // 3}", f"j{count // 2}"]
    for one in taken:
        await queue.enqueue(jobs.nothing, job_id=one)

    with pytest.raises(DuplicateJobError, match=repr(taken[0])) as raised:
        await queue.enqueue_many(
            Queue.prepare_data(jobs.nothing, job_id=f"j{n}", unique=True) for n in range(count)
        )

    assert repr(taken[1]) in "".join(raised.value.__notes__)
    found = await Job.fetch_many([f"j{n}" for n in range(count)], backend)
    assert None not in found
    await queue.empty()


async def test_of_many_at_once_one_gets_in(backend: RedisBackend) -> None:
    """The decision is made in Redis."""
    queue = Queue("q", backend)

    outcomes = await asyncio.gather(
        *(queue.enqueue(jobs.nothing, job_id="x", unique=True) for _ in range(20)),
        return_exceptions=True,
    )

    assert sum(isinstance(one, DuplicateJobError) for one in outcomes) == 19
    assert await queue.get_job_ids() == ["x"]


async def test_unique_holds_for_scheduled_deferred_and_limited_jobs(backend: RedisBackend) -> None:
    """Wherever the first one waits."""
    queue = Queue("q", backend)
    await queue.enqueue_in(60, jobs.nothing, job_id="scheduled", unique=True)
    await queue.enqueue(jobs.nothing, job_id="parent")
    await queue.enqueue(jobs.nothing, job_id="deferred", unique=True, depends_on="parent")
    limit = RateLimit("r", 1)
    for job_id in ("first", "limited"):
        await queue.enqueue(jobs.nothing, job_id=job_id, unique=True, rate_limit=limit)

    for job_id in ("scheduled", "deferred", "limited"):
        with pytest.raises(DuplicateJobError, match=job_id):
            await queue.enqueue(jobs.nothing, job_id=job_id, unique=True)


async def test_unique_needs_an_id(backend: RedisBackend) -> None:
    """A random id is never taken."""
    queue = Queue("q", backend)

    with pytest.raises(InvalidOption, match="needs a job_id"):
        await queue.enqueue(jobs.nothing, unique=True)
    with pytest.raises(InvalidOption, match="unique='always'"):
        await queue.enqueue(jobs.nothing, job_id="x", unique="always")
