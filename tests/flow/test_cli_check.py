"""``aiorq2 check``: whether workers are alive, by an exit status."""

from __future__ import annotations

import socket
import time

import pytest

from tests.flow.cli_stage import Stage, is_one_sentence
from tests.support.processes import WorkerProcess

LEASE_S = 4.0


@pytest.fixture
def stage(redis_url: str, key_prefix: str) -> Stage:
    """The test's Redis with a command line."""
    return Stage(redis_url, key_prefix)


def _until(stage: Stage, status: int, *args: str) -> str:
    deadline = time.monotonic() + 20
    while (result := stage.run("check", *args)).exit_code != status:
        assert time.monotonic() < deadline, result.output
        time.sleep(0.1)
    return result.stdout


def test_check_tells_living_workers_from_frozen_and_ended_ones(stage: Stage) -> None:
    """By name, or any of this machine."""
    host = socket.gethostname()
    assert _until(stage, 1) == f"not heard of for 30 s: any worker of {host}\n"
    with WorkerProcess(["q", "--lease", str(LEASE_S)], name="one", env=stage.env) as worker:
        assert _until(stage, 0) == "alive\n"
        assert _until(stage, 0, "one") == "alive\n"
        assert _until(stage, 1, "one", "two", "three") == "not heard of for 30 s: two, three\n"

        worker.pause()
        assert _until(stage, 1, "one", "--max-age", "2") == "not heard of for 2 s: one\n"
        worker.resume()
        assert _until(stage, 0, "one", "--max-age", "2") == "alive\n"

        worker.terminate()
        assert worker.wait(20) == 0
    assert _until(stage, 1, "one") == "not heard of for 30 s: one\n"


def test_check_fails_where_redis_is_away(stage: Stage) -> None:
    """In one sentence: who cannot be asked about is not known to live."""
    assert is_one_sentence(stage.run("check", "--url", "redis://127.0.0.1:1/0"), 1)
