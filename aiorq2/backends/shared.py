"""A redis-py client for user code that lives as long as its backend, and in whichever loop it is used."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn, Self

from redis.asyncio import ConnectionPool, Redis

if TYPE_CHECKING:
    from aiorq2.backends.redis import RedisBackend


class SharedClient(Redis):
    """``redis.asyncio.Redis`` on the server of a backend. Leaving ``async with`` closes nothing: others use it as well.

    Its connections are the running loop's, and its own: a long command of yours keeps no job waiting.
    """

    def __init__(self, backend: RedisBackend) -> None:
        self.backend = backend
        self._without_loop: ConnectionPool | None = None
        super().__init__(connection_pool=backend.new_client().connection_pool)

    @property
    def connection_pool(self) -> ConnectionPool:
        """The pool of the running loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            assert self._without_loop is not None
            return self._without_loop
        pool: ConnectionPool = self.backend.client().connection_pool
        return pool

    @connection_pool.setter
    def connection_pool(self, pool: ConnectionPool) -> None:
        self._without_loop = pool

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    if not TYPE_CHECKING:  # a type checker says it before it is run

        def __enter__(self) -> NoReturn:
            raise TypeError("this is an asynchronous client: write `async with rq.connection:`")

        def __exit__(self, *exc: object) -> None: ...

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close nothing: the backend closes what is its own."""

    async def close(self, close_connection_pool: bool | None = None) -> None:
        """As ``aclose``."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.backend.location}>"

    def __getstate__(self) -> Any:
        raise TypeError(
            "a connection cannot be pickled, copied or sent to a job: let the job ask its own"
        )
