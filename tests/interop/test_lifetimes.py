"""How long jobs, results and failures are kept, by whichever side runs them."""

from __future__ import annotations

from typing import Any

import pytest

from aiorq2.backends.redis import RedisBackend
from tests.flow.at_work import let_expire
from tests.interop.sides import Direction, Ours, Theirs

YEAR_S = 31_536_000
RESULT_S = 500
SLACK_S = 20


@pytest.mark.parametrize(
    ("option", "func", "registry", "default"),
    [("result_ttl", "add", "finished", RESULT_S), ("failure_ttl", "fail", "failed", YEAR_S)],
)
@pytest.mark.parametrize("ttl", [100, None])
async def test_lifetime_of_what_has_ended(
    across: Direction,
    ours: Ours,
    theirs: Theirs,
    redis_client: Any,
    option: str,
    func: str,
    registry: str,
    default: int,
    ttl: int | None,
) -> None:
    """``result_ttl`` and ``failure_ttl`` hold for the job and for its place in the registry; without them RQ's defaults do."""
    id = await across.producer.enqueue(func, 1, **({} if ttl is None else {option: ttl}))
    assert getattr(await theirs.facts(id), option) == getattr(await ours.facts(id), option) == ttl

    await across.worker.work()

    wanted = ttl or default
    assert wanted - SLACK_S <= int(redis_client.ttl(f"rq:job:{id}")) <= wanted
    score = redis_client.zscore(f"rq:{registry}:q", id)
    seconds, _ = redis_client.time()
    assert abs(float(score) - seconds - wanted) < SLACK_S


@pytest.mark.parametrize(
    ("option", "func", "registry"),
    [("result_ttl", "add", "finished"), ("failure_ttl", "fail", "failed")],
)
async def test_lifetime_without_end(
    across: Direction,
    theirs: Theirs,
    ours: Ours,
    redis_client: Any,
    option: str,
    func: str,
    registry: str,
) -> None:
    """-1 keeps a job for ever; the other side's upkeep leaves it where it is."""
    id = await across.producer.enqueue(func, 1, **{option: -1})

    await across.worker.work()
    await theirs.peer("maintain")
    await ours.sweep()

    assert redis_client.ttl(f"rq:job:{id}") == -1
    assert await theirs.ids(registry) == await ours.ids(registry) == [id]


async def test_lifetime_of_nothing(
    across: Direction, theirs: Theirs, ours: Ours, redis_client: Any
) -> None:
    """``result_ttl=0`` leaves nothing of a job that has finished."""
    id = await across.producer.enqueue("add", 1, result_ttl=0)

    assert await across.worker.work()

    assert await theirs.ids("finished") == await ours.ids("finished") == []
    assert redis_client.keys(f"rq:*{id}*") == []


async def test_lifetime_of_a_failure_of_zero(
    across: Direction, theirs: Theirs, ours: Ours, redis_client: Any
) -> None:
    """``failure_ttl=0`` leaves nothing of a job that has failed; what rq leaves in its registry is swept up by either side."""
    id = await across.producer.enqueue("fail", "x", failure_ttl=0)

    assert await across.worker.work()
    await ours.sweep()

    assert not redis_client.exists(f"rq:job:{id}")
    assert await ours.ids("failed") == []


async def test_lifetime_of_a_job_that_waits_too_long(
    across: Direction, ours: Ours, theirs: Theirs, redis_backend: RedisBackend
) -> None:
    """A job that waited longer than its ``ttl`` is run by nobody, and does not stop those behind it."""
    late = await across.producer.enqueue("add", 1, ttl=100)
    other = await across.producer.enqueue("add", 2)
    assert (await theirs.facts(late)).ttl == (await ours.facts(late)).ttl == 100
    await let_expire(redis_backend, f"rq:job:{late}")

    assert await across.worker.work()

    assert await theirs.status(other) == "finished"
    assert await theirs.ids("finished") == await ours.ids("finished") == [other]
    assert await theirs.ids("queued") == []


async def test_lifetime_ends_with_the_wait(
    across: Direction, redis_client: Any, ours: Ours
) -> None:
    """A ``ttl`` is for the waiting: a job that has run in time is kept as long as its result."""
    id = await across.producer.enqueue("add", 1, ttl=100, result_ttl=-1)
    assert 0 < int(redis_client.ttl(f"rq:job:{id}")) <= 100

    assert await across.worker.work()

    assert redis_client.ttl(f"rq:job:{id}") == -1


async def test_lifetime_over_is_swept_up_by_either_side(
    across: Direction, ours: Ours, theirs: Theirs, redis_backend: RedisBackend
) -> None:
    """What has expired goes out of the registries, whoever looks after them."""
    id = await across.producer.enqueue("add", 1, result_ttl=100)
    await across.worker.work()
    await redis_backend.run(["ZADD", "rq:finished:q", "XX", 1, id])

    if across.worker is ours:
        await theirs.peer("maintain")
    else:
        await ours.sweep()

    assert await ours.ids("finished") == []
