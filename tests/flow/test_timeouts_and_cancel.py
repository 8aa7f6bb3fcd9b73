"""A run is ended from outside: by its timeout, by ``job.cancel()``, and by force where it does not want to."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from aiorq2 import Job, JobFailed, Queue, Retry, connect, executor
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import JobCancelled
from aiorq2.worker import Worker
from tests.flow import samples
from tests.flow.at_work import at_work, drain
from tests.support import jobs
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually, gates

LONG = 25.0
"""Seconds that a job would take if nobody ended it; no test waits for it."""

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "coroutine": (jobs.slow, {}),
    "thread": (jobs.slow_sync, {}),
    "coroutine in a thread": (jobs.slow, {"offload": "thread"}),
    "coroutine from a plain function": (samples.slow_wrapped, {}),
    "process": (jobs.slow_sync, {"offload": "process"}),
    "coroutine in a process": (jobs.slow, {"offload": "process"}),
}


async def ran_for(job: Job) -> float:
    """Return how long the last run of a job took, by the worker's clock."""
    result = await job.latest_result()
    assert result is not None
    assert result.execution_ended_at is not None
    assert result.execution_started_at is not None
    return (result.execution_ended_at - result.execution_started_at).total_seconds()


# -- timeouts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_job_is_ended_at_its_timeout(backend: RedisBackend, kind: str) -> None:
    """A coroutine is cancelled, an exception is raised in a thread, a process is killed: failed with RQ's exception."""
    func, options = KINDS[kind]
    job = await Queue("q", backend).enqueue(func, LONG, job_timeout=0.2, **options)

    await drain(backend)

    with pytest.raises(JobFailed, match=r"exceeded maximum timeout value \(0\.2 seconds\)"):
        await job.wait(timeout=5)
    assert job.exc_info is not None
    assert "JobTimeoutException" in job.exc_info
    assert await ran_for(job) < LONG / 2


@pytest.mark.parametrize(("func", "timeout"), [(jobs.slow, 0.1), (jobs.slow_sync, 2)])
async def test_traceback_of_a_timeout_shows_where_the_job_was(
    backend: RedisBackend, func: Any, timeout: float
) -> None:
    """The line that took too long is in it."""
    job = await Queue("q", backend).enqueue(func, LONG, job_timeout=timeout)

    await drain(backend)

    with pytest.raises(JobFailed) as failure:
        await job.wait(timeout=5)
    assert failure.value.exc_info is not None
    assert "tests/support/jobs.py" in failure.value.exc_info


@pytest.mark.parametrize("timeout", [-1, 100])
async def test_job_within_its_timeout_is_left_alone(backend: RedisBackend, timeout: int) -> None:
    """-1 is for ever."""
    job = await Queue("q", backend).enqueue(jobs.slow, 0.05, job_timeout=timeout)

    await drain(backend)

    assert await job.wait(timeout=5) == 0.05


async def test_job_can_clean_up_at_its_timeout(backend: RedisBackend) -> None:
    """A coroutine sees a CancelledError, as anywhere in asyncio; it has two seconds."""
    job = await Queue("q", backend).enqueue(samples.clean_up, "k", job_timeout=0.05)

    await drain(backend)

    assert jobs.recorded == ["k cleaned up"]
    assert await job.is_failed()


async def test_job_that_returns_at_the_very_moment_of_its_timeout_has_one_outcome(
    backend: RedisBackend,
) -> None:
    """Finished or failed, never both: a hundred jobs that take as long as they may."""
    queue = Queue("q", backend)
    made = await queue.enqueue_many(
        queue.prepare_data(jobs.slow, (0.05,), job_timeout=0.05) for _ in range(100)
    )

    await drain(backend)

    for job in made:
        await job.refresh()
        results = await job.results()
        assert len(results) == 1
        assert job.status in ("finished", "failed")
        assert (results[0].type.name == "SUCCESSFUL") == (job.status == "finished")


async def test_time_in_line_for_a_thread_does_not_count(backend: RedisBackend) -> None:
    """Four plain functions and one thread: each gets its whole time, beginning with its real start."""
    queue = Queue("q", backend)
    made = [await queue.enqueue(jobs.slow_sync, 1.0, job_timeout=3.5) for _ in range(4)]

    await drain(backend, sync_concurrency=1)

    assert [await job.wait(timeout=5) for job in made] == [1.0] * 4


async def test_start_of_a_process_does_not_count(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new process takes longer to start than this job may take."""
    monkeypatch.setattr(executor, "warm_up", samples.warm_up_slowly)
    job = await Queue("q", backend).enqueue(jobs.add_sync, 1, 2, job_timeout=2.5, offload="process")

    await drain(backend)

    assert await job.wait(timeout=5) == 3


# -- cancel ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_cancel_reaches_a_running_job(backend: RedisBackend, kind: str) -> None:
    """At once, and not at its end; it ends as stopped, in RQ's words."""
    func, options = KINDS[kind]
    job = await Queue("q", backend).enqueue(func, LONG, **options)

    async with at_work(backend, lease=60):  # so that no heartbeat brings the news
        await eventually(job.is_started)
        await asyncio.sleep(0.3 if "process" in kind else 0.05)
        await job.cancel()
        with pytest.raises(JobCancelled, match="stopped"):
            await job.wait(timeout=10)

    assert job.status == "stopped"
    assert job.exc_info is not None
    assert job.exc_info.startswith("Job stopped by user, work-horse terminated.")
    assert await ran_for(job) < LONG / 2


async def test_cancel_reaches_one_job_and_not_its_neighbours(backend: RedisBackend) -> None:
    """Ten run, one is cancelled."""
    queue = Queue("q", backend)
    made = [await queue.enqueue(jobs.wait_gate, f"g{n}") for n in range(10)]

    async with at_work(backend):
        await eventually(lambda: all(gates[f"g{n}"].arrivals == 1 for n in range(10)))
        await made[3].cancel()
        with pytest.raises(JobCancelled):
            await made[3].wait(timeout=5)
        for n in range(10):
            gates[f"g{n}"].open()
        values = await asyncio.gather(*[job.wait(5) for job in made], return_exceptions=True)

    assert [v for v in values if isinstance(v, str)] == [f"g{n}" for n in range(10) if n != 3]


async def test_cancel_is_heard_though_its_message_was_lost(backend: RedisBackend) -> None:
    """A mark on the job says the same, and the next heartbeat sees it."""
    job = await Queue("q", backend).enqueue(jobs.slow, LONG)

    async with at_work(backend, lease=4) as worker:
        await eventually(job.is_started)
        await worker._backend.unsubscribe(backend.keys.commands(worker.name))  # messages get lost
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.wait(timeout=10)

    assert await ran_for(job) < LONG / 2


async def test_cancel_works_while_the_worker_reconnects(
    chaos_proxy: ChaosProxy, redis_backend: RedisBackend, key_prefix: str
) -> None:
    """The worker's connections are cut and stay cut for a moment: nobody hears the message."""
    away = connect(chaos_proxy.url, key_prefix=key_prefix)
    job = await Queue("q", redis_backend).enqueue(jobs.slow, LONG)

    async with at_work(away, lease=2):
        await eventually(job.is_started)
        chaos_proxy.stall()
        chaos_proxy.reset_all()
        await job.cancel()
        assert not await job.is_stopped()
        chaos_proxy.resume()
        with pytest.raises(JobCancelled):
            await job.wait(timeout=10)
    await away.close()

    assert await ran_for(job) < LONG / 2


async def test_job_in_a_thread_can_ask_whether_to_go_on(backend: RedisBackend) -> None:
    """``check_cancelled`` raises where stopping is safe, also for code that catches every Exception."""
    job = await Queue("q", backend).enqueue(samples.work_in_steps, "g")

    async with at_work(backend):
        await eventually(lambda: gates["g"].arrivals > 3)
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.wait(timeout=5)

    assert await job.is_stopped()


async def test_cancelled_job_that_finishes_all_the_same_is_stopped(backend: RedisBackend) -> None:
    """Whoever cancelled it relied on that."""
    job = await Queue("q", backend).enqueue(samples.return_when_cancelled, "g")

    async with at_work(backend):
        await eventually(lambda: gates["g"].arrivals == 1)
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.wait(timeout=5)


async def test_cancelling_a_running_job_twice_is_no_error(backend: RedisBackend) -> None:
    """Nor is cancelling it a hundred times at once."""
    job = await Queue("q", backend).enqueue(jobs.slow, LONG)

    async with at_work(backend):
        await eventually(job.is_started)
        await asyncio.gather(*[job.cancel() for _ in range(100)], return_exceptions=True)
        with pytest.raises(JobCancelled):
            await job.wait(timeout=5)

    assert len(await job.results()) == 1


async def test_stopped_job_can_be_requeued(backend: RedisBackend) -> None:
    """It was somebody's wish, not a fault."""
    job = await Queue("q", backend).enqueue(jobs.wait_gate, "g")

    async with at_work(backend):
        await eventually(job.is_started)
        await job.cancel()
        await eventually(job.is_stopped)
        gates["g"].open()
        await job.requeue()
        assert await job.wait(timeout=5) == "g"


async def test_job_waiting_for_a_thread_is_cancelled_without_ever_starting(
    backend: RedisBackend,
) -> None:
    """It has a slot and a lease, but its function has not been called."""
    queue = Queue("q", backend)
    running = await queue.enqueue(jobs.wait_gate_sync, "g")
    waiting = await queue.enqueue(jobs.record_sync, "never")

    async with at_work(backend, sync_concurrency=1):
        await eventually(lambda: gates["g"].arrivals == 1)
        await eventually(waiting.is_started)
        await waiting.cancel()
        with pytest.raises(JobCancelled):
            await waiting.wait(timeout=5)
        gates["g"].open()
        assert await running.wait(timeout=5) == "g"

    assert jobs.recorded == []


# -- cancelled by itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("func", [samples.cancel_oneself, samples.cancel_oneself_sync])
async def test_job_that_raises_cancelled_error_itself_has_failed(
    backend: RedisBackend, func: Any
) -> None:
    """Nobody told it to stop: an inner task that was cancelled, for instance, is its own affair."""
    job = await Queue("q", backend).enqueue(func)

    await drain(backend)

    with pytest.raises(JobFailed, match="CancelledError: my own"):
        await job.wait(timeout=5)


async def test_it_can_be_retried_like_any_failure(backend: RedisBackend) -> None:
    """By name or as a ``BaseException``."""
    job = await Queue("q", backend).enqueue(
        samples.cancel_oneself, retry=Retry(1, on=asyncio.CancelledError)
    )

    await drain(backend)

    assert [one.type.name for one in await job.results()] == ["FAILED", "RETRIED"]


# -- those that do not want to end -------------------------------------------------------------------


@pytest.mark.usefixtures("short_patience")
@pytest.mark.parametrize("func", [jobs.swallow_cancel, samples.swallow_everything_sync])
@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_job_that_does_not_end_is_written_off(
    backend: RedisBackend, func: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Two seconds after it was told to: the job is failed or stopped, its slot stays taken, the others go on."""
    queue = Queue("q", backend)
    limit = 0.1 if func is jobs.swallow_cancel else 2  # a thread may be late to begin
    timeout = limit if how == "timeout" else -1
    job = await queue.enqueue(func, "stubborn", job_timeout=timeout)

    async with at_work(backend, concurrency=2, grace=0) as worker:
        await eventually(lambda: gates["stubborn"].arrivals > 0)
        if how == "cancel":
            await job.cancel()
        with pytest.raises(JobFailed if how == "timeout" else JobCancelled):
            await job.wait(timeout=10)
        assert job.exc_info is not None
        assert "UncancellableJobError" in job.exc_info
        assert "its slot is lost" in caplog.text
        others = [await queue.enqueue(jobs.echo, n) for n in range(5)]
        assert [await one.wait(timeout=5) for one in others] == [0, 1, 2, 3, 4]
        assert worker.slots_lost == 1
        gates["stubborn"].open()
        await eventually(lambda: worker.slots_lost == 0)

    assert len(await job.results()) == 1


@pytest.mark.usefixtures("short_patience")
async def test_burst_ends_though_every_slot_is_lost(backend: RedisBackend) -> None:
    """What it cannot run stays in the queue, for others."""
    queue = Queue("q", backend)
    stubborn = await queue.enqueue(jobs.swallow_cancel, "stubborn", job_timeout=0.1)
    waiting = await queue.enqueue(jobs.nothing)
    worker = Worker("q", backend, concurrency=1)

    async with asyncio.timeout(10):
        await worker.work(burst=True)

    assert await stubborn.is_failed()
    assert await waiting.is_queued()
    assert worker.stuck_threads == 1
    gates["stubborn"].open()
    await queue.empty()


@pytest.mark.usefixtures("short_patience")
async def test_worker_tells_of_threads_that_it_leaves_behind(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread cannot be killed; whoever ends the process has to know."""
    await Queue("q", backend).enqueue(samples.swallow_everything_sync, "stubborn", job_timeout=2)
    worker = Worker("q", backend)

    await worker.work(burst=True)

    assert worker.stuck_threads == 1
    assert "it does not end" in caplog.text
    gates["stubborn"].open()


async def test_thread_that_was_interrupted_serves_the_next_job_unharmed(
    backend: RedisBackend,
) -> None:
    """The exception that ended one job never hits the next one in the same thread."""
    queue = Queue("q", backend)
    made = []
    for n in range(30):
        made.append(await queue.enqueue(jobs.slow_sync, 0.02, job_timeout=0.02))
        made.append(await queue.enqueue(samples.sync_echo, n))

    await drain(backend, sync_concurrency=2)

    assert [await job.wait(5) for job in made[1::2]] == list(range(30))
    names = {thread.name for thread in threading.enumerate()}
    assert not any("heartbeat" in name for name in names)


async def test_shutdown_ends_a_job_that_does_not_want_to_within_two_seconds_of_grace(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker leaves; the job's lease ends later, and then it is run again."""
    job = await Queue("q", backend).enqueue(jobs.swallow_cancel, "stubborn")
    loop = asyncio.get_running_loop()

    async with at_work(backend, grace=0.1):
        await eventually(lambda: gates["stubborn"].arrivals == 1)
        told_at = loop.time()
    took = loop.time() - told_at

    assert took < 0.1 + 2 + 1.5
    gates["stubborn"].open()
    assert await job.get_status() in ("started", "queued")
    wip = backend.keys.wip("q")
    for member in (await backend.run(["ZRANGE", wip, 0, -1]))[0]:
        await backend.run(["ZADD", wip, "XX", 1, member])
    async with at_work(backend, lease=3):
        await job.wait(timeout=20)


async def test_log_names_the_job_and_the_reason(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """One line per outcome."""
    with caplog.at_level(logging.INFO, "aiorq2"):
        job = await Queue("q", backend).enqueue(jobs.slow, LONG, job_timeout=0.05)
        await drain(backend)

    assert f"job {job.id}: failed with aiorq2.errors.JobTimeoutException after 0." in caplog.text
