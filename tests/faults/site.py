"""A Redis, a proxy before it, worker processes and a ledger: what every test of real processes stands on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aiorq2 import Job, JobStatus, Queue, connect
from aiorq2.backends import scripts
from aiorq2.options import EnqueueData
from tests.faults import ledger
from tests.faults.checker import SECRET
from tests.faults.ledger import Run
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually
from tests.support.processes import WorkerProcess
from tests.support.redis_server import RedisServer

LEASE_S = 2.0


class Site:
    """One test's server, proxy, processes and ledger. Producers and workers are on the proxy; ``server`` is asked directly."""

    def __init__(self, server: RedisServer, proxy: ChaosProxy, folder: Path) -> None:
        self.server = server
        self.proxy = proxy
        self.folder = folder
        self.ledger = str(folder / "ledger")
        self.retry_for = 20.0
        self.backend = connect(proxy.url, retry_for=self.retry_for)
        self.queue = Queue("q", self.backend)
        self.workers: list[WorkerProcess] = []

    async def close(self) -> None:
        """End every process and connection. Whatever the test was about: nobody has told the password."""
        told = [worker.name for worker in self.workers if SECRET in worker.output()]
        for worker in self.workers:
            worker.close()
        self.proxy.heal()
        await self.backend.close()
        assert told == [], f"the password is in the output of {told}"

    def start_worker(
        self,
        *options: str,
        url: str | None = None,
        queues: Sequence[str] = ("q",),
        lease: float = LEASE_S,
        **how: Any,
    ) -> WorkerProcess:
        """Start a worker process, on the proxy unless told otherwise; ``how`` is for ``WorkerProcess``."""
        how.setdefault("name", f"w{len(self.workers) + 1}")
        env = {"AIORQ2_URL": url or self.proxy.url, **how.pop("env", {})}
        worker = WorkerProcess(["--lease", str(lease), *options, *queues], env=env, **how)
        self.workers.append(worker)
        return worker

    async def worker(self, *options: str, **settings: Any) -> WorkerProcess:
        """Start a worker process and wait until it listens."""
        worker = self.start_worker(*options, **settings)
        await listens(worker)
        return worker

    async def enqueue_directly(self, queue: str, data: Sequence[EnqueueData]) -> list[Job]:
        """Enqueue jobs on a way of one's own, not on the proxy."""
        backend = connect(self.server.url)
        jobs = await Queue(queue, backend).enqueue_many(data)
        await backend.close()
        return [await Job.fetch(job.id, self.backend) for job in jobs]

    # -- looking ---------------------------------------------------------------------------------------------------------

    def runs(self) -> list[Run]:
        """Return what the ledger says."""
        return ledger.read(Path(self.ledger))

    def runs_of(self, job: Job) -> list[Run]:
        """Return the runs of one job."""
        return [run for run in self.runs() if run.job_id == job.id]

    async def jobs(self, ids: Iterable[str]) -> list[Job]:
        """Return these jobs as far as there are any."""
        return [job for job in await Job.fetch_many(list(ids), self.backend) if job is not None]

    async def outcomes(self, ids: Iterable[str]) -> dict[str, tuple[str, Any, str | None]]:
        """Return status, result and traceback of each of these jobs that there is."""
        found = {}
        for job in await self.jobs(ids):
            await job.refresh()
            found[job.id] = (job.status.value, job.result, job.exc_info)
        return found

    async def started(self, *jobs: Job, times: int = 1, timeout: float = 20.0) -> list[Run]:
        """Wait until each job has been started so often; return the last run of each."""

        def enough() -> bool:
            return all(len(self.runs_of(job)) >= times for job in jobs)

        await eventually(enough, timeout=timeout, interval=0.02)
        return [self.runs_of(job)[-1] for job in jobs]

    async def has_status(self, job: Job, status: JobStatus, timeout: float = 20.0) -> None:
        """Wait until a job has a status."""

        async def seen() -> bool:
            return await job.get_status() is status

        await eventually(seen, timeout=timeout, interval=0.02)

    @property
    def claims(self) -> bytes:
        """What the proxy recognises a claim by."""
        return scripts.load("claim").sha.encode()

    def gate(self, name: str = "gate") -> str:
        """Return the path of a file that does not exist yet."""
        return str(self.folder / name)


async def listens(worker: WorkerProcess, timeout: float = 30.0) -> None:
    """Wait until a worker listens on its queues."""

    def ready() -> bool:
        assert worker.is_running, worker.output()[-2000:]
        return "listening on" in worker.output()

    await eventually(ready, timeout=timeout, interval=0.02)


async def exit_status(worker: WorkerProcess, timeout: float) -> tuple[int, float]:
    """Wait for the end of a process; return its status and how long that took."""
    began = time.monotonic()
    status = await asyncio.to_thread(worker.wait, timeout)
    return status, time.monotonic() - began


def open_gate(path: str) -> None:
    """Let the jobs through that wait for this file."""
    Path(path).touch()


def cpu_s(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    told = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, check=True)
    seconds = 0.0
    for part in told.stdout.decode().strip().split(":"):  # macOS: 0:01.25
        seconds = seconds * 60 + float(part)
    return seconds


def memory_mb(pid: int) -> float:
    """Return how much memory a process has in use."""
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True)
    return int(told.stdout) / 1024
