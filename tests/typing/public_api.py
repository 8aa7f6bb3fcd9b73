"""The public types, as mypy sees them in a user's program. An ``ignore`` that is not needed is an error, so each is a test."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, assert_type

import redis.asyncio

from aiorq2 import (
    CronJob,
    CronPattern,
    CronSpec,
    Job,
    JobStatus,
    Queue,
    Result,
    Retry,
    Scheduler,
    Worker,
    connect,
    get_current_job,
    signed,
)
from aiorq2.backends.inspect import WorkerRecord
from aiorq2.backends.redis import RedisBackend
from aiorq2.cron_sync import Synced
from aiorq2.timing import ManualClock


async def add(x: int, y: int) -> int:
    """Do something."""
    return x + y


def add_sync(x: int, y: int) -> int:
    """Do something."""
    return x + y


class Account:
    """Something with methods."""

    async def deposit(self, amount: int) -> int:
        """Do something."""
        return amount


async def enqueue() -> None:
    """Whatever can be called, or named, becomes a ``Job``."""
    backend = assert_type(connect("redis://localhost"), RedisBackend)
    queue = Queue("high", backend, default_timeout="5m", serializer=signed("secret"))

    assert_type(await queue.enqueue(add, 1, y=2, job_timeout=timedelta(minutes=1)), Job)
    assert_type(await queue.enqueue(add_sync, 1, 2, retry=Retry(3, [1, "2m"], jitter=0.5)), Job)
    assert_type(await queue.enqueue("my.module.function"), Job)
    assert_type(await queue.enqueue(Account().deposit, 5), Job)
    assert_type(await queue.enqueue_call(add, args=(1, 2), timeout=5), Job)
    data = queue.prepare_data(add, (1, 2), job_id="x")
    assert_type(await queue.enqueue_many([data]), list[Job])
    assert_type(await queue.enqueue_job(queue.create_job(add, (1, 2))), Job)
    assert_type(Queue(connection=redis.asyncio.Redis()), Queue)

    queue.enqueue(5)  # type: ignore[arg-type, unused-coroutine]
    await queue.enqueue()  # type: ignore[call-arg]
    Queue("q", results="list")  # type: ignore[arg-type]
    Queue("q", default_timeout=[5])  # type: ignore[arg-type]
    Retry("3")  # type: ignore[arg-type]
    Retry(1, on=int)  # type: ignore[arg-type]


async def look_at_queues(backend: RedisBackend) -> None:
    """What a queue tells."""
    queue = Queue("high", backend)

    assert_type(await queue.count(), int)
    assert_type(await queue.is_empty(), bool)
    assert_type(await queue.get_job_ids(0, 10), list[str])
    assert_type(await queue.get_jobs(), list[Job])
    assert_type(await queue.fetch_job("x"), Job | None)
    assert_type(await queue.get_job_position("x"), int | None)
    assert_type(await queue.empty(), int)
    assert_type(await Queue.all(backend), list[Queue])


async def look_at_jobs(backend: RedisBackend) -> None:
    """What a job tells: what is not known before it has happened may be None."""
    job = assert_type(await Job.fetch("x", backend), Job)
    assert_type(await Job.fetch_many(["x"], backend), list[Job | None])
    assert_type(await Job.exists("x", backend), bool)

    assert_type(job.id, str)
    assert_type(job.func_name, str)
    assert_type(job.args, tuple[Any, ...])
    assert_type(job.kwargs, dict[str, Any])
    assert_type(job.meta, dict[str, Any])
    assert_type(job.status, JobStatus)
    assert_type(job.started_at, datetime | None)
    assert_type(job.worker_name, str | None)
    assert_type(job.exc_info, str | None)
    assert_type(job.timeout, float | int | None)
    assert_type(job.attempt, int)

    assert_type(await job.get_status(), JobStatus)
    assert_type(await job.is_finished(), bool)
    assert_type(await job.wait(timeout=5), Any)
    assert_type(await job.return_value(), Any)
    assert_type(await job.results(), list[Result])
    assert_type(await job.latest_result(timeout=1), Result | None)
    assert_type(await job.get_meta(), dict[str, Any])

    job.id.no_such_method()  # type: ignore[attr-defined]
    job.started_at.year  # type: ignore[union-attr]  # noqa: B018
    job.status = "finished"  # type: ignore[misc, assignment]


async def act_on_jobs(job: Job) -> None:
    """What can be done to a job returns nothing: the handle is refreshed when that is asked for."""
    assert_type(await job.save_meta(), None)
    job.save_meta()  # in a plain function: it blocks
    assert_type(job.check_cancelled(), None)
    await job.cancel()
    await job.requeue(at_front=True)
    await job.delete()
    await job.refresh()


async def work(backend: RedisBackend) -> None:
    """A worker takes names and queues, and handlers of either kind."""

    async def handler(job: Job, kind: type[BaseException], error: BaseException, _: Any) -> bool:
        return True

    worker = Worker(
        ["high", Queue("low", backend)],
        backend,
        lease="15s",
        grace=timedelta(seconds=30),
        exception_handlers=[handler, lambda *_: None],
        dequeue_strategy="round_robin",
        allow=["myapp.*"],
    )

    assert_type(await worker.work(burst=True, max_idle_time="5m"), bool)
    assert_type(worker.request_stop(), None)
    assert_type(await Worker.all(backend), list[WorkerRecord])
    assert_type(await Worker.count(backend), int)
    Worker("q", backend, dequeue_strategy="alphabetical")  # type: ignore[arg-type]


def recur(now: datetime) -> None:
    """A cron pattern tells when."""
    pattern = CronPattern.parse("0 12 * * ?", timezone="Europe/Berlin", dialect="quartz", name="x")

    assert_type(pattern.next(now), datetime | None)
    assert_type(pattern.first(now), datetime)
    assert_type(pattern.upcoming(now, 3), list[datetime])
    assert_type(pattern.between(now, now, 3), tuple[list[datetime], bool])
    assert_type(pattern.describe(), str)
    CronPattern.parse("0 12 * * ?", dialect="vixie")  # type: ignore[arg-type]
    pattern.text = "* * * * *"  # type: ignore[misc]


def inside_a_job() -> None:
    """There may be no job."""
    assert_type(get_current_job(), Job | None)
    get_current_job().id  # type: ignore[union-attr]  # noqa: B018


async def schedule(now: datetime) -> None:
    """What runs once is a ``Job``, what recurs a ``CronJob``."""
    backend = connect("memory://x", clock=ManualClock(now))
    scheduler = Scheduler("low", backend=backend, interval="10s")

    assert_type(await scheduler.enqueue_at(now, add, 1, y=2), Job)
    assert_type(await scheduler.enqueue_in("5m", add, 1, 2), Job)
    assert_type(await scheduler.schedule(now, add, (1, 2), timeout=5), Job)
    assert_type(await scheduler.schedule(now, add, (1, 2), interval="1h", repeat=3), CronJob)
    assert_type(await scheduler.schedule(timedelta(days=14), add, (1, 2), repeat=1), CronJob)
    cron = assert_type(await scheduler.cron("* * * * *", add, (1, 2), overlap="skip"), CronJob)
    assert_type(await scheduler.get_cron_jobs(), list[CronJob])
    assert_type(await scheduler.count(timedelta(hours=1)), int)
    assert_type(await scheduler.contains(cron), bool)
    spec = CronSpec.of("x", add, (1, 2), interval=timedelta(minutes=5), catch_up="all")
    assert_type(await scheduler.sync([spec], source="app"), Synced)
    assert_type(await scheduler.run(burst=True), None)

    assert_type(cron.next_run, datetime | None)
    assert_type(cron.interval, float | None)
    assert_type(await cron.get_jobs(5), list[Job])
    assert_type(await cron.run_now(), Job)
    await cron.save(pattern="*/5 * * * *")
    await cron.pause()

    await scheduler.schedule(now, add, repeat=1)  # type: ignore[call-overload]
    spec.name = "y"  # type: ignore[misc]
