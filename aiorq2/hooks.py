"""What a program does around the work of its workers: ``@rq.on_startup``, ``@rq.on_shutdown`` and ``@rq.lifespan``."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from aiorq2.errors import InvalidOption, StartupFailed
from aiorq2.sharded import ShardedWorker
from aiorq2.worker import Worker

log = logging.getLogger("aiorq2.hub")

Hook = Callable[..., Any]
AnyWorker = Worker | ShardedWorker


class Hooks:
    """Functions to call around the work of a worker, in the order in which they were given; each may take the worker."""

    def __init__(self) -> None:
        self._lifespans: list[Hook] = []
        self._startup: list[Hook] = []
        self._shutdown: list[Hook] = []

    def on_startup(self, hook: Hook) -> None:
        """Have ``hook`` called before the first job."""
        self._startup.append(_checked(hook, "on_startup"))

    def on_shutdown(self, hook: Hook) -> None:
        """Have ``hook`` called after the last job."""
        self._shutdown.append(_checked(hook, "on_shutdown"))

    def lifespan(self, make: Hook) -> None:
        """Have what ``make`` returns opened before the first job and closed after the last."""
        if inspect.isgeneratorfunction(make):
            raise InvalidOption(f"lifespan: {_name(make)} yields; write it with async def")
        is_bare = inspect.isasyncgenfunction(make)
        self._lifespans.append(_checked(asynccontextmanager(make) if is_bare else make, "lifespan"))

    @asynccontextmanager
    async def around(self, worker: AnyWorker) -> AsyncIterator[None]:
        """Do what was asked for, in this order: lifespans, startup; and back: shutdown, lifespans.

        Raises:
            StartupFailed: one of the first two raised; what was opened is closed again.
        """
        async with AsyncExitStack() as opened:
            for make in self._lifespans:
                await _tried("lifespan", make, _open(opened, make, worker))
            for hook in self._startup:
                await _tried("on_startup", hook, _call(hook, worker))
            try:
                yield
            finally:
                for hook in self._shutdown:
                    try:
                        await _call(hook, worker)
                    except Exception:
                        log.exception("on_shutdown %s raised", _name(hook))


async def _tried(what: str, hook: Hook, doing: Awaitable[None]) -> None:
    try:
        await doing
    except Exception as error:
        log.exception("%s %s raised", what, _name(hook))
        raise StartupFailed(f"{what} {_name(hook)}: {type(error).__name__}: {error}") from error


async def _open(opened: AsyncExitStack, make: Hook, worker: AnyWorker) -> None:
    manager = make(*_arguments(make, worker))
    if not isinstance(manager, AbstractAsyncContextManager):
        raise TypeError(f"an asynchronous context manager is needed, not {type(manager).__name__}")
    await opened.enter_async_context(manager)


async def _call(hook: Hook, worker: AnyWorker) -> None:
    answer = hook(*_arguments(hook, worker))
    if inspect.isawaitable(answer):
        await answer


def _checked(hook: Hook, what: str) -> Hook:
    if not callable(hook):
        raise InvalidOption(f"{what}: a function is needed, not {type(hook).__name__}")
    try:
        inspect.signature(hook).bind(*_arguments(hook, None))
    except TypeError as error:
        raise InvalidOption(
            f"{what}: {_name(hook)} is called without arguments, or with the worker: {error}"
        ) from None
    except ValueError:  # it does not say what it takes
        pass
    return hook


def _arguments(hook: Hook, worker: Any) -> tuple[Any, ...]:
    """Return the worker if the function takes one argument."""
    try:
        parameters = inspect.signature(hook).parameters.values()
    except ValueError:
        return ()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    takes_one = any(one.kind in positional and one.default is one.empty for one in parameters)
    return (worker,) if takes_one else ()


def _name(hook: Hook) -> str:
    return f"{getattr(hook, '__module__', '?')}.{getattr(hook, '__qualname__', repr(hook))}"
