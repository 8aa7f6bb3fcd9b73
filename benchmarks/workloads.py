"""What is measured: one function per workload. Each leaves the server empty for the next one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environments import HERE, Environment
from peers import Peer
from peers.tally import VARIABLE, Board
from redis import Redis

LOOK_S = 0.005
"""How often a running drain is looked at; each look is one cheap command, which is not counted."""
STARTING_S = 30.0
READING_S = 120.0
STOPPING_S = 5.0


class Failed(Exception):
    """A measurement that cannot be trusted, or did not end."""


@dataclass(frozen=True)
class Setting:
    """What a workload gets to know."""

    environment: Environment
    redis: Redis
    url: str
    folder: Path
    jobs: int
    concurrency: int
    time_limit_s: float

    def call(self, *arguments: str, timeout: float) -> None:
        """Have something done in the peer's environment.

        Raises:
            Failed: it ended with an error.
        """
        done = subprocess.run(
            self.environment.command(*arguments),
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise Failed(f"{arguments[0]} failed: {(done.stderr.strip() or '?').splitlines()[-1]}")


@dataclass(frozen=True)
class Sample:
    """One measurement."""

    jobs_per_s: float
    commands: float
    """Redis commands per job, those that scripts call included."""
    reads: float
    """How often Redis read from a socket, per job; a pipeline that arrives in one piece counts once."""
    redis_us: float
    """Microseconds of Redis' CPU per job."""
    client_us: float | None
    """Microseconds of the measured process' CPU per job, where the system tells."""


@dataclass(frozen=True)
class Counters:
    """What Redis has counted until now."""

    commands: int
    reads: int
    cpu_s: float

    @classmethod
    def of(cls, redis: Redis) -> Counters:
        """Read them."""
        stats: Any = redis.info("commandstats")
        totals: Any = redis.info("stats")
        cpu: Any = redis.info("cpu")
        return cls(
            sum(command["calls"] for command in stats.values()),
            totals["total_reads_processed"],
            cpu["used_cpu_user"] + cpu["used_cpu_sys"],
        )

    def sample(
        self, later: Counters, *, jobs: int, seconds: float, looks: int, client_s: float | None
    ) -> Sample:
        """Return what happened since, without the looks that the measuring itself took."""
        ours = looks + 3  # the three INFO of the first reading
        return Sample(
            jobs / seconds,
            (later.commands - self.commands - ours) / jobs,
            (later.reads - self.reads - ours) / jobs,
            (later.cpu_s - self.cpu_s) * 1e6 / jobs,
            None if client_s is None else client_s * 1e6 / jobs,
        )


def drain(setting: Setting) -> Sample:
    """No-ops wait; one worker process runs them. From the start of the first job until the last result is stored: what comes
    before, the start of the interpreter and the imports, is not in it. Then every job must have run once, and its result be there.
    """
    peer, jobs = setting.environment.peer, setting.jobs
    ids = str(setting.folder / "ids.json")
    setting.call("many", setting.url, str(jobs), ids, timeout=setting.time_limit_s)
    board = Board.blank(setting.folder / "board", jobs)
    before = Counters.of(setting.redis)
    with worker(setting) as process:
        until(lambda: board.started_at is not None, process, STARTING_S, "no job was started")
        cpu_s, looks = cpu_of(process.pid), 0
        deadline = time.monotonic() + setting.time_limit_s
        while peer.stored(setting.redis, jobs) < jobs:
            looks += 1
            if time.monotonic() > deadline or process.poll() is not None:
                raise Failed(f"the worker did not finish: {sum(map(bool, board.runs()))} of {jobs}")
            time.sleep(LOOK_S)
        seconds = time.monotonic() - (board.started_at or 0)
        after = Counters.of(setting.redis)
        spent_s = None if cpu_s is None else (cpu_of(process.pid) or cpu_s) - cpu_s
    check_runs(board.runs())
    check_results(setting, ids)
    return before.sample(after, jobs=jobs, seconds=seconds, looks=looks + 1, client_s=spent_s)


def enqueue(setting: Setting) -> Sample:
    """One process enqueues no-ops one after the other, each awaited before the next. Then they must all be waiting."""
    command = setting.environment.command("one", setting.url, str(setting.jobs))
    with subprocess.Popen(
        command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        impatience = threading.Timer(STARTING_S, process.kill)
        impatience.start()
        try:
            if process.stdout.readline() != "ready\n":
                raise Failed("the producer did not start")
            impatience.cancel()
            warm = setting.environment.peer.waiting(setting.redis)
            before = Counters.of(setting.redis)
            out, _ = process.communicate("go\n", timeout=setting.time_limit_s)
        except BaseException:
            impatience.cancel()
            process.kill()
            raise
    after = Counters.of(setting.redis)
    took = json.loads(out)
    waiting = setting.environment.peer.waiting(setting.redis)
    if waiting - warm != setting.jobs:
        raise Failed(f"{waiting - warm} of {setting.jobs} jobs wait")
    return before.sample(
        after, jobs=setting.jobs, seconds=took["seconds"], looks=0, client_s=took["cpu_s"]
    )


@dataclass(frozen=True)
class Workload:
    """A measurement, what it is called, and which part of the jobs it takes with a peer."""

    title: str
    measure: Callable[[Setting], Sample]
    part: Callable[[Peer], float]


WORKLOADS = {
    "drain": Workload(
        "Drain no-ops: one worker process, from the first job's start to the last stored result",
        drain,
        lambda peer: peer.SHARE,
    ),
    "enqueue": Workload(
        "Enqueue one at a time: one process, each awaited before the next",
        enqueue,
        lambda peer: 0.25,
    ),
}


# -- steps -------------------------------------------------------------------------------------------------------------------


@contextmanager
def worker(setting: Setting) -> Iterator[subprocess.Popen[bytes]]:
    """Run the peer's worker in a process of its own, in a session of its own."""
    command = setting.environment.command("work", setting.url, str(setting.concurrency))
    board = str(setting.folder / "board")
    with (setting.folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=HERE,
            env={**os.environ, VARIABLE: board},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOPPING_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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
        raise Failed(
            f"{runs.count(0)} of {len(runs)} jobs did not run, others ran {max(runs)} times"
        )


def check_results(setting: Setting, ids: str) -> None:
    """Fail unless the result of every job is stored where the peer stores it."""
    setting.call("results", setting.url, ids, timeout=READING_S)
    found = json.loads(Path(ids).read_text())
    wrong = [number for number, result in enumerate(found) if result != number]
    if wrong or len(found) != setting.jobs:
        examples = ", ".join(f"{number}: {found[number]!r}" for number in wrong[:3])
        raise Failed(f"{len(wrong)} of {len(found)} results are missing or wrong ({examples})")


def cpu_of(pid: int) -> float | None:
    """Return the CPU seconds of a running process and its threads; None where there is no ``/proc``."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
