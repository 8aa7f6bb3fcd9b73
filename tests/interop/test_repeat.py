"""Jobs that repeat, run by one library, by the other, and by both in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiorq2 import Job
from tests.interop import functions
from tests.interop.sides import Direction, Ours, Side, Theirs

pytestmark = pytest.mark.since("2.6")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the runs are noted."""
    return str(tmp_path / "runs")


async def test_repeat_at_once(across: Direction, ours: Ours, theirs: Theirs, path: str) -> None:
    """``Repeat(2)`` runs a job three times; each run leaves its result, the last one counts."""
    id = await across.producer.enqueue("count_runs", path, repeat={"times": 2})

    await across.worker.work()

    for side in (ours, theirs):
        facts = await side.facts(id)
        assert (facts.status, facts.return_value) == ("finished", 3)
        assert facts.result_types == [1, 1, 1]
    assert functions.lines(path) == ["run"] * 3


async def test_repeat_after_intervals(
    across: Direction, ours: Ours, theirs: Theirs, path: str, redis_client: Any
) -> None:
    """Either side's scheduler moves it when its time comes; the intervals are used in order."""
    id = await across.producer.enqueue(
        "count_runs", path, repeat={"times": 3, "interval": [10, 20]}
    )

    is_old = theirs.peer.version == "2.6" and across.worker is theirs  # it counts from the end
    movers: list[Side] = [ours, theirs, ours]
    for wanted, mover in zip([20, 20, 10] if is_old else [10, 20, 20], movers, strict=True):
        await across.worker.work(max_jobs=1)
        assert await theirs.ids("scheduled") == await ours.ids("scheduled") == [id]
        assert await theirs.status(id) == ("finished" if is_old else "scheduled")
        due = redis_client.zscore("rq:scheduled:q", id)
        assert abs(due - redis_client.time()[0] - wanted) < 5
        redis_client.zadd("rq:scheduled:q", {id: 1})
        await mover.schedule()

    await across.worker.work()
    assert (await theirs.facts(id)).return_value == (await ours.facts(id)).return_value == 4


@pytest.mark.parametrize("last", ["ours", "theirs"])
async def test_repeat_by_both_in_turn(ours: Ours, theirs: Theirs, path: str, last: str) -> None:
    """The last result is the result, whoever ran the job before; rq leaves that of an earlier run in the hash."""
    id = await ours.enqueue("count_runs", path, repeat={"times": 3})

    sides: list[Side] = [ours, theirs, ours, theirs]
    for side in sides if last == "theirs" else sides[::-1]:
        await side.work(max_jobs=1)

    for side in (ours, theirs):
        facts = await side.facts(id)
        assert (facts.status, facts.return_value) == ("finished", 4)
    (job,) = await Job.fetch_many([id], ours.backend)
    assert job is not None
    assert job.result == 4


async def test_repeat_ends_with_a_failure(across: Direction, theirs: Theirs, ours: Ours) -> None:
    """A run that fails is the last one."""
    id = await across.producer.enqueue("fail", repeat={"times": 3})

    await across.worker.work()

    assert await theirs.status(id) == await ours.status(id) == "failed"
    assert await theirs.ids("queued") == []
