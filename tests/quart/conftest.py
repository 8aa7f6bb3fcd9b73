"""An application on both backends."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Quart

from tests.quart import jobs


@pytest.fixture
def config(backend_url: str, key_prefix: str) -> dict[str, Any]:
    """The configuration of an application of this test; no worker lives in it."""
    return {
        "RQ_REDIS_URL": backend_url,
        "RQ_KEY_PREFIX": key_prefix,
        "RQ_EMBEDDED_WORKER": False,
        "RQ_QUEUES": ["default", "low"],
    }


@pytest.fixture
def app(config: dict[str, Any]) -> Quart:
    """An application; its ``RQ`` has those of other tests as well."""
    return jobs.create_app(**config)
