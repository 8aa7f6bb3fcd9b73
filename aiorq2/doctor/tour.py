"""How far an examination is, and how far it may go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiorq2.backends.redis import RedisBackend


@dataclass(frozen=True, slots=True)
class Progress:
    """How many keys and entries of lists have been looked at, of about ``total``."""

    seen: int
    total: int


class Tour:
    """One examination: where it is done, what it has seen so far, and when it is to stop.

    Args:
        limit: how many keys and entries are looked at; None for all.
        on_progress: told after each step.
    """

    def __init__(
        self,
        backend: RedisBackend,
        limit: int | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.backend = backend
        self.keys = backend.keys
        self.seen = 0
        self.total = 0
        self._limit = limit
        self._on_progress = on_progress

    @property
    def is_over(self) -> bool:
        """Whether the limit is reached."""
        return self._limit is not None and self.seen >= self._limit

    def saw(self, count: int) -> None:
        """Note that so much more was looked at."""
        self.seen += count
        self.total = max(self.total, self.seen)
        if self._on_progress is not None:
            self._on_progress(Progress(self.seen, self.total))
