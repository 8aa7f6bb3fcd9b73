"""``redis+sentinel://``: the sentinels are asked for the master whenever a connection is opened, and are listened to."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from aiorq2.backends.line import is_refusal
from aiorq2.backends.listener import Listener
from aiorq2.backends.routes import Address, NoRoute, RoutedConnection
from aiorq2.errors import BackendRefused

log = logging.getLogger("aiorq2.backend")

ANSWER_S = 1.0
"""How long a sentinel gets to answer."""
SWITCH = "+switch-master"
"""The channel on which sentinels tell that they have chosen another master."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What one sentinel says; of several words, the one with the highest epoch is the latest."""

    epoch: int
    address: Address


class SentinelRoute:
    """Where the master of a name is.

    Args:
        name: what the sentinels call it.
        sentinels: their addresses.
        connect: makes an unconnected connection to a sentinel.
        timeout: seconds after which a silent sentinel counts as gone.
    """

    def __init__(
        self,
        name: str,
        sentinels: Sequence[Address],
        connect: Callable[[Address], AbstractConnection],
        timeout: float,
    ) -> None:
        self._name = name
        self._sentinels = tuple(sentinels)
        self._connect = connect
        self._timeout = timeout
        self._watches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Watch] = (
            weakref.WeakKeyDictionary()
        )

    async def address(self) -> Address:
        """Ask all sentinels at once, for all who want to know at the moment.

        Raises:
            NoRoute: none answers.
            BackendRefused: those that answer know no master of this name, or do not let us in.
        """
        watch = self._watch()
        if watch.asking is None or watch.asking.done():
            watch.asking = asyncio.get_running_loop().create_task(
                self._ask_all(), context=contextvars.Context()
            )
        return await asyncio.shield(watch.asking)

    async def opened(self, connection: RoutedConnection) -> None:
        """Refuse a server that is no master (any more, or yet), and from now on close the connection when there is another."""
        if await _role(connection) not in ("master", None):
            raise NoRoute(
                f"cannot be reached: {connection.host}:{connection.port} is not its master yet"
            )
        self._watch().follow(connection)

    async def closed(self, connection: RoutedConnection, *, for_good: bool) -> None:
        """Stop listening when the last connection is closed for good."""
        await self._watch().leave(connection, for_good=for_good)

    def failed(self, address: Address) -> None:
        """Do nothing: the sentinels are asked again anyway."""

    def misplaced(self, error: ResponseError) -> None:
        """Do nothing: as above."""

    def _watch(self) -> _Watch:
        loop = asyncio.get_running_loop()
        watch = self._watches.get(loop)
        if watch is None:
            turns = count()
            listener = Listener(
                lambda: self._connect(self._sentinels[next(turns) % len(self._sentinels)]),
                self._timeout,
            )
            watch = self._watches[loop] = _Watch(self._name, self.address, listener)
        return watch

    async def _ask_all(self) -> Address:
        loop = asyncio.get_running_loop()
        asking = {loop.create_task(self._ask(one)) for one in self._sentinels}
        words: list[_Word] = []
        wordless: list[str] = []
        try:
            async with asyncio.timeout(min(ANSWER_S, self._timeout / 2)):
                for answer in asyncio.as_completed(asking):
                    word = await answer
                    if isinstance(word, str):
                        wordless.append(word)
                        continue
                    words.append(word)
                    if words.count(word) > len(self._sentinels) // 2:
                        break
        except TimeoutError:
            pass
        finally:
            await _end(asking)
        if words:
            return max(words, key=lambda word: word.epoch).address
        raise self._nowhere(wordless)

    def _nowhere(self, wordless: Sequence[str]) -> Exception:
        which = places(self._sentinels)
        if "unknown" in wordless:
            return BackendRefused(f"the sentinels {which} know no master {self._name!r}")
        if "refused" in wordless:
            return BackendRefused(
                f"the sentinels {which} want another password (sentinel_username, sentinel_password)"
            )
        return NoRoute(f"cannot be reached: none of its {len(self._sentinels)} sentinels answers")

    async def _ask(self, sentinel: Address) -> _Word | str:
        connection = self._connect(sentinel)
        try:
            await connection.connect()
            await connection.send_packed_command(
                connection.pack_commands([["SENTINEL", "MASTER", self._name]]), check_health=False
            )
            reply = await connection.read_response(disable_decoding=True)
        except (RedisError, OSError, TimeoutError, EOFError) as error:
            log.debug("sentinel %s:%d: %s", *sentinel, type(error).__name__)
            if "No such master" in str(error):
                return "unknown"
            return "refused" if is_refusal(error) or "NOAUTH" in str(error) else "silent"
        finally:
            await connection.disconnect(nowait=True)
        facts = _pairs(reply)
        return _Word(int(facts["config-epoch"]), (facts["ip"], int(facts["port"])))


@dataclass(eq=False)
class _Watch:
    """The open connections of one event loop, and the word that there is another master."""

    name: str
    address: Callable[[], Any]
    listener: Listener
    asking: asyncio.Task[Address] | None = None
    connections: set[RoutedConnection] = field(default_factory=set)
    listening: asyncio.Task[None] | None = None
    moving: asyncio.Task[None] | None = None

    def follow(self, connection: RoutedConnection) -> None:
        self.connections.add(connection)
        if self.listening is None:
            self.listening = _spawn(self.listener.subscribe(SWITCH, self._hear))

    async def leave(self, connection: RoutedConnection, *, for_good: bool) -> None:
        self.connections.discard(connection)
        if self.connections or not for_good or self.listening is None:
            return
        tasks = [task for task in (self.listening, self.moving) if task is not None]
        self.listening = self.moving = None
        await _end(task for task in tasks if task is not asyncio.current_task())
        await self.listener.close()

    def _hear(self, message: bytes | None) -> None:
        if message is None or message.decode().split(" ")[0] == self.name:
            self.moving = _spawn(self._move())

    async def _move(self) -> None:
        """Close the connections that lead elsewhere than to the master of today: a server that was cut off stays silent."""
        try:
            master = await self.address()
        except (RedisError, BackendRefused):
            return
        for connection in list(self.connections):
            if (connection.host, int(connection.port)) != master:
                await connection.disconnect(nowait=True)


def places(addresses: Iterable[Address]) -> str:
    """Return addresses as text."""
    return ",".join(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses
    )


async def _role(connection: RoutedConnection) -> str | None:
    """Return what a server says that it is, None where it may not be asked."""
    try:
        return str((await connection.ask("ROLE"))[0].decode())
    except ResponseError:
        return None


def _spawn(work: Any) -> asyncio.Task[None]:
    task: asyncio.Task[None] = asyncio.get_running_loop().create_task(
        work, context=contextvars.Context()
    )
    return task


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended; again, if need be: redis-py can lose a cancellation on Python 3.11."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)


def _pairs(reply: Any) -> dict[str, str]:
    if isinstance(reply, dict):  # RESP3
        return {name.decode(): value.decode() for name, value in reply.items()}
    texts = iter([part.decode() for part in reply])
    return dict(zip(texts, texts, strict=True))
