"""Jobs that run in our worker, as rq's commands and readers find them. (In rq's worker: test_running_there.py)"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.flow.at_work import at_work
from tests.interop import functions
from tests.interop.sides import Ours, Theirs
from tests.support.eventually import eventually

STOPPED_TEXT = "Job stopped by user, work-horse terminated."
KINDS = {"coroutine": "hold_async", "thread": "hold"}


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the runs are noted."""
    return str(tmp_path / "runs")


@pytest.fixture
async def worker(ours: Ours) -> AsyncIterator[str]:
    """The name of a worker of ours at work."""
    async with at_work(ours.backend, lease=4, name="ours") as worker:
        yield worker.name


async def running(ours: Ours, theirs: Theirs, func: str, path: str, **options: Any) -> str:
    """Enqueue a job with rq and wait until our worker runs it."""
    id = await theirs.enqueue(func, path, **options)
    await eventually(lambda: len(functions.lines(path)) == 1)
    assert await theirs.status(id) == await ours.status(id) == "started"
    return id


@pytest.mark.parametrize("kind", KINDS)
async def test_running_job_is_stopped_by_rq(
    ours: Ours, theirs: Theirs, worker: str, path: str, kind: str
) -> None:
    """``send_stop_job_command`` of rq ends a run of ours: stopped, among the failed, with rq's words; the worker goes on."""
    id = await running(ours, theirs, KINDS[kind], path, on_stopped="on_stopped")

    await theirs.stop(id)

    await eventually(lambda: has_status(theirs, id, "stopped"))
    facts = await theirs.facts(id)
    assert facts.exc_string is not None
    assert facts.exc_string.startswith(STOPPED_TEXT)
    assert (await ours.facts(id)).exc_string == facts.exc_string
    assert await theirs.ids("failed") == await ours.ids("failed") == [id]
    assert await theirs.ids("started") == await ours.ids("started") == []
    await theirs.requeue(id)
    Path(f"{path}.open").touch()
    await eventually(lambda: has_status(theirs, id, "finished"))
    assert (await ours.facts(id)).return_value == "held"


@pytest.mark.parametrize("kind", KINDS)
async def test_running_job_is_cancelled_by_rq(
    ours: Ours, theirs: Theirs, worker: str, path: str, kind: str
) -> None:
    """``job.cancel()`` of rq takes the lease away: the run is ended at the next heartbeat, and the job stays canceled."""
    id = await running(ours, theirs, KINDS[kind], path)

    await theirs.cancel(id)

    other = await theirs.enqueue("add", 1)
    await eventually(lambda: has_status(theirs, other, "finished"))
    await eventually(lambda: is_idle(ours))
    for side in (ours, theirs):
        assert await side.status(id) == "canceled"
        assert await side.ids("canceled") == [id]
        assert await side.ids("started") == []
    assert functions.lines(path)[1:] == []


async def test_running_job_is_deleted_by_rq(
    ours: Ours, theirs: Theirs, worker: str, path: str, redis_client: Any
) -> None:
    """Nothing of it comes back when its run ends."""
    id = await running(ours, theirs, "hold_async", path)

    await theirs.delete(id)

    await eventually(lambda: is_idle(ours))
    left = redis_client.keys(f"rq:*{id}*")
    assert [key for key in left if redis_client.ttl(key) == -1] == []
    assert await theirs.ids("started") == await ours.ids("started") == []


async def test_running_job_is_saved_by_rq(ours: Ours, theirs: Theirs, path: str) -> None:
    """``job.save()`` from a handle that is older than the run writes the old status; whoever holds the lease ends the run."""
    await theirs.suspend()
    async with at_work(ours.backend, name="ours"):
        id = await theirs.enqueue("hold_async", path, retry={"max": 1})
        await theirs.peer("hold", id=id)
        await theirs.resume()
        await eventually(lambda: len(functions.lines(path)) == 1)

        await theirs.peer("save_held", id=id)
        assert await ours.status(id) == "queued"
        Path(f"{path}.open").touch()

        await eventually(lambda: has_status(theirs, id, "finished"))
    facts = await theirs.facts(id)
    assert (facts.return_value, facts.meta) == ("held", {"saved": True})
    assert await theirs.ids("queued") == await theirs.ids("started") == []
    assert functions.lines(path)[1:] == ["ended"]


@pytest.mark.since("2.6")
async def test_running_execution_is_known_to_rq(
    ours: Ours, theirs: Theirs, worker: str, path: str
) -> None:
    """rq finds the run of a job, and its worker; with 3.0 it may stop that run alone."""
    id = await running(ours, theirs, "hold_async", path)

    (execution,) = await theirs.peer("executions", id=id)
    assert [one.id for one in await (await ours.job(id)).get_executions()] == [execution]
    assert await theirs.ids("started") == await ours.ids("started") == [id]
    if theirs.peer.version == "3.0":
        await theirs.peer("stop_execution", id=id, execution=execution)
        await eventually(lambda: has_status(theirs, id, "stopped"))
    Path(f"{path}.open").touch()
    await eventually(lambda: is_idle(ours))


async def test_running_worker_kills_its_horses_for_rq(
    ours: Ours, theirs: Theirs, worker: str, tmp_path: Path
) -> None:
    """``send_kill_horse_command`` ends all that our worker runs."""
    ids = [
        await running(ours, theirs, func, str(tmp_path / func)) for func in ("hold", "hold_async")
    ]

    await theirs.kill_horse(worker)

    for id in ids:
        await eventually(lambda id=id: has_status(theirs, id, "stopped"))  # type: ignore[misc]


async def test_running_worker_is_shut_down_by_rq(ours: Ours, theirs: Theirs, path: str) -> None:
    """``send_shutdown_command`` lets what runs end, and takes nothing more."""
    async with at_work(ours.backend, name="ours", grace=20):
        id = await running(ours, theirs, "hold_async", path)
        await theirs.shutdown("ours")
        waiting = await theirs.enqueue("add", 1)
        Path(f"{path}.open").touch()

        await eventually(lambda: has_status(theirs, id, "finished"))
        await eventually(lambda: is_gone(theirs, "ours"))
    assert await theirs.status(waiting) == "queued"


async def test_running_worker_is_listed_by_rq(
    ours: Ours, theirs: Theirs, worker: str, path: str
) -> None:
    """Name, state, queues, process and counters of our worker, as rq's reader has them."""
    id = await theirs.enqueue("add", 1)
    await eventually(lambda: has_status(theirs, id, "finished"))
    await theirs.enqueue("fail")
    await running(ours, theirs, "hold_async", path)

    async def counted() -> Any:
        (seen,) = await theirs.peer("workers")
        return (
            seen if (seen["successes"], seen["failures"], seen["state"]) == (1, 1, "busy") else None
        )

    seen = await eventually(counted, timeout=10)
    (record,) = [one for one in await ours.workers() if one.name == worker]
    assert seen["name"] == worker
    assert (seen["queues"], record.queues) == (["q"], ("q",))
    assert (seen["pid"], seen["hostname"]) == (record.pid, record.hostname)
    assert seen["birth"] <= seen["last_heartbeat"]
    assert seen["version"] == record.version
    Path(f"{path}.open").touch()
    await eventually(lambda: is_idle(ours))


async def has_status(theirs: Theirs, id: str, status: str) -> bool:
    """Return whether a job has a status."""
    return await theirs.status(id) == status


async def is_idle(ours: Ours) -> bool:
    """Return whether our workers run nothing."""
    return all(not one.executions and one.state == "idle" for one in await ours.workers())


async def is_gone(theirs: Theirs, name: str) -> bool:
    """Return whether a worker is not listed any more."""
    return name not in [one["name"] for one in await theirs.peer("workers")]
