"""Real worker processes, each in a session of its own, so that a test can signal the worker alone or with all its children."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
"""The folder in which ``aiorq2`` and ``tests`` can be imported."""

_SETTINGS = ("AIORQ2_", "RQ_", "REDIS_")


class PythonProcess:
    """``python <args>`` with its output in a file; started at once, gone with its children at ``close()`` or after ``with``.
    ``python`` is that of the tests unless another is given.

    The environment is the test's without any ``AIORQ2_…``, ``RQ_…`` and ``REDIS_…`` variable, plus ``env``;
    ``tests`` can be imported.
    """

    def __init__(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        python: Path | None = None,
    ) -> None:
        self._owner = os.getpid()
        self.directory = Path(tempfile.mkdtemp(prefix="aiorq2-process-"))
        with (self.directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [python or sys.executable, *args],
                env=_environment(env or {}),
                cwd=cwd or self.directory,
                stdin=subprocess.DEVNULL,
                preexec_fn=_heed_signals,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The id of the process; of its process group, too."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.returncode is None

    def output(self) -> str:
        """Return what the process and its children have written to stdout and stderr so far."""
        return (self.directory / "output").read_text(errors="replace")

    def kill(self) -> None:
        """Kill the process and its children (SIGKILL) and reap it."""
        self.signal_group(signal.SIGKILL)
        self._process.wait()

    def kill_parent(self) -> None:
        """Kill the process alone and reap it; its children go on, if they do not notice."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM to the process alone."""
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone; nothing happens when it has ended."""
        self._process.send_signal(number)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children, those of a dead parent too."""
        # macOS answers EPERM for a group of zombies
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def pause(self) -> None:
        """Freeze the process and its children (SIGSTOP)."""
        self.signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on (SIGCONT)."""
        self.signal_group(signal.SIGCONT)

    def wait(self, timeout: float = 10.0) -> int:
        """Block until the process has ended; return its exit status.

        Raises:
            AssertionError: it is still running after ``timeout`` seconds; the message ends with its output.
        """
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s\n{self._tail()}") from None

    def wait_for_output(self, text: str, timeout: float = 10.0) -> str:
        """Block until ``text`` is in the output; return the output.

        Raises:
            AssertionError: the process ended without it, or ``timeout`` seconds have passed.
        """
        deadline = time.monotonic() + timeout
        while True:
            running = self.is_running
            output = self.output()
            if text in output:
                return output
            if not running or time.monotonic() > deadline:
                state = "still running" if running else f"ended with {self.returncode}"
                raise AssertionError(f"{text!r} not in the output; {state}\n{self._tail()}")
            time.sleep(0.02)

    def close(self) -> None:
        """Kill whatever is left and delete the output; may be called twice."""
        if os.getpid() != self._owner:
            return  # a forked child runs our atexit functions, too
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _tail(self) -> str:
        return "\n".join(self.output().splitlines()[-40:])


class WorkerProcess(PythonProcess):
    """``python -m aiorq2 worker <args>``::

    with WorkerProcess(["--url", redis_url, "high", "low"], env={"RQ_KEY_PREFIX": key_prefix}) as worker:
        ...
        worker.terminate()
        assert worker.wait() == 0

    ``program`` may be another one that takes the same arguments.
    """

    def __init__(
        self,
        args: Sequence[str] = (),
        *,
        name: str | None = None,
        program: Sequence[str] = ("-m", "aiorq2"),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        named = [] if name is None else ["--name", name]
        super().__init__([*program, "worker", *named, *args], env=env, cwd=cwd)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is more than an entry that its parent has not collected."""
    found = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()[:1] not in ("", "Z")


def _heed_signals() -> None:
    """Have signals do what they do by default: those of the tests may be ignored, where a shell runs them in the background."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)
    }
    path = os.pathsep.join(filter(None, [str(ROOT), inherited.get("PYTHONPATH")]))
    return {**inherited, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **more}
