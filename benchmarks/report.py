"""A whole run: what was measured on what, and all comparisons; written as JSON and read back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Comparison, Row

BETWEEN = "; "
"""What stands between the facts of several runs."""


@dataclass(frozen=True)
class Entry:
    """Who took part, and how it was set up."""

    label: str
    versions: dict[str, str]
    concurrency: int
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """A run."""

    facts: dict[str, str]
    """Machine, versions, date, command."""
    entries: tuple[Entry, ...]
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    """By workload, in the order in which they were measured."""

    def write(self, path: Path) -> None:
        """Write the run as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read what ``write`` has written."""
        found: Any = json.loads(path.read_text())
        entries = [
            Entry(**{**each, "choices": tuple(each["choices"])}) for each in found["entries"]
        ]
        comparisons = {name: _comparison(each) for name, each in found["comparisons"].items()}
        return cls(found["facts"], tuple(entries), comparisons)

    def joined(self, other: Report) -> Report:
        """Return both runs as one: the rounds of the same workload follow on each other, if as much of it was measured."""
        known = {entry.label for entry in self.entries}
        more = [entry for entry in other.entries if entry.label not in known]
        facts = {**self.facts, **_beside(self.facts, other.facts)}
        comparisons = {**other.comparisons, **self.comparisons}
        for name in self.comparisons.keys() & other.comparisons.keys():
            comparisons[name] = self.comparisons[name].joined(other.comparisons[name])
        ordered = {name: comparisons[name] for name in {**self.comparisons, **comparisons}}
        return Report(facts, (*self.entries, *more), ordered)


def _comparison(found: dict[str, Any]) -> Comparison:
    rows = {
        label: Row(tuple(row["samples"]), tuple(row["failures"]), row["cannot"])
        for label, row in found["rows"].items()
    }
    return Comparison(**{**found, "beside": tuple(found["beside"]), "rows": rows})


def _beside(facts: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    """Return what is to be said of both runs: where they differ."""
    return {
        name: f"{facts[name]}{BETWEEN}{others[name]}"
        for name in facts
        if name in others and others[name] not in facts[name].split(BETWEEN)
    }


def between(fact: str) -> str:
    """Return the first and the last of what several runs say, in their order as text or as numbers: ``"1.5 to 2.0"``."""
    several = fact.split(BETWEEN)
    try:
        several.sort(key=float)
    except ValueError:
        several.sort()
    return several[0] if len(several) == 1 else f"{several[0]} to {several[-1]}"
