"""The no-op that every peer runs, and a board in shared memory on which each run leaves its mark.

The board is a file that the measuring process reads while the worker writes: the moment the first job began (seconds of the
monotonic clock, which processes share), then one byte per job. A mark takes a tenth of a microsecond.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from functools import cache
from pathlib import Path

VARIABLE = "AIORQ2_BENCH_BOARD"
HEAD = struct.Struct("d")


class Board:
    """The marks of one drain."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._marks = mmap.mmap(file.fileno(), 0)
        self._is_blank = self.started_at is None

    @classmethod
    def blank(cls, path: Path, jobs: int) -> Board:
        """Make a board for so many jobs."""
        path.write_bytes(bytes(HEAD.size + jobs))
        return cls(path)

    def mark(self, number: int) -> None:
        """Note that this job runs."""
        if self._is_blank:
            self._is_blank = False
            HEAD.pack_into(self._marks, 0, time.monotonic())
        self._marks[HEAD.size + number] += 1

    @property
    def started_at(self) -> float | None:
        """When the first job began, on the monotonic clock; None while none has."""
        (started_at,) = HEAD.unpack_from(self._marks, 0)
        return started_at or None

    def runs(self) -> bytes:
        """Return how often each job ran."""
        return self._marks[HEAD.size :]


@cache
def board() -> Board:
    """Return the board of the worker process that this is."""
    return Board(Path(os.environ[VARIABLE]))


async def noop(number: int) -> int:
    """Do nothing, and hand the argument back, so that results can be told apart."""
    board().mark(number)
    return number


def noop_sync(number: int) -> int:
    """Do the same for a queue without coroutines."""
    board().mark(number)
    return number
