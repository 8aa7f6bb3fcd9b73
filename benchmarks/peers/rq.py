"""RQ: the model of aiorq2."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from . import Producer, Setup, Task
from .tally import SYNC

PACKAGES = ("rq==3.*", "hiredis")
LIBRARY = "rq"
PYTHON = (3, 11)
IS_ASYNC = False
SHARE = 0.05
CONCURRENCY = 1
ONE_AT_A_TIME = "a worker runs one job at a time"
CHOICES = (
    "SimpleWorker: runs jobs in its own process, its quickest way; its default forks for each",
    "logging at WARNING and without descriptions: some faster",
    "results by its blocking XREAD; redis-py uses hiredis where it is",
)
LACKS = {"io-*": ONE_AT_A_TIME, "threads": ONE_AT_A_TIME}


def stored(redis: Any, total: int) -> int:
    return int(redis.zcard("rq:finished:default"))


def waiting(redis: Any) -> int:
    return int(redis.llen("rq:queue:default"))


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    from redis import Redis
    from rq import Queue
    from rq.job import Job

    redis = Redis.from_url(url)
    queue = Queue(connection=redis)

    async def one(task: Task, number: int) -> Job:
        return queue.enqueue(SYNC[task], number)

    async def many(task: Task, numbers: Sequence[int]) -> list[str]:
        prepared = [Queue.prepare_data(SYNC[task], (number,)) for number in numbers]
        return [job.id for job in queue.enqueue_many(prepared)]

    async def at(numbers: Sequence[int], moments: Sequence[float]) -> list[str]:
        return [
            queue.enqueue_at(datetime.fromtimestamp(moment, UTC), SYNC["noop"], number).id
            for number, moment in zip(numbers, moments, strict=True)
        ]

    async def wait(job: Job) -> Any:
        found = await asyncio.to_thread(job.latest_result, timeout=10)
        return found and found.return_value

    yield Producer(one, many, wait, at)
    redis.close()


def work(url: str, setup: Setup) -> None:
    from redis import Redis
    from rq import SimpleWorker

    worker = SimpleWorker(["default"], connection=Redis.from_url(url))
    worker.log_job_description = False
    worker.work(logging_level="WARNING", with_scheduler=setup.schedules)


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    from redis import Redis
    from rq.job import Job

    redis = Redis.from_url(url)
    jobs = Job.fetch_many(list(ids), connection=redis)
    found = [None if job is None else job.return_value() for job in jobs]
    redis.close()
    return found
