"""A job whose next death would be its last is leased to a worker that has nothing else, and alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiorq2.backends.base import Claimed
from aiorq2.backends.redis import RedisBackend
from tests.contract import stage


async def _waiting(backend: RedisBackend, *ids: str, deaths: int = 2, queue: str = "q") -> None:
    """Have jobs wait; those whose names begin with ``last`` have died so often."""
    await stage.add(backend, *ids, queue=queue)
    for one in ids:
        if one.startswith("last"):
            await stage.send(backend, ["HSET", backend.keys.job(one), "aio_deaths", deaths])


async def _claimed(
    backend: RedisBackend, *, is_empty: bool, last_chance: int = 2, queues: tuple[str, ...] = ("q",)
) -> Claimed:
    request = stage.request(10, queues)
    return await backend.claim(
        stage.SEAT, replace(request, last_chance=last_chance, is_empty=is_empty)
    )


async def _left(backend: RedisBackend, queue: str = "q") -> list[str]:
    ids = await stage.send(backend, ["LRANGE", backend.keys.queue(queue), 0, -1])
    return [one.decode() for one in ids]


def _ids(claimed: Claimed) -> list[str]:
    return [claim.job_id for claim in claimed.claims]


async def test_busy_worker_leaves_it_where_it_is(backend: RedisBackend) -> None:
    """With all that stands behind it; the job is as it was, and somebody may look at once."""
    await _waiting(backend, "last", "a", "b")
    before = await stage.send(backend, ["HGETALL", backend.keys.job("last")])

    claimed = await _claimed(backend, is_empty=False)

    assert (_ids(claimed), claimed.has_stood_back, claimed.has_more) == ([], True, True)
    assert await _left(backend) == ["last", "a", "b"]
    assert await stage.send(backend, ["HGETALL", backend.keys.job("last")]) == before
    assert await backend.wait(stage.SEAT, ("q",), 1.0)


async def test_empty_worker_has_it_alone(backend: RedisBackend) -> None:
    """What stands behind it stays."""
    await _waiting(backend, "last", "a", "b")

    claimed = await _claimed(backend, is_empty=True)

    assert (_ids(claimed), claimed.has_stood_back, claimed.has_more) == (["last"], False, True)
    assert await _left(backend) == ["a", "b"]
    assert _ids(await _claimed(backend, is_empty=False)) == ["a", "b"]


async def test_what_stands_before_it_is_given_out(backend: RedisBackend) -> None:
    """And it is the first one then."""
    await _waiting(backend, "a", "b", "last", "c", "last-too")

    claimed = await _claimed(backend, is_empty=True)

    assert (_ids(claimed), claimed.has_stood_back) == (["a", "b"], True)
    assert await _left(backend) == ["last", "c", "last-too"]
    assert _ids(await _claimed(backend, is_empty=True)) == ["last"]
    assert _ids(await _claimed(backend, is_empty=False)) == ["c"]
    assert await _left(backend) == ["last-too"]


async def test_other_queues_wait_as_well(backend: RedisBackend) -> None:
    """Nothing is to run beside it."""
    await _waiting(backend, "last")
    await _waiting(backend, "other", queue="second")

    busy = await _claimed(backend, is_empty=False, queues=("q", "second"))
    empty = await _claimed(backend, is_empty=True, queues=("q", "second"))

    assert (_ids(busy), busy.has_stood_back) == ([], True)
    assert (_ids(empty), empty.has_more) == (["last"], True)
    assert await _left(backend, "second") == ["other"]


@pytest.mark.parametrize(("deaths", "last_chance"), [(2, 0), (1, 2), (5, 6)])
async def test_all_others_run_beside_each_other(
    backend: RedisBackend, deaths: int, last_chance: int
) -> None:
    """Those that may die again, and any where nobody is set apart."""
    await _waiting(backend, "a", "last", "b", deaths=deaths)

    claimed = await _claimed(backend, is_empty=False, last_chance=last_chance)

    assert (_ids(claimed), claimed.has_stood_back) == (["a", "last", "b"], False)
    assert await _left(backend) == []
