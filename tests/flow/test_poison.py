"""Jobs that nobody should write: each ends in a documented state, the worker keeps working, its neighbours are not harmed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from aiorq2 import Job, JobFailed, Queue, Retry, Worker
from aiorq2.backends.redis import RedisBackend
from tests.flow import poison
from tests.flow.at_work import at_work, drain
from tests.support import jobs
from tests.support.eventually import eventually, gates


async def taken(backend: RedisBackend, func: Any, *args: Any, **options: Any) -> Job:
    """Have a worker take the poison beside a neighbour; return the job as it ended, the neighbour being unharmed."""
    queue = Queue("q", backend)
    async with at_work(backend) as worker:
        neighbour = await queue.enqueue(jobs.wait_gate, "neighbour")
        await eventually(lambda: gates["neighbour"].arrivals == 1)

        job = await queue.enqueue(func, *args, **options)
        await job.latest_result(timeout=20)

        gates["neighbour"].open()
        assert await neighbour.wait(timeout=5) == "neighbour"
        assert neighbour.attempt == 1
        assert await (await queue.enqueue(jobs.add, 1, 2)).wait(timeout=5) == 3
        assert await (await queue.enqueue(jobs.add_sync, 1, 2)).wait(timeout=5) == 3
        assert worker.slots_lost == 0
    await job.refresh()
    return job


# -- what cannot even start --------------------------------------------------------------------------

PAYLOADS = {
    "nothing": b"",
    "no text": b"\xff\xfe\x00rubbish",
    "pickle for a json worker": b"\x80\x05K\x01.",
    "JSON that is no call": b'{"a": 1}',
    "a call of the wrong shape": b'["f", null]',
    "a call without a name": b"[null, null, [], {}]",
    "arguments of the wrong type": b'["tests.support.jobs.nothing", null, 5, {}]',
    "truncated zlib": b"x\x9c\x8bV*",
    "deep JSON": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", PAYLOADS)
async def test_undecodable_payload_fails_and_its_bytes_are_kept(
    backend: RedisBackend, kind: str
) -> None:
    """Nor is it repeated: it would not become readable."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.nothing, retry=Retry(3))
    await backend.run(["HSET", backend.keys.job(job.id), "data", PAYLOADS[kind]])
    good = await queue.enqueue(jobs.add, 1, 2)

    await drain(backend)

    with pytest.raises(JobFailed, match="DeserializationError"):
        await job.wait(timeout=5)
    assert len(await job.results()) == 1
    assert job.data == PAYLOADS[kind]
    assert await good.wait(timeout=5) == 3


@pytest.mark.parametrize(
    "name",
    [
        "no_such_module.task",
        "tests.support.jobs.no_such_function",
        "tests.support.jobs.Account",
        "tests.support.jobs.recorded",
        "tests.support.no_such_module.task",
        "tests.support.jobs.greeter.greeting",
        "tests.support.jobs.Account.__init__",
    ],
)
async def test_function_that_is_none_fails_as_unknown(backend: RedisBackend, name: str) -> None:
    """The message says what is missing."""
    job = await taken(backend, name)

    assert job.status == "failed"
    assert job.exc_info is not None
    assert "UnknownFunction" in job.exc_info


async def test_unknown_function_is_retried_if_asked(backend: RedisBackend) -> None:
    """While a new version is rolled out, the next worker may know it."""
    job = await Queue("q", backend).enqueue("no_such_module.task", retry=Retry(2))

    await drain(backend)

    assert [one.type.name for one in await job.results()] == ["FAILED", "RETRIED", "RETRIED"]


@pytest.mark.parametrize(
    "source",
    ["raise SystemExit(3)", "import sys; sys.exit()", "1 / 0", "def f(): f()\nf()", "def"],
    ids=["SystemExit", "sys.exit", "exception", "recursion", "syntax error"],
)
async def test_module_that_cannot_be_imported_fails_its_jobs_only(
    backend: RedisBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Whatever it does when it is imported."""
    (tmp_path / "bad_module.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)

    job = await taken(backend, "bad_module.task")

    assert job.status == "failed"
    assert job.exc_info is not None
    assert "UnknownFunction" in job.exc_info
    sys.modules.pop("bad_module", None)


async def test_wrong_arguments_are_the_jobs_failure(backend: RedisBackend) -> None:
    """As if they had been given to the function itself."""
    job = await taken(backend, jobs.add, 1, 2, 3, 4)

    assert job.exc_info is not None
    assert "TypeError: add() takes 2 positional arguments but 4 were given" in job.exc_info


# -- exceptions --------------------------------------------------------------------------------------

NAMES = {
    "StopIteration": "StopIteration",
    "cycle": "ValueError: first",
    "surrogate": "ValueError: half \\ud800 a pair",
    "Shy": "Shy",
    "Huge": "Huge",
}


@pytest.mark.parametrize("func", [poison.throw, poison.throw_sync])
@pytest.mark.parametrize("kind", poison.MAKERS)
async def test_whatever_a_job_raises_fails_that_job(
    memory_backend: RedisBackend, func: Any, kind: str
) -> None:
    """Its type is named; ``SystemExit`` and its like do not end the worker; the text is bounded."""
    job = await taken(memory_backend, func, kind)

    assert job.status == "failed"
    assert job.exc_info is not None
    assert NAMES.get(kind, kind) in job.exc_info
    assert len(job.exc_info) < 70_000
    assert len(await job.results()) == 1


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt", "Stubborn", "Shy", "Own"])
async def test_whatever_a_job_in_a_process_raises_fails_that_job(
    redis_backend: RedisBackend, kind: str
) -> None:
    """It comes back as text, so it need not be pickled; the process is there for the next one."""
    queue = Queue("q", redis_backend)
    job = await queue.enqueue(poison.throw_sync, kind, offload="process")
    after = await queue.enqueue(jobs.add_sync, 1, 2, offload="process")

    await drain(redis_backend, concurrency=1)

    with pytest.raises(JobFailed, match=kind):
        await job.wait(timeout=5)
    assert job.exc_info is not None
    assert "poison.py" in job.exc_info
    assert "aiorq2/" not in job.exc_info
    assert await after.wait(timeout=5) == 3


@pytest.mark.parametrize("func", [jobs.recursion, poison.recurse])
async def test_endless_recursion_is_a_failure(backend: RedisBackend, func: Any) -> None:
    """In a coroutine and in a thread."""
    job = await taken(backend, func)

    assert job.exc_info is not None
    assert "RecursionError" in job.exc_info


async def test_long_traceback_keeps_its_end(backend: RedisBackend) -> None:
    """Where the exception was raised is what one wants to know."""
    job = await taken(backend, poison.nest, 200)

    assert job.exc_info is not None
    assert 'raise ValueError("at the bottom")' in job.exc_info


# -- results -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", poison.RESULTS)
async def test_result_that_cannot_be_carried_is_a_failure(backend: RedisBackend, kind: str) -> None:
    """The function is not run again for it: it has done its work."""
    job = await taken(backend, poison.give, kind, retry=Retry(3))

    assert job.status == "failed"
    assert job.exc_info is not None
    assert "ResultNotSerializable" in job.exc_info
    assert jobs.attempts[kind] == 1


async def test_result_above_the_limit_is_a_failure(backend: RedisBackend) -> None:
    """1 MiB, unless the worker is told otherwise."""
    job = await taken(backend, jobs.big, 10_000_000, retry=Retry(3))

    assert job.exc_info is not None
    assert "ResultTooLarge" in job.exc_info
    assert len(await job.results()) == 1

    large = await Queue("q", backend).enqueue(jobs.big, 2_000_000)
    await drain(backend, result_limit=3_000_000)
    assert len(await large.wait(timeout=5)) == 2_000_000


async def test_result_that_cannot_leave_its_process_is_a_failure(
    redis_backend: RedisBackend,
) -> None:
    """The same failure as if it could not be carried to Redis."""
    job = await taken(redis_backend, poison.give_unpicklable, offload="process", retry=Retry(3))

    assert job.exc_info is not None
    assert "ResultNotSerializable" in job.exc_info
    assert "KeyError" in job.exc_info
    assert len(await job.results()) == 1


# -- processes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["os._exit", "segfault", "SIGKILL", "sys.exit"])
async def test_job_that_kills_its_process_fails_and_the_next_one_gets_another(
    redis_backend: RedisBackend, how: str
) -> None:
    """A process that has died is told apart from an exception; jobs in other processes go on."""
    queue = Queue("q", redis_backend)
    other = await queue.enqueue(jobs.slow_sync, 0.5, offload="process")

    job = await taken(redis_backend, poison.die, how, offload="process")

    assert job.status == "failed"
    assert job.exc_info is not None
    died = "AbandonedJobError: Work-horse terminated unexpectedly"
    assert ("SystemExit: 3" if how == "sys.exit" else died) in job.exc_info
    assert await other.wait(timeout=5) == 0.5
    after = await queue.enqueue(jobs.add_sync, 1, 2, offload="process")
    await drain(redis_backend)
    assert await after.wait(timeout=5) == 3


async def test_process_is_used_again(redis_backend: RedisBackend) -> None:
    """A new one for every job would cost a third of a second each."""
    queue = Queue("q", redis_backend)
    made = [await queue.enqueue(poison.tell_pid, offload="process") for _ in range(5)]

    await drain(redis_backend, concurrency=1)

    assert len({await job.wait(timeout=5) for job in made}) == 1


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        (poison.make_noise, ""),
        (poison.close_everything, "closed"),
        (poison.signal_oneself, "ended by SIGTERM"),
    ],
)
async def test_job_in_a_process_cannot_disturb_the_line_to_its_worker(
    redis_backend: RedisBackend, func: Any, expected: str
) -> None:
    """Whatever it prints, closes or is sent; the process is there for the next one."""
    queue = Queue("q", redis_backend)
    job = await queue.enqueue(func, offload="process", job_timeout=20)
    after = [await queue.enqueue(poison.tell_pid, offload="process") for _ in range(3)]

    await drain(redis_backend, concurrency=1)

    assert await job.wait(timeout=5) == expected
    assert len({await one.wait(timeout=5) for one in after}) == 1


async def test_job_in_a_process_that_cannot_reach_redis_still_knows_itself(
    memory_backend: RedisBackend,
) -> None:
    """``memory://`` is in another process; saving says so, looking works."""
    from tests.flow import samples

    queue = Queue("q", memory_backend)
    look = await queue.enqueue(samples.look_sync, offload="process")
    save = await queue.enqueue(samples.count_in_meta_sync, offload="process")

    await drain(memory_backend)

    assert (await look.wait(timeout=5))["id"] == look.id
    with pytest.raises(JobFailed, match="BackendUnavailable: a job in a process cannot reach"):
        await save.wait(timeout=5)


# -- leaks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("func", [poison.leave_behind, poison.leave_behind_sync])
@pytest.mark.parametrize("options", [{}, {"offload": "process"}], ids=["here", "in a process"])
async def test_what_a_job_leaves_in_the_context_is_not_seen_by_the_next(
    redis_backend: RedisBackend, func: Any, options: dict[str, Any]
) -> None:
    """Each job begins with an empty context: nothing of the last job's, nothing of the worker's."""
    poison.left_behind.set("by whoever started the worker")
    queue = Queue("q", redis_backend)
    made = [await queue.enqueue(func, f"by job {n}", **options) for n in range(3)]

    await drain(redis_backend, concurrency=1)

    assert [await job.wait(timeout=5) for job in made] == ["nothing"] * 3


# -- all at once -------------------------------------------------------------------------------------


async def test_all_of_it_at_once_harms_no_neighbour(backend: RedisBackend) -> None:
    """Every exception and every result of this file among two hundred ordinary jobs."""
    queue = Queue("q", backend)
    ordinary, bad = [], []
    for n in range(200):
        ordinary.append(await queue.enqueue(jobs.echo, n))
        if n % 5 == 0:
            kinds = [*poison.MAKERS]
            bad.append(await queue.enqueue(poison.throw, kinds[n // 5 % len(kinds)]))
            bad.append(await queue.enqueue(poison.throw_sync, kinds[n // 5 % len(kinds)]))
            results = [*poison.RESULTS]
            bad.append(await queue.enqueue(poison.give, results[n // 5 % len(results)]))
    worker = Worker("q", backend, concurrency=20)

    await worker.work(burst=True)

    values = await asyncio.gather(*[job.wait(5) for job in ordinary])
    outcomes = await asyncio.gather(*[job.wait(5) for job in bad], return_exceptions=True)
    assert values == list(range(200))
    assert {type(one) for one in outcomes} == {JobFailed}
