"""What is kept of a job and of its runs: RQ's fields and entries, and where a result goes."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from typing import Any

import pytest

from aiorq2.backends import wire
from aiorq2.backends.redis import RedisBackend
from aiorq2.options import Retry
from aiorq2.outcome import Failed, Finished, Retried
from aiorq2.states import JobStatus, Verb
from tests.contract import stage
from tests.contract.stage import QUEUE, SEAT

ENDED_AT = 1_700_000_000.0


async def _finish(backend: RedisBackend, value: bytes | None, **options: Any) -> str:
    claimed = await stage.start(backend, **options)
    await stage.settle(backend, claimed, Finished(ENDED_AT, value))
    return claimed.job_id


async def test_added_job_has_the_fields_of_rq(backend: RedisBackend) -> None:
    """A plain job has RQ's fields, with RQ's encodings, and of ours the token alone."""
    (job_id,) = await stage.add(backend)

    fields = await stage.fields(backend, job_id)
    ours = {name for name in fields if name.startswith("aio_")}
    assert ours == {"aio_token"}
    assert fields.keys() - ours == {
        "created_at",
        "data",
        "description",
        "enqueued_at",
        "origin",
        "status",
        "timeout",
    }
    assert (fields["status"], fields["origin"], fields["timeout"]) == ("queued", QUEUE, "180")
    (queues,) = await backend.run(["SMEMBERS", backend.keys.queues()])
    assert queues == [backend.keys.queue(QUEUE).encode()]


async def test_options_are_written_as_rq_writes_them(backend: RedisBackend) -> None:
    """Times in whole seconds, intervals as a JSON list, flags as 1."""
    options: dict[str, Any] = {
        "result_ttl": 10,
        "failure_ttl": -1,
        "ttl": "1h",
        "retry": Retry(3, interval=[1, 2, 3], enqueue_at_front=True),
    }
    (job_id,) = await stage.add(backend, **options)

    fields = await stage.fields(backend, job_id)
    assert (fields["result_ttl"], fields["failure_ttl"], fields["ttl"]) == ("10", "-1", "3600")
    assert (fields["retries_left"], fields["retry_intervals"]) == ("3", "[1, 2, 3]")
    assert fields["enqueue_at_front_on_retry"] == "1"


async def test_our_own_options_are_fields_of_ours(backend: RedisBackend) -> None:
    """What RQ does not know stands in fields that its readers pass over."""
    options = {"redeliver": False, "offload": "process", "results": "stream"}
    (job_id,) = await stage.add(
        backend, retry=Retry(2, interval=0.5, backoff=2, jitter=0.1), **options
    )

    fields = await stage.fields(backend, job_id)
    assert fields["aio_redeliver"] == "0"
    assert (fields["aio_offload"], fields["aio_results"]) == ("process", "stream")
    assert fields["retry_intervals"] == "[1]"
    assert json.loads(fields["aio_retry"]) == {
        "max": 2,
        "intervals": [0.5],
        "backoff": 2,
        "jitter": 0.1,
    }


async def test_timeout_of_a_fraction_of_a_second_is_kept_beside_that_of_rq(
    backend: RedisBackend,
) -> None:
    """RQ counts whole seconds: it gets the next one, and we keep the exact time for ourselves."""
    await backend.add([replace(stage.job_spec("x"), timeout=0.25)])

    fields = await stage.fields(backend, "x")
    assert (fields["timeout"], fields["aio_timeout"]) == ("1", "0.25")


async def test_due_time_is_kept_to_the_millisecond(backend: RedisBackend) -> None:
    """A job can be scheduled for a point in time, which is kept with its fraction."""
    spec = replace(stage.job_spec("x"), status=JobStatus.SCHEDULED, due_at=4_000_000_000.125)

    await backend.add([spec])

    (score,) = await backend.run(["ZSCORE", backend.keys.scheduled(QUEUE), "x"])
    assert float(score) == 4_000_000_000.125


async def test_result_is_kept_in_the_hash(backend: RedisBackend) -> None:
    """The result of a job of ours is a field of its hash; no stream is made for it."""
    job_id = await _finish(backend, b"42")

    fields = await stage.fields(backend, job_id)
    assert (fields["result"], fields["status"]) == ("42", "finished")
    assert fields["ended_at"] == "2023-11-14T22:13:20.000000Z"
    assert await stage.entries(backend, job_id) == []


async def test_result_of_none_is_no_field(backend: RedisBackend) -> None:
    """A function that returns nothing leaves nothing."""
    job_id = await _finish(backend, None)

    assert "result" not in await stage.fields(backend, job_id)


@pytest.mark.parametrize("whose", ["ours", "rq's"])
async def test_result_can_be_kept_in_the_stream(backend: RedisBackend, whose: str) -> None:
    """For a job that rq enqueued, and where it is asked for, the result is an entry as RQ writes it, and only that."""
    if whose == "ours":
        await stage.add(backend, "x", results="stream")
    else:
        await stage.plant(backend, "x")
    claimed = await stage.claim_one(backend)

    await stage.settle(backend, claimed, Finished(ENDED_AT, b"\x80binary"))

    assert "result" not in await stage.fields(backend, "x")
    (entry,) = await stage.entries(backend, "x")
    assert entry["type"] == str(wire.ENTRY_SUCCESSFUL)
    assert b64decode(entry["return_value"]) == b"\x80binary"
    assert (entry["worker_name"], entry["execution_id"]) == (SEAT.worker, claimed.execution_id)
    assert float(entry["execution_started_at"]) == pytest.approx(claimed.started_at, abs=1e-5)
    assert float(entry["execution_ended_at"]) == ENDED_AT
    assert "exc_string" not in entry


async def test_result_of_none_in_the_stream_is_an_entry_without_value(
    backend: RedisBackend,
) -> None:
    """RQ tells by the entry that a function has returned, and by the missing value what."""
    job_id = await _finish(backend, None, results="stream")

    (entry,) = await stage.entries(backend, job_id)
    assert "return_value" not in entry


@pytest.mark.parametrize(
    ("exhausted", "is_known", "types"),
    [
        (False, False, ("2", None)),
        (True, False, ("2", "5")),
        (True, True, ("5", None)),
    ],
)
async def test_failure_is_an_entry_with_its_traceback(
    backend: RedisBackend, exhausted: bool, is_known: bool, types: tuple[str, str | None]
) -> None:
    """A failure leaves RQ's entry; one that asked for a retry too many has RQ's type for that, where rq's readers know it."""
    claimed = await stage.start(backend)

    outcome = Failed(
        ENDED_AT,
        "builtins.ValueError",
        "Traceback…\nValueError: b\u00f6\ud800",
        exhausted,
        is_known,
    )
    await stage.settle(backend, claimed, outcome)

    (entry,) = await stage.entries(backend, claimed.job_id)
    assert (entry["type"], entry.get("aio_type")) == types
    text = wire.unpack_text(entry["exc_string"].encode())
    assert text == "Traceback…\nValueError: b\u00f6\\ud800"
    assert entry["aio_attempt"] == "1"


async def test_every_attempt_leaves_an_entry(backend: RedisBackend) -> None:
    """RQ keeps only the last failure; we keep one entry per attempt, with its number; old readers of RQ's see failures."""
    claimed = await stage.start(backend)
    for _ in range(2):
        await stage.settle(backend, claimed, stage.OUTCOMES[Verb.RETRY])
        claimed = await stage.claim_one(backend)
    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FAIL])

    kept = await stage.entries(backend, claimed.job_id)
    assert [(one["type"], one.get("aio_type"), one["aio_attempt"]) for one in kept] == [
        ("2", str(wire.ENTRY_RETRIED), "1"),
        ("2", str(wire.ENTRY_RETRIED), "2"),
        ("2", None, "3"),
    ]


async def test_entries_are_bounded(backend: RedisBackend) -> None:
    """A job that is retried for ever does not grow for ever (Redis trims the stream in blocks of about a hundred)."""
    for verb in (Verb.RETRY, Verb.FAIL):
        claimed = await stage.start(backend)
        key = backend.keys.results(claimed.job_id)
        command: list[str | int] = ["XADD", key, "*", "type", wire.ENTRY_RETRIED]
        await backend.run(*[command] * 250)

        await stage.settle(backend, claimed, stage.OUTCOMES[verb])

        assert (await backend.run(["XLEN", key]))[0] <= 110
        await backend.delete(claimed.job_id)


async def test_retry_writes_what_is_left(backend: RedisBackend) -> None:
    """The counters of both kinds of retry are the outcome's."""
    claimed = await stage.start(backend, retry=3)

    outcome = Retried(ENDED_AT, "E", "E: boom", 0, False, retries_left=2, number_of_retries=7)
    await stage.settle(backend, claimed, outcome)

    fields = await stage.fields(backend, claimed.job_id)
    assert (fields["retries_left"], fields["number_of_retries"]) == ("2", "7")
    assert fields["worker_name"] == ""


async def test_requeue_leaves_nothing_of_the_run_before(backend: RedisBackend) -> None:
    """A requeued job looks as if it had not been started: no times, no worker, no result; its entries stay."""
    job = await stage.in_status(backend, JobStatus.FAILED)
    await backend.run(["HSET", backend.keys.job(job.id), "result", "old"])

    await backend.requeue(job.id)

    fields = await stage.fields(backend, job.id)
    assert (fields["started_at"], fields["ended_at"], fields["worker_name"]) == ("", "", "")
    assert "result" not in fields
    assert len(await stage.entries(backend, job.id)) == 1


async def test_requeue_puts_the_queue_on_the_list_of_queues(backend: RedisBackend) -> None:
    """A queue that was deleted meanwhile is found again by those who list queues."""
    job = await stage.in_status(backend, JobStatus.FAILED)
    await backend.run(["DEL", backend.keys.queues()])

    await backend.requeue(job.id)

    (queues,) = await backend.run(["SMEMBERS", backend.keys.queues()])
    assert queues == [backend.keys.queue(QUEUE).encode()]


async def test_settle_forgets_that_rq_has_seen_the_job(backend: RedisBackend) -> None:
    """rq's note that a job looked stuck goes with the run, else rq would fail the job's next run."""
    key = backend.keys.first_seen(QUEUE, "x")
    for verb in (Verb.RETRY, Verb.GIVE_BACK, Verb.FINISH):
        await backend.run(["SET", key, "1.5", "EX", 60])
        if verb is Verb.RETRY:
            await stage.add(backend, "x")

        await stage.settle(backend, await stage.claim_one(backend), stage.OUTCOMES[verb])

        assert not await stage.exists(backend, key), verb
