"""``@job``, RQ's decorator for functions that are enqueued where they are called."""

from __future__ import annotations

from typing import Any

import pytest

from aiorq2 import Queue, get_current_job
from aiorq2.backends.redis import RedisBackend
from aiorq2.decorators import job
from aiorq2.errors import InvalidFunction, InvalidOption
from aiorq2.states import JobStatus
from tests.flow.at_work import drain
from tests.support import jobs


@job("low", timeout=7)
async def double(x: int) -> int:
    """Return twice the argument."""
    return 2 * x


def decorate(backend: RedisBackend, **options: Any) -> None:
    """Decorate ``double`` anew, for the backend of a test."""
    job("low", backend, timeout=7, **options)(double)


async def test_decorated_function_is_called_as_before() -> None:
    """It is the same function, under the same name."""
    assert double.__name__ == "double"  # type: ignore[attr-defined]
    assert await double(2) == 4


@pytest.mark.parametrize("word", ["enqueue", "delay"])
async def test_decorated_function_is_enqueued(backend: RedisBackend, word: str) -> None:
    """With the options of the decorator; its arguments are the function's."""
    decorate(backend, description="twice")

    made = await getattr(double, word)(4)

    assert (made.origin, made.timeout, made.description) == ("low", 7, "twice")
    assert await Queue("low", backend).get_job_ids() == [made.id]
    await drain(backend, "low")
    assert await made.return_value() == 8


async def test_some_options_can_be_given_at_the_call(backend: RedisBackend) -> None:
    """``depends_on``, ``job_id`` and ``at_front``, as in RQ; None there means what the decorator says."""
    decorate(backend, at_front=True)
    parent = await Queue("q", backend).enqueue(jobs.nothing)

    child = await double.enqueue(4, depends_on=parent, job_id="mine", at_front=None)

    assert (child.id, child.dependency_ids, child.status) == (
        "mine",
        [parent.id],
        JobStatus.DEFERRED,
    )
    assert child.kwargs == {}
    assert child.enqueue_at_front
    await drain(backend, ["q", "low"])


async def test_iterator_of_the_decorator_holds_for_every_call(backend: RedisBackend) -> None:
    """It is read once and kept."""
    parent = await Queue("q", backend).enqueue(jobs.nothing)
    decorate(backend, depends_on=iter([parent]))

    children = [await double.enqueue(n) for n in (1, 2)]

    assert [one.dependency_ids for one in children] == [[parent.id]] * 2
    await drain(backend, ["q", "low"])


async def test_queue_can_be_an_object_or_a_class_of_its_own(backend: RedisBackend) -> None:
    """In place of a name, or of ``Queue``."""

    class Fast(Queue):
        """A queue with other defaults."""

    queue = Fast("fast", backend)
    made = await job(queue)(double).enqueue(1)
    other = await job("slow", backend, queue_class=Fast)(double).enqueue(1)

    assert (made.origin, other.origin) == ("fast", "slow")
    await drain(backend, ["fast", "slow"])


async def test_decorated_function_can_be_enqueued_by_hand(backend: RedisBackend) -> None:
    """It is a function like any other."""
    made = await Queue("q", backend).enqueue(double, 3)

    await drain(backend)

    assert await made.return_value() == 6
    assert get_current_job() is None


def test_decorator_refuses_what_cannot_be_meant() -> None:
    """When it is written down, not when the first job is enqueued."""
    with pytest.raises(InvalidOption, match="job_timeout"):
        job("low", timeout="soon")
    with pytest.raises(InvalidFunction, match="takes no attributes"):
        job("low")(len)
    with pytest.raises(TypeError, match="colour"):
        job("low", colour="red")
