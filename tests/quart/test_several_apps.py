"""One ``RQ`` and several applications: which one is meant, and that none is kept."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from quart import Quart

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
