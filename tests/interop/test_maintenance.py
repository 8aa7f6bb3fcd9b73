"""Our jobs run on short leases while rq's upkeep goes through the same registries all the time."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from aiorq2 import Job, Queue
from aiorq2.backends.redis import RedisBackend
from tests.flow.at_work import at_work
from tests.interop.conftest import VERSIONS
from tests.interop.peer import RqProcess, python_of
from tests.interop.sides import Ours, Theirs
from tests.support import jobs
from tests.support.eventually import eventually

WAYS: list[dict[str, str]] = [{}, {"offload": "thread"}, {"offload": "process"}]


async def enqueue_long(backend: RedisBackend, seconds: float) -> list[Job]:
    """Enqueue jobs that take so long, of each kind."""
    queue = Queue("q", backend, results="stream")
    return [
        await queue.enqueue(func, seconds, **way)
        for func in (jobs.slow, jobs.slow_sync)
        for way in WAYS
    ]


async def check_undisturbed(backend: RedisBackend, running: list[Job], seconds: float) -> None:
    """Check that each of these jobs was run once, to its end."""
    for job in running:
        assert await job.wait(timeout=30) == seconds
        assert job.attempt == 1
        assert [one.type.name for one in await job.results()] == ["SUCCESSFUL"]
    (left,) = await backend.run(["ZCARD", backend.keys.wip("q")])
    assert left == 0


@pytest.mark.since("3.0")
async def test_short_leases_outlive_the_upkeep_of_rq(ours: Ours, theirs: Theirs) -> None:
    """Jobs of two leases are not disturbed by upkeep that never stops."""
    async with at_work(ours.backend, lease=4):
        running = await enqueue_long(ours.backend, 8.0)
        passes, ended = 0, time.monotonic() + 8
        while time.monotonic() < ended:
            await theirs.peer("maintain")
            passes += 1

        await check_undisturbed(ours.backend, running, 8.0)
    assert passes > 3


@pytest.mark.slow
async def test_leases_of_4_s_outlive_upkeep_every_second(ours: Ours, redis_url: str) -> None:
    """Workers of all three versions of rq, whose upkeep is due every second: six of our jobs run for two leases, undisturbed."""
    often = [
        "--worker-ttl",
        "16",
        "--maintenance-interval",
        "0",
    ]  # a blocking read of 1 s, and then upkeep
    with ExitStack() as stack:
        rqs = [
            stack.enter_context(
                RqProcess(
                    python_of(one), redis_url, "worker", *often, "--name", f"rq-{one}", "other", "q"
                )
            )
            for one in VERSIONS
        ]
        await eventually(lambda: number_of_workers(ours, 3), timeout=30)
        for rq in rqs:
            rq.pause()  # the jobs are to be ours
        await eventually(lambda: nobody_blocks(ours.backend), timeout=10)
        async with at_work(ours.backend, lease=4, name="ours"):
            running = await enqueue_long(ours.backend, 8.0)
            await eventually(lambda: all_started(running))
            seen = [passes(rq) for rq in rqs]
            seen_of_q = sum(passes(rq, "q") for rq in rqs)
            for rq in rqs:
                rq.resume()

            await check_undisturbed(ours.backend, running, 8.0)

        for rq, before in zip(rqs, seen, strict=True):
            assert rq.is_running, rq.output()
            assert passes(rq) > before, rq.output()
            assert "Traceback" not in rq.output()
        # A lock lets one of them look after a queue at a time, so what counts is what they did together.
        assert sum(passes(rq, "q") for rq in rqs) - seen_of_q >= 8, [rq.output() for rq in rqs]


def passes(rq: RqProcess, queue: str = "") -> int:
    """Return how often this worker has looked after the queue, or after any."""
    return rq.output().lower().count(f"cleaning registries for queue: {queue}")


async def number_of_workers(ours: Ours, number: int) -> bool:
    """Return whether so many workers are listed."""
    return len(await ours.workers()) == number


async def nobody_blocks(backend: RedisBackend) -> bool:
    """Return whether no blocking read is left on the server, which would be served although its reader is frozen."""
    (info,) = await backend.run(["INFO", "clients"])
    return b"blocked_clients:0" in info


async def all_started(running: list[Job]) -> bool:
    """Return whether all these jobs run."""
    return all([await job.is_started() for job in running])
