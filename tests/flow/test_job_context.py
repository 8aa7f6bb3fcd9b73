"""``job_context``: what a job's function is called in, such as the application context of a framework."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiorq2 import RQ, Job, JobStatus, Queue
from aiorq2.backends.redis import RedisBackend
from aiorq2.executor import JobContext
from tests.flow import context_jobs
from tests.flow.at_work import drain

seen: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


@asynccontextmanager
async def within(job: Job) -> AsyncIterator[None]:
    """Set a context variable; note down how the job ended."""
    token = context_jobs.surroundings.set(f"in {job.origin}")
    try:
        yield
        seen.append("returned")
    except BaseException as error:
        seen.append(type(error).__name__)
        raise
    finally:
        context_jobs.surroundings.reset(token)


@pytest.mark.parametrize("function", [context_jobs.look, context_jobs.look_sync])
async def test_jobs_run_in_their_context(
    memory_backend: RedisBackend, function: Callable[[], Any]
) -> None:
    """Coroutine functions in the same task, plain functions in a thread that has its variables."""
    job = await Queue("q", memory_backend).enqueue(function)

    await drain(memory_backend, job_context=within)

    assert await job.wait() == "in q"
    assert seen == ["returned"]


async def test_an_inline_job_has_it_too(memory_backend: RedisBackend) -> None:
    """``is_async=False`` differs in when, not in what."""
    queue = Queue("q", memory_backend, is_async=False, job_context=within)

    assert (await queue.enqueue(context_jobs.look)).result == "in q"
    assert (await queue.enqueue(context_jobs.look_sync)).result == "in q"


async def test_the_exception_of_a_job_passes_through(memory_backend: RedisBackend) -> None:
    """So that a context can roll back; the job fails with it."""
    job = await Queue("q", memory_backend).enqueue(context_jobs.fail)

    await drain(memory_backend, job_context=within)

    assert await job.get_status() is JobStatus.FAILED
    assert "ValueError: boom" in (job.exc_info or "")
    assert seen == ["ValueError"]


@pytest.mark.parametrize(
    ("function", "timeout", "ended"),
    [
        (context_jobs.linger, 0.2, "CancelledError"),
        (context_jobs.linger_sync, 2, "JobTimeoutException"),
    ],
)
async def test_a_timeout_passes_through(
    memory_backend: RedisBackend, function: Callable[[], Any], timeout: float, ended: str
) -> None:
    """As what it is to the job: a coroutine is cancelled, in a thread an exception is raised."""
    job = await Queue("q", memory_backend).enqueue(function, job_timeout=timeout)

    await drain(memory_backend, job_context=within)

    assert await job.get_status() is JobStatus.FAILED
    assert "JobTimeoutException" in (job.exc_info or "")
    assert seen == [ended]


@pytest.mark.parametrize("when", ["entering", "leaving"])
async def test_a_context_that_raises_fails_the_job(memory_backend: RedisBackend, when: str) -> None:
    """With its exception."""

    @asynccontextmanager
    async def broken(_: Job) -> AsyncIterator[None]:
        if when == "entering":
            raise RuntimeError("no context")
        yield
        raise RuntimeError("no context")

    job = await Queue("q", memory_backend).enqueue(context_jobs.look)

    await drain(memory_backend, job_context=broken)

    assert await job.get_status() is JobStatus.FAILED
    assert "RuntimeError: no context" in (job.exc_info or "")


async def test_a_context_that_does_not_end_is_interrupted(memory_backend: RedisBackend) -> None:
    """The time of a job runs while it is being left."""

    @asynccontextmanager
    async def endless(_: Job) -> AsyncIterator[None]:
        yield
        await asyncio.sleep(60)

    queue = Queue("q", memory_backend)
    jobs = [
        await queue.enqueue(function, job_timeout=0.2)
        for function in (context_jobs.look, context_jobs.look_sync)
    ]

    await drain(memory_backend, job_context=endless)

    for job in jobs:
        assert await job.get_status() is JobStatus.FAILED
        assert "JobTimeoutException" in (job.exc_info or "")


async def test_a_hub_may_have_one(memory_backend: RedisBackend) -> None:
    """For its workers, and for what runs inline."""

    class Ours(RQ):
        def job_context(self) -> JobContext:
            return within

    rq = Ours(memory_backend)
    job = await rq.job(context_jobs.look).queue()
    await rq.get_worker().work(burst=True)
    rq.is_async = False
    inline = await rq.job(context_jobs.look_sync).queue()

    assert (await job.wait(), inline.result) == ("in default", "in default")
