"""The check after every test: what it leaves in Redis must not be there for ever."""

from __future__ import annotations

import pytest
import redis

from tests.support.keys import delete_all, leaks

FAILED = pytest.StashKey[bool]()
"""Set on a test that has failed: what it leaves behind says nothing."""


def check_and_delete(client: redis.Redis, key_prefix: str, request: pytest.FixtureRequest) -> None:
    """Delete what a test has left under its prefix, and fail if something of it would have stayed."""
    found = leaks(client, key_prefix)
    delete_all(client, key_prefix)
    allowed = request.node.get_closest_marker("leaks_allowed")
    if allowed and not allowed.args:
        pytest.fail("leaks_allowed needs a reason", pytrace=False)
    if found and not allowed and not request.node.stash.get(FAILED, False):
        pytest.fail("left behind in Redis:\n  " + "\n  ".join(found), pytrace=False)
