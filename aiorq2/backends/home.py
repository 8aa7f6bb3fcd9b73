"""The connections of one event loop: redis-py's cannot be shared between loops.

They are kept per purpose, so that a blocking read or a large enqueue never stands in a heartbeat's way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.connection import AbstractConnection

from aiorq2.backends.adding import Adding, Call
from aiorq2.backends.base import Observed
from aiorq2.backends.clients import close_sync_client
from aiorq2.backends.coalesce import Coalescer
from aiorq2.backends.durable import DurableCalls, Send
from aiorq2.backends.exchange import Exchange
from aiorq2.backends.keys import Keys
from aiorq2.backends.line import Command, Line
from aiorq2.backends.listener import Listener
from aiorq2.backends.releasing import Releasing
from aiorq2.backends.waiting import Waiting

MAX_READS = 10_000
"""How many small reading commands share a pipeline: a page costs one, however many queues and workers it shows."""


class Home:
    """The connections of one event loop.

    Args:
        connection: makes an unconnected connection.
        timeouts: seconds after which a silent Redis counts as away, and in which a connection is to be made.
        command: makes a command of the name of a script, its named arguments and the others.
        observe: reads a job and, unless it has ended, leaves an inbox with it.
        release: frees the dependents that scripts have left.
    """

    def __init__(
        self,
        connection: Callable[[], AbstractConnection],
        timeouts: tuple[float, float],
        exchange: Exchange,
        keys: Keys,
        command: Callable[..., Command],
        observe: Callable[[str, str], Awaitable[Observed]],
        release: Callable[[], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._timeouts = timeouts
        self._exchange = exchange
        self.client: AsyncRedis | None = None
        self.sync_client: Redis | None = None
        self._lines: list[Line] = []
        self._idle: defaultdict[str, list[Line]] = defaultdict(list)
        calls, reads = self._line(), self._line()
        send, patience = exchange.send, exchange.retry_for
        adding = Adding(command, lambda commands, left: send(calls, commands, retry_for=left))
        self.calls: Coalescer[Call] = Coalescer(adding.send, patience=patience, is_split=True)
        self.reads: Coalescer[Command] = Coalescer(
            lambda commands, left: send(reads, commands, retry_for=left),
            most=MAX_READS,
            patience=patience,
        )
        self.durable = DurableCalls(self._durable_line, keys.fence())
        self.listener = Listener(connection, *timeouts)
        self.waiting = Waiting(self.listener, observe, keys.inbox(uuid4().hex))
        self.releasing = Releasing(release)

    @contextmanager
    def lend(self, purpose: str) -> Iterator[Line]:
        """Lend a line that nobody else uses meanwhile; there are as many as were needed at the same time, not one per worker."""
        idle = self._idle[purpose]
        line = idle.pop() if idle else self._line()
        try:
            yield line
        finally:
            idle.append(line)

    def _line(self) -> Line:
        line = Line(self._connection, *self._timeouts)
        self._lines.append(line)
        return line

    def _durable_line(self) -> Send:
        line = self._line()
        return lambda commands, patience: self._exchange.send(
            line, commands, is_whole=True, patience=patience
        )

    async def close(self) -> None:
        """Close everything."""
        await self.releasing.close()
        if self.client is not None:
            await self.client.aclose(close_connection_pool=True)
        if self.sync_client is not None:
            close_sync_client(self.sync_client)
        await self.waiting.close()
        await self.calls.close()
        await self.reads.close()
        await self.durable.close()
        await self.listener.close()
        for line in self._lines:
            await line.close()
