"""The backend that RQ's ``connection`` stands for: made once for each URL or client, and kept."""

from __future__ import annotations

import os
from functools import lru_cache

from redis.asyncio import Redis

from aiorq2.backends import connect
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.shards import Shards
from aiorq2.backends.shared import SharedClient
from aiorq2.errors import InvalidOption

Source = RedisBackend | Redis | str
"""What says where jobs live: a backend, a client of redis-py of which the address is used, or a URL."""

_SETTINGS = ("AIORQ2_URL", "RQ_REDIS_URL", "REDIS_URL", "AIORQ2_KEY_PREFIX", "RQ_KEY_PREFIX")


def backend_of(backend: Source | None = None, connection: Source | None = None) -> RedisBackend:
    """Return the backend that is meant: one that ``connect`` made, or, given as either argument, what ``connect`` takes. The same
    URL, or client, is the same backend and shares its connections. Default: ``connect()``.

    Raises:
        InvalidOption: both are given, or something that cannot be meant.
    """
    if backend is not None and connection is not None:
        raise InvalidOption("give backend or connection, not both")
    given = backend if backend is not None else connection
    if isinstance(given, RedisBackend):
        return given
    if isinstance(given, Shards):
        raise InvalidOption(
            "several shards are given where one is meant: shards.of(queue) is the one in which a queue lives"
        )
    if isinstance(given, SharedClient):
        return given.backend
    settings = tuple(os.environ.get(name) for name in _SETTINGS)
    if given is None or isinstance(given, str):
        return _of_url(given, settings)
    pool = getattr(given, "connection_pool", None)
    # As long as the pool, and no longer: a mapping from pools to backends would keep both for ever.
    kept = getattr(pool, "__dict__", {}).setdefault("_aiorq2_backends", {})
    if settings not in kept:
        kept[settings] = connect(given)
    found: RedisBackend = kept[settings]
    return found


@lru_cache(maxsize=64)
def _of_url(url: str | None, settings: tuple[str | None, ...]) -> RedisBackend:
    return connect(url)
