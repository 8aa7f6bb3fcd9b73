"""A Redis server as this process reaches it: clients, connections in each event loop, and scripts called by their names."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.connection import AbstractConnection

from aiorq2.backends import scripts, wire
from aiorq2.backends.base import Observed
from aiorq2.backends.clients import Clients
from aiorq2.backends.exchange import Exchange
from aiorq2.backends.home import Home
from aiorq2.backends.keys import Keys
from aiorq2.backends.line import Command
from aiorq2.errors import BackendRefused
from aiorq2.timing import Clock, to_iso

SHORTEST_S = 1.0
"""What a silent Redis is given at the least, however short the leases are."""
SHORTEST_CONNECT_S = 2.0
"""The same for a connection that is being made: that takes several round trips."""


class Server:
    """A Redis server, reached from any number of event loops and threads.

    Args:
        connection: makes an unconnected connection; see ``connect``.
        location: what errors call the server; without a password.
        key_prefix: what every key begins with.
        retry_for: seconds for which a call is repeated while Redis is away; None for ever.
        timeout: seconds after which a silent Redis counts as away.
        connect_timeout: seconds in which a connection is to be made; by default the same.
        url: what another process can connect with, where there is such a thing; it may hold a password and is not shown.
        clock: what tells the time in place of Redis and of this machine.
    """

    has_replicas = True
    """Whether an enqueue can wait for some."""

    def __init__(
        self,
        connection: Callable[[], AbstractConnection],
        *,
        location: str,
        key_prefix: str = "rq",
        retry_for: float | None = 5.0,
        timeout: float = 5.0,
        connect_timeout: float | None = None,
        url: str | None = None,
        clients: Clients | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.connection = connection
        self.clock = clock
        self.url = url
        self._clients = clients
        self.location = location
        self.key_prefix = key_prefix
        self.exchange = Exchange(location, retry_for, given_clock=clock is not None)
        self.timeout = timeout
        self.connect_timeout = timeout if connect_timeout is None else connect_timeout
        self.keys = Keys(key_prefix)
        self.claiming: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
        """By worker, the beginnings of the executions of claims that are under way; heartbeats read it from their threads."""
        self._homes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Home] = (
            weakref.WeakKeyDictionary()
        )

    def client(self) -> AsyncRedis:
        """Return an asynchronous client for user code, on connections of its own; the same one in each loop."""
        home = self.home
        if home.client is None:
            home.client = self.new_client()
        return home.client

    def new_client(self) -> AsyncRedis:
        """Return another asynchronous client, which is the caller's to close."""
        if self._clients is None:
            raise BackendRefused(f"{self.location}: this backend has no client to give")
        return self._clients.asynchronous()

    def sync_client(self) -> Redis:
        """Return a synchronous client for user code in threads; the same one for all that the running loop starts."""
        home = self.home
        if home.sync_client is None:
            home.sync_client = self.new_sync_client()
        return home.sync_client

    def new_sync_client(self) -> Redis:
        """Return a synchronous client that belongs to the caller; no loop is needed.

        Raises:
            BackendRefused: this backend has none to give.
        """
        if self._clients is None:
            raise BackendRefused(f"{self.location}: this backend has no client to give")
        made: Redis = self._clients.synchronous()
        return made

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.location} {self.key_prefix}>"

    @property
    def home(self) -> Home:
        """The connections of the running loop."""
        loop = asyncio.get_running_loop()
        home = self._homes.get(loop)
        if home is None:
            home = self._homes[loop] = Home(
                self.connection,
                (self.timeout, self.connect_timeout),
                self.exchange,
                self.keys,
                self._command,
                self.observe,
                self.release,
            )
        return home

    def patient(self, lease: float) -> Self:
        """Return a backend on the same server that waits for Redis for ever: a worker's.

        Args:
            lease: seconds within which each of its connections notices that its peer has gone silent; half of them, for one
                that is being made.
        """
        return type(self)(
            self.connection,
            location=self.location,
            key_prefix=self.key_prefix,
            retry_for=None,
            timeout=self._bearable_silence(lease),
            connect_timeout=min(self.connect_timeout, max(lease / 2, SHORTEST_CONNECT_S)),
            url=self.url,
            clients=self._clients,
            clock=self.clock,
        )

    def _bearable_silence(self, lease: float) -> float:
        return min(self.timeout, max(lease / 3, SHORTEST_S))

    def time(self) -> float:
        """Return the present, in seconds since the epoch, by the injected clock, else by this machine's.

        Scripts ask Redis; this is for what people read.
        """
        return time.time() if self.clock is None else self.clock.time()

    async def close(self) -> None:
        """Close the connections of the running loop."""
        home = self._homes.pop(asyncio.get_running_loop(), None)
        if home is not None:
            await home.close()

    # -- calls -----------------------------------------------------------------------------------------------------------

    async def run(self, *commands: Command) -> list[Any]:
        """Run plain commands in one pipeline; the first error is raised. For the read side."""
        replies = await self.home.calls.call_many(commands)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return replies

    async def call(
        self, script: str, rest: Sequence[scripts.Arg] = (), **named: scripts.Arg
    ) -> Any:
        """Run one script by name. Redis: 1 call, in a pipeline that is shared with concurrent ones."""
        return await self.home.calls.call(self._command(script, named, rest))

    def _command(
        self, name: str, named: Mapping[str, scripts.Arg], rest: Sequence[scripts.Arg] = ()
    ) -> Command:
        script = scripts.load(name, given_clock=self.clock is not None)
        command = ["EVALSHA", script.sha, 1, self.key_prefix, *script.arguments(named, rest)]
        return [*command, repr(self.time())] if script.takes_now else command

    # -- what connections ask for on their own ---------------------------------------------------------------------------

    async def observe(self, job_id: str, inbox: str = "") -> Observed:
        """Read a job, and leave word where its end is to be told. Redis: 1 call."""
        reply = await self.call("observe", id=job_id, inbox=inbox)
        if reply[0] != b"OK":
            return Observed(None)
        entries = reply[2]
        entry = (entries[0][0].decode(), wire.fields_of(entries[0][1])) if entries else None
        return Observed(wire.record_of(job_id, reply[1]), entry)

    async def release(self) -> None:
        """Free the dependents that an earlier script has left, a slice at a time. Redis: 1 call per 100 of them."""
        while (await self.call("release", now_iso=to_iso(self.time())))[1]:
            pass
