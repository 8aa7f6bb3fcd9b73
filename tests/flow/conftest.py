"""What only the tests of this folder need."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aiorq2 import runs, worker
from aiorq2.backends import connect
from aiorq2.backends.redis import RedisBackend
from aiorq2.timing import ManualClock
from tests.flow.clocked import NOON


@pytest.fixture
async def memory_backend(memory_url: str, key_prefix: str) -> AsyncIterator[RedisBackend]:
    """A backend in memory, for what has nothing to do with Redis."""
    backend = connect(memory_url, key_prefix=key_prefix)
    yield backend
    await backend.close()


@pytest.fixture
async def clocked(backend_url: str, key_prefix: str) -> AsyncIterator[RedisBackend]:
    """A backend on the real Redis and one in memory in turn, where it is noon until the test's clock is moved."""
    backend = connect(backend_url, key_prefix=key_prefix, clock=ManualClock(NOON))
    yield backend
    await backend.close()


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write off a job that does not end when it is told to after half a second, not after two."""
    monkeypatch.setattr(runs, "CANCEL_GRACE_S", 0.5)
    monkeypatch.setattr(worker, "CANCEL_GRACE_S", 0.5)


@pytest.fixture
def unhurried_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let seconds pass between the steps of a stop: what runs is told to end, then written off, then left behind."""
    monkeypatch.setattr(worker, "CANCEL_GRACE_S", 6.0)
    monkeypatch.setattr(worker, "SETTLING_S", 3.0)
