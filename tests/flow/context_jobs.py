"""Jobs that look at what they run in."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from typing import NoReturn

surroundings: ContextVar[str] = ContextVar("surroundings", default="nothing")


async def look() -> str:
    """Return what a coroutine function sees."""
    return surroundings.get()


def look_sync() -> str:
    """Return what a thread sees."""
    return surroundings.get()


async def fail() -> NoReturn:
    """Raise."""
    raise ValueError("boom")


async def linger() -> None:
    """Take long."""
    await asyncio.sleep(60)


def linger_sync() -> None:
    """Take long, in slices."""
    for _ in range(6000):
        time.sleep(0.01)
