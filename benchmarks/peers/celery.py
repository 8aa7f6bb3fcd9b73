"""Celery on its Redis transport, with Redis as the result backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from . import Producer, Setup, Task
from .tally import SYNC

PACKAGES = ("celery[redis]", "hiredis", "gevent")
LIBRARY = "celery"
PYTHON = (3, 11)
IS_ASYNC = False
SHARE = 0.1
CONCURRENCY = 1
CHOICES = (
    "the solo pool for no-ops: the quickest in one process; prefork adds a pipe and a process",
    "gevent for jobs that wait, as its documentation recommends; the threads pool for the workload of that name",
    "without gossip, mingle, heartbeat and events, and logging at WARNING: less traffic",
    "a prefetch of 100 per slot for no-ops, as its guide to optimizing says for short tasks; its default is 4",
    "JSON, its default; redis-py uses hiredis where it is; in bulk: one after the other, as it has nothing for it",
)
LACKS: dict[str, str] = {}


def stored(redis: Any, total: int) -> int:
    return int(redis.info("keyspace").get("db1", {}).get("keys", 0))


def waiting(redis: Any) -> int:
    return int(redis.llen("celery"))


def app_on(url: str) -> tuple[Any, dict[str, Any]]:
    from celery import Celery

    app = Celery("bench", broker=url, backend=url.removesuffix("/0") + "/1")
    app.conf.update(
        worker_prefetch_multiplier=100,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    return app, {task: app.task(name=task)(function) for task, function in SYNC.items()}


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    app, tasks = app_on(url)

    async def one(task: Task, number: int) -> Any:
        return tasks[task].delay(number)

    async def many(task: Task, numbers: Sequence[int]) -> list[str]:
        return [tasks[task].delay(number).id for number in numbers]

    async def at(numbers: Sequence[int], moments: Sequence[float]) -> list[str]:
        return [
            tasks["noop"].apply_async((number,), eta=datetime.fromtimestamp(moment, UTC)).id
            for number, moment in zip(numbers, moments, strict=True)
        ]

    async def wait(job: Any) -> Any:
        return job.get(timeout=10)

    yield Producer(one, many, wait, at)
    app.close()


def work(url: str, setup: Setup) -> None:
    pool = {"noop": "solo", "nap": "gevent", "sync": "threads"}[setup.task]
    if pool == "gevent":  # as its command does before anything else
        from gevent import monkey

        monkey.patch_all()
    app, _ = app_on(url)
    options = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
    slots = 1 if pool == "solo" else setup.concurrency
    app.worker_main(["worker", "-P", pool, "-c", str(slots), *options])


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    from celery.result import AsyncResult

    app, _ = app_on(url)
    found = [AsyncResult(one, app=app) for one in ids]
    return [one.result if one.state == "SUCCESS" else None for one in found]
