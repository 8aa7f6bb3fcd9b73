"""``is_async=False``: the job runs at once, in the task that enqueues it, with the same executor, statuses and results."""

from __future__ import annotations

import pytest

from aiorq2 import Job, JobStatus, Queue, Retry, Worker
from aiorq2.backends.redis import RedisBackend
from tests.flow.at_work import stored
from tests.support import jobs


def _queue(backend: RedisBackend) -> Queue:
    return Queue("q", backend, is_async=False)


@pytest.mark.parametrize("func", [jobs.add, jobs.add_sync])
async def test_job_has_run_when_enqueue_returns(backend: RedisBackend, func: object) -> None:
    """A coroutine function and a plain one alike: the handle that comes back knows status and result."""
    job = await _queue(backend).enqueue(func, 1, 2)  # type: ignore[arg-type]

    assert (job.status, job.result, job.attempt) == (JobStatus.FINISHED, 3, 1)
    assert (await Job.fetch(job.id, backend)).result == 3


async def test_failure_is_kept_and_not_raised(backend: RedisBackend) -> None:
    """Enqueueing succeeds also when the job does not; its traceback is there."""
    job = await _queue(backend).enqueue(jobs.fail, "boom")

    assert job.status is JobStatus.FAILED
    assert "ValueError: boom" in (job.exc_info or "")


async def test_retries_follow_at_once(backend: RedisBackend) -> None:
    """A job that succeeds at its third run has succeeded when enqueue returns, whatever its intervals."""
    job = await _queue(backend).enqueue(
        jobs.fails_times, "inline", 2, retry=Retry(2, interval=3600)
    )

    assert job.status is JobStatus.FINISHED
    assert jobs.attempts["inline"] == 3


async def test_no_worker_can_take_it(backend: RedisBackend) -> None:
    """It never stands in the queue that workers read, and nothing is left of the list that it stood in."""
    queue = _queue(backend)
    await queue.enqueue(jobs.add, 1, 2)

    assert await queue.count() == 0
    assert await Worker("q", backend).work(burst=True) is False
    assert not [key for key in await stored(backend) if "inline" in key]


async def test_result_ttl_of_zero_leaves_nothing(backend: RedisBackend) -> None:
    """A job that is not to be kept is gone when enqueue returns."""
    job = await _queue(backend).enqueue(jobs.add, 1, 2, result_ttl=0)

    assert not await Job.exists(job.id, backend)


async def test_many_run_one_after_the_other(backend: RedisBackend) -> None:
    """``enqueue_many`` runs them in order."""
    queue = _queue(backend)

    found = await queue.enqueue_many([queue.prepare_data(jobs.add, (n, 1)) for n in range(5)])

    assert [job.result for job in found] == [1, 2, 3, 4, 5]


async def test_time_limit_holds(backend: RedisBackend) -> None:
    """A job that takes too long is cancelled, as in a worker."""
    job = await _queue(backend).enqueue(jobs.slow, 60, job_timeout=0.1)

    assert job.status is JobStatus.FAILED
    assert "JobTimeoutException" in (job.exc_info or "")
