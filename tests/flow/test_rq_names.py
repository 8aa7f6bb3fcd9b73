"""What somebody who comes from RQ looks for, and finds under RQ's name."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
import redis.asyncio

from aiorq2 import (
    Callback,
    Group,
    Job,
    Queue,
    RateLimit,
    Retry,
    Webhook,
    Worker,
    cancel_job,
    requeue_job,
)
from aiorq2.backends.base import Seat
from aiorq2.backends.kept import backend_of
from aiorq2.backends.redis import RedisBackend
from aiorq2.commands import send_kill_horse_command, send_shutdown_command, send_stop_job_command
from aiorq2.errors import (
    DuplicateJobError,
    InvalidJobOperation,
    InvalidOption,
    NoSuchJobError,
    UnknownFunction,
)
from aiorq2.executions import Execution
from aiorq2.registry import FailedJobRegistry
from aiorq2.states import JobStatus
from aiorq2.suspension import is_suspended, resume, suspend
from tests.flow.at_work import at_work, drain
from tests.flow.test_inspect import FIELDS
from tests.support import jobs
from tests.support.eventually import eventually, gates
from tests.support.redis_server import RedisServer

# -- connection= ---------------------------------------------------------------------------------------------------------


async def test_connection_is_taken_wherever_rq_takes_one(
    redis_server: RedisServer, redis_url: str, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of redis-py or a URL stands for one and the same backend, so that nothing is opened twice."""
    monkeypatch.setenv("RQ_KEY_PREFIX", key_prefix)
    monkeypatch.setenv("AIORQ2_URL", redis_url)
    client = redis.asyncio.Redis.from_url(redis_server.url)

    queue = Queue("q", connection=client)
    job = await queue.enqueue(jobs.nothing)

    assert await Job.fetch(job.id, connection=client) == job
    assert await Job.fetch_many([job.id], connection=client) == [job]
    assert await Job.exists(job.id, client)
    assert await Queue.all(connection=client) == [queue]
    assert await Worker.count(connection=client) == 0
    assert await Group.all(connection=client) == []
    assert await FailedJobRegistry("q", connection=client).count() == 0
    await suspend(client)
    assert await is_suspended(connection=redis_url)
    assert await resume()  # as the environment says
    await cancel_job(job.id, connection=client)
    await requeue_job(job.id, connection=client)
    await Queue("q", connection=client).empty()
    assert not await send_shutdown_command(client, "nobody")
    assert not await send_kill_horse_command(client, "nobody")
    with pytest.raises(NoSuchJobError):
        await send_stop_job_command(client, job.id)
    with pytest.raises(ValueError, match="no execution"):
        await Execution.fetch("e", job.id, connection=client)

    assert queue.backend is backend_of(client)
    assert backend_of(redis_url) is backend_of(connection=redis_url)
    for one in (backend_of(client), backend_of(redis_url), backend_of()):
        await one.close()
    await client.aclose()


def test_connection_and_backend_exclude_one_another() -> None:
    """And what is neither a URL nor a client is refused."""
    with pytest.raises(InvalidOption, match="not both"):
        Queue("q", "redis://localhost", connection="redis://localhost")
    with pytest.raises(InvalidOption, match="not int"):
        backend_of(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "keyword", "says"),
    [
        (Queue, "death_penalty_class", "job_timeout"),
        (Queue, "async", "is_async"),
        (Worker, "worker_ttl", "lease"),
        (Worker, "job_monitoring_interval", "lease"),
        (FailedJobRegistry, "death_penalty_class", "job_timeout"),
    ],
)
def test_keyword_that_is_left_out_is_refused_with_what_to_use(
    make: Any, keyword: str, says: str
) -> None:
    """Rather than ignored."""
    with pytest.raises(InvalidOption, match=f"{keyword}=.*{says}"):
        make("q", **{keyword: 1})
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        make("q", nonsense=1)


async def test_logging_is_not_workers_business(backend: RedisBackend) -> None:
    """``work(logging_level=…)`` says how else."""
    worker = Worker("q", backend)

    with pytest.raises(InvalidOption, match="logger 'aiorq2'"):
        await worker.work(burst=True, logging_level="INFO")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="'best'"):
        await worker.work(burst=True, dequeue_strategy="best")  # type: ignore[arg-type]
    assert not await worker.work(burst=True, dequeue_strategy="random")


# -- queues --------------------------------------------------------------------------------------------------------------


async def test_queue_is_found_by_its_key(backend: RedisBackend) -> None:
    """As it stands in the set of queues."""
    queue = Queue("a:b", backend)

    again = Queue.from_queue_key(queue.key, backend, default_timeout=5)

    assert queue.key == f"{backend.key_prefix}:queue:a:b"
    assert (again, again.default_timeout) == (queue, 5)
    with pytest.raises(InvalidOption, match="not the key of a queue"):
        Queue.from_queue_key("rq:worker:x", backend)


async def test_queue_lists_what_waits(backend: RedisBackend) -> None:
    """``job_ids`` and ``jobs`` are coroutine functions here."""
    queue = Queue("q", backend)
    first, second = [await queue.enqueue(jobs.nothing) for _ in range(2)]

    assert await queue.job_ids() == [first.id, second.id]
    assert await queue.jobs() == [first, second]
    assert Queue.DEFAULT_TIMEOUT == first.timeout == 180
    await queue.empty()


async def test_prepared_job_can_be_unique(backend: RedisBackend) -> None:
    """Enqueued or scheduled, once."""
    queue = Queue("q", backend)
    await queue.enqueue_job(queue.create_job(jobs.nothing, job_id="j1"), unique=True)

    with pytest.raises(DuplicateJobError):
        await queue.enqueue_job(queue.create_job(jobs.nothing, job_id="j1"), unique=True)
    with pytest.raises(DuplicateJobError):
        await queue.schedule_job(
            queue.create_job(jobs.nothing, job_id="j1"),
            datetime(2050, 1, 1, tzinfo=UTC),
            unique=True,
        )
    await drain(backend)
    with pytest.raises(DuplicateJobError):
        await queue.enqueue_job(await Job.fetch("j1", backend), unique=True)


# -- jobs ----------------------------------------------------------------------------------------------------------------


def succeeded(job: Job, connection: Any, result: Any) -> None:
    """Be called back."""


async def test_job_tells_all_that_rqs_tells(backend: RedisBackend) -> None:
    """Under the same names, without a call to Redis."""
    queue = Queue("q", backend)
    hook = Webhook("http://localhost/", "failed", method="POST", headers={"a": "b"})
    job = await queue.enqueue(
        jobs.add, 1, y=2, ttl=50, retry=Retry(2, [1, 2], enqueue_at_front=True), webhooks=[hook],
        on_success=Callback(succeeded, timeout=7), on_failure="tests.no.such", description="told",
    )  # fmt: skip

    job = await Job.fetch(job.id, backend)

    assert job.func is jobs.add
    assert job.get_call_string() == "tests.support.jobs.add(1, y=2)"
    assert (job.description, job.origin) == ("told", "q")
    assert (job.get_ttl(), job.get_ttl(9), job.get_result_ttl(9)) == (50, 50, 9)
    assert (job.should_retry, job.retry_intervals, job.enqueue_at_front_on_retry) == (
        True,
        [1, 2],
        True,
    )
    assert job.webhooks == [hook]
    assert job.success_callback is succeeded
    assert job.callback_timeout("success") == 7
    assert job.stopped_callback is None
    with pytest.raises(UnknownFunction):
        _ = job.failure_callback
    assert not job.has_rate_limit
    assert job.last_heartbeat is None
    assert (job.backend, job.serializer.name) == (backend, "json")
    assert job.key == f"{backend.key_prefix}:job:{job.id}"
    assert job.dependents_key == f"{job.key}:dependents"
    assert job.dependencies_key == f"{backend.key_prefix}:job::{job.id}:dependencies"
    assert job.to_dict()["origin"] == b"q"
    assert not await job.is_ready_to_enqueue()
    await queue.empty()


async def test_job_tells_its_rate_limit(backend: RedisBackend) -> None:
    """And that it has one."""
    job = await Queue("q", backend).enqueue(jobs.nothing, rate_limit=RateLimit("api", 2))

    assert (job.has_rate_limit, job.rate_limit_key, job.rate_limit_concurrency) == (True, "api", 2)
    await drain(backend)


@pytest.mark.leaks_allowed("a field is written by hand")
async def test_webhooks_that_cannot_be_read_are_an_error(backend: RedisBackend) -> None:
    """Of this attribute only."""
    job = await Queue("q", backend).enqueue(jobs.nothing)
    await backend.run(["HSET", job.key, "webhooks", '{"url": 1}'])

    job = await Job.fetch(job.id, backend)

    with pytest.raises(InvalidOption, match="webhooks"):
        _ = job.webhooks


async def test_dependents_can_be_deleted_alone(backend: RedisBackend) -> None:
    """All generations of them; the job itself stays."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.nothing)
    child = await queue.enqueue(jobs.nothing, depends_on=job)
    await queue.enqueue(jobs.nothing, depends_on=child)

    await job.delete_dependents()

    assert await job.dependent_ids() == []
    assert await queue.deferred_job_registry.count() == 0
    assert await queue.job_ids() == [job.id]
    await job.delete()


# -- workers -------------------------------------------------------------------------------------------------------------


async def test_workers_of_a_queue_are_found(backend: RedisBackend) -> None:
    """By the queue or its name; each by its key, also when it has just ended."""
    await backend.register(Seat("w-1", "i", 15), ["low"], {**FIELDS, "python_version": "3.11"})

    (record,) = await Worker.all(queue=Queue("low", backend))

    assert await Worker.count(backend, "low") == 1
    assert await Worker.count(backend, "high") == 0
    assert await Worker.all_keys(backend) == [record.key] == [f"{backend.key_prefix}:worker:w-1"]
    assert (record.queue_names(), record.get_state(), record.python_version) == (
        ["high", "low"],
        "idle",
        "3.11",
    )
    assert record.get_current_job_id() is None
    await backend.unregister(Seat("w-1", "i", 15), ["low"])
    ended = await Worker.find_by_key(record.key, backend)
    assert ended is not None
    assert ended.death_date is not None
    assert await Worker.all_keys(backend) == []
    assert await Worker.find_by_key(f"{backend.key_prefix}:worker:w-2", backend) is None
    with pytest.raises(InvalidOption, match="not the key of a worker"):
        await Worker.find_by_key("w-1", backend)


async def test_worker_tells_of_itself(backend: RedisBackend) -> None:
    """What it does, and has done; the counts stay when it has ended."""
    queue = Queue("q", backend)
    async with at_work(backend) as worker:
        assert (worker.state, worker.job_ids) == ("idle", ())
        job = await queue.enqueue(jobs.wait_gate, "g")
        await eventually(lambda: worker.job_ids == (job.id,))
        assert worker.state == "busy"
        gates["g"].open()
        await queue.enqueue(jobs.fail)
        await eventually(lambda: asyncio.sleep(0, worker.failed_job_count == 1))

    assert worker.state == "started"
    assert (worker.successful_job_count, worker.failed_job_count) == (1, 1)
    assert worker.total_working_time > 0
    assert (worker.queue_names(), worker.queue_keys()) == (["q"], [queue.key])
    assert worker.key == f"{backend.key_prefix}:worker:{worker.name}"


async def test_exception_handlers_are_pushed_and_popped(backend: RedisBackend) -> None:
    """The last one pushed is the first one popped."""
    seen: list[str] = []
    worker = Worker("q", backend, exception_handlers=[lambda *_: seen.append("first")])
    worker.push_exc_handler(lambda *_: seen.append("second"))
    worker.push_exc_handler(lambda *_: seen.append("third"))
    popped = worker.pop_exc_handler()
    await Queue("q", backend).enqueue(jobs.fail)

    await worker.work(burst=True)

    assert seen == ["first", "second"]
    assert callable(popped)


async def test_job_that_runs_is_not_ready(backend: RedisBackend) -> None:
    """It has been enqueued long since."""
    job = await Queue("q", backend).enqueue(jobs.nothing)
    await drain(backend)

    assert not await job.is_ready_to_enqueue()
    assert await job.get_status() is JobStatus.FINISHED
    with pytest.raises(InvalidJobOperation):
        await cancel_job(job.id, backend)


async def test_job_is_made_without_a_queue_and_enqueued_in_one(backend: RedisBackend) -> None:
    """It takes over what the queue says where it says nothing itself."""
    job = Job.create(jobs.add, (1,), {"y": 2}, backend, description="told", id="j1")
    other = Job.create(jobs.add, (1, 2), backend=backend, timeout="1m")
    assert (job.status, job.args, job.description) == (JobStatus.QUEUED, (1,), "told")
    assert not await Job.exists("j1", backend)

    queue = Queue("q", backend, default_timeout=7)
    await queue.enqueue_job(job)
    await queue.enqueue_job(other)

    assert (job.origin, job.timeout, other.timeout) == ("q", 7, 60)
    await drain(backend)
    assert await job.return_value() == await other.return_value() == 3
    with pytest.raises(InvalidOption, match="status"):
        Job.create(jobs.add, backend=backend, status="queued")
