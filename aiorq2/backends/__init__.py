"""Where jobs live: ``connect`` returns the backend for a URL or for a redis-py client."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aiorq2.backends.addresses import DEFAULT_URL
from aiorq2.backends.clients import clients_of
from aiorq2.backends.keys import PREFIX_PATTERN
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.shared import SharedClient
from aiorq2.errors import InvalidOption
from aiorq2.timing import Clock

__all__ = ["connect", "url_in_environment"]

_SCHEMES = ("redis://", "rediss://", "unix://", "memory://")
_OURS: dict[str, Any] = {
    "decode_responses": False,
    "protocol": 2,
    "socket_timeout": None,  # time-outs are ours: on Python 3.11 redis-py's own lose cancellations
    "health_check_interval": 0,
}


def connect(
    source: Any = None,
    *,
    key_prefix: str | None = None,
    retry_for: float | None = 5.0,
    timeout: float = 5.0,
    clock: Clock | None = None,
) -> RedisBackend:
    """Return a backend; nothing is sent until it is used.

    Args:
        source: ``redis://…``, ``rediss://…``, ``unix://…``, ``memory://name`` (inside this process, shared by name), or a
            ``redis.asyncio.Redis``, of which only the address and the credentials are used. ``rq.connection`` stands for
            ``rq.backend``, as it is. Default: ``AIORQ2_URL``, ``RQ_REDIS_URL`` or ``REDIS_URL`` in the environment, else
            ``redis://localhost:6379/0``.
        key_prefix: what every key begins with; default ``RQ_KEY_PREFIX`` in the environment, else ``rq``.
        retry_for: seconds for which a call is repeated while Redis is away; None for ever.
        timeout: seconds after which a silent Redis counts as away.
        clock: tells the time in place of Redis' clock and of this machine's, for tests: see ``timing.ManualClock``.

    Raises:
        InvalidOption: a URL or prefix that cannot be meant.
    """
    prefix = key_prefix if key_prefix is not None else os.environ.get("RQ_KEY_PREFIX", "rq")
    if not PREFIX_PATTERN.fullmatch(prefix):
        raise InvalidOption(
            f"key_prefix {prefix[:60]!r}: letters, digits and _ . : {{ }} - are allowed"
        )
    if isinstance(source, SharedClient):
        if key_prefix not in (None, source.backend.key_prefix):
            raise InvalidOption(
                f"key_prefix {key_prefix!r}: this connection's backend has {source.backend.key_prefix!r}"
            )
        return source.backend
    if source is None:
        source = url_in_environment() or DEFAULT_URL
    if isinstance(source, str) and source.startswith("memory://"):
        from aiorq2.backends.memory import memory_backend

        return memory_backend(source, key_prefix=prefix, clock=clock)
    pool = _pool_of(source)
    kwargs = {**pool.connection_kwargs, **_OURS, "retry": Retry(NoBackoff(), 0)}
    kwargs.setdefault("socket_connect_timeout", timeout)

    def connection() -> AbstractConnection:
        made: AbstractConnection = pool.connection_class(**kwargs)
        return made

    try:
        connection()
    except TypeError as error:
        raise InvalidOption(
            f"the Redis URL has an option that redis-py does not take: {error}"
        ) from None
    return RedisBackend(
        connection,
        location=_location(kwargs),
        key_prefix=prefix,
        retry_for=retry_for,
        timeout=timeout,
        url=source if isinstance(source, str) else None,
        clients=clients_of(pool, kwargs),
        clock=clock,
    )


def url_in_environment() -> str | None:
    """Return the URL that the environment names, if it does."""
    return next((os.environ[name] for name in _VARIABLES if os.environ.get(name)), None)


_VARIABLES = ("AIORQ2_URL", "RQ_REDIS_URL", "REDIS_URL")


def _check_address(url: str) -> None:
    """Refuse a port and a database that redis-py would replace by the usual ones without a word.

    Raises:
        ValueError: one of them cannot be meant.
    """
    parts = urlsplit(url)
    database = parts.path.strip("/")
    if parts.port == 0 or (parts.scheme != "unix" and database and not database.isdecimal()):
        raise ValueError


def _pool_of(source: Any) -> ConnectionPool:
    if isinstance(source, str):
        if not source.startswith(_SCHEMES):
            raise InvalidOption(
                f"a backend URL begins with one of {', '.join(_SCHEMES)}, not {urlsplit(source).scheme!r}"
            )
        try:
            _check_address(source)
            pool: ConnectionPool = ConnectionPool.from_url(source)
        except ValueError:  # whose text may quote the password
            raise InvalidOption(
                "the Redis URL cannot be read: check its host, port and database"
            ) from None
        if "decode_responses" in pool.connection_kwargs:
            raise InvalidOption(
                "decode_responses in the Redis URL: leave it out, aiorq2 decodes by itself"
            )
        return pool
    found = getattr(source, "connection_pool", None)
    if not isinstance(found, ConnectionPool):
        raise InvalidOption(
            f"connect() takes a URL or a redis.asyncio.Redis, not {type(source).__name__}"
            " (a synchronous client? pass its URL instead)"
        )
    return found


def _location(kwargs: dict[str, Any]) -> str:
    path = kwargs.get("path")
    place = str(path) if path else f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}"
    return f"{place}/{kwargs.get('db', 0)}"
