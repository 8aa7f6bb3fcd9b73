"""The application under hypercorn with two processes, each with a worker inside, on a real Redis."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from aiorq2 import Job, Queue, connect
from aiorq2.backends.redis import RedisBackend
from tests.quart.serving import free_place
from tests.support.eventually import eventually
from tests.support.processes import PythonProcess

pytestmark = pytest.mark.slow

REQUESTS = 200


async def _get_all(urls: Sequence[str]) -> list[str]:
    """Return the ids of the jobs that were enqueued."""
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=50)) as client:
        answers = await asyncio.gather(*(client.get(url) for url in urls))
    assert {answer.status_code for answer in answers} == {200}
    return [answer.json()["id"] for answer in answers]


@asynccontextmanager
async def _served(env: dict[str, str]) -> AsyncIterator[tuple[str, PythonProcess]]:
    """Serve the application with two processes, a worker in each; afterwards it must have ended in order."""
    place = free_place()
    arguments = ["-m", "hypercorn", "-w", "2", "--bind", place, "--graceful-timeout", "10"]
    arguments.append("tests.quart.jobs:create_app()")
    with PythonProcess(arguments, env={**env, "EMBEDDED": "1"}) as server:
        async with asyncio.timeout(60):
            while server.output().count("Running on") < 2:
                assert server.is_running, server.output()
                await asyncio.sleep(0.1)
        yield f"http://{place}", server
        status = await asyncio.to_thread(server.wait, 60)
        said = server.output()
    assert status == 0, said
    assert "Traceback" not in said, said
    assert "ERROR" not in said, said
    assert said.count("the app has ended") == 2, said


async def _statuses(backend: RedisBackend, ids: Sequence[str]) -> Counter[str]:
    """Return how the jobs have ended, and delete them."""
    found = [job for job in await Job.fetch_many(ids, backend) if job is not None]
    for job in found:
        await job.delete()
    return Counter(str(job.status) for job in found)


async def test_nothing_is_lost_at_the_end(redis_url: str, key_prefix: str) -> None:
    """Hundreds of requests enqueue, SIGTERM comes at once: every job has run or waits, and none is held by the dead."""
    env = {"RQ_REDIS_URL": redis_url, "RQ_KEY_PREFIX": key_prefix}
    async with _served(env) as (url, server):
        ids = await _get_all([f"{url}/enqueue"] * REQUESTS)
        server.terminate()

    backend = connect(redis_url, key_prefix=key_prefix)
    ended = await _statuses(backend, ids)
    assert len(set(ids)) == ended.total() == REQUESTS
    assert ended["finished"]
    assert set(ended) <= {"finished", "queued"}, ended
    await backend.close()


async def test_requests_and_jobs_under_way_are_drained(redis_url: str, key_prefix: str) -> None:
    """SIGTERM finds requests that have not enqueued yet, jobs that run, and jobs that run longer than the server waits."""
    env = {"RQ_REDIS_URL": redis_url, "RQ_KEY_PREFIX": key_prefix, "GRACE": "2"}
    backend = connect(redis_url, key_prefix=key_prefix)
    async with _served(env) as (url, server):
        short = await _get_all([f"{url}/enqueue/0.5/after/0.0"] * 10)
        long = await _get_all([f"{url}/enqueue/30.0/after/0.0"] * 4)
        queue = Queue("default", backend)
        await eventually(lambda: _none_waits(queue), timeout=30)
        late = asyncio.create_task(_get_all([f"{url}/enqueue/0.0/after/2.0"] * 10))
        await eventually(lambda: server.output().count("pauses for 2.0 s") == 10, timeout=30)
        server.terminate()
        late_ids = await late

    assert await _statuses(backend, short) == {"finished": 10}
    assert await _statuses(backend, long) == {"queued": 4}
    ended = await _statuses(backend, late_ids)
    assert ended.total() == 10
    assert set(ended) <= {"finished", "queued"}, ended
    await backend.close()


async def _none_waits(queue: Queue) -> bool:
    return await queue.count() == 0
