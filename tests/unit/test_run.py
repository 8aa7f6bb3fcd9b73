"""A run: how it is interrupted, wherever it runs, and by what."""

from __future__ import annotations

import asyncio
import threading
import time

import anyio
import anyio.to_thread
import pytest

from aiorq2.backends.base import Claim, JobRecord
from aiorq2.errors import JobTimeoutException
from aiorq2.payloads import Call
from aiorq2.run import Limits, Reason, Run


def make(**fields: str) -> Run:
    """Return a run of a job with these fields."""
    record = JobRecord("j", {name: value.encode() for name, value in fields.items()})
    return Run(Claim("j", "e", "q", "w", 0.0, record))


async def in_thread(run: Run, func: object) -> tuple[object, BaseException | None]:
    """Call ``func`` in a thread as the executor does."""
    return await anyio.to_thread.run_sync(run.call_in_thread, func)  # type: ignore[arg-type]


def spin(started: threading.Event, seconds: float = 10.0) -> str:
    """Go on, in Python."""
    started.set()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pass
    return "the end"


async def started(event: threading.Event) -> None:
    """Wait until a thread has come so far."""
    while not event.is_set():
        await asyncio.sleep(0.001)


# -- reasons -----------------------------------------------------------------------------------------


async def test_first_reason_stands_but_for_a_lost_lease() -> None:
    """A run without its lease must not write anything, whatever else ended it."""
    run, told = make(), []
    run.on_interrupt = lambda run: told.append(run.reason)

    reasons = []
    for reason in (Reason.TIMEOUT, Reason.STOP, Reason.LEASE_LOST):
        run.interrupt(reason)
        reasons.append(run.reason)

    assert reasons == [Reason.TIMEOUT, Reason.TIMEOUT, Reason.LEASE_LOST]
    assert told == [Reason.TIMEOUT]


async def test_check_cancelled_raises_from_the_interruption_on() -> None:
    """For code that wants to stop where it likes."""
    run = make()
    run.check_cancelled()

    run.interrupt(Reason.SHUTDOWN)

    with pytest.raises(asyncio.CancelledError, match="shutdown"):
        run.check_cancelled()


async def test_settled_run_is_not_interrupted() -> None:
    """What its task does then is not the job any more."""
    run = make()
    task = asyncio.current_task()
    assert task is not None
    run.in_task()
    run.is_settled = True

    run.interrupt(Reason.STOP)

    assert not run.is_interrupted
    assert task.cancelling() == 0


# -- time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{"timeout": "1", "aio_timeout": "0.01"}, {"timeout": "0.01"}])
async def test_timer_interrupts_after_the_timeout(fields: dict[str, str]) -> None:
    """The exact one where there is one: RQ's field has whole seconds."""
    run = make(**fields)

    run.start_timer(Limits())
    await asyncio.sleep(0.05)

    assert run.reason is Reason.TIMEOUT


@pytest.mark.parametrize("timeout", ["-1", "0", "", "nonsense", "nan", "inf"])
async def test_timeout_that_is_none_never_comes(timeout: str) -> None:
    """-1 is for ever, and anything may stand in a field."""
    run = make(timeout=timeout)

    run.start_timer(Limits())
    await asyncio.sleep(0.01)

    assert not run.is_interrupted
    run.end_timer()


async def test_limits_of_one_length_share_timers() -> None:
    """A timer costs more than a short job."""
    limits = Limits()

    for _ in range(1000):
        make(timeout="3600").start_timer(limits)

    assert len(limits._groups) <= 2


async def test_limits_of_their_own_leave_few_timers_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the limits are, those that have ended are forgotten."""
    monkeypatch.setattr("aiorq2.run.MOST_TIMERS", 10)
    limits = Limits()

    for number in range(100):
        run = make(timeout=str(3600 + number))
        run.start_timer(limits)
        run.end_timer()

    assert len(limits._groups) <= 10
    assert not limits._places


async def test_no_limit_ends_early() -> None:
    """However many share a timer."""
    limits, loop = Limits(), asyncio.get_running_loop()
    took: list[float] = []

    def note(run: Run) -> None:
        took.append(loop.time() - run.started_at)

    for _ in range(20):
        run = make(timeout="0.05")
        run.on_interrupt = note
        run.start_timer(limits)
        await asyncio.sleep(0.0001)
    while len(took) < 20:
        await asyncio.sleep(0.01)

    assert min(took) >= 0.05


async def test_ended_timer_does_not_interrupt() -> None:
    """The job was in time."""
    run = make(timeout="0.01")
    run.start_timer(Limits())

    run.end_timer()
    await asyncio.sleep(0.02)

    assert not run.is_interrupted


# -- places ------------------------------------------------------------------------------------------


async def test_coroutine_is_cancelled() -> None:
    """In the task that it said it is."""
    run = make()

    async def job() -> None:
        run.in_task()
        await asyncio.sleep(10)

    task = asyncio.create_task(job())
    await asyncio.sleep(0)

    run.interrupt(Reason.STOP)

    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("reason", "kind"),
    [(Reason.TIMEOUT, JobTimeoutException), (Reason.STOP, asyncio.CancelledError)],
)
async def test_exception_is_raised_in_a_thread(reason: Reason, kind: type[BaseException]) -> None:
    """RQ's own at the timeout, asyncio's otherwise; a Python loop ends within an instant."""
    run, event = make(), threading.Event()
    calling = asyncio.create_task(in_thread(run, lambda: spin(event)))
    await started(event)
    assert run.is_in_thread

    run.interrupt(reason)
    value, error = await calling

    assert value is None
    assert isinstance(error, kind)
    assert not run.is_in_thread


async def test_thread_returns_what_its_function_returned_or_raised() -> None:
    """``SystemExit`` and its like included."""
    assert await in_thread(make(), lambda: 5) == (5, None)

    def leave() -> None:
        raise SystemExit(3)

    value, error = await in_thread(make(), leave)
    assert value is None
    assert isinstance(error, SystemExit)


async def test_function_of_an_interrupted_run_is_not_called() -> None:
    """The interruption came while it waited for its thread."""
    run, called = make(), []
    run.interrupt(Reason.STOP)

    value, error = await in_thread(run, lambda: called.append(1))

    assert isinstance(error, asyncio.CancelledError)
    assert (value, called) == (None, [])


async def test_interruption_never_reaches_the_next_job_in_the_thread() -> None:
    """Forty runs that are interrupted as they end, all in one thread, each followed by another."""
    limiter = anyio.CapacityLimiter(1)
    for _ in range(40):
        run, event = make(), threading.Event()
        func = lambda: spin(event, 0.001)  # noqa: B023, E731
        calling = asyncio.create_task(
            anyio.to_thread.run_sync(run.call_in_thread, func, limiter=limiter)
        )
        await started(event)
        await asyncio.sleep(0.0008)
        run.interrupt(Reason.TIMEOUT)
        await calling

        value = await anyio.to_thread.run_sync(lambda: sum(range(2000)), limiter=limiter)
        assert value == 1_999_000


async def test_coroutine_in_a_thread_is_cancelled_on_its_own_loop() -> None:
    """And its connections are closed there."""
    run, event, closed = make(), threading.Event(), []

    async def job() -> None:
        event.set()
        await asyncio.sleep(10)

    async def close() -> None:
        closed.append(asyncio.get_running_loop())

    call = Call("f", None, (), {})
    calling = asyncio.create_task(in_thread(run, lambda: run.run_coroutine(job, call, close)))
    await started(event)

    run.interrupt(Reason.STOP)
    _, error = await calling

    assert isinstance(error, asyncio.CancelledError)
    assert len(closed) == 1
    assert closed[0] is not asyncio.get_running_loop()


async def test_scope_of_a_process_is_cancelled() -> None:
    """Which is what kills it."""
    run = make()

    async def job() -> str:
        with anyio.CancelScope() as scope:
            run.in_scope(scope)
            await asyncio.sleep(10)
        return "cancelled" if scope.cancelled_caught else "not cancelled"

    task = asyncio.create_task(job())
    await asyncio.sleep(0)

    run.interrupt(Reason.SHUTDOWN)

    assert await task == "cancelled"
