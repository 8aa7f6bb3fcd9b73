"""One claimed job on its way: how it can be interrupted, and why it was."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from math import inf
from typing import Any

import anyio

from aiorq2 import bridge
from aiorq2.backends.base import Claim
from aiorq2.errors import JobTimeoutException
from aiorq2.loops import Work, closing
from aiorq2.payloads import Call

MOST_TIMERS = 1024
"""How many timers are kept though nobody waits for them any more."""


class Reason(Enum):
    """Why a run was told to end before it had."""

    TIMEOUT = "timeout"
    STOP = "stop"
    LEASE_LOST = "lease lost"
    SHUTDOWN = "shutdown"


class Limits:
    """The time limits of many runs, with few timers: a timer costs more than a short job. Those of one length that end within
    the same 256th of it share one, and are late by as much at the most. Belongs to one loop."""

    def __init__(self) -> None:
        self._groups: dict[tuple[float, int], tuple[set[Run], asyncio.TimerHandle]] = {}
        self._places: dict[Run, tuple[float, int]] = {}

    def begin(self, run: Run, seconds: float) -> None:
        """Interrupt a run after so many seconds."""
        loop = asyncio.get_running_loop()
        share = seconds / 256
        turn = int(loop.time() / share) + 1
        place = self._places[run] = seconds, turn
        group = self._groups.get(place)
        if group is None:
            timer = loop.call_at(
                turn * share + seconds, self._over, place, context=contextvars.Context()
            )
            group = self._groups[place] = set(), timer
        group[0].add(run)

    def end(self, run: Run) -> None:
        """Forget a run: it has ended."""
        place = self._places.pop(run, None)
        if place is None:
            return
        runs, timer = self._groups[place]
        runs.discard(run)
        if not runs and len(self._groups) > MOST_TIMERS:  # they all have limits of their own
            timer.cancel()
            del self._groups[place]

    def _over(self, place: tuple[float, int]) -> None:
        for run in self._groups.pop(place)[0]:
            del self._places[run]
            run.interrupt(Reason.TIMEOUT)


class Run:
    """A claim, and the coroutine, thread or process that runs it.

    ``interrupt`` may be called at any time, from the loop: a coroutine is cancelled, a process is killed, and in a thread an
    exception is raised (as RQ's timer does), which code inside a C call only sees when that returns."""

    reason: Reason | None = None
    is_settled = False
    has_ended = False
    """Whether the job's own code has ended; callbacks may still run."""
    callbacks_cut: asyncio.Future[None] | None = None
    """Done when callbacks are not waited for any more."""
    on_interrupt: Callable[[Run], None] | None = None
    """Told once, when the run is interrupted."""
    is_in_thread = False
    error: BaseException | None = None
    """What it failed with, for exception handlers."""
    task: asyncio.Task[Any] | None = None
    """The task that performs it."""
    _cancelled: asyncio.Task[Any] | None = None
    _scope: anyio.CancelScope | None = None
    _thread_id: int | None = None
    _cancel_elsewhere: Callable[[], object] | None = None
    _limits: Limits | None = None

    def __init__(self, claim: Claim, kept_until: Callable[[], float] = lambda: inf) -> None:
        self.claim = claim
        self.kept_until = kept_until
        """Returns until when its lease is ours, in monotonic seconds."""
        self._lock = threading.Lock()
        self.started_at = asyncio.get_running_loop().time()

    @property
    def is_interrupted(self) -> bool:
        """Whether the job was told to end."""
        return self.reason is not None

    def interrupt(self, reason: Reason) -> None:
        """Tell the job to end. The first reason stands, but for a lost lease, which beats the others.

        Once its code has ended, how it ended stands; its callbacks go on, unless the worker is about to go.
        """
        if self.is_settled:
            return  # what goes on is not the job: its exception handlers
        if self.has_ended:
            if reason is Reason.SHUTDOWN:
                self._cut_callbacks()
            return
        first = self.reason is None
        if first or reason is Reason.LEASE_LOST:
            self.reason = reason
        if not first:
            return
        if self._scope is not None:
            self._scope.cancel()
        elif self._cancelled is not None:
            self._cancelled.cancel()
        cancel_elsewhere = self._cancel_elsewhere
        if cancel_elsewhere is not None:
            with suppress(RuntimeError):  # its loop has just closed
                cancel_elsewhere()
        else:
            self._raise_in_thread(
                bridge.also_rqs(JobTimeoutException)
                if reason is Reason.TIMEOUT
                else asyncio.CancelledError
            )
        if self.on_interrupt is not None:
            self.on_interrupt(self)

    def _cut_callbacks(self) -> None:
        if self.callbacks_cut is not None and not self.callbacks_cut.done():
            self.callbacks_cut.set_result(None)

    def check_cancelled(self) -> None:
        """Raise ``CancelledError`` if the job was told to end."""
        if self.reason is not None:
            raise asyncio.CancelledError(f"the job is to end: {self.reason.value}")

    def check_beginning(self) -> None:
        """Raise ``CancelledError`` if the job must not begin any more: it was told to end, or its lease is over. This process was
        frozen since the claim, then, and the job may be another's. Asked last before the job's own code, in whatever runs it."""
        if self.reason is None and time.monotonic() >= self.kept_until():
            self.reason = Reason.LEASE_LOST
        self.check_cancelled()

    def start_timer(self, limits: Limits) -> None:
        """Let the job's time run from now on; -1 is for ever."""
        record = self.claim.record
        timeout = record.real("aio_timeout") or record.real("timeout")
        if timeout is not None and 0 < timeout < inf and self._limits is None:
            self._limits = limits
            limits.begin(self, timeout)

    def end_timer(self) -> None:
        """The job has ended."""
        if self._limits is not None:
            self._limits.end(self)

    def in_task(self) -> None:
        """From now on the job is the task that performs it."""
        task = self.task or asyncio.current_task()
        assert task is not None
        self._cancelled = task
        self._scope = None

    def in_scope(self, scope: anyio.CancelScope) -> None:
        """From now on the job is what runs in this scope: a thread or a process."""
        self._scope = scope

    def call_in_thread(self, func: Callable[[], object]) -> tuple[object, BaseException | None]:
        """Call ``func`` in this thread so that ``interrupt`` reaches it; returns what it returned or raised."""
        thread_id = threading.get_ident()
        self._thread_id = thread_id
        self.is_in_thread = True
        try:
            self.check_beginning()
            return func(), None
        except BaseException as error:  # noqa: BLE001  user code; the executor judges
            return None, error
        finally:
            self._leave_thread(thread_id)

    def run_coroutine(self, func: Callable[..., Any], call: Call, close: Work) -> object:
        """Run a coroutine function in this thread, on a loop of its own; an interruption cancels it there.

        At the end, ``close()`` closes the connections of that loop.
        """

        async def main() -> object:
            task = asyncio.current_task()
            assert task is not None
            loop = asyncio.get_running_loop()
            self._cancel_elsewhere = lambda: loop.call_soon_threadsafe(task.cancel)
            self.check_beginning()
            return await func(*call.args, **call.kwargs)

        try:
            return asyncio.run(closing(main(), close))
        finally:
            self._cancel_elsewhere = None

    def _leave_thread(self, thread_id: int) -> None:
        """Make sure that no exception is raised in this thread from now on: it is about to serve another job."""
        while True:
            try:
                with self._lock:
                    self._thread_id = None
                _set_async_exc(thread_id, None)
                self.is_in_thread = False
                return
            except BaseException:  # noqa: BLE001  the interruption arrives here, its work done
                continue

    def _raise_in_thread(self, kind: type[BaseException]) -> None:
        with self._lock:
            if self._thread_id is not None:
                _set_async_exc(self._thread_id, kind)


def _set_async_exc(thread_id: int, kind: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), None if kind is None else ctypes.py_object(kind)
    )
