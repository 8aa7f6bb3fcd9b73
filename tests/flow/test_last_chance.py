"""A job on its last chance has its worker for itself, also where many others wait and claims overlap."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from aiorq2 import Queue
from aiorq2.backends.redis import RedisBackend
from tests.flow.at_work import drain

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
