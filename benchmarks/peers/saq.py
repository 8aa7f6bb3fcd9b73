"""SAQ: lists, one blocking read per slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from peers import Producer, tally

PACKAGES = (
    "saq[redis,hiredis]",
    "uvloop",  # as for any asyncio program
    "typing_extensions",  # which it imports and does not ask for
)
PYTHON = (3, 11)
SHARE = 0.25
CONCURRENCY = 10  # the default; more makes no difference that can be seen
CHUNK = 500


def stored(redis: Any, total: int) -> int:
    return total - int(redis.zcard("saq:default:incomplete"))


def waiting(redis: Any) -> int:
    return int(redis.llen("saq:default:queued"))


async def noop(context: Any, *, number: int) -> int:
    return await tally.noop(number)


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    from saq import Queue

    queue: Any = Queue.from_url(url)
    await queue.connect()

    async def one(number: int) -> str:
        return str((await queue.enqueue("noop", number=number)).key)

    async def many(numbers: Sequence[int]) -> list[str]:
        ids: list[str] = []
        for start in range(0, len(numbers), CHUNK):
            ids += await asyncio.gather(*[one(number) for number in numbers[start : start + CHUNK]])
        return ids

    yield Producer(one, many)
    await queue.disconnect()


def work(url: str, concurrency: int) -> None:
    import uvloop
    from saq import Queue, Worker

    async def run() -> None:
        queue: Any = Queue.from_url(url)
        await queue.connect()
        # As if another worker had swept a moment ago: a sweep at the start aborts jobs that are just being started (its issue 277).
        await queue.redis.set("saq:default:sweep", 1, ex=300)
        await Worker(queue, functions=[noop], concurrency=concurrency).start()
        await queue.disconnect()

    uvloop.run(run())


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    from saq import Queue, Status

    queue: Any = Queue.from_url(url)
    found: list[Any] = []
    for start in range(0, len(ids), CHUNK):
        found += await queue.jobs(ids[start : start + CHUNK])
    await queue.disconnect()
    return [
        job.result if job is not None and job.status == Status.COMPLETE else None for job in found
    ]
