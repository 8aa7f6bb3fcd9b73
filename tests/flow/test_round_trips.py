"""The round-trip budget of the design, counted on the wire by a proxy: what an act costs does not creep up unnoticed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from aiorq2 import RQ, Queue, Worker, connect
from aiorq2.backends.base import ClaimRequest, Seat, Tally
from aiorq2.backends.redis import RedisBackend
from aiorq2.outcome import Finished
from tests.flow import hub_jobs
from tests.support import jobs
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually

SEAT = Seat("w", "instance", lease=30)

Count = Callable[[Awaitable[object]], Awaitable[int]]


@pytest.fixture
async def watched(chaos_proxy: ChaosProxy, key_prefix: str) -> AsyncIterator[RedisBackend]:
    """A backend behind the proxy, its connections open and its scripts loaded."""
    backend = connect(chaos_proxy.url, key_prefix=key_prefix)
    warm = Queue("warm", backend)
    ids = [(await warm.enqueue(jobs.add, 1, 2)).id for _ in range(4)]
    claimed = await backend.claim(SEAT, ClaimRequest(1, ("warm",)))
    await backend.extend(SEAT, claimed.claims, Tally())
    await backend.settle(
        SEAT,
        [(one, Finished(time.time(), b"3")) for one in claimed.claims],
        ClaimRequest(1, ("none",)),
    )
    await backend.cancel(ids[1])
    await backend.requeue(ids[1])
    for job_id in (ids[0], ids[1], ids[2], ids[3]):
        await backend.delete(job_id)
    yield backend
    await backend.close()


@pytest.fixture
def count(chaos_proxy: ChaosProxy, watched: RedisBackend) -> Count:
    """Return how many round trips something took."""

    async def count(act: Awaitable[object]) -> int:
        before = chaos_proxy.traffic
        await act
        return (chaos_proxy.traffic - before).round_trips

    return count


async def test_enqueueing_takes_one_round_trip(watched: RedisBackend, count: Count) -> None:
    """One job, one call."""
    assert await count(Queue("q", watched).enqueue(jobs.add, 1, 2)) == 1


async def test_a_job_of_a_hub_takes_one_round_trip(watched: RedisBackend, count: Count) -> None:
    """Queued or scheduled; a cron entry takes three."""
    rq = RQ(watched)
    decorated = rq.job("q")(hub_jobs.add)
    await decorated.cron("* * * * *", "warm", 1)

    assert await count(decorated.queue(1, 2, timeout=5)) == 1
    assert await count(decorated.schedule(60, 1, 2)) == 1
    assert await count(decorated.cron("* * * * *", "warm", 1)) == 3
    await rq.get_scheduler().cancel("warm")


async def test_enqueueing_many_takes_one_round_trip(watched: RedisBackend, count: Count) -> None:
    """200 jobs travel in one pipeline."""
    queue = Queue("q", watched)
    datas = [queue.prepare_data(jobs.add, (n, 1)) for n in range(200)]

    assert await count(queue.enqueue_many(datas)) == 1
    assert await queue.count() == 200


async def test_concurrent_enqueues_share_round_trips(watched: RedisBackend, count: Count) -> None:
    """64 callers at once need two pipelines: the first caller's, and one for all who came meanwhile."""
    queue = Queue("q", watched)

    assert await count(asyncio.gather(*[queue.enqueue(jobs.add, n, 1) for n in range(64)])) <= 2
    assert await queue.count() == 64


async def test_cancel_requeue_and_delete_take_one_round_trip_each(
    watched: RedisBackend, count: Count
) -> None:
    """No verb asks before it acts."""
    job = await Queue("q", watched).enqueue(jobs.add, 1, 2)

    assert await count(job.cancel()) == 1
    assert await count(job.requeue()) == 1
    assert await count(job.delete()) == 1


async def test_claiming_many_takes_one_round_trip(watched: RedisBackend, count: Count) -> None:
    """100 jobs from three queues are started by one call."""
    for name in ("a", "b", "c"):
        queue = Queue(name, watched)
        await queue.enqueue_many([queue.prepare_data(jobs.add, (n, 1)) for n in range(50)])

    assert await count(watched.claim(SEAT, ClaimRequest(100, ("a", "b", "c")))) == 1
    assert await Queue("c", watched).count() == 50


async def test_settling_and_claiming_take_one_pipeline(watched: RedisBackend, count: Count) -> None:
    """What has finished is written in the same write as the next claim, and a heartbeat covers all runs."""
    queue = Queue("q", watched)
    await queue.enqueue_many([queue.prepare_data(jobs.add, (n, 1)) for n in range(100)])
    first = await watched.claim(SEAT, ClaimRequest(50, ("q",)))
    ended = [(claim, Finished(time.time(), b"1")) for claim in first.claims]

    assert await count(watched.extend(SEAT, first.claims, Tally())) == 1
    assert await count(watched.settle(SEAT, ended, ClaimRequest(50, ("q",)))) == 1
    assert await queue.count() == 0


async def test_waiting_takes_one_subscription_per_process(
    watched: RedisBackend, count: Count, chaos_proxy: ChaosProxy
) -> None:
    """The second waiter leaves word with the job, and opens nothing."""
    queue = Queue("q", watched)
    first, second = await queue.enqueue(jobs.add, 1, 2), await queue.enqueue(jobs.add, 3, 4)
    waiting = [asyncio.create_task(first.wait(20))]
    await eventually(lambda: _waiters(watched, first.id))
    connections = chaos_proxy.open_connections

    waiting.append(asyncio.create_task(second.wait(20)))
    await eventually(lambda: _waiters(watched, second.id))

    assert chaos_proxy.open_connections == connections
    await Worker("q", watched).work(burst=True)
    assert await asyncio.gather(*waiting) == [3, 7]


async def _waiters(backend: RedisBackend, job_id: str) -> bool:
    return bool((await backend.run(["HEXISTS", backend.keys.job(job_id), "aio_waiters"]))[0])


async def test_busy_worker_needs_a_fraction_of_a_round_trip_per_job(
    watched: RedisBackend, count: Count, chaos_proxy: ChaosProxy
) -> None:
    """1 000 jobs in a burst: start and end of the worker included, far fewer round trips than jobs."""
    queue = Queue("q", watched)
    for start in range(0, 1000, 250):
        await queue.enqueue_many([queue.prepare_data(jobs.add, (start + n, 1)) for n in range(250)])

    trips = await count(Worker("q", watched, concurrency=100).work(burst=True))

    assert await queue.count() == 0
    assert trips < 100


async def test_idle_worker_waits_in_one_blocking_call(watched: RedisBackend) -> None:
    """Whatever the number of its queues and slots, an idle worker has one blocked connection."""
    worker = Worker([f"q{n}" for n in range(20)], watched, concurrency=500)
    working = asyncio.create_task(worker.work())

    await eventually(lambda: _blocked(watched))
    assert await _blocked(watched) == 1

    job = await Queue("q19", watched).enqueue(jobs.add, 1, 2)
    assert await job.wait(10) == 3
    worker.request_stop()
    await working


async def _blocked(backend: RedisBackend) -> int:
    return int((await backend.run(["CLIENT", "LIST"]))[0].count(b"cmd=bzpopmin"))
