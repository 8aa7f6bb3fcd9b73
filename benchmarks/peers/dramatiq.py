"""Dramatiq on Redis, with its result backend on Redis."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from . import Producer, Setup, Task
from .tally import SYNC

PACKAGES = ("dramatiq[redis]", "hiredis")
LIBRARY = "dramatiq"
PYTHON = (3, 11)
IS_ASYNC = False
SHARE = 0.1
CONCURRENCY = 8
CHOICES = (
    "8 threads, its default: 32 are as fast, and take a third more CPU per job",
    "its Worker in one process; its command adds a master process",
    "no prometheus middleware, as nobody asks for its figures",
    "in bulk: one after the other, as it has nothing for it; redis-py uses hiredis where it is",
)
LACKS: dict[str, str] = {}


def stored(redis: Any, total: int) -> int:
    return int(redis.info("keyspace").get("db1", {}).get("keys", 0))


def waiting(redis: Any) -> int:
    return int(redis.llen("dramatiq:default"))


def broker_on(url: str) -> tuple[Any, dict[str, Any]]:
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    broker = RedisBroker(url=url)
    dramatiq.set_broker(broker)
    broker.add_middleware(Results(backend=RedisBackend(url=url.removesuffix("/0") + "/1")))
    actors: Any = {
        task: dramatiq.actor(
            function, broker=broker, actor_name=task, store_results=True, result_ttl=500_000
        )
        for task, function in SYNC.items()
    }
    return broker, actors


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    import time

    broker, actors = broker_on(url)

    async def one(task: Task, number: int) -> Any:
        return actors[task].send(number)

    async def many(task: Task, numbers: Sequence[int]) -> list[str]:
        return [actors[task].send(number).message_id for number in numbers]

    async def at(numbers: Sequence[int], moments: Sequence[float]) -> list[str]:
        ids = []
        for number, moment in zip(numbers, moments, strict=True):
            delay_ms = max(0, round((moment - time.time()) * 1000))
            sent = actors["noop"].send_with_options(args=(number,), delay=delay_ms)
            ids.append(sent.message_id)
        return ids

    async def wait(message: Any) -> Any:
        return await asyncio.to_thread(message.get_result, block=True, timeout=10_000)

    yield Producer(one, many, wait, at)
    broker.close()


def work(url: str, setup: Setup) -> None:
    from dramatiq import Worker

    broker, _ = broker_on(url)
    worker = Worker(broker, worker_threads=setup.concurrency)
    worker.start()
    signal.pause()


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    from dramatiq.message import Message
    from dramatiq.results import ResultMissing

    broker, actors = broker_on(url)
    backend = actors["noop"].broker.get_results_backend()
    found: list[Any] = []
    for one in ids:
        for task in actors:  # the key is made of the actor's name, too
            message: Any = Message("default", task, (), {}, {}, message_id=one)
            try:
                found.append(backend.get_result(message))
                break
            except ResultMissing:
                continue
        else:
            found.append(None)
    broker.close()
    return found
