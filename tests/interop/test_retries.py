"""Retries that one library granted, carried out by the other, and by both in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiorq2 import Job, JobFailed
from tests.interop import functions
from tests.interop.sides import Direction, Ours, Side, Theirs


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the runs are noted."""
    return str(tmp_path / "runs")


def make_due(client: Any) -> float:
    """Let the delay of what is scheduled be over; return how long it would have been."""
    ((id, due),) = client.zrange("rq:scheduled:q", 0, -1, withscores=True)
    client.zadd("rq:scheduled:q", {id: 1})
    seconds, _ = client.time()
    return float(due) - float(seconds)


@pytest.mark.parametrize("func", ["fail_times", "fail_times_async"])
async def test_retry_at_once(
    across: Direction, ours: Ours, theirs: Theirs, path: str, func: str
) -> None:
    """``Retry(2)`` runs a job up to three times, wherever it was enqueued."""
    id = await across.producer.enqueue(func, path, 2, retry={"max": 2})

    await across.worker.work()

    for side in (ours, theirs):
        facts = await side.facts(id)
        assert (facts.status, facts.return_value, facts.retries_left) == ("finished", 3, 0)
    assert functions.lines(path) == ["run"] * 3


async def test_retry_that_is_used_up(
    across: Direction, ours: Ours, theirs: Theirs, path: str
) -> None:
    """When no retries are left the job has failed, with the last traceback, for both sides."""
    id = await across.producer.enqueue("fail_times", path, 9, retry={"max": 2})

    await across.worker.work()

    facts = await theirs.facts(id)
    assert (facts.status, facts.retries_left) == ("failed", 0)
    assert "ValueError: run 3" in str(facts.exc_string)
    assert facts.exc_string == (await ours.facts(id)).exc_string
    assert await theirs.ids("failed") == await ours.ids("failed") == [id]
    with pytest.raises(JobFailed, match="run 3"):
        await (await ours.job(id)).wait(10)


async def test_retry_after_intervals(
    across: Direction, ours: Ours, theirs: Theirs, path: str, redis_client: Any
) -> None:
    """``Retry(3, [10, 20, 40])`` waits so many seconds, in that order; either side's scheduler moves the job."""
    id = await across.producer.enqueue(
        "fail_times", path, 3, retry={"max": 3, "interval": [10, 20, 40]}
    )

    movers: list[Side] = [theirs, ours, theirs]
    for number, (wanted, mover) in enumerate(zip([10, 20, 40], movers, strict=True)):
        await across.worker.work(max_jobs=1)
        facts = await theirs.facts(id)
        assert (facts.status, facts.retries_left) == ("scheduled", 2 - number)
        assert facts.status == (await ours.facts(id)).status
        assert await theirs.ids("scheduled") == await ours.ids("scheduled") == [id]
        assert wanted - 5 < make_due(redis_client) <= wanted + 1
        await mover.schedule()
        assert await theirs.ids("queued") == [id]

    await across.worker.work()
    assert (await theirs.facts(id)).return_value == 4
    assert (await ours.facts(id)).return_value == 4


@pytest.mark.parametrize(("max", "interval"), [(3, [20]), (2, [20, 40, 60, 80])])
async def test_retry_intervals_that_do_not_match_their_number(
    across: Direction, redis_client: Any, path: str, max: int, interval: list[int]
) -> None:
    """Too few intervals, or too many: both sides count them as RQ does."""
    await across.producer.enqueue("fail_times", path, 9, retry={"max": max, "interval": interval})
    waits = []

    for _ in range(max):
        await across.worker.work(max_jobs=1)
        waits.append(round(make_due(redis_client)))
        await across.worker.schedule()

    wanted = {3: [20, 20, 20], 2: [60, 80]}[max]
    assert all(abs(wait - want) < 10 for wait, want in zip(waits, wanted, strict=True)), waits


async def test_retry_by_both_in_turn(
    across: Direction, ours: Ours, theirs: Theirs, path: str
) -> None:
    """A job may be tried here the first time and there the next: the retries are counted together."""
    id = await across.producer.enqueue("fail_times", path, 9, retry={"max": 3})

    sides: list[Side] = [ours, theirs, ours, theirs]
    for number, side in enumerate(sides):
        assert await theirs.status(id) == "queued"
        await side.work(max_jobs=1)
        assert functions.lines(path) == ["run"] * (number + 1)

    facts = await theirs.facts(id)
    assert (facts.status, facts.retries_left) == ("failed", 0)
    assert "ValueError: run 4" in str(facts.exc_string)
    assert (await ours.facts(id)).exc_string == facts.exc_string


async def test_retry_leaves_attempts_that_rq_can_read(
    ours: Ours, theirs: Theirs, path: str
) -> None:
    """rq keeps nothing of an attempt that is repeated; what we keep of it is a failure to rq, which every version can read."""
    id = await theirs.enqueue("fail_times", path, 1, retry={"max": 1})

    await ours.work()

    assert (await theirs.facts(id)).result_types == [1, 2]
    assert (await ours.facts(id)).result_types == [1, 4]


@pytest.mark.since("3.0")
@pytest.mark.parametrize("func", ["ask_for_retry", "ask_for_retry_async"])
@pytest.mark.parametrize("offload", [None, "thread", "process"])
async def test_retry_of_rq_that_a_job_returns(
    ours: Ours, theirs: Theirs, path: str, func: str, offload: str | None
) -> None:
    """Code that says ``return rq.Retry(max=2)`` works in our workers as in rq's: in coroutines, threads and processes."""
    how = {} if offload is None else {"offload": offload}
    id = await ours.enqueue(func, path, 2, serializer="pickle", **how)

    await ours.work(serializer="pickle")

    for side in (ours, theirs):
        facts = await side.facts(id, "pickle")
        assert (facts.status, facts.return_value) == ("finished", 3)
        assert facts.result_types == [1, 4, 4]
    assert functions.lines(path) == ["run"] * 3


@pytest.mark.since("2.6")
async def test_retry_of_rq_that_a_job_returns_there(ours: Ours, theirs: Theirs, path: str) -> None:
    """The attempts that rq's worker kept are read by ours; the pickled ``rq.Retry`` in them is left alone."""
    id = await ours.enqueue("ask_for_retry", path, 1, serializer="pickle")

    await theirs.work(serializer="pickle")

    facts = await ours.facts(id, "pickle")
    assert (facts.result_types, facts.return_value) == ([1, 4], 2)
    (job,) = await Job.fetch_many([id], ours.backend, "pickle")
    assert job is not None
    assert job.result == 2


@pytest.mark.since("3.0")
async def test_retry_of_rq_that_waits(
    ours: Ours, theirs: Theirs, path: str, redis_client: Any
) -> None:
    """Its interval holds as well."""
    id = await theirs.enqueue("ask_for_retry", path, 1, 30)

    await ours.work()

    assert await theirs.status(id) == "scheduled"
    assert 25 < make_due(redis_client) <= 31


@pytest.mark.since("3.0")
async def test_retry_of_rq_that_never_ends(ours: Ours, theirs: Theirs) -> None:
    """More retries than it asks for a job does not get; rq's readers find the types that its worker would have written."""
    id = await theirs.enqueue("always_ask_for_retry", 2, "rq")

    await ours.work()

    for side in (ours, theirs):
        facts = await side.facts(id)
        assert (facts.status, facts.result_types) == ("failed", [5, 4, 4])


async def test_retry_of_ours_that_never_ends(ours: Ours, theirs: Theirs) -> None:
    """With ``aiorq2.Retry`` they find failures, which readers of all versions know."""
    id = await theirs.enqueue("always_ask_for_retry", 2, "aiorq2")

    await ours.work()

    facts = await theirs.facts(id)
    assert (facts.status, facts.result_types) == ("failed", [2, 2, 2])
    assert "max is 2" in str(facts.exc_string)
    assert (await ours.facts(id)).result_types == [5, 4, 4]
