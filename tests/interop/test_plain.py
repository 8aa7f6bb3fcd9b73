"""A job that one library enqueues is run by the other's worker, and both read the same of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.sides import Direction, Ours, Theirs

CALLS: dict[str, tuple[list[Any], Any]] = {
    "add": ([1, 2], 3),
    "add_async": ([1, 2], 3),
    "staticmethod": ([21], 42),
    "method": ([5], 15),
    "async method": ([3], 7),
    "classmethod": (["!"], "Account!"),
    "callable object": ([5], 15),
}
PLAIN = ("add", "add_async", "staticmethod")
"""What JSON can carry, in rq as well: no instance and no class."""


@pytest.mark.parametrize("func", CALLS)
async def test_plain_job_with_pickle_runs_on_the_other_side(
    across: Direction, ours: Ours, theirs: Theirs, func: str
) -> None:
    """With pickle, rq's default, every kind of callable crosses the border."""
    args, value = CALLS[func]
    id = await across.producer.enqueue(func, *args, serializer="pickle")

    assert await across.worker.work(serializer="pickle")

    facts = await theirs.facts(id, serializer="pickle")
    assert (facts.status, facts.return_value) == ("finished", value)
    assert facts == await ours.facts(id, serializer="pickle")


@pytest.mark.parametrize("func", PLAIN)
async def test_plain_job_with_json_runs_on_the_other_side(
    across: Direction, ours: Ours, theirs: Theirs, func: str
) -> None:
    """With JSON, functions and static methods do."""
    args, value = CALLS[func]
    id = await across.producer.enqueue(func, *args)

    assert await across.worker.work()

    facts = await theirs.facts(id)
    assert (facts.status, facts.return_value) == ("finished", value)
    assert facts == await ours.facts(id)


async def test_plain_classmethod_of_ours_needs_no_pickle(ours: Ours, theirs: Theirs) -> None:
    """We name a class method through its class, and rq's worker finds it there; rq itself would have to pickle the class."""
    id = await ours.enqueue("classmethod", "!")

    assert await theirs.work()

    assert (await theirs.facts(id)).return_value == "Account!"


@pytest.mark.parametrize("serializer", ["json", "pickle"])
async def test_plain_job_is_described_alike(
    across: Direction, ours: Ours, theirs: Theirs, serializer: str
) -> None:
    """Arguments, meta, description, time limit and queue are the same for both, before the run and after it."""
    id = await across.producer.enqueue(
        "echo",
        "ünïcode 🎈",
        {"a": [1, 2.5, None, True]},
        word="x" * 200,
        serializer=serializer,
        meta={"tenant": "ä", "n": 1},
        description="what it is",
        job_timeout=77,
        queue="other queue",
    )

    before = await theirs.facts(id, serializer)
    assert before == await ours.facts(id, serializer)
    assert (before.status, before.origin, before.timeout) == ("queued", "other queue", 77)
    assert before.meta == {"tenant": "ä", "n": 1}
    assert before.description == "what it is"
    assert before.args == ["ünïcode 🎈", {"a": [1, 2.5, None, True]}]
    assert before.kwargs == {"word": "x" * 200}

    assert await across.worker.work("other queue", serializer=serializer)

    after = await theirs.facts(id, serializer)
    assert after == await ours.facts(id, serializer)
    assert after.return_value == [before.args, before.kwargs]
    assert (after.meta, after.description) == (before.meta, before.description)
    assert after.created_at == before.created_at
    assert after.ended_at
    assert after.started_at
    assert after.ended_at >= after.started_at


@pytest.mark.parametrize("func", ["echo", "staticmethod", "method", "callable object"])
async def test_plain_job_has_the_same_default_description(
    ours: Ours, theirs: Theirs, func: str
) -> None:
    """The description that nobody gave is the same call, cut at the same places."""
    told = []
    for side in (ours, theirs):
        id = await side.enqueue(func, "a" * 100, b=[1] * 50, a=None, serializer="pickle")
        told.append((await side.facts(id, "pickle")).description)

    assert told[0] == told[1]


async def test_plain_jobs_keep_the_order_of_their_queue(
    across: Direction, theirs: Theirs, ours: Ours
) -> None:
    """First come, first served, and ``at_front`` before; across both libraries."""
    ids = [await across.producer.enqueue("add", number) for number in range(3)]
    ids.append(await across.worker.enqueue("add", 3))
    ids.insert(0, await across.producer.enqueue("add", 4, at_front=True))

    assert await theirs.ids("queued") == await ours.ids("queued") == ids


@pytest.mark.parametrize("times", [1, 2])
async def test_plain_meta_that_one_side_saves_the_other_reads(
    ours: Ours, theirs: Theirs, times: int
) -> None:
    """``save_meta`` of either library is read by the other."""
    id = await ours.enqueue("add", 1, meta={"a": 1})

    job = await ours.job(id)
    job.meta["b"] = times
    await job.save_meta()
    await theirs.peer("save_meta", id=id, meta={"c": 3})

    assert (await ours.facts(id)).meta == (await theirs.facts(id)).meta
    assert (await ours.facts(id)).meta == {"a": 1, "b": times, "c": 3}


async def test_plain_batch_of_either_side_is_run_by_the_other(
    across: Direction, ours: Ours, theirs: Theirs
) -> None:
    """``enqueue_many`` is the same queue, too."""
    if across.producer is ours:
        queue = ours.queue()
        data = [queue.prepare_data("tests.interop.functions.add", [n]) for n in range(5)]
        ids = [job.id for job in await queue.enqueue_many(data)]
    else:
        ids = await theirs.peer("enqueue_many", func="add", calls=[[n] for n in range(5)])

    assert await across.worker.work()

    assert [(await theirs.facts(id)).return_value for id in ids] == list(range(5))
    assert [(await ours.facts(id)).return_value for id in ids] == list(range(5))
