"""Jobs of an application: enqueued in its routes, run in its context."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from quart import Quart, has_request_context

from aiorq2 import Job, Queue
from aiorq2.quart_ext import QuartJob, job_failed, job_finished, job_started
from tests.quart import jobs
from tests.support.eventually import eventually


async def _work(*queues: str) -> bool:
    return await jobs.rq.get_worker(*queues).work(burst=True)


async def test_job_of_a_route_runs_in_the_app_context(app: Quart) -> None:
    """With the headers of the request, and without the request."""
    async with app.test_app() as serving:
        headers = {"traceparent": "00-abc", "X-Request-ID": "7", "Cookie": "secret"}
        answer = await serving.test_client().get("/enqueue", headers=headers)
        job_id = (await answer.get_json())["id"]
        assert await _work()
        job = await Job.fetch(job_id, jobs.rq.backend)

        assert job.result == [
            "an app that serves",
            False,
            {"traceparent": "00-abc", "x-request-id": "7"},
        ]


async def test_plain_function_runs_in_the_app_context(app: Quart) -> None:
    """In its thread."""
    async with app.test_app():
        job = await jobs.where_in_a_thread.queue()

        assert (job.origin, job.timeout, type(job)) == ("low", 60, QuartJob)
        assert await _work("low")
        assert await job.wait(5) == "an app that serves"


async def test_enqueueing_needs_no_request(app: Quart) -> None:
    """Nor that the app serves: a script does as well."""
    async with app.app_context():
        job = await jobs.where.queue()
        assert await _work()

        assert (await job.wait(5))[0] == "an app"
        await jobs.rq.close()


async def test_burst_inside_a_request(app: Quart) -> None:
    """Leaves the request as it was, and its jobs see nothing of it."""
    async with app.test_app() as serving:
        client = serving.test_client()

        assert await (await client.get("/burst")).get_json() == {"worked": False}
        job = await jobs.where_in_a_thread.queue()
        assert await (await client.get("/burst")).get_json() == {"worked": True}
        assert await job.wait(5) == "an app that serves"
        assert not has_request_context()


async def test_app_serves_again(app: Quart) -> None:
    """Nothing is left of the first time, nor of its loop."""
    for _ in range(2):
        async with app.test_app():
            job = await jobs.where.queue()
            assert await _work()
            assert await job.wait(5)


def test_nothing_is_shared_between_loops(app: Quart) -> None:
    """Each loop has connections of its own."""

    async def once() -> Any:
        async with app.test_app():
            job = await jobs.where.queue()
            await _work()
            return await job.wait(5)

    assert asyncio.run(once())
    assert asyncio.run(once())


async def test_jobs_run_inline_without_async(config: dict[str, Any]) -> None:
    """``RQ_ASYNC=False``: in the app context, before ``queue`` returns."""
    app = jobs.create_app(**config, RQ_ASYNC=False)
    async with app.test_app():
        job = await jobs.where.queue()

        assert job.result[0] == "an app that serves"


async def test_request_context_is_there_if_asked_for(config: dict[str, Any]) -> None:
    """For code that cannot do without, such as ``url_for``."""
    app = jobs.create_app(**config, RQ_TEST_REQUEST_CONTEXT=True)
    async with app.test_app():
        job = await jobs.path_of_the_request.queue()
        await _work()

        assert await job.wait(5) == "/"


async def test_signals_tell_of_jobs(app: Quart) -> None:
    """Receivers may be coroutine functions; one that raises harms no job."""
    heard: list[Any] = []

    async def on_start(sender: Quart, job: Job) -> None:
        heard.append(("started", sender is app, job.func_name.rpartition(".")[2]))

    def on_end(sender: Quart, job: Job, error: BaseException | None = None) -> None:
        heard.append(("ended", type(error).__name__))
        raise RuntimeError("a receiver's own")

    with (
        job_started.connected_to(on_start, app),
        job_finished.connected_to(on_end, app),
        job_failed.connected_to(on_end, app),
    ):
        async with app.test_app():
            good, bad = await jobs.where.queue(), await jobs.fail.queue()
            await jobs.rq.get_worker(concurrency=1).work(burst=True)
            await good.wait(5)
            await bad.refresh()

    assert bad.exc_info
    assert "ValueError: no" in bad.exc_info
    assert heard == [
        ("started", True, "where"),
        ("ended", "NoneType"),
        ("started", True, "fail"),
        ("ended", "ValueError"),
    ]


async def test_page_follows_a_job(config: dict[str, Any]) -> None:
    """By server-sent events, and by a websocket; an unknown job is not found."""
    app = jobs.create_app(**{**config, "RQ_EMBEDDED_WORKER": True})
    async with app.test_app() as serving:
        client = serving.test_client()
        job = await jobs.steps.queue()

        answer = await client.get(f"/follow/{job.id}")
        text = str(await answer.get_data(as_text=True))
        async with client.websocket(f"/follow/{job.id}/ws") as websocket:
            last = await websocket.receive_json()

        events = [line for line in text.splitlines() if line.startswith('data: {"status')]
        assert events[-1] == 'data: {"status": "finished", "done": 0.5, "text": "<b>half</b>"}'
        assert text.endswith("event: end\ndata: {}\n\n")
        assert last == {"status": "finished", "done": 0.5, "text": "<b>half</b>"}
        assert (await client.get("/follow/nobody")).status_code == 404


async def test_worker_inside_of_the_app(config: dict[str, Any]) -> None:
    """Begins with serving and is drained at its end."""
    app = jobs.create_app(**{**config, "RQ_EMBEDDED_WORKER": {"concurrency": 3}})
    async with app.test_app():
        job, other = await jobs.where.queue(), await jobs.where_in_a_thread.queue()

        assert (await job.wait(10))[0] == "an app that serves"
        assert await other.wait(10) == "an app that serves"
    async with app.app_context():
        late = await jobs.where.queue()
        assert await late.get_status() == "queued"
        await late.delete()
        assert not await Queue("default", jobs.rq.backend).count()
        await jobs.rq.close()


@pytest.mark.parametrize("grace", ["5s", timedelta(seconds=5), 5])
async def test_worker_inside_of_the_app_takes_its_options(
    config: dict[str, Any], grace: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its queues, one or several, and every duration in any of the ways to write one."""
    options = {"queues": ["low"], "grace": grace, "lease": "1m", "connection": "default"}
    app = jobs.create_app(**{**config, "RQ_EMBEDDED_WORKER": options})
    async with app.test_app():
        other, job = await jobs.where.queue(), await jobs.where_in_a_thread.queue()

        assert await job.wait(10) == "an app that serves"
        assert await other.get_status() == "queued"
        await other.delete()
    assert "failed" not in caplog.text


async def test_worker_that_fails_inside_of_the_app_is_made_anew(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the app serves on."""
    app = jobs.create_app(**{**config, "RQ_EMBEDDED_WORKER": {"max_deaths": 3}})
    failures = iter([RuntimeError("not today")])

    @jobs.rq.on_startup
    def fail_once() -> None:
        for error in failures:
            raise error

    try:
        async with app.test_app():
            job = await jobs.where.queue()
            assert await job.wait(20)
    finally:
        jobs.rq._hooks._startup.clear()
    assert "the worker inside of" in caplog.text
    assert "not today" in caplog.text


async def test_memory_has_a_worker_inside_by_itself(memory_url: str) -> None:
    """So that ``quart run`` alone is a working system."""
    app = jobs.create_app(RQ_REDIS_URL=memory_url)
    async with app.test_app():
        job = await jobs.where.queue()
        assert await job.wait(10)


async def test_app_serves_while_redis_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """And says so."""
    app = jobs.create_app(RQ_REDIS_URL="redis://127.0.0.1:1/0")
    async with app.test_app() as serving:
        assert (await serving.test_client().get("/nothing")).status_code == 404

    assert "cannot be reached" in caplog.text


async def test_eventually_no_task_is_left(app: Quart) -> None:
    """After serving, nothing of ours goes on."""
    before = asyncio.all_tasks()
    async with app.test_app():
        job = await jobs.where.queue()
        await _work()
        await job.wait(5)

    await eventually(lambda: not asyncio.all_tasks() - before)
