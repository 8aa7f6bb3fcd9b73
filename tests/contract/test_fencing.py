"""While a lease is alive nobody else runs the job; when it is over, its old owner can change nothing."""

from __future__ import annotations

from base64 import b64decode

import pytest

from aiorq2.backends.base import Claim
from aiorq2.backends.redis import RedisBackend
from aiorq2.outcome import Finished
from aiorq2.states import Reply, Verb
from tests.contract import stage
from tests.contract.stage import OTHER_SEAT, QUEUE, SEAT, TALLY


async def _taken_over(backend: RedisBackend) -> tuple[Claim, Claim]:
    """Return the late run of a job, and the run that has it now."""
    late = await stage.start(backend)
    await stage.end_lease(backend, late)
    await backend.reap(QUEUE, max_deaths=3)
    return late, await stage.claim_one(backend, OTHER_SEAT)


@pytest.mark.parametrize("verb", stage.OUTCOMES)
async def test_late_worker_cannot_settle_a_job_that_was_taken_over(
    backend: RedisBackend, verb: Verb
) -> None:
    """A run that lost its lease to another one is refused, whatever its outcome, and changes nothing."""
    late, _ = await _taken_over(backend)
    before = await stage.everything(backend)

    settled = await stage.settle(backend, late, stage.OUTCOMES[verb])

    assert settled.refused == ((late, Reply.LEASE_LOST),)
    assert await stage.everything(backend) == before


async def test_late_worker_cannot_extend_a_lease_that_was_taken_over(backend: RedisBackend) -> None:
    """A heartbeat does not bring a lost lease back; the worker is told that it is lost."""
    late, _ = await _taken_over(backend)
    before = await stage.everything(backend)

    extended = await backend.extend(SEAT, [late], TALLY)

    assert extended.lost == {late.execution_id}
    assert await stage.everything(backend) == before


async def test_late_worker_cannot_settle_a_job_that_waits_again(backend: RedisBackend) -> None:
    """Also between the reaper's requeue and the next claim, the old owner is out."""
    late = await stage.start(backend)
    await stage.end_lease(backend, late)
    await backend.reap(QUEUE, max_deaths=3)
    before = await stage.everything(backend)

    settled = await stage.settle(backend, late, stage.OUTCOMES[Verb.FINISH])

    assert settled.refused == ((late, Reply.LEASE_LOST),)
    assert await stage.everything(backend) == before


async def test_late_worker_cannot_settle_a_job_that_the_other_has_settled(
    backend: RedisBackend,
) -> None:
    """The outcome of the run that had the lease stays, though the late one has another."""
    late, current = await _taken_over(backend)
    await stage.settle(backend, current, Finished(1_700_000_000.0, b"right"), OTHER_SEAT)
    before = await stage.everything(backend)

    settled = await stage.settle(backend, late, Finished(1_700_000_001.0, b"late"))

    assert settled.refused == ((late, Reply.LEASE_LOST),)
    assert await stage.everything(backend) == before


async def test_current_run_is_not_disturbed_by_a_late_one(backend: RedisBackend) -> None:
    """After all the late attempts, the run that has the lease settles as usual."""
    late, current = await _taken_over(backend)
    await stage.settle(backend, late, stage.OUTCOMES[Verb.FAIL])
    await backend.extend(SEAT, [late], TALLY)

    settled = await stage.settle(backend, current, stage.OUTCOMES[Verb.FINISH], OTHER_SEAT)

    assert settled.refused == ()
    (entry,) = await stage.entries(backend, current.job_id)
    assert b64decode(entry["return_value"]) == b"42"


async def test_lease_that_is_over_but_not_reaped_can_still_be_extended(
    backend: RedisBackend,
) -> None:
    """A worker that was slow for a moment keeps its runs if nobody has taken them."""
    claimed = await stage.start(backend)
    await stage.end_lease(backend, claimed)

    extended = await backend.extend(SEAT, [claimed], TALLY)
    reaped = await backend.reap(QUEUE, max_deaths=3)

    assert extended.lost == frozenset()
    assert reaped.requeued == ()
    assert await stage.status_of(backend, claimed.job_id) == "started"


async def test_lease_is_counted_from_the_claim_by_the_clock_of_redis(backend: RedisBackend) -> None:
    """The deadline of a lease is Redis' own time plus the seat's lease."""
    before = await _redis_time(backend)
    claimed = await stage.start(backend)
    after = await _redis_time(backend)

    member = f"{claimed.job_id}:{claimed.execution_id}"
    (score,) = await backend.run(["ZSCORE", backend.keys.wip(QUEUE), member])

    assert before + SEAT.lease <= float(score) + 1e-3
    assert float(score) - 1e-3 <= after + SEAT.lease


async def test_cancel_by_rq_takes_the_lease_away(backend: RedisBackend) -> None:
    """When rq cancels a running job it removes the lease; the worker is told, and cannot make the job finished."""
    claimed = await stage.start(backend)
    member = f"{claimed.job_id}:{claimed.execution_id}"
    await backend.run(
        ["HSET", backend.keys.job(claimed.job_id), "status", "canceled"],
        ["ZREM", backend.keys.wip(QUEUE), member],
        ["ZADD", backend.keys.canceled(QUEUE), 1, claimed.job_id],
    )

    extended = await backend.extend(SEAT, [claimed], TALLY)
    settled = await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH])

    assert extended.lost == {claimed.execution_id}
    assert settled.refused == ((claimed, Reply.LEASE_LOST),)
    assert await stage.status_of(backend, claimed.job_id) == "canceled"


async def _redis_time(backend: RedisBackend) -> float:
    ((seconds, micros),) = await backend.run(["TIME"])
    return int(seconds) + int(micros) / 1e6
