"""What the jobs of every peer do, and a board in shared memory on which each run leaves its mark.

The board is a file that the measuring process reads while workers write: per job the moment at which it began (seconds of the
monotonic clock, which processes share), then one byte per job that counts its runs. A mark takes less than half a microsecond.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
import time
from array import array
from functools import cache
from pathlib import Path

VARIABLE = "AIORQ2_BENCH_BOARD"
NAP_S = 0.05
MOMENT = struct.Struct("d")
WIDTH = MOMENT.size + 1


class Board:
    """The marks of one measurement."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._marks = mmap.mmap(file.fileno(), 0)
        self.size = len(self._marks) // WIDTH
        self._runs_at = self.size * MOMENT.size

    @classmethod
    def blank(cls, path: Path, jobs: int) -> Board:
        """Make a board for so many jobs."""
        path.write_bytes(bytes(WIDTH * jobs))
        return cls(path)

    def mark(self, number: int) -> None:
        """Note that this job runs."""
        MOMENT.pack_into(self._marks, number * MOMENT.size, time.monotonic())
        self._marks[self._runs_at + number] += 1

    def runs(self) -> bytes:
        """Return how often each job ran."""
        return self._marks[self._runs_at :]

    def starts(self) -> array[float]:
        """Return when each job began, on the monotonic clock; 0 where it has not."""
        return array("d", self._marks[: self._runs_at])

    def has_begun(self) -> bool:
        """Whether any job has."""
        return self._marks.find(b"\x01", self._runs_at) >= 0


@cache
def board() -> Board:
    """Return the board of the worker process that this is."""
    return Board(Path(os.environ[VARIABLE]))


async def noop(number: int) -> int:
    """Do nothing, and hand the argument back, so that results can be told apart."""
    board().mark(number)
    return number


async def nap(number: int) -> int:
    """Wait as for a database or a web service."""
    board().mark(number)
    await asyncio.sleep(NAP_S)
    return number


def noop_sync(number: int) -> int:
    """Do nothing, as a plain function."""
    board().mark(number)
    return number


def nap_sync(number: int) -> int:
    """Wait, as a plain function."""
    board().mark(number)
    time.sleep(NAP_S)
    return number


ASYNC = {"noop": noop, "nap": nap, "sync": noop_sync}
"""By task, for queues whose workers have an event loop."""
SYNC = {"noop": noop_sync, "nap": nap_sync, "sync": noop_sync}
"""By task, for the others."""
