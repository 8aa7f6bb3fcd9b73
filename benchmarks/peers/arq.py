"""arq: a sorted set, one transaction to start a job and two more to run it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from . import Producer, Setup, Task, chunks, tally

PACKAGES = ("arq", "hiredis", "uvloop")
LIBRARY = "arq"
PYTHON = (3, 11)
IS_ASYNC = True
SHARE = 0.1
CONCURRENCY = 500
CHUNK = 100
CHOICES = (
    "500 jobs at once: some faster than with its default of 10, as it reads 2 500 ids at a time then",
    "poll_delay of 10 ms: with its default of 0.5 s it waits after every batch of ids",
    "plain functions by run_in_executor, as its documentation recommends",
    "results are polled every 10 ms; its default is 0.5 s",
    "in bulk: 100 calls at a time, as it has nothing for it",
    "uvloop as for any asyncio program; redis-py uses hiredis where it is",
)
LACKS: dict[str, str] = {}
POLL_S = 0.01


def stored(redis: Any, total: int) -> int:
    return total - int(redis.zcard("arq:queue"))


def waiting(redis: Any) -> int:
    return int(redis.zcard("arq:queue"))


async def noop(context: Any, number: int) -> int:
    return await tally.noop(number)


async def nap(context: Any, number: int) -> int:
    return await tally.nap(number)


async def sync(context: Any, number: int) -> int:
    return await asyncio.get_running_loop().run_in_executor(None, tally.noop_sync, number)


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    from arq import create_pool
    from arq.connections import RedisSettings

    redis = await create_pool(RedisSettings.from_dsn(url))

    async def one(task: Task, number: int, **options: Any) -> Any:
        return await redis.enqueue_job(task, number, **options)

    async def many(task: Task, numbers: Sequence[int]) -> list[str]:
        jobs: list[Any] = []
        for part in chunks(numbers, CHUNK):
            jobs += await asyncio.gather(*[one(task, number) for number in part])
        return [job.job_id for job in jobs]

    async def at(numbers: Sequence[int], moments: Sequence[float]) -> list[str]:
        jobs: list[Any] = []
        for part in chunks(list(zip(numbers, moments, strict=True)), CHUNK):
            jobs += await asyncio.gather(
                *[one("noop", n, _defer_until=datetime.fromtimestamp(due, UTC)) for n, due in part]
            )
        return [job.job_id for job in jobs]

    async def wait(job: Any) -> Any:
        return await job.result(10, poll_delay=POLL_S)

    yield Producer(one, many, wait, at)
    await redis.aclose()


def work(url: str, setup: Setup) -> None:
    import uvloop
    from arq import Worker
    from arq.connections import RedisSettings

    asyncio.set_event_loop(uvloop.new_event_loop())
    Worker(
        [noop, nap, sync],
        redis_settings=RedisSettings.from_dsn(url),
        max_jobs=setup.concurrency,
        poll_delay=POLL_S,
    ).run()


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.jobs import Job

    redis = await create_pool(RedisSettings.from_dsn(url))
    found = [await Job(one, redis).result_info() for one in ids]
    await redis.aclose()
    return [one.result if one is not None and one.success else None for one in found]
