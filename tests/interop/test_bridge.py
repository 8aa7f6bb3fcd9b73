"""Code written for RQ, in jobs that an aiorq2 worker runs: rq's ``get_current_job()``, its callbacks and its exceptions."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import Context
from typing import Any, cast

import pytest
import redis
import rq
import rq.exceptions
import rq.job
import rq.local
import rq.timeouts

from aiorq2 import AbandonedJobError, Job, JobFailed, Queue, Worker, bridge
from aiorq2.backends.base import JobRecord
from aiorq2.backends.redis import RedisBackend
from aiorq2.serializers import resolve
from tests.interop import asking
from tests.interop.peer import python_of
from tests.support.processes import ROOT

told: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    told.clear()


def theirs(client: redis.Redis) -> rq.Queue:
    """Return rq's queue, as its users have it: with pickle."""
    return rq.Queue("q", connection=client)


async def drain(backend: RedisBackend, **options: Any) -> None:
    """Run a worker until nothing is left."""
    await Worker("q", backend, **{"serializer": "pickle", "allow": ["*"], **options}).work(
        burst=True
    )


# -- get_current_job ---------------------------------------------------------------------------------


def _check(answers: list[dict[str, Any]]) -> None:
    notes = ["one", "two", "in a thread", "thread", "process", "in a process"]
    assert [one["meta"] for one in answers] == [{"note": note} for note in notes]
    assert [one["told"] for one in answers] == [
        [one["id"], "started", "asked", note] for one, note in zip(answers, notes, strict=True)
    ]


async def test_rq_answers_on_the_loop_in_threads_and_in_processes(
    redis_backend: RedisBackend,
) -> None:
    """With the job itself, whose meta can be changed and saved; each of those that run at the same time is told its own."""
    _check(await asking.ask_everywhere(redis_backend))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.6", "1.16"])
def test_old_rq_answers_as_well(version: str, redis_url: str) -> None:
    """Its stack is one per thread; in our worker it is one per job."""
    site = python_of(version).parents[1] / "lib"
    (packages,) = site.glob("python3.*/site-packages")

    done = subprocess.run(
        [sys.executable, "-c", "from tests.interop import asking; asking.main()", redis_url],
        env={"PYTHONPATH": f"{packages}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    told_version, answers = json.loads(done.stdout)
    assert told_version.startswith(version)
    _check(answers)


async def test_rq_answers_in_a_job_that_rq_enqueued(
    redis_backend: RedisBackend, redis_client: redis.Redis
) -> None:
    """All that rq knows of it is there, without a look at Redis."""
    job = theirs(redis_client).enqueue(note_attributes, 1, key="v", meta={"a": 1}, description="d")

    await drain(redis_backend)

    assert told == [(job.id, (1,), {"key": "v"}, {"a": 1}, "d", "q", 180, job.created_at)]


def note_attributes(*args: Any, **kwargs: Any) -> None:
    """Note what rq's job says of itself."""
    job = cast("Any", rq.get_current_job())
    told.append(
        (job.id, job.args, job.kwargs, job.meta, job.description, job.origin, job.timeout, job.created_at)
    )  # fmt: skip


async def test_rq_is_not_imported_for_our_jobs() -> None:
    """Nor does anything else of aiorq2 import it."""
    program = (
        "import asyncio, sys, aiorq2\n"
        "from aiorq2.backends import connect\n"
        "async def main():\n"
        "    backend = connect('memory://x')\n"
        "    job = await aiorq2.Queue('q', backend).enqueue('tests.support.jobs.add', 1, 2)\n"
        "    await aiorq2.Worker('q', backend).work(burst=True)\n"
        "    print(await job.wait(5), [one for one in sys.modules if one.split('.')[0] == 'rq'])\n"
        "asyncio.run(main())\n"
    )

    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )

    assert done.stdout == "3 []\n", done.stderr


async def test_without_rq_jobs_run_as_ever(
    redis_backend: RedisBackend, redis_client: redis.Redis, without_rq: None
) -> None:
    """Also those that rq enqueued elsewhere."""
    job = theirs(redis_client).enqueue(
        "tests.support.jobs.add", 1, 2, on_success=rq.Callback(note_kind)
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "rq.job", None)
        patch.delitem(sys.modules, "rq.job")
        patch.setitem(sys.modules, "rq", None)
        await drain(redis_backend)

    assert job.get_status() == "finished"
    assert told == [Job]


@pytest.fixture
def without_rq() -> Iterator[None]:
    """Nobody remembers that rq could be imported."""
    bridge._imported.cache_clear()
    yield
    bridge._imported.cache_clear()


def a_job(client: redis.Redis) -> Any:
    """Return rq's job as one that runs here would get it."""
    fields = {"data": b"x", "origin": b"q", "status": b"started", "meta": b'{"a":1}'}
    found: list[Any] = []
    Context().run(
        lambda: found.append(bridge.enter(JobRecord("j", fields), resolve("json"), lambda: client))
    )
    return found[0]


def test_job_is_made_when_it_is_looked_at(redis_client: redis.Redis) -> None:
    """Until then it costs next to nothing; then it is rq's own class."""
    job = a_job(redis_client)
    assert type(job) is not rq.job.Job
    assert isinstance(job, rq.job.Job)
    assert vars(job).keys() == {"_unread"}

    assert (job.id, job.meta, job.connection) == ("j", {"a": 1}, redis_client)

    assert type(job) is rq.job.Job


def test_what_is_set_first_stays(redis_client: redis.Redis) -> None:
    """``job.meta = {…}`` is not undone by what was read."""
    job = a_job(redis_client)

    job.meta = {"b": 2}

    assert (job.meta, job.origin) == ({"b": 2}, "q")


def test_many_threads_see_one_job(redis_client: redis.Redis) -> None:
    """Whoever looks first makes it, once."""
    job = a_job(redis_client)
    barrier = threading.Barrier(8)
    seen: list[Any] = []

    def look() -> None:
        barrier.wait()
        seen.append(job.meta)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(one is seen[0] for one in seen)
    assert len(seen) == 8


def test_stack_of_old_rq_is_one_per_context() -> None:
    """What rq's own worker has pushed before is still found beneath."""
    old: Any = rq.local.LocalStack
    below = old()
    below.push("before")
    stack = bridge._ContextStack(below)

    def run() -> None:
        stack.push("job")
        assert stack.top == "job"
        assert stack.pop() == "job"
        assert stack.top == "before"

    Context().run(stack.push, "elsewhere")
    Context().run(run)

    assert stack.top == stack.pop() == "before"
    assert stack.top is None


# -- callbacks ---------------------------------------------------------------------------------------


def note_kind(job: Any, connection: redis.Redis, *rest: Any) -> None:
    """Note what a callback is given."""
    told.append(type(job))


def note_success(job: Any, connection: redis.Redis, result: Any) -> None:
    """Use the job as code for RQ does."""
    job.meta["seen"] = result
    job.save_meta()
    told.append((type(job), job.get_status(refresh=False).value, job.is_started))


def note_failure(job: Any, connection: redis.Redis, kind: Any, error: Any, trace: Any) -> None:
    """Note it."""
    told.append((type(job), job.get_status(refresh=False).value, kind, str(error)))


async def note_async(job: Job, connection: Any, result: Any) -> None:
    """A coroutine function, which rq's worker would refuse."""
    told.append((type(job), await job.get_meta()))


async def test_callback_that_rq_was_told_of_gets_rqs_job(
    redis_backend: RedisBackend, redis_client: redis.Redis
) -> None:
    """Its status is already the new one, in Redis not yet: as in RQ."""
    queue = theirs(redis_client)
    job = queue.enqueue("tests.support.jobs.add", 1, 2, on_success=rq.Callback(note_success))
    queue.enqueue("tests.support.jobs.fail", "boom", on_failure=rq.Callback(note_failure))

    await drain(redis_backend, concurrency=1)

    assert told == [
        (rq.job.Job, "finished", True),
        (rq.job.Job, "failed", ValueError, "boom"),
    ]
    assert job.get_meta() == {"seen": 3}


async def test_other_callbacks_get_our_job(
    redis_backend: RedisBackend, redis_client: redis.Redis
) -> None:
    """Those that are coroutine functions, and those of jobs that aiorq2 enqueued."""
    theirs(redis_client).enqueue(
        "tests.support.jobs.add", 1, 2, meta={"a": 1}, on_success=rq.Callback(f"{__name__}.note_async")
    )  # fmt: skip
    await Queue("q", redis_backend, serializer="pickle").enqueue(
        "tests.support.jobs.add", 1, 2, on_success=note_kind
    )

    await drain(redis_backend, concurrency=1)

    assert told == [(Job, {"a": 1}), Job]


# -- exceptions --------------------------------------------------------------------------------------


def end_in_order() -> str:
    """Catch what RQ's timer raises, and end in good order."""
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            time.sleep(0.005)
    except rq.timeouts.JobTimeoutException as error:
        told.append(type(error).__name__)
        raise
    return "not interrupted"


async def test_timeout_is_rqs_exception_as_well(
    redis_backend: RedisBackend, redis_client: redis.Redis
) -> None:
    """In the job and for its callback, so that ``except JobTimeoutException`` written for RQ goes on working."""
    theirs(redis_client).enqueue(end_in_order, job_timeout=1, on_failure=rq.Callback(note_failure))

    await drain(redis_backend)

    assert told[0] == "JobTimeoutException"
    assert issubclass(told[1][2], rq.timeouts.JobTimeoutException)


def test_end_of_a_worker_is_rqs_exception_as_well() -> None:
    """The failure callback of a job whose worker died can tell it by rq's class; its name is ours."""
    kind = bridge.also_rqs(AbandonedJobError)

    assert issubclass(kind, rq.exceptions.AbandonedJobError)
    assert issubclass(kind, AbandonedJobError)
    assert (kind.__module__, kind.__name__) == ("aiorq2.errors", "AbandonedJobError")


# -- retries -----------------------------------------------------------------------------------------


def ask_again() -> rq.Retry:
    """Be content never."""
    return rq.Retry(1)


async def test_retry_that_a_job_returned_is_found_by_rqs_readers(
    redis_backend: RedisBackend, redis_client: redis.Redis
) -> None:
    """As its own worker writes it, without a traceback; we say in words what went wrong."""
    job = theirs(redis_client).enqueue(ask_again)

    await drain(redis_backend)

    results = job.results()
    assert [one.type.name for one in results] == ["MAX_RETRIES_EXCEEDED", "RETRIED"]
    assert [(type(one.return_value), one.exc_string) for one in results] == [(rq.Retry, None)] * 2
    with pytest.raises(JobFailed, match="asked for more retries than it gets"):
        await (await Job.fetch(job.id, redis_backend, "pickle")).wait(timeout=5)
