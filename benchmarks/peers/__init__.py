"""The queues that are measured: one small module each, all with the same names in it.

A module is imported in two places. The measuring process reads what is needed to install and to watch the peer: for that, importing
the module must not import the peer's library. The rest runs in the peer's own environment: ``python -m peers NAME …``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

NAMES = (
    "aiorq2",
    "ardiq",
    "streaq",
    "taskiq",
    "docket",
    "saq",
    "arq",
    "rq",
    "celery",
    "dramatiq",
)
FLOORS = ("floor", "asyncio")
"""No peers, but what there is to reach: our own scripts driven by a bare loop, and tasks without any queue."""

Task = Literal["noop", "nap", "sync"]
"""What jobs do: nothing; sleep 50 ms; nothing, as a plain function that a worker with an event loop runs in a thread."""


@dataclass(frozen=True)
class Setup:
    """What a worker is told."""

    task: Task
    concurrency: int
    schedules: bool = False
    """Whether jobs that wait for their time are among them."""


@dataclass(frozen=True)
class Producer:
    """A connected client."""

    one: Callable[[Task, int], Awaitable[Any]]
    """Enqueue ``task(number)`` as a web handler would; returns the peer's handle of the job."""
    many: Callable[[Task, Sequence[int]], Awaitable[list[str]]]
    """Enqueue all of these in the quickest way that the peer offers; returns their ids in the same order."""
    wait: Callable[[Any], Awaitable[Any]]
    """Return the result of the job with this handle, in the way that hears of it soonest."""
    at: Callable[[Sequence[int], Sequence[float]], Awaitable[list[str]]] | None = None
    """Enqueue no-ops that are due at these moments (seconds since 1970); returns their ids. None: see ``LACKS``."""


class Peer(Protocol):
    """What a module of this package has."""

    PACKAGES: tuple[str, ...]
    """What pip installs; the first one is the peer itself."""
    LIBRARY: str
    """What is imported, once, before many workers are forked."""
    PYTHON: tuple[int, int]
    """The oldest Python that it runs on."""
    IS_ASYNC: bool
    """Whether its producer awaits Redis. Otherwise concurrent callers are threads."""
    SHARE: float
    """The part of the jobs that is enough to measure it; 1 for all."""
    CONCURRENCY: int
    """How many jobs its worker runs at once unless told otherwise: what it is quickest with, up to 1 000."""
    CHOICES: tuple[str, ...]
    """How it is set up and why: one sentence per choice."""
    LACKS: Mapping[str, str]
    """Which workloads it cannot do (patterns), and why: a few words for the table."""

    def stored(self, redis: Any, total: int) -> int:
        """Return how many of ``total`` jobs have their result stored. Asked often: one cheap command, and the same at any size."""

    def waiting(self, redis: Any) -> int:
        """Return how many jobs wait."""

    def producer(self, url: str) -> AbstractAsyncContextManager[Producer]:
        """Connect, for enqueueing."""

    def work(self, url: str, setup: Setup) -> None:
        """Run one worker until a signal comes."""

    async def results(self, url: str, ids: Sequence[str]) -> list[Any]:
        """Return the stored results of these jobs, through the peer's own reader where it is not far too slow."""


def chunks(numbers: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut a sequence into pieces of up to ``size``."""
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run on uvloop, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)
