"""Functions that are called when a job has ended: named by one library, called by the other's worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.flow.at_work import at_work
from tests.interop import functions
from tests.interop.sides import Direction, Ours, Theirs
from tests.support.eventually import eventually


def told(client: Any, id: str) -> list[str]:
    """Return what the callbacks of a job have written through the connection that they were given."""
    return [one.decode() for one in client.lrange(f"told:{id}", 0, -1)]


@pytest.mark.parametrize("serializer", ["json", "pickle"])
async def test_success_callback(
    across: Direction, ours: Ours, theirs: Theirs, redis_client: Any, serializer: str
) -> None:
    """It gets the job, a blocking connection and the result, as RQ's contract says."""
    id = await across.producer.enqueue(
        "add", 1, 2, on_success="on_success", on_failure="on_failure", serializer=serializer
    )

    await across.worker.work(serializer=serializer)

    assert told(redis_client, id) == ["success q [1, 2] 3"]
    assert await theirs.status(id) == await ours.status(id) == "finished"


async def test_failure_callback(
    across: Direction, ours: Ours, theirs: Theirs, redis_client: Any
) -> None:
    """It gets class, exception and traceback."""
    id = await across.producer.enqueue(
        "fail", "boom", on_success="on_success", on_failure="on_failure"
    )

    await across.worker.work()

    assert told(redis_client, id) == ["failure q ['boom'] ValueError boom True"]
    assert await theirs.status(id) == await ours.status(id) == "failed"


async def test_failure_callback_of_each_attempt(
    across: Direction, redis_client: Any, tmp_path: Path
) -> None:
    """It is called for each attempt that fails, on either side."""
    id = await across.producer.enqueue(
        "fail_times", str(tmp_path / "runs"), 2, retry={"max": 2}, on_failure="on_failure"
    )

    await across.worker.work()

    assert [one.partition("] ")[2] for one in told(redis_client, id)] == [
        "ValueError run 1 True",
        "ValueError run 2 True",
    ]


async def test_success_callback_that_raises(
    across: Direction, ours: Ours, theirs: Theirs, redis_client: Any
) -> None:
    """The job has failed then, with the callback's exception, on either side."""
    id = await across.producer.enqueue("add", 1, on_success="refuse", on_failure="on_failure")

    await across.worker.work()

    facts = await theirs.facts(id)
    assert facts.status == await ours.status(id) == "failed"
    assert "1 is not good enough" in str(facts.exc_string)
    assert told(redis_client, id) == ["failure q [1] RuntimeError 1 is not good enough True"]


@pytest.mark.parametrize("func", ["hold", "hold_async"])
async def test_stopped_callback(
    ours: Ours, theirs: Theirs, redis_client: Any, tmp_path: Path, func: str
) -> None:
    """It is called when rq stops a job in our worker. (The other way round: test_running_there.py)"""
    path = str(tmp_path / "runs")
    async with at_work(ours.backend):
        id = await theirs.enqueue(func, path, on_stopped="on_stopped")
        await eventually(lambda: functions.lines(path))
        await theirs.stop(id)
        await eventually(lambda: told(redis_client, id))

    assert told(redis_client, id) == [f"stopped q ['{path}']"]


@pytest.mark.since("3.0")
@pytest.mark.parametrize("worker", ["aiorq2", "rq"])
async def test_callback_that_is_a_coroutine_function(
    ours: Ours, theirs: Theirs, redis_client: Any, worker: str
) -> None:
    """It is ours alone: called with an asynchronous client here, and in rq's workers a failure of the job."""
    id = await ours.enqueue("add", 1, 2, on_success="on_success_async")

    await (ours if worker == "aiorq2" else theirs).work()

    assert await theirs.status(id) == ("finished" if worker == "aiorq2" else "failed")
    assert told(redis_client, id) == (["success 3"] if worker == "aiorq2" else [])
