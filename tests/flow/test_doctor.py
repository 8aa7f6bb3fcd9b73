"""The doctor: each thing that can be wrong is planted, reported and mended, and no job is lost by it."""

from __future__ import annotations

import asyncio
import pickle
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from aiorq2.backends import connect
from aiorq2.backends.base import Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.doctor import KINDS, Finding, Report, examine, mend, surroundings
from aiorq2.errors import InvalidJobOperation, InvalidOption, NoSuchJobError
from aiorq2.group import Group
from aiorq2.job import Job
from aiorq2.options import Retry
from aiorq2.queue import Queue
from aiorq2.scheduler import Scheduler
from aiorq2.states import JobStatus
from aiorq2.suspension import resume, suspend
from aiorq2.terms import RateLimit, Repeat
from tests.flow.at_work import at_work, drain
from tests.flow.test_inspect import FIELDS, dump
from tests.support import jobs
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer

planted = pytest.mark.leaks_allowed("what is wrong is planted by hand")

Plant = Callable[[RedisBackend], Awaitable[Any]]
LONG_AGO = 1_000_000


async def examined(backend: RedisBackend, **options: Any) -> Report:
    """Return the report on a Redis in which nothing moves; that the tests' Redis keeps no file is no news."""
    return await examine(backend, patience=0, ignore=["redis-forgets"], **options)


async def found(backend: RedisBackend) -> list[Finding]:
    """Return the findings."""
    return list((await examined(backend)).findings)


# -- what can be planted -----------------------------------------------------------------------------


async def _job(backend: RedisBackend, job_id: str = "j1", **options: Any) -> Job:
    return await Queue("q", backend).enqueue(jobs.add, 1, 2, job_id=job_id, **options)


async def lost_while_queued(backend: RedisBackend) -> None:
    """A worker of rq on several queues died after it had popped the job."""
    await _job(backend)
    await backend.run(["LREM", backend.keys.queue("q"), 0, "j1"])


async def lost_while_started(backend: RedisBackend) -> None:
    """Somebody has deleted the lease."""
    await _job(backend)
    await backend.run(["LPOP", backend.keys.queue("q")])
    await backend.run(
        ["HSET", backend.keys.job("j1"), "status", "started", "started_at", "2024-05-01T12:00:00Z"]
    )


async def lost_before_retry(backend: RedisBackend) -> None:
    """A worker of rq died after it had written that the job is scheduled, and before it had scheduled it."""
    await lost_while_started(backend)
    await backend.run(["HSET", backend.keys.job("j1"), "status", "scheduled"])


async def lost_while_deferred(backend: RedisBackend) -> None:
    """Its parent has ended since, and nobody will tell it."""
    await _job(backend, "parent")
    await _job(backend, depends_on="parent")
    await backend.run(
        ["ZREM", backend.keys.deferred("q"), "j1"], ["DEL", backend.keys.dependents("parent")]
    )
    await drain(backend)


async def lost_before_its_parent_ran(backend: RedisBackend) -> None:
    """Somebody has deleted it from the deferred ones; its parent waits as well."""
    await _job(backend, "parent")
    await _job(backend, depends_on="parent")
    await backend.run(["ZREM", backend.keys.deferred("q"), "j1"])


async def lost_while_ready(backend: RedisBackend) -> None:
    """As rq's next step would leave it if it were cut in two."""
    await lost_while_queued(backend)
    await backend.run(["HSET", backend.keys.job("j1"), "status", "ready_to_enqueue"])


async def lost_in_line(backend: RedisBackend) -> None:
    """It waits for its place and does not stand in line."""
    limit = RateLimit("api", 1)
    await _job(backend, "first", rate_limit=limit)
    await _job(backend, rate_limit=limit)
    await backend.run(["ZREM", backend.keys.rate_waiting("api"), "j1"])


async def lost_schedule(backend: RedisBackend) -> None:
    """It is scheduled for a time that nobody knows any more."""
    await Queue("q", backend).enqueue_in(3600, jobs.nothing, job_id="j1")
    await backend.run(["DEL", backend.keys.scheduled("q")])


async def stuck(backend: RedisBackend) -> None:
    """A worker of rq on one queue died before it had started the job; another id has no job any more."""
    await _job(backend)
    queue = backend.keys.queue("q")
    await backend.run(
        ["RPOPLPUSH", queue, f"{queue}:intermediate"], ["RPUSH", f"{queue}:intermediate", "gone"]
    )


async def dead_lease(backend: RedisBackend) -> None:
    """Its worker died long ago, and nobody works on the queue."""
    await _job(backend)
    await lost_while_started(backend)
    await backend.run(["ZADD", backend.keys.wip("q"), LONG_AGO, "j1:e1"])


async def id_without_job(backend: RedisBackend) -> None:
    """Its ttl is over."""
    await _job(backend)
    await backend.run(["RPUSH", backend.keys.queue("q"), "gone"])


async def repeated(backend: RedisBackend) -> None:
    """rq enqueued the same id twice."""
    await _job(backend)
    await backend.run(["RPUSH", backend.keys.queue("q"), "j1"])


async def ended_but_queued(backend: RedisBackend) -> None:
    """It was cancelled between two steps of rq's scheduler."""
    job = await _job(backend)
    await job.cancel()
    await backend.run(["RPUSH", backend.keys.queue("q"), "j1"])


async def memberless(backend: RedisBackend) -> None:
    """Its data was evicted."""
    await _job(backend)
    await drain(backend)
    await backend.run(["DEL", backend.keys.job("j1")])


async def husk(backend: RedisBackend) -> None:
    """rq wrote a heartbeat to a job that was deleted."""
    await backend.run(["HSET", backend.keys.job("j1"), "last_heartbeat", "2024-05-01T12:00:00Z"])


async def immortal_results(backend: RedisBackend) -> None:
    """rq gives the results of failed jobs no time to live."""
    await _job(backend)
    await drain(backend)
    for job_id in ("j1", "gone"):
        await backend.run(["XADD", backend.keys.results(job_id), "*", "type", 2])


async def immortal_job(backend: RedisBackend) -> None:
    """It has ended, will leave its registry, and would stay."""
    await _job(backend)
    await drain(backend)
    await backend.run(["PERSIST", backend.keys.job("j1")])


async def immortal_worker(backend: RedisBackend) -> None:
    """A worker of rq that was thought dead wrote its state once more."""
    await backend.run(["HSET", backend.keys.worker("w-1"), "state", "busy"])


async def unlisted(backend: RedisBackend) -> None:
    """The set of queues was deleted."""
    await _job(backend)
    await backend.run(["DEL", backend.keys.queues()])


async def overdue(backend: RedisBackend) -> None:
    """No worker looks at the queue."""
    await Queue("q", backend).enqueue_in(3600, jobs.nothing, job_id="j1")
    await backend.run(["ZADD", backend.keys.scheduled("q"), LONG_AGO, "j1"])


async def overdue_cron(backend: RedisBackend) -> None:
    """Nor at its recurring entries."""
    await Scheduler("q", backend=backend).cron("0 0 1 1 *", jobs.nothing, name="yearly")
    await backend.run(
        ["SADD", backend.keys.queues(), backend.keys.queue("q")],
        ["ZADD", backend.keys.crons("q"), LONG_AGO, "yearly"],
    )


async def left_ready(backend: RedisBackend) -> None:
    """rq died between deferred and queued."""
    await lost_while_ready(backend)
    await backend.run(["ZADD", backend.keys.ready("q"), LONG_AGO, "j1"])


async def stuck_slot(backend: RedisBackend) -> None:
    """The job that held the place is gone, another one waits for it."""
    limit = RateLimit("api", 1)
    await _job(backend, "first", rate_limit=limit)
    await _job(backend, rate_limit=limit)
    await backend.run(
        ["DEL", backend.keys.job("first")], ["LREM", backend.keys.queue("q"), 0, "first"]
    )


async def empty_group(backend: RedisBackend) -> None:
    """Its jobs are not kept any more."""
    queue = Queue("q", backend)
    await Group.create(backend, "g").enqueue_many(
        queue, [queue.prepare_data(jobs.nothing, result_ttl=0)]
    )
    await drain(backend)


async def dead_worker(backend: RedisBackend) -> None:
    """It was killed, and its hash has expired."""
    await backend.register(Seat("w-1", "i", 15), ["q"], FIELDS)
    await backend.run(
        ["SADD", backend.keys.queues(), backend.keys.queue("q")],
        ["DEL", backend.keys.worker("w-1")],
    )


async def stale_lock(backend: RedisBackend) -> None:
    """A scheduler of rq is gone and its lock is not."""
    await _job(backend)
    await backend.run(["SET", backend.keys.scheduler_lock("q"), "abcdef", "EX", 60])


async def unknown_status(backend: RedisBackend) -> None:
    """Somebody wrote it by hand."""
    await lost_while_queued(backend)
    await backend.run(["HSET", backend.keys.job("j1"), "status", "paused"])


async def old_rq(backend: RedisBackend) -> None:
    """Beside one of aiorq2."""
    await backend.run(
        ["HSET", backend.keys.worker("old"), "birth", "x", "version", "1.16.2"],
        ["EXPIRE", backend.keys.worker("old"), 60],
        ["SADD", backend.keys.workers(), backend.keys.worker("old")],
    )
    await backend.register(Seat("w-1", "i", 15), ["q"], {**FIELDS, "version": "0.1.0"})


async def versions(backend: RedisBackend) -> None:
    """In the middle of a deployment."""
    for name, version in (("w-1", "0.1.0"), ("w-2", "0.2.0")):
        await backend.register(Seat(name, name, 15), ["q"], {**FIELDS, "version": version})


async def serializers(backend: RedisBackend) -> None:
    """One producer has RQ's default; what it wrote is not loaded for it."""
    await _job(backend)
    data = zlib.compress(pickle.dumps(("os.system", None, ("false",), {})))
    await _job(backend, "j2")
    await backend.run(["HSET", backend.keys.job("j2"), "data", data])


async def suspended(backend: RedisBackend) -> None:
    """Somebody forgot to resume."""
    await suspend(backend)


MENDED: dict[str, list[Plant]] = {
    "lost-job": [
        lost_while_queued,
        lost_while_started,
        lost_before_retry,
        lost_while_deferred,
        lost_before_its_parent_ran,
        lost_while_ready,
        lost_in_line,
    ],
    "stuck-in-intermediate": [stuck],
    "dead-lease": [dead_lease],
    "id-without-job": [id_without_job],
    "repeated-id": [repeated],
    "ended-but-queued": [ended_but_queued],
    "member-without-job": [memberless],
    "no-payload": [husk],
    "no-ttl": [immortal_results, immortal_job, immortal_worker],
    "unlisted-queue": [unlisted],
    "left-ready": [left_ready],
    "stuck-slot": [stuck_slot],
    "empty-group": [empty_group],
    "dead-worker": [dead_worker],
    "stale-lock": [stale_lock],
}
TOLD: dict[str, list[Plant]] = {
    "lost-schedule": [lost_schedule],
    "overdue": [overdue],
    "overdue-cron": [overdue_cron],
    "unknown-status": [unknown_status],
    "old-rq": [old_rq],
    "version-mix": [versions],
    "serializer-mix": [serializers],
    "suspended": [suspended],
}


def _each(plants: dict[str, list[Plant]]) -> list[Any]:
    return [
        pytest.param(kind, plant, id=f"{kind}-{plant.__name__}")
        for kind, several in plants.items()
        for plant in several
    ]


@planted
@pytest.mark.parametrize(("kind", "plant"), [*_each(MENDED), *_each(TOLD)])
async def test_what_is_wrong_is_reported_and_looking_changes_nothing(
    backend: RedisBackend, kind: str, plant: Plant
) -> None:
    """Once, by its name, and nothing else is."""
    await plant(backend)
    before = await dump(backend)

    findings = await found(backend)

    assert [one.kind for one in findings] == [kind], [one.text for one in findings]
    assert await dump(backend) == before


# -- mending -----------------------------------------------------------------------------------------


async def _known(backend: RedisBackend) -> set[str]:
    return {one for one in ("j1", "j2", "first", "parent") if await Job.exists(one, backend)}


@planted
@pytest.mark.parametrize(("kind", "plant"), _each(MENDED))
async def test_what_is_mended_is_well_and_no_job_is_lost(
    backend: RedisBackend, kind: str, plant: Plant
) -> None:
    """A second examination finds nothing, every job is still there, and those that were to run are run, once."""
    await plant(backend)
    before = await _known(backend)
    (finding,) = await found(backend)

    mended = await mend(backend, finding)

    assert mended >= 1
    assert (await examined(backend)).is_healthy
    assert await _known(backend) == before
    await drain(backend)
    for job_id in before if kind in ("lost-job", "stuck-in-intermediate", "dead-lease") else ():
        job = await Job.fetch(job_id, backend)
        assert (job.status, job.result, job.attempt) == (JobStatus.FINISHED, 3, 1), job_id
    assert (await examined(backend)).is_healthy


@planted
@pytest.mark.parametrize(("kind", "plant"), _each(MENDED))
async def test_mending_twice_does_nothing_more(
    backend: RedisBackend, kind: str, plant: Plant
) -> None:
    """What is not so any more is left alone: it is checked in the step that would change it."""
    await plant(backend)
    (finding,) = await found(backend)
    await mend(backend, finding)
    before = await dump(backend)

    mended = await mend(backend, finding)

    assert mended == 0
    assert await dump(backend) == before


@planted
async def test_job_that_has_moved_meanwhile_is_not_put_back(backend: RedisBackend) -> None:
    """Between report and mending it was requeued, run, and has ended."""
    await lost_while_queued(backend)
    (finding,) = await found(backend)
    await backend.run(["RPUSH", backend.keys.queue("q"), "j1"])
    await drain(backend)

    assert await mend(backend, finding) == 0
    assert await Queue("q", backend).count() == 0


@planted
async def test_lost_jobs_go_to_the_front_and_wake_a_worker(backend: RedisBackend) -> None:
    """They had been at the front when they were taken."""
    await lost_while_queued(backend)
    await _job(backend, "j2")
    await backend.run(["DEL", backend.keys.wake("q")])
    (finding,) = await found(backend)

    await mend(backend, finding)

    assert await Queue("q", backend).get_job_ids() == ["j1", "j2"]
    assert await backend.wait(Seat("w", "i", 15), ["q"], timeout=5)


@planted
async def test_job_that_rq_enqueued_fails_when_its_lease_is_dead(backend: RedisBackend) -> None:
    """By rq's rule; with its data kept, so that it can be requeued."""
    await dead_lease(backend)
    await backend.run(["HDEL", backend.keys.job("j1"), "aio_token"])
    (finding,) = await found(backend)

    await mend(backend, finding)

    job = await Job.fetch("j1", backend)
    assert job.status is JobStatus.FAILED
    assert "AbandonedJobError" in (job.exc_info or "")


@planted
@pytest.mark.parametrize(("kind", "plant"), _each(TOLD))
async def test_what_only_a_person_can_mend_is_refused(
    backend: RedisBackend, kind: str, plant: Plant
) -> None:
    """And the page says what he can do."""
    await plant(backend)
    (finding,) = await found(backend)

    with pytest.raises(InvalidJobOperation, match=kind):
        await mend(backend, finding)

    assert not finding.can_be_mended
    assert KINDS[kind].advice
    await resume(backend)


# -- examinations ------------------------------------------------------------------------------------


async def test_empty_redis_is_healthy(backend: RedisBackend) -> None:
    """There is nothing to be wrong."""
    report = await examined(backend)

    assert report.is_healthy
    assert report.findings == ()


@planted
async def test_examination_can_be_limited(backend: RedisBackend) -> None:
    """It stops after so many keys and entries, and says that it did not see all."""
    queue = Queue("q", backend)
    await queue.enqueue_many([queue.prepare_data(jobs.nothing) for _ in range(30)])

    part, whole = await examined(backend, limit=10), await examined(backend, limit=1000)

    assert not part.findings
    assert not part.is_complete
    assert not part.is_healthy
    assert part.seen < whole.seen
    assert whole.is_healthy


@planted
async def test_progress_is_told(backend: RedisBackend) -> None:
    """How much was seen, of about how much."""
    await _job(backend)
    told: list[tuple[int, int]] = []

    report = await examined(backend, on_progress=lambda one: told.append((one.seen, one.total)))

    assert told
    assert told[-1][0] == report.seen
    assert all(0 <= seen <= total for seen, total in told)


@planted
async def test_kinds_can_be_ignored(backend: RedisBackend) -> None:
    """By their names; one that there is not is an error."""
    await suspend(backend)

    assert (await examine(backend, patience=0, ignore=["suspended", "redis-forgets"])).is_healthy
    with pytest.raises(InvalidOption, match="no 'suspendet'"):
        await examine(backend, ignore=["suspendet"])
    await resume(backend)


@planted
async def test_finding_says_what_is_wrong_in_a_sentence(backend: RedisBackend) -> None:
    """With how many there are and the first of them."""
    for number in range(7):
        await _job(backend, f"j{number}")
    await backend.run(["DEL", backend.keys.queue("q")])

    (finding,) = await found(backend)

    assert (finding.kind, finding.where, finding.count, finding.detail) == (
        "lost-job",
        "q",
        7,
        "queued",
    )
    assert sorted(finding.names) == [f"j{number}" for number in range(7)]
    assert finding.text.startswith("queue q: 7 jobs queued and in no list: j")
    assert finding.text.endswith(", …")
    assert (
        Finding("no-ttl", "", ("a",), "(workers)", 1).text
        == "1 key (workers) with no time to live: a"
    )


@planted
async def test_long_queues_are_read_in_pages(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No job is passed over where the pages meet, and none is taken for two."""
    monkeypatch.setattr("aiorq2.backends.browse.STEP", 10)
    monkeypatch.setattr("aiorq2.backends.browse.OVERLAP", 3)
    queue = Queue("q", backend)
    await queue.enqueue_many([queue.prepare_data(jobs.nothing) for _ in range(64)])
    await _job(backend)
    await backend.run(["LREM", backend.keys.queue("q"), 0, "j1"])

    assert [one.names for one in await found(backend)] == [("j1",)]


@planted
async def test_keys_of_the_wrong_type_stop_nobody(backend: RedisBackend) -> None:
    """What somebody else wrote under a name of ours reads as empty."""
    await _job(backend)
    names = (
        "queue:bad",
        "wip:q",
        "failed:q",
        "job:bad",
        "group:bad",
        "rl-keys",
        "queue:q:intermediate",
    )
    await backend.run(*[["SET", f"{backend.key_prefix}:{name}", "x"] for name in names])
    await backend.run(["SADD", backend.keys.queues(), backend.keys.queue("bad")])

    assert await found(backend) == []


# -- Redis itself ------------------------------------------------------------------------------------


async def test_settings_of_redis_that_lose_jobs_are_told() -> None:
    """Eviction, and no file to come back from."""
    with RedisServer(extra=["--maxmemory-policy", "allkeys-lru"]) as server:
        backend = connect(server.url)
        findings = (await examine(backend)).findings
        await backend.close()

    assert [(one.kind, one.detail) for one in findings] == [
        ("redis-evicts", "allkeys-lru"),
        ("redis-forgets", ""),
    ]
    assert findings[0].text == "Redis has maxmemory-policy allkeys-lru"


async def test_redis_with_a_file_is_well() -> None:
    """And with its other settings as they come."""
    with RedisServer(appendonly="everysec") as server:
        backend = connect(server.url)
        assert (await examine(backend)).is_healthy
        await backend.close()


async def test_redis_that_is_too_old_is_told(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers would not start on it."""

    async def facts(backend: RedisBackend) -> dict[str, str]:
        return {"redis_version": "5.0.14"}

    monkeypatch.setattr(surroundings, "server_facts", facts)

    assert [one.text for one in await found(backend)] == [
        "Redis is 5.0.14; aiorq2 needs 6.2 or newer"
    ]


# -- a system at work --------------------------------------------------------------------------------


async def _keep_busy(backend: RedisBackend, until: asyncio.Event) -> None:
    """Enqueue jobs of every kind, and cancel, requeue and delete some, until told to stop."""
    queue, other = Queue("q", backend), Queue("other", backend)
    while not until.is_set():
        await asyncio.sleep(0.02)
        if await queue.count() > 100:
            continue
        parent = await queue.enqueue(jobs.add, 1, 2, result_ttl=1)
        await other.enqueue(jobs.nothing, depends_on=parent)
        await queue.enqueue(jobs.nothing, result_ttl=0, rate_limit=RateLimit("api", 2))
        failing = await queue.enqueue(jobs.fail, retry=Retry(2, interval=[0, 0.01]))
        await queue.enqueue_in(0.05, jobs.nothing, repeat=Repeat(2, interval=0.01))
        with suppress(InvalidJobOperation, NoSuchJobError):
            await (await queue.enqueue_in(60, jobs.nothing)).cancel()
            await (await other.enqueue(jobs.slow, 0.01)).cancel()
            await failing.delete()
        data = [queue.prepare_data(jobs.slow_sync, (0.002,)) for _ in range(10)]
        await Group.create(backend, "g").enqueue_many(queue, data)


async def _has_ended(backend: RedisBackend, count: int) -> bool:
    return await Queue("q", backend).finished_job_registry.count() >= count


@planted
async def test_busy_system_is_healthy(backend: RedisBackend) -> None:
    """What is only on its way from one place to another is not reported, however often one looks."""
    stop = asyncio.Event()
    async with at_work(backend, ["q", "other"]), at_work(backend, ["other", "q"], concurrency=3):
        busy = asyncio.create_task(_keep_busy(backend, stop))
        await eventually(lambda: _has_ended(backend, 100), timeout=60)
        for _ in range(4):
            report = await examine(backend, patience=0.3, ignore=["redis-forgets"])
            assert report.is_healthy, [one.text for one in report.findings]
            assert report.seen > 100
        stop.set()
        await busy
