"""RQ's commands, as they are read from the wire."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiorq2.commands import Command, parse_command


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ({"command": "shutdown"}, Command("shutdown")),
        ({"command": "kill-horse"}, Command("kill-horse")),
        ({"command": "stop-job", "job_id": "j"}, Command("stop-job", "j")),
        (
            {"command": "stop-execution", "job_id": "j", "execution_id": "e", "more": [1]},
            Command("stop-execution", "j", "e"),
        ),
        ({"command": "of the future"}, Command("of the future")),
    ],
)
def test_commands_are_read(message: dict[str, object], command: Command) -> None:
    """As rq writes them; what is more is ignored."""
    assert parse_command(json.dumps(message).encode()) == command


@pytest.mark.parametrize(
    "message",
    [b"", b"x", b"[]", b"{}", b"null", b'"command"', b"5", b"\xff", b"[" * 100_000, b"9" * 10_000],
)
def test_what_is_no_command_is_none(message: bytes) -> None:
    """Nothing is raised: somebody else's message must not end a worker."""
    assert parse_command(message) is None


@settings(max_examples=50, deadline=None)
@given(
    st.binary() | st.text().map(str.encode) | st.from_regex(r'\{"command": .*\}').map(str.encode)
)
def test_nothing_is_ever_raised(message: bytes) -> None:
    """By any bytes."""
    parse_command(message)
