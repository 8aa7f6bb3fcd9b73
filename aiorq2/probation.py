"""Give a job whose worker died again and again its last run alone: if it dies then, it was the job, and nobody dies with it.

Until then nobody can tell a job that kills its worker from one that ran beside it. ``claim.lua`` leases such a job to nobody
who has others; here is what a worker does about it.
"""

from __future__ import annotations

from collections.abc import Container

from aiorq2.backends.base import Claim, Claimed, ClaimRequest

PATIENCE_S = 15.0
"""How long a worker stands back for one job. It does not depend on the lease: how long the others' jobs take does not either."""


class Probation:
    """Decides how many jobs a worker asks for.

    It stands back ``patience_s`` at the most: then it takes such a job beside others, or claims others beside it.

    Args:
        max_deaths: the death at which a job has failed.
        patience_s: how long the worker waits until nothing runs in it, and how long one job may have it for itself.
    """

    def __init__(self, max_deaths: int, patience_s: float = PATIENCE_S) -> None:
        self._last_chance = max(1, max_deaths - 1)
        self._patience_s = patience_s
        self._emptying_until: float | None = None
        self._alone: str | None = None
        self._alone_until = self._lenient_until = 0.0

    def last_chance(self, now: float) -> int:
        """Return from how many deaths on a job is to be had alone; 0 for none, when this worker has waited long enough."""
        return 0 if now < self._lenient_until else self._last_chance

    def is_ready(self, is_empty: bool) -> bool:
        """Whether such a job may be had: the worker has stood back for it, is empty now, and asks for nothing else meanwhile."""
        return is_empty and self._emptying_until is not None

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

    def note(self, request: ClaimRequest, claimed: Claimed, now: float) -> None:
        """Take in what a claim has brought."""
        if claimed.has_stood_back:
            self._emptying_until = self._emptying_until or now + self._patience_s
        elif request.is_empty and request.count:
            self._emptying_until = None
        if request.last_chance and len(claimed.claims) == 1:
            (claim,) = claimed.claims
            if _deaths(claim) >= request.last_chance:
                self._alone, self._alone_until = claim.execution_id, now + self._patience_s


def _deaths(claim: Claim) -> int:
    return int(claim.record.number("aio_deaths") or 0)
