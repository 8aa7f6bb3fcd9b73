"""How a Redis is reached: what ``connect`` makes a backend of, for one server and for a master under sentinels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis import Sentinel
from redis.asyncio import ConnectionPool
from redis.asyncio import Sentinel as AsyncSentinel
from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aiorq2.backends.clients import Clients, clients_of
from aiorq2.backends.routes import Address, RoutedConnection, RoutedSSLConnection
from aiorq2.backends.sentinel import SentinelRoute, places
from aiorq2.errors import InvalidOption

PLAIN = ("redis://", "rediss://", "unix://")
SENTINEL = ("redis+sentinel://", "rediss+sentinel://")
SENTINEL_PORT = 26379

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


def reach(source: Any, timeout: float) -> Reach:
    """Return the way to what a URL or a ``redis.asyncio.Redis`` names.

    Raises:
        InvalidOption: it cannot be meant.
    """
    if isinstance(source, str) and source.startswith(SENTINEL):
        return _reach_by_sentinels(source, timeout)
    pool = _pool_of(source)
    options = _options(pool, timeout)
    return Reach(
        _factory(pool.connection_class, options), _location(options), clients_of(pool, options)
    )


def _reach_by_sentinels(url: str, timeout: float) -> Reach:
    found = _SeveralHosts.read(url, default_port=SENTINEL_PORT)
    name, *db = found.path
    if not name or len(db) > 1:
        raise InvalidOption(
            f"a Sentinel URL ends with the master's name: {found.scheme}://host1,host2,host3/mymaster"
        )
    pool = found.pool(db[0] if db else "")
    options = _options(pool, timeout)
    ours = {"username": found.own["sentinel_username"], "password": found.own["sentinel_password"]}
    asking = {**options, **ours, "db": 0}
    plain: Any = pool.connection_class
    routed = RoutedSSLConnection if issubclass(plain, SSLConnection) else RoutedConnection
    route = SentinelRoute(
        name,
        found.hosts,
        lambda address: plain(**{**asking, "host": address[0], "port": address[1]}),
        timeout,
    )
    location = f"{name}/{options.get('db', 0)} of the sentinels {places(found.hosts)}"
    return Reach(
        _factory(routed, {**options, "route": route}),
        location,
        _clients_by_sentinels(name, found.hosts, options, ours),
    )


def _clients_by_sentinels(
    name: str, hosts: tuple[Address, ...], options: dict[str, Any], ours: dict[str, Any]
) -> Clients:
    left_out = ("host", "port", "retry", "protocol")
    plain = {one: value for one, value in options.items() if one not in left_out}
    ssl = {one: value for one, value in plain.items() if one.startswith("ssl")}
    asking = {**ssl, **{one: value for one, value in ours.items() if value}}
    return Clients(
        lambda: AsyncSentinel(hosts, sentinel_kwargs=asking, **plain).master_for(name),
        lambda: Sentinel(hosts, sentinel_kwargs=asking, **plain).master_for(name),
    )


@dataclass(frozen=True)
class _SeveralHosts:
    """A URL with several hosts, taken apart."""

    scheme: str
    credentials: str
    hosts: tuple[Address, ...]
    path: tuple[str, ...]
    query: str
    own: dict[str, str | None]
    """The options that are ours."""

    @classmethod
    def read(cls, url: str, *, default_port: int) -> _SeveralHosts:
        """Take a URL apart; no message quotes it, since it may hold a password."""
        scheme, _, rest = url.partition("://")
        rest, _, query = rest.partition("?")
        netloc, *path = rest.split("/")
        credentials, _, hosts = netloc.rpartition("@")
        own: dict[str, str | None] = {"sentinel_username": None, "sentinel_password": None}
        others = []
        for option, value in parse_qsl(query, keep_blank_values=True):
            if option in own:
                own[option] = value
            else:
                others.append((option, value))
        return cls(
            scheme,
            credentials,
            tuple(_address(one, default_port, scheme) for one in hosts.split(",")),
            tuple(unquote(one) for one in path) or ("",),
            urlencode(others),
            own,
        )

    def pool(self, db: str = "") -> ConnectionPool:
        """Return what redis-py makes of the credentials and the options."""
        plain = self.scheme.partition("+")[0]
        credentials = f"{self.credentials}@" if self.credentials else ""
        query = f"?{self.query}" if self.query else ""
        return _pool_of(f"{plain}://{credentials}localhost:1/{db}{query}")


def _address(text: str, default_port: int, scheme: str) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0:
        raise InvalidOption(
            f"the hosts of a {scheme}:// URL are host:port, separated by commas; one of them cannot be read"
        )
    return host, port or default_port


def _pool_of(source: Any) -> ConnectionPool:
    if isinstance(source, str):
        if not source.startswith(PLAIN):
            schemes = ", ".join([*PLAIN, *SENTINEL, "memory://"])
            raise InvalidOption(
                f"a backend URL begins with one of {schemes}, not {urlsplit(source).scheme!r}"
            )
        try:
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
