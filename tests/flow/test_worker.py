"""A worker: what it runs and in which order, how it announces itself, what it can be told, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from types import TracebackType
from typing import Any

import pytest

from aiorq2 import (
    InvalidJobOperation,
    InvalidOption,
    Job,
    JobFailed,
    Queue,
    Retry,
    Worker,
    WorkerNameTaken,
    registering,
)
from aiorq2.aftermath import Aftermath
from aiorq2.backends import connect
from aiorq2.backends.base import Claim
from aiorq2.backends.inspect import WorkerRecord
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendUnavailable, JobCancelled
from aiorq2.executor import Executor
from aiorq2.outcome import Outcome
from aiorq2.run import Run
from aiorq2.suspension import is_suspended, resume, suspend
from tests.flow import samples
from tests.flow.at_work import at_work, drain, is_registered, make_due
from tests.support import jobs
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually, gates


async def seen(worker: Worker, backend: RedisBackend) -> WorkerRecord:
    """Return what Redis knows of a worker."""
    return next(one for one in await Worker.all(backend) if one.name == worker.name)


async def fields(worker: Worker, backend: RedisBackend) -> dict[str, str]:
    """Return the worker's hash."""
    (flat,) = await backend.run(["HGETALL", backend.keys.worker(worker.name)])
    pairs = iter(part.decode() for part in flat)
    return dict(zip(pairs, pairs, strict=True))


# -- until nothing is left ---------------------------------------------------------------------------


async def test_burst_ends_when_nothing_is_left_and_tells_whether_it_ran_anything(
    backend: RedisBackend,
) -> None:
    """RQ's return value; jobs that its jobs enqueue are among those that it runs."""
    assert await Worker("q", backend).work(burst=True) is False

    await Queue("q", backend).enqueue(jobs.nothing)

    assert await Worker("q", backend).work(burst=True) is True
    assert await Queue("q", backend).is_empty()


async def test_burst_does_not_wait_for_what_is_not_due(backend: RedisBackend) -> None:
    """What is scheduled is not there yet; what has become due is."""
    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 1, retry=Retry(1, interval=60))

    await drain(backend)
    assert await job.is_scheduled()
    assert await drain(backend) is False

    await make_due(backend)
    assert await drain(backend)
    assert await job.wait(timeout=5) == 2


async def test_worker_without_scheduler_leaves_what_is_due_to_others(
    backend: RedisBackend,
) -> None:
    """``with_scheduler=False``; its queues are run all the same."""
    queue = Queue("q", backend)
    late = await queue.enqueue(jobs.fails_times, "k", 1, retry=Retry(1, interval=60))
    await drain(backend)
    await make_due(backend)
    job = await queue.enqueue(jobs.add, 1, 2)

    await drain(backend, with_scheduler=False)

    assert await job.wait(timeout=5) == 3
    assert await late.is_scheduled()


async def test_max_jobs_ends_the_worker_after_so_many(backend: RedisBackend) -> None:
    """Those that are left wait for another one; a retry is a job more."""
    queue = Queue("q", backend)
    for n in range(10):
        await queue.enqueue(jobs.record, str(n))

    await Worker("q", backend, handle_signals=False).work(max_jobs=7)

    assert sorted(jobs.recorded) == ["0", "1", "2", "3", "4", "5", "6"]
    assert await queue.count() == 3
    assert await drain(backend, max_jobs=100)


async def test_max_idle_time_ends_the_worker_when_nothing_has_come_for_so_long(
    backend: RedisBackend,
) -> None:
    """Counted from the end of the last job."""
    job = await Queue("q", backend).enqueue(jobs.slow, 0.5)
    loop = asyncio.get_running_loop()
    started = loop.time()

    await Worker("q", backend, handle_signals=False).work(max_idle_time=0.3)

    assert 0.75 < loop.time() - started < 5
    assert await job.is_finished()


# -- in which order ----------------------------------------------------------------------------------


@pytest.fixture
async def three_queues(backend: RedisBackend) -> RedisBackend:
    """Queues a, b and c with four jobs each."""
    for name in "cba":
        queue = Queue(name, backend)
        await queue.enqueue_many(queue.prepare_data(jobs.record, (f"{name}{n}",)) for n in range(4))
    return backend


async def test_first_queue_is_emptied_first(three_queues: RedisBackend) -> None:
    """Strictly, by default: the order of the queues is their priority."""
    await drain(three_queues, ["b", "a", "c"], concurrency=1)

    assert jobs.recorded == [f"{name}{n}" for name in "bac" for n in range(4)]


async def test_round_robin_takes_from_each_queue_in_turn(three_queues: RedisBackend) -> None:
    """RQ's strategy; within a queue the order stays."""
    await drain(three_queues, [*"abc"], concurrency=1, dequeue_strategy="round_robin")

    assert jobs.recorded == [f"{name}{n}" for n in range(4) for name in "abc"]


async def test_round_robin_passes_over_empty_queues(three_queues: RedisBackend) -> None:
    """Those after an empty one do not get its turns."""
    await drain(
        three_queues, ["none", *"ab"], concurrency=1, max_jobs=8, dequeue_strategy="round_robin"
    )

    assert jobs.recorded == [f"{name}{n}" for n in range(4) for name in "ab"]


async def test_round_robin_shares_the_slots(three_queues: RedisBackend) -> None:
    """Six at a time: two of each queue."""
    await drain(three_queues, [*"abc"], concurrency=6, dequeue_strategy="round_robin")

    assert sorted(jobs.recorded[:6]) == ["a0", "a1", "b0", "b1", "c0", "c1"]


async def test_random_strategy_runs_everything(three_queues: RedisBackend) -> None:
    """In some order; within a queue the order stays."""
    await drain(three_queues, [*"abc"], concurrency=1, dequeue_strategy="random")

    for name in "abc":
        assert [one for one in jobs.recorded if one[0] == name] == [f"{name}{n}" for n in range(4)]


async def test_concurrency_is_never_exceeded(backend: RedisBackend) -> None:
    """Nor left unused while jobs wait."""
    samples.Crowd.now = samples.Crowd.most = 0
    queue = Queue("q", backend)
    await queue.enqueue_many(queue.prepare_data(samples.be_in_the_crowd) for _ in range(50))

    await drain(backend, concurrency=7)

    assert samples.Crowd.most == 7


@pytest.mark.parametrize(
    "options",
    [
        {"queues": []},
        {"queues": ["q", ""]},
        {"concurrency": 0},
        {"sync_concurrency": 0},
        {"offload": "fork"},
        {"dequeue_strategy": "alphabetical"},
        {"lease": 0},
        {"lease": "soon"},
        {"grace": -1},
        {"default_result_ttl": "soon"},
        {"default_result_ttl": -2},
        {"name": " "},
        {"name": "w\n1"},
        {"allow": [""]},
        {"serializer": "no_such_serializer"},
        {"backend": "nonsense://here"},
    ],
)
def test_worker_that_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    """When it is made."""
    with pytest.raises(InvalidOption):
        Worker(**options)


# -- waking ------------------------------------------------------------------------------------------


async def test_idle_worker_starts_a_job_at_once(backend: RedisBackend) -> None:
    """It is woken; fifty jobs, one after the other, would take a minute if it polled."""
    queue = Queue("q", backend)

    async with at_work(backend, ["other", "q"]):
        async with asyncio.timeout(15):
            for n in range(50):
                assert await (await queue.enqueue(jobs.echo, n)).wait(timeout=5) == n


async def test_job_that_plain_rq_pushed_is_seen_soon(backend: RedisBackend) -> None:
    """rq leaves no marker; whoever watches the queue looks once a second."""
    queue = Queue("q", backend)
    for with_scheduler in (True, False):
        job = queue.create_job(jobs.add, (1, 2))
        async with at_work(backend, with_scheduler=with_scheduler):
            await asyncio.sleep(0.3)
            assert job.spec is not None
            data, key = job.spec.data, backend.keys.job(job.id)
            pushed_at = time.monotonic()
            await backend.run(
                ["HSET", key, "status", "queued", "origin", "q", "data", data, "timeout", 180],
                ["RPUSH", backend.keys.queue("q"), job.id],
            )
            assert await job.wait(timeout=10) == 3
            assert time.monotonic() - pushed_at < 4.3  # by its bell alone, it would be 4.7


# -- suspended ---------------------------------------------------------------------------------------


async def test_suspended_workers_start_nothing(backend: RedisBackend) -> None:
    """What runs goes on; ``resume`` lets them start again."""
    queue = Queue("q", backend)
    running = await queue.enqueue(jobs.wait_gate, "g")

    async with at_work(backend, lease=3) as worker:
        await eventually(running.is_started)
        await suspend(backend)
        assert await is_suspended(backend)
        waiting = await queue.enqueue(jobs.add, 1, 2)
        gates["g"].open()
        assert await running.wait(timeout=5) == "g"
        await eventually(lambda: _has_state(worker, backend, "suspended"))
        assert await waiting.is_queued()
        assert await resume(backend)
        assert await waiting.wait(timeout=5) == 3
    assert not await resume(backend)


async def _has_state(worker: Worker, backend: RedisBackend, state: str) -> bool:
    return (await seen(worker, backend)).state == state


async def test_burst_ends_at_once_when_suspended(backend: RedisBackend) -> None:
    """As RQ's does."""
    job = await Queue("q", backend).enqueue(jobs.nothing)
    await suspend(backend, ttl=60)

    assert await drain(backend) is False

    assert await job.is_queued()


# -- known -------------------------------------------------------------------------------------------


async def test_worker_announces_itself_as_rqs_does(backend: RedisBackend) -> None:
    """The fields of RQ's worker hash; gone from the list when it ends, the hash a minute later."""
    queue = Queue("q", backend)
    async with at_work(backend, ["q", "low"], name="w-1", lease=4) as worker:
        running = await queue.enqueue(jobs.wait_gate, "g")
        await eventually(running.is_started)
        await eventually(lambda: _has_state(worker, backend, "busy"))

        found = await fields(worker, backend)
        assert found["queues"] == "q,low"
        assert (found["pid"], found["hostname"]) == (str(os.getpid()), socket.gethostname())
        assert found.keys() >= {"birth", "last_heartbeat", "version", "python_version"}
        record = await seen(worker, backend)
        assert (record.job_ids, record.current_execution_count, record.state) == (
            (running.id,),
            1,
            "busy",
        )
        assert await Worker.count(backend) == 1

        gates["g"].open()
        await running.wait(timeout=5)
        await (await queue.enqueue(jobs.fail)).latest_result(timeout=5)
        await eventually(lambda: _has_state(worker, backend, "idle"))

        async def has_counted() -> bool:
            record = await seen(worker, backend)
            return (record.successful_job_count, record.failed_job_count) == (1, 1)

        await eventually(has_counted)
        assert (await seen(worker, backend)).total_working_time > 0

    assert await Worker.all(backend) == []
    assert (await fields(worker, backend))["death"]
    (ttl,) = await backend.run(["TTL", backend.keys.worker("w-1")])
    assert 0 < ttl <= 60


async def test_worker_runs_where_the_package_is_not_installed(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder on the path, or frozen into a program: only the version is not known."""

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(registering, "version", version)
    job = await Queue("q", backend).enqueue(jobs.add, 1, 2)

    await drain(backend, name="w-1")

    assert await job.wait(timeout=5) == 3
    assert (await fields(Worker("q", backend, name="w-1"), backend))["version"] == "unknown"


async def test_name_of_a_living_worker_is_taken(backend: RedisBackend) -> None:
    """The second one does not start; when the first has ended, its name is free."""
    async with at_work(backend, name="w-1"):
        with pytest.raises(WorkerNameTaken, match=rf"'w-1'.*pid {os.getpid()}"):
            await drain(backend, name="w-1")
        assert await Worker.count(backend) == 1

    await drain(backend, name="w-1")


async def test_worker_works_twice_one_after_the_other_but_not_at_once(
    backend: RedisBackend,
) -> None:
    """The same object; each time it announces itself anew."""
    queue = Queue("q", backend)
    worker = Worker("q", backend)

    for n in range(3):
        job = await queue.enqueue(jobs.wait_gate, f"g{n}")
        working = asyncio.create_task(worker.work(burst=True))
        await eventually(job.is_started)
        with pytest.raises(InvalidJobOperation, match="is working already"):
            await worker.work(burst=True)
        gates[f"g{n}"].open()
        assert await working
        assert await job.wait(timeout=5) == f"g{n}"


async def test_two_workers_in_one_process_share_the_work(backend: RedisBackend) -> None:
    """Each job runs once; both are listed."""
    queue = Queue("q", backend)

    async with at_work(backend, concurrency=2), at_work(backend, concurrency=2):
        assert await Worker.count(backend) == 2
        made = await queue.enqueue_many(
            queue.prepare_data(samples.be_in_the_crowd, (0.02,)) for _ in range(30)
        )
        await asyncio.gather(*[job.wait(10) for job in made])
        names = {(await Job.fetch(job.id, backend)).worker_name for job in made}

    assert len(names) == 2
    assert [job.attempt for job in made] == [1] * 30


async def test_worker_runs_inside_a_job_of_another_worker(
    redis_backend: RedisBackend, redis_url: str, key_prefix: str
) -> None:
    """Or inside a request handler: nothing of it needs the main thread or a loop of its own."""
    job = await Queue("inner", redis_backend).enqueue(jobs.add, 1, 2)
    outer = await Queue("q", redis_backend).enqueue(
        samples.drain_inside, "inner", redis_url, key_prefix
    )

    await drain(redis_backend)

    assert await outer.wait(timeout=5) is True
    assert await job.wait(timeout=5) == 3


# -- told --------------------------------------------------------------------------------------------


async def test_worker_obeys_rqs_commands(backend: RedisBackend) -> None:
    """stop-job, stop-execution, kill-horse and shutdown, as ``rq`` sends them."""
    queue = Queue("q", backend)
    worker = Worker("q", backend, name="w-1", handle_signals=False)
    working = asyncio.create_task(worker.work())
    await eventually(lambda: is_registered(worker, backend))

    async def tell(**command: str) -> None:
        await eventually(lambda: backend.command("w-1", json.dumps(command)))

    async def running() -> Job:
        job = await queue.enqueue(jobs.wait_gate, "never opened")
        await eventually(job.is_started)
        return job

    stopped = await running()
    await tell(command="stop-job", job_id=stopped.id)
    await eventually(stopped.is_stopped)

    stopped = await running()
    execution = (await seen(worker, backend)).executions[0].partition(":")[2]
    await tell(command="stop-execution", job_id=stopped.id, execution_id=execution)
    await eventually(stopped.is_stopped)

    several = [await running() for _ in range(3)]
    await tell(command="kill-horse")
    for job in several:
        await eventually(job.is_stopped)

    await tell(command="shutdown")
    async with asyncio.timeout(5):
        await working


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        "null",
        '{"command": null}',
        '{"command": "dance"}',
        '{"command": "stop-job"}',
        '{"command": "stop-job", "job_id": 7}',
        '{"command": "stop-job", "job_id": "no-such-job"}',
        '{"command": "stop-execution", "job_id": {}, "execution_id": []}',
        "\x00\xff",
        "[" * 100_000,
    ],
    ids=range(13),
)
async def test_garbage_on_the_command_channel_is_ignored(
    backend: RedisBackend, garbage: str
) -> None:
    """In rq it kills the thread that listens; here the next command is heard."""
    queue = Queue("q", backend)

    async with at_work(backend, name="w-1", lease=60):
        job = await queue.enqueue(jobs.wait_gate, "g")
        await eventually(job.is_started)
        await eventually(lambda: backend.command("w-1", garbage))
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.wait(timeout=5)


# -- ending ------------------------------------------------------------------------------------------


async def test_stop_lets_running_jobs_finish_and_starts_no_more(backend: RedisBackend) -> None:
    """The first word is a polite one."""
    queue = Queue("q", backend)
    running = await queue.enqueue(jobs.wait_gate, "g")
    worker = Worker("q", backend, concurrency=1, handle_signals=False)
    working = asyncio.create_task(worker.work())
    await eventually(running.is_started)
    waiting = await queue.enqueue(jobs.nothing)

    worker.request_stop()
    await asyncio.sleep(0.05)
    assert not working.done()
    gates["g"].open()

    assert await working
    assert await running.wait(timeout=5) == "g"
    assert await waiting.is_queued()


KINDS = {
    "coroutine": (jobs.slow, {}),
    "thread": (jobs.slow_sync, {}),
    "process": (jobs.slow_sync, {"offload": "process"}),
}


@pytest.mark.usefixtures("unhurried_stop")
@pytest.mark.parametrize("kind", KINDS)
async def test_what_does_not_finish_within_grace_is_given_back(
    redis_backend: RedisBackend, kind: str
) -> None:
    """To the front of its queue, as if it had not been started: no attempt is burnt, nothing is failed."""
    func, options = KINDS[kind]
    queue = Queue("q", redis_backend)
    job = await queue.enqueue(func, 20, **options)

    async with at_work(redis_backend, grace=0.1):
        await eventually(job.is_started)
        await asyncio.sleep(0.1)
        await queue.enqueue(jobs.nothing, job_id="later")

    assert await queue.get_job_ids() in ([job.id], [job.id, "later"])
    await job.refresh()
    assert (job.status.value, job.attempt, job.worker_name) == ("queued", 0, None)
    assert await job.results() == []
    await queue.empty()


@pytest.mark.usefixtures("unhurried_stop")
async def test_jobs_given_back_keep_their_order(backend: RedisBackend) -> None:
    """The next worker starts them as this one had."""
    queue = Queue("q", backend)
    ids = [(await queue.enqueue(jobs.slow, 20, job_id=f"j{n}")).id for n in range(5)]

    async with at_work(backend, grace=0):
        await eventually(queue.is_empty)

    assert sorted(await queue.get_job_ids()) == ids
    await queue.empty()


@pytest.mark.usefixtures("unhurried_stop")
async def test_stop_does_not_wait_for_threads_that_jobs_have_begun(backend: RedisBackend) -> None:
    """A job that holds the last thread of ``asyncio.to_thread`` is given back, and the worker ends."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    queue = Queue("q", backend)
    job = await queue.enqueue(samples.wait_gate_in_pool, "g")

    async with at_work(backend, grace=0.1):
        await eventually(lambda: gates["g"].arrivals == 1)

    assert await job.is_queued()
    assert job.attempt == 0
    gates["g"].open()
    await queue.empty()


async def test_stop_of_an_idle_worker_does_not_reach_its_next_work(backend: RedisBackend) -> None:
    """The same object, at work again at once: what it runs now is not cut."""
    worker = Worker("q", backend, handle_signals=False)
    working = asyncio.create_task(worker.work())
    await eventually(lambda: is_registered(worker, backend))
    worker.request_stop()
    await working

    working = asyncio.create_task(worker.work())
    job = await Queue("q", backend).enqueue(jobs.slow, 0.6)

    assert await job.wait(timeout=5) == 0.6
    worker.request_stop()
    assert await working


async def test_second_stop_ends_the_worker_at_once(backend: RedisBackend) -> None:
    """And gives back what runs."""
    job = await Queue("q", backend).enqueue(jobs.slow, 20)
    worker = Worker("q", backend, grace=60, handle_signals=False)
    working = asyncio.create_task(worker.work())
    await eventually(job.is_started)

    worker.request_stop()
    worker.request_stop()

    async with asyncio.timeout(3):
        await working
    assert await job.is_queued()
    assert job.attempt == 0


async def test_worker_that_is_cancelled_gives_its_jobs_back(backend: RedisBackend) -> None:
    """``work()`` in a task of somebody else's: cancelling that is stopping at once."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.slow, 20)
    waiting = await queue.enqueue(jobs.slow_sync, 20)
    working = asyncio.create_task(Worker("q", backend, handle_signals=False).work())
    await eventually(job.is_started)
    await eventually(waiting.is_started)

    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    assert await job.is_queued()
    assert await waiting.is_queued()
    assert (job.attempt, waiting.attempt) == (0, 0)
    assert await Worker.count(backend) == 0
    await queue.empty()


async def test_timeout_around_a_worker_is_a_timeout(backend: RedisBackend) -> None:
    """``asyncio.timeout`` sees its own cancellation come back."""
    job = await Queue("q", backend).enqueue(jobs.slow, 20)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await Worker("q", backend, handle_signals=False).work()

    assert await job.is_queued()


async def test_worker_handles_signals_in_the_main_thread(backend: RedisBackend) -> None:
    """SIGTERM and SIGINT are ``request_stop``; when it ends, the handlers are as they were."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    job = await Queue("q", backend).enqueue(jobs.wait_gate, "g")
    working = asyncio.create_task(Worker("q", backend).work())
    await eventually(job.is_started)

    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.05)
    gates["g"].open()

    async with asyncio.timeout(5):
        assert await working
    assert await job.wait(timeout=5) == "g"
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_job_that_was_being_claimed_at_the_stop_is_not_lost(
    chaos_proxy: ChaosProxy, redis_backend: RedisBackend, key_prefix: str
) -> None:
    """The claim has run, its answer is on the way: what it brings is given back."""
    slow = connect(chaos_proxy.url, key_prefix=key_prefix)
    queue = Queue("q", redis_backend)
    worker = Worker("q", slow, handle_signals=False)
    working = asyncio.create_task(worker.work())
    running = await queue.enqueue(jobs.wait_gate, "g")  # one that is idle leaves at once
    await eventually(lambda: gates["g"].arrivals == 1)
    chaos_proxy.delay(1.5)
    job = await queue.enqueue(jobs.record, "x")
    await eventually(job.is_started)

    worker.request_stop()
    gates["g"].open()
    async with asyncio.timeout(20):
        await working

    assert await running.is_finished()
    assert await job.is_queued()
    assert job.attempt == 0
    assert jobs.recorded == []
    await slow.close()


# -- exception handlers ------------------------------------------------------------------------------

Handled = list[tuple[str, str, type[BaseException], str]]


async def test_exception_handlers_are_told_of_every_failed_run(backend: RedisBackend) -> None:
    """RQ's signature; plain functions and coroutine functions, in the order in which they were given."""
    handled: Handled = []

    def plain(
        job: Job, kind: type[BaseException], error: BaseException, trace: TracebackType
    ) -> None:
        assert trace.tb_frame is not None
        handled.append(("plain", job.id, kind, str(error)))

    async def coroutine(
        job: Job, kind: type[BaseException], error: BaseException, trace: TracebackType
    ) -> None:
        handled.append(("coroutine", job.id, kind, str(error)))

    job = await Queue("q", backend).enqueue(jobs.fails_times, "k", 2, retry=Retry(2))
    await Queue("q", backend).enqueue(jobs.nothing)

    await drain(backend, exception_handlers=[plain, coroutine])

    for n in (1, 2):  # the retry does not wait for the handlers
        told = [one for one in handled if one[3] == f"attempt {n} of k"]
        assert [one[:3] for one in told] == [
            (name, job.id, ValueError) for name in ("plain", "coroutine")
        ]
    assert len(handled) == 4


async def test_handler_that_returns_something_false_ends_the_chain(backend: RedisBackend) -> None:
    """But not None: RQ's rule."""
    called: list[str] = []

    def handler(name: str, answer: object) -> Any:
        def handle(*_: Any) -> object:
            called.append(name)
            return answer

        return handle

    await Queue("q", backend).enqueue(jobs.fail)
    handlers = [handler("a", None), handler("b", True), handler("c", False), handler("d", None)]

    await drain(backend, exception_handlers=handlers)

    assert called == ["a", "b", "c"]


async def test_handler_that_raises_does_not_end_the_chain(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it change the job; it is logged."""
    called: list[str] = []

    def raises(*_: Any) -> None:
        raise ZeroDivisionError

    job = await Queue("q", backend).enqueue(jobs.fail, "the job's own")

    await drain(backend, exception_handlers=[raises, lambda *_: called.append("next")])

    assert called == ["next"]
    assert "an exception handler raised" in caplog.text
    with pytest.raises(JobFailed, match="the job's own"):
        await job.wait(timeout=5)


async def test_handler_may_be_anything_that_can_be_called(backend: RedisBackend) -> None:
    """An object with an async ``__call__``, a lambda around a coroutine function."""
    called: list[str] = []

    class Handler:
        async def __call__(self, *_: Any) -> None:
            called.append("object")

    async def coroutine(*_: Any) -> bool:
        called.append("coroutine")
        return False

    await Queue("q", backend).enqueue(jobs.fail)
    handlers = [Handler(), lambda *args: coroutine(*args), lambda *_: called.append("never")]

    await drain(backend, exception_handlers=handlers)

    assert called == ["object", "coroutine"]


async def test_slow_handler_of_the_last_job_is_waited_for(backend: RedisBackend) -> None:
    """It may be sending a report somewhere; the job's own end is not held up by it."""
    told: list[str] = []

    async def handler(job: Job, *_: Any) -> None:
        await gates["report"].wait()
        told.append(job.id)

    job = await Queue("q", backend).enqueue(jobs.fail)
    working = asyncio.create_task(drain(backend, exception_handlers=handler))
    await eventually(lambda: gates["report"].arrivals == 1)

    await eventually(job.is_failed)
    await asyncio.sleep(0.5)
    assert not working.done()
    gates["report"].open()

    await working
    assert told == [job.id]


async def test_stop_of_a_job_that_has_failed_does_not_hit_its_handler(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """The run is over; what goes on is not the job."""
    told: list[str] = []

    async def handler(job: Job, *_: Any) -> None:
        await gates["report"].wait()
        told.append(job.id)

    job = await Queue("q", backend).enqueue(jobs.fail)
    async with at_work(backend, exception_handlers=handler, name="w-1"):
        await eventually(lambda: gates["report"].arrivals == 1)
        await eventually(job.is_failed)
        await backend.command("w-1", json.dumps({"command": "kill-horse"}))
        await asyncio.sleep(0.1)
        gates["report"].open()
        await eventually(lambda: told == [job.id])

    assert "failed to run it" not in caplog.text


# -- when it fails itself ----------------------------------------------------------------------------


async def test_fault_of_the_worker_itself_costs_one_job_and_not_the_worker(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Should there be a bug in the executor, the job fails with its traceback."""
    queue = Queue("q", backend)
    bad = await queue.enqueue(jobs.nothing, job_id="bad")
    good = await queue.enqueue(jobs.add, 1, 2)

    original = Executor.run

    async def run(self: Executor, run: Run) -> Outcome:
        if run.claim.job_id == "bad":
            raise ZeroDivisionError("a bug")
        return await original(self, run)

    monkeypatch.setattr(Executor, "run", run)

    await drain(backend)

    with pytest.raises(JobFailed, match="ZeroDivisionError: a bug"):
        await bad.wait(timeout=5)
    assert await good.wait(timeout=5) == 3
    assert "the worker failed to run it" in caplog.text


async def test_fault_in_what_follows_the_end_of_a_job_costs_nothing(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with the job; that one has ended, and the others go on."""

    def settled(aftermath: Aftermath, claim: Claim, outcome: Outcome) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Aftermath, "settled", settled)
    queue = Queue("q", backend)
    both = [await queue.enqueue(jobs.add, 1, 2) for _ in range(2)]

    await drain(backend, concurrency=1)

    assert [await job.wait(timeout=5) for job in both] == [3, 3]
    for job in both:
        assert f"job {job.id}: what follows from its end failed" in caplog.text


async def test_worker_that_fails_tells_its_jobs_to_end(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those in threads: others will run them, and they must not go on beside that."""
    original = RedisBackend.settle

    async def settle(self: RedisBackend, seat: Any, ended: Any, request: Any = None) -> Any:
        if ended:
            raise BackendUnavailable("away")
        return await original(self, seat, ended, request)

    monkeypatch.setattr(RedisBackend, "settle", settle)
    queue = Queue("q", backend)
    long = await queue.enqueue(jobs.slow_sync, 20)
    await queue.enqueue(jobs.wait_gate, "g")
    worker = Worker("q", backend)
    working = asyncio.create_task(worker.work(burst=True))
    await eventually(long.is_started)
    await eventually(lambda: gates["g"].arrivals == 1)

    gates["g"].open()

    with pytest.raises(BackendUnavailable):
        async with asyncio.timeout(5):
            await working
    assert worker.stuck_threads == 0


# -- where -------------------------------------------------------------------------------------------


async def test_worker_may_run_plain_functions_in_processes(backend: RedisBackend) -> None:
    """Where the job does not say, and a job that rq enqueued cannot; coroutine functions stay on the loop."""
    queue = Queue("q", backend)
    plain = await queue.enqueue(samples.process_id)
    in_a_thread = await queue.enqueue(samples.process_id, offload="thread")
    coroutine = await queue.enqueue(samples.process_id_async)

    await drain(backend, offload="process")

    assert await plain.wait(timeout=5) != os.getpid()
    assert await in_a_thread.wait(timeout=5) == os.getpid()
    assert await coroutine.wait(timeout=5) == os.getpid()
