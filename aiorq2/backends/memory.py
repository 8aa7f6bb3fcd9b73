"""``memory://name``: the very same scripts, run by fakeredis inside this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiorq2.backends.clients import Clients
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import InvalidOption
from aiorq2.timing import Clock

if TYPE_CHECKING:
    from fakeredis import FakeServer


class MemoryBackend(RedisBackend):
    """The verbs on a fakeredis, which is never silent: while it is busy, so is this process."""

    has_replicas = False

    def _bearable_silence(self, lease: float) -> float:
        return self.timeout


def memory_backend(url: str, *, key_prefix: str, clock: Clock | None = None) -> MemoryBackend:
    """Return a backend whose data is shared by all backends of the same name in this process.

    Raises:
        InvalidOption: fakeredis is not installed.
    """
    try:
        import lupa  # type: ignore[import-untyped]  # noqa: F401
        from fakeredis import FakeAsyncRedis, FakeRedis
        from fakeredis.aioredis import FakeAsyncRedisConnection
    except ImportError:
        raise InvalidOption(
            "memory:// needs fakeredis with Lua: pip install 'aiorq2[memory]'"
        ) from None
    name = url.removeprefix("memory://").strip("/")
    server = _server(name)

    def connection() -> FakeAsyncRedisConnection:
        # No time-outs of redis-py's own: on Python 3.11 they lose cancellations.
        return FakeAsyncRedisConnection(server=server, protocol=2, socket_timeout=None)

    return MemoryBackend(
        connection,
        location=f"memory://{name}",
        key_prefix=key_prefix,
        timeout=60.0,
        clients=Clients(lambda: FakeAsyncRedis(server=server), lambda: FakeRedis(server=server)),
        clock=clock,
    )


_SERVERS: dict[str, FakeServer] = {}


def _server(name: str) -> FakeServer:
    """Return the one server of this name."""
    from fakeredis import FakeServer

    if name not in _SERVERS:
        _SERVERS[name] = FakeServer()
    return _SERVERS[name]


def forget(backend: MemoryBackend) -> None:
    """Let go of the data of a backend's name: the next backend of that name begins anew."""
    _SERVERS.pop(backend.location.removeprefix("memory://"), None)
