"""The arithmetic of a comparison: quantiles, medians, ratios, and who is best."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal

OURS = "aiorq2"
RUST = "ardiq"
SYNC_PEERS = ("celery", "dramatiq")
NO_PEERS = ("floor", "asyncio")


@dataclass(frozen=True)
class Row:
    """What one entrant did in one workload."""

    samples: tuple[dict[str, float] | None, ...] = ()
    """One for each round; None where it failed."""
    failures: tuple[str, ...] = ()
    cannot: str = ""
    """Why there is none."""

    def padded(self, rounds: int) -> tuple[dict[str, float] | None, ...]:
        """Return the samples of so many rounds: None for those in which it took no part."""
        return (*self.samples, *(None,) * (rounds - len(self.samples)))

    def values(self, name: str) -> list[float]:
        """Return one figure of all rounds that have it."""
        return [sample[name] for sample in self.samples if sample and name in sample]

    def median(self, name: str) -> float | None:
        """Return the median of one figure; None where there is none."""
        values = self.values(name)
        return median(values) if values else None


@dataclass(frozen=True)
class Comparison:
    """What all did in one workload."""

    name: str
    title: str
    headline: str
    """The figure that is compared."""
    beside: tuple[str, ...] = ()
    is_better: Literal["more", "less"] = "more"
    rows: dict[str, Row] = field(default_factory=dict)

    def joined(self, other: Comparison) -> Comparison:
        """Return this one with the other's rounds behind its own; alone, where the other measured another amount."""
        if other.title != self.title:
            return self
        rounds = [
            max((len(row.samples) for row in one.rows.values()), default=0) for one in (self, other)
        ]
        rows = {}
        for label in {**self.rows, **other.rows}:
            one, two = self.rows.get(label, Row()), other.rows.get(label, Row())
            samples = (*one.padded(rounds[0]), *two.padded(rounds[1]))
            failures = (*one.failures, *two.failures)
            cannot = "" if any(samples) else one.cannot or two.cannot
            rows[label] = Row(samples, failures, cannot)
        return replace(self, rows=rows)

    def ranked(self) -> list[str]:
        """Return the entrants, the best first, those without figures last."""

        def key(label: str) -> float:
            value = self.rows[label].median(self.headline)
            if value is None:
                return math.inf
            return value if self.is_better == "less" else -value

        return sorted(self.rows, key=key)

    def best(self, leaving_out: Collection[str] = ()) -> str | None:
        """Return the best peer: neither ours, nor a floor, nor one of these; None where nobody has a figure."""
        aside = {OURS, *NO_PEERS, *leaving_out}
        return next(
            (
                label
                for label in self.ranked()
                if name_of(label) not in aside
                and self.rows[label].median(self.headline) is not None
            ),
            None,
        )

    def ratio(self, label: str, other: str | None, figure: str = "") -> float | None:
        """Return how many times as good ``label`` is as ``other``: the median over the rounds that both have."""
        name = figure or self.headline
        if other is None or label not in self.rows or other not in self.rows:
            return None
        pairs = zip(self.rows[label].samples, self.rows[other].samples, strict=False)
        quotients = [
            quotient(one[name], two[name], self.is_better)
            for one, two in pairs
            if one and two and name in one and name in two
        ]
        known = [each for each in quotients if each is not None]
        return median(known) if known else None


def quotient(one: float, other: float, is_better: str) -> float | None:
    """Return how many times as good one figure is as the other; None where that has no meaning."""
    above, below = (other, one) if is_better == "less" else (one, other)
    return above / below if below > 0 and above >= 0 else None


def quantile(values: Iterable[float], part: float) -> float:
    """Return the smallest value that is not exceeded by ``part`` of all (nearest rank)."""
    ordered: Sequence[float] = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def name_of(label: str) -> str:
    """Return the peer behind ``name@concurrency``."""
    return label.partition("@")[0]
