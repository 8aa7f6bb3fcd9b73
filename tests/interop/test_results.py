"""Results and failures that one library's worker wrote, read by the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiorq2 import NoSuchJobError
from tests.interop import functions
from tests.interop.peer import RqError
from tests.interop.sides import Direction, Ours, Theirs

FINISHED, FAILED = 1, 2


@pytest.mark.parametrize("serializer", ["json", "pickle"])
async def test_result_is_read_by_both(
    across: Direction, ours: Ours, theirs: Theirs, serializer: str
) -> None:
    """``return_value()`` and ``latest_result()`` are the same on both sides, also for values that are false."""
    values: list[Any] = [None, False, 0, "", "ä" * 3000, [1, {"a": None}], 1.5]
    ids = [await across.producer.enqueue("same", one, serializer=serializer) for one in values]

    assert await across.worker.work(serializer=serializer)

    for id, value in zip(ids, values, strict=True):
        facts = await theirs.facts(id, serializer)
        assert facts.return_value == value
        told = (facts.result_types, facts.latest_type, facts.exc_string)
        assert told == ([FINISHED], FINISHED, None)
        assert facts == await ours.facts(id, serializer)
    assert set(await theirs.ids("finished")) == set(await ours.ids("finished")) == set(ids)


@pytest.mark.parametrize("func", ["fail", "fail_async"])
@pytest.mark.parametrize("serializer", ["json", "pickle"])
async def test_failure_is_read_by_both(
    across: Direction, ours: Ours, theirs: Theirs, func: str, serializer: str
) -> None:
    """The traceback of a failed job is the same text on both sides."""
    id = await across.producer.enqueue(func, "it went ✗", serializer=serializer)

    assert await across.worker.work(serializer=serializer)

    facts = await theirs.facts(id, serializer)
    assert (facts.status, facts.return_value) == ("failed", None)
    assert (facts.result_types, facts.latest_type) == ([FAILED], FAILED)
    assert facts.exc_string is not None
    assert f"in {func}" in facts.exc_string
    assert facts.exc_string.rstrip().endswith("ValueError: it went ✗")
    assert facts == await ours.facts(id, serializer)
    assert await theirs.ids("failed") == await ours.ids("failed") == [id]


@pytest.mark.since("3.0")
@pytest.mark.parametrize("func", ["hold", "hold_async"])
async def test_failure_of_a_job_that_took_too_long(
    across: Direction, ours: Ours, theirs: Theirs, tmp_path: Path, func: str
) -> None:
    """A time limit that was set there ends the run here, with RQ's exception."""
    id = await across.producer.enqueue(func, str(tmp_path / "runs"), job_timeout=1)

    assert await across.worker.work()

    facts = await theirs.facts(id)
    assert facts.status == "failed"
    assert "JobTimeoutException" in str(facts.exc_string)
    assert "exceeded maximum timeout value (1 seconds)" in str(facts.exc_string)
    assert facts == await ours.facts(id)


async def test_result_in_the_hash_is_not_seen_by_rq(
    redis_client: Any, ours: Ours, theirs: Theirs
) -> None:
    """A job of ours that our worker ran keeps its result in its hash: rq says None, unless the queue says ``results="stream"``."""
    id = await Ours(ours.backend, results="hash").enqueue("add", 1, 2)

    await ours.work()

    assert (await ours.facts(id)).return_value == 3
    facts = await theirs.facts(id)
    assert (facts.status, facts.return_value, facts.result_types) == ("finished", None, [])


async def test_result_of_a_job_of_rq_is_always_in_the_stream(ours: Ours, theirs: Theirs) -> None:
    """Who enqueued with rq finds the result with rq, whatever our queues say."""
    id = await theirs.enqueue("add", 1, 2)

    await Ours(ours.backend, results="hash").work()

    assert (await theirs.facts(id)).return_value == 3


@pytest.mark.parametrize("results", ["hash", "stream"])
async def test_result_of_a_job_of_ours_that_rq_ran(
    ours: Ours, theirs: Theirs, results: str
) -> None:
    """We find what rq's worker wrote, wherever ours would have."""
    id = await Ours(ours.backend, results=results).enqueue("add", 1, 2)  # type: ignore[arg-type]

    await theirs.work()

    assert (await ours.facts(id)).return_value == 3
    assert await (await ours.job(id)).wait(10) == 3


async def test_result_that_one_side_waits_for(ours: Ours, theirs: Theirs) -> None:
    """``await job.wait()`` ends when rq's worker has run the job, although rq sends no message."""
    id = await ours.enqueue("add", 1, 2)
    job = await ours.job(id)

    await theirs.work()

    assert await job.wait(5) == 3


async def test_failure_to_find_the_function_is_read_by_both(
    across: Direction, ours: Ours, theirs: Theirs
) -> None:
    """A function that is nowhere fails the job on either side; nobody loses it, and no reader raises."""
    id = await across.producer.enqueue("missing")

    assert await across.worker.work()

    facts = await theirs.facts(id)
    assert facts.status == "failed"
    assert "missing" in str(facts.exc_string)
    assert facts == await ours.facts(id)


async def test_failure_to_read_the_payload_is_no_loss(
    across: Direction, ours: Ours, theirs: Theirs
) -> None:
    """A job whose payload the worker's serializer cannot read has failed, with what it was to do still there."""
    id = await across.producer.enqueue("add", 1, 2, serializer="pickle")

    assert await across.worker.work(serializer="json")

    assert await ours.ids("failed") == await theirs.ids("failed") == [id]
    facts = await theirs.facts(id, "pickle")
    assert (facts.status, facts.args) == ("failed", [1, 2])
    assert facts.exc_string
    assert (await ours.facts(id, "pickle")).exc_string == facts.exc_string


async def test_result_with_pickle_may_be_anything(
    across: Direction, ours: Ours, theirs: Theirs
) -> None:
    """With pickle, a datetime comes back as one on both sides."""
    id = await across.producer.enqueue("moment", serializer="pickle")

    assert await across.worker.work(serializer="pickle")

    value = (await ours.facts(id, "pickle")).return_value
    assert value == functions.moment()
    assert (await theirs.facts(id, "pickle")).return_value == repr(value)


async def test_result_that_json_has_no_word_for(ours: Ours, theirs: Theirs) -> None:
    """rq's worker keeps a sentence in its place; ours keeps a tagged value, which rq reads as the object that it is in JSON."""
    by_rq, by_us = await ours.enqueue("moment"), await theirs.enqueue("moment")

    await theirs.work(max_jobs=1)
    await ours.work()

    assert (await ours.facts(by_rq)).return_value == "Unserializable return value"
    assert (await ours.facts(by_us)).return_value == functions.moment()
    assert (await theirs.facts(by_us)).return_value == {
        "$aio.datetime": "2030-01-02T03:04:05+00:00"
    }


async def test_result_of_a_job_that_is_gone(ours: Ours, theirs: Theirs) -> None:
    """Both sides have the same word for a job that there is not."""
    id = await ours.enqueue("add", 1)
    await theirs.delete(id)

    with pytest.raises(NoSuchJobError):
        await ours.facts(id)
    with pytest.raises(RqError, match="NoSuchJobError"):
        await theirs.facts(id)
