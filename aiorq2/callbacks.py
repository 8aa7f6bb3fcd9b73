"""Call the functions that a job names for its success, its failure or its being stopped, with RQ's arguments."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable
from typing import Any, Literal

import anyio.from_thread
import anyio.to_thread

from aiorq2 import bridge
from aiorq2.allowlist import AllowList
from aiorq2.backends.redis import RedisBackend
from aiorq2.callables import is_coroutine_callable
from aiorq2.job import Job, job_called_back
from aiorq2.loops import loop_bridge
from aiorq2.terms import CALLBACK_TIMEOUT

log = logging.getLogger("aiorq2.worker")

Event = Literal["success", "failure", "stopped"]


class Callbacks:
    """Calls back: coroutine functions on the loop with an asynchronous Redis client, plain ones in a thread with a synchronous one,
    as RQ's contract says; a plain one that rq's producer has named is given rq's ``Job``, where rq is there.

    Args:
        backend: makes the clients.
        allow: what may be called.
    """

    def __init__(self, backend: RedisBackend, allow: AllowList) -> None:
        self._backend = backend
        self._allow = allow

    async def call(
        self, event: Event, job: Job, *arguments: Any, cut: asyncio.Future[None] | None = None
    ) -> None:
        """Call the function that the job names for ``event``, if it names one. What it raises is raised here. It is cancelled
        when this is, and when ``cut`` is done.

        Raises:
            TimeoutError: it took longer than its timeout.
            FunctionNotAllowed, UnknownFunction: it may not be called, or is not there.
        """
        name = job.callback_name(event)
        if name is None:
            return
        func = self._allow.resolve_allowed(name)
        # A task of its own: an interruption of the job is not one of its callback.
        task = asyncio.get_running_loop().create_task(
            self._call(func, job, arguments), context=contextvars.copy_context()
        )
        timeout = job.callback_timeout(event) or CALLBACK_TIMEOUT
        ends: set[asyncio.Future[Any]] = {task} if cut is None else {task, cut}
        try:
            await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            has_ended = task.done()
            task.cancel()
        if cut is not None and cut.done() and not has_ended:
            log.warning("job %s: its %s callback is cut, since the worker stops", job.id, event)
            return
        if not has_ended:
            raise TimeoutError(f"the {event} callback {name} took longer than {timeout} seconds")
        error = task.result()
        if isinstance(error, Exception):
            raise error
        if error is not None:
            raise RuntimeError(f"the {event} callback {name} raised {error!r}") from error

    async def _call(
        self, func: Callable[..., Any], job: Job, arguments: tuple[Any, ...]
    ) -> BaseException | None:
        """Call ``func`` and return what it raised: a task that ended with ``SystemExit`` would end the loop."""
        job_called_back.set(job)
        try:
            if is_coroutine_callable(func):
                await func(job, self._backend.client(), *arguments)
                return None
            loop_bridge.set(anyio.from_thread.run)
            connection = self._backend.sync_client()
            answer = await anyio.to_thread.run_sync(
                lambda: func(_as_named(job), connection, *arguments), abandon_on_cancel=True
            )
            if inspect.isawaitable(answer):
                await answer
        except BaseException as error:  # noqa: BLE001  user code; whoever called back judges
            return error
        return None


def _as_named(job: Job) -> Any:
    """Return the job as whoever named the callback knows it."""
    if job.counterpart is None:
        return job
    bridge.show_status(job.counterpart, job.status)
    return job.counterpart
