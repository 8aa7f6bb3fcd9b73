"""URLs that are called when a job has finished or failed."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from rq.webhook import Webhook as RQWebhook

from aiorq2 import InvalidOption, Job, Queue, Webhook
from aiorq2.backends.redis import RedisBackend
from tests.contract import stage
from tests.flow.at_work import at_work, drain
from tests.support import jobs
from tests.support.eventually import eventually, gates

pytest.importorskip("httpx")


class Server:
    """A web server that notes down what it is asked for, and answers with ``status`` when ``gates["server"]`` lets it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, str], bytes]] = []
        self.status = 200
        self.open = 0
        self.most = 0
        self.is_slow = False
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split()
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.calls.append((method, path, headers, body))
            if self.is_slow:
                await gates["server"].wait()
            writer.write(
                f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
            await writer.drain()
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """Have a server on a free port."""
    server = Server()
    listening = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}"
    async with listening:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server beside the test."""
    async with serving() as found:
        yield found


async def test_webhook_is_called_when_the_job_has_finished(
    backend: RedisBackend, server: Server
) -> None:
    """With GET, as in RQ, and after the end was written."""
    hook = Webhook(f"{server.url}/done?a=1", "finished", headers={"X-Token": "secret"})
    job = await Queue("q", backend).enqueue(jobs.add, 1, 2, webhooks=[hook])

    await drain(backend)

    (call,) = server.calls
    assert (call[0], call[1], call[2]["x-token"], call[3]) == ("GET", "/done?a=1", "secret", b"")
    assert await job.is_finished()


async def test_post_tells_what_has_become_of_the_job(backend: RedisBackend, server: Server) -> None:
    """RQ's JSON."""
    hooks = [Webhook(f"{server.url}/{one}", one, method="POST") for one in ("finished", "failed")]
    good = await Queue("q", backend).enqueue(jobs.add, 1, 2, webhooks=hooks)
    bad = await Queue("q", backend).enqueue(jobs.fail, "boom", webhooks=hooks)

    await drain(backend)

    told = {path: (headers, json.loads(body)) for _, path, headers, body in server.calls}
    assert told.keys() == {"/finished", "/failed"}
    headers, payload = told["/finished"]
    assert headers["content-type"] == "application/json"
    await good.refresh()
    assert good.enqueued_at is not None
    assert payload.pop("ended_at") is not None
    assert payload == {
        "job_id": good.id,
        "func_name": "tests.support.jobs.add",
        "status": "finished",
        "enqueued_at": good.enqueued_at.isoformat(),
    }
    assert told["/failed"][1]["job_id"] == bad.id
    assert "ValueError: boom" in told["/failed"][1]["exc_info"]


async def test_only_the_last_failure_is_told(backend: RedisBackend, server: Server) -> None:
    """An attempt that is repeated is no end; nor is being stopped a failure."""
    hook = Webhook(server.url, "failed")
    await Queue("q", backend).enqueue(jobs.fail, retry=2, webhooks=hook)
    stopped = await Queue("q", backend).enqueue(jobs.wait_gate, "g", webhooks=hook)

    async with at_work(backend):
        await eventually(lambda: gates["g"].arrivals == 1)
        await stopped.cancel()
        await eventually(stopped.is_stopped)
        await eventually(lambda: server.calls)

    assert len(server.calls) == 1


async def test_nothing_that_goes_wrong_has_an_effect(
    backend: RedisBackend, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, without the URL, which is often a secret."""
    server.status = 500
    hooks = [
        Webhook(f"{server.url}/s3cret", "finished"),
        Webhook("http://127.0.0.1:1/s3cret", "finished"),
        Webhook("http://no-such-host.invalid/s3cret", "finished", timeout=2),
    ]
    job = await Queue("q", backend).enqueue(jobs.nothing, webhooks=hooks)
    broken = await Queue("q", backend).enqueue(jobs.nothing)
    await backend.run(["HSET", backend.keys.job(broken.id), "webhooks", "[{]"])

    with caplog.at_level(logging.WARNING, "aiorq2.worker"):
        await drain(backend)

    assert await job.is_finished()
    assert await broken.is_finished()
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 4
    assert "answered 500" in " ".join(warnings)
    assert "s3cret" not in " ".join(warnings)


@pytest.mark.parametrize(
    "field",
    ['[{"url": 5, "job_status": "finished"}]', '[{"url": null}]', "[5]", "5", "[" * 100_000],
    ids=range(5),
)
async def test_webhooks_that_cannot_be_read_are_left_out(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture, field: str
) -> None:
    """Whatever another program has written there: the job has ended, and the worker goes on."""
    queue = Queue("q", backend)
    broken, good = [await queue.enqueue(jobs.nothing) for _ in range(2)]
    await backend.run(["HSET", backend.keys.job(broken.id), "webhooks", field])

    await drain(backend, concurrency=1)

    assert await broken.is_finished()
    assert await good.is_finished()
    assert f"job {broken.id}: its webhooks cannot be read" in caplog.text


async def test_slow_server_holds_up_nobody(backend: RedisBackend, server: Server) -> None:
    """A few calls are under way at a time; jobs go on, and the rest waits its turn."""
    server.is_slow = True
    queue = Queue("q", backend)
    hook = Webhook(server.url, "finished", method="POST")
    given = await queue.enqueue_many(
        [Queue.prepare_data(jobs.nothing, webhooks=hook) for _ in range(40)]
    )

    async with at_work(backend):
        for job in given:
            await job.wait(timeout=5)
        await eventually(lambda: server.open == 16)
        gates["server"].open()
        await eventually(lambda: len(server.calls) == 40)

    assert server.most == 16


async def test_webhook_has_a_timeout(
    backend: RedisBackend, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Then it is given up."""
    server.is_slow = True
    hook = Webhook(server.url, "finished", timeout=0.2)
    await Queue("q", backend).enqueue(jobs.nothing, webhooks=hook)

    with caplog.at_level(logging.WARNING, "aiorq2.worker"):
        await drain(backend)

    assert "TimeoutError" in caplog.text
    gates["server"].open()


@pytest.mark.parametrize(
    ("given", "kept"), [("10s", 10), (timedelta(minutes=1), 60), (8.5, 9), (9.0, 9), (7, 7)]
)
async def test_time_of_a_webhook_is_kept_in_whole_seconds(
    backend: RedisBackend, server: Server, given: Any, kept: int
) -> None:
    """In whatever words it was given; rq reads it, and our worker sends the webhook."""
    hook = Webhook(server.url, "finished", timeout=given)
    job = await Queue("q", backend).enqueue(jobs.nothing, webhooks=hook)

    await drain(backend)

    assert hook.timeout == kept
    assert RQWebhook.from_dict(hook.as_dict()).timeout == kept
    assert (await Job.fetch(job.id, backend)).webhooks == [hook]
    assert len(server.calls) == 1


async def test_headers_are_those_that_were_given(backend: RedisBackend, server: Server) -> None:
    """A number is sent as a text, as rq does; what becomes of the dict afterwards is no matter."""
    headers: dict[str, Any] = {"X-Number": 5}
    hook = Webhook(server.url, "finished", headers=headers)
    headers["X-Number"] = object()
    await Queue("q", backend).enqueue(jobs.nothing, webhooks=hook)

    await drain(backend)

    assert server.calls[0][2]["x-number"] == "5"


async def test_worker_without_httpx_says_so_once(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The jobs run all the same."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    hook = Webhook("http://127.0.0.1:1/", "finished")
    for _ in range(3):
        await Queue("q", backend).enqueue(jobs.nothing, webhooks=hook)

    with caplog.at_level(logging.ERROR, "aiorq2.worker"):
        await drain(backend)

    (error,) = [one.getMessage() for one in caplog.records]
    assert "httpx is not installed" in error


async def test_job_that_died_with_its_worker_is_told_as_failed(
    redis_backend: RedisBackend, server: Server
) -> None:
    """By the worker that notices."""
    hook = Webhook(server.url, "failed", method="POST")
    queue = Queue("q", redis_backend)
    await queue.enqueue(jobs.nothing, redeliver=False, webhooks=hook)
    await stage.end_lease(
        redis_backend, (await redis_backend.claim(stage.SEAT, stage.request())).claims[0]
    )

    async with at_work(redis_backend, lease=0.5):
        await eventually(lambda: server.calls, timeout=10)

    assert "AbandonedJobError" in json.loads(server.calls[0][3])["exc_info"]


@pytest.mark.parametrize(
    "given",
    [
        {"url": "ftp://x/", "job_status": "failed"},
        {"url": "http://", "job_status": "failed"},
        {"url": 5, "job_status": "failed"},
        {"url": "http://x/", "job_status": "stopped"},
        {"url": "http://x/", "job_status": "failed", "method": "PUT"},
        {"url": "http://x/", "job_status": "failed", "timeout": 0},
        {"url": "http://x/", "job_status": "failed", "timeout": "soon"},
        {"url": "http://x/", "job_status": "failed", "headers": "a: b"},
        {"url": "http://x/", "job_status": "failed", "headers": {"a": object()}},
        {"url": "http://x/", "job_status": "failed", "headers": {"a": None}},
        {"url": "http://x/", "job_status": "failed", "headers": {1: "a"}},
    ],
)
def test_webhook_that_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    """When it is made."""
    with pytest.raises(InvalidOption, match="Webhook"):
        Webhook(**given)
