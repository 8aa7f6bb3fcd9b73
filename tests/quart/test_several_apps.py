"""One ``RQ`` and several applications: which one is meant, what workers for one of them do, and that none is kept."""

from __future__ import annotations

import gc
import weakref
from typing import Any
from uuid import uuid4

import pytest
from quart import Quart, current_app

from aiorq2 import ShardedWorker
from aiorq2.errors import NotConfigured
from aiorq2.quart_ext import RQ
from aiorq2.testing import assert_enqueued, drain
from tests.flow.hub_jobs import nothing
from tests.quart import jobs


@pytest.fixture
def apps(config: dict[str, Any]) -> list[Quart]:
    """Two applications of one ``RQ``, on the same Redis."""
    return [jobs.create_app(**config, NAME=name) for name in ("one", "two")]


async def test_app_that_serves_is_meant(apps: list[Quart]) -> None:
    """Outside of an app context, whatever others there are: so each test may make its own."""
    for app in apps:
        async with app.test_app() as serving:
            answer = await serving.test_client().get("/enqueue")
            job = await assert_enqueued(jobs.where)
            assert job.id == (await answer.get_json())["id"]

            assert await drain(jobs.rq)
            assert (await job.wait(5))[0] == app.config["NAME"]

    with pytest.raises(NotConfigured, match="applications"):
        jobs.rq.get_queue()


async def test_of_several_that_serve_none_is_meant(apps: list[Quart]) -> None:
    """But that of the app context."""
    one, two = apps
    async with one.test_app(), two.test_app():
        with pytest.raises(NotConfigured, match=r"app\.app_context"):
            jobs.rq.get_queue()
        async with one.app_context():
            assert jobs.rq.app is one


async def test_app_that_is_used_no_more_is_freed(config: dict[str, Any]) -> None:
    """Though the queues that its ``RQ`` has made for it run jobs in its context."""
    app = jobs.create_app(**config)
    async with app.test_app():
        job = await jobs.where.queue()
        await drain(jobs.rq)
        queue = jobs.rq.get_queue()
        assert await job.wait(5)
    gone = weakref.ref(app)

    del app
    gc.collect()

    assert gone() is None
    assert queue.job_context is not None
    with pytest.raises(NotConfigured, match=f"job '{job.id}': cannot run"):
        async with queue.job_context(job):
            pytest.fail("there is no application")


def test_function_becomes_a_job_beside_several_apps() -> None:
    """And may be declared to recur, as where the second application of a factory imports a module: it is for all of them."""
    rq, apps = RQ(), [Quart("one"), Quart("two")]
    for app in apps:
        rq.init_app(app)

    assert rq.job(nothing) is nothing
    assert rq.cron("0 0 12 * * ?", "noon")(nothing) is nothing
    assert list(rq.crons) == ["noon"]


async def test_burst_in_a_route_is_for_its_app(apps: list[Quart]) -> None:
    """Hooks see the app context as well, before the first job and after the last."""
    one, two = apps
    seen: list[Any] = []
    jobs.rq.on_startup(lambda: seen.append(current_app.name))
    jobs.rq.on_shutdown(lambda: seen.append(current_app.config["NAME"]))
    try:
        async with one.test_app() as serving, two.test_app():
            async with two.app_context():
                job = await jobs.where_in_a_thread.queue()

            answer = await serving.test_client().get("/burst")

            assert await answer.get_json() == {"worked": True}
            assert await job.wait(5) == "one that serves"
    finally:
        jobs.rq._hooks._startup.clear()
        jobs.rq._hooks._shutdown.clear()
    assert seen == ["tests.quart.jobs", "one that serves"]


async def test_worker_inside_of_one_of_several_apps(config: dict[str, Any]) -> None:
    """It starts, and its jobs run in the context of that application."""
    one = jobs.create_app(**{**config, "RQ_EMBEDDED_WORKER": True}, NAME="one")
    two = jobs.create_app(**config, NAME="two")
    async with two.test_app(), one.test_app():
        async with two.app_context():
            job = await jobs.where.queue()

        assert (await job.wait(10))[0] == "one that serves"


async def test_worker_of_several_shards_is_for_one_of_several_apps() -> None:
    """So is what it does for each of them, such as to write the declared cron entries."""
    rq, apps = RQ(), [Quart("one"), Quart("two")]
    for app in apps:
        app.config.update(
            RQ_REDIS_URL=f"memory://{uuid4().hex}", RQ_SHARDS=3, RQ_EMBEDDED_WORKER=False
        )
        rq.init_app(app)
    job = rq.job(nothing)

    async with apps[0].app_context():
        sent = await job.queue()
        worker = rq.get_worker()
        assert isinstance(worker, ShardedWorker)
        assert await worker.work(burst=True)
        assert await sent.get_status() == "finished"
        await rq.close()
