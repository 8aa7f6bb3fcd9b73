"""A job that failed is run again, if it was said to be: how often, when, and on what."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import rq

from aiorq2 import Job, JobFailed, Queue, Result, Retry
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import JobCancelled
from tests.flow import samples
from tests.flow.at_work import at_work, drain, make_due
from tests.support import jobs
from tests.support.eventually import eventually, gates


async def interval_of(backend: RedisBackend, job: Job) -> int:
    """Return how many seconds after the end of its last run a scheduled job is due, both by the clock of Redis."""
    (score,) = await backend.run(["ZSCORE", backend.keys.scheduled("q"), job.id])
    ended = (await job.results())[0].created_at
    assert ended is not None
    return round(float(score) - ended.timestamp())


# -- how often ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("retry", [2, Retry(2), Retry(max=2, interval=0), rq.Retry(2)])
async def test_job_is_repeated_until_it_succeeds(backend: RedisBackend, retry: Any) -> None:
    """``Retry(2)`` is up to two more runs; a number and RQ's own class mean the same."""
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 2, retry=retry)

    await drain(backend)

    assert await job.wait(timeout=5) == 3
    assert job.retries_left == 0


async def test_job_that_fails_once_too_often_has_failed(backend: RedisBackend) -> None:
    """With the traceback of its last attempt."""
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 9, retry=Retry(2))

    await drain(backend)

    with pytest.raises(JobFailed, match="attempt 3 of k"):
        await job.wait(timeout=5)
    assert job.retries_left == 0
    assert job.attempt == 3


async def test_every_failed_attempt_leaves_its_entry(backend: RedisBackend) -> None:
    """Traceback, number of the attempt, worker and times: RQ keeps only the last one."""
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 9, retry=Retry(2))

    await drain(backend, name="w-1")

    entries = await job.results()
    assert [(one.type.name, one.attempt) for one in entries] == [
        ("FAILED", 3),
        ("RETRIED", 2),
        ("RETRIED", 1),
    ]
    for one in entries:
        assert one.exc_string is not None
        assert f"ValueError: attempt {one.attempt} of k" in one.exc_string
        assert one.worker_name == "w-1"
        assert one.execution_started_at is not None
        assert one.execution_ended_at is not None
        assert one.execution_started_at <= one.execution_ended_at
    assert len({one.execution_id for one in entries}) == 3


async def test_worker_counts_failed_attempts_as_failures(backend: RedisBackend) -> None:
    """As RQ's does."""
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 1, retry=Retry(1))

    async with at_work(backend, lease=0.6) as worker:
        await job.wait(timeout=5)

        async def counts() -> tuple[int, int]:
            return next(
                (one.successful_job_count, one.failed_job_count)
                for one in await worker.all(backend)
                if one.name == worker.name
            )

        await eventually(lambda: _is(counts, (1, 1)))


async def _is(ask: Any, expected: object) -> bool:
    return bool(await ask() == expected)


async def test_requeued_job_has_no_retries_left(backend: RedisBackend) -> None:
    """A person asked for one more run, and gets one, as in RQ."""
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 9, retry=Retry(1))
    await drain(backend)

    await job.requeue()
    await drain(backend)

    assert jobs.attempts["k"] == 3
    assert await job.is_failed()


# -- when --------------------------------------------------------------------------------------------


async def test_retry_waits_for_its_interval(backend: RedisBackend) -> None:
    """It is scheduled meanwhile."""
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 1, retry=Retry(1, interval=60))

    await drain(backend)

    assert await job.is_scheduled()
    assert await interval_of(backend, job) == 60
    await make_due(backend)
    await drain(backend)
    assert await job.wait(timeout=5) == 2


async def test_intervals_are_used_in_order(backend: RedisBackend) -> None:
    """A list has one interval for each retry, in any form of duration."""
    retry = Retry(3, interval=[10, "1m", "1h30m"])
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 9, retry=retry)

    delays = []
    for _ in range(3):
        await drain(backend)
        delays.append(await interval_of(backend, job))
        await make_due(backend)
    await drain(backend)

    assert delays == [10, 60, 5400]
    assert await job.is_failed()


async def test_backoff_grows_up_to_its_limit(backend: RedisBackend) -> None:
    """``interval * backoff ** n``, at most ``max_interval``."""
    retry = Retry(4, interval=10, backoff=3, max_interval="1m")
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 9, retry=retry)

    delays = []
    for _ in range(4):
        await drain(backend)
        delays.append(await interval_of(backend, job))
        await make_due(backend)
    await drain(backend)

    assert delays == [10, 30, 60, 60]


async def test_jitter_spreads_retries(backend: RedisBackend) -> None:
    """A share of the wait is drawn at random, so that what failed together does not come back together."""
    queue = Queue("q", backend)
    made = await queue.enqueue_many(
        queue.prepare_data(jobs.fail, retry=Retry(1, interval=100, jitter=0.5)) for _ in range(20)
    )

    await drain(backend)

    delays = [await interval_of(backend, job) for job in made]
    assert all(50 <= delay <= 100 for delay in delays)
    assert max(delays) - min(delays) > 1


async def test_worker_starts_a_delayed_retry_when_it_is_due(backend: RedisBackend) -> None:
    """No scheduler process is needed; an idle worker wakes at the right time by itself."""
    retry = Retry(2, interval=0.3)
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 2, retry=retry)

    async with at_work(backend):
        assert await job.wait(timeout=10) == 3

    newest, second, first = await job.results()
    assert newest.execution_started_at is not None
    assert second.execution_started_at is not None
    assert second.execution_ended_at is not None
    assert first.execution_ended_at is not None
    waits = (
        second.execution_started_at - first.execution_ended_at,
        newest.execution_started_at - second.execution_ended_at,
    )
    assert 0.29 <= min(waits).total_seconds() < 1.3


async def test_immediate_retry_goes_to_the_end_of_the_queue_or_to_its_front(
    backend: RedisBackend,
) -> None:
    """RQ's ``enqueue_at_front``."""
    queue = Queue("q", backend)
    for key, front in (("back", False), ("front", True)):
        await queue.enqueue(
            samples.fail_once_and_record, key, retry=Retry(1, enqueue_at_front=front)
        )
    await queue.enqueue(jobs.record, "other")

    await drain(backend, concurrency=1)

    assert jobs.recorded == ["front", "other", "back"]


async def test_retry_that_was_asked_for_goes_to_the_front(backend: RedisBackend) -> None:
    """Also after an interval, and where the job's own ``Retry`` says so rather than the one that it returned, as in RQ."""
    queue = Queue("q", backend)
    asking = await queue.enqueue(samples.ask_again, "later", 1, 60, True)
    at_once = await queue.enqueue(
        samples.ask_again, "at once", 1, retry=Retry(1, enqueue_at_front=True)
    )
    other = await queue.enqueue(jobs.nothing)

    await drain(backend, concurrency=1, max_jobs=2)
    assert await queue.get_job_ids() == [at_once.id, other.id]
    assert await asking.is_scheduled()
    await make_due(backend)
    await backend.promote("q")

    assert await queue.get_job_ids() == [asking.id, at_once.id, other.id]


# -- on what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "attempts"),
    [
        (samples.Overload, 3),
        (ValueError, 3),
        ("tests.flow.samples.Overload", 3),
        ("ValueError", 3),
        ((KeyError, "builtins.Exception"), 3),
        (KeyError, 1),
        ((), 3),
    ],
)
async def test_retry_on_some_exceptions_only(backend: RedisBackend, on: Any, attempts: int) -> None:
    """By class or by name, base classes included; anything else fails at once."""
    job = await Queue("q", backend).enqueue(samples.overload, "k", retry=Retry(2, on=on))

    await drain(backend)

    assert await job.is_failed()
    assert jobs.attempts["k"] == attempts


async def test_retry_looks_at_exceptions_of_a_process_too(redis_backend: RedisBackend) -> None:
    """Where the exception itself never comes back."""
    job = await Queue("q", redis_backend).enqueue(
        samples.overload_sync, retry=Retry(1, on=ValueError), offload="process"
    )

    await drain(redis_backend)

    assert [one.type.name for one in await job.results()] == ["FAILED", "RETRIED"]


async def test_timed_out_job_is_retried(backend: RedisBackend) -> None:
    """A timeout is a failure like another one."""
    job = await Queue("q", backend).enqueue(
        jobs.slow, 30, job_timeout=0.05, retry=Retry(1, on="aiorq2.errors.JobTimeoutException")
    )

    await drain(backend)

    with pytest.raises(JobFailed, match="JobTimeoutException"):
        await job.wait(timeout=5)
    assert job.attempt == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(0),
        lambda: Retry(-1),
        lambda: Retry(True),
        lambda: Retry(1.5),  # type: ignore[arg-type]
        lambda: Retry(10**400),
        lambda: Retry(1, interval=-1),
        lambda: Retry(1, interval=[]),
        lambda: Retry(1, interval=[1, -1]),
        lambda: Retry(1, interval=float("nan")),
        lambda: Retry(1, interval=None),  # type: ignore[arg-type]
        lambda: Retry(1, interval=True),
        lambda: Retry(1, backoff=0.5),
        lambda: Retry(1, backoff="2"),  # type: ignore[arg-type]
        lambda: Retry(1, backoff=float("nan")),
        lambda: Retry(2, [1, 2], backoff=2),
        lambda: Retry(1, jitter=2),
        lambda: Retry(1, jitter=None),  # type: ignore[arg-type]
        lambda: Retry(1, max_interval=-5),
        lambda: Retry(1, on=3),  # type: ignore[arg-type]
        lambda: Retry(1, on=[int]),  # type: ignore[list-item]
        lambda: Retry(1, on=""),
        lambda: Retry(1, on="NoSuchBuiltinError"),
    ],
)
def test_retry_that_cannot_be_meant_is_refused(make: Any) -> None:
    """When it is made, which is in the producer."""
    with pytest.raises(ValueError, match="Retry"):
        make()


# -- asked for by the job ----------------------------------------------------------------------------


async def test_job_asks_for_a_retry_by_returning_one(backend: RedisBackend) -> None:
    """RQ's arithmetic: ``max`` more runs; asking once more is a failure that says so."""
    job = await Queue("q", backend).enqueue(samples.ask_again, "k", 2)

    await drain(backend)

    assert jobs.attempts["k"] == 3
    assert await job.is_failed()
    assert job.number_of_retries == 2
    assert [one.type for one in await job.results()] == [
        Result.Type.MAX_RETRIES_EXCEEDED,
        Result.Type.RETRIED,
        Result.Type.RETRIED,
    ]
    with pytest.raises(JobFailed, match="max is 2"):
        await job.wait(timeout=5)


async def test_job_asks_for_a_later_retry(backend: RedisBackend) -> None:
    """The interval of the ``Retry`` that it returned."""
    job = await Queue("q", backend).enqueue(samples.ask_again, "k", 2, 60)

    await drain(backend)

    assert await job.is_scheduled()
    assert await interval_of(backend, job) == 60


async def test_job_asks_for_a_retry_by_raising_one(backend: RedisBackend) -> None:
    """From anywhere inside; that is ours, RQ's cannot be raised."""
    job = await Queue("q", backend).enqueue(samples.ask_again_raising, "k", 3)

    await drain(backend)

    assert await job.wait(timeout=5) == 3


async def test_job_in_a_process_asks_for_a_retry(
    redis_backend: RedisBackend, tmp_path: Path
) -> None:
    """RQ's class does as well."""
    job = await Queue("q", redis_backend).enqueue(
        samples.ask_again_in_a_process, str(tmp_path / "ledger"), offload="process"
    )

    await drain(redis_backend)

    assert await job.wait(timeout=5) == 2


# -- cancelled ---------------------------------------------------------------------------------------


async def test_delayed_retry_can_be_cancelled(backend: RedisBackend) -> None:
    """It is not run again."""
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 1, retry=Retry(1, interval=60))
    await drain(backend)
    assert await job.is_scheduled()

    await job.cancel()

    await make_due(backend)
    await drain(backend)
    with pytest.raises(JobCancelled):
        await job.wait(timeout=5)
    assert jobs.attempts["k"] == 1


async def test_job_that_was_cancelled_while_it_ran_is_not_retried(backend: RedisBackend) -> None:
    """Even if it answers the cancellation with an exception that it would be retried on."""
    job = await Queue("q", backend).enqueue(
        samples.fail_when_cancelled, "g", retry=Retry(5, interval=0)
    )

    async with at_work(backend):
        await eventually(lambda: gates["g"].arrivals == 1)
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.wait(timeout=5)

    assert gates["g"].arrivals == 1


async def test_many_retries_at_once_lose_none(backend: RedisBackend) -> None:
    """Two hundred jobs that fail twice each."""
    queue = Queue("q", backend)
    made = await queue.enqueue_many(
        queue.prepare_data(jobs.fails_times, (f"k{n}", 2), retry=Retry(2)) for n in range(200)
    )

    await drain(backend)

    assert await asyncio.gather(*[job.wait(5) for job in made]) == [3] * 200
