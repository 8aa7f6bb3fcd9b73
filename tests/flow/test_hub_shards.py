"""``RQ(shards=n)``: queues spread over namespaces, one worker for all; what cannot be meant there says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from aiorq2 import RQ, InvalidOption, Scheduler, ShardedWorker, Worker, connect
from aiorq2.backends.shards import Shards
from aiorq2.sharded import ShardedScheduler
from aiorq2.testing import assert_enqueued, drain, refute_enqueued
from tests.flow.hub_jobs import add, add_later, nothing
from tests.flow.test_shards import NAMES, apart
from tests.support.eventually import eventually
from tests.support.topologies import new_prefix


@pytest.fixture
async def rq(backend_url: str) -> AsyncIterator[RQ]:
    """An ``RQ`` whose queues live in four shards."""
    rq = RQ(backend_url, key_prefix=new_prefix("cluster"), shards=4, queues=NAMES, name="shop")
    yield rq
    for backend in shards_of(rq):
        (keys,) = await backend.run(["KEYS", f"{backend.key_prefix}:*"])
        if keys:
            await backend.run(["DEL", *keys])
    await rq.close()


def shards_of(rq: RQ) -> Shards:
    """Return its shards."""
    shards = rq.get_shards()
    assert shards is not None
    return shards


async def entries(rq: RQ) -> dict[str, str]:
    """Return where each recurring entry lives, by name; an entry that is in two shards is an error."""
    found: dict[str, str] = {}
    for backend in shards_of(rq):
        for one in await Scheduler(backend=backend).get_cron_jobs():
            assert one.name not in found
            found[one.name] = backend.key_prefix
    return found


async def test_a_job_goes_to_the_shard_of_its_queue(rq: RQ) -> None:
    """And one worker runs them all, hooks once."""
    seen: list[Any] = []
    rq.on_startup(lambda worker: seen.append(worker))
    job = rq.job(add_later)

    async with rq:
        sent = [await job.queue(n, 1, queue=name) for n, name in enumerate(NAMES)]
        for one in sent:
            assert await shards_of(rq).find(one.id) is shards_of(rq).of(one.origin)
        worker = rq.get_worker()
        assert isinstance(worker, ShardedWorker)
        assert await worker.work(burst=True)

        assert [await one.wait() for one in sent] == [n + 1 for n in range(len(NAMES))]
    assert seen == [worker]
    assert worker.name == rq.get_worker(name=worker.name).name
    assert rq.get_queue("queue-1") is rq.get_queue("queue-1")


async def test_worker_class_and_options_are_those_of_each_shard(rq: RQ) -> None:
    """A class of one's own serves each of them."""

    class Own(Worker):
        pass

    rq.worker_class = Own
    worker = rq.get_worker(*apart(shards_of(rq), 3), concurrency=7)

    assert isinstance(worker, ShardedWorker)
    assert [type(one) for one in worker.workers] == [Own] * 3
    assert {one.concurrency for one in worker.workers} == {7}


async def test_what_means_one_place_is_refused(rq: RQ) -> None:
    """``rq.backend`` and ``rq.connection`` would be one shard of several; the sentence says what there is."""
    for ask in (lambda: rq.backend, lambda: rq.connection, rq.get_backend):
        with pytest.raises(InvalidOption, match=r"4 shards, .* rq\.get_queue\(name\)\.backend"):
            ask()
    for option in ("max_jobs", "max_idle_time"):
        with pytest.raises(InvalidOption, match="worker of several shards"):
            await rq.get_worker().work(burst=True, **{option: 1})  # type: ignore[arg-type]
    first, second = apart(shards_of(rq))
    parent = await rq.job(nothing).queue(queue=first)
    with pytest.raises(InvalidOption, match="cannot wait for it"):
        await rq.job(nothing).queue(queue=second, depends_on=parent)


def test_settings_that_contradict_each_other_are_refused(backend_url: str) -> None:
    """A number that cannot be meant; another one than what was given has; a backend, which is one."""
    with pytest.raises(InvalidOption, match="shards=0"):
        RQ(backend_url, shards=0).get_queue()
    made = connect(backend_url, key_prefix="x", shards=2)
    assert RQ(made).get_shards() is made
    assert RQ(made, shards=2, key_prefix="x").get_shards() is made
    with pytest.raises(InvalidOption, match="shards=3: a backend with 2 was given"):
        RQ(made, shards=3).get_queue()
    with pytest.raises(InvalidOption, match="key_prefix='y'"):
        RQ(made, key_prefix="y").get_queue()
    with pytest.raises(InvalidOption, match="shards=2: a backend with 1 was given"):
        RQ(connect(backend_url), shards=2).get_queue()
    with pytest.raises(InvalidOption, match="several shards are given"):
        Worker("q", made)  # type: ignore[arg-type]
    assert RQ(backend_url).get_shards() is None
    with pytest.raises(InvalidOption, match="no shards"):
        RQ(backend_url).get_schedulers()


async def test_only_the_default_connection_is_spread(rq: RQ, backend_url: str) -> None:
    """A further one is, if it is what ``connect(…, shards=n)`` returned."""
    many = connect(backend_url, key_prefix=rq.key_prefix, shards=2)
    rq.connections = {"one": backend_url, "many": many}

    assert rq.get_shards("one") is None
    assert rq.get_backend("one").key_prefix == rq.key_prefix
    assert rq.get_shards("many") is many


async def test_declared_entries_live_with_their_queues(rq: RQ) -> None:
    """They are written by who serves a shard; one that moves to another shard leaves none behind."""
    first, second = apart(shards_of(rq))
    rq.cron("0 0 12 * * ?", name="noon", queue=first)(nothing)
    rq.cron("0 0 13 * * ?", name="one", args=(1,), queue=second)(add)

    await rq.get_worker(first).work(burst=True)
    assert await entries(rq) == {"noon": shards_of(rq).of(first).key_prefix}
    await rq.get_schedulers().run(burst=True)
    assert await entries(rq) == {
        "noon": shards_of(rq).of(first).key_prefix,
        "one": shards_of(rq).of(second).key_prefix,
    }
    again = RQ(rq.redis_url, key_prefix=rq.key_prefix, shards=4, name="shop")
    again.cron("0 0 12 * * ?", name="noon", queue=second)(nothing)
    synced = await again.sync_crons()

    assert (synced.added, sorted(synced.removed)) == (("noon",), ["noon", "one"])
    assert await entries(rq) == {"noon": shards_of(rq).of(second).key_prefix}
    await again.close()


async def test_an_entry_made_at_run_time_lives_with_its_queue(rq: RQ) -> None:
    """A scheduler of another shard refuses it."""
    first, second = apart(shards_of(rq))
    await rq.job(nothing).cron("* * * * *", "minutely", queue=second)
    assert await entries(rq) == {"minutely": shards_of(rq).of(second).key_prefix}

    with pytest.raises(InvalidOption, match="an entry lives with its queue"):
        await rq.get_scheduler(queue=first).cron("* * * * *", nothing, queue_name=second)
    assert list(await entries(rq)) == ["minutely"]


async def test_schedulers_look_after_all_shards(rq: RQ) -> None:
    """In one call, until told to stop; or some queues only."""
    first, second = apart(shards_of(rq))
    jobs = [
        await rq.job(nothing).schedule(timedelta(milliseconds=1), queue=name)
        for name in (first, second)
    ]
    schedulers = rq.get_schedulers()
    assert isinstance(schedulers, ShardedScheduler)

    await asyncio.sleep(0.01)
    await schedulers.run(burst=True, queues=[first])
    assert [await one.get_status() for one in jobs] == ["queued", "scheduled"]

    running = asyncio.create_task(schedulers.run())

    async def is_queued() -> bool:
        return await jobs[1].get_status() == "queued"

    await eventually(is_queued)
    schedulers.request_stop()
    async with asyncio.timeout(10):
        await running


async def test_scheduler_that_is_cancelled_ends_in_every_shard(rq: RQ) -> None:
    """Nothing goes on behind it."""
    running = asyncio.create_task(rq.get_schedulers().run())
    await asyncio.sleep(0.1)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await rq.get_schedulers().run(burst=True)


async def test_tools_for_tests_look_into_all_shards(rq: RQ) -> None:
    """Jobs are found wherever they wait, and drained."""
    job = rq.job(add)
    for name in apart(shards_of(rq), 3):
        await job.queue(1, 2, queue=name)
        await assert_enqueued(add, queue=name, source=rq)

    await drain(rq)

    await refute_enqueued(add, source=rq)
