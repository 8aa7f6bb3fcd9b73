"""Measured figures: one line of JSON each while the tests run, a table in the documentation afterwards.

``python -m tests.faults.figures FILE…`` prints the table; ``--write DOCUMENT`` puts it between the marks in there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults import settings

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"

DEMANDS: dict[str, tuple[str, str]] = {
    "storm": (
        "storm: 10 000 jobs at 150/s, a random worker killed -9 every second, every connection reset every 2 s",
        "lost, stuck, wrong, overlaps, self-exits 0; re-runs ≤ runs in flight at kills",
    ),
    "rerun": ("re-run after a kill, beyond the lease, s", "≤ 1 s"),
    "first": ("Redis is back after a crash, a flap, half-open, READONLY … : first job, s", "≤ 1 s"),
    "slots": ("… all slots, s", "≤ 3 s"),
    "cpu": ("while Redis is away: processor, in cores", "≤ 0.05 core"),
    "log": ("while Redis is away: log, bytes a second", "≤ 1 KiB/s"),
    "memory": ("while Redis is away: growth of memory, MB", "flat"),
    "silent": ("a peer gone silent: noticed, in leases", "≤ 1"),
    "woken": ("frozen or cut off beyond the lease: runs cancelled after waking, s", "≤ 0.5 s"),
    "idle_stop": ("SIGTERM, idle, s", "≤ 0.5 s"),
    "busy_stop": ("SIGTERM, jobs longer than grace: exit, beyond the grace, s", "≤ 2 s"),
    "lost_replies": ("2 % of replies dropped after the command ran", "lost 0, duplicates 0"),
    "poison": ("poison: 20 % odd failures, 1 % process killers", "all terminal, others done"),
    "blocked": ("event loop blocked for two leases", "duplicates 0, overlaps 0"),
    "caller": ("enqueue with Redis away: told, beyond the time limit, s", "≤ 0.2 s"),
    "points": ("a kill at every Redis call that the worker awaits", "I1–I5 at each"),
    "histories": ("random histories of all verbs against the model", "2 000, equal states"),
    "waiting": ("a queue of a million: memory of a job that waits", "≤ that of rq"),
    "slices": ("100 000 dependents, a million stale entries: slowest script", "≤ 5 to 10 ms"),
    "idle": ("200 idle workers: commands per second and worker", "≤ 1"),
    "reconnect": ("Redis restarts beneath 200 workers: all are back, s", "≤ 5 s"),
    "soak": ("soak", "RSS slope ≤ 1 MB per million jobs; keys back to the constant set"),
}
"""What is demanded, by the name under which it is measured: the sentence, and the number."""


def note(path: str, name: str, value: Any, **facts: Any) -> None:
    """Append a figure."""
    assert name in DEMANDS, name
    with Path(path).open("a") as file:
        file.write(json.dumps({"name": name, "value": value, **facts}) + "\n")


class Report:
    """Takes what a test has measured."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, text: str) -> None:
        """Print a sentence, also when the test passes."""
        with self._capsys.disabled():
            print(f"\n    {text}", flush=True)  # noqa: T201  figures are what these tests are for

    def figure(self, name: str, value: Any, **facts: Any) -> None:
        """Keep a figure for the documentation."""
        if settings.FIGURES:
            note(settings.FIGURES, name, value, **facts)


def table(paths: Sequence[Path]) -> str:
    """Return the figures as a table: what is demanded, and what was seen in how many measurements."""
    seen: dict[str, list[Any]] = defaultdict(list)
    for line in [line for path in paths for line in path.read_text().splitlines()]:
        figure = json.loads(line)
        seen[figure["name"]].append(figure["value"])
    rows = ["| | demanded | measured |", "| --- | --- | --- |"]
    for name, (what, demand) in DEMANDS.items():
        measured = _summary(seen[name]) if name in seen else "not measured this time"
        rows.append(f"| {what} | {demand} | {measured} |")
    return "\n".join(rows)


def _summary(values: Sequence[Any]) -> str:
    if all(isinstance(value, int | float) for value in values):
        unit = (
            "" if len(values) == 1 else f" (the worst of {len(values)}; median {_median(values)})"
        )
        return f"{max(values):.3g}{unit}"
    return "<br>".join(dict.fromkeys(map(str, values)))


def _median(values: Sequence[float]) -> str:
    return f"{sorted(values)[len(values) // 2]:.3g}"


def main() -> int:
    """Print the table, or put it into a document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path, nargs="+")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    text = table(options.figures)
    if options.write is None:
        sys.stdout.write(text + "\n")
        return 0
    document = options.write.read_text()
    head, _, rest = document.partition(BEGIN)
    tail = rest.partition(END)[2]
    options.write.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
