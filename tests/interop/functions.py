"""Jobs and callbacks that both libraries' workers run. Nothing but the standard library: old environments import this, too."""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

LONG_S = 60.0


def add(x: int, y: int = 0) -> int:
    """Return the sum."""
    return x + y


async def add_async(x: int, y: int = 0) -> int:
    """Return the sum, as a coroutine."""
    await asyncio.sleep(0)
    return x + y


def echo(*args: Any, **kwargs: Any) -> list[Any]:
    """Return the arguments."""
    return [list(args), kwargs]


def same(value: Any) -> Any:
    """Return the argument."""
    return value


def moment() -> datetime:
    """Return what JSON has no word for."""
    return datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)  # noqa: UP017  Python 3.10 has no UTC


def fail(message: str = "boom") -> NoReturn:
    """Raise ValueError."""
    raise ValueError(message)


async def fail_async(message: str = "boom") -> NoReturn:
    """Raise ValueError, as a coroutine."""
    raise ValueError(message)


@dataclass
class Account:
    """Something with methods, that can be called."""

    balance: int = 0

    def deposit(self, amount: int) -> int:
        """Return the balance after a deposit."""
        return self.balance + amount

    async def withdraw(self, amount: int) -> int:
        """Return the balance after taking out ``amount``, as a coroutine."""
        return self.balance - amount

    @classmethod
    def bank(cls, suffix: str = "") -> str:
        """Return the name of the class."""
        return cls.__name__ + suffix

    @staticmethod
    def double(x: int) -> int:
        """Return twice the argument."""
        return 2 * x

    def __call__(self, x: int) -> int:
        """Return the sum of the balance and ``x``."""
        return self.balance + x


# -- with a ledger outside of Redis ----------------------------------------------------------------------------------


def note(path: str, text: str) -> str:
    """Append a line in one write, which other processes cannot come between."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)
    return text


def fail_times(path: str, times: int) -> int:
    """Fail the first ``times`` runs; return the number of the run."""
    note(path, "run")
    run = lines(path).count("run")
    if run <= times:
        raise ValueError(f"run {run}")
    return run


async def fail_times_async(path: str, times: int) -> int:
    """Do the same as a coroutine."""
    return fail_times(path, times)


def count_runs(path: str) -> int:
    """Return the number of the run."""
    return fail_times(path, 0)


def hold(path: str) -> str:
    """Note that the run has begun, and go on until the file ``<path>.open`` exists."""
    note(path, f"started {os.getpid()} {os.getppid()}")
    deadline = time.monotonic() + LONG_S
    while not Path(f"{path}.open").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    note(path, "ended")
    return "held"


async def hold_async(path: str) -> str:
    """Do the same as a coroutine."""
    note(path, f"started {os.getpid()} {os.getppid()}")
    deadline = time.monotonic() + LONG_S
    while not Path(f"{path}.open").exists() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    note(path, "ended")
    return "held"


def work(path: str, number: int, seconds: float) -> int:
    """Take some time, and note the number and who runs it."""
    time.sleep(seconds)
    note(path, f"{number} {os.getpid()} {os.getppid()}")
    return number


async def work_async(path: str, number: int, seconds: float) -> int:
    """Do the same as a coroutine."""
    await asyncio.sleep(seconds)
    note(path, f"{number} {os.getpid()} {os.getppid()}")
    return number


def lines(path: str | Path) -> list[str]:
    """Return what was noted; for tests, not to be enqueued."""
    return Path(path).read_text().splitlines() if Path(path).exists() else []


# -- what only exists where rq is installed --------------------------------------------------------------------------


def ask_for_retry(path: str, max: int, interval: int = 0) -> Any:
    """Return an ``rq.Retry`` the first ``max`` runs, as code that was written for rq does; then the number of the run."""
    note(path, "run")
    run = lines(path).count("run")
    return importlib.import_module("rq").Retry(max=max, interval=interval) if run <= max else run


async def ask_for_retry_async(path: str, max: int, interval: int = 0) -> Any:
    """Do the same as a coroutine."""
    return ask_for_retry(path, max, interval)


def always_ask_for_retry(max: int, library: str) -> Any:
    """Return a ``Retry`` of ``rq`` or ``aiorq2`` in every run."""
    return importlib.import_module(library).Retry(max=max)


# -- callbacks ---------------------------------------------------------------------------------------------------------


def on_success(job: Any, connection: Any, result: Any, *_: Any) -> None:
    """Tell the test what rq's contract hands over."""
    connection.rpush(f"told:{job.id}", f"success {job.origin} {list(job.args)} {result}")


def on_failure(job: Any, connection: Any, kind: Any, value: Any, traceback: Any) -> None:
    """Tell the test what rq's contract hands over."""
    has_traceback = traceback is not None
    text = f"failure {job.origin} {list(job.args)} {kind.__name__} {value} {has_traceback}"
    connection.rpush(f"told:{job.id}", text)


def on_stopped(job: Any, connection: Any) -> None:
    """Tell the test what rq's contract hands over."""
    connection.rpush(f"told:{job.id}", f"stopped {job.origin} {list(job.args)}")


def refuse(job: Any, connection: Any, result: Any) -> NoReturn:
    """A success callback that raises."""
    raise RuntimeError(f"{result} is not good enough")


ACCOUNT = Account(10)

CALLABLES: dict[str, Callable[..., Any] | str] = {
    **{
        one.__name__: one
        for one in (
            *(add, add_async, echo, same, moment, fail, fail_async),
            *(fail_times, fail_times_async, count_runs, hold, hold_async, work, work_async),
            *(ask_for_retry, ask_for_retry_async, always_ask_for_retry),
            *(on_success, on_failure, on_stopped, refuse),
        )
    },
    "method": ACCOUNT.deposit,
    "async method": ACCOUNT.withdraw,
    "classmethod": Account.bank,
    "staticmethod": Account.double,
    "callable object": ACCOUNT,
    "missing": "tests.interop.functions.missing",
}
"""What the tests and the driver enqueue, by name."""
