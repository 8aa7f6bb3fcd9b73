"""RQ: the model of aiorq2. Its SimpleWorker runs jobs in its own process, which is its quickest way; it does not fork for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from peers import Producer
from peers.tally import noop_sync

PACKAGES = (
    "rq==3.*",
    "hiredis",
)  # redis-py uses hiredis where it is; there is no event loop to replace
PYTHON = (3, 11)
SHARE = 0.05
CONCURRENCY = 1  # it has no other


def stored(redis: Any, total: int) -> int:
    return int(redis.zcard("rq:finished:default"))


def waiting(redis: Any) -> int:
    return int(redis.llen("rq:queue:default"))


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    from redis import Redis
    from rq import Queue

    redis = Redis.from_url(url)
    queue = Queue(connection=redis)

    async def one(number: int) -> str:
        return queue.enqueue(noop_sync, number).id

    async def many(numbers: Sequence[int]) -> list[str]:
        jobs = queue.enqueue_many([Queue.prepare_data(noop_sync, (number,)) for number in numbers])
        return [job.id for job in jobs]

    yield Producer(one, many)
    redis.close()


def work(url: str, concurrency: int) -> None:
    from redis import Redis
    from rq import SimpleWorker

    worker = SimpleWorker(["default"], connection=Redis.from_url(url))
    worker.log_job_description = False
    worker.work(logging_level="WARNING")


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    from redis import Redis
    from rq.job import Job

    redis = Redis.from_url(url)
    jobs = Job.fetch_many(list(ids), connection=redis)
    found = [None if job is None else job.return_value() for job in jobs]
    redis.close()
    return found
