"""What ``aiorq2.testing`` finds and refuses, on both backends; its examples are in ``test_docs_testing.py``."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from aiorq2 import InvalidOption, Queue
from aiorq2.backends.redis import RedisBackend
from aiorq2.testing import assert_enqueued, drain, refute_enqueued, time_travel
from tests.flow.hub_jobs import add, nothing


async def test_every_job_that_waits_is_found(clocked: RedisBackend) -> None:
    """Queued, scheduled, deferred; by its arguments and its queue."""
    queue = Queue("q", clocked)
    first = await queue.enqueue(add, 1, 2)
    later = await queue.enqueue_in(60, add, 3, y=4)
    after = await queue.enqueue(nothing, depends_on=first)

    assert await assert_enqueued(add, args=(1, 2), kwargs={}, source=clocked) == first
    assert await assert_enqueued(add, args=[3], kwargs={"y": 4}, source=queue) == later
    assert await assert_enqueued(nothing, queue="q", source=clocked) == after
    await refute_enqueued(add, args=(5, 6), source=clocked)
    await refute_enqueued(add, queue="other", source=clocked)
    with pytest.raises(AssertionError, match=r"add\(1, 2\)> is enqueued, on queue 'q'"):
        await refute_enqueued(add, args=(1, 2), source=queue)
    with pytest.raises(
        AssertionError, match=r"add\(5, 6\) on queue 'q' is not enqueued; there wait:\n  q: "
    ):
        await assert_enqueued(add, args=(5, 6), queue="q", source=clocked)

    assert await drain(clocked)
    await refute_enqueued(add, args=(1, 2), source=clocked)
    assert await after.get_status() == "finished"
    await time_travel(queue, timedelta(minutes=1))
    assert await drain(queue)
    assert await later.wait() == 7


async def test_a_job_may_be_waited_for(clocked: RedisBackend) -> None:
    """So long, and no longer."""
    queue = Queue("q", clocked)
    enqueueing = asyncio.ensure_future(asyncio.sleep(0.05)).add_done_callback
    made: list[asyncio.Task[object]] = []
    enqueueing(lambda _: made.append(asyncio.create_task(queue.enqueue(nothing))))

    job = await assert_enqueued(nothing, within=30, source=queue)

    assert job.origin == "q"
    await asyncio.gather(*made)
    await queue.empty()
    with pytest.raises(AssertionError, match="there is no job that waits"):
        await assert_enqueued(nothing, within=0.05, source=queue)


async def test_what_cannot_be_meant_is_refused(memory_backend: RedisBackend) -> None:
    """A function that belongs nowhere, and a clock that cannot be moved."""
    with pytest.raises(InvalidOption, match="say where to look"):
        await assert_enqueued("somewhere.else_")
    with pytest.raises(InvalidOption, match="ManualClock"):
        await time_travel(memory_backend, 1)
