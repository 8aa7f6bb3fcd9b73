"""Free the dependents that a script has left, beside everything else: nobody waits for a thousand of them."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiorq2.errors import AiorqError

log = logging.getLogger("aiorq2.backend")


class Releasing:
    """Goes on with what scripts have left, in one task at a time.

    Args:
        release: frees all that is left.
    """

    def __init__(self, release: Callable[[], Awaitable[None]]) -> None:
        self._release = release
        self._has_more = False
        self._task: asyncio.Task[None] | None = None

    def go_on(self) -> None:
        """Have the dependents freed that are left; nobody waits for it."""
        self._has_more = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(
                self._go_on(), context=contextvars.Context()
            )

    async def done(self) -> bool:
        """Wait until that is done; returns whether there was anything to wait for."""
        if self._task is None:
            return False
        await asyncio.wait({self._task})
        self._task = None
        return True

    async def close(self) -> None:
        """Leave the rest to a reaper."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _go_on(self) -> None:
        try:
            while self._has_more:
                self._has_more = False
                await self._release()
        except AiorqError as error:
            log.debug("freeing dependents: %s", error)  # a reaper goes on with it


def has_more(reply: Any) -> bool:
    """Whether the script with this reply has left dependents to be freed."""
    return isinstance(reply, list) and reply[1:2] == [1]
