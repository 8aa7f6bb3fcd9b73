"""Fixtures for pytest: jobs in memory, on a clock that the test moves. A test that uses none of them is left alone.

They are plain functions, so that they do for pytest-asyncio, in either mode, and for anyio's plugin.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aiorq2.backends.redis import RedisBackend
    from aiorq2.timing import ManualClock


@pytest.fixture
def rq_clock() -> ManualClock:
    """A clock that stands still until the test moves it; it begins with the present."""
    from aiorq2.timing import ManualClock

    return ManualClock(datetime.now(UTC))


@pytest.fixture
def rq_backend(rq_clock: ManualClock) -> Iterator[RedisBackend]:
    """A backend in memory that no other test has, and that lives by ``rq_clock``: ``rq.redis_url = rq_backend``."""
    from aiorq2.backends import memory

    backend = memory.memory_backend(f"memory://{uuid.uuid4().hex}", key_prefix="rq", clock=rq_clock)
    yield backend
    memory.forget(backend)


@pytest.fixture
def rq_worker(rq_backend: RedisBackend) -> Callable[..., Awaitable[bool]]:
    """``await rq_worker()`` runs what waits on ``rq_backend``, of all queues or of those named; it returns whether any did."""
    from aiorq2.testing import drain

    async def work(*queues: str) -> bool:
        return await drain(rq_backend, *queues)

    return work
