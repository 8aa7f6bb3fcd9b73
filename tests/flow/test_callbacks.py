"""Functions that are called when a job has succeeded, failed or been stopped."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from types import TracebackType
from typing import Any, NoReturn

import anyio.from_thread
import pytest
import redis
import redis.asyncio

from aiorq2 import (
    AbandonedJobError,
    Callback,
    InvalidJobOperation,
    InvalidOption,
    Job,
    Queue,
    Retry,
    get_current_job,
)
from aiorq2.backends.redis import RedisBackend
from tests.contract import stage
from tests.flow.at_work import at_work, drain
from tests.support import jobs
from tests.support.eventually import eventually, gates

told: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    told.clear()


async def succeeded(job: Job, connection: redis.asyncio.Redis, result: Any) -> None:
    """Note what it was called with."""
    await connection.ping()
    told.append(("success", job.id, str(job.status), result))


def succeeded_sync(job: Job, connection: redis.Redis, result: Any) -> None:
    """Note what it was called with, from a thread."""
    connection.ping()
    told.append(("success", job.id, str(job.status), result))


async def failed(
    job: Job,
    connection: redis.asyncio.Redis,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
) -> None:
    """Note what it was called with."""
    told.append(("failure", str(job.status), kind.__name__, str(error), trace is not None))


def failed_sync(job: Job, connection: redis.Redis, *error: Any) -> None:
    """Note what it was called with, from a thread."""
    connection.ping()
    told.append(("failure", str(job.status), error[0].__name__, str(error[1]), bool(error[2])))


async def stopped(job: Job, connection: redis.asyncio.Redis) -> None:
    """Note what it was called with."""
    told.append(("stopped", str(job.status)))


async def explodes(*_: Any) -> NoReturn:
    """Raise."""
    raise LookupError("callback")


def exits(*_: Any) -> NoReturn:
    """Do what nobody should do in a callback."""
    sys.exit(3)


async def exits_async(*_: Any) -> NoReturn:
    """Do the same on the loop."""
    sys.exit(3)


async def takes_long(*_: Any) -> None:
    """Take more time than it has."""
    await asyncio.sleep(30)


def takes_long_sync(*_: Any) -> None:
    """Take more time than it has, in a thread."""
    time.sleep(4)


async def waits(job: Job, *_: Any) -> None:
    """Go on until the test lets go."""
    await gates["callback"].wait()
    told.append(job.id)


def waits_sync(job: Job, *_: Any) -> None:
    """Do the same in a thread."""
    gates["callback"].wait_blocking()
    told.append(job.id)


async def returns_at_once() -> str:
    """Return when told to end."""
    try:
        await gates["begun"].wait()
    except asyncio.CancelledError:
        return "early"
    return "late"


async def asks_for_the_end(job: Job, *_: Any) -> None:
    """Wait for what cannot be while this waits."""
    try:
        await job.wait(timeout=5)
    except InvalidJobOperation as error:
        told.append(type(error).__name__)


def asks_for_the_end_sync(job: Job, *_: Any) -> None:
    """Do the same in a thread."""
    anyio.from_thread.run(asks_for_the_end, job)


def saves_meta(job: Job, connection: Any, result: Any) -> None:
    """Write as code for RQ does, without ``await``."""
    assert get_current_job() == job
    job.meta["seen"] = result
    job.save_meta()


@pytest.mark.parametrize("callback", [succeeded, succeeded_sync])
async def test_success_is_told_with_the_result(backend: RedisBackend, callback: Any) -> None:
    """A coroutine function gets the asynchronous client, a plain one a synchronous one, as RQ's contract says."""
    job = await Queue("q", backend).enqueue(jobs.add, 1, 2, on_success=callback)

    await drain(backend)

    assert told == [("success", job.id, "finished", 3)]
    assert await job.wait(timeout=5) == 3


@pytest.mark.parametrize("callback", [failed, failed_sync])
async def test_failure_is_told_with_the_exception(backend: RedisBackend, callback: Any) -> None:
    """RQ's three arguments: class, exception, traceback."""
    job = await Queue("q", backend).enqueue(jobs.fail, "boom", on_failure=callback)

    await drain(backend)

    assert told == [("failure", "failed", "ValueError", "boom", True)]
    assert await job.get_status() == "failed"


async def test_failure_is_told_for_every_attempt(backend: RedisBackend) -> None:
    """As in RQ, also when the job is run again; its success is told at the end."""
    await Queue("q", backend).enqueue(
        jobs.fails_times, "k", 2, retry=3, on_failure=failed, on_success=succeeded
    )

    await drain(backend)

    assert [one[0] for one in told] == ["failure", "failure", "success"]


async def ask_again() -> Any:
    """Ask for a retry, once."""
    job = get_current_job()
    assert job is not None
    return Retry(1) if job.attempt == 1 else "done"


async def test_retry_that_was_asked_for_is_no_failure(backend: RedisBackend) -> None:
    """Who returns a ``Retry`` has not failed."""
    await Queue("q", backend).enqueue(ask_again, on_failure=failed, on_success=succeeded)

    await drain(backend)

    assert [one[0] for one in told] == ["success"]


async def test_stop_is_told(backend: RedisBackend) -> None:
    """A job that was cancelled while it ran."""
    job = await Queue("q", backend).enqueue(jobs.wait_gate, "g", on_stopped=stopped)

    async with at_work(backend):
        await eventually(lambda: gates["g"].arrivals == 1)
        await job.cancel()
        await eventually(job.is_stopped)

    assert told == [("stopped", "stopped")]


@pytest.mark.parametrize("callback", [explodes, exits, exits_async])
async def test_success_whose_callback_raises_is_a_failure(
    backend: RedisBackend, callback: Any
) -> None:
    """As in RQ: the failure is told, retries are used up, and what is kept is the callback's traceback."""
    job = await Queue("q", backend).enqueue(
        jobs.record, "x", retry=1, on_success=callback, on_failure=failed
    )

    await drain(backend)

    assert jobs.recorded == ["x", "x"]
    assert [one[0] for one in told] == ["failure", "failure"]
    assert await job.get_status() == "failed"
    assert "callback" in (job.exc_info or "")


async def test_failure_whose_callback_raises_tells_of_the_callback(backend: RedisBackend) -> None:
    """As in RQ, its exception takes the place of the job's; the job's is its context."""
    job = await Queue("q", backend).enqueue(jobs.fail, "boom", on_failure=explodes)

    await drain(backend)

    assert await job.get_status() == "failed"
    assert "LookupError: callback" in (job.exc_info or "")


async def test_stop_whose_callback_raises_stays_a_stop(backend: RedisBackend) -> None:
    """It is logged."""
    job = await Queue("q", backend).enqueue(jobs.wait_gate, "g", on_stopped=explodes)

    async with at_work(backend):
        await eventually(lambda: gates["g"].arrivals == 1)
        await job.cancel()
        await eventually(job.is_stopped)


@pytest.mark.parametrize("command", ["stop-job", "kill-horse"])
async def test_stop_of_a_job_that_has_ended_does_not_hit_its_callback(
    backend: RedisBackend, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its code has returned: it is finished, with its result, when the callback has ended."""
    caplog.set_level(logging.INFO, "aiorq2")
    job = await Queue("q", backend).enqueue(jobs.add, 1, 2, on_success=waits)

    async with at_work(backend, name="w-1"):
        await eventually(lambda: gates["callback"].arrivals == 1)
        await backend.command("w-1", json.dumps({"command": command, "job_id": job.id}))
        await eventually(lambda: f"told {command}" in caplog.text)
        gates["callback"].open()
        assert await job.wait(timeout=5) == 3

    assert told == [job.id]


@pytest.mark.usefixtures("unhurried_stop")
@pytest.mark.parametrize(("func", "callback"), [(jobs.fail, waits), (jobs.fail_sync, waits_sync)])
async def test_grace_that_ends_during_a_callback_cuts_the_callback_alone(
    backend: RedisBackend, func: Any, callback: Any
) -> None:
    """The attempt counts as it ended: it has failed, and the job gets the retry that it has left."""
    job = await Queue("q", backend).enqueue(func, retry=1, on_failure=callback)

    async with at_work(backend, grace=0.1):
        await eventually(lambda: gates["callback"].arrivals == 1)

    assert await job.is_queued()
    assert job.retries_left == 0
    gates["callback"].open()
    await drain(backend)
    assert [one.type.name for one in await job.results()] == ["FAILED", "RETRIED"]


@pytest.mark.usefixtures("unhurried_stop")
@pytest.mark.parametrize("is_forced", [False, True])
async def test_callback_that_begins_at_the_end_of_the_grace_is_cut_in_time(
    backend: RedisBackend, is_forced: bool
) -> None:
    """The job heard that it is to end, and returned: what it returned is kept, though its callback goes on for too long."""
    job = await Queue("q", backend).enqueue(returns_at_once, on_success=waits)

    async with at_work(backend, grace=60 if is_forced else 0.1) as worker:
        await eventually(lambda: gates["begun"].arrivals == 1)
        if is_forced:
            worker.request_stop()
            worker.request_stop()

    assert gates["callback"].arrivals == 1
    assert await job.is_finished()
    assert job.result == "early"


@pytest.mark.parametrize("callback", [asks_for_the_end, asks_for_the_end_sync])
@pytest.mark.parametrize("is_async", [True, False])
async def test_callback_that_waits_for_its_job_is_refused_at_once(
    backend: RedisBackend, callback: Any, is_async: bool
) -> None:
    """The end is written when the callback has returned."""
    job = await Queue("q", backend, is_async=is_async).enqueue(jobs.nothing, on_success=callback)

    await drain(backend)

    assert told == ["InvalidJobOperation"]
    assert await job.is_finished()


async def test_callback_has_a_timeout_of_its_own(backend: RedisBackend) -> None:
    """A minute, or what ``Callback(timeout=…)`` says."""
    queue = Queue("q", backend)

    job = await queue.enqueue(
        jobs.nothing, on_success=succeeded, on_failure=Callback(failed, timeout="2m")
    )

    assert [job.callback_timeout(event) for event in ("success", "failure", "stopped")] == [
        60,
        120,
        None,
    ]


@pytest.mark.parametrize("callback", [takes_long, takes_long_sync])
async def test_callback_that_takes_too_long_is_given_up(
    backend: RedisBackend, callback: Any
) -> None:
    """The job has failed then."""
    job = await Queue("q", backend).enqueue(jobs.nothing, on_success=Callback(callback, timeout=1))

    await drain(backend)

    assert await job.get_status() == "failed"
    assert f"{callback.__name__} took longer than 1 seconds" in (job.exc_info or "")


async def test_callback_sees_the_job_and_may_write_its_meta(backend: RedisBackend) -> None:
    """Code written for RQ works as it stands, in a plain function."""
    job = await Queue("q", backend).enqueue(jobs.add, 1, 2, on_success=saves_meta)

    await drain(backend)

    await job.refresh()
    assert (job.status, job.meta) == ("finished", {"seen": 3})


async def test_callback_is_called_before_the_end_is_written(backend: RedisBackend) -> None:
    """Who waits for the job can rely on it."""
    job = await Queue("q", backend).enqueue(jobs.nothing, on_success=succeeded)

    async with at_work(backend):
        await job.wait(timeout=5)

    assert len(told) == 1


async def test_callbacks_are_given_by_name_too(backend: RedisBackend) -> None:
    """A dotted name, a function or a ``Callback``; what a worker could not find is refused, or is a failure there."""
    queue = Queue("q", backend)
    name = f"{__name__}.succeeded"
    await queue.enqueue(jobs.nothing, on_success=name)
    await queue.enqueue(jobs.nothing, on_success=Callback(name))
    lost = await queue.enqueue(jobs.nothing, on_success="tests.no_such.thing")

    await drain(backend)

    assert [one[0] for one in told] == ["success", "success"]
    assert await lost.get_status() == "failed"
    with pytest.raises(InvalidOption, match="bound method"):
        Callback(jobs.greeter.__call__)
    with pytest.raises(InvalidOption):
        await queue.enqueue(jobs.nothing, on_success=lambda *_: None)


async def test_job_that_died_with_its_worker_is_told_as_a_failure(
    redis_backend: RedisBackend,
) -> None:
    """The worker that notices it calls back with ``AbandonedJobError``, once the job has failed for good."""
    queue = Queue("q", redis_backend)
    job = await queue.enqueue(jobs.nothing, redeliver=False, on_failure=failed)
    claim = (await redis_backend.claim(stage.SEAT, stage.request())).claims[0]
    await stage.end_lease(redis_backend, claim)

    async with at_work(redis_backend, lease=0.5):
        await eventually(job.is_failed, timeout=10)
        await eventually(lambda: told)

    assert told[0][:3] == ("failure", "failed", AbandonedJobError.__name__)
