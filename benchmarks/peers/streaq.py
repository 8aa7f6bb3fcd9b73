"""streaq: Redis streams, on coredis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from . import Producer, Setup, Task
from .tally import ASYNC

PACKAGES = ("streaq", "uvloop")
LIBRARY = "streaq"
PYTHON = (3, 11)
IS_ASYNC = True
SHARE = 0.25
CONCURRENCY = 100
CHOICES = (
    "100 jobs at once: some faster than with its default of 16",
    "uvloop by its own option; coredis has a compiled parser of its own",
)
LACKS: dict[str, str] = {}


def stored(redis: Any, total: int) -> int:
    return int(redis.zcard("streaq:default:index:results"))


def waiting(redis: Any) -> int:
    return int(redis.xlen("streaq:default:queues:normal"))


def worker_on(url: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    from streaq import Worker

    worker: Any = Worker(redis_url=url, **options)
    return worker, {task: worker.task(name=task)(function) for task, function in ASYNC.items()}


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    worker, tasks = worker_on(url)

    async def one(task: Task, number: int) -> Any:
        return await tasks[task].enqueue(number)

    async def many(task: Task, numbers: Sequence[int]) -> list[str]:
        return await send([tasks[task].enqueue(number) for number in numbers])

    async def at(numbers: Sequence[int], moments: Sequence[float]) -> list[str]:
        return await send(
            [
                tasks["noop"].enqueue(number).start(schedule=datetime.fromtimestamp(moment, UTC))
                for number, moment in zip(numbers, moments, strict=True)
            ]
        )

    async def send(jobs: list[Any]) -> list[str]:
        await worker.enqueue_many(jobs)
        return [job.id for job in jobs]

    async def wait(job: Any) -> Any:
        return (await job.result(10)).result

    async with worker:
        yield Producer(one, many, wait, at)


def work(url: str, setup: Setup) -> None:
    worker, _ = worker_on(url, concurrency=setup.concurrency, anyio_kwargs={"use_uvloop": True})
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
