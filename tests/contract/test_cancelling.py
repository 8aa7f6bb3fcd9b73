"""Cancel works on a job that waits, on one that runs, and on one whose worker is away for the moment."""

from __future__ import annotations

import asyncio
import json

import pytest

from aiorq2.backends.redis import RedisBackend
from aiorq2.states import JobStatus, Verb
from tests.contract import stage
from tests.contract.stage import QUEUE, SEAT, TALLY, in_status


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.SCHEDULED])
async def test_canceled_job_does_not_run(backend: RedisBackend, status: JobStatus) -> None:
    """A job that waits is taken out of where it waits; no worker will see it."""
    job = await in_status(backend, status)

    told = await backend.cancel(job.id)

    assert told is None
    fields = await stage.fields(backend, job.id)
    assert fields["status"] == "canceled"
    assert fields["ended_at"].endswith("Z")
    assert await stage.claim(backend) == []


async def test_worker_of_a_running_job_is_told_by_the_command_of_rq(backend: RedisBackend) -> None:
    """Cancelling a running job publishes RQ's own stop-job on the worker's channel, and names the worker."""
    claimed = await stage.start(backend)
    heard: asyncio.Queue[bytes | None] = asyncio.Queue()
    await backend.subscribe(backend.keys.commands(SEAT.worker), heard.put_nowait)

    told = await backend.cancel(claimed.job_id)

    assert told == SEAT.worker
    async with asyncio.timeout(5):
        message = await heard.get()
    assert message is not None
    assert json.loads(message) == {"command": "stop-job", "job_id": claimed.job_id}


async def test_running_job_stays_started_until_its_worker_has_stopped_it(
    backend: RedisBackend,
) -> None:
    """The status of a running job is the run's; the cancel only leaves its mark."""
    claimed = await stage.start(backend)

    await backend.cancel(claimed.job_id)

    assert await stage.status_of(backend, claimed.job_id) == "started"
    assert await stage.places(backend, claimed.job_id) == ["wip:q"]


async def test_heartbeat_tells_of_a_cancel_that_was_not_heard(backend: RedisBackend) -> None:
    """A worker that missed the message learns of the cancel with its next heartbeat, and with every one after it."""
    await stage.add(backend, "x", "y")
    x, y = await stage.claim(backend, count=2)
    await backend.cancel("x")

    first = await backend.extend(SEAT, [x, y], TALLY)
    second = await backend.extend(SEAT, [x, y], TALLY)

    assert first.stopping == second.stopping == {x.execution_id}
    assert first.lost == frozenset()


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.GIVE_BACK, Verb.STOP])
async def test_cancelled_run_ends_stopped_and_not_queued(backend: RedisBackend, verb: Verb) -> None:
    """A run that was cancelled and is retried or given back all the same is stopped instead, with an entry."""
    claimed = await stage.start(backend)
    await backend.cancel(claimed.job_id)

    settled = await stage.settle(backend, claimed, stage.OUTCOMES[verb])

    assert settled.refused == ()
    assert await stage.places(backend, claimed.job_id) == ["failed:q"]
    fields = await stage.fields(backend, claimed.job_id)
    assert fields["status"] == "stopped"
    assert "aio_cancel" not in fields
    assert len(await stage.entries(backend, claimed.job_id)) == 1


@pytest.mark.parametrize(("verb", "status"), [(Verb.FINISH, "finished"), (Verb.FAIL, "failed")])
async def test_run_that_ended_before_it_was_stopped_keeps_its_outcome(
    backend: RedisBackend, verb: Verb, status: str
) -> None:
    """A cancel that comes too late changes nothing, and does not linger: a requeued job is not cancelled by it."""
    claimed = await stage.start(backend)
    await backend.cancel(claimed.job_id)

    await stage.settle(backend, claimed, stage.OUTCOMES[verb])

    fields = await stage.fields(backend, claimed.job_id)
    assert fields["status"] == status
    assert "aio_cancel" not in fields
    await backend.requeue(claimed.job_id)
    assert len(await stage.claim(backend)) == 1


async def test_queued_job_with_the_mark_of_a_cancel_is_canceled_by_the_claim(
    backend: RedisBackend,
) -> None:
    """When rq's maintenance requeues a job that was being cancelled, it does not run again."""
    (job_id,) = await stage.add(backend)
    await backend.run(["HSET", backend.keys.job(job_id), "aio_cancel", 1, "aio_waiters", "inbox"])
    await stage.add(backend, "healthy")

    claimed = await stage.claim(backend, count=5)

    assert [one.job_id for one in claimed] == ["healthy"]
    assert await stage.places(backend, job_id) == ["canceled:q"]
    fields = await stage.fields(backend, job_id)
    assert fields["status"] == "canceled"
    assert fields.keys().isdisjoint({"aio_cancel", "aio_waiters"})


async def test_requeued_job_runs_though_it_was_cancelled_before(backend: RedisBackend) -> None:
    """A person who requeues a stopped or canceled job means it."""
    claimed = await stage.start(backend)
    await backend.cancel(claimed.job_id)
    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.STOP])
    await backend.requeue(claimed.job_id)
    await backend.cancel(claimed.job_id)
    await backend.requeue(claimed.job_id)

    again = await stage.claim_one(backend)

    assert again.job_id == claimed.job_id
    assert (await backend.extend(SEAT, [again], TALLY)).stopping == frozenset()


async def test_cancel_takes_every_copy_of_the_id_out_of_the_queue(backend: RedisBackend) -> None:
    """An id that RQ has put into the queue twice is gone from it altogether."""
    (job_id,) = await stage.add(backend)
    await backend.run(["RPUSH", backend.keys.queue(QUEUE), "other", job_id])

    await backend.cancel(job_id)

    assert await stage.queued(backend) == ["other"]
    assert await stage.places(backend, job_id) == ["canceled:q"]


async def test_cancellation_ends_with_the_run_that_it_was_for(backend: RedisBackend) -> None:
    """A job that was stopped in an rq worker and that rq requeues still bears our mark; it is run all the same."""
    job_id = (await stage.start(backend)).job_id
    await backend.cancel(job_id)
    await backend.run(
        ["DEL", backend.keys.wip(stage.QUEUE)],
        ["HSET", backend.keys.job(job_id), "status", "queued", "started_at", ""],
        ["RPUSH", backend.keys.queue(stage.QUEUE), job_id],
    )

    claimed = await stage.claim_one(backend)

    assert claimed.job_id == job_id
    assert (await backend.extend(stage.SEAT, [claimed], stage.TALLY)).stopping == frozenset()
