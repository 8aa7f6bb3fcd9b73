"""How long a job is kept: before it runs (``ttl``), after it has finished (``result_ttl``) and after it has failed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiorq2.backends.base import Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.options import DEFAULT_FAILURE_TTL
from aiorq2.states import JobStatus, Verb
from aiorq2.terms import RateLimit
from tests.contract import stage
from tests.contract.stage import QUEUE, SEAT, in_status
from tests.support.eventually import eventually

ENDED = {Verb.FINISH: "finished", Verb.FAIL: "failed", Verb.STOP: "failed"}
DEFAULT = {
    Verb.FINISH: SEAT.result_ttl,
    Verb.FAIL: DEFAULT_FAILURE_TTL,
    Verb.STOP: DEFAULT_FAILURE_TTL,
}


def _option(verb: Verb, value: int) -> dict[str, Any]:
    return {"result_ttl" if verb is Verb.FINISH else "failure_ttl": value}


async def _score(backend: RedisBackend, registry: str, job_id: str) -> float:
    (score,) = await backend.run(["ZSCORE", f"{backend.key_prefix}:{registry}:{QUEUE}", job_id])
    return float(score)


async def _now(backend: RedisBackend) -> int:
    return int((await backend.run(["TIME"]))[0][0])


@pytest.mark.parametrize("verb", ENDED)
@pytest.mark.parametrize("given", [None, 70])
async def test_ended_job_is_kept_for_its_time(
    backend: RedisBackend, verb: Verb, given: int | None
) -> None:
    """The hash, the results and the place in the registry last as long as was asked for, else as long as the default."""
    options = {} if given is None else _option(verb, given)
    expected = DEFAULT[verb] if given is None else given
    claimed = await stage.start(backend, results="stream", **options)

    await stage.settle(backend, claimed, stage.OUTCOMES[verb])

    assert expected - 2 <= await stage.ttl(backend, backend.keys.job(claimed.job_id)) <= expected
    left = await stage.ttl(backend, backend.keys.results(claimed.job_id))
    assert expected - 2 <= left <= expected
    until = await _score(backend, ENDED[verb], claimed.job_id) - await _now(backend)
    assert expected - 2 <= until <= expected + 1


async def test_finished_job_is_kept_as_long_as_its_worker_says(backend: RedisBackend) -> None:
    """Where the job says nothing, the result is kept for the worker's ``result_ttl``, as in RQ."""
    await stage.add(backend)
    seat = Seat("w3", "i3", lease=15, result_ttl=33)

    await stage.settle(
        backend, await stage.claim_one(backend, seat), stage.OUTCOMES[Verb.FINISH], seat
    )

    (score,) = await backend.run(["ZRANGE", backend.keys.finished(QUEUE), 0, 0, "WITHSCORES"])
    assert float(score[1]) - await _now(backend) <= 34


@pytest.mark.parametrize("verb", ENDED)
async def test_ended_job_can_be_kept_for_ever(backend: RedisBackend, verb: Verb) -> None:
    """With -1 nothing of the job expires; in the registries it scores as RQ has it."""
    claimed = await stage.start(backend, results="stream", **_option(verb, -1))

    await stage.settle(backend, claimed, stage.OUTCOMES[verb])

    assert await stage.ttl(backend, backend.keys.job(claimed.job_id)) == -1
    assert await stage.ttl(backend, backend.keys.results(claimed.job_id)) == -1
    score = await _score(backend, ENDED[verb], claimed.job_id)
    assert score == (float("inf") if verb is Verb.FINISH else -1)


@pytest.mark.parametrize("verb", ENDED)
async def test_ended_job_need_not_be_kept(backend: RedisBackend, verb: Verb) -> None:
    """With 0 nothing of the job is left, but for a minute the word that it was added."""
    claimed = await stage.start(backend, results="stream", **_option(verb, 0))

    await stage.settle(backend, claimed, stage.OUTCOMES[verb])

    left = await stage.everything(backend, but=["queues", "aio:wake:"])
    (name,) = left
    assert name.startswith("aio:replay:")
    assert left[name][1], "it has a TTL"


async def test_dependencies_are_kept_with_the_job(backend: RedisBackend) -> None:
    """The sets by which RQ knows who waits for whom last as long as the job does, over failure, requeue and the end."""
    claimed = await stage.start(backend, failure_ttl=70, result_ttl=0)
    sets = [backend.keys.dependents(claimed.job_id), backend.keys.dependencies(claimed.job_id)]
    waits = ["status", "deferred", "data", "x", "origin", QUEUE]
    waits += ["dependency_ids", f'["{claimed.job_id}"]']
    await backend.run(
        ["HSET", backend.keys.job("child"), *waits],
        ["ZADD", backend.keys.deferred(QUEUE), 1, "child"],
        ["SADD", sets[0], "child"],
        ["SADD", sets[1], "parent"],
    )

    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FAIL])
    kept = [await stage.ttl(backend, key) for key in sets]
    await backend.requeue(claimed.job_id)
    waiting = [await stage.ttl(backend, key) for key in sets]
    await stage.settle(backend, await stage.claim_one(backend), stage.OUTCOMES[Verb.FINISH])

    assert all(68 <= left <= 70 for left in kept)
    assert waiting == [-1, -1]
    assert [await stage.ttl(backend, key) for key in sets] == [-2, -2]


async def test_abandoned_job_need_not_be_kept(backend: RedisBackend) -> None:
    """``failure_ttl=0`` also holds for a job that fails because its workers died."""
    claimed = await stage.start(backend, failure_ttl=0)
    await stage.end_lease(backend, claimed)

    await backend.reap(QUEUE, max_deaths=1)

    assert await stage.status_of(backend, claimed.job_id) is None
    assert await stage.places(backend, claimed.job_id) == []


async def test_waiting_job_expires_with_its_ttl(backend: RedisBackend) -> None:
    """A job that was not started in time is forgotten; its id is skipped without a word."""
    await stage.add(backend, "late", ttl=1)
    await stage.add(backend, "punctual")
    await eventually(lambda: _is_gone(backend, "late"))

    claimed = await stage.claim(backend, count=2)

    assert [one.job_id for one in claimed] == ["punctual"]
    assert await stage.queued(backend) == []


async def _is_gone(backend: RedisBackend, job_id: str) -> bool:
    return not await stage.exists(backend, backend.keys.job(job_id))


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.SCHEDULED])
async def test_ttl_counts_from_the_enqueue(backend: RedisBackend, status: JobStatus) -> None:
    """As in RQ, the time that a job spends among the scheduled ones counts."""
    job = await in_status(backend, status, ttl=70)

    assert 68 <= await stage.ttl(backend, backend.keys.job(job.id)) <= 70


async def test_running_job_does_not_expire(backend: RedisBackend) -> None:
    """Once started, a job outlives its ttl."""
    claimed = await stage.start(backend, ttl=70)

    assert await stage.ttl(backend, backend.keys.job(claimed.job_id)) == -1


async def test_running_job_that_rq_requeued_does_not_expire(backend: RedisBackend) -> None:
    """rq leaves the time-out of a failure on a job that it requeues; the claim lifts it."""
    await stage.plant(backend, "x")
    await backend.run(["EXPIRE", backend.keys.job("x"), 70])

    await stage.claim_one(backend)

    assert await stage.ttl(backend, backend.keys.job("x")) == -1


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.GIVE_BACK, Verb.REAP, Verb.REQUEUE])
async def test_job_that_waits_again_has_its_ttl_again(backend: RedisBackend, verb: Verb) -> None:
    """Whatever brought a job back into its queue, its ttl holds there again, and its results go with it."""
    claimed = await stage.start(backend, ttl=70)
    if verb is Verb.REAP:
        await stage.end_lease(backend, claimed)
        await backend.reap(QUEUE, max_deaths=3)
    elif verb is Verb.REQUEUE:
        await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FAIL])
        await backend.requeue(claimed.job_id)
    else:
        await stage.settle(backend, claimed, stage.OUTCOMES[verb])

    assert await stage.status_of(backend, claimed.job_id) == "queued"
    assert 68 <= await stage.ttl(backend, backend.keys.job(claimed.job_id)) <= 70
    if await stage.entries(backend, claimed.job_id):
        assert await stage.ttl(backend, backend.keys.results(claimed.job_id)) >= 68


async def test_job_that_is_requeued_no_longer_expires(backend: RedisBackend) -> None:
    """The time for which a failure is kept ends with the requeue."""
    job = await in_status(backend, JobStatus.FAILED, failure_ttl=70)

    await backend.requeue(job.id)

    assert await stage.ttl(backend, backend.keys.job(job.id)) == -1
    assert await stage.ttl(backend, backend.keys.results(job.id)) == -1


@pytest.mark.parametrize(
    ("given", "expected"), [(None, DEFAULT_FAILURE_TTL), (70, 70), (0, DEFAULT_FAILURE_TTL)]
)
async def test_canceled_job_is_kept_as_a_failed_one(
    backend: RedisBackend, given: int | None, expected: int
) -> None:
    """A canceled job is kept for its ``failure_ttl``; one that wants none is kept for the default, so that it can be looked at."""
    job = await in_status(backend, JobStatus.CANCELED, failure_ttl=given)

    assert expected - 2 <= await stage.ttl(backend, backend.keys.job(job.id)) <= expected


async def test_canceled_job_can_be_kept_for_ever(backend: RedisBackend) -> None:
    """With ``failure_ttl=-1`` a canceled job stays."""
    job = await in_status(backend, JobStatus.CANCELED, failure_ttl=-1)

    assert await stage.ttl(backend, backend.keys.job(job.id)) == -1


@pytest.mark.parametrize("beats", [0, 1])
@pytest.mark.parametrize("lease", [0.2, 1, 1.5, 15.0])
async def test_records_of_a_run_outlive_its_lease(
    backend: RedisBackend, lease: float, beats: int
) -> None:
    """Any lease can be had, also one of a fraction of a second; what rq reads beside it lasts at least as long.

    The set of executions is taken away with the lease, and given an end by the first heartbeat.
    """
    await stage.add(backend)
    seat = Seat("w3", "i3", lease=lease)

    claimed = await stage.claim_one(backend, seat)
    for _ in range(beats):
        extended = await backend.extend(seat, [claimed], stage.TALLY)
        assert extended.lost == frozenset()

    execution = backend.keys.execution(claimed.job_id, claimed.execution_id)
    left_ms, until, (second, micros) = await backend.run(
        ["PTTL", execution],
        ["ZSCORE", backend.keys.wip(QUEUE), f"{claimed.job_id}:{claimed.execution_id}"],
        ["TIME"],
    )
    now = int(second) + int(micros) / 1e6  # a record that is gone by now was needed no longer
    assert now + max(left_ms, 0) / 1000 >= float(until) - 0.1
    left = await stage.ttl(backend, backend.keys.worker_executions(seat.worker))
    assert lease + 58 <= left <= lease + 61
    left = await stage.ttl(backend, backend.keys.executions(claimed.job_id))
    assert lease + 58 <= left <= lease + 61 if beats else left == -1


async def test_executions_of_a_job_with_a_rate_limit_end_by_themselves(
    backend: RedisBackend,
) -> None:
    """rq takes the lease of one that it deletes while it runs, but leaves its executions to end (``Job.delete`` of rq 3.0)."""
    await stage.add(backend, "x", rate_limit=RateLimit("r", 1))
    await stage.claim_one(backend)

    assert 15 + 58 <= await stage.ttl(backend, backend.keys.executions("x")) <= 15 + 61


async def test_lease_ends_by_itself(backend: RedisBackend) -> None:
    """Without heartbeats a short lease is over after its time, and not before; then the job is free again."""
    await stage.add(backend, "x")
    await stage.claim_one(backend, Seat("w3", "i3", lease=3))

    early = await backend.reap(QUEUE, max_deaths=3)

    async def is_free() -> bool:
        return (await backend.reap(QUEUE, max_deaths=3)).requeued == ("x",)

    assert early.requeued == ()
    await eventually(is_free, timeout=10)


async def test_lease_that_is_extended_does_not_end(backend: RedisBackend) -> None:
    """A heartbeat moves the deadline on by a whole lease."""
    await stage.add(backend)
    claimed = await stage.claim_one(backend, Seat("w3", "i3", lease=0.1))
    seat = Seat("w3", "i3", lease=5)

    await backend.extend(seat, [claimed], stage.TALLY)
    await asyncio.sleep(0.1)

    assert (await backend.reap(QUEUE, max_deaths=3)).requeued == ()


async def test_sweep_drops_what_is_over(backend: RedisBackend) -> None:
    """The registries are trimmed of finished and failed jobs whose time is over and of canceled ones that are gone."""
    finished = await in_status(backend, JobStatus.FINISHED)
    failed = await in_status(backend, JobStatus.FAILED)
    canceled = await in_status(backend, JobStatus.CANCELED)
    kept = await in_status(backend, JobStatus.FAILED, failure_ttl=-1)
    for job in (finished, failed, canceled):
        await backend.run(["DEL", backend.keys.job(job.id), backend.keys.results(job.id)])
    await backend.run(
        ["ZADD", backend.keys.finished(QUEUE), 1, finished.id],
        ["ZADD", backend.keys.failed(QUEUE), 1, failed.id],
    )

    reply = await backend.call("sweep", queue=QUEUE, limit=100, before="")

    assert reply[1] == 3
    for job in (finished, failed, canceled):
        assert await stage.places(backend, job.id) == []
    assert await stage.places(backend, kept.id) == ["failed:q"]


async def test_sweep_finds_a_canceled_job_that_is_gone_behind_those_that_stay(
    backend: RedisBackend,
) -> None:
    """Those that rq has cancelled stay for ever; however many they are, the one behind them is found, if not at once."""
    for number in range(5):
        await stage.plant(backend, f"rq{number}", JobStatus.CANCELED)
    await backend.run(["ZADD", backend.keys.canceled(QUEUE), "9999999999", "gone"])

    async def is_trimmed() -> bool:
        await backend.call("sweep", queue=QUEUE, limit=2, before="")
        return await stage.places(backend, "gone") == []

    await eventually(is_trimmed)
    (left,) = await backend.run(["ZCARD", backend.keys.canceled(QUEUE)])
    assert left == 5


async def test_sweep_puts_back_what_an_rq_worker_took_and_never_started(
    backend: RedisBackend,
) -> None:
    """What two looks find where rq's workers put a job before they start it goes to the front of its queue; what has got a lease
    meanwhile, and what has only just been taken, does not."""
    for id in ("stuck", "leased", "late"):
        await stage.add(backend, id)
    await backend.run(["DEL", backend.keys.queue(QUEUE)])
    await stage.add(backend, "waiting")
    taken = ["RPUSH", backend.keys.intermediate(QUEUE)]
    await backend.run([*taken, "stuck", "leased", "nobody"])

    async def sweep() -> int:
        reply = await backend.call("sweep_intermediate", queue=QUEUE, limit=500, age=60)
        return int(reply[1])

    assert await sweep() == 0
    assert await sweep() == 0
    noted = backend.keys.stuck(QUEUE)
    await backend.run(
        ["ZADD", backend.keys.executions("leased"), 4e9, "e" * 32],
        [*taken, "late"],
        ["HSET", noted, "stuck", 1, "leased", 1],
    )
    assert await sweep() == 1

    assert await stage.queued(backend) == ["stuck", "waiting"]
    (left,) = await backend.run(["LRANGE", backend.keys.intermediate(QUEUE), 0, -1])
    assert left == [b"leased", b"nobody", b"late"]
    await backend.run(["DEL", backend.keys.intermediate(QUEUE), backend.keys.executions("leased")])
    for id in ("leased", "late"):
        await backend.delete(id)


async def test_sweep_puts_back_no_job_twice(backend: RedisBackend) -> None:
    """One that stands in its queue already (the reaper was faster) is only taken off that list."""
    await stage.add(backend, "x")
    await backend.run(["RPUSH", backend.keys.intermediate(QUEUE), "x"])

    reply = await backend.call("sweep_intermediate", queue=QUEUE, limit=500, age=0)

    assert reply[1] == 0
    assert await stage.queued(backend) == ["x"]
    assert (await backend.run(["LLEN", backend.keys.intermediate(QUEUE)]))[0] == 0
