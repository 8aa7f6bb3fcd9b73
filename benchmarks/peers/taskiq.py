"""taskiq with taskiq-redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from . import Producer, Setup, Task, chunks, run
from .tally import ASYNC

PACKAGES = ("taskiq", "taskiq-redis", "hiredis", "uvloop", "orjson")
LIBRARY = "taskiq_redis"
PYTHON = (3, 11)
IS_ASYNC = True
SHARE = 0.25
CONCURRENCY = 100
CHUNK = 100
CHOICES = (
    "RedisStreamBroker, the one with acknowledgements: with the list broker, a worker that dies loses the jobs it holds",
    "reading from the start of the stream (consumer_id 0), as jobs are enqueued before the worker is there",
    "100 jobs at once, its default, and as many fetched ahead",
    "the worker by its run_receiver_task in one process, without validating parameters; its command adds a second process",
    "results are polled every 10 ms; its default is 0.2 s",
    "in bulk: 100 calls at a time, as it has nothing for it",
    "uvloop, as its command uses it; redis-py uses hiredis where it is",
)
LACKS: dict[str, str] = {}
POLL_S = 0.01


def stored(redis: Any, total: int) -> int:
    return int(redis.info("keyspace").get("db1", {}).get("keys", 0))


def waiting(redis: Any) -> int:
    return int(redis.xlen("taskiq"))


def broker_on(url: str) -> tuple[Any, dict[str, Any]]:
    from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

    kept: Any = RedisAsyncResultBackend(url.removesuffix("/0") + "/1")
    broker = RedisStreamBroker(url, consumer_id="0").with_result_backend(kept)
    return broker, {task: broker.task(task_name=task)(run) for task, run in ASYNC.items()}


def source_on(url: str) -> Any:
    from taskiq_redis import ListRedisScheduleSource

    return ListRedisScheduleSource(url)


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    broker, tasks = broker_on(url)
    await broker.startup()

    async def one(task: Task, number: int) -> Any:
        return await tasks[task].kiq(number)

    async def many(task: Task, numbers: Sequence[int]) -> list[str]:
        jobs: list[Any] = []
        for part in chunks(numbers, CHUNK):
            jobs += await asyncio.gather(*[one(task, number) for number in part])
        return [job.task_id for job in jobs]

    async def at(numbers: Sequence[int], moments: Sequence[float]) -> list[str]:
        source, ids = source_on(url), [f"at-{number}" for number in numbers]
        for part in chunks(list(zip(ids, numbers, moments, strict=True)), CHUNK):
            calls = [
                tasks["noop"]
                .kicker()
                .with_task_id(name)
                .schedule_by_time(source, datetime.fromtimestamp(moment, UTC), number)
                for name, number, moment in part
            ]
            await asyncio.gather(*calls)
        return ids

    async def wait(job: Any) -> Any:
        return (await job.wait_result(check_interval=POLL_S, timeout=10)).return_value

    yield Producer(one, many, wait, at)
    await broker.shutdown()


def work(url: str, setup: Setup) -> None:
    from taskiq import TaskiqScheduler
    from taskiq.api import run_receiver_task, run_scheduler_task

    async def main() -> None:
        broker, _ = broker_on(url)
        await broker.startup()
        receiving = run_receiver_task(
            broker,
            sync_workers=setup.concurrency,
            validate_params=False,
            max_async_tasks=setup.concurrency,
            max_prefetch=setup.concurrency,
        )
        tasks = [asyncio.create_task(receiving)]
        if setup.schedules:
            scheduler = TaskiqScheduler(broker, [source_on(url)])
            often = timedelta(seconds=1)
            tasks.append(asyncio.create_task(run_scheduler_task(scheduler, False, often, often)))
        await asyncio.gather(*tasks)

    run(main())


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    broker, _ = broker_on(url)
    found = [await broker.result_backend.get_result(one) for one in ids]
    await broker.shutdown()
    return [None if one.is_err else one.return_value for one in found]
