"""Jobs that run in an rq worker, which is a process of its own, as our commands and readers find them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiorq2 import JobCancelled
from tests.interop import functions
from tests.interop.peer import Peer, RqProcess
from tests.interop.sides import Ours, Theirs
from tests.support.eventually import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the runs are noted."""
    return str(tmp_path / "runs")


@pytest.fixture
async def there(peer: Peer, redis_url: str, ours: Ours) -> AsyncIterator[RqProcess]:
    """An rq worker at work, named ``there``."""
    with RqProcess(peer.python, redis_url, "worker", "--name", "there", "q") as process:
        await eventually(lambda: is_listed(ours, "there"), timeout=20)
        yield process


async def is_listed(ours: Ours, name: str) -> bool:
    """Return whether a worker is listed."""
    return name in [one.name for one in await ours.workers()]


async def has_status(ours: Ours, id: str, status: str) -> bool:
    """Return whether a job has a status."""
    return await ours.status(id) == status


async def running(ours: Ours, path: str) -> str:
    """Enqueue a job of ours and wait until rq's worker runs it."""
    begun = len(functions.lines(path))
    id = await ours.enqueue("hold", path, on_stopped="on_stopped")
    await eventually(
        lambda: len(functions.lines(path)) > begun, timeout=45
    )  # rq may look only every 30 s whether its horse is gone
    assert await ours.status(id) == "started"
    return id


async def test_job_there_is_stopped_and_cancelled_by_us(
    ours: Ours, theirs: Theirs, there: RqProcess, path: str, redis_client: Any
) -> None:
    """``send_stop_job_command`` and ``cancel()`` of ours end a run in rq's worker, which goes on. What is requeued afterwards, by
    whichever library, runs again in ours: it was the run that was cancelled, not the job for ever."""
    stopped, cancelled = await running(ours, path), ""
    await ours.stop(stopped)
    await eventually(lambda: has_status(ours, stopped, "stopped"))

    cancelled = await running(ours, path)
    job = await ours.job(cancelled)
    await job.cancel()
    await eventually(lambda: has_status(ours, cancelled, "stopped"))

    with pytest.raises(JobCancelled):
        await job.wait(5)
    assert set(await theirs.ids("failed")) == set(await ours.ids("failed")) == {stopped, cancelled}
    assert (await ours.facts(stopped)).exc_string == (await theirs.facts(stopped)).exc_string
    for id in (stopped, cancelled):
        assert redis_client.lrange(f"told:{id}", 0, -1) == [f"stopped q ['{path}']".encode()]
    there.terminate()
    there.wait(20)
    await theirs.requeue(stopped)
    await theirs.requeue(cancelled)
    Path(f"{path}.open").touch()
    await ours.work()
    for id in (stopped, cancelled):
        assert (await theirs.facts(id)).return_value == "held"


async def test_worker_there_is_seen_and_shut_down_by_us(
    ours: Ours, theirs: Theirs, there: RqProcess, path: str
) -> None:
    """Its name, state, queues and job are listed; kill-horse ends the run, shutdown the worker."""
    id = await running(ours, path)
    (record,) = await ours.workers()
    assert (record.name, record.state, record.queues) == ("there", "busy", ("q",))
    assert record.job_ids == (id,)
    assert record.pid == there.pid
    assert record.version.startswith(theirs.peer.version)
    assert await ours.ids("started") == [id]

    await ours.kill_horse("there")
    await eventually(lambda: has_status(ours, id, "failed"))
    assert "terminated unexpectedly" in str((await ours.facts(id)).exc_string)

    await ours.shutdown("there")
    assert there.wait(20) == 0
    assert not await is_listed(ours, "there")


async def test_worker_there_is_suspended_by_us(
    ours: Ours, theirs: Theirs, there: RqProcess, path: str
) -> None:
    """It starts at most the one job that it was waiting for when we suspended it, as RQ's do; none after that, until we resume."""
    await ours.suspend()
    first = await ours.enqueue("add", 1)
    await eventually(lambda: is_suspended_there(ours), timeout=20)
    second = await ours.enqueue("add", 2)

    with pytest.raises(AssertionError):
        await eventually(lambda: has_status(ours, second, "finished"), timeout=1.5)
    await ours.resume()
    for id in (first, second):
        await eventually(lambda id=id: has_status(ours, id, "finished"), timeout=10)  # type: ignore[misc]


async def is_suspended_there(ours: Ours) -> bool:
    """Return whether the rq worker says so of itself."""
    return [one.state for one in await ours.workers()] == ["suspended"]


@pytest.fixture(autouse=True)
def _gate(path: str) -> Iterator[None]:
    """Let jobs go on that still wait."""
    yield
    Path(f"{path}.open").touch()
