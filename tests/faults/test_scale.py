"""Many of everything: jobs that wait, jobs that wait for one, workers, results, and keys of strangers. Times are printed and decide
nothing; counts do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import rq

from aiorq2 import Queue, Worker, connect
from aiorq2.backends.base import ClaimRequest, Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.upkeep import Sweeper
from tests.faults import settings
from tests.faults.figures import Report
from tests.support import jobs
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow

SEAT = Seat(worker="w", instance="i", lease=600)
UNBOUNDED = ("keys", "scan", "hscan", "zscan")
"""Commands whose cost grows with what there is."""


@pytest.fixture
def plain_server() -> Iterator[RedisServer]:
    """A Redis without persistence, of this test's own."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def backend(plain_server: RedisServer) -> AsyncIterator[RedisBackend]:
    """A backend on it."""
    backend = connect(plain_server.url, retry_for=30)
    yield backend
    await backend.close()


def calls(server: RedisServer) -> dict[str, int]:
    """Return how often each command was carried out since the server started, in scripts too."""
    with server.client() as client:
        found: Any = client.info("commandstats")
    return {
        name.removeprefix("cmdstat_").split("|")[0]: one["calls"] for name, one in found.items()
    }


def memory(server: RedisServer) -> int:
    """Return the bytes in use."""
    with server.client() as client:
        found: Any = client.info("memory")
    return int(found["used_memory"])


def slowest_ms(server: RedisServer) -> float:
    """Return how long the slowest command took since the log was last reset."""
    with server.client() as client:
        found: Any = client.slowlog_get(200)
    return max((one["duration"] for one in found), default=0) / 1000


@pytest.fixture(autouse=True)
def _slow_log(plain_server: RedisServer) -> None:
    plain_server.config("slowlog-log-slower-than", 500)
    plain_server.config("slowlog-max-len", 200)


# -- Z2: a long queue ----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)
async def test_scale_of_what_waits(
    plain_server: RedisServer, backend: RedisBackend, report: Report
) -> None:
    """A job that waits takes no more memory than one of rq's, and claiming takes its time from a thousand as from a million."""
    with plain_server.client() as client:
        theirs = rq.Queue("theirs", connection=client)
        before = memory(plain_server)
        theirs.enqueue_many(
            [rq.Queue.prepare_data("tests.support.jobs.add", (n, n)) for n in range(2000)]
        )
        of_rq = (memory(plain_server) - before) / 2000
    queue, count = Queue("q", backend), settings.size(20_000, 1_000_000)
    before, took_s = memory(plain_server), {}
    made = 0
    for mark in (1000, count):
        while made < mark:
            batch = range(made, min(mark, made + 5000))
            data = [Queue.prepare_data(jobs.add, (number, number)) for number in batch]
            await queue.enqueue_many(data)
            made = batch.stop
        took_s[mark] = await _claim_some(backend, 50)
    each = (memory(plain_server) - before) / count
    report(
        f"{count} waiting jobs: {each:.0f} bytes each, rq's {of_rq:.0f}; 10 claimed in {took_s[1000] * 1000:.2f} ms at 1000,"
        f" {took_s[count] * 1000:.2f} ms at {count}"
    )
    report.figure("waiting", f"{each:.0f} bytes (rq's {of_rq:.0f}), {count} jobs")
    assert each <= of_rq
    assert await queue.count() == count - 2 * 50 * 10


async def _claim_some(backend: RedisBackend, times: int) -> float:
    """Claim ten jobs so often, and return the median time."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        claimed = await backend.claim(SEAT, ClaimRequest(10, ("q",)))
        took.append(time.perf_counter() - began)
        assert len(claimed.claims) == 10
    return sorted(took)[times // 2]


# -- Z3: a wide fan ------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)
async def test_scale_of_what_waits_for_one(
    plain_server: RedisServer, backend: RedisBackend, report: Report
) -> None:
    """Thousands wait for one job, thousands for one moment: all of them start, a slice at a time."""
    count = settings.size(2000, 100_000)
    queue, soon = Queue("q", backend), time.time() + settings.size(5, 60)
    parent = await queue.enqueue(jobs.add, 1, 2, job_id="parent")
    plain_server.command("LREM", backend.keys.queue("q"), 0, "parent")  # not yet
    for start in range(0, count, 2000):
        batch = range(start, min(count, start + 2000))
        data = [
            Queue.prepare_data(jobs.add, (number, number), depends_on=parent, result_ttl=60)
            for number in batch
        ]
        await queue.enqueue_many(data)
        moment = datetime.fromtimestamp(soon, UTC)
        await asyncio.gather(
            *[queue.enqueue_at(moment, jobs.add, number, number, result_ttl=60) for number in batch]
        )
    assert await queue.deferred_job_registry.get_job_count() == count
    plain_server.command("SLOWLOG", "RESET")
    plain_server.command("RPUSH", backend.keys.queue("q"), "parent")

    worker = Worker("q", backend, concurrency=100, handle_signals=False)
    working = asyncio.create_task(worker.work())
    keys = backend.keys
    done = ("ZCARD", keys.finished("q"))
    await eventually(lambda: _counts(backend, done, 2 * count + 1), timeout=600, interval=0.2)
    worker.request_stop()
    await working

    slowest = slowest_ms(plain_server)
    report(
        f"{count} dependents and {count} of one moment: the slowest script took {slowest:.1f} ms"
    )
    report.figure("slices", slowest, count=count)
    assert await backend.run(["ZCARD", keys.deferred("q")], ["ZCARD", keys.scheduled("q")]) == [
        0,
        0,
    ]
    assert await backend.run(["EXISTS", keys.releasing()]) == [0]


async def _counts(backend: RedisBackend, command: tuple[str, ...], count: int) -> bool:
    return await backend.run(list(command)) == [count]


# -- Z4, Z5: many workers ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _workers(server: RedisServer, count: int) -> AsyncIterator[list[Worker]]:
    """Have so many idle workers in this process, each on a backend of its own, as it would be elsewhere."""
    backends = [connect(server.url, retry_for=30) for _ in range(count)]
    workers = [
        Worker("q", one, name=f"w{number}", handle_signals=False, grace=5)
        for number, one in enumerate(backends)
    ]
    working = [asyncio.create_task(worker.work()) for worker in workers]
    try:
        await eventually(
            lambda: int(server.command("SCARD", "rq:workers")) == count, timeout=120, interval=0.1
        )
        yield workers
    finally:
        for worker in workers:
            worker.request_stop()
        await asyncio.gather(*working)
        for one in backends:
            await one.close()


@pytest.mark.timeout(600)
async def test_scale_of_idle_workers(
    plain_server: RedisServer, backend: RedisBackend, report: Report
) -> None:
    """Idle workers ask Redis for next to nothing, and one job wakes one of them."""
    count, seconds = settings.size(20, 200), settings.size(5, 20)
    queue = Queue("q", backend)
    async with _workers(plain_server, count):
        await asyncio.sleep(2)
        before, cpu, at = calls(plain_server), time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        idle, passed = calls(plain_server), time.monotonic() - at
        cpu = (time.process_time() - cpu) / passed / count
        asked = _sent(before, idle) / passed / count

        for number in range(20):
            job = await queue.enqueue(jobs.add, number, 1)
            assert await job.wait(20) == number + 1
        woken = _sent(idle, calls(plain_server)) / 20

    report(
        f"{count} idle workers: {asked:.2f} commands/s and {cpu * 100:.2f} % of a core each; a job among them: {woken:.1f}"
    )
    report.figure("idle", round(asked, 2), workers=count)
    assert asked < settings.size(2.0, 1.3)  # the more there are, the less each looks
    assert woken < count  # a herd would be several commands each


def _sent(before: dict[str, int], after: dict[str, int]) -> int:
    """Return how many commands clients have sent: scripts, blocking reads and what is on its own."""
    names = ("evalsha", "bzpopmin", "ping", "publish", "subscribe", "zadd")
    sent = {name: after.get(name, 0) - before.get(name, 0) for name in names}
    return sent["evalsha"] + sent["bzpopmin"] + sent["ping"] + sent["subscribe"]


@pytest.mark.faults_all
@pytest.mark.timeout(600)
async def test_scale_of_reconnecting_workers(
    plain_server: RedisServer, backend: RedisBackend, report: Report
) -> None:
    """Redis restarts beneath many workers: they come back spread over some time, and none asks for more connections than it had."""
    count = settings.size(30, 200)
    queue = Queue("q", backend)
    async with _workers(plain_server, count):
        await asyncio.sleep(1)
        had = _connections(plain_server, "connected_clients")
        await asyncio.to_thread(plain_server.restart)
        back_at = time.monotonic()
        await eventually(
            lambda: _connections(plain_server, "blocked_clients") >= count,
            timeout=60,
            interval=0.05,
        )
        took = time.monotonic() - back_at
        made = _connections(plain_server, "total_connections_received")
        done = [await queue.enqueue(jobs.add, number, 1) for number in range(count)]
        assert [await job.wait(30) for job in done] == [number + 1 for number in range(count)]

    report(
        f"{count} workers: all asleep again {took:.1f} s after Redis was back; {made} connections made, {had} there were"
    )
    report.figure("reconnect", round(took, 1), workers=count)
    assert made < 3 * max(had, 4 * count)  # some time out on a machine that is slow


def _connections(server: RedisServer, name: str) -> int:
    with server.client() as client:
        found: Any = client.info()
    return int(found[name])


# -- Z6, R23, H10: what has been, what is not ours, what is stale --------------------------------------------------------


@pytest.mark.timeout(600)
async def test_scale_of_results_and_of_strangers(
    plain_server: RedisServer, backend: RedisBackend, report: Report
) -> None:
    """Results that are not kept, or not for long, leave nothing; no command looks through the keyspace, however much others keep
    in it."""
    strangers, count = settings.size(20_000, 1_000_000), settings.size(2000, 200_000)
    with plain_server.client() as client:
        for start in range(0, strangers, 10_000):
            client.mset({f"stranger:{start + number}": "x" for number in range(10_000)})
    queue = Queue("q", backend)
    worker = Worker("q", backend, handle_signals=False)
    working = asyncio.create_task(worker.work())
    await eventually(lambda: _counts(backend, ("SCARD", backend.keys.workers()), 1), timeout=20)
    before = calls(plain_server)
    for start in range(0, count, 2000):
        data = [
            Queue.prepare_data(jobs.add, (number, 1), result_ttl=number % 2)
            for number in range(2000)
        ]
        waited = await queue.enqueue_many(data)
        assert start + len(waited) <= count
    await eventually(lambda: _counts(backend, ("LLEN", backend.keys.queue("q")), 0), timeout=300)
    await eventually(lambda: _counts(backend, ("ZCARD", backend.keys.wip("q")), 0), timeout=30)
    await asyncio.sleep(1.5)
    await Sweeper(backend, ["q"]).sweep()
    after = calls(plain_server)
    worker.request_stop()
    await working
    await eventually(lambda: _no_worker_is_left(plain_server), timeout=90, interval=0.5)

    used = {name: after.get(name, 0) - before.get(name, 0) for name in UNBOUNDED}
    (names,) = await backend.run(["KEYS", "rq:*"])
    kept = {name for name in names if b":aio:replay:" not in name}  # those end within a minute
    report(
        f"{count} results among {strangers} keys of strangers; what stays: {sorted(kept)}; {used}"
    )
    assert set(used.values()) == {0}
    assert kept <= {b"rq:queues"}
    (everything,) = await backend.run(
        ["KEYS", "*"]
    )  # DBSIZE counts those whose time is over as well
    left = [name for name in everything if not name.startswith(b"rq:")]
    assert len(left) == strangers
    assert all(name.startswith(b"stranger:") for name in left)


def _no_worker_is_left(server: RedisServer) -> bool:
    with server.client() as client:
        for key in client.scan_iter("rq:worker*"):
            client.pexpire(key, 1)  # its time to live is a minute and more
        return not list(client.scan_iter("rq:worker*"))


@pytest.mark.timeout(600)
async def test_scale_of_what_is_stale(
    plain_server: RedisServer, backend: RedisBackend, report: Report
) -> None:
    """Thousands of registry entries and leases whose jobs are gone, and workers that are: all are cleared away, in slices."""
    count, keys = settings.size(5000, 1_000_000), backend.keys
    with plain_server.client() as client, client.pipeline(transaction=False) as pipeline:
        for number in range(count):
            pipeline.zadd(keys.finished("q"), {f"gone-{number}": 1 + number / count})
            pipeline.zadd(keys.wip("q"), {f"gone-{number}:e{number}": 1 + number / count})
            pipeline.sadd(keys.workers(), keys.worker(f"gone-{number}"))
            pipeline.sadd(keys.queue_workers("q"), keys.worker(f"gone-{number}"))
            if number % 5000 == 4999:
                pipeline.execute()
        pipeline.execute()
    plain_server.command("SLOWLOG", "RESET")
    began = time.monotonic()

    sweeper, passes = Sweeper(backend, ["q"]), 0
    while await backend.run(["SCARD", keys.queue_workers("q")]) != [0]:
        await sweeper.sweep()
        passes += 1
        assert passes < 20 + count / 100
    while True:
        reaped = await backend.reap("q", max_deaths=3)
        if reaped.next_in is None:
            break
    took, slowest = time.monotonic() - began, slowest_ms(plain_server)

    report(
        f"{count} stale entries of each kind: gone after {took:.1f} s, slowest script {slowest:.1f} ms"
    )
    report.figure("slices", slowest, stale=count)
    assert await backend.run(
        ["ZCARD", keys.finished("q")], ["ZCARD", keys.wip("q")], ["SCARD", keys.workers()]
    ) == [0, 0, 0]
