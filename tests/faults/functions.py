"""Job functions that keep a ledger outside Redis: every run appends a line when it starts and another when it ends.

A line is ``what job run pid worker time``; the time is the machine's monotonic clock, which all processes share. ``cut`` is the end
of a run that was cancelled; a run whose process was killed has no end.
"""

from __future__ import annotations

import asyncio
import locale
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import NoReturn

from aiorq2 import Queue, connect, get_current_job
from aiorq2.job import Job
from tests.support.jobs import append_to_file

LONG_S = 60.0


class Planned(Exception):
    """A failure that the test has asked for."""


@contextmanager
def entry(ledger: str) -> Iterator[Job]:
    """Write down the run that goes on inside."""
    with entry_of_run(ledger) as (job, _):
        yield job


@contextmanager
def entry_of_run(ledger: str) -> Iterator[tuple[Job, str]]:
    """Write down the run that goes on inside, which is told its id."""
    began = time.monotonic()  # first of all: a process that is frozen after that had begun
    job = get_current_job()
    assert job is not None
    run = token_hex(6)

    def write(what: str, moment: float) -> None:
        append_to_file(
            ledger, f"{what} {job.id} {run} {os.getpid()} {job.worker_name} {moment:.6f}"
        )

    write("start", began)
    try:
        yield job, run
    except asyncio.CancelledError:
        write("cut", time.monotonic())
        raise
    except BaseException:
        write("raise", time.monotonic())
        raise
    write("end", time.monotonic())


def is_first(ledger: str, job: Job, run: str) -> bool:
    """Whether this run is the first of its job: also if it was frozen before it asked, and the second has begun."""
    lines = Path(ledger).read_text().splitlines()
    first = next(line for line in lines if line.startswith(f"start {job.id} "))
    return first.split(" ")[2] == run


def _fail_as_planned(job: Job, retries: int, failures: int) -> None:
    if retries - (job.retries_left or 0) < failures:
        raise Planned(f"{job.id} is to fail {failures} times")


async def work(
    ledger: str, value: int, seconds: float = 0.0, retries: int = 0, failures: int = 0
) -> int:
    """Take some time and return twice the value, or fail the first ``failures`` attempts."""
    with entry(ledger) as job:
        await asyncio.sleep(seconds)
        _fail_as_planned(job, retries, failures)
        return 2 * value


def work_sync(
    ledger: str, value: int, seconds: float = 0.0, retries: int = 0, failures: int = 0
) -> int:
    """Do the same in a thread."""
    with entry(ledger) as job:
        _doze(seconds)
        _fail_as_planned(job, retries, failures)
        return 2 * value


async def labour(
    ledger: str, value: int, seconds: float = 0.0, retries: int = 0, failures: int = 0
) -> tuple[int, str]:
    """Do as ``work``, and return the id of the run as well: whose result it is that was kept."""
    with entry_of_run(ledger) as (job, run):
        await asyncio.sleep(seconds)
        _fail_as_planned(job, retries, failures)
        return 2 * value, run


def labour_sync(
    ledger: str, value: int, seconds: float = 0.0, retries: int = 0, failures: int = 0
) -> tuple[int, str]:
    """Do the same in a thread."""
    with entry_of_run(ledger) as (job, run):
        _doze(seconds)
        _fail_as_planned(job, retries, failures)
        return 2 * value, run


async def remember(ledger: str, value: int) -> int:
    """Write something down in the job itself, twice, and return twice the value."""
    with entry(ledger) as job:
        for number in range(2):
            job.meta["number"] = number
            await job.save_meta()
        return 2 * value


async def weigh(ledger: str, load: str) -> int:
    """Return how much there is."""
    with entry(ledger):
        return len(load)


async def hold(ledger: str, gate: str) -> str:
    """Wait until the file ``gate`` exists."""
    with entry(ledger):
        deadline = time.monotonic() + LONG_S
        while not Path(gate).exists() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        return "held"


def hold_sync(ledger: str, gate: str) -> str:
    """Do the same in a thread."""
    with entry(ledger):
        deadline = time.monotonic() + LONG_S
        while not Path(gate).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return "held"


async def hang_once(ledger: str) -> str:
    """Go on for ever the first time, return at once the second."""
    with entry_of_run(ledger) as (job, run):
        if is_first(ledger, job, run):
            await asyncio.sleep(LONG_S)
        return "again"


def hang_once_sync(ledger: str) -> str:
    """Do the same in a thread."""
    with entry_of_run(ledger) as (job, run):
        if is_first(ledger, job, run):
            _doze(LONG_S)
        return "again"


async def late_once(ledger: str, seconds: float) -> str:
    """Return ``late`` after some time the first time, ``again`` at once the second."""
    with entry_of_run(ledger) as (job, run):
        if not is_first(ledger, job, run):
            return "again"
        with suppress(asyncio.CancelledError):  # it may be told just before its time is over
            await asyncio.sleep(seconds)
        return "late"


async def stubborn_once(ledger: str) -> str:
    """The first time, take a cancellation for the sign to return ``late``; return ``again`` at once the second."""
    with entry_of_run(ledger) as (job, run):
        if not is_first(ledger, job, run):
            return "again"
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            return "late"
        return "never"


def hoard(ledger: str, size: int) -> int:
    """Take memory until there is no more, or ``size`` bytes."""
    with entry(ledger):
        return len([bytearray(2**24) for _ in range(size // 2**24)])


async def open_all_files(ledger: str, gate: str) -> int:
    """Keep as many files open as the process may have, until the file ``gate`` exists; return how many."""
    with entry(ledger):
        taken = []
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        deadline = time.monotonic() + LONG_S
        while not os.access(gate, os.F_OK) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for descriptor in taken:
            os.close(descriptor)
        return len(taken)


async def open_one_file(ledger: str) -> None:
    """Open a file, if that can be done."""
    os.close(os.open(os.devnull, os.O_RDONLY))


async def compute(value: int) -> int:
    """Return twice the value; needs nothing."""
    return 2 * value


def close_everything() -> int:
    """Close the standard streams and every socket of this process; return how many there were."""
    closed = 0
    for descriptor in range(256):
        with suppress(OSError):
            if descriptor < 3 or stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                socket.socket(fileno=os.dup(descriptor)).shutdown(socket.SHUT_RDWR)
                closed += 1
    return closed


def kill_process(ledger: str) -> NoReturn:
    """Take the whole worker down."""
    with entry(ledger):
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(LONG_S)
    raise AssertionError("still alive")


async def swallow(ledger: str) -> None:
    """Ignore every cancellation."""
    with entry(ledger):
        deadline = time.monotonic() + LONG_S
        while time.monotonic() < deadline:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue


def sleep_in_c(ledger: str) -> None:
    """Stay in one C call, where no exception reaches a thread."""
    with entry(ledger):
        time.sleep(LONG_S)


async def sleep_in_pool(ledger: str) -> None:
    """Wait for a thread of the loop's pool that stays in one C call."""
    with entry(ledger):
        await asyncio.to_thread(time.sleep, LONG_S)


async def block_loop(ledger: str, seconds: float) -> float:
    """Block the event loop, as careless code does."""
    with entry(ledger):
        time.sleep(seconds)
        return seconds


def _doze(seconds: float) -> None:
    """Sleep in slices, so that an exception raised inside the thread gets through."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.02))


async def breed(ledger: str, gate: str, url: str) -> None:
    """Enqueue this function once more, unless the file ``gate`` exists."""
    with entry(ledger):
        if not os.access(gate, os.F_OK):
            backend = connect(url)
            await Queue("q", backend).enqueue(breed, ledger, gate, url, result_ttl=5)
            await backend.close()


def shout(ledger: str, megabytes: int) -> int:
    """Print so much, with what a terminal would obey and what ends a string in C."""
    with entry(ledger):
        for _ in range(megabytes):
            sys.stdout.write("\x1b[31mred\0\n" * 100_000)
        return megabytes


async def litter(ledger: str) -> str:
    """Leave a task, another folder, another locale and another signal handler behind."""
    with entry(ledger):
        asyncio.get_running_loop().create_task(asyncio.sleep(LONG_S))
        os.chdir("/")
        locale.setlocale(locale.LC_ALL, "C")
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        return "done"
