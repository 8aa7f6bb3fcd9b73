"""Queues spread over shards: each lives in one of them, and one worker serves them all."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiorq2 import (
    CronSpec,
    Group,
    InvalidOption,
    Job,
    Queue,
    RateLimit,
    Scheduler,
    ShardedWorker,
    Worker,
    connect,
)
from aiorq2.backends.shards import Shards, prefix_of, shard_of
from aiorq2.errors import NoSuchJobError, WorkerNameTaken
from aiorq2.suspension import resume, suspend
from tests.support import jobs
from tests.support.eventually import eventually, gates
from tests.support.redis_server import RedisServer

NAMES = [f"queue-{n}" for n in range(12)]


@pytest.fixture
async def shards(backend_url: str, key_prefix: str) -> AsyncIterator[Shards]:
    """Four shards, on the real Redis and in memory."""
    shards = connect(backend_url, key_prefix=key_prefix, shards=4)
    yield shards
    for backend in shards:
        (keys,) = await backend.run(["KEYS", f"{backend.key_prefix}:*"])
        if keys:
            await backend.run(["DEL", *keys])
    await shards.close()


def apart(shards: Shards, count: int = 2) -> list[str]:
    """Return the names of queues that live in shards of their own."""
    found = {shards.of(name): name for name in reversed(NAMES)}
    assert len(found) >= count
    return sorted(found.values())[:count]


# -- where a queue lives -------------------------------------------------------------------------------------------------


def test_shard_of_a_queue_is_the_same_for_ever() -> None:
    """It follows from the name and the number of shards: written down here, since data lies where it says."""
    assert [shard_of(name, 4) for name in NAMES] == PLACES


PLACES = [2, 0, 3, 1, 0, 2, 3, 3, 0, 0, 3, 1]


def test_queues_are_spread_evenly_and_few_move() -> None:
    """With one shard more, only those move that go into the new one."""
    names = [f"q{n}" for n in range(4000)]
    before = [shard_of(name, 4) for name in names]
    after = [shard_of(name, 5) for name in names]

    assert min(Counter(before).values()) > 850
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {4}
    assert 650 < len(moved) < 950


@pytest.mark.parametrize(
    ("prefix", "numbered"),
    [("rq", "{rq3}"), ("{rq}", "{rq3}"), ("app:{x}:y", "app:{x3}:y"), ("a{", "{a{3}")],
)
def test_shards_have_prefixes_of_their_own(prefix: str, numbered: str) -> None:
    """The number goes into the braces, so that each can lie on a node of its own."""
    assert prefix_of(prefix, 3) == numbered


def test_shards_may_be_spread_over_several_servers() -> None:
    """In turn over the URLs."""
    shards = connect(["redis://a:1", "redis://b:2"], shards=3)

    assert [one.location for one in shards] == ["a:1/0", "b:2/0", "a:1/0"]
    assert [one.key_prefix for one in shards] == ["{rq0}", "{rq1}", "{rq2}"]
    assert shards.location == "a:1/0, b:2/0"
    assert "s3cret" not in repr(connect("redis+cluster://u:s3cret@h", shards=2))


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "3", 2000])
def test_number_of_shards_that_cannot_be_meant_is_refused(count: Any) -> None:
    """As are more servers than shards, and none."""
    with pytest.raises(InvalidOption, match="shards="):
        connect("redis://a", shards=count)
    for sources in ([], ["redis://a", "redis://b"]):
        with pytest.raises(InvalidOption, match="URLs"):
            connect(sources, shards=1)


async def test_queue_and_its_jobs_live_in_one_shard(shards: Shards) -> None:
    """All that there is of a job is there, and it is found by its id."""
    for name in NAMES:
        job = await Queue(name, shards).enqueue(jobs.add, 1, 2)
        home = shards.of(name)

        assert await shards.find(job.id) is home
        assert await Queue(name, home).get_job_ids() == [job.id]
        assert (await Job.fetch(job.id, home)).origin == name
    assert await shards.find("nobody") is None


# -- one worker for all --------------------------------------------------------------------------------------------------


async def test_one_worker_runs_the_jobs_of_all_shards(shards: Shards) -> None:
    """Until nothing is left in any of them."""
    todo = [await Queue(name, shards).enqueue(jobs.add, n, 1) for n, name in enumerate(NAMES)]

    assert await ShardedWorker(NAMES, shards).work(burst=True)

    assert [await job.wait(10) for job in todo] == [n + 1 for n in range(len(NAMES))]
    assert not await ShardedWorker(NAMES, shards).work(burst=True)


async def test_burst_runs_what_jobs_enqueue_in_other_shards(shards: Shards) -> None:
    """A shard that had nothing left is looked at again."""
    here, there = apart(shards)

    async def lead_on() -> None:
        await Queue(there, shards).enqueue(jobs.record, "there")

    await Queue(here, shards).enqueue(_call, "lead_on")
    _CALLS["lead_on"] = lead_on

    await ShardedWorker([here, there], shards).work(burst=True)

    assert await Queue(there, shards).count() == 0


_CALLS: dict[str, Any] = {}


async def _call(name: str) -> None:
    await _CALLS[name]()


async def test_busy_shard_leaves_the_others_their_share(shards: Shards) -> None:
    """One shard has jobs for every slot and more; a job of another starts at once, and gets more slots as they get free."""
    busy, late = apart(shards)
    crowd = [await Queue(busy, shards).enqueue(jobs.wait_gate, "crowd") for _ in range(40)]
    worker = ShardedWorker([busy, late], shards, concurrency=8, handle_signals=False)
    working = asyncio.create_task(worker.work())
    try:
        await eventually(lambda: gates["crowd"].arrivals == 7)
        few = [await Queue(late, shards).enqueue(jobs.wait_gate, "few") for _ in range(8)]
        await eventually(lambda: gates["few"].arrivals == 1)

        gates["crowd"].open()

        await eventually(lambda: gates["few"].arrivals >= 4)
        gates["few"].open()
        for job in [*crowd, *few]:
            await job.wait(10)
    finally:
        worker.request_stop()
        async with asyncio.timeout(10):
            await working


async def test_worker_is_one_to_each_shard(shards: Shards) -> None:
    """Under the same name; told to shut down by one of them, it leaves all."""
    here, there = apart(shards)
    worker = ShardedWorker([here, there], shards, name="w", handle_signals=False)
    working = asyncio.create_task(worker.work())

    async def is_listed(queue: str) -> bool:
        return [one.name for one in await Worker.all(shards.of(queue))] == ["w"]

    await eventually(lambda: is_listed(here))
    await eventually(lambda: is_listed(there))
    await eventually(lambda: shards.of(there).command("w", '{"command": "shutdown"}'))
    async with asyncio.timeout(10):
        await working

    assert await Worker.all(shards.of(here)) == []


async def test_jobs_that_were_enqueued_with_fewer_shards_are_told_of(
    shards: Shards, caplog: pytest.LogCaptureFixture
) -> None:
    """They lie where nobody looks any more; a worker on the old number runs them."""
    before = Shards(shards.backends[:3])
    name = next(one for one in NAMES if shards.of(one) is shards.backends[3])
    await Queue(name, before).enqueue(jobs.nothing)
    working = asyncio.create_task(ShardedWorker(name, shards, handle_signals=False).work())

    await eventually(lambda: "nobody looks there" in caplog.text)
    working.cancel()
    await asyncio.wait([working])

    told = f"queue {name!r} has jobs in {before.of(name).key_prefix}, and lives in {shards.of(name).key_prefix}"
    assert told in caplog.text
    assert await ShardedWorker(name, before).work(burst=True)
    assert await shards.strays([name]) == {}


async def test_name_that_is_taken_in_one_shard_ends_the_work(shards: Shards) -> None:
    """The others are left again."""
    here, there = apart(shards)
    first = Worker(there, shards.of(there), name="w", handle_signals=False)
    working = asyncio.create_task(first.work())
    await eventually(lambda: _is_at_work(first, shards, there))

    with pytest.raises(WorkerNameTaken):
        async with asyncio.timeout(10):
            await ShardedWorker([here, there], shards, name="w", handle_signals=False).work()

    assert await Worker.all(shards.of(here)) == []
    first.request_stop()
    await working


async def _is_at_work(worker: Worker, shards: Shards, queue: str) -> bool:
    return worker.name in [one.name for one in await Worker.all(shards.of(queue))]


async def test_signal_stops_the_work_in_all_shards(shards: Shards) -> None:
    """SIGTERM lets jobs finish, as for any worker."""
    here, there = apart(shards)
    todo = [await Queue(name, shards).enqueue(jobs.wait_gate, "g") for name in (here, there)]
    worker = ShardedWorker([here, there], shards, handle_signals=True)
    working = asyncio.create_task(worker.work())
    await eventually(lambda: gates["g"].arrivals == 2)

    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.1)
    gates["g"].open()

    async with asyncio.timeout(10):
        assert await working
    assert [await job.wait(10) for job in todo] == ["g", "g"]


async def test_stop_while_its_surroundings_open_is_heeded(shards: Shards) -> None:
    """Nothing is claimed, and what was opened is closed."""
    told: list[str] = []

    @asynccontextmanager
    async def lifespan(worker: ShardedWorker) -> AsyncIterator[None]:
        worker.request_stop()
        yield
        told.append("closed")

    job = await Queue(NAMES[0], shards).enqueue(jobs.nothing)
    worker = ShardedWorker(NAMES, shards, lifespan=lifespan, handle_signals=False)

    async with asyncio.timeout(5):
        assert not await worker.work()

    assert told == ["closed"]
    assert await job.is_queued()
    await Queue(NAMES[0], shards).empty()


async def test_suspended_workers_rest_in_all_shards(shards: Shards) -> None:
    """Suspending is for all shards at once, or for one of them."""
    for backend in shards:
        await suspend(backend)
    await Queue(NAMES[0], shards).enqueue(jobs.nothing)

    assert not await ShardedWorker(NAMES, shards).work(burst=True)

    for backend in shards:
        assert await resume(backend)


def test_too_few_slots_for_so_many_shards_are_refused() -> None:
    """Each needs one to listen with."""
    shards = connect("memory://few", shards=4)

    with pytest.raises(InvalidOption, match="concurrency=1 is too little"):
        ShardedWorker(NAMES, shards, concurrency=1)
    with pytest.raises(InvalidOption, match="at least one queue"):
        ShardedWorker([], shards)
    assert len(ShardedWorker(apart(shards, 1), shards, concurrency=1).workers) == 1


@pytest.mark.redis
async def test_shard_that_is_away_keeps_no_other_from_going_on(key_prefix: str) -> None:
    """Its jobs wait; those of the others are run, and more than one at a time."""
    with RedisServer() as one, RedisServer(appendonly="always") as other:
        shards = connect([one.url, other.url], key_prefix=key_prefix, shards=2)
        here, there = apart(shards)
        lost = next(name for name in (here, there) if shards.of(name) is shards.backends[1])
        kept = here if lost == there else there
        worker = ShardedWorker(NAMES, shards, concurrency=8, lease=2, handle_signals=False)
        working = asyncio.create_task(worker.work())
        await (await Queue(lost, shards).enqueue(jobs.nothing)).wait(10)
        waiting = await Queue(lost, shards).enqueue(jobs.wait_gate, "g")
        await eventually(lambda: gates["g"].arrivals == 1)
        gates["g"].open()
        await waiting.wait(10)

        other.kill()

        for _ in range(3):
            several = [await Queue(kept, shards).enqueue(jobs.slow, 0.1) for _ in range(8)]
            for job in several:
                await job.wait(10)
        await asyncio.to_thread(other.restart)
        await (await Queue(lost, shards).enqueue(jobs.nothing)).wait(20)
        worker.request_stop()
        async with asyncio.timeout(15):
            await working
        await shards.close()


# -- what does not work across shards ------------------------------------------------------------------------------------


async def test_job_cannot_wait_for_one_in_another_shard(shards: Shards) -> None:
    """It would count as done there, since it is not there; so it is refused, and nothing is enqueued."""
    here, there = apart(shards)
    parent = await Queue(here, shards).enqueue(jobs.nothing)

    with pytest.raises(InvalidOption, match="lives in shard"):
        await Queue(there, shards).enqueue(jobs.nothing, depends_on=parent)
    with pytest.raises(InvalidOption, match="lives in shard"):
        await Queue(there, shards).enqueue_many(
            [Queue.prepare_data(jobs.nothing, depends_on=parent.id)]
        )

    assert await Queue(there, shards).count() == 0
    child = await Queue(here, shards).enqueue(jobs.nothing, depends_on=parent)
    assert await child.is_deferred()
    orphan = await Queue(there, shards).enqueue(jobs.nothing, depends_on="gone")
    assert await orphan.is_queued()


async def test_rate_limit_counts_in_one_shard(shards: Shards) -> None:
    """The first to use it says in which; from another shard it is refused, for it would let through twice as many."""
    here, there = apart(shards)
    limit = RateLimit("api", 1)
    await Queue(here, shards).enqueue(jobs.nothing, rate_limit=limit)
    await Queue(here, shards).enqueue(jobs.nothing, rate_limit=limit)

    with pytest.raises(InvalidOption, match="counts the jobs of shard"):
        await Queue(there, shards).enqueue(jobs.nothing, rate_limit=limit)

    await Queue(there, shards).enqueue(jobs.nothing, rate_limit=RateLimit("other", 1))


async def test_rate_limit_of_an_entry_counts_in_one_shard(shards: Shards) -> None:
    """As a job's does, whether the entry is made at run time or declared; a dry run says nothing of where it counts."""
    here, there = apart(shards)
    scheduler, other = (Scheduler(Queue(name, shards)) for name in (here, there))
    limit = RateLimit("api", 1)
    spec = CronSpec.of("x", jobs.nothing, pattern="0 0 * * *", rate_limit=limit)
    await other.sync([spec], source="app", dry_run=True)
    await scheduler.sync([spec], source="app")

    with pytest.raises(InvalidOption, match="counts the jobs of shard"):
        await other.sync([spec], source="app")
    with pytest.raises(InvalidOption, match="counts the jobs of shard"):
        await other.cron("0 0 * * *", jobs.nothing, name="x", rate_limit=limit)

    assert await other.get_cron_jobs() == []
    await scheduler.cron("0 0 * * *", jobs.nothing, name="y", rate_limit=limit)


async def test_group_is_where_its_jobs_are(shards: Shards) -> None:
    """A group lives in a shard; queues of another are refused."""
    here, there = apart(shards)
    group = Group(shards.of(here), "g")
    data = [Queue.prepare_data(jobs.nothing)]

    await group.enqueue_many(Queue(here, shards), data)
    with pytest.raises(InvalidOption, match="a group is where its jobs are"):
        await group.enqueue_many(Queue(there, shards), data)

    assert len(await group.get_job_ids()) == 1


async def test_id_is_looked_for_in_the_shard_that_is_asked(shards: Shards) -> None:
    """Ids are unique within a shard."""
    here, there = apart(shards)
    await Queue(here, shards).enqueue(jobs.nothing, job_id="x")

    with pytest.raises(NoSuchJobError):
        await Job.fetch("x", shards.of(there))
    await Queue(there, shards).enqueue(jobs.nothing, job_id="x", unique=True)
    assert await shards.find_many(["x", "y"]) == [
        min((shards.of(here), shards.of(there)), key=shards.backends.index),
        None,
    ]
