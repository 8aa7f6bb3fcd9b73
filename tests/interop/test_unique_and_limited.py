"""Unique jobs, rate limits and groups: what must hold between both libraries. rq 3.0, for the most part."""

from __future__ import annotations

from typing import Any

import pytest

from aiorq2 import DuplicateJobError, Group
from tests.interop.peer import RqError
from tests.interop.sides import Direction, Ours, Side, Theirs


@pytest.fixture
def sides(ours: Ours, theirs: Theirs) -> list[Side]:
    """Both."""
    return [ours, theirs]


LIMIT = {"key": "mail", "concurrency": 2}


@pytest.mark.since("3.0")
@pytest.mark.parametrize("state", ["queued", "finished", "failed", "scheduled"])
async def test_unique_job_is_unique_for_both(
    across: Direction, ours: Ours, theirs: Theirs, state: str
) -> None:
    """While a job exists, in whatever state, the other side is refused one of its id; the first is left as it is."""
    options: dict[str, Any] = {"delay": 3600} if state == "scheduled" else {}
    func = "fail" if state == "failed" else "add"
    id = await across.producer.enqueue(func, 1, job_id="only", unique=True, **options)
    if state in ("finished", "failed"):
        await across.producer.work()
    before = await theirs.facts(id)

    with pytest.raises((RqError, DuplicateJobError), match=r"DuplicateJobError|exists"):
        await across.worker.enqueue("add", 2, job_id="only", unique=True)

    assert await theirs.facts(id) == before
    assert before.status == state
    await across.producer.delete(id)
    assert await across.worker.enqueue("add", 2, job_id="only", unique=True) == id


async def test_job_id_that_is_used_again(across: Direction, ours: Ours, theirs: Theirs) -> None:
    """Without ``unique`` a job that has ended gives way to one of the same id, on either side."""
    id = await across.producer.enqueue("add", 1, job_id="again")
    await across.producer.work()

    assert await across.worker.enqueue("add", 2, job_id="again") == id

    assert await theirs.status(id) == await ours.status(id) == "queued"
    await across.producer.work()
    for side in (ours, theirs):
        assert (await side.facts(id)).return_value == 2


@pytest.mark.since("3.0")
async def test_rate_limit_holds_for_both(
    across: Direction, sides: list[Side], ours: Ours, theirs: Theirs, redis_client: Any
) -> None:
    """Two places of a key are two, whoever enqueues; the third job waits in line, and is let in by whoever runs the first. (Those
    that came in the same second rq lets in by their names.)"""
    ids = [
        await side.enqueue("add", number, rate_limit=LIMIT, job_id=f"job-{number}")
        for number, side in enumerate([across.producer] * 2 + [across.worker] * 2)
    ]
    for side in sides:
        assert [await side.status(id) for id in ids] == ["queued"] * 2 + ["rate_limited"] * 2
        assert await side.ids("queued") == ids[:2]

    for number, side in enumerate([across.worker, across.producer]):
        await side.work(max_jobs=1)
        assert await theirs.ids("queued") == ids[number + 1 : number + 3]

    await across.worker.work()
    for side in sides:
        assert [await side.status(id) for id in ids] == ["finished"] * 4
    await ours.sweep()  # what rq leaves to its upkeep
    assert redis_client.keys("rq:rl*") == []


@pytest.mark.since("3.0")
@pytest.mark.parametrize("how", ["cancel", "delete", "fail"])
async def test_rate_limit_is_freed_by_the_other_side(
    across: Direction, sides: list[Side], how: str
) -> None:
    """A job that is cancelled, deleted or fails leaves its place, and the next in line gets it, whoever did that."""
    first = await across.producer.enqueue("fail", rate_limit={"key": "k", "concurrency": 1})
    second = await across.producer.enqueue("add", 1, rate_limit={"key": "k", "concurrency": 1})

    match how:
        case "cancel":
            await across.worker.cancel(first)
        case "delete":
            await across.worker.delete(first)
        case _:
            await across.worker.work(max_jobs=1)

    for side in sides:
        assert await side.status(second) == "queued"
        assert await side.ids("queued") == [second]


@pytest.mark.since("3.0")
async def test_rate_limit_place_of_the_dead_is_freed_by_both(
    across: Direction, ours: Ours, theirs: Theirs, redis_client: Any
) -> None:
    """A place whose job has vanished is given to the next by the upkeep of the other side."""
    limit = {"key": "k", "concurrency": 1}
    first = await across.producer.enqueue("add", 1, rate_limit=limit)
    second = await across.producer.enqueue("add", 2, rate_limit=limit)
    redis_client.delete(f"rq:job:{first}")

    if across.worker is ours:
        await ours.sweep()
    else:
        await theirs.peer("maintain")

    assert await theirs.status(second) == await ours.status(second) == "queued"


@pytest.mark.since("2.6")
async def test_group_of_either_side_is_read_by_both(
    across: Direction, ours: Ours, theirs: Theirs
) -> None:
    """The jobs of a group are the same, wherever it was made; those that are gone are in neither's list."""
    calls = [[1], [2], [3]]
    if across.producer is ours:
        queue = ours.queue()
        group = Group.create(ours.backend, name="g")
        data = [queue.prepare_data("tests.interop.functions.add", call) for call in calls]
        ids = [job.id for job in await group.enqueue_many(queue, data)]
    else:
        ids = await theirs.peer("enqueue_group", group="g", func="add", calls=calls)

    assert set(await theirs.peer("group", group="g")) == set(ids)
    found = await Group.fetch("g", ours.backend)
    assert {job.id for job in await found.get_jobs()} == set(ids)
    await across.worker.work()
    await across.worker.delete(ids[0])
    assert set(await theirs.peer("group", group="g")) == set(ids[1:])
    assert {job.id for job in await found.get_jobs()} == set(ids[1:])
