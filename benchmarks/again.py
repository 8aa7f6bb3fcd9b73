"""Two runs of the same side by side: how far apart the ratios are, and so how much one run can be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.figures import OURS
from benchmarks.report import Report, between

CLOSE = 0.15
"""Ratios that are not further apart than this count as the same."""


@dataclass(frozen=True)
class Pair:
    """How we did against a peer in two runs: ratios, above 1 where we were better."""

    workload: str
    peer: str
    first: float
    second: float

    @property
    def apart(self) -> float:
        """How much larger the larger one is."""
        return max(self.first, self.second) / min(self.first, self.second) - 1

    @property
    def is_close(self) -> bool:
        """Whether they count as the same."""
        return self.apart <= CLOSE


def pairs(first: Report, second: Report) -> Iterator[Pair]:
    """Yield what both runs have: each workload, against the peer that was the best one in the first."""
    for name, one in first.comparisons.items():
        other, peer = second.comparisons.get(name), one.best()
        if other is None or peer is None:
            continue
        ratios = one.ratio(OURS, peer), other.ratio(OURS, peer)
        if ratios[0] and ratios[1]:
            yield Pair(name, peer, ratios[0], ratios[1])


def lines_of(first: Report, second: Report) -> list[str]:
    """Return the Markdown of both, the closest workloads first."""
    found = sorted(pairs(first, second), key=lambda pair: pair.apart)
    if not found:
        return []
    close = sum(pair.is_close for pair in found)
    when = between(second.facts.get("date", "another time"))
    lines = ["", f"### Once more ({when})", ""]
    lines += [
        f"The ratios of {close} of {len(found)} workloads are within {CLOSE:.0%} of each other.",
        "",
    ]
    lines += [
        "| work | against | first run | second run | apart |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.workload} | {one.peer} | {one.first:.2f} × | {one.second:.2f} × | {one.apart:.0%} |"
        for one in found
    ]
    return lines
