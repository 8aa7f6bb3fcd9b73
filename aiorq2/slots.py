"""Slots that the parts of a worker share, so that none of them is left out."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Takes(Protocol):
    """Something that takes slots."""

    @property
    def taken(self) -> int:
        """How many it has."""
        ...

    @property
    def is_hungry(self) -> bool:
        """Whether it knows that there are jobs for more."""
        ...

    def stir(self) -> None:
        """Look again: slots may be free."""
        ...


class Slots:
    """How many jobs run at once, for one taker or for several.

    Whoever has jobs may take what nobody else has jobs for; when several have, each gets its share as slots get free. One slot is
    kept for each taker that has none, so that it goes on listening.

    Args:
        count: how many there are; at least one for each taker.
        sync_count: how many of the jobs may be plain functions in threads, and in processes.
    """

    def __init__(self, count: int, sync_count: int) -> None:
        self.count = count
        self.threads = asyncio.Semaphore(sync_count)
        self.processes = asyncio.Semaphore(sync_count)
        self._takers: list[Takes] = []

    def join(self, taker: Takes) -> None:
        """Count a taker in."""
        self._takers.append(taker)

    def leave(self, taker: Takes) -> None:
        """Count it out."""
        if taker in self._takers:
            self._takers.remove(taker)
        self.stir_others(taker)

    def free_for(self, taker: Takes) -> int:
        """Return how many slots a taker may take now."""
        free = self.count - taker.taken
        others = [one for one in self._takers if one is not taker]
        if others:
            free -= sum(max(one.taken, 1) for one in others)
            rivals = sum(one.is_hungry for one in others)
            free = min(free, self.count // (rivals + 1) - taker.taken) if rivals else free
        return max(0, free)

    def stir_others(self, taker: Takes) -> None:
        """Tell the others that slots may be free."""
        for one in self._takers:
            if one is not taker and one.is_hungry:
                one.stir()
