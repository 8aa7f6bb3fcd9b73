"""redis-py clients for user code: callbacks get one, as RQ's contract says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis as redis_py
import redis.asyncio as redis_asyncio

_SYNC_CONNECTIONS: dict[str, Any] = {
    "Connection": redis_py.Connection,
    "SSLConnection": redis_py.SSLConnection,
    "UnixDomainSocketConnection": redis_py.UnixDomainSocketConnection,
}


@dataclass(frozen=True)
class Clients:
    """How clients to a server are made: ``Redis`` objects of redis-py, and ``RedisCluster`` objects, which can do the same."""

    asynchronous: Callable[[], Any]
    synchronous: Callable[[], Any]


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


async def close_client(client: redis_asyncio.Redis | redis_asyncio.RedisCluster) -> None:
    """Close a client and its connections."""
    if isinstance(client, redis_asyncio.RedisCluster):
        await client.aclose()
    else:
        await client.aclose(close_connection_pool=True)


def close_sync_client(client: redis_py.Redis | redis_py.RedisCluster) -> None:
    """Close a client and its connections."""
    if isinstance(client, redis_py.RedisCluster):
        client.close()
    else:
        client.connection_pool.disconnect()
