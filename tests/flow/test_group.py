"""Jobs that belong together."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from aiorq2 import Group, InvalidOption, Job, NoSuchGroupError, Queue, get_current_job
from aiorq2.backends.redis import RedisBackend
from aiorq2.options import EnqueueData
from aiorq2.upkeep import Sweeper
from tests.flow.at_work import at_work, drain, let_expire, stored
from tests.support import jobs
from tests.support.eventually import eventually, gates


def several(count: int) -> list[EnqueueData]:
    """Return so many jobs that record their numbers."""
    return [Queue.prepare_data(jobs.record, (str(number),)) for number in range(count)]


async def count_failures() -> dict[str, int]:
    """Return how the jobs ended for which this one waited."""
    job = get_current_job()
    assert job is not None
    ended = [parent.status for parent in await job.fetch_dependencies()]
    return {str(status): ended.count(status) for status in set(ended)}


async def test_group_knows_its_jobs(backend: RedisBackend) -> None:
    """They join it as they are enqueued, whatever their queues, and say so."""
    group = Group.create(backend, "g")
    first = await group.enqueue_many(Queue("q", backend), several(2))
    second = await group.enqueue_many(Queue("other", backend), several(1))

    assert {job.id for job in await group.get_jobs()} == {job.id for job in first + second}
    assert first[0].group_id == "g"
    assert (await Job.fetch(first[0].id, backend)).group_id == "g"
    assert repr(group) == "Group(id=g)"
    assert (await backend.run(["SMEMBERS", backend.keys.groups()]))[0] == [b"g"]


async def test_groups_are_found_by_name(backend: RedisBackend) -> None:
    """As long as they have jobs; one that was never used does not exist."""
    queue = Queue("q", backend)
    for name in ("b", "a"):
        await Group.create(backend, name).enqueue_many(queue, several(1))

    assert await Group.all(backend) == [Group(backend, "a"), Group(backend, "b")]
    assert len(await (await Group.fetch("a", backend)).get_jobs()) == 1
    with pytest.raises(NoSuchGroupError, match="no group 'c'"):
        await Group.fetch("c", backend)
    assert len(Group(backend).name) == 32
    with pytest.raises(InvalidOption):
        Group(backend, "a\nb")


async def test_group_whose_name_is_no_text_is_refused(backend: RedisBackend) -> None:
    """Also where only the queue hears of it."""
    with pytest.raises(InvalidOption, match="group name must be a string, not UUID"):
        await Queue("q", backend).enqueue_many(several(1), group_id=uuid4())  # type: ignore[arg-type]

    assert await stored(backend) == []


async def test_group_forgets_who_is_gone(backend: RedisBackend) -> None:
    """Deleted jobs at once, expired ones when it is cleaned up; an empty group is off the list."""
    group = Group.create(backend, "g")
    deleted, expired = await group.enqueue_many(Queue("q", backend), several(2))
    await deleted.delete()
    assert await group.get_job_ids() == [expired.id]
    await drain(backend)
    await let_expire(backend, backend.keys.job(expired.id))
    assert await group.get_jobs() == []

    assert await group.cleanup() == 1
    await Group.clean_registries(backend)

    assert await Group.all(backend) == []
    assert not [name for name in await stored(backend) if name.startswith("group")]


async def test_job_that_replaces_one_does_not_join_its_group(backend: RedisBackend) -> None:
    """Its id was in the group; it is another job now."""
    queue, group = Queue("q", backend), Group.create(backend, "g")
    _, other = await group.enqueue_many(
        queue, [queue.prepare_data(jobs.nothing, job_id="a"), *several(1)]
    )

    await queue.enqueue(jobs.nothing, job_id="a")

    assert await group.get_job_ids() == [other.id]


async def test_job_can_be_taken_out_of_the_group(backend: RedisBackend) -> None:
    """The job itself stays, as in RQ."""
    group = Group.create(backend, "g")
    one, two = await group.enqueue_many(Queue("q", backend), several(2))

    await group.delete_job(one.id)

    assert await group.get_job_ids() == [two.id]
    assert await Job.exists(one.id, backend)


async def test_progress_counts_by_status(backend: RedisBackend) -> None:
    """What has been deleted or has expired counts as ended."""
    group, queue = Group.create(backend), Queue("q", backend)
    await group.enqueue_many(queue, [*several(3), Queue.prepare_data(jobs.fail)])
    await drain(backend, max_jobs=3, concurrency=1)

    progress = await group.progress()
    assert (progress.total, progress.counts) == (4, {"finished": 3, "queued": 1})
    assert (progress.ended, progress.is_done, progress.share) == (3, False, 0.75)

    await drain(backend)
    ids = await group.get_job_ids()
    await let_expire(backend, backend.keys.job(ids[0]))
    progress = await group.progress()
    assert (progress.gone, progress.ended, progress.is_done) == (1, 4, True)
    assert (await Group.create(backend).progress()).share == 1


async def test_wait_is_for_all_of_them(backend: RedisBackend) -> None:
    """However they end; it says how."""
    group, queue = Group.create(backend), Queue("q", backend)
    await group.enqueue_many(
        queue,
        [*several(120), Queue.prepare_data(jobs.fail), Queue.prepare_data(jobs.wait_gate, ("g",))],
    )

    async with at_work(backend):
        with pytest.raises(TimeoutError):
            await group.wait(timeout=0.3)
        waiting = asyncio.create_task(group.wait(timeout=20))
        await eventually(lambda: gates["g"].arrivals == 1)
        gates["g"].open()
        progress = await waiting

    assert progress.is_done
    assert progress.counts == {"finished": 121, "failed": 1}


async def test_wait_for_a_group_without_jobs_returns_at_once(backend: RedisBackend) -> None:
    """There is nothing to wait for."""
    assert (await Group.create(backend).wait(timeout=1)).total == 0


async def test_on_complete_runs_after_all_of_them_however_they_end(backend: RedisBackend) -> None:
    """Failed and cancelled ones included; the job finds them as its dependencies."""
    group, queue = Group.create(backend), Queue("q", backend)
    members = await group.enqueue_many(queue, [*several(3), Queue.prepare_data(jobs.fail)])
    after = await group.on_complete(queue, count_failures)
    await members[0].cancel()

    await drain(backend)

    assert await after.wait(timeout=5) == {"finished": 2, "failed": 1, "canceled": 1}


async def test_on_complete_runs_when_the_last_one_is_deleted(backend: RedisBackend) -> None:
    """A deleted member does not keep it from running."""
    group, queue = Group.create(backend), Queue("q", backend)
    one, two = await group.enqueue_many(queue, several(2))
    after = await group.on_complete(queue, jobs.record, "after", description="the end")
    await drain(backend, max_jobs=1, concurrency=1)

    await two.delete()

    assert await after.get_status() == "queued"
    assert after.description == "the end"
    assert await one.get_status() == "finished"


async def test_on_complete_of_an_empty_group_runs_at_once(backend: RedisBackend) -> None:
    """And what it is about cannot be given twice."""
    group, queue = Group.create(backend), Queue("q", backend)

    assert (await group.on_complete(queue, jobs.nothing)).status == "queued"
    with pytest.raises(InvalidOption, match="depends_on"):
        await group.on_complete(queue, jobs.nothing, depends_on="x")


async def test_groups_without_jobs_are_forgotten(backend: RedisBackend) -> None:
    """A worker sees to it within minutes, as rq's do; one with a job that is kept stays whole."""
    queue = Queue("q", backend)
    gone, kept = Group.create(backend, "gone"), Group.create(backend, "kept")
    await gone.enqueue_many(queue, [queue.prepare_data(jobs.nothing, result_ttl=0)])
    await kept.enqueue_many(
        queue, [queue.prepare_data(jobs.nothing, result_ttl=ttl) for ttl in (0, 60)]
    )
    await drain(backend)

    await Sweeper(backend, ["q"]).sweep()

    assert await Group.all(backend) == [kept]
    assert len(await kept.get_job_ids()) == 2
    assert await backend.run(["SMEMBERS", backend.keys.groups()]) == [[b"kept"]]
