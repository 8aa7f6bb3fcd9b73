"""ardiq: its worker loop and its Redis client are written in Rust."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from . import Producer, Setup, Task, chunks, run
from .tally import ASYNC

PACKAGES = ("ardiq", "uvloop")
LIBRARY = "ardiq"
PYTHON = (3, 12)
IS_ASYNC = True
SHARE = 1.0
CHUNK = 500
CONCURRENCY = 1000
CHOICES = (
    "1 000 jobs at once: twice as fast as with its default of 16; it prefetches twice this number",
    "uvloop for the Python side: a fifth faster; its Redis client is compiled into it",
)
LACKS: dict[str, str] = {}


def stored(redis: Any, total: int) -> int:
    return int(redis.zcard("ardiq:bench:index:results"))


def waiting(redis: Any) -> int:
    return int(redis.xlen("ardiq:bench:queues:default"))


def app_on(url: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    from ardiq import Ardiq

    app = Ardiq(redis_url=url, queue_name="bench", **options)
    return app, {task: app.task(name=task)(function) for task, function in ASYNC.items()}


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    app, tasks = app_on(url)

    async def one(task: Task, number: int) -> Any:
        return await tasks[task].enqueue(number)

    async def many(task: Task, numbers: Sequence[int]) -> list[str]:
        prepare = tasks[task].prepare
        return [job.id for job in await app.enqueue_many([prepare(number) for number in numbers])]

    async def at(numbers: Sequence[int], moments: Sequence[float]) -> list[str]:
        prepared = [
            tasks["noop"].options(schedule_ms=round(moment * 1000)).prepare(number)
            for number, moment in zip(numbers, moments, strict=True)
        ]
        return [job.id for job in await app.enqueue_many(prepared)]

    async def wait(job: Any) -> Any:
        return (await job.result(timeout=10)).value

    yield Producer(one, many, wait, at)


def work(url: str, setup: Setup) -> None:
    app, _ = app_on(url, concurrency=setup.concurrency)
    run(app.run())


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    app, _ = app_on(url)
    found: list[Any] = []
    for part in chunks(ids, CHUNK):  # thousands at once run into its time limit
        found += await asyncio.gather(*[app.result(one) for one in part])
    return [one.value if one is not None and one.success else None for one in found]
