"""Functions that the tests of ``RQ`` make jobs of, each test with an ``RQ`` of its own."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from aiorq2 import Job, get_current_job

T = TypeVar("T")


def add(x: int, y: int = 0) -> int:
    """Return the sum."""
    return x + y


async def add_later(x: int, y: int) -> int:
    """Return the sum, from a coroutine."""
    return x + y


def nothing() -> None:
    """Do nothing."""


def clash(timeout: int, queue: str = "none") -> list[Any]:
    """Take arguments that are called like options."""
    return [timeout, queue]


def collect(*args: Any, **kwargs: Any) -> list[Any]:
    """Take anything."""
    return [list(args), kwargs]


def fail() -> None:
    """Raise."""
    raise ValueError("boom")


def where() -> list[Any]:
    """Say what kind of job this is, and whether it runs in the main thread."""
    job = get_current_job()
    return [type(job).__name__, threading.current_thread() is threading.main_thread()]


def plus_one(func: Callable[..., int]) -> Callable[..., int]:
    """A decorator that looks like its function."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> int:
        return func(*args, **kwargs) + 1

    return wrapper


def with_ten(func: Callable[..., int]) -> Callable[..., int]:
    """A decorator that gives its function an argument which its callers do not know of."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> int:
        return func(10, *args, **kwargs)

    return wrapper


@plus_one
def wrapped(x: int) -> int:
    """Return the argument; one more, to its callers."""
    return x


@with_ten
def given_ten(ten: int, x: int) -> int:
    """Return the sum of what the decorator gives and what the caller gives."""
    return ten + x


class Account:
    """Something with functions in it."""

    @staticmethod
    def interest(amount: int) -> int:
        """A static method."""
        return amount // 10

    @classmethod
    def open(cls) -> None:
        """A class method."""

    def deposit(self, amount: int) -> int:
        """A method."""
        return amount


class OwnJob(Job):
    """A job class of one's own."""
