"""The page on Quart: its first application runs as it stands, and its table has every key."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from pathlib import Path

import pytest

from aiorq2.quart_ext.config import HEADERS, KEYS, OTHER_KEYS
from tests.support.processes import ROOT, PythonProcess
from tests.support.redis_server import free_port

PAGE = (ROOT / "docs" / "quart.md").read_text()


def test_table_has_every_key() -> None:
    """And none that there is not."""
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `RQ_")]
    named = set(re.findall(r"`(RQ_[A-Z_]+)`", " ".join(rows)))

    assert named == {*KEYS, *OTHER_KEYS}
    assert all(f"`{header}`" in PAGE for header in HEADERS)


@pytest.mark.slow
def test_first_application_runs_without_redis(tmp_path: Path) -> None:
    """By ``quart run``: a route enqueues, and a page follows the job to its end."""
    text = PAGE.partition("`app.py`:\n\n```python\n")[2].partition("```")[0]
    (tmp_path / "app.py").write_text(text)
    port = free_port("127.0.0.1")

    with PythonProcess(["-m", "quart", "run", "--port", str(port)], cwd=tmp_path) as server:
        _until_open(port, server)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/count/5", timeout=30) as answer:
            events = answer.read().decode()

    assert '"done": 1.0, "text": "5 of 5"' in events
    assert events.endswith("event: end\ndata: {}\n\n")


def _until_open(port: int, server: PythonProcess) -> None:
    """Wait for the port itself: Quart says that it serves before it does."""
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert server.is_running, server.output()
            assert time.monotonic() < deadline, server.output()
            time.sleep(0.05)
