"""Looking at a queue, and clearing it."""

from __future__ import annotations

import asyncio

import pytest

from aiorq2 import Job, NoSuchJobError, Queue, Scheduler
from aiorq2.backends.redis import RedisBackend
from tests.flow.at_work import at_work, drain, stored
from tests.support import jobs
from tests.support.eventually import eventually, gates


async def filled(queue: Queue, *ids: str) -> list[Job]:
    """Enqueue jobs with these ids."""
    return await queue.enqueue_many(
        queue.prepare_data(jobs.record, (one,), job_id=one) for one in ids
    )


# -- looking -----------------------------------------------------------------------------------------


async def test_count_is_awaited_because_len_cannot_be(backend: RedisBackend) -> None:
    """``len(queue)`` would have to block the loop; it says what to write instead."""
    queue = Queue("q", backend)
    assert await queue.count() == 0
    assert await queue.is_empty()

    await filled(queue, "a", "b")

    assert await queue.count() == 2
    assert not await queue.is_empty()
    with pytest.raises(TypeError, match=r"await queue\.count\(\)"):
        len(queue)
    assert bool(queue)


async def test_job_ids_come_in_pages(backend: RedisBackend) -> None:
    """``length`` ids from ``offset`` on, the next to run first; all of them by default."""
    queue = Queue("q", backend)
    await filled(queue, "a", "b", "c", "d", "e")

    assert await queue.get_job_ids() == ["a", "b", "c", "d", "e"]
    assert await queue.get_job_ids(1, 2) == ["b", "c"]
    assert await queue.get_job_ids(offset=3) == ["d", "e"]
    assert await queue.get_job_ids(length=0) == []
    assert await queue.get_job_ids(9, 9) == []


async def test_jobs_come_in_pages_and_without_those_that_are_gone(backend: RedisBackend) -> None:
    """An id whose job has expired waits until a worker drops it; there is no job to return."""
    queue = Queue("q", backend)
    await filled(queue, "a", "b", "c")
    await backend.run(["DEL", backend.keys.job("b")])

    assert [job.id for job in await queue.get_jobs()] == ["a", "c"]
    assert [job.id for job in await queue.get_jobs(0, 2)] == ["a"]
    assert [job.args for job in await queue.get_jobs(2)] == [("c",)]
    await queue.empty()


async def test_fetch_job_finds_the_jobs_of_this_queue_only(backend: RedisBackend) -> None:
    """Whatever has become of them; a job of another queue is none of its."""
    queue = Queue("q", backend)
    (job,) = await filled(queue, "a")

    assert await queue.fetch_job("a") == job
    assert await queue.fetch_job("b") is None
    assert await Queue("other", backend).fetch_job("a") is None
    await drain(backend)
    found = await queue.fetch_job("a")
    assert found is not None
    assert found.status == "finished"


async def test_position_is_the_number_of_jobs_before(backend: RedisBackend) -> None:
    """By job or by id; None when it does not wait here."""
    queue = Queue("q", backend)
    first, second = await filled(queue, "a", "b")

    assert await queue.get_job_position(first) == 0
    assert await queue.get_job_position("b") == 1
    assert await second.get_position() == 1
    assert await queue.get_job_position("c") is None
    await drain(backend)
    assert await second.get_position() is None


async def test_all_queues_that_ever_had_a_job_are_listed(backend: RedisBackend) -> None:
    """Empty ones too, until they are deleted."""
    for name in ("b", "a"):
        await filled(Queue(name, backend), name)
    await drain(backend, ["a", "b"])

    queues = await Queue.all(backend, serializer="pickle", default_timeout=7)

    assert queues == [Queue("a", backend), Queue("b", backend)]
    assert [queue.default_timeout for queue in queues] == [7, 7]
    assert all(isinstance(queue, Queue) for queue in queues)


async def test_queues_of_one_name_are_equal(backend: RedisBackend) -> None:
    """As in RQ, so that they can be kept in a set."""
    queue = Queue("q", backend)

    assert queue == Queue("q", backend, default_timeout=1)
    assert queue != Queue("other", backend)
    assert queue != "q"
    assert len({queue, Queue("q", backend), Queue("other", backend)}) == 2
    assert repr(queue) == "<Queue q>"


# -- clearing ----------------------------------------------------------------------------------------


async def test_empty_deletes_the_jobs_that_wait(backend: RedisBackend) -> None:
    """With their data; those that have ended or wait elsewhere stay."""
    queue = Queue("q", backend)
    (done,) = await filled(queue, "done")
    await drain(backend)
    await filled(queue, *(f"j{n}" for n in range(600)))
    await filled(Queue("other", backend), "elsewhere")

    assert await queue.empty() == 600
    assert await queue.empty() == 0

    assert await queue.is_empty()
    assert not await Job.exists("j0", backend)
    assert await done.is_finished()
    assert await Job.exists("elsewhere", backend)


async def test_who_waits_for_a_job_of_an_emptied_queue_is_told(backend: RedisBackend) -> None:
    """It is gone, and nobody has to wait for ever."""
    queue = Queue("q", backend)
    (job,) = await filled(queue, "a")
    waiting = asyncio.create_task(job.wait(timeout=5))
    await eventually(lambda: _is_waited_for(backend, "a"))

    await queue.empty()

    with pytest.raises(NoSuchJobError):
        await waiting


async def _is_waited_for(backend: RedisBackend, job_id: str) -> bool:
    return bool((await backend.run(["HEXISTS", backend.keys.job(job_id), "aio_waiters"]))[0])


async def test_running_job_survives_an_emptied_queue(backend: RedisBackend) -> None:
    """It does not wait any more."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.wait_gate, "g")

    async with at_work(backend):
        await eventually(lambda: gates["g"].arrivals == 1)
        assert await queue.empty() == 0
        gates["g"].open()
        assert await job.wait(timeout=5) == "g"


async def test_deleted_queue_leaves_nothing(backend: RedisBackend) -> None:
    """Nor is it listed any more; a new job makes it anew."""
    queue = Queue("q", backend)
    await filled(queue, "a", "b")

    await queue.delete()

    short_lived = ("aio:replay:",)  # in case the replies are lost
    assert [key for key in await stored(backend) if not key.startswith(short_lived)] == []
    assert await Queue.all(backend) == []
    await filled(queue, "c")
    assert await Queue.all(backend) == [queue]


async def test_deleted_queue_is_listed_while_something_waits_there_for_its_time(
    backend: RedisBackend,
) -> None:
    """A recurring entry or a scheduled job goes on: whoever looks after all queues has to find it."""
    scheduler = Scheduler("entry", backend=backend)
    cron = await scheduler.cron("* * * * *", jobs.nothing, name="x")
    job = await scheduler.enqueue_in(60, jobs.nothing, queue_name="job")
    entry, scheduled = queues = [Queue("entry", backend), Queue("job", backend)]

    for queue in queues:
        await queue.delete()
    assert set(await Queue.all(backend)) == {*queues}

    await cron.cancel()
    await job.delete()
    await entry.delete()
    await scheduled.delete()
    assert await Queue.all(backend) == []


@pytest.mark.leaks_allowed("delete_jobs=False leaves jobs behind: that is what it is for")
async def test_queue_can_be_deleted_without_its_jobs(backend: RedisBackend) -> None:
    """RQ's ``delete_jobs=False``: the data stays, nobody runs it."""
    queue = Queue("q", backend)
    await filled(queue, "a")

    await queue.delete(delete_jobs=False)

    assert await Queue.all(backend) == []
    assert await Job.exists("a", backend)
    assert not await drain(backend)


async def test_removed_job_does_not_run_until_it_is_enqueued_anew(backend: RedisBackend) -> None:
    """RQ's ``remove`` takes the id out of the list, and nothing else."""
    queue = Queue("q", backend)
    first, _ = await filled(queue, "a", "b")

    assert await queue.remove(first) == 1
    assert await queue.remove("a") == 0

    await drain(backend)
    assert jobs.recorded == ["b"]
    await queue.enqueue(jobs.record, "a", job_id="a")
    await drain(backend)
    assert jobs.recorded == ["b", "a"]
