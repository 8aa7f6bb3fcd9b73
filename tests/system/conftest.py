"""The stage of the tests with real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.chaos_proxy import ChaosProxy
from tests.support.redis_server import RedisServer
from tests.system.site import Site


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of this test's own, which keeps what it has acknowledged."""
    with RedisServer(appendonly="always", extra=["--enable-debug-command", "local"]) as server:
        yield server


@pytest.fixture
async def site(server: RedisServer, tmp_path: Path) -> AsyncIterator[Site]:
    """Server, proxy and ledger; every process that is started on it is gone afterwards."""
    with ChaosProxy(server.url) as proxy:
        site = Site(server, proxy, tmp_path)
        yield site
        await site.close()
