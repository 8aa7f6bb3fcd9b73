"""A job that one library enqueues is run by the other's worker, and both read the same of it."""

from __future__ import annotations

import pytest

from tests.interop.sides import Direction, Ours, Theirs

CALLS = {
    "add": ([1, 2], 3),
    "add_async": ([1, 2], 3),
    "method": ([5], 15),
    "async method": ([3], 7),
    "classmethod": (["!"], "Account!"),
    "staticmethod": ([21], 42),
    "callable object": ([5], 15),
}


@pytest.mark.parametrize("func", CALLS)
async def test_plain_pickled_job_runs_on_the_other_side(
    across: Direction, ours: Ours, theirs: Theirs, func: str
) -> None:
    """With pickle, which rq uses unless told otherwise, every kind of callable crosses the border."""
    args, value = CALLS[func]
    id = await across.producer.enqueue(func, *args, serializer="pickle")

    assert await across.worker.work(serializer="pickle")

    facts = await theirs.facts(id, serializer="pickle")
    assert (facts.status, facts.return_value) == ("finished", value)
    assert facts == await ours.facts(id, serializer="pickle")
