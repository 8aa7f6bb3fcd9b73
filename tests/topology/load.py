"""Jobs at a steady rate and workers that run them, while something happens to Redis; and what must be true afterwards."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiorq2 import Durable, NotDurable, Queue, connect
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import AiorqError
from tests.faults import checker, functions, ledger
from tests.faults.ledger import Run
from tests.faults.site import listens
from tests.support.eventually import eventually
from tests.support.processes import WorkerProcess
from tests.support.redis_server import RedisServer

PER_S = 50
PRODUCERS = 10
RETRY_S = 15.0
LEASE_S = 5.0
RESUME_S = 5.0
"""How soon after a switch every worker must have started jobs again. It takes a fraction of a second, and 2 s are promised; this
allows for a machine that is busy with other tests."""


@dataclass
class Load:
    """What was enqueued, and what became of it.

    Args:
        url: where.
        folder: for the ledger.
        key_prefix: of the backend.
        durable: what every enqueue asks for.
    """

    url: str
    folder: Path
    key_prefix: str = "rq"
    durable: Durable | None = None
    acknowledged: dict[str, float] = field(default_factory=dict)
    """When each job was acknowledged."""
    not_durable: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    workers: list[WorkerProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = self.folder / "ledger"
        self.backend: RedisBackend = connect(
            self.url, key_prefix=self.key_prefix, retry_for=RETRY_S
        )
        self.queue = Queue("q", self.backend, durable=self.durable)

    @asynccontextmanager
    async def on(self, workers: int = 2) -> AsyncIterator[Load]:
        """Have workers at work and jobs coming in for as long as this lasts."""
        try:
            for _ in range(workers):
                self.start_worker()
            for worker in self.workers:
                await listens(worker)
            producing = [asyncio.create_task(self._produce(n)) for n in range(PRODUCERS)]
            await eventually(lambda: self.pids_since(0) == self._pids, timeout=20)
            yield self
            self._is_over = True
            await asyncio.gather(*producing)
        finally:
            self._is_over = True

    _is_over = False

    def start_worker(self, *options: str) -> WorkerProcess:
        """Start a worker process."""
        arguments = ["--url", self.url, "--lease", str(LEASE_S), "--concurrency", "20", *options]
        worker = WorkerProcess([*arguments, "q"], env={"RQ_KEY_PREFIX": self.key_prefix})
        self.workers.append(worker)
        return worker

    async def close(self) -> None:
        """End everything."""
        for worker in self.workers:
            worker.close()
        await self.backend.close()

    async def _produce(self, number: int) -> None:
        count = 0
        while not self._is_over:
            job_id = f"job-{number}-{count}"
            count += 1
            began = time.monotonic()
            try:
                await self.queue.enqueue(
                    functions.work, str(self.ledger), count, 0.01, job_id=job_id
                )
                self.acknowledged[job_id] = time.monotonic()
            except NotDurable:
                self.not_durable.add(job_id)
            except AiorqError as error:
                self.errors.append(f"{job_id}: {error}")
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            await asyncio.sleep(PRODUCERS / PER_S)

    # -- looking ---------------------------------------------------------------------------------------------------------

    @property
    def _pids(self) -> set[int]:
        return {worker.pid for worker in self.workers}

    def runs(self) -> list[Run]:
        """Return what the ledger says."""
        return ledger.read(self.ledger)

    def pids_since(self, moment: float) -> set[int]:
        """Return the workers that have started a job since then."""
        return {run.pid for run in self.runs() if run.started_at > moment}

    async def resumed(self, since: float) -> float:
        """Wait until every worker has started a job since ``since``; return how long after it the last one did."""
        await eventually(lambda: self.pids_since(since) >= self._pids, timeout=20, interval=0.05)
        firsts: dict[int, float] = {}
        for run in self.runs():
            if run.started_at > since:
                firsts.setdefault(run.pid, run.started_at)
        return max(firsts.values()) - since

    async def verdict(self, masters: Callable[[], Sequence[RedisServer]]) -> Verdict:
        """Wait until nothing is left to do, and return what is to be said of it.

        Args:
            masters: the servers that have the keys now.
        """
        key = self.backend.keys

        def statuses() -> dict[str, str | None]:
            found: dict[str, str | None] = {}
            for server in masters():
                with server.client() as client:
                    for job_id in self.acknowledged:
                        status: Any = client.hget(key.job(job_id), "status")
                        found[job_id] = status.decode() if status else found.get(job_id)
            return found

        def is_done() -> bool:
            return all(one in ("finished", None) for one in statuses().values())

        await eventually(lambda: asyncio.to_thread(is_done), timeout=30, interval=0.3)
        kept = statuses()
        runs = ledger.by_job(self.runs())
        ended = {job_id for job_id, own in runs.items() if any(run.how == "end" for run in own)}
        return Verdict(
            acknowledged=len(self.acknowledged),
            lost_by_redis=[one for one, status in kept.items() if status is None],
            lost_by_us=[one for one, status in kept.items() if status and one not in ended],
            repeated=sum(len(own) - 1 for own in runs.values()),
            overlaps=checker.overlaps(self.runs()),
            not_durable=len(self.not_durable),
            errors=self.errors,
            slowest_s=self.slowest_s,
            dead=[worker.output()[-1000:] for worker in self.workers if not worker.is_running],
        )


@dataclass(frozen=True)
class Verdict:
    """What became of the jobs.

    Args:
        lost_by_redis: acknowledged jobs that the master of today has never had.
        lost_by_us: those that it has, and that were not run.
        repeated: how many runs too many there were.
    """

    acknowledged: int
    lost_by_redis: list[str]
    lost_by_us: list[str]
    repeated: int
    overlaps: list[str]
    not_durable: int
    errors: list[str]
    slowest_s: float
    dead: list[str]

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} jobs acknowledged, {len(self.lost_by_redis)} lost by Redis, {len(self.lost_by_us)} by us,"
            f" {self.repeated} runs repeated; {self.not_durable} not durable; {len(self.errors)} errors; slowest enqueue"
            f" {self.slowest_s:.2f} s"
        )

    def assert_is_fine(self) -> None:
        """Fail if a caller got an error, a worker died, or a job that Redis has was not run."""
        assert self.errors == []
        assert self.lost_by_us == []
        assert self.dead == []
        assert self.acknowledged > PRODUCERS


def told(runs: Sequence[Run]) -> Counter[str | None]:
    """Return how runs have ended."""
    return Counter(run.how for run in runs)


Act = Callable[[], Awaitable[None]]
