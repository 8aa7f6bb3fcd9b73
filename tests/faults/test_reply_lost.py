"""The reply is lost after the command ran: whatever was sent again has happened once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from aiorq2 import JobStatus, Queue, Retry
from aiorq2.backends import scripts
from tests.faults import functions
from tests.faults.checker import Evidence, Plan, violations
from tests.faults.figures import Report
from tests.faults.site import Site, exit_status
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually

pytestmark = pytest.mark.slow

JOBS = 1200
CANCELLED = 300
RATE = 0.02


def lose(proxy: ChaosProxy, *verbs: str) -> None:
    """Lose two of a hundred replies of each of these scripts from now on."""
    for seed, verb in enumerate(verbs):
        proxy.drop_replies(RATE, seed, scripts.load(verb).sha.encode())


async def test_reply_lost_of_enqueue_claim_and_settle(site: Site, report: Report) -> None:
    """Every job is run as often as planned: once, or once more where it asks for a retry."""
    with ChaosProxy(site.server.url) as workers_way:
        for _ in range(2):
            await site.worker("--concurrency", "4", url=workers_way.url, lease=15)
        lose(site.proxy, "add", "add_many")
        ends = ("finish_many", "finish", "retry", "fail", "give_back")
        lose(workers_way, "claim", *ends, "extend", "reap")

        plans: dict[str, Plan] = {}
        for number in range(JOBS):
            function = functions.work if number % 2 else functions.work_sync
            if number % 10 == 0:
                job = await site.queue.enqueue(
                    function, site.ledger, number, retries=1, failures=1, retry=Retry(1)
                )
                plans[job.id] = Plan(2 * number, raises=1)
            elif number % 50 == 1:
                job = await site.queue.enqueue(function, site.ledger, number, failures=1)
                plans[job.id] = Plan(raises=1, fails=True)
            else:
                job = await site.queue.enqueue(function, site.ledger, number)
                plans[job.id] = Plan(2 * number)
        lost_by_producer = site.proxy.replies_lost
        site.proxy.heal()
        await eventually(lambda: _is_over(site), timeout=60, interval=0.1)
        lost_by_workers = workers_way.replies_lost

    outcomes = await site.outcomes(plans)
    report(
        f"{JOBS} jobs, {len(site.runs())} runs; replies lost: {lost_by_producer} of enqueue,"
        f" {lost_by_workers} of the workers' calls; {dict(Counter(one[0] for one in outcomes.values()))}"
    )
    found = violations(Evidence(plans, site.runs(), outcomes))
    report.figure(
        "lost_replies",
        f"{JOBS} jobs, {lost_by_producer + lost_by_workers} replies dropped: lost or doubled {len(found)}",
    )
    assert found == []
    assert len(site.runs()) == sum(plan.runs for plan in plans.values())
    assert min(lost_by_producer, lost_by_workers) > 5


async def test_reply_lost_of_cancel(site: Site, report: Report) -> None:
    """Every cancellation says that it succeeded, every job is canceled, and none is run afterwards."""
    queue = Queue("late", site.backend)
    jobs = [await queue.enqueue(functions.work, site.ledger, 1) for _ in range(CANCELLED)]
    lose(site.proxy, "cancel", "observe")

    for job in jobs:
        await job.cancel()
    statuses = Counter([await job.get_status() for job in jobs])

    report(f"{CANCELLED} cancellations, {site.proxy.replies_lost} replies lost: {dict(statuses)}")
    assert statuses == {JobStatus.CANCELED: CANCELLED}
    assert site.proxy.replies_lost > 3
    site.proxy.heal()
    worker = site.start_worker("--burst", queues=["late"])
    assert (await exit_status(worker, 30))[0] == 0
    assert site.runs() == []


async def test_reply_lost_of_cancelling_what_runs(site: Site) -> None:
    """A running job is stopped although the reply, or the message to its worker, was lost."""
    worker = await site.worker(lease=8)
    jobs = [await site.queue.enqueue(functions.hold, site.ledger, site.gate()) for _ in range(10)]
    await site.started(*jobs)

    for job in jobs:
        lost = site.proxy.drop_next_reply(scripts.load("cancel").sha.encode())
        await job.cancel()
        assert lost.is_set()
        site.proxy.reset_all()  # the worker's subscription as well

    for job in jobs:
        await site.has_status(job, JobStatus.STOPPED)
    await eventually(lambda: [run.how for run in site.runs()] == ["cut"] * 10, timeout=20)
    assert worker.is_running


async def _is_over(site: Site) -> bool:
    keys = site.backend.keys
    left = await site.backend.run(
        ["LLEN", keys.queue("q")], ["ZCARD", keys.scheduled("q")], ["ZCARD", keys.wip("q")]
    )
    await asyncio.sleep(0)
    return left == [0, 0, 0]
