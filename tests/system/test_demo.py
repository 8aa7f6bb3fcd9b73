"""The demo, ``examples/wordcount.py``: every result is checked, and one that is wrong is noticed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT, PythonProcess
from tests.support.redis_server import RedisServer

EXAMPLES = ROOT / "examples"
DEMO = str(EXAMPLES / "wordcount.py")
RIGHT = {"words": 3, "lines": 2, "names": 1}
WRONG = {"words": 3, "lines": 2, "names": None}


@pytest.fixture
def wordcount(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The demo as a module."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("wordcount")
    for name in ("wordcount", "wordcount_jobs"):
        del sys.modules[name]


@pytest.mark.slow
def test_demo_counts_and_checks_in_memory() -> None:
    """In one process, without a Redis, 200 files are counted and every result is checked."""
    with PythonProcess([DEMO, "--limit", "200"]) as demo:
        status = demo.wait(100)

        assert status == 0, demo.output()
        assert "200 of 200 results are equal" in demo.output()


@pytest.mark.slow
def test_demo_counts_and_checks_with_worker_processes(redis_server: RedisServer) -> None:
    """With Redis and three worker processes the same; afterwards the processes and the jobs are gone."""
    with PythonProcess(
        [DEMO, "--limit", "200", "--workers", "3", "--redis", redis_server.url]
    ) as demo:
        status = demo.wait(100)

        assert status == 0, demo.output()
        assert "200 of 200 results are equal" in demo.output()
    with redis_server.client() as client:
        names = [name.decode() for name in client.scan_iter("wordcount:*")]
        assert [name for name in names if client.ttl(name) == -1] == []
        assert [name for name in names if ":job:" in name] == []


@pytest.mark.slow
def test_demo_says_that_its_time_is_up() -> None:
    """What takes longer than the limit ends with a message and exit status 1."""
    with PythonProcess([DEMO, "--time-limit", "0.01"]) as demo:
        status = demo.wait(60)

        assert status == 1
        assert "not done in 0.01 s" in demo.output()


def test_demo_names_each_wrong_result(wordcount: Any) -> None:
    """A result that differs from the direct computation is named, be it a failure, missing or too many."""
    expected = {"a.py": RIGHT, "b.py": RIGHT, "c.py": RIGHT}

    assert wordcount.differences(expected, [RIGHT] * 3) == []
    assert wordcount.differences(expected, [RIGHT, WRONG, RIGHT]) == [
        f"b.py: expected {RIGHT}, got {WRONG}"
    ]
    assert wordcount.differences(expected, [RIGHT, RIGHT, "job 'x' failed"]) == [
        f"c.py: expected {RIGHT}, got job 'x' failed"
    ]
    assert wordcount.differences(expected, [RIGHT] * 2) == ["2 results for 3 files"]
    assert wordcount.differences(expected, [RIGHT] * 4) == ["4 results for 3 files"]


@pytest.mark.parametrize(("result", "status"), [(RIGHT, 0), (WRONG, 1), ("it failed", 1)])
def test_demo_exits_with_1_when_a_result_is_wrong(
    wordcount: Any, tmp_path: Path, result: object, status: int
) -> None:
    """One wrong result among the right ones makes the exit status 1."""
    paths = [tmp_path / "a.py", tmp_path / "b.py"]
    for path in paths:
        path.write_text("x =\\\n x")  # 3 words, 2 lines, 1 name

    assert wordcount.conclude(paths, [RIGHT, result], 1.0) == status
