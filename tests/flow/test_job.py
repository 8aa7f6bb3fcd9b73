"""The handle on a job: what is seen through it, what can be done with it, and what a job sees of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from aiorq2 import (
    Group,
    InvalidJobOperation,
    InvalidOption,
    Job,
    JobFailed,
    JobStatus,
    NoSuchJobError,
    PayloadTooLarge,
    Queue,
    Result,
    Retry,
    SerializationError,
    cancel_job,
    get_current_job,
    requeue_job,
)
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import JobCancelled
from tests.flow import samples
from tests.flow.at_work import at_work, drain
from tests.support import jobs
from tests.support.eventually import eventually, gates

# -- what is seen ------------------------------------------------------------------------------------


async def test_attributes_are_what_was_last_seen(backend: RedisBackend) -> None:
    """They never ask Redis; ``refresh`` brings them up to date."""
    before = datetime.now(UTC) - timedelta(seconds=1)
    job = await Queue("q", backend).enqueue(jobs.add, 1, y=2)

    assert (job.func_name, job.args, job.kwargs) == ("tests.support.jobs.add", (1,), {"y": 2})
    assert (job.origin, job.status, job.result, job.attempt) == ("q", "queued", None, 0)
    assert job.created_at is not None
    assert before < job.created_at <= datetime.now(UTC)
    assert job.enqueued_at == job.created_at
    assert (job.started_at, job.ended_at, job.worker_name) == (None, None, None)

    await drain(backend, name="w-1")
    assert job.status == "queued"

    await job.refresh()
    assert job.status == "finished"
    assert (job.result, job.attempt, job.worker_name) == (3, 1, "w-1")
    assert job.started_at is not None
    assert job.ended_at is not None
    assert before < job.started_at <= job.ended_at


async def test_job_shows_itself_as_in_rq(backend: RedisBackend) -> None:
    """Its id and the call, or what was said in its place."""
    queue = Queue("q", backend)

    job = await queue.enqueue(jobs.add, 1, 2, job_id="a")
    told = await queue.enqueue(jobs.add, 1, 2, job_id="b", description="the sum")

    assert repr(job) == "<Job a: tests.support.jobs.add(1, 2)>"
    assert repr(await Job.fetch("a", backend)) == repr(job)
    assert str(told) == "<Job b: the sum>"


async def test_fetched_job_is_the_same_job(backend: RedisBackend) -> None:
    """Jobs are equal by id; what does not exist is said to."""
    job = await Queue("q", backend).enqueue(jobs.add, 1, 2)

    fetched = await Job.fetch(job.id, backend)

    assert fetched == job
    assert fetched != job.id
    assert len({fetched, job}) == 1
    assert (fetched.args, fetched.created_at) == (job.args, job.created_at)
    assert await Job.exists(job.id, backend)
    assert not await Job.exists("nothing-here", backend)
    with pytest.raises(NoSuchJobError, match="'nothing-here'"):
        await Job.fetch("nothing-here", backend)


async def test_many_jobs_are_fetched_at_once_with_holes(backend: RedisBackend) -> None:
    """In the order that was asked for, None where there is none, also beyond one pipeline."""
    queue = Queue("q", backend)
    made = await queue.enqueue_many(queue.prepare_data(jobs.echo, (n,)) for n in range(600))
    ids = ["gone", *(job.id for job in made)]

    found = await Job.fetch_many(ids, backend)

    assert [job and job.id for job in found] == [None, *ids[1:]]
    assert [job.args[0] for job in found if job] == list(range(600))
    assert await Job.fetch_many([], backend) == []
    await queue.empty()


async def test_many_jobs_are_fetched_by_whatever_has_their_ids(backend: RedisBackend) -> None:
    """A set, a dict, a generator, as in RQ."""
    job = await Queue("q", backend).enqueue(jobs.nothing)

    several: list[Iterable[str]] = [{job.id}, {job.id: 1}, (one for one in [job.id]), (job.id,)]

    for ids in several:
        assert await Job.fetch_many(ids, backend) == [job]


@pytest.mark.leaks_allowed("a job of rq 1 is planted, in no queue")
@pytest.mark.parametrize("job_id", ["a:b", "two words", "ключ", "{x}"])
async def test_job_of_any_id_that_rq_1_allowed_is_found(backend: RedisBackend, job_id: str) -> None:
    """Only new ones are held to RQ's rule."""
    fields = ["status", "finished", "origin", "q", "created_at", "2020-01-01T00:00:00Z"]
    await backend.run(["HSET", backend.keys.job(job_id), *fields])

    assert (await Job.fetch(job_id, backend)).id == job_id
    assert await Job.exists(job_id, backend)
    assert await Job.fetch_many([job_id], backend) == [await Queue("q", backend).fetch_job(job_id)]


LOOKS: dict[str, Callable[[Any, RedisBackend], Awaitable[object]]] = {
    "fetch": Job.fetch,
    "fetch_many": lambda one, backend: Job.fetch_many(["x", one], backend),
    "exists": Job.exists,
    "cancel_job": cancel_job,
    "requeue_job": requeue_job,
    "fetch_job": lambda one, backend: Queue("q", backend).fetch_job(one),
    "get_job_position": lambda one, backend: Queue("q", backend).get_job_position(one),
    "remove": lambda one, backend: Queue("q", backend).remove(one),
    "contains": lambda one, backend: Queue("q", backend).failed_job_registry.contains(one),
    "requeue": lambda one, backend: Queue("q", backend).failed_job_registry.requeue(one),
    "remove from a registry": lambda one, backend: Queue("q", backend).failed_job_registry.remove(
        one
    ),
    "delete_job": lambda one, backend: Group(backend, "g").delete_job(one),
}


@pytest.mark.parametrize("look", LOOKS)
async def test_id_that_is_no_text_is_refused_by_its_type(backend: RedisBackend, look: str) -> None:
    """Before anything is sent; for a UUID, as a route of a web framework may give it, with what to write instead."""
    with pytest.raises(InvalidOption, match=r"must be a string, not NoneType$"):
        await LOOKS[look](None, backend)
    with pytest.raises(InvalidOption, match=r"must be a string, not UUID: give str\(id\)"):
        await LOOKS[look](UUID(int=7), backend)


PREDICATES: list[Callable[[Job], Awaitable[bool]]] = [
    Job.is_queued,
    Job.is_started,
    Job.is_finished,
    Job.is_failed,
    Job.is_stopped,
    Job.is_canceled,
    Job.is_scheduled,
    Job.is_deferred,
]


async def test_exactly_one_predicate_holds(backend: RedisBackend) -> None:
    """Each asks Redis, and so does ``get_status``."""
    queue = Queue("q", backend)

    async def true_of(job: Job) -> list[str]:
        told = [(one.__name__, await one(job)) for one in PREDICATES]
        return [name for name, holds in told if holds]

    canceled = await queue.enqueue(jobs.nothing)
    await canceled.cancel()
    finished = await queue.enqueue(jobs.nothing)
    failed = await queue.enqueue(jobs.fail)
    scheduled = await queue.enqueue(jobs.fail, retry=Retry(1, interval=60))
    running = await queue.enqueue(jobs.wait_gate, "g")
    async with at_work(backend):
        await eventually(scheduled.is_scheduled)
        assert await true_of(running) == ["is_started"]
        await running.cancel()
        await eventually(running.is_stopped)
    queued = await queue.enqueue(jobs.nothing)

    assert await true_of(queued) == ["is_queued"]
    assert await true_of(canceled) == ["is_canceled"]
    assert await true_of(finished) == ["is_finished"]
    assert await true_of(failed) == ["is_failed"]
    assert await true_of(scheduled) == ["is_scheduled"]
    assert await true_of(running) == ["is_stopped"]
    assert await queued.get_status(refresh=False) is JobStatus.QUEUED


async def test_handle_follows_a_job_that_was_replaced(backend: RedisBackend) -> None:
    """After ``refresh`` it shows the call that stands under the id now."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.add, 1, 2, job_id="same")
    await queue.enqueue(jobs.echo, "new", job_id="same")

    await job.refresh()

    assert (job.func_name, job.args) == ("tests.support.jobs.echo", ("new",))


# -- results -----------------------------------------------------------------------------------------


async def test_result_is_an_attribute_that_wait_fills(backend: RedisBackend) -> None:
    """``wait`` returns it; the handle keeps it; ``return_value`` asks again."""
    job = await Queue("q", backend).enqueue(jobs.echo, {"a": [1, 2]})
    assert job.result is None
    assert await job.return_value() is None

    async with at_work(backend):
        assert await job.wait(timeout=5) == {"a": [1, 2]}

    assert job.result == {"a": [1, 2]}
    assert await (await Job.fetch(job.id, backend)).return_value() == {"a": [1, 2]}


@pytest.mark.parametrize("results", ["hash", "stream"])
async def test_latest_result_tells_how_the_last_run_ended(
    backend: RedisBackend, results: Any
) -> None:
    """Wherever results are kept: type, value, times, worker, attempt."""
    queue = Queue("q", backend, results=results)
    job = await queue.enqueue(jobs.add, 1, 2)
    assert await job.latest_result() is None

    await drain(backend, name="w-1")

    result = await job.latest_result()
    assert result is not None
    assert result.type is Result.Type.SUCCESSFUL
    assert (result.return_value, result.worker_name, result.attempt) == (3, "w-1", 1)
    assert result.execution_started_at is not None
    assert result.execution_ended_at is not None
    assert result.execution_started_at <= result.execution_ended_at
    assert await job.results() == [result]
    assert await job.return_value() == 3


async def test_latest_result_waits_for_one(backend: RedisBackend) -> None:
    """Up to ``timeout`` seconds; then there is none."""
    job = await Queue("q", backend).enqueue(jobs.add, 1, 2)
    assert await job.latest_result(timeout=0.05) is None

    async with at_work(backend):
        result = await job.latest_result(timeout=5)

    assert result is not None
    assert result.return_value == 3


async def test_failed_job_keeps_its_traceback(backend: RedisBackend) -> None:
    """In ``exc_info``, in its result, and in what ``wait`` raises; none of our own frames is in it."""
    job = await Queue("q", backend).enqueue(jobs.fail, "no luck")

    await drain(backend)
    with pytest.raises(JobFailed, match="ValueError: no luck") as failure:
        await job.wait(timeout=5)

    assert failure.value.job_id == job.id
    assert job.exc_info == failure.value.exc_info
    assert job.exc_info is not None
    assert job.exc_info.startswith("Traceback (most recent call last):\n")
    assert "tests/support/jobs.py" in job.exc_info
    assert "aiorq2/executor.py" not in job.exc_info
    (result,) = await job.results()
    assert (result.type, result.exc_string) == (Result.Type.FAILED, job.exc_info)


async def test_results_of_several_runs_are_kept_newest_first(backend: RedisBackend) -> None:
    """One entry per run that failed, and the last."""
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 2, retry=Retry(3))

    await drain(backend)

    newest, *failed = await job.results()
    assert (newest.type, newest.return_value, newest.attempt) == (Result.Type.SUCCESSFUL, 3, 3)
    assert [(one.type, one.attempt) for one in failed] == [
        (Result.Type.RETRIED, 2),
        (Result.Type.RETRIED, 1),
    ]


# -- waiting -----------------------------------------------------------------------------------------


async def test_wait_raises_what_went_wrong(backend: RedisBackend) -> None:
    """Failed, cancelled, stopped, deleted: each is an exception of its own."""
    queue = Queue("q", backend)
    failed = await queue.enqueue(jobs.fail)
    canceled = await queue.enqueue(jobs.nothing)
    deleted = await queue.enqueue(jobs.nothing)
    stopped = await queue.enqueue(jobs.wait_gate, "g")
    waits = [asyncio.create_task(job.wait(5)) for job in (failed, canceled, deleted, stopped)]
    await asyncio.sleep(0)

    await canceled.cancel()
    await deleted.delete()
    async with at_work(backend):
        await eventually(stopped.is_started)
        await stopped.cancel()
        outcomes = await asyncio.gather(*waits, return_exceptions=True)

    assert [type(one) for one in outcomes] == [
        JobFailed,
        JobCancelled,
        NoSuchJobError,
        JobCancelled,
    ]
    assert "cancelled" in str(outcomes[1])
    assert "stopped" in str(outcomes[3])


async def test_wait_gives_up_in_time_and_the_job_goes_on(backend: RedisBackend) -> None:
    """The time limit is the waiter's, not the job's."""
    job = await Queue("q", backend).enqueue(jobs.wait_gate, "g")

    async with at_work(backend):
        await eventually(job.is_started)
        with pytest.raises(TimeoutError):
            await job.wait(timeout=0.05)
        gates["g"].open()
        assert await job.wait(timeout=5) == "g"


async def test_wait_gets_the_value_of_a_job_that_is_not_kept(backend: RedisBackend) -> None:
    """With ``result_ttl=0`` nothing is left in Redis; who was waiting gets the value all the same."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.wait_gate, "g", result_ttl=0)
    waiting = asyncio.create_task(job.wait(timeout=5))

    async with at_work(backend):
        await eventually(lambda: gates["g"].arrivals == 1)
        gates["g"].open()
        assert await waiting == "g"

    assert (job.result, job.status) == ("g", "finished")
    assert not await Job.exists(job.id, backend)
    with pytest.raises(NoSuchJobError):
        await job.wait(timeout=5)


async def test_wait_hears_of_a_failure_that_is_not_kept(backend: RedisBackend) -> None:
    """``failure_ttl=0``: the traceback is gone, that it failed is known."""
    job = await Queue("q", backend).enqueue(jobs.fail, failure_ttl=0)
    waiting = asyncio.create_task(job.wait(timeout=5))
    await eventually(lambda: _is_waited_for(backend, job.id))

    await drain(backend)

    with pytest.raises(JobFailed, match=job.id):
        await waiting


async def _is_waited_for(backend: RedisBackend, job_id: str) -> bool:
    return bool((await backend.run(["HEXISTS", backend.keys.job(job_id), "aio_waiters"]))[0])


async def test_hundred_waiters_all_hear_of_the_end(backend: RedisBackend) -> None:
    """Of the same job, and of others."""
    queue = Queue("q", backend)
    made = [await queue.enqueue(jobs.echo, n) for n in range(10)]
    waits = [asyncio.create_task(job.wait(timeout=10)) for job in made for _ in range(10)]

    async with at_work(backend):
        values = await asyncio.gather(*waits)

    assert values == [n for n in range(10) for _ in range(10)]


async def test_wait_stands_a_requeue(backend: RedisBackend) -> None:
    """It waits for the next end, within the same time limit."""
    job = await Queue("q", backend).enqueue(jobs.nothing)
    await job.cancel()
    with pytest.raises(JobCancelled):
        await job.wait(timeout=5)

    await job.requeue()

    async with at_work(backend):
        assert await job.wait(timeout=5) is None


# -- doing -------------------------------------------------------------------------------------------


async def test_failed_job_can_be_requeued(backend: RedisBackend) -> None:
    """It runs again; its failure stays among its results."""
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 1)
    await drain(backend)
    assert await job.is_failed()

    await job.requeue()

    assert await job.is_queued()
    await drain(backend)
    assert await job.wait(timeout=5) == 2
    assert [one.type.name for one in await job.results()] == ["SUCCESSFUL", "FAILED"]


async def test_requeued_job_can_go_to_the_front(backend: RedisBackend) -> None:
    """Before those that waited all the time."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.fail)
    await drain(backend)
    await queue.enqueue(jobs.nothing, job_id="other")

    await job.requeue(at_front=True)

    assert await queue.get_job_ids() == [job.id, "other"]
    await queue.empty()


async def test_what_a_status_does_not_allow_is_refused(backend: RedisBackend) -> None:
    """The message names the job, the verb and the fact."""
    queue = Queue("q", backend)
    done = await queue.enqueue(jobs.nothing, job_id="done")
    await drain(backend)
    waiting = await queue.enqueue(jobs.wait_gate, "g", job_id="waiting")

    with pytest.raises(InvalidJobOperation, match="'done': cannot cancel from 'finished'"):
        await done.cancel()
    with pytest.raises(InvalidJobOperation, match="'waiting': cannot requeue from 'queued'"):
        await waiting.requeue()
    async with at_work(backend):
        await eventually(waiting.is_started)
        with pytest.raises(InvalidJobOperation, match="'waiting': cannot delete from 'started'"):
            await waiting.delete()
        gates["g"].open()
        await waiting.wait(timeout=5)


async def test_missing_job_is_a_missing_job_for_every_verb(backend: RedisBackend) -> None:
    """Deleted, by somebody else perhaps."""
    job = await Queue("q", backend).enqueue(jobs.nothing)
    await (await Job.fetch(job.id, backend)).delete()

    for verb in (job.cancel, job.requeue, job.delete, job.refresh, job.results, job.get_status):
        with pytest.raises(NoSuchJobError, match=job.id):
            await verb()
    with pytest.raises(NoSuchJobError, match=job.id):
        await job.save_meta()
    with pytest.raises(NoSuchJobError, match=job.id):
        await job.wait(timeout=5)


async def test_of_a_hundred_deletes_one_wins(backend: RedisBackend) -> None:
    """The others are told that there is no such job."""
    job = await Queue("q", backend).enqueue(jobs.nothing)

    outcomes = await asyncio.gather(*[job.delete() for _ in range(100)], return_exceptions=True)

    assert outcomes.count(None) == 1
    assert sum(isinstance(one, NoSuchJobError) for one in outcomes) == 99


async def test_of_a_hundred_requeues_one_wins(backend: RedisBackend) -> None:
    """The job is queued once."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.nothing)
    await job.cancel()

    outcomes = await asyncio.gather(*[job.requeue() for _ in range(100)], return_exceptions=True)

    assert outcomes.count(None) == 1
    assert await queue.get_job_ids() == [job.id]


# -- meta --------------------------------------------------------------------------------------------


async def test_meta_comes_back_as_it_was(backend: RedisBackend) -> None:
    """Empty keys, None, nested and falsy values included."""
    meta: dict[str, Any] = {
        "": "empty key",
        "none": None,
        "zero": 0,
        "list": [],
        "ключ": {"a": [1, None]},
    }
    job = await Queue("q", backend).enqueue(jobs.nothing, meta=meta)

    assert job.meta == meta
    assert (await Job.fetch(job.id, backend)).meta == meta
    assert await job.get_meta() == meta


async def test_meta_is_changed_and_saved(backend: RedisBackend) -> None:
    """Until it is saved, the change is this handle's; a refresh forgets it."""
    job = await Queue("q", backend).enqueue(jobs.nothing)
    other = await Job.fetch(job.id, backend)

    job.meta["a"] = 1
    assert await other.get_meta() == {}
    await job.save_meta()
    assert await other.get_meta() == {"a": 1}

    job.meta = {"b": None}
    await job.save_meta()
    assert await other.get_meta() == {"b": None}
    job.meta["c"] = 3
    await job.refresh()
    assert job.meta == {"b": None}


async def test_meta_that_cannot_be_saved_is_refused(backend: RedisBackend) -> None:
    """What was saved before stays."""
    job = await Queue("q", backend).enqueue(jobs.nothing, meta={"a": 1})

    job.meta = {"a": object()}
    with pytest.raises(SerializationError, match="meta"):
        await job.save_meta()
    job.meta = {"a": "x" * 10_000_000}
    with pytest.raises(PayloadTooLarge, match="meta"):
        await job.save_meta()

    assert await job.get_meta() == {"a": 1}


# -- from inside -------------------------------------------------------------------------------------

PLACES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "coroutine": (samples.look, samples.count_in_meta, {}),
    "thread": (samples.look_sync, samples.count_in_meta_sync, {}),
    "coroutine in a thread": (samples.look, samples.count_in_meta, {"offload": "thread"}),
    "process": (samples.look_sync, samples.count_in_meta_sync, {"offload": "process"}),
    "coroutine in a process": (samples.look, samples.count_in_meta, {"offload": "process"}),
}


@pytest.mark.parametrize("place", PLACES)
async def test_job_can_look_at_itself(redis_backend: RedisBackend, place: str) -> None:
    """``get_current_job()`` is the running job: started, by this worker, for the first time."""
    look, _, options = PLACES[place]
    job = await Queue("q", redis_backend).enqueue(look, 1, 2, meta={"a": 1}, **options)

    await drain(redis_backend, name="w-1")

    assert await job.wait(timeout=5) == {
        "id": job.id,
        "status": "started",
        "attempt": 1,
        "worker": "w-1",
        "started": True,
        "args": [1, 2],
        "meta": {"a": 1},
    }


@pytest.mark.parametrize("place", PLACES)
async def test_job_saves_its_meta_while_it_runs(redis_backend: RedisBackend, place: str) -> None:
    """Awaited in a coroutine; in a plain function it blocks, so that code written for RQ works as it stands."""
    _, count, options = PLACES[place]
    job = await Queue("q", redis_backend).enqueue(count, meta={"count": 41}, **options)

    await drain(redis_backend)

    assert await job.wait(timeout=5) == 42
    assert await job.get_meta() == {"count": 42}


@pytest.mark.parametrize("verb", ["wait", "latest_result"])
@pytest.mark.parametrize(
    ("func", "offload"),
    [
        (samples.wait_for_oneself, None),
        (samples.wait_for_oneself, "thread"),
        (samples.wait_for_oneself_sync, "thread"),
        (samples.wait_for_oneself, "process"),
    ],
)
async def test_job_that_waits_for_itself_is_refused_at_once(
    backend: RedisBackend, func: Any, offload: str | None, verb: str
) -> None:
    """Its end would come after the call: it is an error, with a sentence, and not a wait for the job's time limit."""
    job = await Queue("q", backend).enqueue(func, verb, job_timeout=5, offload=offload)

    await drain(backend)

    with pytest.raises(JobFailed, match=r"InvalidJobOperation: job .* cannot wait for its own end"):
        await job.wait(timeout=5)


async def test_job_may_wait_for_one_of_its_id_elsewhere(
    redis_backend: RedisBackend, memory_backend: RedisBackend
) -> None:
    """That is another job."""
    await Queue("q", memory_backend).enqueue(jobs.echo, "there", job_id="x")
    await drain(memory_backend)
    where = memory_backend.location, memory_backend.key_prefix
    job = await Queue("q", redis_backend).enqueue(samples.wait_elsewhere, *where, job_id="x")

    await drain(redis_backend)

    assert await job.wait(timeout=5) == "there"


async def test_task_that_a_job_has_left_may_wait_for_it(backend: RedisBackend) -> None:
    """What goes on when the job has ended is not the job."""
    job = await Queue("q", backend).enqueue(samples.leave_a_waiter, "g")

    async with at_work(backend):
        assert await job.wait(timeout=5) == "done"
        gates["g"].open()
        await samples.left_behind.pop()

    assert jobs.recorded == ["done"]


async def test_outside_of_jobs_there_is_no_current_job(backend: RedisBackend) -> None:
    """Nor is one left behind, in the task that ran a worker or waited for a job."""
    assert get_current_job() is None

    job = await Queue("q", backend).enqueue(samples.look)
    await drain(backend)
    await job.wait(timeout=5)

    assert get_current_job() is None
    assert await asyncio.to_thread(get_current_job) is None
