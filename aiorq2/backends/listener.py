"""One pub/sub connection per process and loop: it comes back by itself, whatever went wrong, and tells its users when it has."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from aiorq2.backends.exchange import COMPLAIN_EVERY_S
from aiorq2.backends.line import write
from aiorq2.errors import AiorqError
from aiorq2.timing import backoff

log = logging.getLogger("aiorq2.backend")

Receive = Callable[[bytes | None], None]
"""Takes a message, or None after a reconnection: messages may have been missed."""


class Listener:
    """Subscribe to channels on a connection of its own, opened with the first subscription.

    Args:
        connect: makes an unconnected connection.
        timeout: seconds after which a quiet peer is asked whether it is there, and in which it has to answer.
        connect_timeout: seconds in which a connection is to be made; by default the same.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractConnection],
        timeout: float,
        connect_timeout: float | None = None,
    ) -> None:
        self._connect = connect
        self._timeout = timeout
        self._connect_timeout = timeout if connect_timeout is None else connect_timeout
        self._channels: dict[bytes, Receive] = {}
        self._connection: AbstractConnection | None = None
        self._confirmed: dict[bytes, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._heard_at = 0.0
        self._complained_at = -math.inf

    async def subscribe(self, channel: str, receive: Receive) -> None:
        """Call ``receive`` for every message from now on. Waits a moment for Redis to confirm, but not for Redis to be back."""
        name = channel.encode()
        self._channels[name] = receive
        confirmed = self._confirmed[name] = asyncio.Event()
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(work(), context=contextvars.Context())
                for work in (self._listen, self._watch)
            ]
        else:
            await self._say("SUBSCRIBE", name)
        try:
            async with asyncio.timeout(1.0):
                await confirmed.wait()
        except TimeoutError:
            log.warning("channel %s is not subscribed yet; going on without", channel)

    async def unsubscribe(self, channel: str) -> None:
        """Stop listening to a channel."""
        if self._channels.pop(channel.encode(), None) is not None:
            self._confirmed.pop(channel.encode(), None)
            await self._say("UNSUBSCRIBE", channel)

    async def close(self) -> None:
        """Close the connection and end the tasks."""
        tasks, self._tasks = self._tasks, []
        while left := [task for task in tasks if not task.done()]:
            for task in left:
                task.cancel()  # again, if need be: inside redis-py and fakeredis a cancellation can get lost on Python 3.11
            await asyncio.wait(left, timeout=0.1)
        if self._connection is not None:
            await self._connection.disconnect()

    async def _say(self, *command: Any) -> None:
        connection = self._connection
        if connection is None or not connection.is_connected:
            return
        try:
            await write(connection, connection.pack_commands([command]))
        except Exception as error:  # noqa: BLE001  it is said with the next connection
            self._note(error)
            await _drop(connection)

    async def _listen(self) -> None:
        failures = 0
        while True:
            try:
                await self._open()
                failures = 0
                await self._read()
            except Exception as error:  # noqa: BLE001  nobody else would begin to listen again
                failures += 1
                self._note(error)
            finally:
                if self._connection is not None:
                    await _drop(self._connection)
            await asyncio.sleep(backoff(failures, base=0.05, cap=1.0))

    def _note(self, error: Exception) -> None:
        """Say what went wrong; what does not pass by itself as an error, once a minute."""
        if isinstance(error, RedisError | OSError | EOFError):
            log.debug(
                "the pub/sub connection was lost (%s); opening it again", type(error).__name__
            )
            return
        now = asyncio.get_running_loop().time()
        if now - self._complained_at > COMPLAIN_EVERY_S:
            self._complained_at = now
            where = None if isinstance(error, AiorqError) else error
            log.error(
                "channels cannot be heard: %s; trying again until they can", error, exc_info=where
            )

    async def _open(self) -> None:
        connection = self._connect()
        try:
            async with asyncio.timeout(self._connect_timeout):
                await connection.connect()
                self._connection = connection  # before the names are read, so that a subscription meanwhile is sent, too
                names = list(self._channels)
                if names:
                    await write(connection, connection.pack_commands([["SUBSCRIBE", *names]]))
        except BaseException:
            await _drop(connection)
            raise
        self._heard_at = asyncio.get_running_loop().time()

    async def _read(self) -> None:
        assert self._connection is not None
        loop = asyncio.get_running_loop()
        while True:
            reply = await self._connection.read_response(disable_decoding=True)
            self._heard_at = loop.time()
            if not isinstance(reply, list) or len(reply) < 3:
                continue
            kind, channel, message = reply[:3]
            receive = self._channels.get(channel)
            if kind == b"subscribe" and channel in self._confirmed:
                first = not self._confirmed[channel].is_set()
                self._confirmed[channel].set()
                if receive and not first:
                    self._hand(receive, None)
            elif kind == b"message" and receive:
                self._hand(receive, message)

    def _hand(self, receive: Receive, message: bytes | None) -> None:
        try:
            receive(message)
        except Exception:
            log.exception("a subscriber raised")

    async def _watch(self) -> None:
        """Replace a connection whose peer has gone silent: nobody else would notice on a connection that only listens."""
        loop = asyncio.get_running_loop()
        asked_at = 0.0
        while True:
            await asyncio.sleep(self._timeout)
            connection = self._connection
            if connection is None or not connection.is_connected:
                continue
            if self._heard_at < asked_at:
                await _drop(connection)
            else:
                asked_at = loop.time()
                await self._say("PING")


async def _drop(connection: AbstractConnection) -> None:
    with suppress(Exception):  # it is given up; what goes wrong with that must not end the task
        await connection.disconnect(nowait=True)
