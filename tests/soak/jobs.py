"""Job functions of the soak. A run appends a line to a ledger outside Redis when it starts and when it ends: ``s NUMBER PID``."""

from __future__ import annotations

import asyncio
import os
import time
from functools import cache

from aiorq2 import get_current_job


class Planned(Exception):
    """A failure that the soak has asked for."""


@cache
def _descriptor(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def note(ledger: str, what: str, subject: int | str) -> None:
    """Append a line in one write, which other processes cannot come between."""
    os.write(_descriptor(ledger), f"{what} {subject} {os.getpid()}\n".encode())


async def work(ledger: str, number: int, seconds: float) -> int:
    """Take some time and return twice the number."""
    note(ledger, "s", number)
    await asyncio.sleep(seconds)
    note(ledger, "e", number)
    return 2 * number


def work_sync(ledger: str, number: int, seconds: float) -> int:
    """Do the same in a thread, or in a process."""
    note(ledger, "s", number)
    time.sleep(seconds)
    note(ledger, "e", number)
    return 2 * number


async def fail_once(ledger: str, number: int) -> int:
    """Fail the first attempt."""
    job = get_current_job()
    assert job is not None
    note(ledger, "s", number)
    if job.retries_left:
        raise Planned(f"{number} fails once")
    note(ledger, "e", number)
    return 2 * number


async def fail(ledger: str, number: int) -> None:
    """Fail."""
    note(ledger, "s", number)
    raise Planned(f"{number} fails")


async def linger(ledger: str, number: int) -> None:
    """Go on until cancelled."""
    note(ledger, "s", number)
    await asyncio.sleep(60)
    note(ledger, "e", number)


async def tick(ledger: str) -> None:
    """Write down which tick of a recurring entry this is."""
    job = get_current_job()
    assert job is not None
    assert job.cron_tick is not None
    note(ledger, "t", int(job.cron_tick.timestamp()))


async def nothing(number: int) -> int:
    """Return the number."""
    return number
