"""Our end of the line to rq: the driver process, rq's own commands, and the environments they run in."""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT, PythonProcess

ANSWER_S = 60.0
INSTALLING_S = 100.0


class RqError(Exception):
    """What rq raised over there: the name of its class, and its message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


def python_of(version: str) -> Path:
    """Return the interpreter that has this version of rq: the tests' own, or that of an environment, made if need be."""
    if version == "3.0":
        return Path(sys.executable)
    with _alone(Path(tempfile.gettempdir()) / f"aiorq2-rq-environment-{os.getuid()}"):
        done = subprocess.run(
            [str(ROOT / "scripts" / "rq-environment"), version, sys.executable],
            capture_output=True,
            text=True,
            timeout=INSTALLING_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let no other process in: tests may run in parallel."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Peer:
    """The driver process (``tests/interop/driver.py``) of one version of rq."""

    def __init__(self, version: str, url: str) -> None:
        self.version = version
        self.python = python_of(version)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the process
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [str(self.python), "-m", "tests.interop.driver", url],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
        )
        atexit.register(self.close)

    async def __call__(self, do: str, **arguments: Any) -> Any:
        """Have the driver do something; return what it answers.

        Raises:
            RqError: rq raised something over there.
        """
        return await asyncio.to_thread(self.ask, do, **arguments)

    def ask(self, do: str, **arguments: Any) -> Any:
        """Do the same, blocking."""
        assert self._process.stdin
        assert self._process.stdout
        with self._lock:
            overdue = threading.Timer(ANSWER_S, self._process.kill)
            overdue.start()
            try:
                self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
                line = self._process.stdout.readline()
            finally:
                overdue.cancel()
        assert line, f"the driver has died\n{self._tail()}"
        answer = json.loads(line)
        if "error" in answer:
            raise RqError(answer["error"], answer["message"])
        return answer["ok"]

    def command(self, *args: str) -> list[str]:
        """Return rq's own command line program with these arguments, to be run by its Python."""
        return [str(self.python.parent / "rq"), *args]

    def close(self) -> None:
        """End the driver."""
        atexit.unregister(self.close)
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _tail(self) -> str:
        self._errors.seek(0)
        return "\n".join(self._errors.read().splitlines()[-40:])


class RqProcess(PythonProcess):
    """One of rq's commands as a process: ``RqProcess(peer, url, "worker", "q")``."""

    def __init__(self, peer: Peer, url: str, command: str, *args: str) -> None:
        options = ["--url", url, "--path", str(ROOT)]
        if command == "worker":
            options += ["--serializer", "rq.serializers.JSONSerializer"]
        super().__init__(
            [*peer.command(command, *options), *args], python=peer.python, env=environment()
        )


def environment() -> Mapping[str, str]:
    """Return the environment without what would tell rq where Redis is; deprecations there are not our concern."""
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("RQ_", "REDIS_"))
    }
    return {**ours, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}


def run_rq(peer: Peer, url: str, *args: str) -> str:
    """Run one of rq's commands to its end and return what it prints.

    Raises:
        AssertionError: it failed.
    """
    command, *rest = args
    with RqProcess(peer, url, command, *rest) as process:
        assert process.wait(30) == 0, process.output()
        return process.output()


def arguments_of(options: Mapping[str, Any]) -> Sequence[str]:
    """Return options as a command line has them."""
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]
