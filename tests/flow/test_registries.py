"""The lists that a queue keeps of its jobs: looked at without being changed, changed when asked to."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from aiorq2 import InvalidJobOperation, InvalidOption, Job, NoSuchJobError, Queue
from aiorq2.backends.redis import RedisBackend
from aiorq2.executions import Execution
from aiorq2.registry import (
    REGISTRIES,
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ReadyJobRegistry,
    Registry,
    ScheduledJobRegistry,
    StartedJobRegistry,
    clean_registries,
)
from aiorq2.states import JobStatus
from tests.contract import stage
from tests.flow.at_work import at_work, drain
from tests.support import jobs
from tests.support.eventually import eventually, gates

STATUS_OF = {
    StartedJobRegistry: JobStatus.STARTED,
    FinishedJobRegistry: JobStatus.FINISHED,
    FailedJobRegistry: JobStatus.FAILED,
    DeferredJobRegistry: JobStatus.DEFERRED,
    ReadyJobRegistry: JobStatus.READY_TO_ENQUEUE,
    ScheduledJobRegistry: JobStatus.SCHEDULED,
    CanceledJobRegistry: JobStatus.CANCELED,
}


@pytest.mark.parametrize("kind", REGISTRIES)
async def test_registry_has_the_jobs_of_its_status(
    backend: RedisBackend, kind: type[Registry]
) -> None:
    """Its count, its ids, its jobs, and whether one is in it."""
    registry = kind("q", backend)
    other = await stage.in_status(backend, JobStatus.QUEUED)
    await backend.run(["LREM", backend.keys.queue("q"), 0, other.id])
    job = await stage.in_status(backend, STATUS_OF[kind])
    before = await stage.everything(backend)

    assert await registry.count() == await registry.get_job_count() == 1
    assert await registry.get_job_ids() == [job.id]
    assert [one.id for one in await registry.get_jobs()] == [job.id]
    assert [await registry.contains(one) for one in (job.id, other.id)] == [True, False]
    assert await registry.contains(await Job.fetch(job.id, backend))

    assert await stage.everything(backend) == before
    await backend.delete(other.id)


@pytest.mark.parametrize("kind", REGISTRIES)
async def test_registry_is_found_on_its_queue(backend: RedisBackend, kind: type[Registry]) -> None:
    """``queue.failed_job_registry`` is ``FailedJobRegistry(queue=queue)`` is ``FailedJobRegistry("q", backend)``."""
    queue = Queue("q", backend)
    name = kind.__name__.removesuffix("JobRegistry").lower() + "_job_registry"

    found = getattr(queue, name)

    assert type(found) is kind
    assert found == kind(queue=queue) == kind("q", backend)
    assert found != kind("other", backend)
    assert len({found, kind("q", backend)}) == 1
    assert repr(found) == f"<{kind.__name__} q>"
    assert bool(found)


def test_what_would_have_to_ask_redis_says_how(backend: RedisBackend) -> None:
    """``len()`` and ``in`` cannot be awaited."""
    registry = FailedJobRegistry("q", backend)

    with pytest.raises(TypeError, match=r"await registry\.count\(\)"):
        len(registry)
    with pytest.raises(TypeError, match=r"await registry\.contains\(job\)"):
        assert "x" in registry


async def test_ids_come_in_pages(backend: RedisBackend) -> None:
    """From rank to rank, both included, as in RQ; ``desc`` begins at the end."""
    registry = FinishedJobRegistry("q", backend)
    for score, name in enumerate("abcde", 1):
        await backend.run(["ZADD", registry.key, 9e9 + score, name])

    assert await registry.get_job_ids(1, 2) == ["b", "c"]
    assert await registry.get_job_ids(-2) == ["d", "e"]
    assert await registry.get_job_ids(0, 1, desc=True) == ["e", "d"]
    assert await registry.get_jobs() == []


@pytest.mark.parametrize("kind", REGISTRIES)
async def test_job_whose_id_has_colons_is_found(
    backend: RedisBackend, kind: type[Registry]
) -> None:
    """rq 1 allowed any id; runs alone are ``<job>:<execution>``."""
    registry = kind("q", backend)
    await stage.plant(backend, "a:b", STATUS_OF[kind], aio_token="t")
    if kind is StartedJobRegistry:
        await backend.run(["DEL", registry.key], ["ZADD", registry.key, 1, "a:b:e1"])

    assert await registry.get_job_ids() == ["a:b"]
    assert [job.id for job in await registry.get_jobs()] == ["a:b"]
    if kind is not CanceledJobRegistry:
        assert await registry.get_expired_job_ids(9e9) == ["a:b"]
    await backend.run(["DEL", registry.key, backend.keys.job("a:b")])


async def test_looking_changes_nothing_cleaning_up_does(backend: RedisBackend) -> None:
    """RQ's readers clean up as they look, and put abandoned jobs twice into the queue by it."""
    queue = Queue("q", backend)
    finished, failed = queue.finished_job_registry, queue.failed_job_registry
    for registry in (finished, failed):
        await backend.run(["ZADD", registry.key, 1, "over", time.time() + 60, "soon", 9e9, "kept"])

    assert await finished.count() == 3
    assert await finished.get_expired_job_ids() == ["over"]
    assert await finished.get_expired_job_ids(time.time() + 120) == ["over", "soon"]
    assert await finished.get_job_count(cleanup=True) == 2
    assert await failed.get_job_ids() == ["soon", "kept"]
    assert await failed.cleanup(time.time() + 120) == 2
    assert await failed.get_job_ids(cleanup=True) == ["kept"]


async def test_expiration_time(backend: RedisBackend) -> None:
    """Until when a job is in the registry; None for ever."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.nothing, result_ttl=100)
    forever = await queue.enqueue(jobs.nothing, result_ttl=-1)
    kept = await queue.enqueue(jobs.fail, failure_ttl=-1)
    await drain(backend)

    until = await queue.finished_job_registry.get_expiration_time(job)
    assert until is not None
    assert 95 < (until - datetime.now(UTC)).total_seconds() <= 100
    assert await queue.finished_job_registry.get_expiration_time(forever.id) is None
    assert await queue.failed_job_registry.get_expiration_time(kept) is None
    with pytest.raises(NoSuchJobError, match="not in"):
        await queue.finished_job_registry.get_expiration_time(kept)


async def test_requeue_from_a_registry(backend: RedisBackend) -> None:
    """Only what is in it, and at the front if asked to; the job is handed back."""
    queue = Queue("q", backend)
    failed = await queue.enqueue(jobs.fail)
    await drain(backend)
    canceled = await queue.enqueue(jobs.nothing)
    await canceled.cancel()
    first = await queue.enqueue(jobs.nothing)

    with pytest.raises(InvalidJobOperation, match="cannot requeue from 'failed'"):
        await queue.canceled_job_registry.requeue(failed)
    requeued = await queue.failed_job_registry.requeue(failed.id, at_front=True)
    again = await queue.canceled_job_registry.requeue(canceled)

    assert (requeued.id, requeued.status) == (failed.id, "queued")
    assert again is canceled
    assert canceled.status == "queued"
    assert await queue.get_job_ids() == [failed.id, first.id, canceled.id]
    with pytest.raises(InvalidJobOperation):
        await queue.failed_job_registry.requeue(failed)
    with pytest.raises(NoSuchJobError):
        await queue.failed_job_registry.requeue("no-such-job")


async def test_deferred_and_scheduled_jobs_are_not_requeued(backend: RedisBackend) -> None:
    """They have not ended."""
    queue = Queue("q", backend)
    scheduled = await queue.enqueue_in(60, jobs.nothing)
    deferred = await queue.enqueue(jobs.nothing, depends_on=await queue.enqueue(jobs.nothing))

    for registry, job in (
        (queue.scheduled_job_registry, scheduled),
        (queue.deferred_job_registry, deferred),
    ):
        with pytest.raises(InvalidJobOperation):
            await registry.requeue(job)


@pytest.mark.leaks_allowed("as in RQ, a job that is taken out of its registry is in none")
async def test_remove_takes_out_and_deletes_if_asked_to(backend: RedisBackend) -> None:
    """RQ's ``remove``."""
    queue = Queue("q", backend)
    kept, deleted = [await queue.enqueue(jobs.fail) for _ in range(2)]
    await drain(backend)
    failed = queue.failed_job_registry

    assert await failed.remove(kept) is True
    assert await failed.remove(kept) is False
    assert await failed.remove(deleted.id, delete_job=True) is True

    assert await failed.count() == 0
    assert await Job.exists(kept.id, backend)
    assert not await Job.exists(deleted.id, backend)


async def test_scheduled_jobs_tell_and_change_their_time(backend: RedisBackend) -> None:
    """``schedule`` gives a scheduled job another time, to the millisecond."""
    queue = Queue("q", backend)
    scheduled = queue.scheduled_job_registry
    moment = datetime.now(UTC) + timedelta(hours=1)
    job = await queue.enqueue_at(moment, jobs.record, "x")

    assert abs(await scheduled.get_scheduled_time(job) - moment) < timedelta(milliseconds=1)
    assert await scheduled.get_jobs_to_schedule() == []
    assert await scheduled.get_jobs_to_schedule(moment.timestamp() + 1) == [job.id]
    assert await scheduled.cleanup() == 0

    await scheduled.schedule(job, datetime(2020, 1, 1))  # noqa: DTZ001  naive means UTC
    assert await scheduled.get_scheduled_time(job.id) == datetime(2020, 1, 1, tzinfo=UTC)
    assert await scheduled.get_jobs_to_schedule(chunk_size=1) == [job.id]
    await drain(backend)
    assert jobs.recorded == ["x"]
    with pytest.raises(InvalidJobOperation, match="cannot reschedule from 'finished'"):
        await scheduled.schedule(job, moment)
    with pytest.raises(NoSuchJobError):
        await scheduled.get_scheduled_time(job)


async def test_job_that_was_created_can_be_scheduled(backend: RedisBackend) -> None:
    """RQ's ``queue.schedule_job``; a second call is another time."""
    queue = Queue("q", backend)
    moment = datetime.now(UTC) + timedelta(hours=1)
    job = await queue.schedule_job(queue.create_job(jobs.nothing), moment)
    assert job.status == "scheduled"

    await queue.schedule_job(job, moment + timedelta(hours=1))

    due = await queue.scheduled_job_registry.get_scheduled_time(job)
    assert abs(due - moment - timedelta(hours=1)) < timedelta(milliseconds=1)


async def test_canceled_jobs_have_no_expiration(backend: RedisBackend) -> None:
    """As in RQ; cleaning up drops those that are gone."""
    queue = Queue("q", backend)
    registry = queue.canceled_job_registry
    job = await queue.enqueue(jobs.nothing)
    await job.cancel()
    await backend.run(["ZADD", registry.key, 1, "gone"])

    with pytest.raises(NotImplementedError):
        await registry.get_expired_job_ids()
    with pytest.raises(NotImplementedError):
        await registry.get_expiration_time(job)
    assert await registry.cleanup() == 1
    assert await registry.get_job_ids() == [job.id]


async def test_started_jobs_and_their_executions(backend: RedisBackend) -> None:
    """What runs, where, and since when."""
    queue = Queue("q", backend)
    started = queue.started_job_registry
    job = await queue.enqueue(jobs.wait_gate, "g")

    async with at_work(backend, name="w-1"):
        await eventually(lambda: gates["g"].arrivals == 1)
        (execution,) = await job.get_executions()
        assert await started.get_job_and_execution_ids() == [(job.id, execution.id)]
        assert await started.contains(job)
        assert execution.composite_key == f"{job.id}:{execution.id}"
        assert (execution.job_id, execution.worker_name) == (job.id, "w-1")
        assert execution.created_at is not None
        assert execution.last_heartbeat is not None
        assert abs(datetime.now(UTC) - execution.created_at) < timedelta(seconds=30)
        assert (await Execution.fetch(execution.id, job.id, backend)).id == execution.id
        with pytest.raises(NotImplementedError):
            await started.remove(job)
        gates["g"].open()
        await job.wait(timeout=5)

    assert await job.get_executions() == []
    assert not await started.contains(job)
    with pytest.raises(ValueError, match="there is no execution"):
        await Execution.fetch(execution.id, job.id, backend)


async def test_cleaning_up_frees_jobs_whose_worker_died(backend: RedisBackend) -> None:
    """Explicitly, with the very script that workers use; those that run are left alone."""
    queue = Queue("q", backend)
    dead, alive = [await stage.start(backend, name) for name in ("dead", "alive")]
    await stage.end_lease(backend, dead)

    assert await queue.started_job_registry.count() == 2
    assert await queue.started_job_registry.cleanup() == 1
    assert await queue.started_job_registry.cleanup() == 0

    assert await queue.get_job_ids() == ["dead"]
    assert await queue.started_job_registry.get_job_ids() == [alive.job_id]
    with pytest.raises(InvalidOption, match="give no timestamp"):
        await queue.started_job_registry.cleanup(1.0)


async def test_jobs_that_rq_left_ready_are_enqueued(backend: RedisBackend) -> None:
    """rq queues a freed job in two steps; who died in between is helped, what is stale is dropped."""
    registry = ReadyJobRegistry("q", backend)
    job = await stage.in_status(backend, JobStatus.READY_TO_ENQUEUE)
    await stage.add(backend, "queued-already")
    await backend.run(["ZADD", registry.key, 1, "queued-already", 1, "gone"])

    assert await registry.cleanup() == 3

    assert await Queue("q", backend).get_job_ids() == ["queued-already", job.id]
    assert await registry.count() == 0


async def test_all_registries_of_a_queue_are_cleaned(backend: RedisBackend) -> None:
    """RQ's function of this name."""
    queue = Queue("q", backend)
    for registry in (queue.finished_job_registry, queue.failed_job_registry):
        await backend.run(["ZADD", registry.key, 1, "x"])
    await stage.end_lease(backend, await stage.start(backend, "dead"))

    await clean_registries(queue)

    assert await queue.finished_job_registry.count() == 0
    assert await queue.failed_job_registry.count() == 0
    assert await queue.get_job_ids() == ["dead"]


async def test_compacting_a_queue(backend: RedisBackend) -> None:
    """Ids without a job and repetitions go, the order stays."""
    queue = Queue("q", backend)
    one, two = [await queue.enqueue(jobs.nothing) for _ in range(2)]
    key = backend.keys.queue("q")
    await backend.run(["LPUSH", key, "gone"], ["RPUSH", key, "gone", one.id, "gone-too"])

    assert await queue.compact() == 4
    assert await queue.compact() == 0

    assert await queue.get_job_ids() == [one.id, two.id]
    assert await Queue("empty", backend).compact() == 0
