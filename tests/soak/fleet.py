"""The workers of a soak: some live from the beginning to the end, the others are killed or told to stop, and replaced."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from aiorq2.backends.keys import Keys
from tests.faults.site import memory_mb
from tests.soak.tally import Tally
from tests.soak.verdict import Process
from tests.support.eventually import eventually
from tests.support.processes import WorkerProcess
from tests.support.redis_server import RedisServer

QUEUES = ("soak", "process")
LEASE_S = 5.0


class Fleet:
    """``steady`` workers that stay and ``churning`` ones, of which every ``churn_s`` seconds one is killed -9, or told to stop."""

    def __init__(
        self, server: RedisServer, tally: Tally, *, steady: int, churning: int, churn_s: float
    ) -> None:
        self.server = server
        self.tally = tally
        self.keys = Keys("rq")
        self.churn_s = churn_s
        self.dice = random.Random(1)
        self.killed = self.stopped = 0
        self.wrong: list[str] = []
        self._started = 0
        self.steady = [self._start("steady") for _ in range(steady)]
        self.churning = [self._start("churning") for _ in range(churning)]

    @property
    def living(self) -> list[WorkerProcess]:
        """All workers that should be running."""
        return [*self.steady, *self.churning]

    def _start(self, kind: str) -> WorkerProcess:
        self._started += 1
        options = ["--lease", str(LEASE_S), "--concurrency", "50", "--log-level", "error"]
        env = {"AIORQ2_URL": self.server.url}
        return WorkerProcess([*options, *QUEUES], name=f"{kind}-{self._started}", env=env)

    async def listens(self) -> None:
        """Wait until all have announced themselves."""

        def ready() -> bool:
            return int(self.server.command("SCARD", self.keys.workers())) >= len(self.living)

        await eventually(ready, timeout=60, interval=0.1)

    async def churn(self) -> None:
        """Go on until cancelled: kill one, tell one to stop, kill one …; each is replaced before."""
        while True:
            await asyncio.sleep(self.churn_s)
            victim = self.churning.pop(0)
            self.churning.append(self._start("churning"))
            if (self.killed + self.stopped) % 2:
                await self._stop(victim)
            else:
                await self._kill(victim)
            self._see_who_is_gone()

    async def _kill(self, victim: WorkerProcess) -> None:
        victim.pause()
        await asyncio.sleep(0.02)  # what it has sent arrives
        await asyncio.to_thread(self._note_leases, str(victim.name))
        await asyncio.to_thread(victim.kill)
        victim.close()
        self.killed += 1

    async def _stop(self, victim: WorkerProcess) -> None:
        victim.terminate()
        status = await asyncio.to_thread(victim.wait, 60)
        if status != 0:
            self.wrong.append(f"{victim.name} ended with {status}: {victim.output()[-500:]}")
        victim.close()
        self.stopped += 1

    def _see_who_is_gone(self) -> None:
        for worker in self.living:
            if not worker.is_running and worker in self.living:
                self.wrong.append(f"{worker.name} ended by itself: {worker.output()[-500:]}")
                kind = self.steady if worker in self.steady else self.churning
                kind.remove(worker)

    def _note_leases(self, name: str) -> None:
        """Write down which jobs a worker that is about to die runs."""
        with self.server.client() as client:
            held: Any = client.smembers(self.keys.worker_executions(name))
        for member in held:
            job_id = member.decode().rpartition(":")[0]
            if job_id.isdigit():
                self.tally.in_flight[int(job_id)] += 1
            else:
                self.tally.ticks_in_flight += 1

    def seen(self) -> dict[str, Process]:
        """Return what the living workers use at the moment."""
        found = {}
        for worker in self.living:
            if worker.is_running:
                found[str(worker.name)] = looked_at(worker.pid, self.tally.ended_by[worker.pid])
        return found

    async def close(self) -> None:
        """Tell all to stop, and see that they do."""
        self._see_who_is_gone()
        for worker in self.living:
            await self._stop(worker)
        self.stopped -= len(self.living)


def looked_at(pid: int, jobs: int = 0) -> Process:
    """Return what a process uses at the moment."""
    folder = Path(f"/proc/{pid}")
    if not folder.exists():  # macOS tells less
        return Process(pid, memory_mb(pid), 0, 0, jobs)
    status = dict(
        line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
    )
    rss_mb = int(status["VmRSS"].split()[0]) / 1024
    files = len(list((folder / "fd").iterdir()))
    return Process(pid, round(rss_mb, 2), files, int(status["Threads"]), jobs)
