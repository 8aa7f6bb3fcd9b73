"""A job on its last chance has its worker for itself, also where many others wait and claims overlap."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from aiorq2 import Queue
from aiorq2.backends.base import Claimed, ClaimRequest
from aiorq2.backends.redis import RedisBackend
from aiorq2.pump import Pump
from aiorq2.suspension import resume, suspend
from aiorq2.worker import Worker
from tests.flow.at_work import at_work, drain
from tests.support.eventually import eventually, gates
from tests.support.jobs import wait_gate

spans: dict[str, tuple[float, float]] = {}
"""When each job ran."""


async def span(name: str, seconds: float) -> None:
    """Note when this runs."""
    begun = time.monotonic()
    await asyncio.sleep(seconds)
    spans[name] = (begun, time.monotonic())


@pytest.mark.parametrize("concurrency", [1, 2, 8, 20])
async def test_a_last_run_is_alone_among_many(backend: RedisBackend, concurrency: int) -> None:
    """Nothing begins, ends or goes on while it runs."""
    spans.clear()
    dice = random.Random(concurrency)
    queue = Queue("q", backend)
    datas = [
        queue.prepare_data(span, [str(number), dice.choice([0, 0, 0.001, 0.01])])
        for number in range(200)
    ]
    jobs = await queue.enqueue_many(datas)
    last = {str(number) for number in dice.sample(range(200), 20)}
    for name in last:
        await backend.run(["HSET", jobs[int(name)].key, "aio_deaths", 2])

    await drain(backend, concurrency=concurrency)

    assert len(spans) == 200
    beside = [
        (name, other)
        for name in last
        for other, (begun, ended) in spans.items()
        if other != name and begun < spans[name][1] and spans[name][0] < ended
    ]
    assert beside == []


@pytest.mark.parametrize("how", ["stopping", "suspended"])
async def test_worker_that_stands_back_sleeps_while_it_may_claim_nothing(
    backend: RedisBackend, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its patience for a last run is over, and it only waits for what runs: it does not ask again and again what there is to do."""
    naps: list[int] = []
    original = Pump._sleep

    async def sleep(self: Pump, wanted: int) -> None:
        naps.append(wanted)
        await original(self, wanted)

    monkeypatch.setattr(Pump, "_sleep", sleep)
    job = await Queue("q", backend).enqueue(wait_gate, "g")

    async with at_work(backend) as worker:
        await eventually(lambda: gates["g"].arrivals == 1)
        if how == "suspended":
            await suspend(backend)
            await eventually(lambda: _pump(worker)._is_resting)
        _stand_back_since(_pump(worker), 60.0)
        if how == "stopping":
            worker.request_stop()
        naps.clear()
        for _ in range(500):  # turns of the loop; a nap that ends at once takes two
            await asyncio.sleep(0)
        gates["g"].open()
        await job.wait(timeout=5)

    assert len(naps) < 50
    await resume(backend)


def _pump(worker: Worker) -> Pump:
    assert worker._pump is not None
    return worker._pump


def _stand_back_since(pump: Pump, seconds: float) -> None:
    """Have a worker stand back as if a claim had told it so some time ago."""
    then = asyncio.get_running_loop().time() - seconds
    pump._probation.note(ClaimRequest(1, ("q",)), Claimed(has_stood_back=True), then)
    pump.stir()
