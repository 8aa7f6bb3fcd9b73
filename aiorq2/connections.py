"""The backends of an ``RQ``, by name: made when they are first asked for, and again when they are configured anew."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from aiorq2.backends import connect, url_in_environment
from aiorq2.backends.addresses import address_of
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.shards import Shards
from aiorq2.backends.shared import SharedClient
from aiorq2.errors import InvalidOption, NotConfigured
from aiorq2.settings import Settings

DEFAULT = "default"
"""The name of the connection that ``redis_url`` means."""


class Connections:
    """Backends by name. Nothing is sent by making one.

    A backend, or a client, that the user has made himself is his to close.
    """

    def __init__(self) -> None:
        self._made: dict[str, _Made] = {}
        self._left: list[_Made] = []
        self._users: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int] = (
            weakref.WeakKeyDictionary()
        )

    def home(self, settings: Settings, name: str | None = None) -> RedisBackend | Shards:
        """Return the backend of this name, or its shards.

        Raises:
            NotConfigured: nobody has said where Redis is.
            InvalidOption: there is no connection of this name, or it cannot be meant.
        """
        return self._get(settings, name or DEFAULT).home

    def backend(self, settings: Settings, name: str | None = None) -> RedisBackend:
        """Return the backend of this name.

        Raises:
            InvalidOption: there are several shards; and as ``home``.
        """
        home = self.home(settings, name)
        if isinstance(home, Shards):
            raise InvalidOption(
                f"connection {name or DEFAULT!r}: its jobs live in {len(home)} shards, not in one place; that of a queue is"
                " rq.get_queue(name).backend, all of them are rq.get_shards()"
            )
        return home

    def client(self, settings: Settings, name: str | None = None) -> SharedClient:
        """Return the client of this name, for user code.

        Raises:
            InvalidOption: as ``backend``.
        """
        self.backend(settings, name)
        return self._get(settings, name or DEFAULT).client

    async def open(self, settings: Settings) -> None:
        """See to it that every connection works; ``close`` it as often as this was called."""
        try:
            names = dict.fromkeys([DEFAULT, *settings.connections])
            for home in [self.home(settings, name) for name in names]:  # before any is asked
                parts = home if isinstance(home, Shards) else [home]
                await asyncio.gather(*[one.run(["PING"]) for one in parts])
        except BaseException:
            if not self._users.get(asyncio.get_running_loop()):
                await self._close()
            raise
        loop = asyncio.get_running_loop()
        self._users[loop] = self._users.get(loop, 0) + 1

    async def close(self) -> None:
        """Close the connections of the running loop, unless somebody else has opened them, too. They open again when used."""
        loop = asyncio.get_running_loop()
        self._users[loop] = max(self._users.get(loop, 0) - 1, 0)
        if not self._users[loop]:
            await self._close()

    async def _close(self) -> None:
        for made in (*self._left, *self._made.values()):
            if made.is_ours:
                await made.home.close()

    def _get(self, settings: Settings, name: str) -> _Made:
        source = _source(settings, name)
        made = self._made.get(name)
        if made is not None and made.source == source:
            return made
        if made is not None:
            self._left.append(made)
        self._made[name] = _make(source)
        return self._made[name]


@dataclass(frozen=True)
class _Source:
    """Where a connection leads: an address, None for that in the environment, what its keys begin with, and how many shards there
    are."""

    address: Any
    key_prefix: str | None
    shards: int | None


@dataclass(frozen=True)
class _Made:
    source: _Source
    home: RedisBackend | Shards
    is_ours: bool

    @cached_property
    def client(self) -> SharedClient:
        assert isinstance(self.home, RedisBackend)
        return SharedClient(self.home)


def _make(source: _Source) -> _Made:
    if isinstance(source.address, RedisBackend | Shards):
        _refuse_other(source, source.address)
        return _Made(source, source.address, is_ours=False)
    made: RedisBackend | Shards
    if source.shards is None:
        made = connect(source.address, key_prefix=source.key_prefix)
    else:
        made = connect(source.address, key_prefix=source.key_prefix, shards=source.shards)
    return _Made(source, made, is_ours=True)


def _refuse_other(source: _Source, given: RedisBackend | Shards) -> None:
    """Refuse settings that are not those of what ``connect`` has returned."""
    if source.key_prefix not in (None, given.key_prefix):
        raise InvalidOption(
            f"key_prefix={source.key_prefix!r}: the backend that was given has {given.key_prefix!r}"
        )
    count = len(given) if isinstance(given, Shards) else 1
    if source.shards not in (None, count):
        raise InvalidOption(
            f"shards={source.shards}: a backend with {count} was given; give its URL in place of it"
        )


def _source(settings: Settings, name: str) -> _Source:
    given = settings.connections.get(name)
    if name == DEFAULT:
        given = settings.redis_url if settings.redis_url is not None else given
    elif given is None:
        known = ", ".join(repr(one) for one in sorted({DEFAULT, *settings.connections}))
        raise InvalidOption(f"there is no connection {name!r}; there are {known}")
    address = address_of(given, settings.connection_class)
    if address is None and url_in_environment() is None:
        raise NotConfigured(settings.not_configured)
    return _Source(address, settings.key_prefix, settings.shards if name == DEFAULT else None)
