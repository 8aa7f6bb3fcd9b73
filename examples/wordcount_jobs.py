"""The jobs of ``wordcount.py``. They live in a module of their own because workers import them by name."""

from __future__ import annotations

import ast
import threading
from pathlib import Path
from typing import TypedDict

import anyio

PARSER = threading.Lock()
"""``ast.parse`` in several threads at once raises SystemError at times, in some versions of Python (gh-106905)."""


class Count(TypedDict):
    """What is counted in one file; ``names`` is None where Python cannot parse the file."""

    words: int
    lines: int
    names: int | None


async def count_on_the_loop(path: str) -> Count:
    """Count one file in a coroutine."""
    return count(await anyio.Path(path).read_bytes())


def count_in_a_thread(path: str) -> Count:
    """Count one file in a plain function, which a worker runs in a thread."""
    return count(Path(path).read_bytes())


def count(source: bytes) -> Count:
    """Count words, lines and the distinct variable names of Python source."""
    try:
        with PARSER:
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        names = None  # the standard library has such files, to test its own parser with
    else:
        names = len({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})
    return Count(words=len(source.split()), lines=len(source.splitlines()), names=names)
