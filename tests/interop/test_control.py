"""What one side is told about a job, the other's worker heeds: cancel, requeue, delete, suspend. (Running jobs: test_running.py)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiorq2 import InvalidJobOperation, NoSuchJobError
from tests.interop import functions
from tests.interop.peer import RqError
from tests.interop.sides import Direction, Ours, Side, Theirs


@pytest.fixture
def sides(ours: Ours, theirs: Theirs) -> list[Side]:
    """Both."""
    return [ours, theirs]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the runs are noted."""
    return str(tmp_path / "runs")


async def test_cancelled_job_is_run_by_neither(
    across: Direction, sides: list[Side], theirs: Theirs, ours: Ours, path: str
) -> None:
    """A job that the other side cancels leaves the queue for good."""
    id = await across.producer.enqueue("count_runs", path)

    await across.worker.cancel(id)

    for side in sides:
        assert await side.ids("queued") == []
        assert await side.ids("canceled") == [id]
        assert await side.status(id) == "canceled"
        assert not await side.work()
    assert functions.lines(path) == []


async def test_cancelling_twice_is_refused_by_both(across: Direction) -> None:
    """Who comes second is told so."""
    id = await across.producer.enqueue("add", 1)
    await across.worker.cancel(id)

    with pytest.raises((RqError, InvalidJobOperation), match=r"InvalidJobOperation|cannot cancel"):
        await across.producer.cancel(id)


@pytest.mark.parametrize("runs_first", ["ours", "theirs"])
@pytest.mark.parametrize("runs_again", ["ours", "theirs"])
async def test_requeued_job_is_run_again_by_either(
    across: Direction, sides: list[Side], path: str, runs_first: str, runs_again: str
) -> None:
    """A job that failed here is requeued there, and run again by whoever comes; what it fails with no longer stands."""
    by = {"ours": sides[0], "theirs": sides[1]}
    id = await across.producer.enqueue("fail_times", path, 1)
    await by[runs_first].work()
    assert await across.worker.ids("failed") == [id]

    await across.worker.requeue(id)

    for side in sides:
        assert (await side.ids("queued"), await side.ids("failed")) == ([id], [])
        assert await side.status(id) == "queued"
    await by[runs_again].work()
    for side in sides:
        facts = await side.facts(id)
        assert (facts.status, facts.return_value, facts.exc_string) == ("finished", 2, None)
        assert await side.ids("finished") == [id]


async def test_requeued_job_is_kept_while_it_waits(
    across: Direction, ours: Ours, theirs: Theirs, path: str, redis_client: Any
) -> None:
    """rq leaves the time to live of the failure on a job that it requeues; once it is started there is none."""
    id = await across.producer.enqueue("fail_times", path, 1, failure_ttl=100, result_ttl=-1)
    await across.worker.work()

    await across.producer.requeue(id)
    await across.worker.work()

    assert await theirs.status(id) == await ours.status(id) == "finished"
    assert redis_client.ttl(f"rq:job:{id}") == -1


async def test_requeue_of_what_has_not_failed_is_refused_by_both(across: Direction) -> None:
    """A job that waits is not put into its queue twice."""
    id = await across.producer.enqueue("add", 1)

    with pytest.raises((RqError, InvalidJobOperation), match=r"InvalidJobOperation|cannot requeue"):
        await across.worker.requeue(id)
    assert await across.producer.ids("queued") == [id]


@pytest.mark.parametrize("state", ["queued", "finished", "failed", "scheduled", "deferred"])
async def test_deleted_job_is_gone_for_both(
    across: Direction, ours: Ours, theirs: Theirs, redis_client: Any, state: str
) -> None:
    """Whoever deletes a job, nothing of it stays, whatever it was about; but that rq forgot the results until 3.0, which end."""
    options: dict[str, Any] = {}
    if state == "scheduled":
        options["delay"] = 3600
    if state == "deferred":
        options["depends_on"] = [await across.producer.enqueue("add", 1, queue="parents")]
    id = await across.producer.enqueue("fail" if state == "failed" else "add", 1, **options)
    if state in ("finished", "failed"):
        await across.producer.work()
    assert await theirs.ids(state) == [id]

    await across.worker.delete(id)

    assert await theirs.ids(state) == await ours.ids(state) == []
    left = redis_client.keys(f"rq:*{id}*")
    if across.worker is ours or theirs.peer.version == "3.0":
        assert left == []
    assert [key for key in left if redis_client.ttl(key) == -1] == []
    with pytest.raises(NoSuchJobError):
        await ours.status(id)


async def test_suspended_workers_of_both_start_nothing(
    across: Direction, sides: list[Side], ours: Ours, theirs: Theirs
) -> None:
    """Who suspends here suspends there; who resumes there resumes here."""
    id = await across.producer.enqueue("add", 1)

    await across.producer.suspend()

    for side in sides:
        assert await side.is_suspended()
        assert not await side.work()
    assert await theirs.status(id) == "queued"
    await across.worker.resume()
    for side in sides:
        assert not await side.is_suspended()
    assert await across.worker.work()
    assert await theirs.status(id) == await ours.status(id) == "finished"
