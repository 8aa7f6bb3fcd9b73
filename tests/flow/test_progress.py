"""How far a job is: it says so, and who follows it is told."""

from __future__ import annotations

import asyncio

import pytest

from aiorq2 import InvalidOption, Job, NoSuchJobError, Queue, get_current_job
from aiorq2.backends.redis import RedisBackend
from aiorq2.progress import Progress
from aiorq2.states import JobStatus
from tests.flow.at_work import at_work, drain


async def steps() -> str:
    """Say three times how far it is."""
    job = get_current_job()
    assert job is not None
    for done in (0.25, 0.5, 1):
        await job.progress(done, f"{done:.0%}")
        await asyncio.sleep(0.02)
    return "done"


def steps_in_a_thread() -> None:
    """The same, where nothing is awaited."""
    job = get_current_job()
    assert job is not None
    job.progress(0.5, "half")


async def test_progress_is_kept_with_the_job(backend: RedisBackend) -> None:
    """Whoever reads the job sees what it said last, also from a thread."""
    queue = Queue("q", backend)
    job, other = await queue.enqueue(steps), await queue.enqueue(steps_in_a_thread)

    assert job.progressed == Progress(JobStatus.QUEUED)
    await drain(backend, allow=["*"])
    await job.refresh()
    await other.refresh()

    assert job.progressed == Progress(JobStatus.FINISHED, 1.0, "100%")
    assert other.progressed == Progress(JobStatus.FINISHED, 0.5, "half")


async def test_follower_is_told_until_the_end(backend: RedisBackend) -> None:
    """From where the job is now, through what it says, to its end; several may follow one job."""
    job = await Queue("q", backend).enqueue(steps)

    async def followed() -> list[Progress]:
        return [one async for one in (await Job.fetch(job.id, backend)).follow()]

    followers = [asyncio.create_task(followed()) for _ in range(2)]
    await asyncio.sleep(0.1)
    async with at_work(backend, allow=["*"]), asyncio.timeout(20):
        seen = await asyncio.gather(*followers)

    for one in seen:
        assert one[0] == Progress(JobStatus.QUEUED)
        assert [now.done for now in one if now.status is JobStatus.STARTED and now.done] == [
            0.25,
            0.5,
            1.0,
        ]
        assert one[-1].status is JobStatus.FINISHED


async def test_follower_of_what_has_ended_or_is_gone(backend: RedisBackend) -> None:
    """Hears that, and no more."""
    queue = Queue("q", backend)
    job, gone = await queue.enqueue(steps), await queue.enqueue(steps)
    await drain(backend, allow=["*"])
    await gone.delete()

    assert [one.status async for one in job.follow()] == [JobStatus.FINISHED]
    with pytest.raises(NoSuchJobError):
        _ = [one async for one in gone.follow()]


@pytest.mark.parametrize("done", [-0.1, 1.1, float("nan"), "half", True, None])
async def test_progress_that_cannot_be_meant_is_refused(
    backend: RedisBackend, done: object
) -> None:
    """Before anything is sent."""
    job = await Queue("q", backend).enqueue(steps)

    with pytest.raises(InvalidOption, match="from 0 to 1"):
        await job.progress(done)  # type: ignore[arg-type]
    await job.delete()


async def test_progress_of_a_job_that_is_gone_is_refused(backend: RedisBackend) -> None:
    """And leaves nothing behind."""
    job = await Queue("q", backend).enqueue(steps)
    await job.delete()

    with pytest.raises(NoSuchJobError, match="progress"):
        await job.progress(0.5)
