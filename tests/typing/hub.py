"""``RQ`` and what ``@rq.job`` returns, as mypy and pyright see them in a user's program. An ``ignore`` that is not needed is an
error for both, so each is a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import redis.asyncio

from aiorq2 import RQ, Callback, CronJob, Job, Queue, Retry, ShardedWorker, Worker, connect
from aiorq2.backends.redis import RedisBackend

rq = RQ("redis://localhost:6379/0", default_timeout="5m", queues=["high", "low"])
other = RQ(connect("memory://other"), connections={"archive": {"host": "archive", "db": 2}})

RQ(default_timeuot=5)  # type: ignore[call-arg]
RQ(results="list")  # type: ignore[arg-type]


@rq.job
def add(x: int, y: int = 0) -> int:
    """Bare, on a plain function."""
    return x + y


@rq.job("low", timeout=60, retry=Retry(3), on_success=Callback("app.done"))
async def count(text: str, *, minimum: int) -> list[str]:
    """With a queue and options, on a coroutine function."""
    return text.split()[minimum:]


@rq.job()
async def clash(timeout: int, queue: str) -> None:
    """Called without anything; its arguments have the names of options."""


@rq.job("", result_ttl=0)
def nothing() -> None:
    """With Flask-RQ2's empty name."""


class Account:
    """Something with a function in it."""

    @staticmethod
    @rq.job
    def interest(amount: float) -> float:
        """A static method."""
        return amount * 1.02


plain = rq.job(len)

rq.job("low", tiemout=60)  # type: ignore[call-overload]
rq.job("low", timeout=[60])  # type: ignore[call-overload]
rq.job(5)  # type: ignore[call-overload]


async def call() -> None:
    """A job is called as the function that it is."""
    assert_type(add(1, y=2), int)
    assert_type(await count("a b", minimum=1), list[str])
    assert_type(Account.interest(1.5), float)
    assert_type(nothing(), None)
    assert_type(plain("abc"), int)
    assert_type(add.__name__, str)

    add("1")  # type: ignore[arg-type]
    await count("a b")  # type: ignore[call-arg]


async def enqueue() -> None:
    """Without options, the arguments are checked; with one, that option is."""
    assert_type(await add.queue(1, 2), Job)
    assert_type(await add.queue(1), Job)
    assert_type(await add.queue(1, y=2), Job)
    assert_type(await count.queue("a b", minimum=1), Job)
    assert_type(await nothing.queue(), Job)
    assert_type(await Account.interest.queue(5.0), Job)

    assert_type(await add.queue(3, 4, queue="high", timeout=60 * 2), Job)
    assert_type(await add.queue(3, y=4, result_ttl="1h", job_id="x", unique=True), Job)
    assert_type(await add.queue(1, depends_on=["a", "b"], meta={"a": 1}, at_front=True), Job)
    assert_type(await add.queue(1, retry=3, on_failure="app.failed", repeat=2), Job)
    assert_type(await count.queue("a b", minimum=1, connection="archive"), Job)

    await add.queue("1")  # type: ignore[call-overload]
    await add.queue()  # type: ignore[call-overload]
    await add.queue(1, 2, 3)  # type: ignore[call-overload]
    await add.queue(1, 2, on_sucess=print)  # type: ignore[call-overload]
    await add.queue(1, 2, timeout=[5])  # type: ignore[call-overload]
    await add.queue(1, 2, queue=5)  # type: ignore[call-overload]
    await count.queue("a b", minimum="1")  # type: ignore[call-overload]
    add.queue(1)  # type: ignore[unused-coroutine]


async def schedule() -> None:
    """The time comes before the job's arguments."""
    assert_type(await add.schedule(timedelta(seconds=60), 1, 2), Job)
    assert_type(await add.schedule(datetime(2016, 12, 31, tzinfo=UTC), 1, 2), Job)
    assert_type(await add.schedule("1h30m", 1), Job)
    assert_type(await add.schedule(timedelta(hours=12), 1, 2, queue="high", timeout=60 * 2), Job)
    assert_type(await add.schedule(timedelta(days=14), 1, 2, repeat=1), CronJob)
    assert_type(await add.schedule(timedelta(days=14), 1, 2, interval="1h"), CronJob)

    await add.schedule(1, "2")  # type: ignore[call-overload]
    await add.schedule([5], 1, 2)  # type: ignore[call-overload]
    await add.schedule()  # type: ignore[call-overload]


async def cron() -> None:
    """The pattern and a name come before the job's arguments."""
    assert_type(await add.cron("0 0 12 * * ?", "add-one-two", 1, 2), CronJob)
    await add.cron("* * * * *", "add-one-two", 1, 2, queue="high", timeout=55)
    await add.cron("* * * * *", "add-one-two", 1, 2, timezone="Europe/Berlin", overlap="skip")

    await add.cron("* * * * *", 1, 2)  # type: ignore[call-overload]
    await add.cron("* * * * *", "add", "1", 2)  # type: ignore[call-overload]
    await add.cron("* * * * *", "add", 1, 2, overlap="never")  # type: ignore[call-overload]


@rq.cron("0 0 12 * * ?", name="noon", args=(1,), overlap="skip", timezone="Europe/Berlin")
@rq.job("low")
def report(x: int) -> int:
    """Declared; it stays a job."""
    return x


rq.cron("0 12 * * *", args=5)  # type: ignore[arg-type]
rq.cron("0 12 * * *", tiemout=5)  # type: ignore[call-arg]


async def declared() -> None:
    """What is declared is a job like any other."""
    assert_type(report(1), int)
    assert_type(await report.queue(1), Job)
    await report.queue("1")  # type: ignore[call-overload]


async def with_options() -> None:
    """With ``options``, both are checked, and every keyword is the job's own."""
    urgent = add.options(queue="high", timeout=5, retry=Retry(2))

    assert_type(await urgent.queue(1, y=2), Job)
    assert_type(urgent(1, 2), int)
    assert_type(await clash.options(queue="high", timeout=9).queue(timeout=1, queue="x"), Job)
    assert_type(await urgent.schedule(timedelta(days=14), 1, 2), Job | CronJob)
    await urgent.options(timezone="Europe/Berlin").cron("0 12 * * *", "noon", 1, y=2)

    add.options(tiemout=5)  # type: ignore[call-arg]
    add.options(timeout=[5])  # type: ignore[arg-type]
    await urgent.queue("1")  # type: ignore[arg-type]
    await urgent.queue(1, timeout=5)  # type: ignore[call-arg]
    await urgent.schedule(timedelta(1), 1, "2")  # type: ignore[arg-type]
    await urgent.cron("* * * * *", 1, 2)  # type: ignore[arg-type]


async def at_run_time() -> None:
    """The defaults of a job can be read and set."""
    add.helper.timeout = "5m"
    add.helper.queue_name = "low"
    add.helper.result_ttl = 0
    add.helper.description = None
    assert_type(add.helper.queue_name, str)
    assert_type(add.helper.at_front, bool | None)

    add.helper.at_front = "yes"  # type: ignore[assignment]
    add.helper.timeout = [5]  # type: ignore[assignment]


@rq.exception_handler
def on_error(job: Job, kind: type[BaseException], error: BaseException, traceback: Any) -> bool:
    """A handler stays what it is."""
    return True


@rq.on_startup
async def connect_database() -> None:
    """So does a hook,"""


@rq.on_shutdown
def say_goodbye(worker: Worker) -> None:
    """which may take the worker,"""


@rq.lifespan
async def resources(worker: Worker) -> AsyncIterator[None]:
    """and a lifespan."""
    yield


async def parts() -> None:
    """What a hub gives."""
    assert_type(rq.get_queue("low"), Queue)
    assert_type(rq.get_queue("low", connection="archive"), Queue)
    assert_type(rq.get_worker("high", "low", concurrency=5), Worker | ShardedWorker)
    assert_type(await rq.get_worker().work(burst=True), bool)
    assert_type(rq.backend, RedisBackend)
    client: redis.asyncio.Redis = rq.connection
    async with rq as entered, rq.connection:
        assert_type(entered, RQ)
        await client.set("key", "value")
    assert_type(await connect_database(), None)
    assert_type(on_error(await add.queue(1), ValueError, ValueError(), None), bool)

    with rq.connection:  # type: ignore[attr-defined]
        pass
    rq.get_queue(5)  # type: ignore[arg-type]
