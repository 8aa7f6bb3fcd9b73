"""The queues that are measured: one small module each, all with the same names in it.

A module is imported in two places. ``run.py`` reads what is needed to install and to watch the peer: for that, importing the
module must not import the peer's library. The rest runs in the peer's own environment: ``python -m peers NAME …``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

NAMES = ("aiorq2", "ardiq", "streaq", "saq", "arq", "rq")


@dataclass(frozen=True)
class Producer:
    """A connected client that enqueues the no-op."""

    one: Callable[[int], Awaitable[str]]
    """Enqueue ``noop(number)`` as a web handler would; returns the job's id."""
    many: Callable[[Sequence[int]], Awaitable[list[str]]]
    """Enqueue all of these in the quickest way that the peer offers; returns their ids in the same order."""


class Peer(Protocol):
    """What a module of this package has."""

    PACKAGES: tuple[str, ...]
    """What pip installs; the first one is the peer itself."""
    PYTHON: tuple[int, int]
    """The oldest Python that it runs on."""
    SHARE: float
    """The part of the jobs that is enough to measure it; 1 for all."""
    CONCURRENCY: int
    """How many jobs its worker runs at once unless told otherwise: what it is quickest with, up to 1 000."""

    def stored(self, redis: Any, total: int) -> int:
        """Return how many of ``total`` jobs have their result stored. Asked often: one cheap command, and the same at any size."""

    def waiting(self, redis: Any) -> int:
        """Return how many jobs wait."""

    def producer(self, url: str) -> AbstractAsyncContextManager[Producer]:
        """Connect, for enqueueing."""

    def work(self, url: str, concurrency: int) -> None:
        """Run one worker until a signal comes."""

    async def results(self, url: str, ids: Sequence[str]) -> list[Any]:
        """Return the stored results of these jobs, through the peer's own reader where it is not far too slow."""
