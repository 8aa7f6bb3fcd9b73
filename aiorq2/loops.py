"""Doing something on an event loop, from where there may be none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, None]]


class Done:
    """An awaitable that is done."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


def blocking_outside_the_loop(work: Work, close: Work) -> Awaitable[None]:
    """Return ``work()`` on an event loop; in a thread without one, do it before returning: on the worker's loop if it has one,
    else on a new one, whose connections are closed with ``close()``."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        return work()
    bridge = loop_bridge.get()
    if bridge is not None:
        bridge(work)
    else:
        asyncio.run(closing(work(), close))
    return Done()


async def closing(work: Awaitable[T], close: Work) -> T:
    """Do ``work``, the last on this loop, and close its connections."""
    try:
        return await work
    finally:
        await close()


loop_bridge: ContextVar[Callable[[Work], None] | None] = ContextVar(
    "aiorq2_loop_bridge", default=None
)
"""How a thread that runs a job has something done on the worker's loop."""
