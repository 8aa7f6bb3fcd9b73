"""Where a Redis is, in the ways that configurations say it: a URL, its parts, and the class of a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from aiorq2.errors import InvalidOption

DEFAULT_URL = "redis://localhost:6379/0"

_CLIENTS: Mapping[tuple[str, str], Literal["redis", "memory"]] = {
    ("redis", "Redis"): "redis",
    ("redis", "StrictRedis"): "redis",
    ("fakeredis", "FakeRedis"): "memory",
    ("fakeredis", "FakeStrictRedis"): "memory",
    ("fakeredis", "FakeAsyncRedis"): "memory",
}


def address_of(given: Any, connection_class: str | type) -> Any:
    """Return what ``connect`` takes: a URL, or ``given`` itself if it is neither a URL nor the parts of one.

    A fakeredis class makes it ``memory://``, by the name of host, port and database: the same URL is the same data, as it is
    for fakeredis.

    Raises:
        InvalidOption: a class, or a part of an address, that is not known.
    """
    kind = _kind(connection_class)
    url = url_of(given) if isinstance(given, Mapping) else given
    if kind == "redis" or not isinstance(url, str | None):
        return url
    return url if url and url.startswith("memory://") else f"memory://{_place(url or DEFAULT_URL)}"


def url_of(parts: Mapping[str, Any]) -> str:
    """Return the URL that ``host``, ``port``, ``db``, ``username``, ``password``, ``ssl``, or ``url``, mean; what else there is
    becomes an option of it. None is "not given".

    Raises:
        InvalidOption: both a URL and its parts, or a name that is no text.
    """
    told = {name: value for name, value in parts.items() if value is not None}
    if "url" in told:
        if len(told) > 1:
            raise InvalidOption(
                f"connection: give a url or {', '.join(sorted(told.keys() - {'url'}))}, not both"
            )
        return str(told["url"])
    host, port = told.pop("host", "localhost"), told.pop("port", 6379)
    database = told.pop("db", 0)
    scheme = "rediss" if told.pop("ssl", False) else "redis"
    user = quote(str(told.pop("username", "")), safe="")
    password = told.pop("password", None)
    secret = "" if password is None else f":{quote(str(password), safe='')}"
    login = f"{user}{secret}@" if user or secret else ""
    options = f"?{urlencode(told)}" if told else ""
    shown = f"[{host}]" if ":" in str(host) else host
    return f"{scheme}://{login}{shown}:{port}/{database}{options}"


def _kind(connection_class: str | type) -> Literal["redis", "memory"]:
    path = (
        connection_class
        if isinstance(connection_class, str)
        else f"{connection_class.__module__}.{connection_class.__qualname__}"
    )
    package, _, rest = path.partition(".")
    kind = _CLIENTS.get((package, rest.rpartition(".")[2]))
    if kind is None:
        raise InvalidOption(
            f"connection_class={path!r}: 'redis.asyncio.Redis', 'redis.Redis' and 'redis.StrictRedis' are understood, and"
            " 'fakeredis.FakeStrictRedis' and the like for an in-memory Redis; for anything else, give the URL"
        )
    return kind


def _place(url: str) -> str:
    """Return host, port and database of a URL, without the password."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"
