"""Whatever happens to Redis or to the way there: no worker ends, none spins or shouts, and when it is over work goes on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from aiorq2 import Job, JobStatus, Queue, connect
from aiorq2.errors import AiorqError, BackendFull, BackendRefused, BackendUnavailable
from tests.faults import functions, outages
from tests.faults.checker import Evidence, Refusal, overlaps, violations
from tests.faults.figures import Report
from tests.faults.outages import Outage
from tests.faults.site import LEASE_S, Site, cpu_s, exit_status, listens, memory_mb, open_gate
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually
from tests.support.processes import WorkerProcess
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow

SLOTS = 20
SLACK_S = 2.0
"""What a busy machine may add to a time."""
CPU_SHARE = 0.1  # demanded is half of it, on a machine that does nothing else
LOG_BYTES_PER_S = 1024
MEMORY_MB = 2.0


CHOSEN = (outages.killed, outages.half_open)
"""What `make test-all` tries; the rest is for `make faults`."""


@pytest.mark.parametrize(
    "outage",
    [
        pytest.param(
            outage, id=outage.__name__, marks=[] if outage in CHOSEN else pytest.mark.faults_all
        )
        for outage in outages.AWAY + outages.DISTURBED
    ],
)
async def test_redis_away_and_back(site: Site, report: Report, outage: Outage) -> None:
    """An idle and a busy worker outlive it quietly, the jobs that run do not notice, and new ones start soon afterwards."""
    lease = 15.0  # longer than any of this lasts: nobody has a reason to run a job twice
    idle = await site.worker("--concurrency", str(SLOTS), queues=["idle"], lease=lease)
    busy = await site.worker(lease=lease)
    running = [
        await site.queue.enqueue(function, site.ledger, 1, seconds)
        for function in (functions.work, functions.work_sync)
        for seconds in (1.0, 2.0, 4.0)
    ]
    await site.started(*running)
    jobs: list[Job] = []
    before = {worker: Usage.of(worker) for worker in (idle, busy)}

    async with _producer(site, jobs):
        await outage(site)
        over_at = time.monotonic()
        used = [Usage.of(worker).since(before[worker]) for worker in before]
        after = await _fill_the_slots(site)
        await site.started(*after)
    waited = [await job.wait(20) for job in running + jobs + after]

    ours = sorted(site.runs_of(job)[0].started_at - over_at for job in after)
    anybodys = min(run.started_at for run in site.runs() if run.started_at > over_at) - over_at
    report(
        f"{outage.__name__}: first start {anybodys:.2f} s, idle worker's {ours[0]:.2f} s, all its slots {ours[-1]:.2f} s after it;"
        f" {len(jobs)} jobs came meanwhile; meanwhile {used[0]}, {used[1]}"
    )
    if outage in outages.AWAY:
        report.figure("first", round(ours[0], 2), outage=outage.__name__)
        report.figure("slots", round(ours[-1], 2), outage=outage.__name__)
    assert waited == [2] * len(waited)
    assert set(Counter(run.job_id for run in site.runs()).values()) == {1}
    assert {run.how for run in site.runs()} == {"end"}
    assert ours[0] < 1 + SLACK_S
    assert ours[-1] < 3 + SLACK_S
    if outage in outages.AWAY:
        for one in used:
            report.figure("cpu", one.cpu, outage=outage.__name__)
            report.figure("log", one.log_bytes, outage=outage.__name__)
            report.figure("memory", one.memory_mb, outage=outage.__name__)
            assert one.cpu <= CPU_SHARE
            assert one.log_bytes <= LOG_BYTES_PER_S
            assert one.memory_mb <= MEMORY_MB
    for worker in (idle, busy):
        worker.terminate()
        assert await asyncio.to_thread(worker.wait) == 0


@pytest.mark.parametrize("way", ["killed", "frozen"])
async def test_redis_away_for_almost_a_lease(site: Site, way: str) -> None:
    """When Redis comes back with leases that have just run out, their owners are heard before anybody reaps."""
    workers = [await site.worker("--concurrency", "2", lease=3) for _ in range(2)]
    jobs = [await site.queue.enqueue(functions.work, site.ledger, 1, 5.0) for _ in range(4)]
    await site.started(*jobs)

    if way == "killed":
        site.server.kill()
        await asyncio.sleep(2.6)
        await asyncio.to_thread(site.server.restart)
    else:
        site.server.pause()
        await asyncio.sleep(2.8)
        site.server.resume()

    assert [await job.wait(20) for job in jobs] == [2] * 4
    assert all("its worker died" not in worker.output() for worker in workers)
    assert overlaps(site.runs()) == []
    assert Counter(run.how for run in site.runs())["end"] == 4


async def test_redis_frozen_for_longer_than_a_lease(site: Site) -> None:
    """Two workers on a Redis that is silent for two leases cancel their jobs in time; each is run again, none beside itself."""
    workers = [await site.worker("--concurrency", "2") for _ in range(2)]
    jobs = [
        await site.queue.enqueue(function, site.ledger)
        for function in (functions.hang_once, functions.hang_once_sync)
        for _ in range(2)
    ]
    await site.started(*jobs)

    site.server.pause()
    await asyncio.sleep(2 * LEASE_S)
    cut = [run.how for run in site.runs()]
    site.server.resume()

    assert [await job.wait(20) for job in jobs] == ["again"] * 4
    assert cut == ["cut"] * 4
    assert overlaps(site.runs()) == []
    assert [len(site.runs_of(job)) for job in jobs] == [2] * 4
    assert all(worker.is_running for worker in workers)


async def test_redis_full_lets_jobs_end(site: Site) -> None:
    """What runs while the memory of Redis is used up is settled all the same; only enqueueing is refused."""
    await site.worker(lease=15)
    jobs = [await site.queue.enqueue(functions.work, site.ledger, 1, 1.0) for _ in range(20)]
    await site.started(*jobs)

    site.server.config("maxmemory", "100kb")
    with pytest.raises(BackendFull):
        await site.queue.enqueue(functions.work, site.ledger, 1)
    for job in jobs:
        await site.has_status(job, JobStatus.FINISHED)
    site.server.config("maxmemory", 0)

    assert [job.result for job in jobs] == [2] * 20
    assert len(site.runs()) == 20


async def test_redis_away_for_longer_than_a_lease(site: Site, report: Report) -> None:
    """A worker that cannot reach Redis cancels its jobs when its lease is over, not later; then they are run once more."""
    cut_off = await site.worker(lease=5)
    jobs = [
        await site.queue.enqueue(functions.hang_once, site.ledger),
        await site.queue.enqueue(functions.hang_once_sync, site.ledger),
    ]
    await site.started(*jobs)
    with ChaosProxy(site.server.url) as other_way:
        heir = await site.worker(url=other_way.url, lease=5)

        site.proxy.stall()
        stalled_at = time.monotonic()
        again = await site.started(*jobs, times=2)
        site.proxy.resume()

        assert [await job.wait(20) for job in jobs] == ["again"] * 2
        first = [site.runs_of(job)[0] for job in jobs]
        assert [run.how for run in first] == ["cut"] * 2
        assert all(run.pid == heir.pid for run in again)
        for run, later in zip(first, again, strict=True):
            assert run.ended_at is not None
            assert run.ended_at < later.started_at
        report(
            f"cut {max(run.ended_at or 0 for run in first) - stalled_at:.2f} s,"
            f" run again {max(run.started_at for run in again) - stalled_at:.2f} s after the line went dead"
        )
        heir.terminate()
        await asyncio.to_thread(heir.wait)
    job = await site.queue.enqueue(functions.work, site.ledger, 3)
    assert await job.wait(20) == 6
    assert site.runs_of(job)[0].pid == cut_off.pid


async def test_redis_cold_start(site: Site, report: Report) -> None:
    """A worker that is started before Redis waits for it, quietly."""
    site.server.kill()
    worker = site.start_worker()
    await eventually(lambda: "cannot be reached" in worker.output(), timeout=20)
    before = Usage.of(worker)
    await asyncio.sleep(2)
    used = Usage.of(worker).since(before)

    await asyncio.to_thread(site.server.restart)
    back_at = time.monotonic()
    await listens(worker)
    job = await site.queue.enqueue(functions.work, site.ledger, 21)

    assert await job.wait(20) == 42
    first = site.runs_of(job)[0].started_at - back_at
    report(f"cold start: first start {first:.2f} s after Redis; meanwhile {used}")
    report.figure("first", round(first, 2), outage="cold start")
    assert used.cpu <= CPU_SHARE
    assert used.log_bytes <= LOG_BYTES_PER_S


async def test_redis_loading(tmp_path: Path, report: Report) -> None:
    """While Redis reads its file after a restart, workers and producers wait."""
    slowly = ["--key-load-delay", "400", "--loading-process-events-interval-bytes", "1024"]
    with (
        RedisServer(appendonly="always", extra=slowly) as server,
        ChaosProxy(server.url) as proxy,
    ):
        site = Site(server, proxy, tmp_path)
        try:
            worker = await site.worker(lease=15)
            with server.client() as client, client.pipeline(transaction=False) as pipeline:
                for number in range(6000):
                    pipeline.set(f"ballast:{number}", "x")
                pipeline.execute()
            running = await site.queue.enqueue(functions.work, site.ledger, 1, 4.0)
            await site.started(running)

            server.kill()
            restart = asyncio.create_task(asyncio.to_thread(server.restart))
            await eventually(lambda: _is_loading(server), timeout=20)
            job = await site.queue.enqueue(functions.work, site.ledger, 21)
            loaded_at = time.monotonic()
            await restart

            assert [await running.wait(20), await job.wait(20)] == [2, 42]
            assert [run.how for run in site.runs()] == ["end"] * 2
            report(
                f"started {site.runs_of(job)[0].started_at - loaded_at:.2f} s after it was enqueued"
            )
            assert worker.is_running
        finally:
            await site.close()


@pytest.mark.parametrize("limit", [0.5, 1.0])
@pytest.mark.parametrize("way", ["killed", "silent", "half-open"])
async def test_redis_away_is_told_to_callers_in_time(
    site: Site, report: Report, way: str, limit: float
) -> None:
    """Whoever enqueues, alone or with a hundred others, hears of it by one of our errors with the id of the job, and nothing is
    enqueued later."""
    backend = connect(site.proxy.url, retry_for=limit)
    queue = Queue("q", backend)
    await eventually(lambda: queue.enqueue(functions.work, site.ledger, 1), timeout=20)
    match way:
        case "killed":
            site.server.kill()
        case "silent":
            site.server.pause()
        case "half-open":
            site.proxy.stall()

    async def ask(number: int) -> Refusal:
        began = time.monotonic()
        try:
            await queue.enqueue(functions.work, site.ledger, 1, job_id=f"j{number}")
        except AiorqError as error:
            return Refusal(error, f"j{number}", time.monotonic() - began, limit + SLACK_S)
        raise AssertionError("nobody was there")

    refusals = [await ask(0)]
    refusals += await asyncio.gather(*[ask(number) for number in range(1, 101)])

    late = max(one.took_s for one in refusals) - limit
    report(f"Redis {way}, {limit} s allowed: told at most {late:.2f} s after that")
    report.figure("caller", round(late, 2), way=way)
    assert violations(Evidence({}, [], {}, refusals=refusals)) == []
    assert {type(one.error) for one in refusals} == {BackendUnavailable}
    await backend.close()


async def test_redis_away_during_a_burst(site: Site) -> None:
    """A burst does not wait for ever: without Redis it ends with a status and a sentence."""
    site.server.kill()

    worker = site.start_worker("--burst")

    status, _ = await exit_status(worker, 30)
    assert status == 1
    assert "cannot be reached" in worker.output()
    assert "Traceback" not in worker.output()


@pytest.mark.parametrize(
    ("function", "how"),
    [
        (functions.hang_once_sync, "cut"),
        (functions.sleep_in_c, None),
        (functions.sleep_in_pool, "cut"),
    ],
)
async def test_redis_away_when_a_job_of_a_burst_ends(
    site: Site, function: Callable[..., Any], how: str | None
) -> None:
    """The burst fails. The thread of another job is told to end; one that hears nothing does not keep the process."""
    long = await site.queue.enqueue(function, site.ledger)
    short = await site.queue.enqueue(functions.hold, site.ledger, site.gate())
    worker = site.start_worker("--burst", lease=60)
    await site.started(long, short)

    site.server.kill()
    open_gate(site.gate())

    status, _ = await exit_status(worker, 30)
    assert status == 1
    assert [run.how for run in site.runs_of(long)] == [how]
    assert "cannot be reached" in worker.output()
    assert "Traceback" not in worker.output()


def _is_loading(server: RedisServer) -> bool:
    try:
        server.command("GET", "x")
    except redis.BusyLoadingError:
        return True
    return False


@dataclass(frozen=True)
class Usage:
    """What a worker has used so far, or since: seconds of a core (or its share), bytes of log (or per second), memory."""

    at: float
    cpu: float
    log_bytes: float
    memory_mb: float

    @classmethod
    def of(cls, worker: WorkerProcess) -> Usage:
        """Return what a worker has used until now."""
        assert worker.is_running, worker.output()[-2000:]
        said = len(worker.output())
        return cls(time.monotonic(), cpu_s(worker.pid), said, memory_mb(worker.pid))

    def since(self, before: Usage) -> Usage:
        """Return what was used since then, per second; of the memory, the growth."""
        seconds = self.at - before.at
        return Usage(
            seconds,
            round((self.cpu - before.cpu) / seconds, 3),
            round((self.log_bytes - before.log_bytes) / seconds),
            round(self.memory_mb - before.memory_mb, 1),
        )

    def __str__(self) -> str:
        return (
            f"{self.cpu} core, {self.log_bytes:.0f} bytes of log a second, {self.memory_mb} MB more"
        )


async def _fill_the_slots(site: Site) -> list[Job]:
    """Enqueue as many jobs as the idle worker can run at once."""
    data = Queue.prepare_data(functions.work, (site.ledger, 1, 3.0))
    return await site.enqueue_directly("idle", [data] * SLOTS)


async def _enqueue(queue: Queue, site: Site) -> Job:
    while True:
        with suppress(BackendFull, BackendRefused):
            return await queue.enqueue(functions.work, site.ledger, 1)
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _producer(site: Site, jobs: list[Job]) -> AsyncIterator[None]:
    """Enqueue twenty jobs a second, or as many as Redis takes, until the end of the block."""
    stop = asyncio.Event()

    async def produce() -> None:
        while not stop.is_set():
            jobs.append(await _enqueue(site.queue, site))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(produce())
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await task
