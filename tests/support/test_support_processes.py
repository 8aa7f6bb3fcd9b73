"""No process that a test has started outlives the test, nor do that process's children."""

from __future__ import annotations

import fcntl
import signal
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.processes import PythonProcess

CHILD = """
import fcntl, sys, time
lock = open(sys.argv[1], "a")
fcntl.flock(lock, fcntl.LOCK_EX)
print("ready", flush=True)
time.sleep(60)
"""
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}, sys.argv[1]])"


async def test_process_is_killed_with_its_children(tmp_path: Path) -> None:
    """Neither the process nor a child of its is left, and its output is kept until then."""
    with PythonProcess(["-c", PARENT, str(tmp_path / "lock")]) as process:
        # without a buffer, the end of the line is written by itself
        process.wait_for_output("ready\n")
        assert process.is_running
        assert not _is_unlocked(tmp_path)

        process.kill()

        assert process.wait() == -signal.SIGKILL
        assert process.output() == "ready\n"
        await eventually(lambda: _is_unlocked(tmp_path))


async def test_process_children_survive_their_parent_until_the_end(tmp_path: Path) -> None:
    """``kill_parent`` leaves the children alone; the end of ``with`` does not."""
    with PythonProcess(["-c", PARENT, str(tmp_path / "lock")]) as process:
        process.wait_for_output("ready")

        process.kill_parent()

        assert not _is_unlocked(tmp_path)
    await eventually(lambda: _is_unlocked(tmp_path))


def test_process_terminates_and_fails_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it printed is in the message when it does not do what was expected; our settings do not leak into it."""
    monkeypatch.setenv("AIORQ2_URL", "redis://nowhere")
    code = (
        "import os, time, tests.support.jobs; print(os.environ.get('AIORQ2_URL'), os.environ['X'])"
    )
    with PythonProcess(["-c", f"{code}; time.sleep(60)"], env={"X": "y"}) as process:
        process.wait_for_output("None y")
        with pytest.raises(AssertionError, match="None y"):
            process.wait(timeout=0.01)
        process.terminate()
        assert process.wait() == -signal.SIGTERM
        with pytest.raises(AssertionError, match="ended with -15"):
            process.wait_for_output("never")


def _is_unlocked(directory: Path) -> bool:
    """Whether the child that held the lock is gone; it may be a zombie that nobody reaps."""
    with (directory / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
