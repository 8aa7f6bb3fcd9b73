"""The stage of the faults: a server that can be broken, a proxy before it, processes, and a ledger beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults import settings
from tests.faults.checker import SECRET
from tests.faults.figures import Report
from tests.faults.site import Site
from tests.support.chaos_proxy import ChaosProxy
from tests.support.redis_server import RedisServer

pytest.register_assert_rewrite("tests.faults.histories", "tests.faults.stored")


def pytest_report_header() -> str:
    """Say which seeds are used, so that a run can be repeated."""
    return f"faults: {'full' if settings.IS_FULL else 'small'}, seeds {settings.seeds()} (FAULTS, FAULT_SEEDS)"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of this test's own, which keeps what it has acknowledged, and wants a password."""
    with RedisServer(appendonly="always", requirepass=SECRET) as server:
        yield server


@pytest.fixture
async def site(server: RedisServer, tmp_path: Path) -> AsyncIterator[Site]:
    """Server, proxy and ledger; every process that is started on it is gone afterwards."""
    with ChaosProxy(server.url) as proxy:
        site = Site(server, proxy, tmp_path)
        yield site
        await site.close()


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Print a measured figure, and keep it where figures are asked for."""
    return Report(capsys)
