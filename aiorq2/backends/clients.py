"""redis-py clients for user code: callbacks get one, as RQ's contract says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis as redis_py
import redis.asyncio as redis_asyncio
from redis.cluster import ClusterNode

from aiorq2.backends.routes import Address, Route, RoutedConnection, RoutedSSLConnection

_SYNC_CONNECTIONS: dict[str, Any] = {
    "Connection": redis_py.Connection,
    "SSLConnection": redis_py.SSLConnection,
    "UnixDomainSocketConnection": redis_py.UnixDomainSocketConnection,
}


@dataclass(frozen=True)
class Clients:
    """How clients to a server are made."""

    asynchronous: Callable[[], redis_asyncio.Redis]
    synchronous: Callable[[], Any]
    """Makes a ``redis.Redis``, or a ``redis.RedisCluster``, which can do the same."""


def clients_of(pool: redis_asyncio.ConnectionPool, kwargs: dict[str, Any]) -> Clients:
    """Return the clients to the address of ``pool``, with its credentials."""
    plain = {name: value for name, value in kwargs.items() if name not in ("retry", "protocol")}

    def asynchronous() -> redis_asyncio.Redis:
        made = redis_asyncio.ConnectionPool(connection_class=pool.connection_class, **plain)
        return redis_asyncio.Redis(connection_pool=made)

    def synchronous() -> redis_py.Redis:
        kind = _SYNC_CONNECTIONS[pool.connection_class.__name__]
        return redis_py.Redis(
            connection_pool=redis_py.ConnectionPool(connection_class=kind, **plain)
        )

    return Clients(asynchronous, synchronous)


def clients_by_sentinels(
    name: str,
    sentinels: Sequence[Address],
    routed: type[RoutedConnection],
    route: Route,
    options: dict[str, Any],
    for_sentinels: dict[str, Any],
) -> Clients:
    """Return clients to the master of a name; the asynchronous ones follow our own route, the others ask by themselves."""
    plain = {**options, "ssl": issubclass(routed, RoutedSSLConnection)}
    encryption = {one: value for one, value in plain.items() if one.startswith("ssl")}
    asking = {**encryption, **{one: value for one, value in for_sentinels.items() if value}}

    return Clients(
        lambda: _routed_client(routed, route, options),
        lambda: redis_py.Sentinel(sentinels, sentinel_kwargs=asking).master_for(name, **plain),
    )


def clients_in_cluster(
    nodes: Sequence[Address],
    routed: type[RoutedConnection],
    route: Route,
    options: dict[str, Any],
) -> Clients:
    """Return clients to a cluster: the asynchronous ones reach the node that serves the key prefix (for other keys, make a
    ``RedisCluster`` of your own), the others all of them."""
    plain = {name: value for name, value in options.items() if name != "db"}
    ssl = issubclass(routed, RoutedSSLConnection)
    return Clients(
        lambda: _routed_client(routed, route, plain),
        lambda: redis_py.RedisCluster(
            startup_nodes=[ClusterNode(*one) for one in nodes], **plain, ssl=ssl
        ),
    )


def _routed_client(
    routed: type[RoutedConnection], route: Route, options: dict[str, Any]
) -> redis_asyncio.Redis:
    pool = redis_asyncio.ConnectionPool(connection_class=routed, route=route, **options)
    return redis_asyncio.Redis(connection_pool=pool)


def close_sync_client(client: redis_py.Redis | redis_py.RedisCluster) -> None:
    """Close a client and its connections."""
    if isinstance(client, redis_py.RedisCluster):
        client.close()
    else:
        client.connection_pool.disconnect()
