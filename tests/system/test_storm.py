"""Thousands of jobs while workers are killed, connections cut and Redis restarted: none is lost, and no run is unexplained."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import redis

from aiorq2 import Job, JobStatus, Retry
from tests.support.eventually import eventually
from tests.support.processes import WorkerProcess
from tests.system import functions
from tests.system.ledger import Evidence, Plan, Run, extra_runs, violations
from tests.system.site import Site

Report = Callable[[str], None]

JOBS = 5000
STORM_S = 20
LEASE_S = 4.0
WORKERS = 3
PRODUCERS = 10
TERMINAL = {status.value for status in JobStatus if status.is_terminal}


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_storm(site: Site, report: Report) -> None:
    """5 000 jobs, three workers of which one is killed every second for twenty seconds, every connection reset once, Redis killed
    and restarted once: every job ends as planned, and only runs that were in flight at a kill are repeated."""
    storm = Storm(site, random.Random(20))
    began = time.monotonic()
    watch = asyncio.create_task(storm.watch())
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(storm.rage())
            for number in range(PRODUCERS):
                group.create_task(storm.produce(range(number, JOBS, PRODUCERS)))
        await eventually(lambda: len(storm.ended_at) == JOBS, timeout=90, interval=0.2)
    finally:
        watch.cancel()
        await asyncio.wait({watch})
    took = time.monotonic() - began

    evidence = await storm.evidence()
    extra, found = extra_runs(evidence), violations(evidence)
    told = Counter(run.how for run in evidence.runs)
    abandoned = sum(
        "AbandonedJobError" in (text or "") for _, _, text in evidence.outcomes.values()
    )
    report(
        f"{JOBS} jobs in {took:.1f} s, {len(evidence.runs)} runs {dict(told)}; {len(evidence.deaths)} kills with"
        f" {evidence.in_flight.total()} runs in flight; {sum(extra.values())} runs repeated, {abandoned} jobs abandoned;"
        f" {dict(Counter(status for status, _, _ in evidence.outcomes.values()))}; {len(found)} violations"
    )
    assert found == []
    assert len(evidence.deaths) >= STORM_S - 2
    assert sum(extra.values()) <= evidence.in_flight.total()
    for worker in storm.living:
        assert worker.is_running, worker.output()[-2000:]


class Storm:
    """Produces jobs, lets rage what is to survive, and writes down what happens."""

    def __init__(self, site: Site, dice: random.Random) -> None:
        self.site = site
        self.dice = dice
        self.jobs: dict[str, Job] = {}
        self.plans: dict[str, Plan] = {}
        self.living: list[WorkerProcess] = []
        self.names: dict[int, str] = {}
        self.deaths: dict[int, float] = {}
        self.in_flight: Counter[str] = Counter()
        self.ended_at: dict[str, float] = {}
        self.seen: dict[str, tuple[bytes | None, ...]] = {}
        self.changes: list[str] = []
        self.began = time.monotonic()

    # -- jobs ------------------------------------------------------------------------------------------------------------

    async def produce(self, numbers: range) -> None:
        """Enqueue a share of the jobs, evenly over the storm."""
        for number in numbers:
            due = self.began + STORM_S * number / JOBS
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            job, plan = await self._enqueue(number)
            self.jobs[job.id], self.plans[job.id] = job, plan

    async def _enqueue(self, number: int) -> tuple[Job, Plan]:
        function = functions.work if number % 2 else functions.work_sync
        add = partial(
            self.site.queue.enqueue, function, self.site.ledger, number, self.dice.uniform(0, 0.1)
        )
        if number % 100 == 0:
            job = await add(retries=3, failures=2, retry=Retry(3, interval=[0, 1, 1]))
            return job, Plan(2 * number, raises=2)
        if number % 100 == 1:
            job = await add(retries=2, failures=99, retry=Retry(2, interval=0))
            return job, Plan(raises=3, fails=True)
        return await add(), Plan(2 * number)

    # -- weather ---------------------------------------------------------------------------------------------------------

    async def rage(self) -> None:
        """Kill a worker a second; reset the connections at a quarter of the time, restart Redis half way."""
        for _ in range(WORKERS):
            self._start()
        await eventually(lambda: self.site.runs(), timeout=30)
        for second in range(1, STORM_S + 1):
            due = self.began + second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            victim = self.living.pop(self.dice.randrange(WORKERS))
            if second == STORM_S // 4:
                self.site.proxy.reset_all()
            if second == STORM_S // 2:
                self.site.server.kill()
                self._kill(victim)
                await asyncio.to_thread(self.site.server.restart)
                await eventually(lambda: self.site.server.command("PING"), timeout=20)
                self._note_leases(victim)
            else:
                victim.pause()
                await asyncio.sleep(0.02)  # what it has sent arrives
                self._note_leases(victim)
                self._kill(victim)
            self._start()

    def _start(self) -> None:
        name = f"worker-{len(self.names)}"
        options = ["--name", name, "--concurrency", "20", "--log-level", "warning"]
        worker = self.site.start_worker(*options, lease=LEASE_S)
        self.living.append(worker)
        self.names[worker.pid] = name

    def _kill(self, victim: WorkerProcess) -> None:
        pid = victim.pid
        victim.kill()
        self.deaths[pid] = time.monotonic()

    def _note_leases(self, victim: WorkerProcess) -> None:
        keys = self.site.backend.keys
        held: Any = self.site.server.command(
            "SMEMBERS", keys.worker_executions(self.names[victim.pid])
        )
        self.in_flight.update(member.decode().rpartition(":")[0] for member in held)

    # -- looking ---------------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Look at every job again and again: what has ended must stay as it is."""
        while True:
            with suppress(redis.RedisError):  # the next look sees it
                await asyncio.to_thread(self._look)
            await asyncio.sleep(0.5)

    def _look(self) -> None:
        ids, keys = list(self.jobs), self.site.backend.keys
        with self.site.server.client() as client, client.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.hmget(keys.job(job_id), "status", "ended_at", "result", "aio_attempt")
            found: Any = pipeline.execute()
        now = time.monotonic()
        for job_id, facts in zip(ids, map(tuple, found), strict=True):
            if job_id in self.seen and self.seen[job_id] != facts:
                self.changes.append(f"{job_id}: {self.seen[job_id]} became {facts}")
            elif (facts[0] or b"").decode() in TERMINAL and job_id not in self.seen:
                self.seen[job_id], self.ended_at[job_id] = facts, now

    async def evidence(self) -> Evidence:
        """Return all that was seen."""
        outcomes = await self.site.outcomes(self.plans)
        return Evidence(
            self.plans, self.site.runs(), outcomes,
            self.deaths, self.in_flight, self.ended_at, self.changes,
        )  # fmt: skip


# -- the checker itself --------------------------------------------------------------------------------------------------

FINE = Evidence(
    plans={"a": Plan(2), "b": Plan(raises=2, fails=True), "c": Plan(6, raises=1)},
    runs=[
        Run("a", 1, 1.0),  # killed
        Run("a", 2, 4.0, 4.1, "end"),
        Run("b", 2, 1.0, 1.1, "raise"),
        Run("b", 2, 1.2, 1.3, "raise"),
        Run("c", 1, 1.0, 1.1, "raise"),
        Run("c", 2, 1.2, 1.3, "end"),
    ],
    outcomes={
        "a": ("finished", 2, None),
        "b": ("failed", None, "ValueError"),
        "c": ("finished", 6, None),
    },
    deaths={1: 2.0},
    in_flight=Counter(["a"]),
    ended_at={"a": 4.5, "b": 1.5, "c": 1.5},
)


def _with_run(*runs: Run, **changes: Any) -> Evidence:
    return replace(FINE, runs=[*FINE.runs, *runs], **changes)


def test_checker_is_content_with_what_may_be() -> None:
    """A run that was killed and repeated, a failure and a retry are as they should be; so is a job that died three times."""
    abandoned = Evidence(
        plans={"a": Plan(2)},
        runs=[Run("a", pid, float(pid)) for pid in (1, 2, 3)],
        outcomes={"a": ("failed", None, "AbandonedJobError: …")},
        deaths={1: 1.5, 2: 2.5, 3: 3.5},
        in_flight=Counter({"a": 3}),
    )

    assert violations(FINE) == []
    assert violations(abandoned) == []
    assert extra_runs(FINE) == {"a": 1}


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        (replace(FINE, outcomes={**FINE.outcomes, "a": ("queued", None, None)}), "lost or wrong"),
        (replace(FINE, outcomes={"b": FINE.outcomes["b"], "c": FINE.outcomes["c"]}), "lost"),
        (replace(FINE, outcomes={**FINE.outcomes, "c": ("finished", 7, None)}), "wrong"),
        (replace(FINE, outcomes={**FINE.outcomes, "c": ("failed", None, "x")}), "wrong"),
        (replace(FINE, runs=[run for run in FINE.runs if run.pid == 1]), "lost"),
        (
            replace(FINE, outcomes={**FINE.outcomes, "c": ("failed", None, "AbandonedJobError")}),
            "abandoned after 0 kills",
        ),
        (replace(FINE, in_flight=Counter()), "1 runs too many"),
        (_with_run(Run("c", 2, 1.4, 1.45, "end")), "1 runs too many"),
        (_with_run(Run("a", 3, 4.05, 4.1, "end"), in_flight=Counter({"a": 2})), "overlap"),
        (_with_run(Run("a", 2, 1.5, 1.6, "end"), in_flight=Counter({"a": 2})), "overlap"),
        (_with_run(Run("c", 2, 1.6, 1.7, "end"), in_flight=Counter("ac")), "after it had ended"),
        (_with_run(Run("d", 2, 1.6, 1.7, "end")), "nobody knows"),
        (replace(FINE, changes=["a: finished became queued"]), "became"),
    ],
)
def test_checker_catches_a_planted_fault(evidence: Evidence, told: str) -> None:
    """A loss, a wrong result, an unexplained or overlapping run, a late change: each is reported."""
    assert any(told in one for one in violations(evidence)), violations(evidence)
