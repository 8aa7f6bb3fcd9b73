"""What a worker is surrounded by: opened before its first job, closed after its last, in a task of its own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from aiorq2.errors import StartupFailed

log = logging.getLogger("aiorq2.worker")

SHUTDOWN_S = 10.0
"""How long the closing may take."""
HASTY_SHUTDOWN_S = 2.0
"""The same when the worker was told a second time to stop."""


class Lifespan:
    """Holds an asynchronous context manager open. It is entered and left in the same task, which has a context of its own: a
    worker may be started from inside a request, and outlives nothing of it.

    Args:
        make: returns the context manager; None for a worker that is surrounded by nothing.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[object]] | None) -> None:
        self._make = make
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Open it.

        Raises:
            StartupFailed: it raised; the exception is chained.
        """
        if self._make is None:
            return
        loop = asyncio.get_running_loop()
        self._is_open, self._leave = asyncio.Event(), asyncio.Event()
        self._failure: BaseException | None = None
        self._task = loop.create_task(self._live(self._make), context=contextvars.Context())
        opening = loop.create_task(self._is_open.wait())
        try:
            await asyncio.wait({opening, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            opening.cancel()
        if not self._is_open.is_set():
            raise _as_startup_failed(self._failure)

    async def end(self, *, is_hasty: bool = False) -> None:
        """Close it, or give up opening it. What goes wrong is logged."""
        if self._task is None:
            return
        self._leave.set()
        if not self._is_open.is_set():
            self._task.cancel()
        limit = HASTY_SHUTDOWN_S if is_hasty else SHUTDOWN_S
        await asyncio.wait({self._task}, timeout=limit)
        if not self._task.done():
            log.error(
                "what was to be closed after the last job is not after %d s; leaving it", limit
            )
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=HASTY_SHUTDOWN_S)

    async def _live(self, make: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        try:
            async with make():
                self._is_open.set()
                await self._leave.wait()
        except BaseException as error:
            self._failure = error
            if self._is_open.is_set():
                log.error("closing what was opened before the first job", exc_info=error)


def _as_startup_failed(error: BaseException | None) -> StartupFailed:
    if isinstance(error, StartupFailed):
        return error
    failed = StartupFailed(f"before the first job: {type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed
