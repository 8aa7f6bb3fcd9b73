"""How a Redis is reached, as ``connect`` needs it: one server, a master under sentinels, or a node of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aiorq2.backends.clients import (
    Clients,
    clients_by_sentinels,
    clients_in_cluster,
    clients_of,
)
from aiorq2.backends.cluster import ClusterRoute
from aiorq2.backends.keys import has_hash_tag
from aiorq2.backends.routes import RoutedConnection, RoutedSSLConnection, places
from aiorq2.backends.sentinel import SentinelRoute
from aiorq2.backends.urls import (
    CLUSTER,
    CLUSTER_PORT,
    SENTINEL,
    SENTINEL_PORT,
    SeveralHosts,
    pool_of,
)
from aiorq2.errors import InvalidOption

_OURS: dict[str, Any] = {
    "decode_responses": False,
    "protocol": 2,
    "socket_timeout": None,  # time-outs are ours: on Python 3.11 redis-py's own lose cancellations
    "health_check_interval": 0,
}


@dataclass(frozen=True)
class Reach:
    """A way to Redis.

    Args:
        connection: makes an unconnected connection.
        location: what errors call the server; without a password.
        clients: makes clients for user code.
    """

    connection: Callable[[], AbstractConnection]
    location: str
    clients: Clients


def reach(source: Any, timeout: float, key_prefix: str) -> Reach:
    """Return the way to the keys under a prefix, at what a URL or a ``redis.asyncio.Redis`` names.

    Raises:
        InvalidOption: it cannot be meant.
    """
    if isinstance(source, str) and source.startswith(SENTINEL):
        return _reach_by_sentinels(source, timeout)
    if isinstance(source, str) and source.startswith(CLUSTER):
        return _reach_in_cluster(source, timeout, key_prefix)
    pool = pool_of(source)
    options = _options(pool, timeout)
    return Reach(
        _factory(pool.connection_class, options), _location(options), clients_of(pool, options)
    )


def _reach_by_sentinels(url: str, timeout: float) -> Reach:
    found = SeveralHosts.read(url, default_port=SENTINEL_PORT)
    name, *db = found.path
    if not name or len(db) > 1:
        raise InvalidOption(
            f"a Sentinel URL ends with the master's name: {found.scheme}://host1,host2,host3/mymaster"
        )
    number = db[0] if db else ""
    pool = found.pool(number)
    options = _options(pool, timeout)
    ours = {"username": found.own["sentinel_username"], "password": found.own["sentinel_password"]}
    asking = {**options, **ours, "db": 0}
    plain: Any = pool.connection_class
    route = SentinelRoute(
        name,
        found.hosts,
        lambda address: plain(**{**asking, "host": address[0], "port": address[1]}),
        timeout,
    )
    routed = _routed(plain)
    location = f"{name}/{options.get('db', 0)} of the sentinels {places(found.hosts)}"
    return Reach(
        _factory(routed, {**options, "route": route}),
        location,
        clients_by_sentinels(name, found.hosts, routed, route, found.stated(number), ours),
    )


def _reach_in_cluster(url: str, timeout: float, key_prefix: str) -> Reach:
    found = SeveralHosts.read(url, default_port=CLUSTER_PORT)
    if not has_hash_tag(key_prefix):
        raise InvalidOption(
            f"key_prefix {key_prefix!r}: in a cluster all keys must lie in one slot; put it in braces,"
            f" '{{{key_prefix.strip('{}:') or 'rq'}}}' (rq finds them with the same RQ_KEY_PREFIX)"
        )
    if any(value for value in found.own.values()):
        raise InvalidOption("sentinel_username and sentinel_password belong to redis+sentinel://")
    pool = found.pool("/".join(found.path))
    if pool.connection_kwargs.get("db"):
        raise InvalidOption("a cluster has one database, 0: leave the number out of the URL")
    options = _options(pool, timeout)
    plain: Any = pool.connection_class
    route = ClusterRoute(
        key_prefix,
        found.hosts,
        lambda address: plain(**{**options, "host": address[0], "port": address[1]}),
        timeout,
    )
    routed = _routed(plain)
    return Reach(
        _factory(routed, {**options, "route": route}),
        f"the cluster {places(found.hosts)}",
        clients_in_cluster(found.hosts, routed, route, found.stated()),
    )


def _routed(plain: type[Any]) -> type[RoutedConnection]:
    return RoutedSSLConnection if issubclass(plain, SSLConnection) else RoutedConnection


def _options(pool: ConnectionPool, timeout: float) -> dict[str, Any]:
    options = {**pool.connection_kwargs, **_OURS, "retry": Retry(NoBackoff(), 0)}
    options.setdefault("socket_connect_timeout", timeout)
    return options


def _factory(kind: type[Any], options: dict[str, Any]) -> Callable[[], AbstractConnection]:
    def connection() -> AbstractConnection:
        made: AbstractConnection = kind(**options)
        return made

    try:
        connection()
    except TypeError as error:
        raise InvalidOption(
            f"the Redis URL has an option that redis-py does not take: {error}"
        ) from None
    return connection


def _location(options: dict[str, Any]) -> str:
    path = options.get("path")
    place = str(path) if path else f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return f"{place}/{options.get('db', 0)}"
