"""One connection to Redis that carries one pipeline at a time, and what its errors mean."""

from __future__ import annotations

import asyncio
import contextvars
import math
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    DataError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from aiorq2.backends.routes import Address, NoRoute, RoutedConnection, note_misplaced
from aiorq2.backends.scripts import Arg
from aiorq2.backends.silence import Silence
from aiorq2.errors import BackendRefused, InvalidOption

try:
    from hiredis import pack_command as _pack
except ImportError:  # it is quicker, but not needed
    _pack = None  # type: ignore[assignment]

Command = Sequence[Arg]

SLOWEST_BYTES_PER_S = 32 * 1024
"""A line that carries less counts as dead."""
SHORTEST_S = 0.02
"""Even who has no time left waits so long for an answer."""

_TRANSIENT = (
    "LOADING",
    "READONLY",
    "UNBLOCKED",
    "BUSY",
    "MISCONF",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "NOREPLICAS",
    "max number of clients",
    "Redis is loading",
)
"""Beginnings of the error replies that pass by themselves (design D4)."""

_REFUSED = (
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "invalid username-password",
    "unknown command",
    "DENIED",
)
"""Beginnings of the error replies that waiting does not mend."""

_REFUSED_WITHIN = (
    "unauthenticated",  # NOAUTH, for long commands
    "can't run this command or subcommand",  # a right that only a script needs
    "ACL failure in script",
)
"""What stands in others of them."""


def is_transient(error: BaseException) -> bool:
    """Whether the same command may well succeed a little later."""
    if is_refusal(error):
        return False
    if isinstance(error, ResponseError):
        text = str(error).removeprefix("ERR ")
        if text.startswith("Error running script"):  # Redis 6.2 wraps what went wrong inside
            return any(f"-{word}" in text for word in _TRANSIENT)
        return text.startswith(_TRANSIENT) or type(error).__name__ in _TRANSIENT_TYPES
    if isinstance(error, DataError):  # a value that redis-py cannot send: a mistake of ours
        return False
    return isinstance(error, RedisError | OSError | asyncio.TimeoutError | EOFError)


_TRANSIENT_TYPES = {
    "AskError",
    "MovedError",
    "ReadOnlyError",
    "ClusterDownError",
    "MasterDownError",
    "TryAgainError",
    "BusyLoadingError",
}


def is_refusal(error: BaseException) -> bool:
    """Whether Redis does not want us: wrong password, missing rights, a command it does not have; or we do not want it."""
    if isinstance(
        error, AuthenticationError | AuthorizationError | NoPermissionError | BackendRefused
    ):
        return True
    if distrust(error) is not None:
        return True
    if not isinstance(error, RedisError):
        return False
    text = str(error)
    return text.removeprefix("ERR ").startswith(_REFUSED) or any(
        words in text for words in _REFUSED_WITHIN
    )


def distrust(error: BaseException | None) -> str | None:
    """Return why the certificate of the server is not to be trusted, if that is what has gone wrong."""
    for _ in range(5):  # redis-py's error stands before that of ssl
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error and (error.__cause__ or error.__context__)
    return None


def is_misplaced(error: ResponseError) -> bool:
    """Whether another server is the one to ask: this one has become, or is, a replica."""
    text = str(error)
    return (
        isinstance(error, MovedError | ReadOnlyError | MasterDownError)
        or "-READONLY" in text
        or text.startswith("UNBLOCKED")
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Redis refused a write because its ``maxmemory`` is reached."""
    return isinstance(error, OutOfMemoryError) or (
        isinstance(error, ResponseError) and ("OOM " in str(error) or "OOM command" in str(error))
    )


def _packed(connection: AbstractConnection, commands: Sequence[Command]) -> list[bytes]:
    """Return the commands as Redis reads them.

    Raises:
        InvalidOption: one of them holds what cannot be sent.
    """
    try:
        return _bytes_of(connection, commands)
    except UnicodeEncodeError as error:
        raise InvalidOption(f"what is no text cannot be sent to Redis: {error.reason}") from error
    except DataError as error:  # it names the type
        raise InvalidOption(f"what cannot be written cannot be sent to Redis: {error}") from error


def _bytes_of(connection: AbstractConnection, commands: Sequence[Command]) -> list[bytes]:
    """Return them as hiredis writes them where it is there: it takes a quarter of the time."""
    if _pack is not None and connection.encoder.encoding in ("utf-8", "utf8"):
        pack: Callable[[tuple[Arg, ...]], bytes] = _pack  # type: ignore[assignment]
        try:
            return [b"".join([pack(tuple(command)) for command in commands])]
        except TypeError:
            pass  # redis-py says what it is that cannot be sent
    packed: list[bytes] = connection.pack_commands(commands)
    return packed


async def write(connection: AbstractConnection, packed: list[bytes]) -> None:
    """Send packed commands on an open connection; one that was just reset is a ``ConnectionError``."""
    try:
        await connection.send_packed_command(packed, check_health=False)
    except (AttributeError, RuntimeError) as error:
        # On Python 3.12 and newer, asyncio's writelines fails like this on a connection that was just reset.
        raise ConnectionError(f"the connection was lost while writing: {error}") from error


async def _connected(connection: AbstractConnection) -> None:
    # In a context of its own: what a transport calls later, it calls in the context in which it was made, and keeps that alive.
    loop = asyncio.get_running_loop()
    await loop.create_task(connection.connect(), context=contextvars.Context())


class Line:
    """A connection that carries pipelines one behind the other: the next may be sent while the last is not answered yet. It
    connects when it is first used, and again after any mishap, which costs all that are under way their answers.

    Args:
        connect: makes an unconnected connection.
        timeout: seconds of silence after which the peer counts as gone; a large pipeline gets the time that a slow line needs for
            it, and a large answer as long as some of it arrives.
        connect_timeout: seconds in which a connection is to be made; by default the same.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractConnection],
        timeout: float,
        connect_timeout: float | None = None,
    ) -> None:
        self._connection = connect()
        self._timeout = timeout
        self._connect_timeout = timeout if connect_timeout is None else connect_timeout
        self._writing, self._reading = asyncio.Lock(), asyncio.Lock()
        self._writable, self._silence = Silence(), Silence()
        self._era = 0
        """Counts the connections that are gone: what was sent on one of them is not answered any more."""
        self._bearable_s = timeout
        self._is_misplaced = False

    async def run(
        self, commands: Sequence[Command], *, patience: float = 0.0, within: float | None = None
    ) -> list[Any]:
        """Send all commands in one write and return their replies, error replies among them as exceptions.

        A command that was sent may have run even though this raises. A cancelled or failed exchange drops the connection,
        so that no reply is ever taken for another's.

        Args:
            patience: further seconds to wait for the reply, for commands that block.
            within: seconds after which nobody wants to wait any longer, should the peer be silent.
        """
        longest = math.inf if within is None else max(within, SHORTEST_S)
        packed = _packed(self._connection, commands)
        silence = min(self._timeout, longest)
        bearable = silence + sum(map(len, packed)) / SLOWEST_BYTES_PER_S
        loop = asyncio.get_running_loop()
        async with self._writing:
            era = await self._ready(longest)
            began = loop.time()
            try:
                with self._writable.bearable(bearable):
                    await write(self._connection, packed)
            except BaseException:
                await self._lose(era)
                raise
            left = max(bearable - (loop.time() - began), SHORTEST_S)  # one limit for both ways
        try:
            async with self._reading:
                self._bearable_s = self._timeout + patience
                with self._silence.bearable(left + patience):
                    replies = await self._replies(len(commands), era)
        except BaseException as error:
            was_lost_by_another = era != self._era and isinstance(error, Exception)
            await self._lose(era)
            if was_lost_by_another:
                raise ConnectionError("the connection was lost") from error
            raise
        if self._is_misplaced:  # the next use connects anew, to a server that may be another
            self._is_misplaced = False
            await self.drop()
        return replies

    async def _ready(self, longest: float) -> int:
        """Connect, if need be; returns the era of the connection."""
        connection = self._connection
        if connection.is_connected:
            return self._era
        self._era += 1
        try:
            async with asyncio.timeout(min(self._connect_timeout, longest)):
                await _connected(connection)
        except (TimeoutError, RedisTimeoutError) as error:
            await self.drop()
            # A server that does not encrypt waits for the end of a line that never comes.
            if isinstance(connection, SSLConnection):
                raise NoRoute("cannot be reached over TLS (is this its TLS port?)") from error
            raise
        except BaseException:
            await self.drop()
            raise
        self._listen_closely()
        return self._era

    async def _lose(self, era: int) -> None:
        """Something went wrong on the connection of that era."""
        if era == self._era:
            await self.drop()

    def _listen_closely(self) -> None:
        """Take whatever arrives for a sign of life, a part of an answer too."""
        reader = getattr(self._connection, "_reader", None)  # nobody else sees the parts
        if not isinstance(reader, asyncio.StreamReader):
            return
        feed = reader.feed_data

        def heed(data: bytes) -> None:
            self._silence.heard(self._bearable_s)
            feed(data)

        reader.feed_data = heed  # type: ignore[method-assign, assignment]

    async def _replies(self, count: int, era: int) -> list[Any]:
        replies: list[Any] = []
        for _ in range(count):
            if era != self._era:
                raise ConnectionError("the connection was lost")
            replies.append(await self._reply())
        if era != self._era:  # by the pipeline behind; this may be no answer of ours
            raise ConnectionError("the connection was lost")
        return replies

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except ResponseError as error:
            if is_misplaced(error):
                refusal = note_misplaced(self._connection, error)
                if refusal is not None:
                    return refusal
                self._is_misplaced = True
            return error

    def beside(self, address: Address) -> Line:
        """Return a line to another server than that to which the route of this one leads."""
        assert isinstance(self._connection, RoutedConnection)
        route = self._connection.route
        return Line(lambda: route.beside(address), self._timeout)

    async def pause(self, seconds: float) -> None:
        """Wait before the next try; not as long when there is word of another server."""
        if isinstance(self._connection, RoutedConnection):
            await self._connection.route.news(seconds)
        else:
            await asyncio.sleep(seconds)

    async def drop(self) -> None:
        """Close the connection without ceremony; the next use opens it again."""
        self._era += 1
        await self._connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close the connection and wait until it is closed."""
        self._era += 1
        self._writable.close()
        self._silence.close()
        await self._connection.disconnect()
