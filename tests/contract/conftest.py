"""What several of the contract tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aiorq2.backends import scripts
from aiorq2.backends.redis import RedisBackend
from tests.contract.stage import opened
from tests.support.chaos_proxy import ChaosProxy


@pytest.fixture
async def shaky(chaos_proxy: ChaosProxy, key_prefix: str) -> AsyncIterator[RedisBackend]:
    """A backend whose connections lead through the proxy; Redis has its scripts, so that every command is sent once."""
    async with opened(chaos_proxy.url, key_prefix=key_prefix) as backend:
        texts = [scripts.load(name).text for name in scripts.all_names()]
        await backend.run(*[["SCRIPT", "LOAD", text] for text in texts])
        yield backend
