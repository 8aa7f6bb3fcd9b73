"""Every fifth job is one that nobody should write, every hundredth kills its worker: the others do not notice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from aiorq2 import Job, JobStatus, Retry
from tests.faults import functions, settings
from tests.faults.figures import Report
from tests.faults.site import Site
from tests.flow import poison
from tests.flow.test_poison import PAYLOADS
from tests.support.eventually import eventually

pytestmark = pytest.mark.slow

LEASE_S = 1.0
CONCURRENCY = 10
WORKERS = 2
ODD: list[Callable[[Site, int], tuple[Any, ...]]] = [
    lambda site, n: (poison.throw, [*poison.MAKERS][n % len(poison.MAKERS)]),
    lambda site, n: (poison.throw_sync, [*poison.MAKERS][n % len(poison.MAKERS)]),
    lambda site, n: (poison.give, [*poison.RESULTS][n % len(poison.RESULTS)]),
    lambda site, n: ("tests.flow.no_such_module.task",),
    lambda site, n: (poison.recurse,),
]
"""What the odd ones do; one more kind has a payload that nobody can read."""


class Fleet:
    """Workers that are replaced when a job has killed them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.deaths = 0
        self.odd_ends: list[str] = []
        self.living = [self._start() for _ in range(WORKERS)]

    def _start(self) -> Any:
        options = ["--concurrency", str(CONCURRENCY), "--log-level", "error"]
        return self.site.start_worker(*options, lease=LEASE_S)

    async def watch(self) -> None:
        """Go on until cancelled."""
        while True:
            for worker in [one for one in self.living if not one.is_running]:
                self.deaths += 1
                if worker.returncode != -9:
                    self.odd_ends.append(f"{worker.returncode}: {worker.output()[-1000:]}")
                self.living.remove(worker)
                self.living.append(self._start())
            await asyncio.sleep(0.05)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", settings.seeds())
async def test_poison_among_others_harms_none_of_them(
    site: Site, report: Report, seed: int
) -> None:
    """Each odd one has failed, each that kills its worker after three runs at the most; all others are finished."""
    dice, count = random.Random(seed), settings.size(200, 2000)
    good: dict[str, int] = {}
    odd: list[Job] = []
    killers: list[Job] = []
    fleet = Fleet(site)
    watch = asyncio.create_task(fleet.watch())
    await eventually(lambda: _listening(site) >= WORKERS, timeout=30, interval=0.1)

    for number in range(count):
        if number % 100 == 50:
            killers.append(await site.queue.enqueue(functions.kill_process, site.ledger))
        elif number % 5 == 0:
            odd.append(await _enqueue_odd(site, number // 5))
        else:
            function = functions.work if number % 2 else functions.work_sync
            seconds = dice.uniform(0, 0.1)
            job = await site.queue.enqueue(function, site.ledger, number, seconds)
            good[job.id] = 2 * number
        await asyncio.sleep(0.01)
    everything = [*good, *[job.id for job in odd + killers]]
    patience = 30 + len(killers) * 12 * LEASE_S
    with suppress(AssertionError):  # what is stuck is a finding
        await eventually(lambda: _have_ended(site, everything), timeout=patience, interval=0.2)
    watch.cancel()

    outcomes = await site.outcomes(everything)
    bad = {one: outcomes.get(one) for one in good if outcomes.get(one, ("",))[0] != "finished"}
    wrong = [one for one in good if one not in bad and outcomes[one][1] != good[one]]
    not_failed = [job.id for job in odd + killers if outcomes[job.id][0] != "failed"]
    runs = Counter(run.job_id for run in site.runs())
    text = (
        f"{count} jobs, {len(odd)} odd, {len(killers)} killers: {fleet.deaths} workers died; not failed {len(not_failed)},"
        f" others not finished {len(bad)}, wrong {len(wrong)}"
    )
    report(text)
    report.figure("poison", f"seed {seed}: {text}", seed=seed)
    assert (bad, wrong, not_failed, fleet.odd_ends) == ({}, [], [], [])
    assert all("AbandonedJobError" in str(outcomes[job.id][2]) for job in killers)
    assert max(runs[job.id] for job in killers) == 3  # fewer if another one struck first
    last = await site.queue.enqueue(functions.work, site.ledger, 21)
    assert await last.wait(20) == 42
    assert await last.get_status() is JobStatus.FINISHED


async def _enqueue_odd(site: Site, number: int) -> Job:
    if number % (len(ODD) + 1) < len(ODD):
        return await site.queue.enqueue(*ODD[number % (len(ODD) + 1)](site, number), result_ttl=600)
    payloads = [*PAYLOADS.values()]
    job = await site.queue.enqueue_in(5, functions.compute, 1, retry=Retry(3))
    key = site.backend.keys.job(job.id)
    await site.backend.run(["HSET", key, "data", payloads[number % len(payloads)]])
    return job


def _listening(site: Site) -> int:
    return int(site.server.command("SCARD", site.backend.keys.workers()))


async def _have_ended(site: Site, ids: list[str]) -> bool:
    keys = site.backend.keys
    found = await site.backend.run(*[["HGET", keys.job(one), "status"] for one in ids])
    return set(found) <= {b"finished", b"failed"}
