"""Turn concurrent calls into shared pipelines: while one is in flight, the next gathers. No timers, nothing is held back."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiorq2.backends.line import Command
from aiorq2.errors import BackendUnavailable, InvalidOption

Waiting = tuple[Command, asyncio.Future[Any], float]
"""A command, whoever waits for its reply, and since when."""
SHORTEST_S = 0.05
"""Who has less time left than this is told that it is over."""

MAX_COMMANDS = 256
"""How many commands share a pipeline, unless told otherwise."""


class Coalescer:
    """Gather commands from many tasks and send them over one line.

    A caller that is cancelled leaves the others alone; its command may run all the same.

    Args:
        send: sends a pipeline and returns a reply or an exception for each of its commands.
        most: how many commands share a pipeline at the most.
        patience: how long a caller waits while Redis is away, seconds, what was in flight before it included; None for ever.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Command], float | None], Awaitable[list[Any]]],
        *,
        most: int = MAX_COMMANDS,
        patience: float | None = None,
    ) -> None:
        self._send = send
        self._most = most
        self._patience = patience
        self._waiting: deque[Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def call(self, command: Command) -> Any:
        """Send one command with whatever else is waiting and return its reply; an error reply is raised."""
        return await self._enqueue(command)

    async def call_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send several commands, in order; error replies are returned, not raised."""
        return await asyncio.gather(
            *[self._enqueue(command) for command in commands], return_exceptions=True
        )

    def _enqueue(self, command: Command) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, future, loop.time()))
        if self._task is None:
            self._task = loop.create_task(self._flush(), context=contextvars.Context())
        return future

    async def _flush(self) -> None:
        batch: list[Waiting] = []
        try:
            while self._waiting:
                batch = [
                    self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))
                ]
                batch = [one for one in batch if not one[1].cancelled()]
                if batch:
                    commands = [command for command, _, _ in batch]
                    replies = await self._replies(commands, self._left(batch[0]))
                    self._resolve(batch, replies)
                    batch = []
        finally:
            self._task = None
            for _, future, _ in [*batch, *self._waiting]:
                future.cancel()
            self._waiting.clear()

    def _left(self, one: Waiting) -> float | None:
        """Return how much longer a caller waits, at least a moment."""
        if self._patience is None:
            return None
        waited = asyncio.get_running_loop().time() - one[2]
        return min(self._patience, max(SHORTEST_S, self._patience - waited))

    def _resolve(self, batch: Sequence[Waiting], replies: Sequence[Any]) -> None:
        """Hand the replies out. Whose time is not over when that of the first one is waits on: what was sent may be sent again."""
        again = []
        for one, reply in zip(batch, replies, strict=True):
            future = one[1]
            if future.done():
                continue
            if isinstance(reply, BackendUnavailable) and (self._left(one) or 0.0) > SHORTEST_S:
                again.append(one)
            elif isinstance(reply, BaseException):
                future.set_exception(reply)
            else:
                future.set_result(reply)
        self._waiting.extendleft(reversed(again))

    async def _replies(self, commands: list[Command], left: float | None) -> list[Any]:
        try:
            return await self._send(commands, left)
        except UnicodeEncodeError as error:  # before anything was sent
            if len(commands) == 1:
                return [InvalidOption(f"what is no text cannot be sent to Redis: {error.reason}")]
            return [(await self._replies([command], left))[0] for command in commands]
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to each of the callers
            return [error] * len(commands)

    async def close(self) -> None:
        """Cancel what is in flight and waiting."""
        while self._task is not None:
            self._task.cancel()  # again, if need be: inside fakeredis a cancellation can get lost on Python 3.11
            await asyncio.wait({self._task}, timeout=0.1)
