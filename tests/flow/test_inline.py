"""``is_async=False``: the job runs at once, in the task that enqueues it, with the same executor, statuses and results."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiorq2 import Job, JobStatus, Queue, Retry, Worker, get_current_job
from aiorq2.backends.redis import RedisBackend
from aiorq2.suspension import resume, suspend
from tests.flow import poison, samples
from tests.flow.at_work import drain, stored
from tests.support import jobs
from tests.support.eventually import eventually, gates


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


@pytest.mark.parametrize("func", [samples.look, samples.look_sync])
async def test_job_knows_itself_and_nobody_else_does(backend: RedisBackend, func: Any) -> None:
    """``get_current_job()`` is the job inside of it, and None again behind it."""
    job = await _queue(backend).enqueue(func)

    assert job.result["id"] == job.id
    assert get_current_job() is None


async def test_job_enqueues_another_inline(backend: RedisBackend) -> None:
    """As deep as one likes; each is the current job while it runs."""
    job = await _queue(backend).enqueue(samples.enqueue_inline, _queue(backend).name, 3)

    assert job.status is JobStatus.FINISHED


async def test_job_sees_the_context_of_its_caller(backend: RedisBackend) -> None:
    """The application's context, of a request for instance; what the job changes in it stays in the job."""
    poison.left_behind.set("by the caller")

    job = await _queue(backend).enqueue(poison.leave_behind, "by the job")

    assert job.result == "by the caller"
    assert poison.left_behind.get() == "by the caller"


async def test_timeout_of_the_job_is_not_one_of_the_caller(backend: RedisBackend) -> None:
    """What cancels the job leaves no trace in the task that enqueued it: its own timeouts work as ever."""

    async def enqueue_and_go_on() -> None:
        async with asyncio.timeout(0.5):
            job = await _queue(backend).enqueue(jobs.slow, 60, job_timeout=0.05)
            assert job.status is JobStatus.FAILED
            await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        await enqueue_and_go_on()

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_cancelling_the_caller_stops_the_job_and_goes_on_to_the_caller(
    backend: RedisBackend,
) -> None:
    """A cancellation is never swallowed; the job is stopped, since nobody else would run it."""
    enqueueing = asyncio.create_task(_queue(backend).enqueue(jobs.wait_gate, "g", job_id="x"))
    await eventually(lambda: gates["g"].arrivals == 1)

    enqueueing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await enqueueing

    assert await (await Job.fetch("x", backend)).is_stopped()


async def test_job_waits_in_its_queue_while_workers_are_suspended(backend: RedisBackend) -> None:
    """It is not run, and not lost: a worker runs it later."""
    await suspend(backend, ttl=60)

    job = await _queue(backend).enqueue(jobs.add, 1, 2)

    assert job.status is JobStatus.QUEUED
    assert await _queue(backend).get_job_ids() == [job.id]
    assert not [key for key in await stored(backend) if "inline" in key]
    await resume(backend)
    await drain(backend)
    assert await job.wait(timeout=5) == 3


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt", "CancelledError"])
async def test_nothing_that_a_job_raises_reaches_its_caller(
    backend: RedisBackend, kind: str
) -> None:
    """As in a worker."""
    job = await _queue(backend).enqueue(poison.throw, kind)

    assert job.status is JobStatus.FAILED
    assert kind in (job.exc_info or "")


async def test_made_job_can_be_enqueued_inline(backend: RedisBackend) -> None:
    """``create_job`` and ``enqueue_job``; and once more, through the queue, where a worker takes it."""
    queue = _queue(backend)

    job = await queue.enqueue_job(queue.create_job(jobs.record, ("x",)))

    assert job.status is JobStatus.FINISHED
    assert jobs.recorded == ["x"]
