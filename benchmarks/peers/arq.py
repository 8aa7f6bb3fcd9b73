"""arq: a sorted set, one transaction to start a job and two more to run it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from peers import Producer, tally

PACKAGES = (
    "arq",
    "hiredis",
    "uvloop",
)  # redis-py uses hiredis where it is; uvloop as for any asyncio program
PYTHON = (3, 11)
SHARE = 0.1
CONCURRENCY = 500  # some faster than with its default of 10, as it reads 2 500 ids at a time then
CHUNK = 100


def stored(redis: Any, total: int) -> int:
    return total - int(redis.zcard("arq:queue"))


def waiting(redis: Any) -> int:
    return int(redis.zcard("arq:queue"))


async def noop(context: Any, number: int) -> int:
    return await tally.noop(number)


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    from arq import create_pool
    from arq.connections import RedisSettings

    redis = await create_pool(RedisSettings.from_dsn(url))

    async def one(number: int) -> str:
        job = await redis.enqueue_job("noop", number)
        assert job is not None
        return str(job.job_id)

    async def many(numbers: Sequence[int]) -> list[str]:
        ids: list[str] = []
        for start in range(0, len(numbers), CHUNK):
            ids += await asyncio.gather(*[one(number) for number in numbers[start : start + CHUNK]])
        return ids

    yield Producer(one, many)
    await redis.aclose()


def work(url: str, concurrency: int) -> None:
    import uvloop
    from arq import Worker
    from arq.connections import RedisSettings

    asyncio.set_event_loop(uvloop.new_event_loop())
    Worker(
        [noop],
        redis_settings=RedisSettings.from_dsn(url),
        max_jobs=concurrency,
        poll_delay=0.01,  # with the default of 0.5 s it waits when it has read 500 jobs
    ).run()


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.jobs import Job

    redis = await create_pool(RedisSettings.from_dsn(url))
    found = [await Job(one, redis).result_info() for one in ids]
    await redis.aclose()
    return [one.result if one is not None and one.success else None for one in found]
