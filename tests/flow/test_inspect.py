"""Looking at queues, registries, workers and jobs: nothing is changed by it, and nothing odd in Redis stops it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aiorq2.backends import connect, inspect
from aiorq2.backends.base import Seat
from aiorq2.backends.inspect import QueueCounts
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import InvalidOption
from aiorq2.job import Job
from aiorq2.queue import Queue
from aiorq2.suspension import is_suspended, resume, suspend
from tests.support import jobs
from tests.support.chaos_proxy import ChaosProxy

planted = pytest.mark.leaks_allowed("keys are planted by hand")

SEAT = Seat("w-1", "instance", lease=15)
FIELDS: dict[str, str | int] = {
    "birth": "2024-05-01T12:00:00.000000Z",
    "last_heartbeat": "2024-05-01T12:00:01.000000Z",
    "queues": "high,low",
    "pid": 42,
    "hostname": "host",
    "ip_address": "10.0.0.1",
    "version": "3.0.0",
    "state": "idle",
    "successful_job_count": 3,
    "failed_job_count": 2,
    "total_working_time": "1.5",
}


async def dump(backend: RedisBackend) -> dict[bytes, Any]:
    """Return everything under the backend's prefix."""
    cursor = b"0"
    found: dict[bytes, Any] = {}
    while True:
        ((cursor, keys),) = await backend.run(
            ["SCAN", cursor, "MATCH", f"{backend.key_prefix}:*", "COUNT", 1000]
        )
        found |= (
            dict(zip(keys, await backend.run(*(["DUMP", key] for key in keys)), strict=True))
            if keys
            else {}
        )
        if cursor == b"0":
            return found


async def plant_zset(backend: RedisBackend, name: str, *members: str) -> None:
    """Put members into a sorted set, the score being the place from 1."""
    pairs = [part for place, member in enumerate(members, 1) for part in (place, member)]
    await backend.run(["ZADD", f"{backend.key_prefix}:{name}", *pairs])


# -- queues ------------------------------------------------------------------------------------------


async def test_queue_names_are_those_that_ever_had_a_job(backend: RedisBackend) -> None:
    """Sorted, also when the list is empty by now."""
    for name in ("low", "high", "a queue"):
        await Queue(name, backend).enqueue(jobs.nothing)
    await Queue("low", backend).empty()

    assert await inspect.queue_names(backend) == ["a queue", "high", "low"]


@planted
async def test_queue_counts_count_the_list_and_each_registry(backend: RedisBackend) -> None:
    """In the order that was asked for; a queue that nobody knows counts nothing."""
    await backend.run(["RPUSH", f"{backend.key_prefix}:queue:q", "a"])
    for size, name in enumerate(
        ("wip", "finished", "failed", "deferred", "scheduled", "canceled"), 2
    ):
        await plant_zset(backend, f"{name}:q", *(f"job{n}" for n in range(size)))

    counts = await inspect.queue_counts(backend, ["unknown", "q"])

    assert counts == [
        QueueCounts("unknown", 0, 0, 0, 0, 0, 0, 0),
        QueueCounts("q", 1, 2, 3, 4, 5, 6, 7),
    ]
    assert await inspect.queue_counts(backend, []) == []


async def test_queued_ids_come_in_pages(backend: RedisBackend) -> None:
    """From an offset on, so many of them; -1 is all, 0 is none."""
    queue = Queue("q", backend)
    await queue.enqueue_many([queue.prepare_data(jobs.nothing, job_id=f"j{n}") for n in range(5)])

    assert await inspect.queued_ids(backend, "q") == ["j0", "j1", "j2", "j3", "j4"]
    assert await inspect.queued_ids(backend, "q", 1, 2) == ["j1", "j2"]
    assert await inspect.queued_ids(backend, "q", 4, 10) == ["j4"]
    assert await inspect.queued_ids(backend, "q", 0, 0) == []
    assert await inspect.queued_ids(backend, "q", 10) == []
    assert await inspect.position(backend, "q", "j3") == 3
    assert await inspect.position(backend, "q", "j9") is None


@planted
async def test_registry_ids_come_in_pages_by_score(backend: RedisBackend) -> None:
    """The lowest score first, or the highest."""
    await plant_zset(backend, "failed:q", "a", "b", "c", "d")

    assert await inspect.registry_ids(backend, "failed", "q") == ["a", "b", "c", "d"]
    assert await inspect.registry_ids(backend, "failed", "q", 1, 2) == ["b", "c"]
    assert await inspect.registry_ids(backend, "failed", "q", 0, 3, desc=True) == ["d", "c", "b"]
    assert await inspect.registry_ids(backend, "failed", "q", 0, 0) == []
    assert await inspect.registry_entries(backend, "failed", "q", 0, 1) == [("a", 1.0)]
    assert await inspect.registry_count(backend, "failed", "q") == 4
    assert await inspect.registry_count(backend, "finished", "q") == 0


@planted
async def test_started_registry_names_jobs_and_runs(backend: RedisBackend) -> None:
    """Members are ``<job>:<execution>``; rq 1.16 wrote the job alone."""
    await plant_zset(backend, "wip:q", "a:e1", "b")

    assert await inspect.registry_ids(backend, "started", "q") == ["a", "b"]
    assert await inspect.registry_entries(backend, "started", "q") == [("a:e1", 1.0), ("b", 2.0)]


@planted
async def test_ids_of_jobs_may_hold_colons(backend: RedisBackend) -> None:
    """rq 1 allowed any id. Only the runs in ``started`` and of workers have an execution behind the last colon."""
    await plant_zset(backend, "failed:q", "a:b", "c")
    await plant_zset(backend, "wip:q", "a:b:e1")
    await backend.register(SEAT, ["q"], FIELDS)
    await backend.run(["SADD", f"{backend.key_prefix}:worker:w-1:executions", "a:b:e1"])

    (worker,) = await inspect.workers(backend)

    assert await inspect.registry_ids(backend, "failed", "q") == ["a:b", "c"]
    assert await inspect.registry_ids(backend, "started", "q") == ["a:b"]
    assert worker.job_ids == ("a:b",)
    assert worker.get_current_job_id() == "a:b"
    await backend.unregister(SEAT, ["q"])


async def test_registry_that_does_not_exist_is_refused(backend: RedisBackend) -> None:
    """The message has the names that exist."""
    with pytest.raises(InvalidOption, match="started, finished"):
        await inspect.registry_ids(backend, "stopped", "q")


# -- workers -----------------------------------------------------------------------------------------


async def test_worker_is_shown_as_it_announced_itself(backend: RedisBackend) -> None:
    """With the runs that stand under its name: it is busy with them, whatever its last heartbeat said."""
    await backend.register(SEAT, ["high", "low"], FIELDS)
    await backend.run(["SADD", f"{backend.key_prefix}:worker:w-1:executions", "b:e2", "a:e1"])

    (worker,) = await inspect.workers(backend)

    assert (worker.name, worker.hostname, worker.pid, worker.queues) == (
        "w-1",
        "host",
        42,
        ("high", "low"),
    )
    assert (worker.state, worker.current_execution_count, worker.job_ids) == ("busy", 2, ("a", "b"))
    assert (worker.successful_job_count, worker.failed_job_count, worker.total_working_time) == (
        3,
        2,
        1.5,
    )
    assert worker.birth_date == datetime(2024, 5, 1, 12, tzinfo=UTC)
    assert await inspect.workers(backend, "low") == [worker]
    assert await inspect.workers(backend, "other") == []
    await backend.unregister(SEAT, ["high", "low"])
    assert await inspect.workers(backend) == []


@planted
async def test_worker_of_an_older_rq_is_shown_with_its_current_job(backend: RedisBackend) -> None:
    """rq before 3.0 kept the job in the worker's hash."""
    prefix = backend.key_prefix
    await backend.run(
        ["SADD", f"{prefix}:workers", f"{prefix}:worker:old"],
        [
            "HSET",
            f"{prefix}:worker:old",
            "birth",
            "2024-05-01T12:00:00Z",
            "state",
            "busy",
            "current_job",
            "j1",
        ],
    )

    (worker,) = await inspect.workers(backend)

    assert (worker.job_ids, worker.queues, worker.pid) == (("j1",), (), None)


@planted
async def test_worker_that_is_gone_is_left_out_and_left_alone(backend: RedisBackend) -> None:
    """Its hash has expired, or says that it died: readers do not clean up."""
    prefix = backend.key_prefix
    await backend.run(
        [
            "SADD",
            f"{prefix}:workers",
            f"{prefix}:worker:gone",
            f"{prefix}:worker:dead",
            "nonsense",
            b"\xff",
        ],
        [
            "HSET",
            f"{prefix}:worker:dead",
            "birth",
            "2024-05-01T12:00:00Z",
            "death",
            "2024-05-01T13:00:00Z",
        ],
    )
    before = await dump(backend)

    assert await inspect.workers(backend) == []
    assert await dump(backend) == before


# -- everything --------------------------------------------------------------------------------------


@planted
async def test_snapshot_has_queues_workers_and_suspension(backend: RedisBackend) -> None:
    """Of all queues, or of those that were asked for and the workers that listen on them."""
    await Queue("low", backend).enqueue(jobs.nothing)
    await Queue("other", backend).enqueue(jobs.nothing)
    await backend.register(SEAT, ["high", "low"], FIELDS)
    await suspend(backend)

    everything = await inspect.snapshot(backend)
    part = await inspect.snapshot(backend, ["other", "new"])

    assert [(one.name, one.queued) for one in everything.queues] == [("low", 1), ("other", 1)]
    assert [one.name for one in everything.workers] == ["w-1"]
    assert everything.is_suspended
    assert [(one.name, one.queued) for one in part.queues] == [("other", 1), ("new", 0)]
    assert part.workers == ()


async def test_snapshot_of_nothing_is_empty(backend: RedisBackend) -> None:
    """An empty Redis is no special case."""
    assert await inspect.snapshot(backend) == inspect.Snapshot((), (), is_suspended=False)


@planted
@pytest.mark.redis
async def test_snapshot_takes_two_round_trips(chaos_proxy: ChaosProxy, key_prefix: str) -> None:
    """Two to find out what there is and to read it, not one for every queue and worker."""
    backend = connect(chaos_proxy.url, key_prefix=key_prefix)
    for number in range(25):
        await backend.run(["SADD", f"{key_prefix}:queues", f"{key_prefix}:queue:q{number}"])
        await backend.register(Seat(f"w{number}", "i", lease=15), ["q1"], FIELDS)
    await inspect.snapshot(backend)  # opens the connection
    before = chaos_proxy.traffic

    snapshot = await inspect.snapshot(backend)

    assert (len(snapshot.queues), len(snapshot.workers)) == (25, 25)
    assert (chaos_proxy.traffic - before).round_trips == 2
    await backend.close()


@planted
async def test_keys_of_the_wrong_type_count_as_empty(backend: RedisBackend) -> None:
    """A key that somebody else wrote hides nothing but itself."""
    prefix = backend.key_prefix
    await Queue("q", backend).enqueue(jobs.nothing, job_id="j1")
    await backend.register(SEAT, ["q"], FIELDS)
    spoilt = ("failed:q", "worker:w-1:executions", "queue:bad", "job:bad", "results:j1")
    await backend.run(*(["SET", f"{prefix}:{name}", "x"] for name in spoilt))
    await backend.run(["SADD", f"{prefix}:queues", f"{prefix}:queue:bad"])

    snapshot = await inspect.snapshot(backend)

    assert [(one.name, one.queued, one.failed) for one in snapshot.queues] == [
        ("bad", 0, 0),
        ("q", 1, 0),
    ]
    assert [one.current_execution_count for one in snapshot.workers] == [0]
    assert await inspect.queued_ids(backend, "bad") == []
    assert await inspect.registry_ids(backend, "failed", "q") == []
    assert await inspect.records(backend, ["bad"]) == [None]
    assert await inspect.result_entries(backend, "j1") == []
    assert await inspect.position(backend, "bad", "j1") is None


@planted
async def test_worker_with_odd_fields_is_shown_with_what_can_be_read(backend: RedisBackend) -> None:
    """Numbers and times that are none do not hide the rest."""
    odd = {
        "birth": "yesterday",
        "last_heartbeat": "",
        "pid": "many",
        "successful_job_count": "",
        "state": "\x1b[31m",
    }
    await backend.register(SEAT, ["q"], {**FIELDS, **odd})

    (worker,) = await inspect.workers(backend)

    assert (
        worker.pid,
        worker.birth_date,
        worker.successful_job_count,
        worker.failed_job_count,
    ) == (
        None,
        None,
        0,
        2,
    )


@planted
async def test_looking_changes_nothing(backend: RedisBackend) -> None:
    """No reader removes what is stale, as RQ's do."""
    prefix = backend.key_prefix
    await Queue("q", backend).enqueue(jobs.nothing, job_id="j1")
    await plant_zset(backend, "finished:q", "expired long ago")
    await backend.run(
        ["SADD", f"{prefix}:workers", f"{prefix}:worker:gone"],
        ["RPUSH", f"{prefix}:queue:q", "no-such-job"],
    )
    before = await dump(backend)

    await inspect.snapshot(backend)
    await inspect.workers(backend, "q")
    await inspect.records(backend, ["j1", "no-such-job"])
    await inspect.queued_ids(backend, "q")
    await inspect.registry_ids(backend, "finished", "q")
    await inspect.result_entries(backend, "j1")
    await inspect.is_suspended(backend)

    assert await dump(backend) == before


# -- jobs --------------------------------------------------------------------------------------------


async def test_records_keep_a_place_for_jobs_that_are_gone(backend: RedisBackend) -> None:
    """More than one pipeline's worth of them."""
    queue = Queue("q", backend)
    ids = [f"j{n}" for n in range(inspect.CHUNK + 1)]
    await queue.enqueue_many([queue.prepare_data(jobs.nothing, job_id=one) for one in ids])

    found = await inspect.records(backend, ["gone", *ids])

    assert found[0] is None
    assert [one and one.id for one in found[1:]] == ids
    assert await inspect.records(backend, []) == []


async def test_result_entries_come_newest_first(backend: RedisBackend) -> None:
    """Each with its id and its fields, as bytes."""
    job: Job = await Queue("q", backend).enqueue(jobs.nothing)
    key = f"{backend.key_prefix}:results:{job.id}"
    for attempt in (1, 2, 3):
        await backend.run(["XADD", key, f"{attempt}-1", "type", 2, "aio_attempt", attempt])

    assert await inspect.result_entries(backend, job.id, 2) == [
        ("3-1", {"type": b"2", "aio_attempt": b"3"}),
        ("2-1", {"type": b"2", "aio_attempt": b"2"}),
    ]
    await job.delete()


# -- suspension --------------------------------------------------------------------------------------


async def test_suspension_lasts_until_resume(backend: RedisBackend) -> None:
    """Under RQ's key, so rq's workers heed it too."""
    assert not await is_suspended(backend)

    await suspend(backend)

    assert await is_suspended(backend)
    assert await backend.run(["GET", f"{backend.key_prefix}:suspended"]) == [b"1"]
    assert await resume(backend)
    assert not await resume(backend)
    assert not await is_suspended(backend)


async def test_suspension_can_end_by_itself(backend: RedisBackend) -> None:
    """After a number of seconds, or a duration."""
    await suspend(backend, ttl="1h")

    (ttl,) = await backend.run(["TTL", f"{backend.key_prefix}:suspended"])
    assert 3590 < ttl <= 3600
    await resume(backend)


@pytest.mark.parametrize("ttl", [0, -1, 0.5, "soon", float("nan")])
async def test_suspension_for_no_time_is_refused(backend: RedisBackend, ttl: Any) -> None:
    """Rather than suspend for ever."""
    with pytest.raises(InvalidOption, match="ttl"):
        await suspend(backend, ttl=ttl)

    assert not await is_suspended(backend)
