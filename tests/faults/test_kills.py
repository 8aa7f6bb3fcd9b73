"""A worker that dies or freezes loses its jobs to the others, and nothing else happens to them."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from aiorq2 import JobStatus
from tests.faults import functions
from tests.faults.figures import Report
from tests.faults.site import LEASE_S, Site, exit_status, listens, open_gate
from tests.support.eventually import eventually
from tests.support.processes import is_alive

pytestmark = pytest.mark.slow

SLACK_S = 2.0
"""What a busy machine may add to a time."""


async def test_kill_hands_the_jobs_over(site: Site, report: Report) -> None:
    """After ``kill -9`` another worker runs the jobs again, once the lease is over and not before; each is run once more."""
    lease = 5.0
    dying = await site.worker(lease=lease, url=site.server.url)
    jobs = [await site.queue.enqueue(functions.hold, site.ledger, site.gate()) for _ in range(3)]
    jobs += [
        await site.queue.enqueue(functions.hold_sync, site.ledger, site.gate()) for _ in range(3)
    ]
    await site.started(*jobs)
    await site.worker(lease=lease, url=site.server.url)

    killed_at = time.monotonic()
    dying.kill()
    again = await site.started(*jobs, times=2)
    open_gate(site.gate())

    assert [await job.wait(20) for job in jobs] == ["held"] * 6
    assert all(run.pid != dying.pid for run in again)
    assert [len(site.runs_of(job)) for job in jobs] == [2] * 6
    latest = max(run.started_at for run in again) - killed_at
    assert min(run.started_at for run in again) - killed_at > lease / 2
    assert latest < lease + 1 + SLACK_S
    report(f"lease {lease} s: all six jobs run again {latest:.2f} s after the kill")
    report.figure("rerun", round(latest - lease, 2), lease=lease)


async def test_kill_by_the_job_itself_ends_after_the_third(site: Site, report: Report) -> None:
    """A job that takes its worker down three times has failed with AbandonedJobError; the fourth worker lives on."""
    workers = [site.start_worker(lease=1) for _ in range(4)]
    for worker in workers:
        await listens(worker)
    began = time.monotonic()

    job = await site.queue.enqueue(functions.kill_process, site.ledger)

    await site.has_status(job, JobStatus.FAILED, timeout=3 * (1 + 1) + SLACK_S)
    report(f"lease 1 s: failed for good {time.monotonic() - began:.2f} s after it was enqueued")
    assert "AbandonedJobError" in str(job.exc_info)
    runs = site.runs_of(job)
    assert len({run.pid for run in runs}) == len(runs) == 3
    assert sum(worker.is_running for worker in workers) == 1
    other = await site.queue.enqueue(functions.work, site.ledger, 21)
    assert await other.wait(20) == 42


async def test_kill_of_a_job_that_must_not_run_twice(site: Site) -> None:
    """With ``redeliver=False`` the first death is the last: failed, and not run again."""
    dying = await site.worker()
    job = await site.queue.enqueue(functions.hold, site.ledger, site.gate(), redeliver=False)
    await site.started(job)
    await site.worker()

    dying.kill()

    await site.has_status(job, JobStatus.FAILED)
    assert "AbandonedJobError" in str(job.exc_info)
    assert len(site.runs_of(job)) == 1


async def test_kill_of_the_parent_alone_takes_its_processes_along(site: Site) -> None:
    """Only the worker itself is killed: a job that it ran in a process of its own ends with it, and not beside its second run."""
    dying = await site.worker(lease=4)
    job = await site.queue.enqueue(functions.hold_sync, site.ledger, site.gate(), offload="process")
    (first,) = await site.started(job)
    assert first.pid != dying.pid

    dying.kill_parent()

    await eventually(lambda: not is_alive(first.pid), timeout=5)
    await site.worker(lease=4)
    await site.started(job, times=2)
    open_gate(site.gate())
    assert await job.wait(20) == "held"
    assert [run.how for run in site.runs()] == [None, "end"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT])
async def test_other_signals_are_kills(site: Site, number: signal.Signals) -> None:
    """What is no request to stop ends a worker as the system has it, and its jobs are run again as after any death."""
    dying = await site.worker(lease=1)
    job = await site.queue.enqueue(functions.hang_once, site.ledger)
    await site.started(job)

    dying.send_signal(number)

    assert await asyncio.to_thread(dying.wait) == -number
    await site.worker(lease=1)
    assert await job.wait(20) == "again"
    assert job.attempt == 2


async def test_freeze_beyond_the_lease_loses_the_jobs(site: Site, report: Report) -> None:
    """A worker that was frozen for three leases finds its jobs taken over: its runs are cancelled, what they return is refused,
    and the worker goes on."""
    frozen = await site.worker(name="frozen")
    hanging = [
        await site.queue.enqueue(functions.hang_once, site.ledger),
        await site.queue.enqueue(functions.hang_once_sync, site.ledger),
    ]
    returning = [
        await site.queue.enqueue(functions.stubborn_once, site.ledger),
        await site.queue.enqueue(functions.late_once, site.ledger, 2 * LEASE_S),
    ]
    jobs = hanging + returning
    await site.started(*jobs)

    frozen.pause()
    frozen_until = time.monotonic() + 3 * LEASE_S
    heir = await site.worker(name="heir")
    assert [await job.wait(20) for job in jobs] == ["again"] * 4
    before = [await _facts(site, job) for job in jobs]
    await asyncio.sleep(frozen_until - time.monotonic())
    frozen.resume()
    woken_at = time.monotonic()

    def cut_at() -> list[float] | None:
        first = [site.runs_of(job)[0] for job in hanging]
        return [run.ended_at for run in first if run.ended_at and run.how == "cut"]

    await eventually(lambda: len(cut_at() or ()) == 2, timeout=20)
    await eventually(
        lambda: all(site.runs_of(job)[0].how == "end" for job in returning), timeout=20
    )
    await eventually(lambda: frozen.output().count("was not accepted") == 4, timeout=20)
    assert [await _facts(site, job) for job in jobs] == before
    assert [len(site.runs_of(job)) for job in jobs] == [2] * 4
    assert all(site.runs_of(job)[1].pid == heir.pid for job in jobs)
    heir.terminate()
    assert heir.wait() == 0
    after = await site.queue.enqueue(functions.work, site.ledger, 21)
    assert await after.wait(20) == 42
    assert site.runs_of(after)[0].pid == frozen.pid
    took = max(cut_at() or ()) - woken_at
    report(f"runs cancelled {took:.2f} s after waking")
    report.figure("woken", round(took, 2))


async def test_freeze_ends_a_worker_whose_name_has_gone_to_another(site: Site) -> None:
    """Frozen until it was forgotten, and replaced under its name: on waking it ends with a status, and its jobs are the heir's."""
    frozen = await site.worker(name="w")
    job = await site.queue.enqueue(functions.hang_once, site.ledger)
    await site.started(job)

    frozen.pause()
    await asyncio.sleep(2 * LEASE_S + 1)
    await eventually(lambda: not site.server.command("EXISTS", site.backend.keys.worker("w")))
    heir = await site.worker(name="w")
    assert await job.wait(20) == "again"
    frozen.resume()

    assert (await exit_status(frozen, 10))[0] == 1
    assert "'w': cannot extend its leases, another worker has this name now" in frozen.output()
    assert [run.how for run in site.runs_of(job)] == ["cut", "end"]
    job = await site.queue.enqueue(functions.work, site.ledger, 3)
    assert await job.wait(20) == 6
    assert site.runs_of(job)[0].pid == heir.pid


async def test_freeze_shorter_than_the_lease_is_nothing(site: Site) -> None:
    """A worker that is frozen for a part of its lease, again and again, keeps its jobs."""
    worker = await site.worker(lease=8)
    other = await site.worker(lease=8)
    jobs = [
        await site.queue.enqueue(functions.work, site.ledger, 1, 11.0),
        await site.queue.enqueue(functions.work_sync, site.ledger, 1, 11.0),
    ]
    runs = await site.started(*jobs)
    holders = [each for each in (worker, other) if each.pid in {run.pid for run in runs}]

    for _ in range(2):
        for holder in holders:
            holder.pause()
        await asyncio.sleep(3.0)
        for holder in holders:
            holder.resume()
        await asyncio.sleep(2.0)

    assert [await job.wait(20) for job in jobs] == [2, 2]
    assert [(run.how, run.pid) for run in site.runs()] == [
        ("end", run.pid) for run in sorted(runs, key=lambda run: run.started_at)
    ]
    assert "was not accepted" not in worker.output() + other.output()


async def _facts(site: Site, job: Any) -> tuple[Any, ...]:
    await job.refresh()
    return job.status, job.result, job.ended_at, job.worker_name
