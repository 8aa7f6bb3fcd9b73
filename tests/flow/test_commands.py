"""Commands to workers, in RQ's words, and RQ's functions for a job of which only the id is known."""

from __future__ import annotations

import pytest

from aiorq2 import InvalidJobOperation, NoSuchJobError, Queue, cancel_job, requeue_job
from aiorq2.backends.redis import RedisBackend
from aiorq2.commands import (
    send_command,
    send_kill_horse_command,
    send_shutdown_command,
    send_stop_execution_command,
    send_stop_job_command,
)
from aiorq2.worker import Worker
from tests.flow.at_work import at_work, drain
from tests.support import jobs
from tests.support.eventually import eventually, gates


async def test_stop_job(backend: RedisBackend) -> None:
    """One of the jobs of a worker is stopped, the others go on."""
    queue = Queue("q", backend)
    one, two = [await queue.enqueue(jobs.wait_gate, "g") for _ in range(2)]

    async with at_work(backend):
        await eventually(lambda: gates["g"].arrivals == 2)
        await send_stop_job_command(backend, one.id)
        await eventually(one.is_stopped)
        assert await two.is_started()
        gates["g"].open()
        await two.wait(timeout=5)


async def test_stop_job_reaches_a_worker_that_did_not_hear(backend: RedisBackend) -> None:
    """The word is left in the job as well; the next heartbeat finds it."""
    job = await Queue("q", backend).enqueue(jobs.wait_gate, "g")

    async with at_work(backend, lease=1) as worker:
        await eventually(lambda: gates["g"].arrivals == 1)
        assert worker._pump is not None
        await worker._backend.unsubscribe(backend.keys.commands(worker.name))
        await send_stop_job_command(backend, job.id)
        await eventually(job.is_stopped)


async def test_stop_job_is_for_jobs_that_run(backend: RedisBackend) -> None:
    """As in RQ, nothing else is stopped, and what waits goes on waiting."""
    job = await Queue("q", backend).enqueue(jobs.nothing)

    with pytest.raises(InvalidJobOperation, match="cannot stop from 'queued'"):
        await send_stop_job_command(backend, job.id)
    with pytest.raises(NoSuchJobError):
        await send_stop_job_command(backend, "no-such-job")

    await drain(backend)
    assert await job.is_finished()


async def test_stop_execution(backend: RedisBackend) -> None:
    """One run, named by its id."""
    job = await Queue("q", backend).enqueue(jobs.wait_gate, "g")
    with pytest.raises(InvalidJobOperation, match="no execution 'x'"):
        await send_stop_execution_command(backend, job.id, "x")

    async with at_work(backend):
        await eventually(lambda: gates["g"].arrivals == 1)
        (execution,) = await job.get_executions()
        assert await send_stop_execution_command(backend, job.id, execution.id)
        await eventually(job.is_stopped)


async def test_kill_horse_stops_all_that_runs(backend: RedisBackend) -> None:
    """The worker goes on with the next jobs."""
    queue = Queue("q", backend)
    given = [await queue.enqueue(jobs.wait_gate, "g") for _ in range(2)]

    async with at_work(backend) as worker:
        await eventually(lambda: gates["g"].arrivals == 2)
        assert await send_kill_horse_command(backend, worker.name)
        for job in given:
            await eventually(job.is_stopped)
        assert await (await queue.enqueue(jobs.add, 1, 2)).wait(timeout=5) == 3


async def test_shutdown_lets_running_jobs_finish(backend: RedisBackend) -> None:
    """As a first signal does."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.wait_gate, "g")

    async with at_work(backend) as worker:
        await eventually(lambda: gates["g"].arrivals == 1)
        assert await send_shutdown_command(backend, worker.name)
        await eventually(lambda: worker._pump is not None and worker._pump.is_stopping)
        await queue.enqueue(jobs.nothing)
        gates["g"].open()
        assert await job.wait(timeout=5) == "g"
        await eventually(lambda: worker._pump is None)

    assert await queue.count() == 1
    assert await Worker.count(backend) == 0


async def test_command_that_nobody_hears_says_so(backend: RedisBackend) -> None:
    """There is no worker of that name."""
    assert await send_shutdown_command(backend, "nobody") is False


async def test_worker_ignores_what_it_does_not_understand(backend: RedisBackend) -> None:
    """And goes on."""
    async with at_work(backend) as worker:
        await send_command(backend, worker.name, "dance", tempo="fast")
        await backend.command(worker.name, "{")
        await backend.command(worker.name, '["stop-job"]')
        job = await Queue("q", backend).enqueue(jobs.add, 1, 2)
        assert await job.wait(timeout=5) == 3


async def test_cancel_and_requeue_by_id(backend: RedisBackend) -> None:
    """RQ's ``cancel_job`` and ``requeue_job``."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.nothing)
    child = await queue.enqueue(jobs.nothing, depends_on=parent)

    await cancel_job(parent.id, backend, enqueue_dependents=True)
    assert await child.is_queued()
    again = await requeue_job(parent.id, backend, at_front=True)

    assert (again.id, again.status) == (parent.id, "queued")
    assert await queue.get_job_ids() == [parent.id, child.id]
    with pytest.raises(NoSuchJobError):
        await requeue_job("no-such-job", backend)
    with pytest.raises(NoSuchJobError):
        await cancel_job("no-such-job", backend)
