"""Jobs that wait for their time, moved by whichever side's scheduler comes first."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.interop.sides import Direction, Ours, Theirs

HOUR_S = 3600


@pytest.mark.parametrize("how", ["at", "delay"])
async def test_scheduled_job_is_seen_alike(
    across: Direction, ours: Ours, theirs: Theirs, redis_client: Any, how: str
) -> None:
    """``enqueue_at`` and ``enqueue_in`` put it into RQ's registry, with its time as the score."""
    when = {"at": time.time() + HOUR_S} if how == "at" else {"delay": HOUR_S}
    id = await across.producer.enqueue("add", 1, 2, **when)

    assert await theirs.facts(id) == await ours.facts(id)
    assert await theirs.status(id) == "scheduled"
    assert await theirs.ids("scheduled") == await ours.ids("scheduled") == [id]
    due = redis_client.zscore("rq:scheduled:q", id)
    assert abs(due - redis_client.time()[0] - HOUR_S) < 5


async def test_scheduled_job_runs_nowhere_before_its_time(
    across: Direction, ours: Ours, theirs: Theirs
) -> None:
    """Neither scheduler moves it, neither worker runs it."""
    id = await across.producer.enqueue("add", 1, 2, delay=HOUR_S)

    for side in (ours, theirs):
        await side.schedule()
        assert not await side.work()

    assert await theirs.status(id) == "scheduled"


@pytest.mark.parametrize("mover", ["ours", "theirs"])
@pytest.mark.parametrize("at_front", [False, True])
async def test_scheduled_job_is_moved_by_either_side(
    across: Direction, ours: Ours, theirs: Theirs, redis_client: Any, mover: str, at_front: bool
) -> None:
    """A job that is due goes into its queue, to the end or to the front as was asked for, and runs."""
    first = await across.producer.enqueue("add", 5)
    id = await across.producer.enqueue("add", 1, 2, delay=HOUR_S, at_front=at_front)
    redis_client.zadd("rq:scheduled:q", {id: 1})

    await (ours if mover == "ours" else theirs).schedule()

    assert await theirs.ids("queued") == ([id, first] if at_front else [first, id])
    assert await theirs.status(id) == await ours.status(id) == "queued"
    await across.worker.work()
    assert (await theirs.facts(id)).return_value == (await ours.facts(id)).return_value == 3


async def test_scheduled_job_that_is_due_is_moved_once(
    across: Direction, ours: Ours, theirs: Theirs, redis_client: Any
) -> None:
    """Both schedulers may look: the job is queued once."""
    id = await across.producer.enqueue("add", 1, 2, delay=HOUR_S)
    redis_client.zadd("rq:scheduled:q", {id: 1})

    await ours.schedule()
    await theirs.schedule()
    await ours.schedule()

    assert await theirs.ids("queued") == [id]
    assert await theirs.ids("scheduled") == []


async def test_scheduled_queue_of_an_rq_scheduler_is_left_to_it(
    across: Direction, ours: Ours, theirs: Theirs, redis_client: Any
) -> None:
    """While an rq scheduler holds its lock we move nothing: rq's two steps must not be come between."""
    id = await across.producer.enqueue("add", 1, 2, delay=HOUR_S)
    redis_client.zadd("rq:scheduled:q", {id: 1})
    redis_client.set("rq:scheduler-lock:q", "somebody", ex=61)

    await ours.schedule()

    assert await theirs.ids("scheduled") == [id]
    redis_client.delete("rq:scheduler-lock:q")
    await ours.schedule()
    assert await theirs.ids("queued") == [id]


async def test_scheduled_job_can_be_cancelled_by_the_other_side(
    across: Direction, ours: Ours, theirs: Theirs
) -> None:
    """It leaves the registry, and its time comes to nothing."""
    id = await across.producer.enqueue("add", 1, 2, delay=HOUR_S)

    await across.worker.cancel(id)

    assert await theirs.ids("scheduled") == await ours.ids("scheduled") == []
    assert await theirs.ids("canceled") == await ours.ids("canceled") == [id]
    assert await theirs.status(id) == await ours.status(id) == "canceled"


async def test_scheduled_job_that_waits_for_another_is_not_enqueued_by_its_end(
    ours: Ours, theirs: Theirs, redis_client: Any
) -> None:
    """An rq worker that ends the parent enqueues whoever waits for it: a job whose time has not come is not among them."""
    parent = await ours.enqueue("add", 1)
    child = await ours.enqueue("add", 2, delay=HOUR_S, depends_on=[parent], queue="other")

    await theirs.work("q")

    assert await theirs.status(child) == await ours.status(child) == "scheduled"
    assert await theirs.ids("scheduled", "other") == [child]
    redis_client.zadd("rq:scheduled:other", {child: 1})
    await ours.work("other")
    assert (await theirs.facts(child)).return_value == 2
    assert await theirs.ids("queued", "other") == []
