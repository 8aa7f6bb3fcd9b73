"""Every move of the state machine: the new status, the one place the job is in, and nothing left of its run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from aiorq2.backends.redis import RedisBackend
from aiorq2.outcome import Finished
from aiorq2.states import TRANSITIONS, JobStatus, Verb
from aiorq2.terms import RateLimit
from tests.contract import stage
from tests.contract.stage import PLACES, Staged, in_status

NOW = "2024-05-01T12:00:00.000000Z"
REPEATED = Finished(1_700_000_000.0, b"42", repeat_delay=0.0)
REPEATED_LATER = Finished(1_700_000_000.0, b"42", repeat_delay=60.0)
Act = Callable[[RedisBackend, Staged], Awaitable[object]]
S = JobStatus


def _add(status: JobStatus) -> Act:
    due_in = 60 if status is S.SCHEDULED else None
    return lambda backend, job: stage.add(backend, job.id, status=status, due_in=due_in)


def _settle(verb: Verb) -> Act:
    return lambda backend, job: stage.settle(backend, job.claim, stage.OUTCOMES[verb])


def _settle_cancelled(verb: Verb) -> Act:
    async def act(backend: RedisBackend, job: Staged) -> None:
        await backend.cancel(job.id)
        await stage.settle(backend, job.claim, stage.OUTCOMES[verb])

    return act


async def _add_deferred(backend: RedisBackend, job: Staged) -> None:
    (parent,) = await stage.add(backend, queue=stage.ELSEWHERE)
    await stage.add(backend, job.id, depends_on=parent)


async def _add_limited(backend: RedisBackend, job: Staged) -> None:
    await stage.hold(backend, job.id)
    await stage.add(backend, job.id, rate_limit=RateLimit(job.id, 1))


async def _add_after_failure(backend: RedisBackend, job: Staged) -> None:
    parent = await in_status(backend, S.FAILED)
    await stage.add(backend, job.id, depends_on=parent.id, on_parent_failure="cancel")


async def _promote(backend: RedisBackend, job: Staged) -> None:
    """Let what the job waits for happen."""
    match await stage.status_of(backend, job.id):
        case S.SCHEDULED:
            await stage.make_due(backend, job.id)
            await backend.promote(stage.QUEUE)
        case S.READY_TO_ENQUEUE:
            await backend.call("sweep_ready", queue=stage.QUEUE, limit=10, age=-1, now_iso=NOW)
        case _:
            await stage.finish_elsewhere(backend)


async def _promote_limited(backend: RedisBackend, job: Staged) -> None:
    if await stage.status_of(backend, job.id) == S.RATE_LIMITED:
        await backend.call("sweep_rates", cursor=0, limit=10, now_iso=NOW)  # no place is free
    elif await stage.status_of(backend, job.id) == S.DEFERRED:
        await stage.finish_elsewhere(backend)
    else:
        await stage.limit(backend, job.id)
        await _promote(backend, job)


async def _requeue_limited(backend: RedisBackend, job: Staged) -> None:
    await stage.limit(backend, job.id)
    await backend.requeue(job.id)


async def _claim(backend: RedisBackend, job: Staged) -> None:
    if await stage.status_of(backend, job.id) == S.CREATED:
        await backend.run(["RPUSH", backend.keys.queue(stage.QUEUE), job.id])
    assert (await stage.claim_one(backend)).job_id == job.id


async def _extend(backend: RedisBackend, job: Staged) -> None:
    extended = await backend.extend(stage.SEAT, [job.claim], stage.TALLY)
    assert extended.lost == frozenset()


async def _reap(backend: RedisBackend, job: Staged) -> None:
    await stage.end_lease(backend, job.claim)
    await backend.reap(stage.QUEUE, max_deaths=3)


async def _reap_once_too_often(backend: RedisBackend, job: Staged) -> None:
    await stage.end_lease(backend, job.claim)
    await backend.reap(stage.QUEUE, max_deaths=1)


async def _reap_with_interval(backend: RedisBackend, job: Staged) -> None:
    key = backend.keys.job(job.id)
    await backend.run(
        ["HDEL", key, "aio_token"], ["HSET", key, "retries_left", 1, "retry_intervals", "[60]"]
    )
    await _reap(backend, job)


async def _reap_cancelled(backend: RedisBackend, job: Staged) -> None:
    await backend.cancel(job.id)
    await _reap(backend, job)


ACTS: dict[tuple[Verb, JobStatus | None], Act] = {
    (Verb.ADD, S.QUEUED): _add(S.QUEUED),
    (Verb.ADD, S.SCHEDULED): _add(S.SCHEDULED),
    (Verb.ADD, S.DEFERRED): _add_deferred,
    (Verb.ADD, S.RATE_LIMITED): _add_limited,
    (Verb.ADD, S.CANCELED): _add_after_failure,
    (Verb.PROMOTE, S.QUEUED): _promote,
    (Verb.PROMOTE, S.RATE_LIMITED): _promote_limited,
    (Verb.RESCHEDULE, S.SCHEDULED): lambda backend, job: backend.reschedule(job.id, 4e9),
    (Verb.CLAIM, S.STARTED): _claim,
    (Verb.EXTEND, S.STARTED): _extend,
    (Verb.FINISH, S.FINISHED): _settle(Verb.FINISH),
    (Verb.FINISH, S.QUEUED): lambda backend, job: stage.settle(backend, job.claim, REPEATED),
    (Verb.FINISH, S.SCHEDULED): lambda backend, job: stage.settle(
        backend, job.claim, REPEATED_LATER
    ),
    (Verb.FAIL, S.FAILED): _settle(Verb.FAIL),
    (Verb.STOP, S.STOPPED): _settle(Verb.STOP),
    (Verb.RETRY, S.QUEUED): _settle(Verb.RETRY),
    (Verb.RETRY, S.SCHEDULED): lambda backend, job: stage.settle(backend, job.claim, stage.LATER),
    (Verb.RETRY, S.STOPPED): _settle_cancelled(Verb.RETRY),
    (Verb.GIVE_BACK, S.QUEUED): _settle(Verb.GIVE_BACK),
    (Verb.GIVE_BACK, S.STOPPED): _settle_cancelled(Verb.GIVE_BACK),
    (Verb.REAP, S.QUEUED): _reap,
    (Verb.REAP, S.SCHEDULED): _reap_with_interval,
    (Verb.REAP, S.FAILED): _reap_once_too_often,
    (Verb.REAP, S.STOPPED): _reap_cancelled,
    (Verb.CANCEL, S.CANCELED): lambda backend, job: backend.cancel(job.id),
    (Verb.REQUEUE, S.QUEUED): lambda backend, job: backend.requeue(job.id),
    (Verb.REQUEUE, S.RATE_LIMITED): _requeue_limited,
    (Verb.DELETE, None): lambda backend, job: backend.delete(job.id),
}
"""How a verb leads to a status."""

MOVES = [
    pytest.param(verb, source, target, id=f"{verb}-{source or 'absent'}-{target or 'absent'}")
    for verb, row in TRANSITIONS.items()
    for source in row.sources or (None,)
    for target in row.targets or (None,)
]


@pytest.mark.parametrize(("verb", "source", "target"), MOVES)
async def test_move_puts_the_job_where_its_new_status_belongs(
    backend: RedisBackend, verb: Verb, source: JobStatus | None, target: JobStatus | None
) -> None:
    """After a move the job has the new status and stands in the one list or registry of that status, and nowhere else."""
    job = await in_status(backend, source)
    if (source, target) == (S.DEFERRED, S.RATE_LIMITED):
        await stage.limit(backend, job.id)

    await ACTS[verb, target](backend, job)

    assert await stage.status_of(backend, job.id) == target
    assert await stage.places(backend, job.id) == [
        place.format(id=job.id) for place in PLACES[target]
    ]


ENDINGS = [
    pytest.param(verb, target, id=f"{verb}-{target}")
    for verb, row in TRANSITIONS.items()
    for target in row.targets
    if row.sources == (S.STARTED,) and target is not S.STARTED
]


@pytest.mark.parametrize(("verb", "target"), ENDINGS)
async def test_end_of_a_run_leaves_nothing_of_the_run(
    backend: RedisBackend, verb: Verb, target: JobStatus
) -> None:
    """When a run ends, its lease, its execution and its entry with the worker go."""
    job = await in_status(backend, S.STARTED)

    await ACTS[verb, target](backend, job)

    traces = await stage.traces_of_run(backend, job.claim)
    assert traces == []


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not S.STARTED])
async def test_add_replaces_a_job_that_is_not_running(
    backend: RedisBackend, status: JobStatus
) -> None:
    """As in RQ, a job of the same id is replaced, whatever its status; unlike in RQ it is not queued twice then."""
    job = await in_status(backend, status)

    await stage.add(backend, job.id, description="the second one", queue="other")

    assert await stage.places(backend, job.id) == ["queue:other"]
    stored = await stage.fields(backend, job.id)
    assert (stored["status"], stored["origin"]) == ("queued", "other")
    assert not await stage.exists(backend, backend.keys.results(job.id))


async def test_add_replaces_nothing_that_is_waited_for(backend: RedisBackend) -> None:
    """Those who wait for a job wait for the one that replaces it."""
    (job_id,) = await stage.add(backend)
    await backend.observe(job_id, "inbox")

    await stage.add(backend, job_id)

    assert (await stage.fields(backend, job_id))["aio_waiters"].split() == ["inbox"]
