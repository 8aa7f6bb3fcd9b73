"""Jobs by the thousand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aiorq2 import InvalidOption, Job, Queue, signed
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.wire import pack_text
from aiorq2.bulk import Selection, Step, error_of
from aiorq2.payloads import function_name
from aiorq2.timing import to_iso
from tests.flow.at_work import drain
from tests.flow.cli_stage import Stage, is_one_sentence
from tests.support import jobs


async def times_out() -> None:
    """Fail in another way."""
    raise TimeoutError("late")


@pytest.fixture
async def failed(backend: RedisBackend) -> list[Job]:
    """Three jobs that failed with ValueError, two with TimeoutError, one of them on another queue."""
    q, other = Queue("q", backend), Queue("other", backend)
    found = [await q.enqueue(jobs.fail) for _ in range(3)]
    found += [await q.enqueue(times_out), await other.enqueue(times_out)]
    await drain(backend, ["q", "other"])
    return found


async def last(steps: AsyncIterator[Step]) -> Step:
    """Take all the steps, and return the last one."""
    return [step async for step in steps][-1]


async def statuses(given: list[Job]) -> list[str]:
    """Return the first letters of the statuses."""
    return [str(await job.get_status())[0] for job in given]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "qqqqq"),
        ({"queues": "q"}, "qqqqf"),
        ({"queues": ["other", "unknown"]}, "ffffq"),
        ({"func": "tests.support.jobs.fail"}, "qqqff"),
        ({"func": "tests.flow.*"}, "fffqq"),
        ({"error": "TimeoutError"}, "fffqq"),
        ({"error": "builtins.ValueError"}, "qqqff"),
        ({"error": "*Error", "func": "*.times_out"}, "fffqq"),
        ({"error": "KeyError"}, "fffff"),
        ({"older_than": "1h"}, "fffff"),
        ({"older_than": 0}, "qqqqq"),
    ],
)
async def test_failed_jobs_that_match_are_requeued(
    backend: RedisBackend, failed: list[Job], filters: dict[str, Any], expected: str
) -> None:
    """By queue, function, exception and age, or any of these at once."""
    step = await last(Selection(backend, **filters).requeue())

    assert "".join(await statuses(failed)) == expected
    assert step.done == step.matched == expected.count("q")


async def test_age_is_counted_from_the_end(backend: RedisBackend, failed: list[Job]) -> None:
    """Only what failed long enough ago."""
    long_ago = to_iso(time.time() - 7200)
    await backend.run(["HSET", backend.keys.job(failed[0].id), "ended_at", long_ago])

    await last(Selection(backend, older_than="1h").requeue())

    assert "".join(await statuses(failed)) == "qffff"


async def test_dry_run_changes_nothing(backend: RedisBackend, failed: list[Job]) -> None:
    """It says which jobs it would have been."""
    step = await last(Selection(backend, "q", error="TimeoutError").requeue(dry_run=True))

    assert "".join(await statuses(failed)) == "fffff"
    assert (step.total, step.seen, step.matched, step.done) == (4, 4, 1, 0)
    assert step.job_ids == (failed[3].id,)


async def test_jobs_are_deleted_with_what_belongs_to_them(
    backend: RedisBackend, failed: list[Job]
) -> None:
    """Those that match, and no others."""
    step = await last(Selection(backend, error="TimeoutError").delete())

    found = await Job.fetch_many([job.id for job in failed], backend)
    assert [job is None for job in found] == [False, False, False, True, True]
    assert step.done == 2


@pytest.mark.parametrize("among", ["queued", "scheduled", "deferred"])
async def test_waiting_jobs_are_cancelled(backend: RedisBackend, among: str) -> None:
    """Wherever they wait."""
    queue = Queue("q", backend)
    parent = await Queue("other", backend).enqueue(jobs.nothing)
    made: dict[str, Any] = {
        "queued": lambda f: queue.enqueue(f),
        "scheduled": lambda f: queue.enqueue_in(60, f),
        "deferred": lambda f: queue.enqueue(f, depends_on=parent),
    }
    meant, other = [await made[among](f) for f in (times_out, jobs.nothing)]

    step = await last(Selection(backend, "q", among=among, func="*.times_out").cancel())

    assert step.done == 1
    assert "".join(await statuses([meant, other])) == f"c{among[0]}"


async def test_hundreds_take_several_steps(backend: RedisBackend) -> None:
    """Each of about a hundred, so that nobody waits long for Redis; progress can be shown after each."""
    queue = Queue("q", backend)
    await queue.enqueue_many([Queue.prepare_data(jobs.nothing) for _ in range(450)])

    steps = [step async for step in Selection(backend, "q", among="queued").cancel()]

    assert [step.done for step in steps] == [100, 200, 300, 400, 450]
    assert {step.total for step in steps} == {450}
    assert await queue.count() == 0
    assert await queue.canceled_job_registry.count() == 450
    requeued = [step async for step in Selection(backend, "q", among="canceled").requeue()]
    assert requeued[-1].done == 450
    assert len(requeued) >= 4


async def test_job_that_fails_again_meanwhile_is_not_taken_again(
    backend: RedisBackend, failed: list[Job]
) -> None:
    """It ended after the change began."""
    steps = 0
    async for step in Selection(backend).requeue():
        await drain(backend, ["q", "other"])
        steps = step.done

    assert steps == 5
    assert "".join(await statuses(failed)) == "fffff"
    assert [job.attempt for job in failed] == [2] * 5


@pytest.mark.parametrize("change", ["requeue", "delete"])
async def test_what_somebody_else_changed_is_refused_and_counted(
    backend: RedisBackend, failed: list[Job], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A job that was requeued by another, between the look and the change, is left to them."""
    matching = Selection._matching

    async def meanwhile(self: Selection, *args: Any) -> list[str]:
        found = await matching(self, *args)
        await asyncio.gather(*(job.requeue() for job in failed if job.id in found[:1]))
        return found

    monkeypatch.setattr(Selection, "_matching", meanwhile)

    step = await last(getattr(Selection(backend, "other"), change)())

    assert (step.matched, step.done, step.refused) == (1, 0, 1)
    assert await Queue("other", backend).count() == 1


async def test_selections_that_cannot_be_meant_are_refused(backend: RedisBackend) -> None:
    """Only failed jobs have an error, only waiting ones can be cancelled."""
    with pytest.raises(InvalidOption, match="among='started'"):
        Selection(backend, among="started")
    with pytest.raises(InvalidOption, match="only failed jobs have one"):
        Selection(backend, among="queued", error="ValueError")
    with pytest.raises(InvalidOption, match="failed jobs have ended"):
        Selection(backend).cancel()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Traceback (most recent call last):\n  File …\nValueError: boom", "ValueError"),
        ("Traceback …\nmy.app.Overload: too much\nsecond line\n  third", "my.app.Overload"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("Moved to FailedJobRegistry, due to AbandonedJobError, at 2024", ""),
        ("", ""),
    ],
)
def test_error_is_read_out_of_what_rq_wrote(text: str, expected: str) -> None:
    """rq keeps no class; the last line of the traceback names it."""
    assert error_of({"exc_string": pack_text(text)}) == expected


@pytest.mark.parametrize(
    "serializer", ["json", "pickle", signed("secret")], ids=["json", "pickle", "signed"]
)
async def test_function_is_read_without_reading_the_arguments(
    backend: RedisBackend, serializer: Any
) -> None:
    """Nothing is unpickled for a list or a filter."""
    job = await Queue("q", backend, serializer=serializer).enqueue(jobs.add, 1, 2)

    assert function_name(job.data) == "tests.support.jobs.add"
    assert function_name(b"\x80\x05garbage") is None
    assert function_name(b"[1, 2]") is None


# -- the command -------------------------------------------------------------------------------------


@pytest.fixture
def stage(redis_url: str, key_prefix: str) -> Stage:
    """The command line on the test's Redis."""
    return Stage(redis_url, key_prefix)


def test_command_requeues_what_matches(stage: Stage) -> None:
    """``aiorq2 requeue`` with a queue, a function, an exception, an age; ``--dry-run`` only counts."""
    stage.enqueue(jobs.fail, jobs.fail, times_out)
    stage.burst("q")

    told = stage.run("requeue", "--error", "TimeoutError", "--dry-run")
    assert told.stdout == "Would requeue 1 of 3 failed jobs\n"
    assert stage.run("requeue", "--all", "--dry-run").stdout == "Would requeue 3 of 3 failed jobs\n"
    old = stage.run("requeue", "--queue", "q", "--all", "--older-than", "1h")
    assert old.stdout == "Requeued 0 of 3 failed jobs\n"

    one = stage.run("requeue", "--func", "*.times_out", "--queue", "q")

    assert (one.exit_code, one.stdout) == (0, "Requeued 1 of 3 failed jobs\n")
    assert stage.library(lambda backend: Queue("q", backend).count()) == 1
    rest = stage.run("requeue", "--all", "--queue", "q")
    assert rest.stdout == "Requeueing 2 jobs from failed queue\n"
    assert stage.library(lambda backend: Queue("q", backend).count()) == 3


def test_command_takes_names_or_a_filter(stage: Stage) -> None:
    """Not both."""
    assert is_one_sentence(stage.run("requeue", "x", "--error", "ValueError"), 2)
    assert is_one_sentence(stage.run("requeue", "x", "--dry-run"), 2)
    assert is_one_sentence(stage.run("requeue", "--all", "--older-than", "soon"), 2)
    assert stage.run("requeue", "--error", "X").stdout == "Nothing to do\n"
