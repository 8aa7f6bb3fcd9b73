"""Functions that only the tests of this folder enqueue."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, NoReturn

from aiorq2 import Job, Queue, Retry, Worker, connect, get_current_job
from aiorq2.offload import warm_up
from tests.support import jobs
from tests.support.eventually import gates


async def collect(*args: Any, **kwargs: Any) -> list[Any]:
    """Return what it was called with."""
    return [list(args), kwargs]


async def greet(name: str) -> str:
    """Greet."""
    return f"hello {name}"


def count_up() -> Iterator[int]:
    """Yield, which no job does."""
    yield 1


async def count_up_later() -> AsyncIterator[int]:
    """Yield asynchronously, which no job does either."""
    yield 1


def _noted(func: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Awaitable[Any]:
        return func(*args, **kwargs)

    return wrapper


@_noted
async def wrapped(x: int) -> int:
    """Return twice the argument, from a coroutine function inside a plain one."""
    return 2 * x


async def wait_gate_in_pool(name: str) -> None:
    """Wait in a thread of the loop's pool until the test opens ``gates[name]``."""
    await asyncio.to_thread(gates[name].wait_blocking)


class Probe:
    """What a job sees of itself, as plain data."""

    @staticmethod
    def look() -> dict[str, Any]:
        """Return what ``get_current_job()`` says."""
        job = get_current_job()
        assert job is not None
        return {
            "id": job.id,
            "status": str(job.status),
            "attempt": job.attempt,
            "worker": job.worker_name,
            "started": job.started_at is not None,
            "args": list(job.args),
            "meta": job.meta,
        }


async def look(*_: Any) -> dict[str, Any]:
    """Look at oneself."""
    return Probe.look()


def look_sync(*_: Any) -> dict[str, Any]:
    """Look at oneself, from a thread (or a process)."""
    return Probe.look()


async def count_in_meta() -> int:
    """Add one to ``meta["count"]`` and save it."""
    job = get_current_job()
    assert job is not None
    job.meta["count"] = job.meta.get("count", 0) + 1
    await job.save_meta()
    return int(job.meta["count"])


async def wait_for_oneself(verb: str) -> Any:
    """Wait for one's own end, by ``wait`` or ``latest_result``, with a handle of one's own making."""
    here = get_current_job()
    assert here is not None
    job = Job(here._record, here.backend, here.serializer)
    return await getattr(job, verb)(timeout=30)


def wait_for_oneself_sync(verb: str) -> Any:
    """The same in a plain function."""
    return asyncio.run(wait_for_oneself(verb))


async def wait_elsewhere(url: str, key_prefix: str) -> Any:
    """Wait for the job of one's own id in another place."""
    here = get_current_job()
    assert here is not None
    backend = connect(url, key_prefix=key_prefix)
    try:
        return await (await Job.fetch(here.id, backend)).wait(timeout=5)
    finally:
        await backend.close()


async def leave_a_waiter(gate: str) -> str:
    """Leave a task behind that waits for this job once the gate is open, and notes down what it has returned."""
    job = get_current_job()
    assert job is not None

    async def wait() -> None:
        await gates[gate].wait()
        jobs.recorded.append(await job.wait(timeout=5))

    left_behind.append(asyncio.create_task(wait()))
    return "done"


left_behind: list[asyncio.Task[None]] = []
"""Tasks that jobs have not waited for; nobody else keeps them."""


def count_in_meta_sync() -> int:
    """The same in a thread or a process, in RQ's words: it blocks until it is saved."""
    job = get_current_job()
    assert job is not None
    job.meta["count"] = job.meta.get("count", 0) + 1
    job.save_meta()
    return int(job.meta["count"])


async def ask_again(key: str, times: int, interval: float = 0, at_front: bool = False) -> str:
    """Ask for another run by returning a ``Retry`` that allows ``times`` of them; never be content."""
    jobs.attempts[key] += 1
    return Retry(times, interval=interval, enqueue_at_front=at_front)  # type: ignore[return-value]


async def ask_again_raising(key: str, enough: int) -> int:
    """Ask for another run by raising a ``Retry`` until there have been ``enough``."""
    jobs.attempts[key] += 1
    if jobs.attempts[key] < enough:
        raise Retry(10)
    return jobs.attempts[key]


def ask_again_in_a_process(path: str) -> int:
    """The same with a file in the place of memory, and with rq's class."""
    from rq import Retry as RqRetry

    jobs.append_to_file(path, "run")
    runs = jobs.ledger(path)["run"]
    return runs if runs == 2 else RqRetry(5)  # type: ignore[return-value]


class Overload(ValueError):
    """An exception with a base."""


async def overload(key: str) -> NoReturn:
    """Raise ``Overload``."""
    jobs.attempts[key] += 1
    raise Overload(key)


def overload_sync() -> NoReturn:
    """Raise ``Overload`` where nothing can be noted."""
    raise Overload


async def fail_once_and_record(key: str) -> str:
    """Fail the first time; then note down that it has run."""
    await jobs.fails_times(key, 1)
    return await jobs.record(key)


async def fail_when_cancelled(gate: str) -> str:
    """Answer a cancellation with another exception."""
    try:
        return await jobs.wait_gate(gate)
    except asyncio.CancelledError:
        raise ValueError("not now") from None


@_noted
async def slow_wrapped(seconds: float) -> float:
    """Take some time, in a coroutine function inside a plain one."""
    return await jobs.slow(seconds)


async def clean_up(key: str) -> None:
    """Be interrupted, and take a moment for what has to be done then."""
    try:
        await asyncio.sleep(30)
    finally:
        await asyncio.sleep(0.05)
        await jobs.record(f"{key} cleaned up")


def work_in_steps(gate: str) -> None:
    """Go on until told otherwise, catching every Exception."""
    job = get_current_job()
    assert job is not None
    while True:
        try:
            gates[gate].arrivals += 1
            job.check_cancelled()
            time.sleep(0.005)
        except Exception:  # noqa: BLE001
            continue


async def return_when_cancelled(gate: str) -> str:
    """Take a cancellation for a reason to return."""
    try:
        return await jobs.wait_gate(gate)
    except asyncio.CancelledError:
        return "early"


async def cancel_oneself() -> NoReturn:
    """Raise what asyncio raises."""
    raise asyncio.CancelledError("my own")


def cancel_oneself_sync() -> NoReturn:
    """The same in a thread."""
    raise asyncio.CancelledError("my own")


def swallow_everything_sync(gate: str, seconds: float = 30.0) -> None:
    """Ignore whatever is raised in the thread until the gate is open."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            gates[gate].arrivals = 1
            while not gates[gate].is_open:
                time.sleep(0.005)
            return
        except BaseException:  # noqa: BLE001
            continue


def sync_echo(value: Any) -> Any:
    """Return the argument, from a thread."""
    return value


class Crowd:
    """How many jobs run at once, and the most there have been."""

    now = most = 0


async def be_in_the_crowd(seconds: float = 0.01) -> None:
    """Run for a while, and be counted."""
    Crowd.now += 1
    Crowd.most = max(Crowd.most, Crowd.now)
    await asyncio.sleep(seconds)
    Crowd.now -= 1


async def note_time(key: str) -> float:
    """Note down when this ran, by the loop's clock."""
    jobs.recorded.append(key)
    return asyncio.get_running_loop().time()


async def drain_inside(queue: str, url: str, key_prefix: str) -> bool:
    """Run a worker inside a job, as an application does inside a request."""
    backend = connect(url, key_prefix=key_prefix)
    try:
        return await Worker(queue, backend).work(burst=True)
    finally:
        await backend.close()


async def enqueue_inline(queue: str, levels: int) -> str:
    """Enqueue oneself inline, ``levels`` times over."""
    job = get_current_job()
    assert job is not None
    if levels:
        inner = Queue(queue, job._backend, is_async=False)
        nested = await inner.enqueue(enqueue_inline, queue, levels - 1)
        assert nested.result != job.id
        assert get_current_job() is job
    return job.id


def process_id() -> int:
    """Return the number of the process that this runs in."""
    return os.getpid()


async def process_id_async() -> int:
    """The same from a coroutine."""
    return os.getpid()


def warm_up_slowly() -> None:
    """Make a process ready, in some seconds."""
    time.sleep(3)
    warm_up()
