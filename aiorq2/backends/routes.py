"""Connections whose address is not fixed: a route says where the master is each time that they connect."""

from __future__ import annotations

from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

Address = tuple[str, int]


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

    async def opened(self, connection: RoutedConnection) -> None:
        """Take note of a connection that has just been opened; raise what makes it useless."""
        ...

    async def closed(self, connection: RoutedConnection, *, for_good: bool) -> None:
        """Take note that a connection is no longer open."""
        ...

    def failed(self, address: Address) -> None:
        """Take note that no connection could be opened there."""
        ...

    def misplaced(self, error: ResponseError) -> None:
        """Take note that a command was sent to the wrong server."""
        ...


class RoutedConnection(Connection):
    """A connection to wherever the route leads."""

    def __init__(self, *, route: Route, **options: Any) -> None:
        options.pop("host", None)
        options.pop("port", None)
        super().__init__(host="", port=0, **options)
        self.route = route

    async def connect(self) -> None:
        """Connect to the master of the moment."""
        if self.is_connected:
            return
        address = await self.route.address()
        self.host, self.port = address
        try:
            await super().connect()  # type: ignore[no-untyped-call]
            await self.route.opened(self)
        except BaseException:
            self.route.failed(address)
            await self.disconnect(nowait=True)
            raise

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


def note_misplaced(connection: AbstractConnection, error: ResponseError) -> None:
    """Tell the route of a connection, if it has one, that it leads to the wrong server."""
    if isinstance(connection, RoutedConnection):
        connection.route.misplaced(error)
