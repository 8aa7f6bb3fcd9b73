"""Turn concurrent calls into shared pipelines: while one is in flight, the next gathers. No timers, nothing is held back."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar

from aiorq2.errors import BackendUnavailable

MAX_COMMANDS = 256
"""How many commands share a pipeline, unless told otherwise."""

T = TypeVar("T")
"""A command."""
Call = tuple[Sequence[T], "asyncio.Future[list[Any]]", float, bool]
"""Commands, what their replies are given to, since when somebody waits for them (the loop's clock), and whether they are a part
of several that keep their order."""
CROWD = 16
"""How many calls are worth a pipeline of their own while another one is in flight."""
SHORTEST_S = 0.05
"""Who has less time left than this is told that it is over."""


class Coalescer(Generic[T]):
    """Gather commands from many tasks and send them over one line.

    A caller that is cancelled leaves the others alone; its command may run all the same. One that is alone sends its command
    itself: the task that sends for several costs as much as the rest of a call.

    Args:
        send: sends a pipeline and returns a reply or an exception for each of its commands. A ``TypeError`` or ``ValueError`` says
            that one of them cannot be sent, and that none was: it is the error of that one's caller alone.
        most: how many commands share a pipeline at the most.
        patience: how long a caller waits while Redis is away, seconds, what was in flight before it included; None for ever.
        is_split: whether a crowd shares two pipelines, so that one half is answered while the other makes its next calls. ``send``
            keeps them in their order, unless something goes wrong; what was called together (``call_many``) is never split.
    """

    def __init__(
        self,
        send: Callable[[Sequence[T], float | None], Awaitable[list[Any]]],
        *,
        most: int = MAX_COMMANDS,
        patience: float | None = None,
        is_split: bool = False,
    ) -> None:
        self._send = send
        self._most = most
        self._patience = patience
        self._waiting: deque[Call[T]] = deque()
        self._is_split = is_split
        self._tasks: list[asyncio.Task[None]] = []
        self._in_flight = 0
        self._alone: asyncio.Task[Any] | None = None
        self._is_crowded = False
        """Whether callers come several at a time: then the first one waits for the others."""
        self._is_flowing = False
        """Whether nothing went wrong with the last pipeline."""
        self._is_closing = False

    async def call(self, command: T) -> Any:
        """Send one command with whatever else is waiting and return its reply; an error reply is raised."""
        if not self._tasks and self._alone is None and not self._is_crowded:
            (reply,) = await self._send_alone([command])
        else:
            (reply,) = await self._enqueue([command], is_part=False)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def call_many(self, commands: Sequence[T]) -> list[Any]:
        """Send several commands, in order; error replies are returned, not raised."""
        starts = range(0, len(commands), self._most)
        futures = [
            self._enqueue(commands[start : start + self._most], is_part=True) for start in starts
        ]
        return list(chain.from_iterable(await asyncio.gather(*futures)))

    async def _send_alone(self, commands: Sequence[T]) -> list[Any]:
        self._alone = task = asyncio.current_task()
        try:
            return await self._send(commands, self._patience)
        except asyncio.CancelledError:
            if self._is_closing and task is not None:
                task.uncancel()  # that was ours, not its own end
            raise
        finally:
            self._alone = None
            if self._waiting:
                self._begin()

    def _enqueue(self, commands: Sequence[T], *, is_part: bool) -> asyncio.Future[list[Any]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        self._waiting.append((commands, future, loop.time(), is_part))
        if self._alone is None and (not self._tasks or self._is_worth_another()):
            self._begin()
        return future

    def _is_worth_another(self) -> bool:
        """Whether what waits is worth a second pipeline, beside the one that is in flight."""
        return (
            len(self._waiting) >= CROWD
            and len(self._tasks) == 1
            and self._is_split
            and self._is_flowing
            and not self._waiting[0][3]
        )

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._flush(), context=contextvars.Context()))

    async def _flush(self) -> None:
        batch: list[Call[T]] = []
        try:
            while self._waiting and (len(self._tasks) == 1 or not self._waiting[0][3]):
                batch = self._next_batch()
                self._is_crowded = len(batch) > 1
                if batch:
                    self._in_flight += len(batch)
                    if self._is_worth_another():
                        self._begin()
                    try:
                        await self._answer(batch)
                    finally:
                        self._in_flight -= len(batch)
                    batch = []
        except BaseException:
            for call in [*batch, *self._waiting]:
                call[1].cancel()
            self._waiting.clear()
            raise
        finally:
            task = asyncio.current_task()
            self._tasks = [one for one in self._tasks if one is not task]

    def _next_batch(self) -> list[Call[T]]:
        """Return what goes next: as many calls as fit, one at least; of a crowd, half."""
        batch: list[Call[T]] = []
        room = self._most
        crowd = len(self._waiting) + self._in_flight
        half = (
            -(-crowd // 2) if self._is_split and self._is_flowing and crowd >= 2 * CROWD else crowd
        )
        while self._waiting and (not batch or len(self._waiting[0][0]) <= room):
            if len(batch) >= half:
                break
            call = self._waiting.popleft()
            if not call[1].cancelled():
                batch.append(call)
                room -= len(call[0])
        return batch

    async def _answer(self, batch: Sequence[Call[T]]) -> None:
        commands = [command for call in batch for command in call[0]]
        try:
            replies = await self._send(commands, self._left(batch[0]))
            self._is_flowing = True
        except (TypeError, ValueError) as error:  # before anything was sent: one of them cannot be
            if len(batch) > 1:
                for call in batch:
                    await self._answer([call])
                return
            replies = [error] * len(commands)
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to each of the callers
            self._is_flowing = False
            replies = [error] * len(commands)
        end = 0
        early = []
        for call in batch:
            start, end = end, end + len(call[0])
            if call[1].done():
                continue
            if self._is_early(call, replies[start:end]):
                early.append(call)
            else:
                call[1].set_result(replies[start:end])
        self._waiting.extendleft(reversed(early))

    def _left(self, call: Call[T]) -> float | None:
        """Return how much longer a caller waits, at least a moment."""
        if self._patience is None:
            return None
        waited = asyncio.get_running_loop().time() - call[2]
        return min(self._patience, max(SHORTEST_S, self._patience - waited))

    def _is_early(self, call: Call[T], replies: Sequence[Any]) -> bool:
        """Whether a caller waits on, since only the time of those before it is over; what was sent may be sent again."""
        is_away = any(isinstance(reply, BackendUnavailable) for reply in replies)
        return is_away and (self._left(call) or 0.0) > SHORTEST_S

    async def close(self) -> None:
        """Cancel what is in flight and waiting."""
        self._is_closing = True
        try:
            while tasks := {*self._tasks, *([self._alone] if self._alone else [])}:
                for task in tasks:
                    task.cancel()  # again, if need be: inside fakeredis a cancellation can get lost on Python 3.11
                await asyncio.wait(tasks, timeout=0.1)
        finally:
            self._is_closing = False
