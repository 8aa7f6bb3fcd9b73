"""Functions of every kind, at the top level of a module where a worker can find them."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from os import system  # noqa: F401  # re-exported: a worker must not take it for project code


def add(x: int, y: int) -> int:
    """Return the sum."""
    return x + y


async def add_later(x: int, y: int) -> int:
    """Return the sum, from a coroutine."""
    return x + y


def wrapping(func: Callable[[int, int], Awaitable[int]]) -> Callable[[int, int], Awaitable[int]]:
    """Decorate a coroutine function with a plain one."""

    @functools.wraps(func)
    def wrapper(x: int, y: int) -> Awaitable[int]:
        return func(x, y)

    return wrapper


wrapped = wrapping(add_later)


@functools.lru_cache
def cached(x: int) -> int:
    """Return the same, remembered."""
    return x


def count_up() -> Iterator[int]:
    """Yield."""
    yield 1


async def count_up_later() -> AsyncIterator[int]:
    """Yield, asynchronously."""
    yield 1


@dataclass
class Basket:
    """An object whose length, and so its truth, can be nothing."""

    items: tuple[str, ...] = ()

    class Label:
        """A class inside a class."""

        @staticmethod
        def text() -> str:
            """Return a text."""
            return "label"

    def __len__(self) -> int:
        return len(self.items)

    def size(self) -> int:
        """Return the number of items."""
        return len(self)

    @classmethod
    def make(cls, item: str) -> Basket:
        """Return a basket with one item."""
        return cls((item,))

    @staticmethod
    def weigh(x: int) -> int:
        """Return the weight."""
        return x


class Greeter:
    """A callable object."""

    def __call__(self, name: str) -> str:
        return f"hello {name}"


class AsyncGreeter:
    """A callable object that gives a coroutine."""

    async def __call__(self, name: str) -> str:
        return f"hello {name}"


class Shy:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


greeter = Greeter()
run_add = functools.partial(add, 1)
run_shell = functools.partial(subprocess.run, ["true"])
not_callable = 1
text = "text"
