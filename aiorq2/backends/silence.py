"""How long a peer may say nothing: ``asyncio.timeout`` with one timer for many waits, since a timer is dearer than a short wait."""

from __future__ import annotations

import asyncio
import contextvars
from types import TracebackType
from typing import Self


class Silence:
    """Ends what is awaited inside of it with ``TimeoutError`` when its time is over; for one task at a time.

    >>> silence = Silence()
    >>> with silence.bearable(5):
    ...     await answer
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._cancelling = 0
        self._is_over = False

    def bearable(self, seconds: float) -> Self:
        """Say for how long from now on; the wait begins with ``with``."""
        self._deadline = asyncio.get_running_loop().time() + seconds
        return self

    def heard(self, seconds: float) -> None:
        """There was a sign of life: it may be silent for so many seconds from now on."""
        if self._task is not None and not self._is_over:
            self._deadline = asyncio.get_running_loop().time() + seconds
            self._arm()

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        self._is_over = False
        self._arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if not self._is_over or task is None:
            return
        is_ours = (
            task.uncancel() <= self._cancelling
        )  # else somebody else cancels it as well, and that counts
        if is_ours and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _arm(self) -> None:
        """See to it that a timer looks at the deadline, or earlier."""
        if self._timer is not None:
            if self._timer.when() <= self._deadline:
                return
            self._timer.cancel()
        # In a context of its own: the timer outlives the wait, and what the caller's holds must not.
        self._timer = asyncio.get_running_loop().call_at(
            self._deadline, self._look, context=contextvars.Context()
        )

    def _look(self) -> None:
        self._timer = None
        if self._task is None:
            return  # nobody waits
        if asyncio.get_running_loop().time() < self._deadline:
            self._arm()
            return
        self._is_over = True
        self._task.cancel()

    def close(self) -> None:
        """Leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
