"""Waiting for a job: told by push when it ends, and found by the slow look when the message is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from aiorq2.backends import waiting
from aiorq2.backends.base import Ended, Observed
from aiorq2.backends.redis import RedisBackend
from aiorq2.outcome import Finished
from aiorq2.states import JobStatus, Verb
from tests.contract import stage
from tests.contract.stage import QUEUE, in_status, opened
from tests.support.eventually import eventually

Waiting = asyncio.Task[Ended | Observed]


async def _wait_for(backend: RedisBackend, job_id: str) -> Waiting:
    """Return a wait of which the job knows."""
    found = asyncio.create_task(backend.ended(job_id, 10))
    await eventually(lambda: _is_waited_for(backend, job_id))
    return found


async def _is_waited_for(backend: RedisBackend, job_id: str) -> bool:
    return "aio_waiters" in await stage.fields(backend, job_id)


@pytest.fixture
def _no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave only the push."""
    monkeypatch.setattr(waiting, "LOOK_S", 3600)


@pytest.fixture
def _quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look ten times as often."""
    monkeypatch.setattr(waiting, "LOOK_S", 0.1)


@pytest.mark.usefixtures("_no_look")
@pytest.mark.parametrize(
    ("verb", "status", "value"),
    [(Verb.FINISH, "finished", b"42"), (Verb.FAIL, "failed", b""), (Verb.STOP, "stopped", b"")],
)
@pytest.mark.parametrize("results", ["hash", "stream"])
async def test_end_of_a_run_is_pushed(
    backend: RedisBackend, verb: Verb, status: str, value: bytes, results: str
) -> None:
    """Whoever waits for a job is told its last status and, if it finished, its result, wherever that is kept."""
    claimed = await stage.start(backend, results=results)
    found = await _wait_for(backend, claimed.job_id)

    await stage.settle(backend, claimed, stage.OUTCOMES[verb])

    assert await found == Ended(claimed.job_id, status, value)


@pytest.mark.usefixtures("_no_look")
async def test_result_of_a_job_that_is_not_kept_is_pushed(backend: RedisBackend) -> None:
    """With ``result_ttl=0`` the push is the only way to the result."""
    claimed = await stage.start(backend, result_ttl=0)
    found = await _wait_for(backend, claimed.job_id)

    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH])

    assert await found == Ended(claimed.job_id, "finished", b"42")


@pytest.mark.usefixtures("_no_look")
async def test_result_may_be_any_bytes(backend: RedisBackend) -> None:
    """Line breaks, blanks and bytes that are no text come through as they are."""
    value = b"two\nlines and \xff\x00 more"
    claimed = await stage.start(backend)
    found = await _wait_for(backend, claimed.job_id)

    await stage.settle(backend, claimed, Finished(1_700_000_000.0, value))

    assert await found == Ended(claimed.job_id, "finished", value)


@pytest.mark.usefixtures("_no_look")
@pytest.mark.parametrize("what", ["cancel", "delete", "empty"])
async def test_end_of_a_waiting_job_is_pushed(backend: RedisBackend, what: str) -> None:
    """A job that is canceled or deleted before it ran keeps nobody waiting."""
    (job_id,) = await stage.add(backend)
    found = await _wait_for(backend, job_id)

    match what:
        case "cancel":
            await backend.cancel(job_id)
        case "delete":
            await backend.delete(job_id)
        case _:
            await backend.call("empty", queue=QUEUE, limit=10, now_iso="")

    status = "canceled" if what == "cancel" else "deleted"
    assert await found == Ended(job_id, status, b"")
    assert not await _is_waited_for(backend, job_id)


@pytest.mark.usefixtures("_no_look")
async def test_failure_of_an_abandoned_job_is_pushed(backend: RedisBackend) -> None:
    """Also when its workers died, those who wait are told."""
    claimed = await stage.start(backend)
    found = await _wait_for(backend, claimed.job_id)
    await stage.end_lease(backend, claimed)

    await backend.reap(QUEUE, max_deaths=1)

    assert await found == Ended(claimed.job_id, "failed", b"")
    assert not await _is_waited_for(backend, claimed.job_id)


@pytest.mark.usefixtures("_no_look")
async def test_cancel_that_a_claim_carries_out_is_pushed(backend: RedisBackend) -> None:
    """A queued job with the mark of a cancel is canceled by the next claim, and those who wait are told."""
    (job_id,) = await stage.add(backend)
    found = await _wait_for(backend, job_id)
    await backend.run(["HSET", backend.keys.job(job_id), "aio_cancel", 1])

    await stage.claim(backend)

    assert await found == Ended(job_id, "canceled", b"")


@pytest.mark.usefixtures("_no_look")
async def test_attempt_that_is_repeated_is_no_end(backend: RedisBackend) -> None:
    """A retry, a redelivery and a given-back run end no wait; the run after them does."""
    claimed = await stage.start(backend)
    found = await _wait_for(backend, claimed.job_id)

    for verb in (Verb.RETRY, Verb.GIVE_BACK):
        await stage.settle(backend, claimed, stage.OUTCOMES[verb])
        claimed = await stage.claim_one(backend)
    await stage.end_lease(backend, claimed)
    await backend.reap(QUEUE, max_deaths=3)
    claimed = await stage.claim_one(backend)
    assert not found.done()
    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH])

    assert await found == Ended(claimed.job_id, "finished", b"42")


@pytest.mark.parametrize(
    "status", [JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED]
)
async def test_job_that_has_ended_is_read(backend: RedisBackend, status: JobStatus) -> None:
    """Who waits for a job that has ended gets its record at once, with the latest entry where there is one."""
    job = await in_status(backend, status)

    found = await backend.ended(job.id, 5)

    assert isinstance(found, Observed)
    assert found.record is not None
    assert found.record.status is status
    assert (found.entry is not None) == (status in (JobStatus.FAILED, JobStatus.STOPPED))


async def test_latest_entry_comes_with_the_record(backend: RedisBackend) -> None:
    """Of several attempts it is the last one's entry."""
    claimed = await stage.start(backend, results="stream")
    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.RETRY])
    await stage.settle(backend, await stage.claim_one(backend), stage.OUTCOMES[Verb.FINISH])

    found = await backend.ended(claimed.job_id, 5)

    assert isinstance(found, Observed)
    assert found.entry is not None
    assert found.entry[1]["aio_attempt"] == b"2"


async def test_job_that_does_not_exist_ends_the_wait_at_once(backend: RedisBackend) -> None:
    """There is nothing to wait for where there is no job."""
    assert await backend.ended("nobody", 5) == Observed(None)


async def test_wait_ends_with_its_timeout(backend: RedisBackend) -> None:
    """A job that does not end in time is a TimeoutError; the job is not touched by it."""
    (job_id,) = await stage.add(backend)
    took = []
    for _ in range(3):
        started = time.monotonic()

        with pytest.raises(TimeoutError):
            await backend.ended(job_id, 0.2)
        took.append(time.monotonic() - started)

    assert min(took) < 1
    assert await stage.status_of(backend, job_id) == "queued"


@pytest.mark.usefixtures("_no_look")
async def test_many_wait_for_one_job(backend: RedisBackend) -> None:
    """A hundred waits of one process cost one note on the job, and all are told."""
    claimed = await stage.start(backend)
    found = [await _wait_for(backend, claimed.job_id) for _ in range(100)]

    (inbox,) = (await stage.fields(backend, claimed.job_id))["aio_waiters"].split()
    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH])

    assert inbox.startswith(f"{backend.key_prefix}:aio:inbox:")
    expected = Ended(claimed.job_id, "finished", b"42")
    assert await asyncio.gather(*found) == [expected] * 100


@pytest.mark.usefixtures("_no_look")
async def test_several_processes_wait_for_one_job(
    backend: RedisBackend, backend_url: str, key_prefix: str
) -> None:
    """Every process has an inbox of its own; all are told."""
    claimed = await stage.start(backend)
    mine = await _wait_for(backend, claimed.job_id)
    async with opened(backend_url, key_prefix=key_prefix) as other:
        others = asyncio.create_task(other.ended(claimed.job_id, 10))

        async def both_are_noted() -> bool:
            return len((await stage.fields(backend, claimed.job_id))["aio_waiters"].split()) == 2

        await eventually(both_are_noted)
        await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH])

        assert await mine == await others == Ended(claimed.job_id, "finished", b"42")


@pytest.mark.usefixtures("_no_look")
async def test_one_wait_for_many_jobs_is_told_each_end(backend: RedisBackend) -> None:
    """Ends of many jobs come through one subscription, and none is taken for another's."""
    ids = await stage.add(backend, *[f"job{n}" for n in range(20)])
    found = [await _wait_for(backend, job_id) for job_id in ids]

    claimed = await stage.claim(backend, count=20)
    outcomes = [(one, Finished(1.7e9, one.job_id.encode())) for one in reversed(claimed)]
    await backend.settle(stage.SEAT, outcomes)

    assert await asyncio.gather(*found) == [Ended(one, "finished", one.encode()) for one in ids]


@pytest.mark.usefixtures("_no_look")
async def test_given_up_wait_disturbs_no_other(backend: RedisBackend) -> None:
    """One of two who wait gives up; the other is told."""
    claimed = await stage.start(backend)
    first = await _wait_for(backend, claimed.job_id)
    second = asyncio.create_task(backend.ended(claimed.job_id, 10))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH])

    assert await second == Ended(claimed.job_id, "finished", b"42")


@pytest.mark.usefixtures("_no_look")
async def test_job_is_waited_for_again_after_a_requeue(backend: RedisBackend) -> None:
    """The note on the job is for one end; the next wait leaves its own."""
    claimed = await stage.start(backend)
    first = await _wait_for(backend, claimed.job_id)
    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FAIL])
    assert await first == Ended(claimed.job_id, "failed", b"")
    assert "aio_waiters" not in await stage.fields(backend, claimed.job_id)

    await backend.requeue(claimed.job_id)
    second = await _wait_for(backend, claimed.job_id)
    await stage.settle(backend, await stage.claim_one(backend), stage.OUTCOMES[Verb.FINISH])

    assert await second == Ended(claimed.job_id, "finished", b"42")


async def _lose_the_note(backend: RedisBackend, job_id: str) -> None:
    await backend.run(["HDEL", backend.keys.job(job_id), "aio_waiters"])


async def _end_as_rq_does(backend: RedisBackend, job_id: str) -> None:
    await backend.run(
        ["HSET", backend.keys.job(job_id), "status", "finished", "result", "42"],
        ["LREM", backend.keys.queue(QUEUE), 0, job_id],
        ["EXPIRE", backend.keys.job(job_id), 60],
    )


async def _vanish(backend: RedisBackend, job_id: str) -> None:
    await backend.run(["DEL", backend.keys.job(job_id)])


@pytest.mark.usefixtures("_quick_look")
@pytest.mark.parametrize("end", [_end_as_rq_does, _vanish])
async def test_end_that_nobody_tells_is_found(
    backend: RedisBackend, end: Callable[[RedisBackend, str], Any]
) -> None:
    """A job that an rq worker ended, or that expired, is noticed by the look that goes on beneath the push."""
    (job_id,) = await stage.add(backend)
    found = await _wait_for(backend, job_id)

    await end(backend, job_id)

    ended = await found
    assert isinstance(ended, Observed)
    assert ended.record is None or ended.record.status is JobStatus.FINISHED


@pytest.mark.usefixtures("_quick_look")
async def test_note_that_was_lost_is_left_again(backend: RedisBackend) -> None:
    """If the note on the job goes (rq overwrote the hash), the next look leaves it again."""
    (job_id,) = await stage.add(backend)
    found = await _wait_for(backend, job_id)

    await _lose_the_note(backend, job_id)

    await eventually(lambda: _is_waited_for(backend, job_id))
    await backend.cancel(job_id)
    assert await found == Ended(job_id, "canceled", b"")


async def test_message_that_was_lost_is_made_up_for_within_a_second(
    redis_backend: RedisBackend,
) -> None:
    """The pub/sub connection is killed and the message lost; the job's end is found all the same."""
    backend = redis_backend
    claimed = await stage.start(backend)
    found = await _wait_for(backend, claimed.job_id)
    (inbox,) = (await stage.fields(backend, claimed.job_id))["aio_waiters"].split()

    await _kill_pubsub(backend)
    started = time.monotonic()
    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH])

    ended = await found
    assert isinstance(ended, Observed)
    assert ended.record is not None
    assert ended.record.fields["result"] == b"42"
    assert waiting.LOOK_S <= 1
    assert time.monotonic() - started < 5
    await eventually(lambda: _is_subscribed(backend, inbox))


@pytest.mark.usefixtures("_no_look")
async def test_killed_subscription_comes_back(redis_backend: RedisBackend) -> None:
    """After the pub/sub connection was killed, the push works again."""
    backend = redis_backend
    claimed = await stage.start(backend)
    found = await _wait_for(backend, claimed.job_id)
    (inbox,) = (await stage.fields(backend, claimed.job_id))["aio_waiters"].split()

    await _kill_pubsub(backend)
    await eventually(lambda: _is_subscribed(backend, inbox))
    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH])

    assert await found == Ended(claimed.job_id, "finished", b"42")


async def _kill_pubsub(backend: RedisBackend) -> None:
    (killed,) = await backend.run(["CLIENT", "KILL", "TYPE", "pubsub"])
    assert killed >= 1  # sentinels subscribe as well


async def _is_subscribed(backend: RedisBackend, channel: str) -> bool:
    ((_, count),) = await backend.run(["PUBSUB", "NUMSUB", channel])
    return bool(count == 1)
