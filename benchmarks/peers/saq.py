"""SAQ: lists, one blocking read per slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from . import Producer, Setup, Task, chunks, run, tally

PACKAGES = ("saq[redis,hiredis]", "uvloop", "typing_extensions")
LIBRARY = "saq"
PYTHON = (3, 11)
IS_ASYNC = True
SHARE = 0.25
CONCURRENCY = 10
CHUNK = 500
CHOICES = (
    "10 jobs at once, its default; more makes no difference that can be seen",
    "a sweep that seems to have been a moment ago: one at the start aborts jobs that are just being started (its issue 277)",
    "a result is looked for again every 0.25 s: its wait subscribes after it has looked, and may miss the end",
    "in bulk: 500 calls at a time, as it has nothing for it",
    "uvloop as for any asyncio program; redis-py uses hiredis where it is",
    "typing_extensions, which it imports and does not ask for",
)
LACKS: dict[str, str] = {}


def stored(redis: Any, total: int) -> int:
    return total - int(redis.zcard("saq:default:incomplete"))


def waiting(redis: Any) -> int:
    return int(redis.llen("saq:default:queued"))


async def noop(context: Any, *, number: int) -> int:
    return await tally.noop(number)


async def nap(context: Any, *, number: int) -> int:
    return await tally.nap(number)


def sync(context: Any, *, number: int) -> int:
    return tally.noop_sync(number)


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    from saq import Queue

    queue: Any = Queue.from_url(url)
    await queue.connect()

    async def one(task: Task, number: int, **options: Any) -> Any:
        return await queue.enqueue(task, number=number, **options)

    async def many(task: Task, numbers: Sequence[int]) -> list[str]:
        jobs: list[Any] = []
        for part in chunks(numbers, CHUNK):
            jobs += await asyncio.gather(*[one(task, number) for number in part])
        return [job.key for job in jobs]

    async def at(numbers: Sequence[int], moments: Sequence[float]) -> list[str]:
        jobs: list[Any] = []
        for part in chunks(list(zip(numbers, moments, strict=True)), CHUNK):
            jobs += await asyncio.gather(*[one("noop", n, scheduled=int(due)) for n, due in part])
        return [job.key for job in jobs]

    async def wait(job: Any) -> Any:
        for _ in range(40):
            with suppress(TimeoutError):  # it subscribes after it has looked, and may miss the end
                await job.refresh(until_complete=0.25)
            if job.completed:
                break
        return job.result

    yield Producer(one, many, wait, at)
    await queue.disconnect()


def work(url: str, setup: Setup) -> None:
    from saq import Queue, Worker

    async def main() -> None:
        queue: Any = Queue.from_url(url)
        await queue.connect()
        await queue.redis.set("saq:default:sweep", 1, ex=300)
        functions: Any = [noop, nap, sync]
        await Worker(queue, functions=functions, concurrency=setup.concurrency).start()
        await queue.disconnect()

    run(main())


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    from saq import Queue, Status

    queue: Any = Queue.from_url(url)
    found: list[Any] = []
    for part in chunks(ids, CHUNK):
        found += await queue.jobs(part)
    await queue.disconnect()
    return [
        job.result if job is not None and job.status == Status.COMPLETE else None for job in found
    ]
