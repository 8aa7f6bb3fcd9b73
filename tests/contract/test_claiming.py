"""Which jobs a worker gets, how many, in which order, and what is written of it."""

from __future__ import annotations

import pytest

from aiorq2.backends.base import Claim, Claimed
from aiorq2.backends.redis import RedisBackend
from aiorq2.outcome import Retried
from aiorq2.states import JobStatus, Verb
from tests.contract import stage
from tests.contract.stage import OTHER_SEAT, QUEUE, SEAT, in_status


def _ids(claimed: Claimed) -> list[str]:
    return [one.job_id for one in claimed.claims]


async def test_claim_takes_the_oldest_first(backend: RedisBackend) -> None:
    """Jobs of one queue start in the order in which they were added."""
    ids = await stage.add(backend, "a", "b", "c")

    claimed = await stage.claim(backend, count=3)

    assert [one.job_id for one in claimed] == ids


@pytest.mark.parametrize(("count", "expected"), [(0, []), (2, ["a", "b"]), (5, ["a", "b", "c"])])
async def test_claim_takes_no_more_than_asked_for(
    backend: RedisBackend, count: int, expected: list[str]
) -> None:
    """A worker gets at most as many jobs as it has free slots; the others stay in the queue, in order."""
    ids = await stage.add(backend, "a", "b", "c")

    claimed = await backend.claim(SEAT, stage.request(count))

    assert _ids(claimed) == expected
    assert await stage.queued(backend) == ids[len(expected) :]
    assert claimed.has_more == (len(expected) < 3)


async def test_claim_takes_a_job_added_at_the_front_first(backend: RedisBackend) -> None:
    """``at_front`` overtakes everything that waits, the last one first."""
    await stage.add(backend, "a", "b")
    await stage.add(backend, "c", at_front=True)
    await stage.add(backend, "d", at_front=True)

    assert _ids(await backend.claim(SEAT, stage.request(9))) == ["d", "c", "a", "b"]


async def test_claim_empties_the_first_queue_first(backend: RedisBackend) -> None:
    """Queues are taken strictly in the order given."""
    await stage.add(backend, "low1", "low2", queue="low")
    await stage.add(backend, "high1", "high2", queue="high")

    first = await backend.claim(SEAT, stage.request(3, ["high", "low"]))
    second = await backend.claim(SEAT, stage.request(3, ["high", "low"]))

    assert _ids(first) == ["high1", "high2", "low1"]
    assert [one.origin for one in first.claims] == ["high", "high", "low"]
    assert _ids(second) == ["low2"]


async def test_claim_takes_nothing_from_other_queues(backend: RedisBackend) -> None:
    """A worker touches the queues that it listens on, no others."""
    await stage.add(backend, "x", queue="foreign")

    assert _ids(await backend.claim(SEAT, stage.request(1))) == []
    assert await stage.queued(backend, "foreign") == ["x"]


async def test_claim_takes_nothing_while_suspended(backend: RedisBackend) -> None:
    """While workers are suspended nothing starts, and the worker is told why."""
    await stage.add(backend, "x")
    await backend.run(["SET", f"{backend.key_prefix}:suspended", 1])

    suspended = await backend.claim(SEAT, stage.request(1))
    await backend.run(["DEL", f"{backend.key_prefix}:suspended"])
    resumed = await backend.claim(SEAT, stage.request(1))

    assert (suspended.is_suspended, _ids(suspended)) == (True, [])
    assert (resumed.is_suspended, _ids(resumed)) == (False, ["x"])


async def test_settling_works_while_suspended(backend: RedisBackend) -> None:
    """Suspension keeps jobs from starting, not from ending."""
    claimed = await stage.start(backend)
    await backend.run(["SET", f"{backend.key_prefix}:suspended", 1])

    answer = await backend.settle(SEAT, [(claimed, stage.OUTCOMES[Verb.FINISH])], stage.request(1))

    assert (answer.is_suspended, answer.refused) == (True, ())
    assert await stage.status_of(backend, claimed.job_id) == "finished"
    await backend.run(["DEL", f"{backend.key_prefix}:suspended"])


async def test_claim_promotes_what_is_due(backend: RedisBackend) -> None:
    """A worker that looks for jobs starts those whose time has come, after those that wait already."""
    await stage.add(backend, "scheduled", status=JobStatus.SCHEDULED, due_in=3600)
    await stage.add(backend, "later", status=JobStatus.SCHEDULED, due_in=3600)
    await stage.add(backend, "waiting")
    await stage.make_due(backend, "scheduled")

    assert _ids(await backend.claim(SEAT, stage.request(9))) == ["waiting", "scheduled"]
    assert await stage.status_of(backend, "later") == "scheduled"


async def test_claim_promotes_nothing_when_told_not_to(backend: RedisBackend) -> None:
    """A worker without a scheduler leaves due jobs to others, and does not wake for them."""
    job = await in_status(backend, JobStatus.SCHEDULED)
    await stage.make_due(backend, job.id)

    claimed = await backend.claim(SEAT, stage.request(9, promote=0))

    assert (_ids(claimed), claimed.next_due_in) == ([], None)
    assert await stage.status_of(backend, job.id) == "scheduled"


async def test_settle_ends_and_claims_in_one_go(backend: RedisBackend) -> None:
    """What a worker has finished and what it starts next travel together."""
    first = await stage.start(backend, "first")
    await stage.add(backend, "second")

    answer = await backend.settle(SEAT, [(first, stage.OUTCOMES[Verb.FINISH])], stage.request(1))

    assert _ids(answer) == ["second"]
    assert await stage.status_of(backend, "first") == "finished"


async def test_settle_ends_many_runs_and_refuses_one(backend: RedisBackend) -> None:
    """One refused run does not touch the others of its batch."""
    await stage.add(backend, "a", "b", "c")
    a, b, c = await stage.claim(backend, count=3)
    await stage.end_lease(backend, b)
    await backend.reap(QUEUE, max_deaths=3)

    answer = await backend.settle(SEAT, [(one, stage.OUTCOMES[Verb.FINISH]) for one in (a, b, c)])

    assert [one.job_id for one, _ in answer.refused] == ["b"]
    assert [await stage.status_of(backend, one) for one in "abc"] == [
        "finished",
        "queued",
        "finished",
    ]


async def test_claim_writes_the_start_as_rq_does(backend: RedisBackend) -> None:
    """Lease, execution, the job's executions, the worker's executions and the job's own fields: all that readers of rq look at."""
    await stage.plant(backend, "x")

    claimed = await stage.claim_one(backend)

    run = f"x:{claimed.execution_id}"
    stored = await stage.everything(backend)
    assert stored["wip:q"][2][0] == run.encode()
    execution = {k.decode(): v.decode() for k, v in stored[f"execution:{run}"][2].items()}
    assert execution.keys() == {"id", "job_id", "created_at", "last_heartbeat", "worker_name"}
    assert (execution["id"], execution["job_id"]) == (claimed.execution_id, "x")
    assert execution["worker_name"] == SEAT.worker
    assert float(execution["created_at"]) == float(execution["last_heartbeat"])
    assert stored["executions:x"][2][0] == claimed.execution_id.encode()
    assert stored["worker:w1:executions"] == ("set", True, [run.encode()])
    fields = await stage.fields(backend, "x")
    assert (fields["status"], fields["worker_name"]) == ("started", SEAT.worker)
    assert fields["started_at"].endswith("Z")
    assert (
        "ended_at" not in fields
    )  # rq reads that as its empty text; one of an earlier run is emptied


async def test_claim_carries_the_record_as_it_was(backend: RedisBackend) -> None:
    """The claim brings all that the worker needs to run the job; nothing is read a second time."""
    (job_id,) = await stage.add(backend, meta={"a": 1}, retry=3)

    claimed = await stage.claim_one(backend)

    assert claimed.record.id == claimed.job_id == job_id
    assert claimed.record.status is JobStatus.QUEUED
    assert claimed.record.fields["data"] == b"payload"
    assert claimed.record.number("retries_left") == 3
    assert (claimed.origin, claimed.worker, claimed.attempt) == (QUEUE, SEAT.worker, 1)
    assert len(claimed.execution_id) == 32


async def test_claims_have_different_executions(backend: RedisBackend) -> None:
    """No two runs share an execution id, neither within a claim nor between claims."""
    await stage.add(backend, *[f"job{n}" for n in range(20)])

    claimed = await stage.claim(backend, count=10)
    claimed += await stage.claim(backend, count=10, seat=OTHER_SEAT)

    assert len({one.execution_id for one in claimed}) == 20


@pytest.mark.parametrize(
    ("ends", "attempt"), [([Verb.RETRY], 2), ([Verb.GIVE_BACK], 1), ([Verb.RETRY] * 2, 3)]
)
async def test_attempts_are_counted_but_not_those_given_back(
    backend: RedisBackend, ends: list[Verb], attempt: int
) -> None:
    """A retry is a new attempt; a run that was given back is none."""
    claimed = await stage.start(backend)
    for verb in ends:
        await stage.settle(backend, claimed, stage.OUTCOMES[verb])
        claimed = await stage.claim_one(backend)

    assert claimed.attempt == attempt


async def test_given_back_job_is_the_next_one(backend: RedisBackend) -> None:
    """A job that is given back goes to the front and looks as if it had never been started."""
    claimed = await stage.start(backend, "x")
    await stage.add(backend, "y")

    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.GIVE_BACK])

    assert await stage.queued(backend) == ["x", "y"]
    fields = await stage.fields(backend, "x")
    assert (fields["started_at"], fields["worker_name"]) == ("", "")
    assert await stage.entries(backend, "x") == []


@pytest.mark.parametrize(("at_front", "expected"), [(False, ["y", "x"]), (True, ["x", "y"])])
async def test_retried_job_goes_where_its_retry_says(
    backend: RedisBackend, at_front: bool, expected: list[str]
) -> None:
    """A retry without delay goes to the back of the queue, or to its front if that was asked for."""
    claimed = await stage.start(backend, "x")
    await stage.add(backend, "y")

    await stage.settle(backend, claimed, Retried(1.7e9, "E", "E: boom", 0, at_front))

    assert await stage.queued(backend) == expected


async def test_due_retry_goes_to_the_front_if_so_wanted(backend: RedisBackend) -> None:
    """RQ's ``enqueue_at_front_on_retry`` holds also when a delay lies between."""
    await stage.plant(backend, "x", enqueue_at_front_on_retry=1, retries_left=1)
    claimed = await stage.claim_one(backend)
    await stage.add(backend, "y")
    await stage.settle(backend, claimed, stage.LATER)
    await stage.make_due(backend, "x")

    await backend.promote(QUEUE)

    assert await stage.queued(backend) == ["x", "y"]


async def test_scheduled_job_goes_to_the_front_if_so_wanted(backend: RedisBackend) -> None:
    """``at_front`` of a scheduled job holds when it is due."""
    await stage.add(backend, "x", status=JobStatus.SCHEDULED, due_in=60, at_front=True)
    await stage.add(backend, "y")
    await stage.make_due(backend, "x")

    await backend.promote(QUEUE)

    assert await stage.queued(backend) == ["x", "y"]


async def test_requeued_job_goes_to_the_back_or_the_front(backend: RedisBackend) -> None:
    """A requeue joins the end of the queue, unless it is to be the next one."""
    first = await in_status(backend, JobStatus.FAILED)
    second = await in_status(backend, JobStatus.FAILED)
    await stage.add(backend, "x")

    await backend.requeue(first.id)
    await backend.requeue(second.id, at_front=True)

    assert await stage.queued(backend) == [second.id, "x", first.id]


async def test_promotion_is_bounded_and_tells_the_next_due_time(backend: RedisBackend) -> None:
    """One promotion moves at most ``limit`` jobs, the longest due first, and says when the next one is."""
    for n in range(5):
        await stage.add(backend, f"job{n}", status=JobStatus.SCHEDULED, due_in=60)
        key = backend.keys.scheduled(QUEUE)
        await backend.run(["ZADD", key, "XX", 10 + n, f"job{n}"])

    first = await backend.promote(QUEUE, limit=3)
    second = await backend.promote(QUEUE, limit=3)

    assert (first, second) == ((3, 13.0), (2, None))
    assert await stage.queued(backend) == [f"job{n}" for n in range(5)]


async def test_due_jobs_are_left_to_an_rq_scheduler_in_charge(backend: RedisBackend) -> None:
    """Where an rq scheduler holds the queue's lock we move nothing, and nobody wakes early for a job that is not ours to move."""
    job = await in_status(backend, JobStatus.SCHEDULED)
    await stage.make_due(backend, job.id)
    await backend.run(["SET", backend.keys.scheduler_lock(QUEUE), "rq", "EX", 61])

    claimed = await backend.claim(SEAT, stage.request(1))

    assert (_ids(claimed), claimed.next_due_in) == ([], None)
    assert await stage.places(backend, job.id) == ["scheduled:q"]


async def test_many_jobs_are_claimed_and_settled_at_once(backend: RedisBackend) -> None:
    """A hundred slots are filled by one call and emptied by one."""
    ids = [f"job{n}" for n in range(100)]
    await backend.add([stage.job_spec(job_id) for job_id in ids])

    claimed: list[Claim] = await stage.claim(backend, count=100)
    answer = await backend.settle(SEAT, [(one, stage.OUTCOMES[Verb.FINISH]) for one in claimed])

    assert [one.job_id for one in claimed] == ids
    assert answer.refused == ()
    (finished,) = await backend.run(["ZCARD", backend.keys.finished(QUEUE)])
    assert finished == 100
