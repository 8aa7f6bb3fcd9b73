"""What a workload works with: a peer's processes, counters of what they cost, and checks of what they did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.environments import HERE, Environment
from benchmarks.peers import Setup
from benchmarks.peers.tally import VARIABLE, Board
from benchmarks.scale import Scale

STARTING_S = 30.0
READING_S = 200.0
LOOK_S = 0.005
"""How often a running drain is looked at; each look is a cheap command or two, which are not counted."""

SETTINGS = ("AIORQ2_", "RQ_", "REDIS_", "CELERY_", "DRAMATIQ_")
"""Variables with which a developer's shell would configure a peer."""

Sample = dict[str, float]
"""The figures of one measurement, by name."""


class Failed(Exception):
    """A measurement that cannot be trusted, or did not end."""


class Unable(Exception):
    """What this peer cannot be asked to do at this scale, and why: a few words for the table."""


@dataclass(frozen=True)
class Setting:
    """What a workload gets to know."""

    environment: Environment
    redis: Redis
    """Straight to the server, also where the peer has a longer way."""
    url: str
    folder: Path
    scale: Scale
    concurrency: int
    time_limit_s: float

    @property
    def ids(self) -> Path:
        """The file of the ids of the jobs."""
        return self.folder / "ids.json"

    def share(self, jobs: int) -> int:
        """Return how many of so many jobs are enough for this peer."""
        return max(min(jobs, 100), int(jobs * self.environment.peer.SHARE))

    def board(self, jobs: int) -> Board:
        """Return a blank board, on which the workers that start from now on mark."""
        return Board.blank(self.folder / "board", jobs)

    def call(self, *arguments: object, timeout: float) -> None:
        """Have something done in the peer's environment.

        Raises:
            Failed: it ended with an error.
        """
        done = subprocess.run(
            self.environment.command(*map(str, arguments)),
            cwd=HERE,
            env=self._variables(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise Failed(f"{arguments[0]} failed: {(done.stderr.strip() or '?').splitlines()[-1]}")

    def enqueue(self, task: str, jobs: int) -> None:
        """Enqueue jobs in bulk, and note their ids."""
        self.call("many", self.url, task, jobs, self.ids, timeout=self.time_limit_s)

    @contextmanager
    def started(self, *arguments: object) -> Iterator[Started]:
        """Run something that says when it is ready, and begins when it is told to."""
        command = self.environment.command(*map(str, arguments))
        log = self.folder / "producer.log"
        with (
            log.open("w") as errors,
            subprocess.Popen(
                command,
                cwd=HERE,
                env=self._variables(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as process,
        ):
            impatience = threading.Timer(STARTING_S, process.kill)
            impatience.start()
            try:
                assert process.stdout is not None
                if process.stdout.readline() != "ready\n":
                    raise Failed(f"{arguments[0]} did not start: {_last_line(log)}")
                impatience.cancel()
                yield Started(process, log, self.time_limit_s)
            finally:
                impatience.cancel()
                process.kill()

    @contextmanager
    def working(self, setup: Setup, *, fleet: int = 0) -> Iterator[subprocess.Popen[bytes]]:
        """Run the peer's worker in a process of its own, or a fleet of them, in a session of its own."""
        told: list[str] = ["fleet", self.url, str(fleet)]
        if not fleet:
            told = ["work", self.url, json.dumps(asdict(setup))]
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                self.environment.command(*told),
                cwd=HERE,
                env=self._variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def await_stored(self, total: int, wanted: int, process: subprocess.Popen[bytes]) -> int:
        """Wait until so many results are stored; return how often that was looked at.

        Raises:
            Failed: it takes too long, or the worker has ended.
        """
        looks, deadline = 0, time.monotonic() + self.time_limit_s
        while (stored := self.environment.peer.stored(self.redis, total)) < wanted:
            looks += 1
            if time.monotonic() > deadline or process.poll() is not None:
                why = "in time" if process.poll() is None else f"(it ended: {process.returncode})"
                raise Failed(f"the worker did not finish {why}: {stored} of {wanted}")
            time.sleep(LOOK_S)
        return looks + 1

    def check_results(self, jobs: int) -> None:
        """Fail unless the result of every job is stored where the peer stores it."""
        self.call("results", self.url, self.ids, timeout=READING_S)
        found = json.loads(self.ids.read_text())
        wrong = [number for number, result in enumerate(found) if result != number]
        if wrong or len(found) != jobs:
            examples = ", ".join(f"{number}: {found[number]!r}" for number in wrong[:3])
            raise Failed(f"{len(wrong)} of {len(found)} results are missing or wrong ({examples})")

    def _variables(self) -> dict[str, str]:
        kept = {
            name: it for name, it in os.environ.items() if not name.upper().startswith(SETTINGS)
        }
        return {**kept, VARIABLE: str(self.folder / "board")}


@dataclass(frozen=True)
class Started:
    """A process that waits for its go."""

    process: subprocess.Popen[str]
    log: Path
    time_limit_s: float

    def go(self) -> Any:
        """Let it begin; returns what it says in the end.

        Raises:
            Failed: it ended with an error, or not in time.
        """
        try:
            out, _ = self.process.communicate("go\n", timeout=self.time_limit_s)
        except subprocess.TimeoutExpired:
            raise Failed("the producer did not finish in time") from None
        if self.process.returncode:
            raise Failed(f"the producer failed: {_last_line(self.log)}")
        return json.loads(out)


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip() or "no reason given").splitlines()[-1]


def until(
    has_come: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float, otherwise: str
) -> None:
    """Wait for something that the process is to bring about."""
    deadline = time.monotonic() + seconds
    while not has_come():
        if time.monotonic() > deadline or process.poll() is not None:
            raise Failed(otherwise)
        time.sleep(0.0005)


def check_runs(runs: bytes) -> None:
    """Fail unless every job ran, and ran once."""
    if runs.count(1) != len(runs):
        missing = runs.count(0)
        raise Failed(f"{missing} of {len(runs)} jobs did not run, others ran {max(runs)} times")
