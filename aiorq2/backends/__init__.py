"""Where jobs live: ``connect`` returns the backend for a URL or for a redis-py client."""

from __future__ import annotations

import os
from typing import Any, overload

from aiorq2.backends.addresses import DEFAULT_URL
from aiorq2.backends.keys import PREFIX_PATTERN
from aiorq2.backends.reach import reach
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.shards import Shards, checked_count, prefix_of
from aiorq2.backends.shared import SharedClient
from aiorq2.backends.urls import CLUSTER
from aiorq2.errors import InvalidOption
from aiorq2.timing import Clock

__all__ = ["connect", "url_in_environment"]


@overload
def connect(
    source: Any = None,
    *,
    key_prefix: str | None = None,
    retry_for: float | None = 5.0,
    timeout: float = 5.0,
    clock: Clock | None = None,
    shards: None = None,
) -> RedisBackend: ...
@overload
def connect(
    source: Any = None,
    *,
    key_prefix: str | None = None,
    retry_for: float | None = 5.0,
    timeout: float = 5.0,
    clock: Clock | None = None,
    shards: int,
) -> Shards: ...
def connect(
    source: Any = None,
    *,
    key_prefix: str | None = None,
    retry_for: float | None = 5.0,
    timeout: float = 5.0,
    clock: Clock | None = None,
    shards: int | None = None,
) -> RedisBackend | Shards:
    """Return a backend; nothing is sent until it is used.

    Args:
        source: ``redis://…``, ``rediss://…``, ``unix://…``, ``redis+sentinel://host1,host2,host3/mymaster``,
            ``redis+cluster://host1,host2``, ``memory://name`` (inside this process, shared by name), or a ``redis.asyncio.Redis``,
            of which only the address and the credentials are used. ``rq.connection`` stands for ``rq.backend``, as it is.
            Default: ``AIORQ2_URL``, ``RQ_REDIS_URL`` or ``REDIS_URL`` in the environment, else ``redis://localhost:6379/0``.
        key_prefix: what every key begins with; default ``AIORQ2_KEY_PREFIX`` or ``RQ_KEY_PREFIX`` in the environment, else
            ``rq``, and ``{rq}`` in a cluster.
        retry_for: seconds for which a call is repeated while Redis is away; None for ever.
        timeout: seconds after which a silent Redis counts as away.
        shards: return so many backends, as ``Shards``, each with a key prefix of its own (``{rq0}``, ``{rq1}`` …); ``source`` may
            be a list of URLs then, over which they are spread.
        clock: tells the time in place of Redis' clock and of this machine's, for tests: see ``timing.ManualClock``.

    Raises:
        InvalidOption: a URL or prefix that cannot be meant.
    """
    if shards is not None:
        more = {"retry_for": retry_for, "timeout": timeout, "clock": clock}
        return _shards(source, checked_count(shards), key_prefix, **more)
    if source is None:
        source = url_in_environment() or DEFAULT_URL
    usual = "{rq}" if isinstance(source, str) and source.startswith(CLUSTER) else "rq"
    prefix = key_prefix if key_prefix is not None else _first_set(_PREFIXES) or usual
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
    if isinstance(source, str) and source.startswith("memory://"):
        from aiorq2.backends.memory import memory_backend

        return memory_backend(source, key_prefix=prefix, clock=clock)
    found = reach(source, timeout, prefix)
    return RedisBackend(
        found.connection,
        location=found.location,
        key_prefix=prefix,
        retry_for=retry_for,
        timeout=timeout,
        url=source if isinstance(source, str) else None,
        clients=found.clients,
        clock=clock,
    )


def url_in_environment() -> str | None:
    """Return the URL that the environment names, if it does."""
    return _first_set(_URLS)


_URLS = ("AIORQ2_URL", "RQ_REDIS_URL", "REDIS_URL")
_PREFIXES = ("AIORQ2_KEY_PREFIX", "RQ_KEY_PREFIX")
"""Those that the commands read, in their order: a worker and a program that share an environment have to meet."""


def _first_set(variables: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in variables if os.environ.get(name)), None)


def _shards(source: Any, count: int, key_prefix: str | None, **options: Any) -> Shards:
    sources = list(source) if isinstance(source, list | tuple) else [source]
    if not sources or len(sources) > count:
        raise InvalidOption(f"shards={count}: 1 to {count} URLs are needed, not {len(sources)}")
    prefix = key_prefix if key_prefix is not None else _first_set(_PREFIXES) or "rq"
    return Shards(
        [
            connect(sources[number % len(sources)], key_prefix=prefix_of(prefix, number), **options)
            for number in range(count)
        ],
        prefix,
    )
