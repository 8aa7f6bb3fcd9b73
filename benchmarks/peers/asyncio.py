"""No peer: the same coroutines as tasks of an event loop, in batches, without any queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from . import Producer, Setup, Task, chunks, run
from .tally import ASYNC, board

PACKAGES = ("redis[hiredis]", "uvloop")
LIBRARY = "uvloop"
PYTHON = (3, 11)
IS_ASYNC = True
SHARE = 1.0
CONCURRENCY = 256
CHOICES = ("a task per job on uvloop, 256 at a time; one SET at the end says that all is done",)
LACKS = {
    "[!d]*": "only a drain",
    "due-*": "only a drain",
    "drain-*": "one process",
    "drain+*": "no Redis",
}


def stored(redis: Any, total: int) -> int:
    return int(redis.get("asyncio:done") or 0)


def waiting(redis: Any) -> int:
    return 0


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    async def many(task: Task, numbers: Sequence[int]) -> list[str]:
        return [str(number) for number in numbers]

    async def nothing(*arguments: Any) -> None:
        raise AssertionError("nothing waits without a queue")

    yield Producer(nothing, many, nothing)


def work(url: str, setup: Setup) -> None:
    from redis import Redis

    async def main() -> None:
        for part in chunks(range(board().size), setup.concurrency):
            await asyncio.gather(*[asyncio.create_task(ASYNC[setup.task](n)) for n in part])

    run(main())
    Redis.from_url(url).set("asyncio:done", board().size)
    time.sleep(60)  # until somebody ends us


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    return [int(one) for one in ids]
