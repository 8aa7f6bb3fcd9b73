"""Ordinary functions for the tests to enqueue: they import nothing of aiorq2 at module level and know nothing of queues.

What they note down (``recorded``, ``attempts``) lives in the process that runs them and is emptied after every test.
``append_to_file`` is for workers in other processes: a ledger outside Redis.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from tests.support.eventually import gates

T = TypeVar("T")

recorded: list[str] = []
attempts: Counter[str] = Counter()


def reset() -> None:
    """Forget what was noted down."""
    recorded.clear()
    attempts.clear()


async def add(x: int, y: int) -> int:
    """Return the sum."""
    return x + y


def add_sync(x: int, y: int) -> int:
    """Return the sum, from a thread."""
    return x + y


async def echo(value: T) -> T:
    """Return the argument."""
    return value


async def nothing() -> None:
    """Return None: the job that costs nothing."""


async def fail(message: str = "boom") -> NoReturn:
    """Raise ValueError."""
    raise ValueError(message)


def fail_sync(message: str = "boom") -> NoReturn:
    """Raise ValueError, in a thread."""
    raise ValueError(message)


async def slow(seconds: float) -> float:
    """Take some time."""
    await asyncio.sleep(seconds)
    return seconds


def slow_sync(seconds: float) -> float:
    """Take some time, in slices, so that an exception raised inside the thread gets through."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.005)
    return seconds


async def wait_gate(name: str) -> str:
    """Wait until the test opens ``gates[name]``."""
    await gates[name].wait()
    return name


def wait_gate_sync(name: str) -> str:
    """Wait until the test opens ``gates[name]``, in a thread."""
    gates[name].wait_blocking()
    return name


async def fails_times(key: str, n: int) -> int:
    """Fail the first ``n`` times in this process; then return the number of the attempt."""
    attempts[key] += 1
    if attempts[key] <= n:
        raise ValueError(f"attempt {attempts[key]} of {key}")
    return attempts[key]


async def record(key: str) -> str:
    """Append ``key`` to ``recorded``."""
    recorded.append(key)
    return key


def record_sync(key: str) -> str:
    """Append ``key`` to ``recorded``, from a thread."""
    recorded.append(key)
    return key


async def big(n: int) -> str:
    """Return ``n`` characters."""
    return "x" * n


async def raise_system_exit(code: int = 3) -> NoReturn:
    """Do what nobody should do in a job."""
    raise SystemExit(code)


def raise_system_exit_sync(code: int = 3) -> NoReturn:
    """Do the same in a thread."""
    raise SystemExit(code)


async def swallow_cancel(name: str = "swallow_cancel", seconds: float = 30.0) -> int:
    """Ignore every cancellation until ``gates[name]`` is open or ``seconds`` are over; return how many there were."""
    gates[name].arrivals += 1
    deadline, swallowed = time.monotonic() + seconds, 0
    while not gates[name].is_open and time.monotonic() < deadline:
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            swallowed += 1
    return swallowed


async def returns_unserialisable() -> object:
    """Return what neither JSON nor pickle can carry."""
    return threading.Lock()


async def recursion(depth: int = 0) -> int:
    """Call itself until Python gives up."""
    return await recursion(depth + 1)


async def blocks_loop(seconds: float) -> float:
    """Block the event loop, as careless code does."""
    time.sleep(seconds)
    return seconds


def append_to_file(path: str, text: str) -> str:
    """Append one line in one write, which other processes cannot come between."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)
    return text


async def append_to_file_async(path: str, text: str, seconds: float = 0.0) -> str:
    """Take ``seconds``, then append one line."""
    await asyncio.sleep(seconds)
    return append_to_file(path, text)


async def append_lateness(path: str, name: str, due_at: float) -> None:
    """Append the name and how many seconds after ``due_at`` (epoch) the job has begun."""
    append_to_file(path, f"{name} {time.time() - due_at:.6f}")


def ledger(path: str | Path) -> Counter[str]:
    """Return how often each line was appended to the file; for tests, not to be enqueued."""
    return Counter(Path(path).read_text().splitlines() if Path(path).exists() else ())


async def touch_current_job() -> str:
    """Set ``touched`` in the running job's meta, save it, and return the job's id."""
    from aiorq2 import get_current_job

    job = get_current_job()
    assert job is not None
    job.meta["touched"] = True
    await job.save_meta()
    return str(job.id)


@dataclass
class Account:
    """Something with methods: a plain one, one of the class, a static one."""

    balance: int = 0

    async def deposit(self, amount: int) -> int:
        """Return the balance after a deposit into this copy of the account."""
        self.balance += amount
        return self.balance

    def withdraw(self, amount: int) -> int:
        """Return the balance after taking out ``amount``, from a thread."""
        self.balance -= amount
        return self.balance

    @classmethod
    async def bank(cls, suffix: str = "") -> str:
        """Return the name of the class."""
        return cls.__name__ + suffix

    @staticmethod
    async def double(x: int) -> int:
        """Return twice the argument."""
        return 2 * x


@dataclass
class Greeter:
    """An object that can be called."""

    greeting: str = "hello"

    async def __call__(self, name: str) -> str:
        """Return the greeting."""
        return f"{self.greeting} {name}"


greeter = Greeter()
