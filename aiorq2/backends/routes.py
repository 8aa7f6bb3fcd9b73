"""Connections whose address is not fixed: a route says where the master is each time that they connect."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from aiorq2.errors import BackendRefused

T = TypeVar("T")
Address = tuple[str, int]


UNTRUSTED = "untrusted: "
"""How the answer of a server begins whose certificate is not to be trusted; the reason follows."""
UNTRUSTWORTHY = "has a certificate that is not to be trusted"


class NoRoute(RedisConnectionError):
    """Nobody says where the master is, or it is none; its text may be shown."""


class Route(Protocol):
    """Knows where the master is. Several event loops, each in a thread of its own, may ask."""

    async def address(self) -> Address:
        """Return where the master is at the moment.

        Raises:
            NoRoute: nobody knows.
        """
        ...

    def opening(self, connection: RoutedConnection) -> None:
        """Take note of a connection that is about to be opened, and may wait for a server that is silent."""
        ...

    async def opened(self, connection: RoutedConnection) -> None:
        """Take note of a connection that has just been opened; raise what makes it useless."""
        ...

    async def closed(self, connection: RoutedConnection, *, for_good: bool) -> None:
        """Take note that a connection is no longer open."""
        ...

    def misplaced(self, error: ResponseError) -> BackendRefused | None:
        """Take note that a command was sent to the wrong server; return why, if there is no right one for it."""
        ...

    async def news(self, seconds: float) -> None:
        """Wait for word that the master is another, so many seconds at the most."""
        ...

    def beside(self, address: Address) -> AbstractConnection:
        """Return an unconnected connection to another server than the master."""
        ...


class RoutedConnection(Connection):
    """A connection to wherever the route leads."""

    def __init__(self, *, route: Route, **options: Any) -> None:
        options.pop("host", None)
        options.pop("port", None)
        super().__init__(host="", port=0, **options)
        self.route = route
        self._opening: asyncio.Timeout | None = None

    async def connect(self) -> None:
        """Connect to the master of the moment."""
        if self.is_connected:
            return
        self.host, self.port = await self.route.address()
        self.route.opening(self)
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._opening = limit
                await super().connect()  # type: ignore[no-untyped-call]
                await self.route.opened(self)
        except BaseException as error:
            await self.disconnect(nowait=True)
            if limit.expired() and isinstance(error, TimeoutError):
                raise NoRoute("cannot be reached: another server is the master by now") from error
            raise
        finally:
            self._opening = None

    async def give_up(self) -> None:
        """Close the connection, or end the attempt to open it: whoever uses it gets an error, and connects elsewhere."""
        if self._opening is None:
            await self.disconnect(nowait=True)
        elif not self._opening.expired():
            self._opening.reschedule(asyncio.get_running_loop().time())

    async def disconnect(self, nowait: bool = False, **why: Any) -> None:  # type: ignore[override]
        """Disconnect; without ``nowait`` and a reason, for good."""
        try:
            await super().disconnect(nowait=nowait, **why)
        finally:
            await self.route.closed(self, for_good=not nowait and not why)

    async def ask(self, *command: Any) -> Any:
        """Send one command on the open connection and return the reply; for what is asked about the connection itself."""
        await self.send_packed_command(self.pack_commands([command]), check_health=False)
        return await self.read_response(disable_decoding=True)


class RoutedSSLConnection(RoutedConnection, SSLConnection):
    """The same, encrypted."""


def note_misplaced(connection: AbstractConnection, error: ResponseError) -> BackendRefused | None:
    """Tell the route of a connection, if it has one, that it leads to the wrong server; return why, if there is no right one."""
    return connection.route.misplaced(error) if isinstance(connection, RoutedConnection) else None


class SharedQuestion:
    """A question that all who want to know the answer at the same moment ask together; each event loop asks for itself."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Address]]) -> None:
        self._ask = ask
        self._asking: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, asyncio.Task[Address]
        ] = weakref.WeakKeyDictionary()

    async def answer(self) -> Address:
        """Return what ``ask`` returns."""
        loop = asyncio.get_running_loop()
        asking = self._asking.get(loop)
        if asking is None or asking.done():
            asking = self._asking[loop] = spawn(self._ask())
            asking.add_done_callback(_note)
        return await asyncio.shield(asking)


class Crowd:
    """The open connections of each event loop, and what is to be done as long as there are any.

    Args:
        watch: runs beside the connections of a loop, and is cancelled when the last one is closed for good.
    """

    def __init__(self, watch: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._watch = watch
        self._members: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, set[RoutedConnection]
        ] = weakref.WeakKeyDictionary()
        self._watching: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[None]] = (
            weakref.WeakKeyDictionary()
        )
        self._moves: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Event] = (
            weakref.WeakKeyDictionary()
        )

    def expect(self, connection: RoutedConnection) -> None:
        """Take in a connection that is about to be opened."""
        self._members.setdefault(asyncio.get_running_loop(), set()).add(connection)

    def join(self, connection: RoutedConnection) -> None:
        """Take in a connection that has just been opened."""
        loop = asyncio.get_running_loop()
        self.expect(connection)
        if loop not in self._watching:
            self._watching[loop] = spawn(self._watch())

    async def leave(self, connection: RoutedConnection, *, for_good: bool) -> None:
        """Let go one that is not open any more."""
        loop = asyncio.get_running_loop()
        members = self._members.get(loop, set())
        members.discard(connection)
        if for_good and not members and loop in self._watching:
            await end([self._watching.pop(loop)])

    def is_astray(self, address: Address) -> bool:
        """Return whether a connection leads elsewhere."""
        members = self._members.get(asyncio.get_running_loop(), ())
        return any((one.host, int(one.port)) != address for one in members)

    async def move_to(self, address: Address) -> None:
        """Give up the connections that lead elsewhere, also those that are being opened: a server that was cut off stays silent,
        and would be waited for."""
        loop = asyncio.get_running_loop()
        for connection in list(self._members.get(loop, ())):
            if (connection.host, int(connection.port)) != address:
                await connection.give_up()
        if loop in self._moves:
            self._moves.pop(loop).set()

    async def news(self, seconds: float) -> None:
        """Wait for the next ``move_to``, so many seconds at the most."""
        moved = self._moves.setdefault(asyncio.get_running_loop(), asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                await moved.wait()
        except TimeoutError:
            pass


def refuse_untrusted(answers: Iterable[object], which: str) -> None:
    """Return unless the certificate of one of those that were asked is not to be trusted.

    Raises:
        BackendRefused: so it is.
    """
    for answer in answers:
        if isinstance(answer, str) and answer.startswith(UNTRUSTED):
            reason = answer.removeprefix(UNTRUSTED)
            raise BackendRefused(f"Redis at {which} {UNTRUSTWORTHY}: {reason}")


def _note(asked: asyncio.Task[Address]) -> None:
    """Take note of how a question ended: all who asked it may have given up meanwhile."""
    if not asked.cancelled():
        asked.exception()


def places(addresses: Iterable[Address]) -> str:
    """Return addresses as text."""
    return ",".join(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses
    )


def spawn(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Return a task that sees nobody's context."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended; again, if need be: redis-py can lose a cancellation on Python 3.11."""
    left = {task for task in tasks if not task.done() and task is not asyncio.current_task()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)


async def first_answers(
    asking: Iterable[Awaitable[T]], *, limit_s: float, enough: Callable[[list[T]], bool]
) -> list[T]:
    """Return the answers that came in time, as soon as there are ``enough``; the questions left are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in asking]
    answers: list[T] = []
    try:
        async with asyncio.timeout(limit_s):
            for answer in asyncio.as_completed(tasks):
                answers.append(await answer)
                if enough(answers):
                    break
    except TimeoutError:
        pass
    finally:
        await end(tasks)
    return answers
