"""Clocks that are wrong, and that jump: leases, delays and ticks go by Redis' clock, and survive it when that jumps."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiorq2 import CronJob, Job, Retry, Scheduler, Worker
from tests.faults import functions
from tests.faults.checker import Evidence, Plan, violations
from tests.faults.site import Site
from tests.faults.stored import pass_time
from tests.support.eventually import eventually
from tests.support.processes import PythonProcess

pytestmark = pytest.mark.slow

HOUR = 3600
LEASE_S = 5.0
SLOW_S = 20.0
"""By how much a machine that is busy may be late where an hour is what would be wrong."""
WAIT_S = 60.0
GRACE_S = 1
JUMPING = f"0:0,1:{HOUR},2:-{HOUR},3:again"


async def test_clock_of_a_worker_that_jumps_changes_nothing(site: Site) -> None:
    """Of two workers, one is an hour ahead and then an hour behind: no lease ends early, no delay is shorter or longer, every tick
    comes once."""
    await site.worker(lease=LEASE_S, program=("-m", "tests.faults.skewed", JUMPING))
    await site.worker(lease=LEASE_S)
    cron = await _every_second(site, "secondly", catch_up="all")
    plans: dict[str, Plan] = {}

    for number in range(40):
        due_at = time.monotonic() + 1.0
        args = (site.ledger, number, 0.8)
        match number % 4:
            case 0:
                job = await site.queue.enqueue_in(1.0, functions.work, *args)
                plans[job.id] = Plan(2 * number, due_at=due_at - 0.05)
            case 1:
                retry = Retry(1, interval=0.5)
                job = await site.queue.enqueue(functions.work, *args, 1, 1, retry=retry)
                plans[job.id] = Plan(2 * number, raises=1)
            case _:
                function = functions.work if number % 4 == 2 else functions.work_sync
                job = await site.queue.enqueue(function, *args)
                plans[job.id] = Plan(2 * number)
        await asyncio.sleep(0.2)
    await cron.pause()

    await eventually(lambda: _all_finished(site, plans), timeout=WAIT_S, interval=0.1)
    runs = [run for run in site.runs() if run.job_id in plans]
    ticks = Counter(job.cron_tick for job in await cron.get_jobs(100))
    assert violations(Evidence(plans, runs, await site.outcomes(plans))) == []
    assert _are_consecutive(ticks)
    assert len(ticks) >= 7
    assert any(_is_an_hour_off(job) for job in await site.jobs(plans))


@pytest.mark.parametrize("by", [HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
async def test_clock_of_a_producer_does_not_matter_for_delays(site: Site, by: int) -> None:
    """A delay is counted by Redis; a point in time is what was written."""
    await site.worker()
    moment = datetime.now(UTC) + timedelta(seconds=3)
    began = time.monotonic()

    with PythonProcess(
        ["-m", "tests.faults.skewed", f"0:{by}", "tests.faults.late_producer", site.ledger, moment.isoformat()],
        env={"AIORQ2_URL": site.proxy.url},
    ) as producer:  # fmt: skip
        status = await asyncio.to_thread(producer.wait, 30)
        assert status == 0, producer.output()
        told = time.monotonic()
        in_id, at_id = producer.output().split()

    jobs = await site.jobs([in_id, at_id])
    assert [await job.wait(WAIT_S) for job in jobs] == [2, 4]
    assert all(_is_an_hour_off(job) for job in jobs)  # so the producer believes
    by_job = {run.job_id: run.started_at for run in site.runs()}
    assert began + 2 < by_job[in_id] < told + 2 + SLOW_S
    assert began + 2.9 < by_job[at_id] < max(told, began + 3) + SLOW_S


@pytest.mark.parametrize("by", [HOUR, -HOUR], ids=["forward", "back"])
async def test_clock_of_redis_that_jumps_loses_nothing(site: Site, by: int) -> None:
    """Leases may end early and jobs be run once more, delays may be cut or stretched; when it is right again all is done."""
    for _ in range(2):
        await site.worker("--concurrency", "4", lease=LEASE_S)
    plans: dict[str, Plan] = {}
    for number in range(6):
        function = functions.labour if number % 2 else functions.labour_sync
        job = await site.queue.enqueue(function, site.ledger, number, 2.5, result_ttl=-1)
        plans[job.id] = Plan(2 * number)
        job = await site.queue.enqueue_in(1.5, functions.work, site.ledger, number, result_ttl=-1)
        plans[job.id] = Plan(2 * number)
    await eventually(lambda: len(site.runs()) >= 6, timeout=WAIT_S)

    jumps: list[float] = []
    in_flight: Counter[str] = Counter()
    for seconds in (by, -by):
        await pass_time(site.backend, seconds)
        jumps.append(time.monotonic())
        in_flight += Counter(run.job_id for run in site.runs() if run.ended_at is None)
        await asyncio.sleep(3)

    await eventually(lambda: _all_finished(site, plans), timeout=WAIT_S, interval=0.1)
    outcomes = {
        job_id: (status, result[0] if isinstance(result, list) else result, text)
        for job_id, (status, result, text) in (await site.outcomes(plans)).items()
    }
    lost = {f"w{n}": jumps for n in (1, 2)}
    evidence = Evidence(plans, site.runs(), outcomes, in_flight=in_flight, lost=lost)
    assert violations(evidence) == []

    async def both_are_known() -> bool:
        return len(await Worker.all(site.backend)) == 2

    await eventually(both_are_known, timeout=WAIT_S)


async def test_ticks_that_fall_into_an_outage_follow_their_policies(site: Site) -> None:
    """Redis is away for four seconds: what is missed is made up for once, not at all, or one by one."""
    await site.worker(lease=15)
    entries = {
        policy: await _every_second(site, policy, catch_up=policy, grace=GRACE_S)
        for policy in ("last", "skip", "all")
    }
    await eventually(lambda: len(site.runs()) >= 6, timeout=WAIT_S)

    site.server.kill()
    away_since = datetime.now(UTC)
    await asyncio.sleep(4)
    away_until = datetime.now(UTC)
    await asyncio.to_thread(site.server.restart)
    back_at = time.monotonic()
    await eventually(
        lambda: max(run.started_at for run in site.runs()) > back_at + 2, timeout=WAIT_S
    )
    for entry in entries.values():
        await entry.pause()

    ticks = {name: await _ticks(entry) for name, entry in entries.items()}
    missed = {
        name: [tick for tick in counted if tick and away_since < tick < away_until]
        for name, counted in ticks.items()
    }
    assert all(set(counted.values()) == {1} for counted in ticks.values())
    assert _are_consecutive(ticks["all"])
    assert len(missed["all"]) >= 3
    assert len(missed["last"]) <= 1
    assert all(tick > away_until - timedelta(seconds=GRACE_S) for tick in missed["skip"])


def _is_an_hour_off(job: Job) -> bool:
    """Whether a time that is only to be read is wrong: that of the producer, or that of the worker."""
    now = datetime.now(UTC)
    moments = (job.created_at, job.started_at)
    return any(one is not None and abs(one - now).total_seconds() > HOUR / 2 for one in moments)


async def _every_second(site: Site, name: str, **policies: Any) -> CronJob:
    scheduler = Scheduler("q", backend=site.backend)
    args = [site.ledger, 1]
    return await scheduler.cron(
        "* * * * * *", functions.work, args, name=name, history=100, result_ttl=600, **policies
    )


async def _ticks(entry: CronJob) -> Counter[datetime | None]:
    return Counter(job.cron_tick for job in await entry.get_jobs(100))


def _are_consecutive(ticks: Counter[datetime | None]) -> bool:
    """Whether there is one tick for each second from the first to the last."""
    found = sorted(tick for tick in ticks if tick is not None)
    expected = [found[0] + timedelta(seconds=n) for n in range(len(found))]
    return found == expected and set(ticks.values()) == {1}


async def _all_finished(site: Site, plans: dict[str, Plan]) -> bool:
    statuses = [status for status, _, _ in (await site.outcomes(plans)).values()]
    return statuses == ["finished"] * len(plans)
