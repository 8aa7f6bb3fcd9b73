"""Give a job whose worker died again and again its last run alone: if it dies then, it was the job, and nobody dies with it.

Until then nobody can tell a job that kills its worker from one that ran beside it.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from aiorq2.backends.base import Claim


class Probation:
    """Decides which claims a worker begins and how many it asks for. It stands back ``patience_s`` at the most: then it begins the
    job beside others, or claims others beside it.

    Args:
        max_deaths: the death at which a job has failed.
        patience_s: how long the worker waits until nothing runs in it, and how long one job may have it for itself.
    """

    def __init__(self, max_deaths: int, patience_s: float) -> None:
        self._last_chance = max(1, max_deaths - 1)
        self._patience_s = patience_s
        self._emptying_until: float | None = None
        self._alone: str | None = None
        self._alone_until = self._lenient_until = 0.0

    def until(self, running: Container[str]) -> float | None:
        """Return when it no longer stands back, None if it does not now."""
        if self._alone is not None and self._alone in running:
            return self._alone_until
        return self._emptying_until

    def limit(self, wanted: int, running: Container[str], is_empty: bool, now: float) -> int:
        """Return how many of the ``wanted`` jobs are to be asked for; ``is_empty``: nothing runs, and nothing is being claimed."""
        if self._alone is not None and (self._alone not in running or now >= self._alone_until):
            self._alone = None
        if self._emptying_until is not None and now >= self._emptying_until:
            self._emptying_until, self._lenient_until = None, now + 4 * self._patience_s
        if self._alone is not None:
            return 0
        if self._emptying_until is None:
            return wanted
        return min(wanted, 1) if is_empty else 0

    def sort(
        self, claims: Sequence[Claim], is_empty: bool, now: float
    ) -> tuple[Sequence[Claim], Sequence[Claim]]:
        """Return which claims are begun, and which go back to the front of their queue until nothing else runs here."""
        is_alone = is_empty and len(claims) == 1
        if now < self._lenient_until:
            return claims, ()
        suspects = [claim for claim in claims if self._is_on_probation(claim)]
        if is_alone or not suspects:
            if is_empty:
                self._emptying_until = None
            if is_alone and suspects:
                self._alone = claims[0].execution_id
                self._alone_until = now + self._patience_s
            return claims, ()
        if self._emptying_until is None:
            self._emptying_until = now + self._patience_s
        return [claim for claim in claims if claim not in suspects], suspects

    def _is_on_probation(self, claim: Claim) -> bool:
        if "aio_deaths" not in claim.record.fields:  # almost all
            return False
        return (claim.record.number("aio_deaths") or 0) >= self._last_chance
