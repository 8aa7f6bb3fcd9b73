"""A name belongs to one living worker: who has lost it ends, and who finds it taken learns whether its holder is alive."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from aiorq2 import Queue, Worker, WorkerNameTaken
from aiorq2.backends.base import Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.registering import _pids
from aiorq2.timing import to_iso
from tests.flow.at_work import drain
from tests.support import jobs
from tests.support.eventually import eventually

HOLDER = Seat("w-1", "holder", lease=15)


async def hold(
    backend: RedisBackend, pids: str, pid: int = 1, lease: float = 15, replaces: str = ""
) -> None:
    """Be another worker on a host of this name."""
    heard_at = to_iso(backend.time())
    fields: dict[str, str | int] = {
        "birth": heard_at,
        "last_heartbeat": heard_at,
        "hostname": socket.gethostname(),
        "pid": pid,
        "aio_pids": pids,
        "aio_lease": str(lease),
    }
    assert await backend.register(HOLDER, ["q"], fields, replaces=replaces) is None


@pytest.fixture(params=["own", "gone"])
def pid(request: pytest.FixtureRequest) -> int:
    """The id of this very process, and of one that has ended."""
    if request.param == "own":
        return os.getpid()
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


async def test_worker_whose_name_was_taken_over_ends_with_an_error(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """It was cut off or frozen meanwhile: what runs is cancelled and given back, and nothing more is claimed under that name."""
    queue = Queue("q", backend)
    running = [await queue.enqueue(function, 20) for function in (jobs.slow, jobs.slow_sync)]
    worker = Worker("q", backend, name="w-1", lease=8, handle_signals=False)
    working = asyncio.create_task(worker.work())
    for job in running:
        await eventually(job.is_started)

    await hold(backend, "elsewhere", replaces=worker._seat.instance)

    with pytest.raises(WorkerNameTaken, match=r"'w-1'.*another worker has this name now"):
        async with asyncio.timeout(15):
            await working
    for job in running:
        assert await job.is_queued()
        assert job.attempt == 0
    (instance,) = await backend.run(["HGET", backend.keys.worker("w-1"), "aio_instance"])
    assert instance == HOLDER.instance.encode()
    assert "its 2 jobs are cancelled" in caplog.text
    assert "out of reach" not in caplog.text
    await queue.empty()


async def test_name_of_a_worker_that_died_on_this_host_is_free_at_once(
    backend: RedisBackend, pid: int
) -> None:
    """Whoever restarts it need not wait."""
    await hold(backend, _pids(), pid)

    await drain(backend, name="w-1")


async def test_name_of_a_worker_whose_process_cannot_be_seen_is_taken_for_a_lease(
    backend: RedisBackend, pid: int, caplog: pytest.LogCaptureFixture
) -> None:
    """In another container of this host name the same number is another process. Is it silent for its lease, it is dead: the one
    that is started again in its place waits so long, and is not refused."""
    await hold(backend, "another container's", pid, lease=0.5)

    await drain(backend, name="w-1")

    assert "waiting for its lease, 0.5 s" in caplog.text


async def test_name_of_a_worker_whose_process_cannot_be_seen_but_is_heard_of_is_refused(
    backend: RedisBackend, pid: int
) -> None:
    """Whatever its clock says."""
    await hold(backend, "another container's", pid)

    async def beat() -> None:
        for number in range(1000):
            heard = ["HSET", backend.keys.worker("w-1"), "last_heartbeat", f"beat {number}"]
            await backend.run(heard)
            await asyncio.sleep(0.05)

    beating = asyncio.create_task(beat())
    with pytest.raises(WorkerNameTaken, match="a living worker has this name"):
        async with asyncio.timeout(HOLDER.lease):
            await drain(backend, name="w-1")
    beating.cancel()
