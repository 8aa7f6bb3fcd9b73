"""streaq: Redis streams, on coredis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from peers import Producer
from peers.tally import noop

PACKAGES = (
    "streaq",
    "uvloop",
)  # uvloop by its own option; coredis has a compiled parser of its own
PYTHON = (3, 11)
SHARE = 0.25
CONCURRENCY = 100  # some faster than with its default of 16


def stored(redis: Any, total: int) -> int:
    return int(redis.zcard("streaq:default:index:results"))


def waiting(redis: Any) -> int:
    return int(redis.xlen("streaq:default:queues:normal"))


def worker_on(url: str, **options: Any) -> tuple[Any, Any]:
    from streaq import Worker

    worker: Any = Worker(redis_url=url, **options)
    return worker, worker.task()(noop)


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    worker, task = worker_on(url)

    async def one(number: int) -> str:
        return str((await task.enqueue(number)).id)

    async def many(numbers: Sequence[int]) -> list[str]:
        tasks = [task.enqueue(number) for number in numbers]
        await worker.enqueue_many(tasks)
        return [one.id for one in tasks]

    async with worker:
        yield Producer(one, many)


def work(url: str, concurrency: int) -> None:
    worker, _ = worker_on(url, concurrency=concurrency, anyio_kwargs={"use_uvloop": True})
    worker.run_sync()


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    worker, _ = worker_on(url)
    found = []
    async with worker:
        for one in ids:  # its own reader subscribes for each of them
            raw = await worker.redis.get(worker.results_key + one)
            result = await worker.deserialize(raw) if raw else {"s": False}
            found.append(result["r"] if result["s"] else None)
    return found
