"""The application under hypercorn with two processes, each with a worker inside, on a real Redis."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest

from aiorq2 import Job, connect
from tests.support.processes import PythonProcess

pytestmark = pytest.mark.slow

REQUESTS = 200


async def _enqueue_all(url: str) -> list[str]:
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=50)) as client:
        answers = await asyncio.gather(*(client.get(f"{url}/enqueue") for _ in range(REQUESTS)))
    assert {answer.status_code for answer in answers} == {200}
    return [answer.json()["id"] for answer in answers]


async def test_nothing_is_lost_at_the_end(redis_url: str, key_prefix: str) -> None:
    """Hundreds of requests enqueue, SIGTERM comes at once: every job has run or waits, and none is held by the dead."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    env = {"RQ_REDIS_URL": redis_url, "RQ_KEY_PREFIX": key_prefix, "EMBEDDED": "1"}
    arguments = ["-m", "hypercorn", "-w", "2", "--bind", place, "tests.quart.jobs:create_app()"]
    with PythonProcess(arguments, env=env) as server:
        async with asyncio.timeout(60):
            while server.output().count("Running on") < 2:
                assert server.is_running, server.output()
                await asyncio.sleep(0.1)

        ids = await _enqueue_all(f"http://{place}")
        server.terminate()
        status = await asyncio.to_thread(server.wait, 60)
        said = server.output()

    backend = connect(redis_url, key_prefix=key_prefix)
    found = await Job.fetch_many(ids, backend)
    ended = {job.status for job in found if job is not None}
    assert len(set(ids)) == len([job for job in found if job is not None]) == REQUESTS
    assert ended <= {"finished", "queued"}, ended
    assert "finished" in ended
    assert status == 0, said
    assert "Traceback" not in said, said
    assert "ERROR" not in said, said
    assert said.count("the app has ended") == 2, said
    for job in found:
        assert job is not None
        await job.delete()
    await backend.close()
