"""What anybody does first: a worker in one terminal, a script in another, ``info`` in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiorq2 import Queue
from aiorq2.backends.redis import RedisBackend
from tests.support import jobs
from tests.support.processes import PythonProcess, WorkerProcess

pytestmark = pytest.mark.slow

SCRIPT = """
import asyncio
import sys

from aiorq2 import Queue, connect
from tests.support import jobs


async def main(url: str) -> None:
    backend = connect(url)
    high, low = Queue("high", backend), Queue("low", backend)
    enqueued = []
    for number in range(10):
        for queue in (high, low):
            enqueued.append((2 * number, await queue.enqueue(jobs.add, number, number)))
            enqueued.append((3 * number, await queue.enqueue(jobs.add_sync, number, 2 * number)))
    for expected, job in enqueued:
        assert await job.wait(timeout=20) == expected, job
    await backend.close()
    print(f"{len(enqueued)} results, all right")


asyncio.run(main(sys.argv[1]))
"""


async def test_two_terminals(redis_url: str, key_prefix: str, tmp_path: Path) -> None:
    """A script enqueues coroutine and plain functions into two queues and gets every result; ``info`` shows who is at work."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {"RQ_KEY_PREFIX": key_prefix}
    with WorkerProcess(["high", "low", "--url", redis_url], name="first", env=env) as worker:
        await _said(worker, "listening on high, low")

        with PythonProcess([str(script), redis_url], env=env) as other:
            status = await asyncio.to_thread(other.wait, 30)
            lines = other.output().splitlines()
            said = [line for line in lines if "not subscribed yet" not in line]  # a slow Redis
            assert (status, said) == (0, ["40 results, all right"])
        told = await _info(redis_url, env)

        worker.terminate()
        assert await asyncio.to_thread(worker.wait) == 0
    assert "first" in told
    assert "high" in told
    assert "low" in told
    assert "first" not in await _info(redis_url, env)


async def test_two_terminals_keep_the_order_of_queues(
    redis_backend: RedisBackend, redis_url: str, tmp_path: Path
) -> None:
    """``aiorq2 worker high low`` empties the first queue first."""
    ledger = str(tmp_path / "ledger")
    for name in ("low", "high"):
        queue = Queue(name, redis_backend)
        for number in range(5):
            await queue.enqueue(jobs.append_to_file, ledger, f"{name} {number}")

    env = {"RQ_KEY_PREFIX": redis_backend.key_prefix}
    options = ["high", "low", "--url", redis_url, "--concurrency", "1", "--burst"]
    with WorkerProcess(options, env=env) as worker:
        assert await asyncio.to_thread(worker.wait, 30) == 0

    expected = [f"{name} {number}" for name in ("high", "low") for number in range(5)]
    assert Path(ledger).read_text().splitlines() == expected


async def _info(redis_url: str, env: dict[str, str]) -> str:
    with PythonProcess(["-m", "aiorq2", "info", "--url", redis_url], env=env) as info:
        status = await asyncio.to_thread(info.wait, 30)
        assert status == 0, info.output()
        return info.output()


async def _said(process: PythonProcess, text: str) -> None:
    await asyncio.to_thread(process.wait_for_output, text, 30)
