"""docket: streams for what is due, a sorted set for what is not yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from . import Producer, Setup, Task, run
from .tally import ASYNC

PACKAGES = ("pydocket", "hiredis", "uvloop")
LIBRARY = "docket"
PYTHON = (3, 11)
IS_ASYNC = True
SHARE = 0.25
CONCURRENCY = 100
CHOICES = (
    "100 jobs at once: some faster than with its default of 10",
    "4 000 connections at the most: redis-py's default of 100 ends its worker at 100 jobs at once",
    "in bulk by its add_many",
    "a scheduling_resolution of 10 ms where jobs wait for their time; its default is 250 ms",
    "uvloop as for any asyncio program; redis-py uses hiredis where it is",
)
POOL = "?max_connections=4000"
LACKS = {"threads": "takes coroutine functions only"}


def stored(redis: Any, total: int) -> int:
    return total - int(redis.xlen("docket:stream")) - int(redis.zcard("docket:queue"))


def waiting(redis: Any) -> int:
    return int(redis.xlen("docket:stream"))


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    from docket import Docket

    async with Docket(url=url + POOL) as docket:

        async def one(task: Task, number: int) -> Any:
            return await docket.add(ASYNC[task])(number)

        async def many(task: Task, numbers: Sequence[int]) -> list[str]:
            calls = [docket.call(ASYNC[task])(number) for number in numbers]  # a key for each call
            jobs = await docket.add_many(calls)
            return [job.key for job in jobs]

        async def at(numbers: Sequence[int], moments: Sequence[float]) -> list[str]:
            calls = [
                docket.call(ASYNC["noop"], when=datetime.fromtimestamp(moment, UTC))(number)
                for number, moment in zip(numbers, moments, strict=True)
            ]
            return [job.key for job in await docket.add_many(calls)]

        async def wait(job: Any) -> Any:
            return await job.get_result(timeout=timedelta(seconds=10))

        yield Producer(one, many, wait, at)


def work(url: str, setup: Setup) -> None:
    from docket import Docket, Worker

    async def main() -> None:
        options: Any = {}
        if setup.schedules:
            options["scheduling_resolution"] = timedelta(milliseconds=10)
        async with Docket(url=url + POOL) as docket:
            docket.register(ASYNC["noop"])
            docket.register(ASYNC["nap"])
            async with Worker(docket, concurrency=setup.concurrency, **options) as worker:
                await worker.run_forever()

    run(main())


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    from docket import Docket

    found: list[Any] = []
    async with Docket(url=url + POOL) as docket:
        docket.register(ASYNC["noop"])
        docket.register(ASYNC["nap"])
        for one in ids:
            job = await docket.get_execution(one)
            found.append(
                None if job is None else await job.get_result(timeout=timedelta(seconds=5))
            )
    return found
