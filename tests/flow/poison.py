"""Jobs that nobody should write, each at the top level of this module so that a worker finds it."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from tests.support import jobs

# -- exceptions --------------------------------------------------------------------------------------


class Shy(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


class Huge(Exception):
    """An exception with a long story."""

    def __str__(self) -> str:
        return "x" * 20_000_000


class Stubborn(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("stubborn")
        self.lock = open(os.devnull)  # noqa: SIM115
        self.lock.close()


class Own(BaseException):
    """An exception that ``except Exception`` does not catch."""


def _cycle() -> Exception:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


MAKERS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("boom"),
    "ExceptionGroup": lambda: ExceptionGroup("several", [ValueError(1), KeyError(2)]),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("several", [KeyboardInterrupt()]),
    "Own": lambda: Own("boom"),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "StopIteration": lambda: StopIteration(1),
    "StopAsyncIteration": StopAsyncIteration,
    "CancelledError": lambda: asyncio.CancelledError("by itself"),
    "TimeoutError": TimeoutError,
    "RecursionError": RecursionError,
    "MemoryError": MemoryError,
    "Shy": Shy,
    "Huge": Huge,
    "Stubborn": lambda: Stubborn(1, 2),
    "cycle": _cycle,
    "surrogate": lambda: ValueError("half \ud800 a pair"),
}


async def throw(kind: str) -> NoReturn:
    """Raise it."""
    jobs.attempts[kind] += 1
    raise MAKERS[kind]()


def throw_sync(kind: str) -> NoReturn:
    """Raise it in a thread (or a process)."""
    raise MAKERS[kind]()


def recurse(depth: int = 0) -> int:
    """Call itself until Python gives up."""
    return recurse(depth + 1) + 1


def nest(depth: int) -> None:
    """Raise from so deep inside that the traceback has to be cut."""
    if depth == 0:
        raise ValueError("at the bottom")
    nest(depth - 1)


# -- results -----------------------------------------------------------------------------------------


class NoRepr:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


class NoPickle:
    """An object that cannot be pickled, and takes it badly."""

    def __reduce__(self) -> NoReturn:
        raise KeyError("no")


def _numbers() -> Iterator[int]:
    yield 1


def _deep(levels: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(levels):
        inner = [inner]
    return inner


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


RESULTS: dict[str, Callable[[], Any]] = {
    "an object": object,
    "an object that cannot be shown": NoRepr,
    "a coroutine": lambda: jobs.nothing(),
    "a generator": _numbers,
    "a future": lambda: asyncio.get_running_loop().create_future(),
    "something deep": lambda: _deep(100_000),
    "itself": _circle,
    "a huge number": lambda: 10**10_000,
}


async def give(kind: str) -> Any:
    """Return it."""
    jobs.attempts[kind] += 1
    return RESULTS[kind]()


def give_unpicklable() -> Any:
    """Return what cannot leave a process."""
    return NoPickle()


# -- processes ---------------------------------------------------------------------------------------


def die(how: str) -> NoReturn:
    """End the process that runs this."""
    match how:
        case "os._exit":
            os._exit(1)
        case "segfault":
            ctypes.string_at(0)
        case "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(3)


def tell_pid() -> int:
    """Return which process this is."""
    return os.getpid()


def make_noise() -> str:
    """Print in every way there is, where a worker might be listening for something else."""
    for line in range(20_000):
        print("printed", line)  # noqa: T201
    for number in (1, 2):
        os.write(number, b"written\n" * 100_000)
    subprocess.run(
        [sys.executable, "-c", "import sys; sys.stderr.write('x' * 500_000)"], check=True
    )
    subprocess.run(["echo", "from a program"], check=True)
    return subprocess.run(["cat"], check=True, capture_output=True, text=True).stdout


def close_everything() -> str:
    """Close stdin, stdout and stderr."""
    for number in range(3):
        os.close(number)
    return "closed"


def signal_oneself() -> str:
    """Get the signals that a terminal or an operating system sends to all processes of a worker."""
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    child = subprocess.Popen(["sleep", "30"])
    child.terminate()
    return "ended by SIGTERM" if child.wait(5) == -signal.SIGTERM else "goes on"


# -- leaks -------------------------------------------------------------------------------------------

left_behind: contextvars.ContextVar[str] = contextvars.ContextVar("left_behind", default="nothing")


async def leave_behind(what: str) -> str:
    """Return what an earlier job left in the context, and leave something oneself."""
    found = left_behind.get()
    left_behind.set(what)
    return found


def leave_behind_sync(what: str) -> str:
    """The same in a thread."""
    found = left_behind.get()
    left_behind.set(what)
    return found
