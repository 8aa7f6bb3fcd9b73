"""One claimed job on its way: how it can be interrupted, and why it was."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any

import anyio

from aiorq2 import bridge
from aiorq2.backends.base import Claim
from aiorq2.errors import JobTimeoutException
from aiorq2.loops import Work, closing
from aiorq2.payloads import Call


class Reason(Enum):
    """Why a run was told to end before it had."""

    TIMEOUT = "timeout"
    STOP = "stop"
    LEASE_LOST = "lease lost"
    SHUTDOWN = "shutdown"


class Run:
    """A claim, and the coroutine, thread or process that runs it.

    ``interrupt`` may be called at any time, from the loop: a coroutine is cancelled, a process is killed, and in a thread an
    exception is raised (as RQ's timer does), which code inside a C call only sees when that returns.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.reason: Reason | None = None
        self.is_settled = False
        self.has_ended = False
        """Whether the job's own code has ended; callbacks may still run."""
        self.started_at = asyncio.get_running_loop().time()
        self.on_interrupt: Callable[[Run], None] | None = None
        """Told once, when the run is interrupted."""
        self._task: asyncio.Task[object] | None = None
        self._scope: anyio.CancelScope | None = None
        self._thread_id: int | None = None
        self._lock = threading.Lock()
        self.is_in_thread = False
        self.error: BaseException | None = None
        """What it failed with, for exception handlers."""
        self._cancel_elsewhere: Callable[[], object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_interrupted(self) -> bool:
        """Whether the job was told to end."""
        return self.reason is not None

    def interrupt(self, reason: Reason) -> None:
        """Tell the job to end. The first reason stands, but for a lost lease, which beats the others."""
        if self.is_settled:
            return  # what goes on is not the job: its exception handlers
        first = self.reason is None
        if first or reason is Reason.LEASE_LOST:
            self.reason = reason
        if not first:
            return
        if self._scope is not None:
            self._scope.cancel()
        elif self._task is not None:
            self._task.cancel()
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

    def check_cancelled(self) -> None:
        """Raise ``CancelledError`` if the job was told to end."""
        if self.reason is not None:
            raise asyncio.CancelledError(f"the job is to end: {self.reason.value}")

    def start_timer(self) -> None:
        """Let the job's time run from now on; -1 is for ever."""
        record = self.claim.record
        timeout = record.real("aio_timeout") or record.real("timeout")
        if timeout is not None and timeout > 0 and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(
                timeout, self.interrupt, Reason.TIMEOUT
            )

    def end_timer(self) -> None:
        """The job has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def in_task(self, task: asyncio.Task[object]) -> None:
        """From now on the job is this task."""
        self._task = task
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
            if self.reason is not None:
                return None, asyncio.CancelledError()
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
            self.check_cancelled()
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
