"""Waiting without hoping: for a condition (``eventually``), and for the test's permission (``Gate``)."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    predicate: Callable[[], Awaitable[T]], *, timeout: float = ..., interval: float = ...
) -> T: ...
@overload
async def eventually(
    predicate: Callable[[], T], *, timeout: float = ..., interval: float = ...
) -> T: ...
async def eventually(
    predicate: Callable[[], Any], *, timeout: float = 5.0, interval: float = 0.01
) -> Any:
    """Return the first true value of ``predicate``, a function or coroutine function asked every ``interval`` seconds.

    Raises:
        AssertionError: it was not true within ``timeout`` seconds; the last value or exception is in the message.
    """
    deadline = time.monotonic() + timeout
    while True:
        value, error = await _ask(predicate, deadline)
        if error is None and value:
            return value
        if time.monotonic() >= deadline:
            seen = f"returned {value!r}" if error is None else f"raised {error!r}"
            raise AssertionError(f"{_name(predicate)} still {seen} after {timeout} s") from error
        await asyncio.sleep(interval)


async def _ask(predicate: Callable[[], Any], deadline: float) -> tuple[Any, Exception | None]:
    try:
        value = predicate()
        if inspect.isawaitable(value):
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.001)):
                value = await value
    except Exception as error:  # noqa: BLE001  # whatever it is, it may be gone the next time
        return None, error
    return value, None


def _name(predicate: Callable[[], object]) -> str:
    if getattr(predicate, "__name__", "") != "<lambda>":
        return getattr(predicate, "__name__", repr(predicate))
    try:
        return inspect.getsource(predicate).strip()
    except OSError:
        return "the condition"


class Gate:
    """A closed gate that job functions wait at and the test opens; for any number of threads and event loops.

    ``arrivals`` counts who has come to the gate so far, so a test can wait until its job really runs::

        await queue.enqueue(jobs.wait_gate, "g")
        await eventually(lambda: gates["g"].arrivals == 1)
        gates["g"].open()
    """

    def __init__(self) -> None:
        self.arrivals = 0
        self._lock = threading.Lock()
        self._opened = threading.Event()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def is_open(self) -> bool:
        """Whether nobody has to wait (any more)."""
        return self._opened.is_set()

    def open(self) -> None:
        """Let everybody through, now and from now on."""
        with self._lock:
            self._opened.set()
            waiting, self._waiting = self._waiting, []
        for future in waiting:
            loop = future.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_release, future)

    async def wait(self, timeout: float = 30.0) -> None:
        """Wait until the gate is open; TimeoutError after ``timeout`` seconds, so that no test hangs."""
        with self._lock:
            self.arrivals += 1
            if self.is_open:
                return
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
        try:
            async with asyncio.timeout(timeout):
                await future
        finally:
            with self._lock:
                if future in self._waiting:
                    self._waiting.remove(future)

    def wait_blocking(self, timeout: float = 30.0) -> None:
        """As ``wait``, for sync jobs in a thread; an exception that is raised inside the thread ends it."""
        with self._lock:
            self.arrivals += 1
        deadline = time.monotonic() + timeout
        while not self._opened.wait(0.01):  # a longer wait would keep such an exception out
            if time.monotonic() > deadline:
                raise TimeoutError(f"the gate was not opened in {timeout} s")


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Gates:
    """The gates of this process by name; each is made when it is first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gates: dict[str, Gate] = {}

    def __getitem__(self, name: str) -> Gate:
        with self._lock:
            return self._gates.setdefault(name, Gate())

    def reset(self) -> None:
        """Open every gate, so that nobody stays behind, and forget them all."""
        with self._lock:
            gates, self._gates = self._gates, {}
        for gate in gates.values():
            gate.open()


gates = Gates()
"""Where job functions and tests meet; emptied after every test."""
