"""ardiq: its worker loop and its Redis client are written in Rust."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from peers import Producer
from peers.tally import noop

PACKAGES = ("ardiq", "uvloop")  # uvloop for the Python side of it: a fifth faster here
PYTHON = (3, 12)
SHARE = 1.0
CHUNK = 500
CONCURRENCY = 1000  # twice as fast as with its default of 16; it prefetches twice this number


def stored(redis: Any, total: int) -> int:
    return int(redis.zcard("ardiq:bench:index:results"))


def waiting(redis: Any) -> int:
    return int(redis.xlen("ardiq:bench:queues:default"))


def app_on(url: str, **options: Any) -> tuple[Any, Any]:
    from ardiq import Ardiq

    app = Ardiq(redis_url=url, queue_name="bench", **options)
    return app, app.task()(noop)


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    app, task = app_on(url)

    async def one(number: int) -> str:
        return str((await task.enqueue(number)).id)

    async def many(numbers: Sequence[int]) -> list[str]:
        return [job.id for job in await app.enqueue_many([task.prepare(one) for one in numbers])]

    yield Producer(one, many)


def work(url: str, concurrency: int) -> None:
    import uvloop

    app, _ = app_on(url, concurrency=concurrency)
    uvloop.run(app.run())


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    app, _ = app_on(url)
    found: list[Any] = []
    for start in range(0, len(ids), CHUNK):  # thousands at once run into its time limit
        found += await asyncio.gather(*[app.result(one) for one in ids[start : start + CHUNK]])
    return [one.value if one is not None and one.success else None for one in found]
