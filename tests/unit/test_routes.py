"""Connections that follow a route: what happens to those under way when the master is another."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio.connection import Connection
from redis.exceptions import ResponseError

from aiorq2.backends.routes import Address, Crowd, NoRoute, RoutedConnection
from aiorq2.backends.sentinel import SentinelRoute, _Word
from tests.support.eventually import eventually


class Signpost:
    """A route that leads where the test says."""

    def __init__(self, where: Address) -> None:
        self.where = where
        self.crowd = Crowd(asyncio.Event().wait)  # type: ignore[arg-type]

    async def address(self) -> Address:
        return self.where

    def opening(self, connection: RoutedConnection) -> None:
        self.crowd.expect(connection)

    async def opened(self, connection: RoutedConnection) -> None:
        self.crowd.join(connection)

    async def closed(self, connection: RoutedConnection, *, for_good: bool) -> None:
        await self.crowd.leave(connection, for_good=for_good)

    def misplaced(self, error: ResponseError) -> None: ...

    async def news(self, seconds: float) -> None: ...

    def beside(self, address: Address) -> RoutedConnection:
        raise NotImplementedError


async def test_connection_that_is_being_opened_to_a_silent_server_is_given_up() -> None:
    """Nobody waits for a server that has been replaced meanwhile; one that leads to the right one is left alone."""
    arrived: list[asyncio.StreamWriter] = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(writer)

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        there: Address = silent.sockets[0].getsockname()[:2]
        route = Signpost(there)
        connection = RoutedConnection(route=route, password="p", socket_connect_timeout=60)
        connecting = asyncio.create_task(connection.connect())
        await eventually(lambda: arrived)

        await route.crowd.move_to(there)
        await asyncio.sleep(0.05)
        assert not connecting.done()
        await route.crowd.move_to(("127.0.0.1", 1))
        with pytest.raises(NoRoute, match="another server is the master by now"):
            async with asyncio.timeout(10):
                await connecting

        assert not connection.is_connected
        await connection.disconnect()
        arrived[0].close()


async def test_word_of_the_one_sentinel_that_knows_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failover most still name the old master: who was told of it asks them all, and is not led back afterwards."""
    old, new = ("h", 1), ("h", 2)
    words = {("s", n): _Word(1, old) for n in range(5)}
    told = asyncio.Event()

    async def ask(route: SentinelRoute, sentinel: Address) -> _Word:
        if sentinel == ("s", 4):
            await asyncio.Event().wait()  # silent
        if sentinel == ("s", 3):
            await told.wait()
        return words[sentinel]

    monkeypatch.setattr(SentinelRoute, "_ask", ask)
    route = SentinelRoute("m", list(words), lambda _: Connection(), 5)

    assert await route.address() == old  # most say so, and that is all there is to know
    words["s", 3] = _Word(2, new)
    asyncio.get_running_loop().call_later(0.05, told.set)
    assert await route._ask_all(is_told=True) == new
    assert await route.address() == new
