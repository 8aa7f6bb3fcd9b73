"""Thousands of jobs of every kind while workers are killed, connections reset and Redis restarted; what is seen is written down."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis

from aiorq2 import Job, JobStatus, RateLimit, Repeat, Retry
from aiorq2.errors import AiorqError
from tests.faults import functions
from tests.faults.checker import Evidence, Plan, Refusal
from tests.faults.site import Site
from tests.support.eventually import eventually
from tests.support.processes import WorkerProcess

TERMINAL = {status.value.encode() for status in JobStatus if status.is_terminal}
PRODUCERS = 10


@dataclass(frozen=True)
class Weather:
    """How bad it gets.

    Args:
        jobs: how many there are, evenly over ``seconds``.
        kill_every: seconds between two kills of a random worker; 0 for none.
        stop_every: seconds between two SIGTERM, each to the oldest worker, which is replaced; 0 for none.
        freeze_every: seconds between two freezes of a random worker for three leases; 0 for none.
        reset_every: seconds between two resets of all connections; 0 for none.
        restarts: how often Redis is killed and restarted, evenly over the time.
        workers: how many there are at any time.
        longest_s: how long the longest job takes.
        program: what is started as a worker; see ``broken``.
    """

    jobs: int
    seconds: float
    kill_every: float = 1.0
    stop_every: float = 0.0
    freeze_every: float = 0.0
    reset_every: float = 2.0
    restarts: int = 0
    workers: int = 3
    lease: float = 4.0
    longest_s: float = 0.1
    concurrency: int = 20
    patience_s: float = 60.0
    program: tuple[str, ...] = ("-m", "aiorq2")


class Storm:
    """Produces jobs, lets rage what is to survive, and writes down what happens."""

    def __init__(self, site: Site, weather: Weather, seed: int) -> None:
        self.site = site
        self.weather = weather
        self.seed = seed
        self.dice = random.Random(seed)
        self.jobs: dict[str, Job] = {}
        self.plans: dict[str, Plan] = {}
        self.unsure: dict[str, Plan] = {}
        self.refusals: list[Refusal] = []
        self.living: list[WorkerProcess] = []
        self.deaths: dict[str, float] = {}
        self.lost: defaultdict[str, list[float]] = defaultdict(list)
        self.statuses: list[int] = []
        """With what the workers ended that were told to stop."""
        self.frozen: set[asyncio.Task[None]] = set()
        self.in_flight: Counter[str] = Counter()
        self.ended_at: dict[str, float] = {}
        self.seen: dict[str, tuple[bytes | None, ...]] = {}
        self.changes: list[str] = []

    async def rage(self) -> Evidence:
        """Go through it, wait until all has ended, and return what was seen."""
        for _ in range(self.weather.workers):
            self.living.append(self._start())
        await eventually(self._all_listen, timeout=30, interval=0.1)
        self.began = time.monotonic()
        watch = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._every(self.weather.kill_every, self._kill_one))
                group.create_task(self._every(self.weather.stop_every, self._stop_one))
                group.create_task(self._every(self.weather.freeze_every, self._freeze_one))
                group.create_task(self._every(self.weather.reset_every, self._reset))
                pause = self.weather.seconds / (self.weather.restarts + 1)
                group.create_task(self._every(pause, self._restart, self.weather.restarts))
                for number in range(PRODUCERS):
                    group.create_task(self._produce(range(number, self.weather.jobs, PRODUCERS)))
            patience = self.weather.patience_s + 6 * self.weather.lease
            with suppress(AssertionError):  # what is stuck is a finding, with the rest
                await eventually(self._is_over, timeout=patience, interval=0.2)
        finally:
            watch.cancel()
            await asyncio.wait({watch, *self.frozen})
        return await self._evidence()

    # -- jobs ------------------------------------------------------------------------------------------------------------

    async def _produce(self, numbers: range) -> None:
        """Enqueue a share of the jobs, evenly over the storm."""
        for number in numbers:
            due = self.began + self.weather.seconds * number / self.weather.jobs
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            add, plan = self._job(number)
            job_id = f"job-{number}"
            began = time.monotonic()
            try:
                self.jobs[job_id] = await add(job_id=job_id)
            except AiorqError as error:
                self.unsure[job_id] = plan
                took, limit = time.monotonic() - began, self.site.retry_for
                self.refusals.append(Refusal(error, job_id, took, limit))
            else:
                self.plans[job_id] = plan

    def _job(self, number: int) -> tuple[Callable[..., Awaitable[Job]], Plan]:
        """Return how the job of this number is enqueued, and what is to become of it."""
        function = functions.labour if number % 2 else functions.labour_sync
        seconds, plan = self.dice.uniform(0, self.weather.longest_s), Plan(2 * number)
        queue = self.site.queue
        add = partial(queue.enqueue, function, self.site.ledger, number, seconds)
        match number % 50:
            case 10:
                retry = Retry(3, interval=[0, 1, 1])
                return partial(add, retries=3, failures=2, retry=retry), Plan(2 * number, raises=2)
            case 11:
                add = partial(add, retries=2, failures=99, retry=Retry(2, interval=0))
                return add, Plan(raises=3, fails=True)
            case 12:
                delay = self.dice.uniform(0.2, 3)
                due_at = time.monotonic() + delay
                args = (function, self.site.ledger, number, seconds)
                return partial(queue.enqueue_in, delay, *args), Plan(2 * number, due_at=due_at)
            case 13 if number >= 200:
                parents = (f"job-{number - 100}", f"job-{number - 101}")
                add = partial(add, depends_on=parents, on_parent_failure="run")
                return add, Plan(2 * number, after=parents)
            case 14:
                return partial(add, repeat=Repeat(1)), Plan(2 * number, repeats=1)
            case 15 | 16:
                return partial(add, rate_limit=RateLimit("narrow", 3)), plan
            case 17 if number % 150 == 17:
                args = (functions.labour_sync, self.site.ledger, number, seconds)
                return partial(queue.enqueue, *args, offload="process"), plan
        return add, plan

    # -- weather ---------------------------------------------------------------------------------------------------------

    async def _every(
        self, pause: float, strike: Callable[[], Awaitable[None]], times: int | None = None
    ) -> None:
        if not pause:
            return
        count = int(self.weather.seconds / pause) if times is None else times
        for number in range(1, count + 1):
            await asyncio.sleep(max(0.0, self.began + number * pause - time.monotonic()))
            await strike()

    async def _reset(self) -> None:
        self.site.proxy.reset_all()

    async def _kill_one(self) -> None:
        victim, _ = await self._pause_one()
        self.deaths[str(victim.name)] = time.monotonic()
        await asyncio.to_thread(victim.kill)
        self.living.append(self._start())

    async def _stop_one(self) -> None:
        victim = self.living.pop(0)  # the oldest: it has begun to listen
        self.living.append(self._start())
        victim.terminate()
        self.statuses.append(await asyncio.to_thread(victim.wait, 40))

    async def _freeze_one(self) -> None:
        victim, lost_at = await self._pause_one()
        self.lost[str(victim.name)].append(lost_at)
        self.living.append(self._start())
        self.frozen.add(asyncio.create_task(self._thaw(victim)))

    async def _thaw(self, victim: WorkerProcess) -> None:
        await asyncio.sleep(3 * self.weather.lease)
        victim.resume()
        self.living.append(victim)

    async def _pause_one(self) -> tuple[WorkerProcess, float]:
        """Stop a worker, and write down which leases it holds; returns it, and when the first of them ends."""
        victim = self.living.pop(self.dice.randrange(len(self.living)))
        victim.pause()
        await asyncio.sleep(0.02)  # what it has sent arrives
        return victim, await asyncio.to_thread(self._note_leases, victim)

    async def _restart(self) -> None:
        self.site.server.kill()
        await asyncio.to_thread(self.site.server.restart)

    def _start(self) -> WorkerProcess:
        options = ["--concurrency", str(self.weather.concurrency), "--log-level", "warning"]
        lease, program = self.weather.lease, self.weather.program
        return self.site.start_worker(*options, lease=lease, program=program)

    def _note_leases(self, victim: WorkerProcess) -> float:
        deadline = time.monotonic() + 30
        while True:
            asked = (
                time.monotonic()
            )  # before Redis says its time: no lease is taken to last longer than it does
            try:
                held, left_s = self._leases_of(str(victim.name))
            except redis.RedisError:  # it is being restarted
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                self.in_flight.update(held)
                return asked + left_s

    def _leases_of(self, name: str) -> tuple[list[str], float]:
        """Return the jobs that a worker runs, and in how many seconds the first of its leases ends."""
        keys = self.site.backend.keys
        with self.site.server.client() as client:
            found: Any = client.smembers(keys.worker_executions(name))
            seconds, microseconds = client.time()
            ends = [client.zscore(keys.wip("q"), member) for member in found]
        held = [member.decode().rpartition(":")[0] for member in found]
        now = seconds + microseconds / 1e6
        return held, min((float(end) - now for end in ends if end is not None), default=0.0)

    # -- looking ---------------------------------------------------------------------------------------------------------

    def _all_listen(self) -> bool:
        for worker in self.living:
            assert worker.is_running, worker.output()[-2000:]
        keys = self.site.backend.keys
        return int(self.site.server.command("SCARD", keys.workers())) >= len(self.living)

    def _is_over(self) -> bool:
        return self.plans.keys() <= self.ended_at.keys()

    async def _watch(self) -> None:
        """Look at the jobs again and again: what has ended must stay as it is."""
        while True:
            with suppress(redis.RedisError):  # the next look sees it
                await asyncio.to_thread(self._look)
            await asyncio.sleep(0.5)

    def _look(self, share: int = 200) -> None:
        """Look at all jobs that have not ended, and at a share of those that have."""
        keys, ended = self.site.backend.keys, list(self.ended_at)
        ids = [job_id for job_id in list(self.plans) if job_id not in self.ended_at]
        ids += random.sample(ended, min(share, len(ended)))
        with self.site.server.client() as client, client.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.hmget(keys.job(job_id), "status", "ended_at", "result", "aio_attempt")
            found: Any = pipeline.execute()
        now = time.monotonic()
        for job_id, facts in zip(ids, map(tuple, found), strict=True):
            if job_id in self.seen:
                if self.seen[job_id] != facts:
                    self.changes.append(f"{job_id}: {self.seen[job_id]} became {facts}")
            elif facts[0] in TERMINAL:
                self.seen[job_id], self.ended_at[job_id] = facts, now

    async def _evidence(self) -> Evidence:
        await asyncio.to_thread(self._look, len(self.plans))
        outcomes, winners = await self.site.outcomes([*self.plans, *self.unsure]), {}
        for job_id, (status, result, text) in outcomes.items():
            if isinstance(result, list):
                outcomes[job_id] = (status, result[0], text)
                winners[job_id] = result[1]
        return Evidence(
            plans=self.plans,
            unsure=self.unsure,
            runs=self.site.runs(),
            outcomes=outcomes,
            winners=winners,
            deaths=self.deaths,
            lost=self.lost,
            in_flight=self.in_flight,
            ended_at=self.ended_at,
            changes=self.changes,
            exits=[str(worker.name) for worker in self.living if not worker.is_running],
            refusals=self.refusals,
        )
