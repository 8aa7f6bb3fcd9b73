"""The walkthrough of Flask-RQ2 from which this project began, its listings one after the other, with ``await``."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio.from_thread
import pytest

from aiorq2 import RQ, CronJob, Job, get_current_job
from aiorq2.backends.redis import RedisBackend
from aiorq2.functions import JobFunctions
from tests.flow.hub_jobs import add as plain_add
from tests.flow.hub_jobs import collect


@pytest.fixture
def rq(memory_backend: RedisBackend) -> RQ:
    """An ``RQ`` in memory."""
    return RQ(memory_backend)


def takes_a_while(echo: str) -> str:
    """Not decorated."""
    return echo


def add(x: int, y: int) -> int:
    """The one of ``somewhere.py``: it says who handled it."""
    job = get_current_job()
    assert job is not None
    job.meta["handled_by"] = socket.gethostname()
    job.meta[""] = None
    job.save_meta()
    return x + y


def fib(num: int) -> int:
    """Return the argument."""
    return num


def order_more(x: int) -> str:
    """A plain function that enqueues another job from its thread."""
    queue: Callable[..., Any] = plain_add.queue  # type: ignore[attr-defined]
    job = anyio.from_thread.run(queue, x, 1)
    return str(job.id)


# -- decorators ----------------------------------------------------------------------------------------------------------


async def test_ways_to_enqueue_a_job(rq: RQ) -> None:
    """``queue``, ``schedule`` and ``cron``, as the first chapter has them."""
    decorated = rq.job("low", timeout=60)(plain_add)

    job = await decorated.queue(1, 2)
    job2 = await decorated.queue(3, 4, queue="high", timeout=60 * 2)
    once = await decorated.schedule(timedelta(seconds=60), 1, 2)
    twice = await decorated.schedule(timedelta(days=14), 1, 2, repeat=1)
    later = await decorated.schedule(timedelta(hours=12), 1, 2, queue="high", timeout=60 * 2)
    noon = await decorated.cron("0 0 12 * * ?", "add-one-two", 1, 2)
    minutely = await decorated.cron("* * * * *", "add-one-two", 1, 2, queue="high", timeout=55)

    assert [(one.origin, one.timeout) for one in (job, job2, once, twice, later)] == [
        ("low", 60),
        ("high", 120),
        ("low", 60),
        ("low", 60),
        ("high", 120),
    ]
    assert noon == minutely
    assert await rq.get_scheduler().count() == 4
    assert await rq.get_worker("high", "low").work(burst=True)
    assert [await job.wait(), await job2.wait()] == [3, 7]
    for one in await rq.get_scheduler().get_jobs():
        await rq.get_scheduler().cancel(one)


def test_positional_options_of_the_decorator(rq: RQ) -> None:
    """Flask-RQ2's eight, in its order."""
    helper = rq.job("low", 60, 5, 7, None, True, {"a": 1}, "told")(plain_add).helper

    assert (helper.queue_name, helper.timeout, helper.result_ttl, helper.ttl) == ("low", 60, 5, 7)
    assert (helper.at_front, helper.meta, helper.description) == (True, {"a": 1}, "told")


async def test_functions_class_of_ones_own(rq: RQ) -> None:
    """It may have more methods; the function gets those that it names."""

    class Functions(JobFunctions):
        functions = (*JobFunctions.functions, "delay")

        async def delay(self, *args: Any, **kwargs: Any) -> Job:
            """Celery's name."""
            return await self.queue(*args, **kwargs)

    rq.functions_class = Functions
    decorated: Any = rq.job(collect)

    job = await decorated.delay(1, timeout=7)

    assert (job.args, job.timeout) == ((1,), 7)
    assert repr(decorated.helper) == "<Functions tests.flow.hub_jobs.collect>"
    await rq.get_queue().empty()


# -- the first application -----------------------------------------------------------------------------------------------


async def test_doit1_to_doit3(rq: RQ) -> None:
    """Plain functions in queues; keywords that are no options go to the function, which then does not want them."""
    echo = await rq.get_queue().enqueue(takes_a_while, "do it")
    assert re.fullmatch(
        r"<Job [0-9a-f-]{36}: tests\.flow\.test_hub_seed\.takes_a_while\('do it'\)>", repr(echo)
    )

    echo2 = await rq.get_queue().enqueue(takes_a_while, "do it 2", name="low", connection="other")
    assert "takes_a_while('do it 2', connection='other', name='low')" in str(echo2)

    async with rq.connection:
        echo3 = await rq.get_queue("low").enqueue(takes_a_while, "do it 3")
    assert await rq.connection.ping()

    await rq.get_worker("default", "low").work(True)
    assert [await echo.wait(), await echo3.wait()] == ["do it", "do it 3"]
    await echo2.refresh()
    assert "TypeError: takes_a_while() got an unexpected keyword argument" in str(echo2.exc_info)


async def test_doit4_to_doit7(rq: RQ) -> None:
    """A decorated function that is called is called; a worker in a handler returns whether it ran anything."""
    do_something_low = rq.job("low")(takes_a_while)
    assert do_something_low("doit5") == "doit5"
    assert await rq.get_queue("low").is_empty()

    await rq.get_queue().enqueue(takes_a_while, "doit7")
    assert await rq.get_worker().work(True) is True
    assert await rq.get_worker().work(True) is False


# -- the second application ----------------------------------------------------------------------------------------------


async def test_a_result_is_there_when_it_is_there(rq: RQ) -> None:
    """``job.result`` is what the handle has seen; a queue prints as it did, and is counted with ``await``."""
    queue = rq.get_queue("low")

    job = await queue.enqueue(fib, 8)

    assert job.result is None
    assert (repr(queue), await queue.count()) == ("<Queue low>", 1)
    with pytest.raises(TypeError, match=r"await queue\.count\(\)"):
        len(queue)
    await rq.get_worker("low").work(burst=True)
    assert await job.get_status() == "finished"
    assert job.result == 8


async def test_the_same_id_replaces_what_waits(rq: RQ) -> None:
    """Scheduled as ``qwe``, which a burst does not wait for; enqueued as ``qwe``, it is scheduled no more."""
    queue = rq.get_queue("low")

    await queue.enqueue_in(timedelta(seconds=10), plain_add, job_id="qwe", args=(1, 2))
    assert await rq.get_worker("low").work(burst=True) is False
    assert (await queue.count(), await queue.scheduled_job_registry.count()) == (0, 1)

    job = await queue.enqueue(plain_add, job_id="qwe", args=(1, 2))
    assert str(job) == "<Job qwe: tests.flow.hub_jobs.add(1, 2)>"
    assert (await queue.count(), await queue.scheduled_job_registry.count()) == (1, 0)
    await queue.empty()


async def test_a_fetched_job_tells_everything_afterwards(rq: RQ) -> None:
    """Status, result, arguments and what the job has left in its ``meta``, on the handle that was fetched before."""
    queue = rq.get_queue("low")
    await queue.enqueue(add, job_id="ewq", args=(1, 2))
    job = await rq.get_queue("low").fetch_job("ewq")
    assert job is not None
    assert await job.get_status() == "queued"

    await rq.get_worker("low").work(burst=True)

    assert await job.get_status() == "finished"
    assert (job.result, job.args, job.exc_info) == (3, (1, 2), None)
    assert job.meta == {"handled_by": socket.gethostname(), "": None}


# -- and what they ran into ----------------------------------------------------------------------------------------------


async def test_a_plain_function_enqueues_from_its_thread(rq: RQ) -> None:
    """``anyio.from_thread.run`` has it done on the worker's loop."""
    rq.job(plain_add)
    first = await rq.job(order_more).queue(4)

    await rq.get_worker().work(burst=True)

    second = await Job.fetch(await first.wait(), rq.backend)
    assert await second.wait() == 5


async def test_declaring_at_import_by_many_processes_is_one_entry(rq: RQ) -> None:
    """What a name does for ``add.cron``: four programs that declare the same at once."""
    hubs = [RQ(rq.backend) for _ in range(4)]

    entries: list[CronJob] = await asyncio.gather(
        *[hub.job(plain_add).cron("0 0 12 * * ?", "noon", 1) for hub in hubs]
    )

    assert len(set(entries)) == await rq.get_scheduler().count() == 1
    await entries[0].cancel()
