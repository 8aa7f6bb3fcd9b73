"""What anybody does first: a worker in one terminal, a script in another, ``info`` in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiorq2 import Queue
from tests.support.processes import PythonProcess
from tests.system import functions
from tests.system.site import Site

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


async def test_two_terminals(site: Site, tmp_path: Path) -> None:
    """A script enqueues coroutine and plain functions into two queues and gets every result; ``info`` shows who is at work."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with PythonProcess(
        ["-m", "aiorq2", "worker", "high", "low", "--url", site.server.url, "--name", "first"]
    ) as worker:
        await _said(worker, "listening on high, low")

        with PythonProcess([str(script), site.server.url]) as other:
            status = await asyncio.to_thread(other.wait, 30)
            assert (status, other.output()) == (0, "40 results, all right\n")
        told = await _info(site)

        worker.terminate()
        assert await asyncio.to_thread(worker.wait) == 0
    assert "first" in told
    assert "high" in told
    assert "low" in told
    assert "first" not in await _info(site)


async def test_two_terminals_keep_the_order_of_queues(site: Site) -> None:
    """``aiorq2 worker high low`` empties the first queue first."""
    low, high = Queue("low", site.backend), Queue("high", site.backend)
    later = [await low.enqueue(functions.work, site.ledger, 1) for _ in range(5)]
    sooner = [await high.enqueue(functions.work, site.ledger, 1) for _ in range(5)]

    worker = site.start_worker("--concurrency", "1", "--burst", queues=["high", "low"])

    assert await asyncio.to_thread(worker.wait, 30) == 0
    assert [run.job_id for run in site.runs()] == [job.id for job in sooner + later]


async def _info(site: Site) -> str:
    with PythonProcess(["-m", "aiorq2", "info", "--url", site.server.url]) as info:
        status = await asyncio.to_thread(info.wait, 30)
        assert status == 0, info.output()
        return info.output()


async def _said(process: PythonProcess, text: str) -> None:
    await asyncio.to_thread(process.wait_for_output, text, 30)
