"""What stands in the URLs of Redis: one host, as redis-py reads it, or several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import parse_url

from aiorq2.backends.routes import Address
from aiorq2.errors import InvalidOption

PLAIN = ("redis://", "rediss://", "unix://")
SENTINEL = ("redis+sentinel://", "rediss+sentinel://")
CLUSTER = ("redis+cluster://", "rediss+cluster://")
SENTINEL_PORT, CLUSTER_PORT = 26379, 6379


@dataclass(frozen=True)
class SeveralHosts:
    """A URL with several hosts, taken apart."""

    scheme: str
    credentials: str
    hosts: tuple[Address, ...]
    path: tuple[str, ...]
    query: str
    own: dict[str, str | None]
    """The options that are ours."""

    @classmethod
    def read(cls, url: str, *, default_port: int) -> SeveralHosts:
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
        if db and not db.isdecimal():
            raise InvalidOption(f"{self.scheme}://…/{db[:20]}: the database is a number")
        return pool_of(self._plain(db))

    def stated(self, db: str = "") -> dict[str, Any]:
        """Return the options that the URL states, for clients."""
        left_out = ("host", "port", "connection_class")
        found = parse_url(self._plain(db))
        return {name: value for name, value in found.items() if name not in left_out}

    def _plain(self, db: str) -> str:
        plain = self.scheme.partition("+")[0]
        credentials = f"{self.credentials}@" if self.credentials else ""
        query = f"?{self.query}" if self.query else ""
        return f"{plain}://{credentials}localhost:1/{db}{query}"


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


def _check_address(url: str) -> None:
    """Refuse a port and a database that redis-py would replace by the usual ones without a word.

    Raises:
        ValueError: one of them cannot be meant.
    """
    parts = urlsplit(url)
    database = parts.path.strip("/")
    if parts.port == 0 or (parts.scheme != "unix" and database and not database.isdecimal()):
        raise ValueError


def pool_of(source: Any) -> ConnectionPool:
    """Return redis-py's reading of a URL, or the pool of a client; only what it says is used.

    Raises:
        InvalidOption: it cannot be meant; the message does not quote the URL, which may hold a password.
    """
    if isinstance(source, str):
        if not source.startswith(PLAIN):
            schemes = ", ".join([*PLAIN, *SENTINEL, *CLUSTER, "memory://"])
            raise InvalidOption(
                f"a backend URL begins with one of {schemes}, not {urlsplit(source).scheme!r}"
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
