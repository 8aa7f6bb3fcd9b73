"""How a worker ends when it is told to: quickly, with status 0, and with nothing lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from aiorq2 import Job, JobStatus
from aiorq2.backends import scripts
from tests.faults import functions
from tests.faults.figures import Report
from tests.faults.site import Site, exit_status, open_gate
from tests.support.eventually import eventually
from tests.support.processes import PythonProcess

pytestmark = pytest.mark.slow

SLACK_S = 2.0
"""What a busy machine may add to a time."""
GRACE_S = 1.0
GRACE = ("--grace", str(GRACE_S))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_an_idle_worker(
    site: Site, report: Report, number: signal.Signals
) -> None:
    """It ends at once, and takes its name off the list."""
    worker = await site.worker(name="w", url=site.server.url)

    worker.send_signal(number)

    status, took = await exit_status(worker, 10)
    report(f"{number.name}, idle: gone after {took:.2f} s")
    report.figure("idle_stop", round(took, 2), signal=number.name)
    assert status == 0
    assert took < 0.5 + SLACK_S
    assert "Traceback" not in worker.output()
    assert not site.server.command("SMEMBERS", site.backend.keys.workers())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_lets_jobs_finish_within_grace(site: Site, number: signal.Signals) -> None:
    """What runs is not cut; what comes later is not started."""
    worker = await site.worker("--grace", "20", lease=15)
    jobs = [
        await site.queue.enqueue(function, site.ledger, 1, 1.5)
        for function in (functions.work, functions.work_sync)
        for _ in range(3)
    ]
    await site.started(*jobs)

    worker.send_signal(number)
    await eventually(lambda: "stopping" in worker.output())
    late = await site.queue.enqueue(functions.work, site.ledger, 1)

    assert (await exit_status(worker, 10))[0] == 0
    assert [await job.get_status() for job in jobs] == [JobStatus.FINISHED] * 6
    assert [run.how for run in site.runs()] == ["end"] * 6
    assert await late.get_status() is JobStatus.QUEUED


async def test_signal_gives_back_what_takes_longer_than_grace(site: Site, report: Report) -> None:
    """Coroutine, thread and process are cancelled and put back, and no attempt and no death is counted."""
    worker = await site.worker(*GRACE, lease=15, url=site.server.url)
    jobs = await _hanging(site)

    worker.terminate()

    status, took = await exit_status(worker, 10)
    report(f"SIGTERM, grace {GRACE_S} s, jobs without end: gone after {took:.2f} s")
    report.figure("busy_stop", round(took - GRACE_S, 2))
    assert status == 0
    assert took <= GRACE_S + 2 + SLACK_S
    await _were_given_back(site, jobs)
    await site.worker()
    open_gate(site.gate())
    assert [await job.wait(20) for job in jobs] == ["held"] * len(jobs)
    assert [job.attempt for job in jobs] == [1] * len(jobs)


@pytest.mark.parametrize("times", [2, 50])
async def test_signal_again_ends_a_worker_at_once(site: Site, report: Report, times: int) -> None:
    """The second signal does not wait for the grace to be over; the fiftieth does no harm."""
    worker = await site.worker("--grace", "60", lease=15, url=site.server.url)
    jobs = await _hanging(site)

    worker.terminate()
    await eventually(lambda: "stopping" in worker.output())  # two that wait are delivered as one
    for _ in range(times - 1):
        worker.terminate()
        await asyncio.sleep(0.001)

    status, took = await exit_status(worker, 10)
    report(f"{times} times SIGTERM: gone after {took:.2f} s")
    assert status in (
        0,
        -signal.SIGTERM,
    )  # one may come when all is done and nobody listens any more
    assert took < 1 + SLACK_S
    await _were_given_back(site, jobs)


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("way", ["killed", "stalled"])
async def test_signal_while_redis_is_away(
    site: Site, report: Report, way: str, is_busy: bool
) -> None:
    """The worker ends all the same, at the latest two seconds after its grace."""
    worker = await site.worker(*GRACE, lease=15)
    if is_busy:
        await _hanging(site)
        await site.started(await site.queue.enqueue(functions.work, site.ledger, 1, 0.3))
    if way == "killed":
        site.server.kill()
    else:
        site.proxy.stall()
    await asyncio.sleep(0.5)

    worker.terminate()

    status, took = await exit_status(worker, 15)
    report(f"SIGTERM, Redis {way}, {'busy' if is_busy else 'idle'}: gone after {took:.2f} s")
    if is_busy:
        report.figure("busy_stop", round(took - GRACE_S, 2), redis=way)
    assert status == 0
    assert took <= (GRACE_S + 2 if is_busy else 1.5) + SLACK_S


async def test_signal_before_redis_was_ever_there(site: Site, report: Report) -> None:
    """A worker that still waits for Redis at its start ends as well."""
    site.server.kill()
    worker = site.start_worker()
    await eventually(lambda: "cannot be reached" in worker.output(), timeout=20)

    worker.terminate()

    status, took = await exit_status(worker, 10)
    report(f"SIGTERM, Redis never there: gone after {took:.2f} s")
    assert status == 0
    assert took < 1.5 + SLACK_S


async def test_signal_while_jobs_are_being_claimed(site: Site) -> None:
    """Jobs whose claim is under way are given back, not left to their leases."""
    worker = await site.worker("--grace", "20", lease=15)
    running = await site.queue.enqueue(functions.hold, site.ledger, site.gate())
    await site.started(running)
    worker.pause()
    jobs = [await site.queue.enqueue(functions.work, site.ledger, 1) for _ in range(3)]
    site.proxy.delay(0.5)
    given_back = site.proxy.on_request(scripts.load("give_back").sha.encode(), 1, lambda: None)
    claimed = site.proxy.on_request(site.claims, 1, worker.terminate)
    worker.resume()

    await eventually(claimed.is_set)
    await eventually(lambda: "stopping" in worker.output())
    open_gate(site.gate())

    assert (await exit_status(worker, 15))[0] == 0
    site.proxy.heal()
    assert given_back.is_set()
    assert await running.get_status() is JobStatus.FINISHED
    assert [await job.get_status() for job in jobs] == [JobStatus.QUEUED] * 3
    assert await site.queue.get_job_ids() == [job.id for job in jobs]
    assert [job.attempt for job in jobs] == [0] * 3


@pytest.mark.parametrize("function", [functions.swallow, functions.sleep_in_c])
async def test_signal_does_not_wait_for_jobs_that_do_not_end(
    site: Site, report: Report, function: Callable[..., object]
) -> None:
    """A coroutine that swallows its cancellation, or a thread in a C call, keeps no process alive."""
    worker = await site.worker(*GRACE)
    await site.started(await site.queue.enqueue(function, site.ledger))

    worker.terminate()

    status, took = await exit_status(worker, 15)
    report(f"SIGTERM, grace {GRACE_S} s, {function.__name__}: gone after {took:.2f} s")
    assert status == 0
    assert took <= GRACE_S + 2 + SLACK_S


async def test_signal_does_not_wait_for_threads_that_jobs_have_begun(
    site: Site, report: Report
) -> None:
    """Coroutines that hold every thread of ``asyncio.to_thread`` are given back, and their threads are left behind."""
    worker = await site.worker(*GRACE, lease=15, url=site.server.url)
    jobs = [await site.queue.enqueue(functions.sleep_in_pool, site.ledger) for _ in range(40)]
    await site.started(*jobs)

    worker.terminate()

    status, took = await exit_status(worker, 15)
    report(f"SIGTERM, grace {GRACE_S} s, every thread of the pool held: gone after {took:.2f} s")
    assert status == 0
    assert took <= GRACE_S + 2 + SLACK_S
    await _were_given_back(site, jobs)


@pytest.mark.parametrize("way", ["os.close(1); os.close(2)", "os.dup2(end, 1); os.dup2(end, 2)"])
async def test_closed_output_does_not_end_a_worker(site: Site, way: str) -> None:
    """Nobody reads what the worker says, or it has no output at all: it works, and ends with status 0."""
    arguments = ["-m", "aiorq2", "worker", "--url", site.proxy.url, "q"]
    launch = f"import os, sys; other, end = os.pipe(); {way}; os.close(other); os.close(end);"
    launch += f"os.execv(sys.executable, [sys.executable, *{arguments!r}])"
    with PythonProcess(["-c", launch]) as worker:
        jobs = [await site.queue.enqueue(functions.work, site.ledger, 21) for _ in range(20)]
        failing = await site.queue.enqueue(functions.work, site.ledger, 21, retries=0, failures=1)

        assert [await job.wait(20) for job in jobs] == [42] * 20
        await site.has_status(failing, JobStatus.FAILED)
        worker.terminate()
        assert await asyncio.to_thread(worker.wait) == 0


async def _hanging(site: Site) -> list[Job]:
    """Start jobs that wait for the gate: a coroutine, a thread, a process."""
    jobs = [
        await site.queue.enqueue(functions.hold, site.ledger, site.gate()),
        await site.queue.enqueue(functions.hold_sync, site.ledger, site.gate()),
        await site.queue.enqueue(functions.hold_sync, site.ledger, site.gate(), offload="process"),
    ]
    await site.started(*jobs)
    return jobs


async def _were_given_back(site: Site, jobs: list[Job]) -> None:
    assert [await job.get_status() for job in jobs] == [JobStatus.QUEUED] * len(jobs)
    assert [job.attempt for job in jobs] == [0] * len(jobs)
    for job in jobs:
        assert site.server.command("HGET", site.backend.keys.job(job.id), "aio_deaths") is None
    assert [site.runs_of(job)[0].how for job in jobs[:2]] == ["cut", "cut"]
