"""Jobs that wait for their time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from aiorq2 import InvalidOption, Queue, Retry
from aiorq2.backends.redis import RedisBackend
from tests.flow.at_work import at_work, drain, make_due
from tests.support import jobs


async def test_job_starts_when_it_is_due(backend: RedisBackend) -> None:
    """An idle worker sleeps until then."""
    queue = Queue("q", backend)
    waits = []

    async with at_work(backend):
        for _ in range(3):
            began = time.time()
            job = await queue.enqueue_in(0.5, jobs.record, "x")
            assert job.status == "scheduled"
            assert await queue.count() == 0
            await job.wait(timeout=10)
            assert job.started_at is not None
            waits.append(job.started_at.timestamp() - began)

    assert 0.5 <= min(waits) < 1.2


async def test_delay_is_given_in_many_forms(backend: RedisBackend) -> None:
    """A ``timedelta``, seconds, or text; by Redis' clock."""
    queue = Queue("q", backend)
    registry = queue.scheduled_job_registry

    for delay in (timedelta(hours=1), 3600, "1h"):
        job = await queue.enqueue_in(delay, jobs.nothing)
        due = await registry.get_scheduled_time(job)
        assert abs((due - datetime.now(UTC)).total_seconds() - 3600) < 5


async def test_moment_is_a_datetime(backend: RedisBackend) -> None:
    """With its zone; without one it is UTC (in RQ: local time)."""
    queue = Queue("q", backend)
    registry = queue.scheduled_job_registry
    moment = datetime(2100, 5, 1, 12, tzinfo=UTC)

    for given in (
        moment,
        moment.astimezone(timezone(timedelta(hours=5))),
        moment.replace(tzinfo=None),
    ):
        job = await queue.enqueue_at(given, jobs.nothing)
        assert await registry.get_scheduled_time(job) == moment


async def test_moment_without_a_zone_is_one_of_the_queues_zone(backend: RedisBackend) -> None:
    """Where it was given one; a moment that has a zone keeps it, and a zone that there is not is refused at once."""
    queue = Queue("q", backend, timezone="Europe/Berlin").named("other")
    nine = datetime(2100, 1, 1, 9)  # noqa: DTZ001  meant
    eight_utc = datetime(2100, 1, 1, 8, tzinfo=UTC)

    made = [
        await queue.enqueue_at(nine, jobs.nothing),
        await queue.enqueue_at(eight_utc, jobs.nothing),
        await queue.schedule_job(queue.create_job(jobs.nothing), nine),
    ]
    moved = await queue.schedule_job(await queue.enqueue_in(60, jobs.nothing), nine)

    for job in (*made, moved):
        assert await queue.scheduled_job_registry.get_scheduled_time(job) == eight_utc
    for zone in ("Europe/Atlantis", "", None, 5):
        with pytest.raises(InvalidOption, match="timezone"):
            Queue("q", backend, timezone=zone)  # type: ignore[arg-type]


async def test_moment_that_is_past_is_now(backend: RedisBackend) -> None:
    """The job runs at once."""
    job = await Queue("q", backend).enqueue_at(
        datetime.now(UTC) - timedelta(days=1), jobs.record, "x"
    )

    await drain(backend)

    assert await job.is_finished()


async def test_earlier_job_that_comes_later_is_not_overslept(backend: RedisBackend) -> None:
    """The worker that watches the next due time is woken when that changes."""
    queue = Queue("q", backend)
    await queue.enqueue_in(60, jobs.nothing)

    async with at_work(backend):
        await asyncio.sleep(0.2)
        job = await queue.enqueue_in(0.2, jobs.nothing)
        await job.wait(timeout=10)


async def test_job_that_is_moved_to_an_earlier_time_is_not_overslept(backend: RedisBackend) -> None:
    """So is one whose time was changed."""
    queue = Queue("q", backend)
    job = await queue.enqueue_in(60, jobs.nothing)

    async with at_work(backend):
        await asyncio.sleep(0.2)
        await queue.schedule_job(job, datetime.now(UTC) + timedelta(seconds=0.2))
        await job.wait(timeout=10)


async def test_options_go_with_the_job(backend: RedisBackend) -> None:
    """Those of ``enqueue``; ``at_front`` holds when it is due, and RQ's keywords do not reach the function."""
    queue = Queue("q", backend)
    last = await queue.enqueue(jobs.nothing)
    job = await queue.enqueue_in(
        60, jobs.add, 1, y=2, job_id="x", at_front=True, meta={"a": 1}, retry=2, job_timeout=7
    )
    assert (job.id, job.args, job.kwargs, job.meta) == ("x", (1,), {"y": 2}, {"a": 1})
    assert (job.timeout, job.retries_left, job.enqueue_at_front) == (7, 2, True)

    await make_due(backend)
    await backend.promote("q")

    assert await queue.get_job_ids() == ["x", last.id]


async def test_scheduled_job_can_be_cancelled_and_deleted(backend: RedisBackend) -> None:
    """Then it does not run."""
    queue = Queue("q", backend)
    one, two = [await queue.enqueue_in(60, jobs.record, "x") for _ in range(2)]

    await one.cancel()
    await two.delete()
    await make_due(backend)
    await drain(backend)

    assert jobs.recorded == []
    assert await one.is_canceled()
    assert await queue.scheduled_job_registry.count() == 0


async def test_many_due_at_once_all_run(backend: RedisBackend) -> None:
    """More than one claim moves."""
    queue = Queue("q", backend)
    for number in range(250):
        await queue.enqueue_in(60, jobs.record, str(number))
    await make_due(backend)

    await drain(backend)

    assert len(jobs.recorded) == 250


async def test_times_that_cannot_be_meant_are_refused(backend: RedisBackend) -> None:
    """What is no time, and what lies before now."""
    queue = Queue("q", backend)

    with pytest.raises(InvalidOption, match="a datetime is needed"):
        await queue.enqueue_at("tomorrow", jobs.nothing)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption):
        await queue.enqueue_in(-1, jobs.nothing)


async def test_queue_that_runs_jobs_at_once_stores_what_is_scheduled(backend: RedisBackend) -> None:
    """``is_async=False`` is about jobs whose time has come; the others wait for a worker, as in RQ."""
    queue = Queue("q", backend, is_async=False)
    job = await queue.enqueue_in(60, jobs.record, "x")
    assert (job.status, jobs.recorded) == ("scheduled", [])

    await make_due(backend)
    await drain(backend)

    assert jobs.recorded == ["x"]


@pytest.mark.parametrize("is_done_first", [True, False])
async def test_job_waits_for_its_time_and_for_others(
    backend: RedisBackend, is_done_first: bool
) -> None:
    """A scheduled job with ``depends_on`` runs when it is due and its parents are done, whichever comes last."""
    queue, elsewhere = Queue("q", backend), Queue("elsewhere", backend)
    parent = await elsewhere.enqueue(jobs.record, "parent")
    child = await queue.enqueue_in(60, jobs.record, "child", depends_on=parent)
    assert child.status == "scheduled"
    assert await parent.dependent_ids() == []  # rq would enqueue it, be it due or not

    if is_done_first:
        await drain(backend, "elsewhere")
        await drain(backend)
        assert await child.is_scheduled()
        await make_due(backend)
    else:
        await make_due(backend)
        await drain(backend)
        assert await child.is_deferred()
        assert await parent.dependent_ids() == [child.id]
        assert jobs.recorded == []
        await drain(backend, "elsewhere")
    await drain(backend)

    assert jobs.recorded == ["parent", "child"]
    assert await child.is_finished()


@pytest.mark.parametrize(
    ("policy", "status"), [("wait", "deferred"), ("cancel", "canceled"), ("run", "finished")]
)
async def test_scheduled_job_whose_parent_failed_follows_its_terms(
    backend: RedisBackend, policy: str, status: str
) -> None:
    """It is when the job is due that its parents are judged."""
    queue = Queue("q", backend)
    parent = await Queue("elsewhere", backend).enqueue(jobs.fail)
    child = await queue.enqueue_in(
        60, jobs.record, "child", depends_on=parent, on_parent_failure=policy
    )
    await drain(backend, "elsewhere")
    assert await child.is_scheduled()

    await make_due(backend)
    await drain(backend)

    assert await child.get_status() == status


async def test_retry_of_a_dependent_job_does_not_wait_for_its_parents_again(
    backend: RedisBackend,
) -> None:
    """Once it has run, its parents were done; should one be requeued, that is another matter."""
    queue = Queue("q", backend)
    parent = await Queue("elsewhere", backend).enqueue(jobs.nothing)
    await drain(backend, "elsewhere")
    child = await queue.enqueue(
        jobs.fails_times, "x", 1, depends_on=parent, retry=Retry(1, interval=60)
    )
    await drain(backend)
    assert await child.is_scheduled()

    await parent.requeue()
    await make_due(backend)
    await drain(backend)

    assert await child.is_finished()
