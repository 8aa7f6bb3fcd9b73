"""What is not a row of the state machine is refused, by name, and not a byte is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import (
    AiorqError,
    BackendError,
    DuplicateJobError,
    InvalidJobOperation,
    NoSuchJobError,
)
from aiorq2.states import TRANSITIONS, JobStatus, Reply, Verb
from tests.contract import stage
from tests.contract.stage import in_status

ALL = (None, *JobStatus)
S = JobStatus
Call = Callable[[RedisBackend, str], Awaitable[object]]


async def _add_unique(backend: RedisBackend, job_id: str) -> None:
    await backend.add([stage.job_spec(job_id, unique=True)])


async def _add(backend: RedisBackend, job_id: str) -> None:
    await backend.add([stage.job_spec(job_id)])


async def _requeue_if_canceled(backend: RedisBackend, job_id: str) -> None:
    await backend.requeue(job_id, among=[S.CANCELED])


def _illegal(verb: Verb) -> list[JobStatus | None]:
    return [status for status in ALL if status not in (TRANSITIONS[verb].sources or (None,))]


REFUSED: list[tuple[str, Call, JobStatus | None, type[AiorqError]]] = [
    *[("add", _add_unique, status, DuplicateJobError) for status in _illegal(Verb.ADD)],
    ("add", _add, S.STARTED, InvalidJobOperation),
    *[
        ("cancel", lambda b, job_id: b.cancel(job_id), status, InvalidJobOperation)
        for status in _illegal(Verb.CANCEL)
        if status not in (None, S.STARTED)  # a started one is told to stop: test_cancel.py
    ],
    *[
        ("requeue", lambda b, job_id: b.requeue(job_id), status, InvalidJobOperation)
        for status in _illegal(Verb.REQUEUE)
        if status
    ],
    *[
        ("reschedule", lambda b, job_id: b.reschedule(job_id, 4e9), status, InvalidJobOperation)
        for status in _illegal(Verb.RESCHEDULE)
        if status
    ],
    *[
        ("stop", lambda b, job_id: b.stop(job_id), status, InvalidJobOperation)
        for status in _illegal(Verb.STOP)
        if status
    ],
    ("requeue", _requeue_if_canceled, S.FAILED, InvalidJobOperation),
    ("delete", lambda b, job_id: b.delete(job_id), S.STARTED, InvalidJobOperation),
    ("cancel", lambda b, job_id: b.cancel(job_id), None, NoSuchJobError),
    ("requeue", lambda b, job_id: b.requeue(job_id), None, NoSuchJobError),
    ("delete", lambda b, job_id: b.delete(job_id), None, NoSuchJobError),
    ("reschedule", lambda b, job_id: b.reschedule(job_id, 4e9), None, NoSuchJobError),
    ("stop", lambda b, job_id: b.stop(job_id), None, NoSuchJobError),
]


@pytest.mark.parametrize(
    ("verb", "call", "status", "error"),
    [pytest.param(*row, id=f"{row[0]}-{row[2] or 'absent'}-{row[3].__name__}") for row in REFUSED],
)
async def test_refusal_names_job_verb_and_fact_and_writes_nothing(
    backend: RedisBackend,
    verb: str,
    call: Call,
    status: JobStatus | None,
    error: type[AiorqError],
) -> None:
    """What a job's status does not allow raises an error that names the job, the verb and the status, and changes nothing."""
    job = await in_status(backend, status)
    before = await stage.everything(backend)

    with pytest.raises(error) as raised:
        await call(backend, job.id)

    assert type(raised.value) is error
    assert str(raised.value).startswith(f"job '{job.id}': cannot {verb}")
    assert (status or "no such job") in str(raised.value)
    assert await stage.everything(backend) == before


@pytest.mark.parametrize("verb", stage.OUTCOMES)
@pytest.mark.parametrize("status", ALL, ids=lambda status: status or "absent")
async def test_settling_without_a_lease_is_refused_and_writes_nothing(
    backend: RedisBackend, verb: Verb, status: JobStatus | None
) -> None:
    """A run that holds no lease ends nothing, whatever the status of its job; not even a started one, which is another run's."""
    stranger = (await in_status(backend, None)).claim
    job = await in_status(backend, status)
    before = await stage.everything(backend)
    intruder = stage.of_job(stranger, job.id)

    settled = await stage.settle(backend, intruder, stage.OUTCOMES[verb])

    assert settled.refused == ((intruder, Reply.LEASE_LOST if status else Reply.GONE),)
    assert await stage.everything(backend) == before


@pytest.mark.leaks_allowed(
    "the test itself puts the job into a status that its lease does not go with"
)
@pytest.mark.parametrize("verb", stage.OUTCOMES)
@pytest.mark.parametrize("status", [status for status in S if status is not S.STARTED])
async def test_settling_what_is_not_started_is_refused_and_writes_nothing(
    backend: RedisBackend, verb: Verb, status: JobStatus
) -> None:
    """A run whose job was given another status behind its back (by rq) ends nothing, even while its lease stands."""
    claimed = (await in_status(backend, S.STARTED)).claim
    await backend.run(["HSET", backend.keys.job(claimed.job_id), "status", status])
    await _put_where_it_says(backend, claimed.job_id, status)
    before = await stage.everything(backend)

    settled = await stage.settle(backend, claimed, stage.OUTCOMES[verb])

    assert settled.refused == ((claimed, Reply.WRONG_STATUS),)
    assert await stage.everything(backend) == before


async def _put_where_it_says(backend: RedisBackend, job_id: str, status: JobStatus) -> None:
    match status:
        case S.QUEUED:
            await backend.run(["RPUSH", backend.keys.queue(stage.QUEUE), job_id])
        case S.SCHEDULED:
            await backend.run(["ZADD", backend.keys.scheduled(stage.QUEUE), 4e9, job_id])
        case S.DEFERRED:
            await backend.run(["ZADD", backend.keys.deferred(stage.QUEUE), 4e9, job_id])


@pytest.mark.parametrize("verb", stage.OUTCOMES)
@pytest.mark.parametrize("status", [S.QUEUED, S.SCHEDULED, S.DEFERRED])
async def test_settling_what_is_not_where_it_says_is_done(
    backend: RedisBackend, verb: Verb, status: JobStatus
) -> None:
    """A status that an old handle of rq's has written over ``started`` does not take the job from the run that has the lease."""
    claimed = (await in_status(backend, S.STARTED)).claim
    await backend.run(["HSET", backend.keys.job(claimed.job_id), "status", status])

    settled = await stage.settle(backend, claimed, stage.OUTCOMES[verb])

    assert settled.refused == ()
    assert await stage.status_of(backend, claimed.job_id) in TRANSITIONS[verb].targets


@pytest.mark.parametrize("status", [S.QUEUED, S.SCHEDULED, S.DEFERRED])
async def test_reap_frees_what_is_not_where_it_says(
    backend: RedisBackend, status: JobStatus
) -> None:
    """Nor does it keep the job from being run again when the worker has died."""
    job = await in_status(backend, S.STARTED)
    await backend.run(["HSET", backend.keys.job(job.id), "status", status])
    await stage.end_lease(backend, job.claim)

    reaped = await backend.reap(stage.QUEUE, max_deaths=3)

    assert reaped.requeued == (job.id,)
    assert await stage.queued(backend) == [job.id]


@pytest.mark.leaks_allowed("the test itself deletes a running job's hash")
@pytest.mark.parametrize("verb", stage.OUTCOMES)
async def test_settling_a_job_that_vanished_is_refused_and_writes_nothing(
    backend: RedisBackend, verb: Verb
) -> None:
    """A run whose job's hash is gone ends nothing: no half of a job comes to be."""
    claimed = (await in_status(backend, S.STARTED)).claim
    await backend.run(["DEL", backend.keys.job(claimed.job_id)])
    before = await stage.everything(backend)

    settled = await stage.settle(backend, claimed, stage.OUTCOMES[verb])

    assert settled.refused == ((claimed, Reply.GONE),)
    assert await stage.everything(backend) == before


@pytest.mark.parametrize("status", ALL, ids=lambda status: status or "absent")
async def test_extending_without_a_lease_reports_it_lost_and_writes_nothing(
    backend: RedisBackend, status: JobStatus | None
) -> None:
    """A heartbeat for a run that holds no lease says so and brings no lease back."""
    stranger = (await in_status(backend, None)).claim
    job = await in_status(backend, status)
    before = await stage.everything(backend)

    extended = await backend.extend(stage.OTHER_SEAT, [stage.of_job(stranger, job.id)], stage.TALLY)

    assert extended.lost == {stranger.execution_id}
    assert await stage.everything(backend) == before


@pytest.mark.parametrize("status", _illegal(Verb.CLAIM), ids=lambda status: status or "absent")
async def test_claim_leaves_alone_what_is_not_queued(
    backend: RedisBackend, status: JobStatus | None
) -> None:
    """A job that is not queued is not claimed, even if its id stands in the queue; the id is dropped."""
    job = await in_status(backend, status)
    before = await stage.everything(backend, but=["aio:"])
    await backend.run(["RPUSH", backend.keys.queue(stage.QUEUE), job.id])

    claimed = await stage.claim(backend, seat=stage.OTHER_SEAT)

    assert claimed == []
    assert await stage.everything(backend, but=["aio:"]) == before


@pytest.mark.parametrize("status", ALL, ids=lambda status: status or "absent")
async def test_promote_leaves_alone_what_is_not_due(
    backend: RedisBackend, status: JobStatus | None
) -> None:
    """A job that is not among the due ones is not promoted, whatever its status."""
    await in_status(backend, status)
    before = await stage.everything(backend)

    moved, _ = await backend.promote(stage.QUEUE)

    assert moved == 0
    assert await stage.everything(backend) == before


@pytest.mark.parametrize(
    "status",
    [one for one in ALL if one not in TRANSITIONS[Verb.PROMOTE].sources],
    ids=lambda status: status or "absent",
)
async def test_promote_drops_the_id_of_what_is_not_scheduled(
    backend: RedisBackend, status: JobStatus | None
) -> None:
    """An id that stands among the due ones by mistake (an rq process died half-way) is dropped; its job is left as it is."""
    job = await in_status(backend, status)
    before = await stage.everything(backend)
    await backend.run(["ZADD", backend.keys.scheduled(stage.QUEUE), 1, job.id])

    await backend.promote(stage.QUEUE)

    assert await stage.everything(backend) == before


@pytest.mark.parametrize("status", ALL, ids=lambda status: status or "absent")
async def test_reap_leaves_alone_what_has_no_dead_lease(
    backend: RedisBackend, status: JobStatus | None
) -> None:
    """The reaper touches neither jobs without a lease nor those whose lease is alive."""
    await in_status(backend, status)
    before = await stage.everything(backend)

    reaped = await backend.reap(stage.QUEUE, max_deaths=1)

    assert (reaped.requeued, reaped.failed) == ((), ())
    assert await stage.everything(backend) == before


@pytest.mark.parametrize("status", _illegal(Verb.REAP), ids=lambda status: status or "absent")
async def test_reap_drops_the_dead_lease_of_what_is_not_started(
    backend: RedisBackend, status: JobStatus | None
) -> None:
    """A dead lease whose job has ended or gone meanwhile is dropped; the job is left as it is."""
    job = await in_status(backend, status)
    before = await stage.everything(backend)
    await backend.run(["ZADD", backend.keys.wip(stage.QUEUE), 1, f"{job.id}:{'e' * 32}"])

    reaped = await backend.reap(stage.QUEUE, max_deaths=3)

    assert (reaped.requeued, reaped.failed) == ((), ())
    assert await stage.everything(backend) == before


@pytest.mark.leaks_allowed("the test itself leaves half a job")
async def test_half_a_job_is_a_duplicate_and_can_be_replaced(backend: RedisBackend) -> None:
    """A hash without a status (rq's heartbeat makes one of a job that has expired) takes the id, and gives way to a job."""
    await backend.run(["HSET", backend.keys.job("x"), "last_heartbeat", "then"])

    with pytest.raises(DuplicateJobError, match="no status"):
        await _add_unique(backend, "x")
    await _add(backend, "x")

    assert await stage.queued(backend) == ["x"]
    assert "last_heartbeat" not in await stage.fields(backend, "x")


CALLS: dict[str, Call] = {
    "add": _add,
    "cancel": lambda backend, job_id: backend.cancel(job_id),
    "requeue": lambda backend, job_id: backend.requeue(job_id),
    "delete": lambda backend, job_id: backend.delete(job_id),
}


@pytest.mark.leaks_allowed("the test itself puts a string where a job should be")
@pytest.mark.parametrize("verb", CALLS)
async def test_something_else_under_the_key_of_a_job_is_refused(
    backend: RedisBackend, verb: str
) -> None:
    """What lies under a job's key and is no job is neither changed nor deleted."""
    await backend.run(["SET", backend.keys.job("x"), "a string"])
    before = await stage.everything(backend)

    with pytest.raises(BackendError):
        await CALLS[verb](backend, "x")

    assert await stage.everything(backend) == before
