"""Several worker processes under one supervisor: started, started again when they die, stopped together.

Each is a process of its own, not a fork. Pool and process hold the two ends of a tether: on it the process says that it has
started, and the pool that it is to stop; its break tells the process that the pool is dead. Signals may reach all of them (Ctrl-C,
systemd) or the pool alone: a process counts what it hears on either way, and does not take the same wish for two.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from aiorq2.timing import backoff

log = logging.getLogger("aiorq2.pool")

STARTED, STOP = b"+", b"-"
"""What is said on the tether."""
TICK_S = 0.1
START_S = 10.0
"""A process that ends with a failure before this age, or before it has said that it has started, has failed to start."""
MAX_FAILED_STARTS = 5
STATUS_USAGE = 2
"""The exit status of a process that says: this cannot work, do not try again."""
KILL_AFTER_S = 10.0
"""How long a process may outlive its grace before it is killed."""
HASTE_S = 1.0
"""How long a process gets to finish its jobs when its source has changed."""


class WorkerPool:
    """Keep worker processes running until they are done or the pool is told to stop.

    A process that dies is started again, after a pause that doubles from half a second to half a minute. One that fails to start
    five times in a row ends the pool, and so does one that calls its own configuration wrong before any has run for a while.
    The first SIGTERM or SIGINT has the processes finish their jobs, the second stops them at once.

    Args:
        commands: one command line per process: workers that follow a ``Leash``.
        environment: the processes' environment; default: this process's.
        is_finite: a process that ends with status 0 is done (a burst); otherwise another one takes its place.
        grace: seconds that a process gives its jobs when it is told to stop.
        watch: a folder; when a ``.py`` file beneath it changes, the processes are started anew. For development.

    >>> WorkerPool([[sys.executable, "-m", "aiorq2", "worker", "--supervised", "high", "low"]] * 4).run()
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        *,
        environment: Mapping[str, str] | None = None,
        is_finite: bool = False,
        grace: float = 30.0,
        watch: Path | None = None,
    ) -> None:
        self._slots = [
            _Slot(number, command, environment) for number, command in enumerate(commands, 1)
        ]
        self._is_finite = is_finite
        self._grace = grace
        self._sources = None if watch is None else _Sources(watch)
        self._asked = 0
        self._heeded = 0
        self._status = 0
        self._has_worked = False

    def run(self) -> int:
        """Run until all is done; returns the exit status: 0, or that of the process that made the pool give up."""
        with self._signals():
            while not all(slot.is_done for slot in self._slots):
                self._heed_signals()
                self._heed_changes()
                for slot in self._slots:
                    self._tend(slot)
                time.sleep(TICK_S)
        return self._status

    def _tend(self, slot: _Slot) -> None:
        """Do what one slot needs now."""
        now = time.monotonic()
        if slot.is_running:
            slot.press(now)
            is_settled = slot.has_started(now) and now - slot.started_at > START_S
            self._has_worked = self._has_worked or is_settled
            return
        if slot.process is not None:
            self._ended(slot, now, slot.collect())
        if self._heeded:
            slot.is_done = True
        elif not slot.is_done and now >= slot.start_at:
            slot.start(now)

    def _ended(self, slot: _Slot, now: float, status: int) -> None:
        """Decide what follows from the end of a process."""
        log.debug("worker process %d ended with status %d", slot.number, status)
        if self._heeded or slot.is_replaced:
            if self._heeded and status not in (0, -signal.SIGTERM):
                self._status = self._status or _as_exit_status(status)
            slot.start_at, slot.is_replaced = now, False
        elif status == 0:
            slot.is_done = self._is_finite
            slot.failures, slot.start_at = 0, now + (0 if now - slot.started_at > 1 else 0.5)
        else:
            self._failed(slot, now, status)

    def _failed(self, slot: _Slot, now: float, status: int) -> None:
        is_start = not slot.has_started(now) or (status > 0 and now - slot.started_at < START_S)
        slot.failures = slot.failures + 1 if is_start else 0
        if self._sources is not None and is_start:
            log.error(
                "worker process %d ended with status %d; waiting for a change of the source",
                slot.number,
                status,
            )
            slot.start_at = float("inf")
        elif slot.failures >= MAX_FAILED_STARTS or (
            status == STATUS_USAGE and not self._has_worked
        ):
            log.error(
                "worker process %d does not start (status %d); giving up", slot.number, status
            )
            self._status = _as_exit_status(status)
            self._asked = max(self._asked, 1)
        else:
            pause = backoff(max(slot.failures, 1), base=0.5, cap=30.0, jitter=0.2)
            log.warning(
                "worker process %d ended with status %d; starting it again in %.1f s",
                slot.number,
                status,
                pause,
            )
            slot.start_at = now + pause

    def _heed_signals(self) -> None:
        """Pass on what the pool was told, one signal a look: each means something else."""
        if self._asked == self._heeded:
            return
        self._heeded += 1
        is_first = self._heeded == 1
        log.info("stopping the worker processes%s", "" if is_first else " at once")
        now = time.monotonic()
        for slot in self._slots:
            slot.stop(now, kill_at=now + (self._grace if is_first else 0) + KILL_AFTER_S)

    def _heed_changes(self) -> None:
        if self._sources is None or self._heeded:
            return
        changed = self._sources.changed()
        if changed is None:
            return
        log.info("%s changed; starting the worker processes anew", changed)
        now = time.monotonic()
        for slot in self._slots:
            slot.replace(now)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, self._on_signal) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
            for slot in self._slots:
                slot.kill()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1


@dataclass
class _Slot:
    """The place of one process: the one that runs in it, and what was planned for it."""

    number: int
    command: Sequence[str]
    environment: Mapping[str, str] | None
    process: subprocess.Popen[bytes] | None = None
    tether: socket.socket | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    hasten_at: float = float("inf")
    kill_at: float = float("inf")
    failures: int = 0
    is_done: bool = False
    is_replaced: bool = False
    has_spoken: bool = False

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, now: float) -> None:
        """Start a process; if the system cannot, try again a second later."""
        self.started_at, self.has_spoken = now, False
        self.hasten_at = self.kill_at = float("inf")
        try:
            self.process, self.tether = _spawn(self.command, self.environment)
        except OSError as error:
            log.error("worker process %d cannot be started: %s", self.number, error.strerror)
            self.start_at = now + 1.0

    def has_started(self, now: float) -> bool:
        """Whether the process has said that it has started; where it cannot say so, whether it is old enough."""
        if self.tether is None:
            return now - self.started_at > START_S
        with suppress(OSError):
            self.has_spoken = self.has_spoken or bool(self.tether.recv(16))
        return self.has_spoken

    def stop(self, now: float, *, kill_at: float) -> None:
        """Tell the process to stop; told again, it stops at once. One that has not started yet is ended."""
        self.kill_at = min(self.kill_at, kill_at)
        if not self.is_running or self.process is None:
            return
        with suppress(OSError):
            if self.tether is not None:
                self.tether.send(STOP)
            elif self.process.stdin is not None:
                self.process.stdin.write(STOP)
        if not self.has_started(now):
            self.process.terminate()

    def replace(self, now: float) -> None:
        """Have another process take this one's place, soon."""
        self.is_replaced = self.is_running
        self.failures, self.start_at, self.hasten_at = 0, now, now + HASTE_S
        self.stop(now, kill_at=now + HASTE_S + KILL_AFTER_S)

    def press(self, now: float) -> None:
        """Remind a process that was told to stop, and kill it when its time is over."""
        if now >= self.kill_at:
            self.kill()
        elif now >= self.hasten_at:
            self.hasten_at = float("inf")
            self.stop(now, kill_at=self.kill_at)

    def collect(self) -> int:
        """Forget a process that has ended; returns its status."""
        assert self.process is not None
        status = self.process.wait()
        self.has_started(time.monotonic())  # what it said before it died
        if self.tether is not None:
            self.tether.close()
        elif self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None
        return status

    def kill(self) -> None:
        """Kill the process, if there is one."""
        if self.is_running and self.process is not None:
            self.process.kill()
            self.process.wait()


def _spawn(
    command: Sequence[str], environment: Mapping[str, str] | None
) -> tuple[subprocess.Popen[bytes], socket.socket | None]:
    """Start a process whose standard input is the far end of its tether; without sockets, a pipe that leads one way."""
    if os.name != "posix":
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, bufsize=0), None
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        process = subprocess.Popen(command, env=environment, stdin=theirs.fileno())
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


class Leash:
    """A process's end of the tether; made before anything reads standard input, which is empty from then on.

    Args:
        grace: when the pool dies, the process stops, and is gone at the latest when so many seconds and some are over.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._end = os.dup(0)  # not inherited by what jobs start
        self._wishes: Counter[str] = Counter()
        self._heeded = 0
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)

    def follow(self, stop: Callable[[], None]) -> None:
        """Tell the pool that this process has started; from now on call ``stop`` on the running loop for every wish to stop."""
        loop = asyncio.get_running_loop()
        heed = functools.partial(self._heed, stop)
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, heed, "signal")
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(heed, "signal"))
        with suppress(OSError):  # a pipe
            os.write(self._end, STARTED)
        threading.Thread(
            target=self._listen, args=[loop, heed], name="aiorq2-leash", daemon=True
        ).start()

    def _heed(self, stop: Callable[[], None], source: str) -> None:
        self._wishes[source] += 1
        for _ in range(self._heeded, max(self._wishes.values())):
            self._heeded += 1
            stop()

    def _listen(self, loop: asyncio.AbstractEventLoop, heed: Callable[[str], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: this process is at its end
            while self._told() == STOP:
                loop.call_soon_threadsafe(heed, "pool")
            log.warning("the pool of this worker process is gone; stopping")
            loop.call_soon_threadsafe(heed, "break")
        time.sleep(self._grace + KILL_AFTER_S)
        os._exit(1)

    def _told(self) -> bytes:
        try:
            return os.read(self._end, 1)
        except OSError:  # reset: the pool died before it had read everything
            return b""


class _Sources:
    """The ``.py`` files beneath a folder, looked at once a second."""

    _SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "env"})

    def __init__(self, root: Path) -> None:
        self._root = root
        self._times = self._look()
        self._next_look = time.monotonic() + 1

    def changed(self) -> str | None:
        """Return the name of a file that has been added, changed or removed since the last look, or None."""
        if time.monotonic() < self._next_look:
            return None
        before, self._times = self._times, self._look()
        self._next_look = time.monotonic() + 1
        different = before.items() ^ self._times.items()
        return min(path for path, _ in different) if different else None

    def _look(self) -> dict[str, int]:
        times: dict[str, int] = {}
        for folder, folders, files in os.walk(self._root):
            folders[:] = [
                name for name in folders if name not in self._SKIPPED and not name.startswith(".")
            ]
            for name in files:
                if name.endswith(".py"):
                    path = os.path.join(folder, name)
                    with suppress(OSError):
                        times[os.path.relpath(path, self._root)] = os.stat(path).st_mtime_ns
        return times


def _as_exit_status(status: int) -> int:
    return status if status > 0 else 1
