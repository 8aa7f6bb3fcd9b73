"""Draw the samples of a soak, one PNG for each question. ``python -m tests.soak.plots FOLDER`` draws those of an earlier one."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.soak.verdict import Process, Sample, steady_workers

Line = tuple[str, Sequence[float], Sequence[float]]


def read(path: Path) -> list[Sample]:
    """Return the samples that were written down."""
    found = []
    for line in path.read_text().splitlines():
        facts = json.loads(line)
        for group in ("workers", "processes"):
            facts[group] = {name: Process(**one) for name, one in facts[group].items()}
        found.append(Sample(**facts))
    return found


def draw(samples: Sequence[Sample], folder: Path) -> list[Path]:
    """Draw memory, keys, latency and throughput over time; return the files."""
    minutes = [one.at / 60 for one in samples]

    def line(name: str, value: Callable[[Sample], float]) -> Line:
        return name, minutes, [value(one) for one in samples]

    rates = [
        (later.enqueued - before.enqueued) / (later.at - before.at)
        for before, later in pairwise(samples)
    ]
    return [
        _plot(folder / "memory.png", "memory of the workers, MB", _memory(samples)),
        _plot(folder / "memory-of-redis.png", "memory in use in Redis, MB", [line("", lambda one: one.redis_mb)]),
        _plot(folder / "keys.png", "keys in Redis", [line("", lambda one: one.keys)]),
        _plot(
            folder / "latency.png",
            "from the call to the result, ms",
            [line("p50", lambda one: one.p50_ms), line("p99", lambda one: one.p99_ms)],
            log=True,
        ),
        _plot(folder / "rate.png", "jobs enqueued per second", [("", minutes[1:], rates)]),
        _plot(folder / "queued.png", "jobs in the queue", [line("", lambda one: one.queued)]),
    ]  # fmt: skip


def _memory(samples: Sequence[Sample]) -> list[Line]:
    """A line for each worker; of those that are replaced, dots."""
    names = dict.fromkeys(name for one in samples for name in one.workers)
    steady = steady_workers(samples)
    lines: list[Line] = []
    for name in names:
        seen = [one for one in samples if name in one.workers]
        minutes = [one.at / 60 for one in seen]
        label = name if name in steady else "_"  # a label that begins so is left out
        lines.append((label, minutes, [one.workers[name].rss_mb for one in seen]))
    return lines


def _plot(path: Path, what: str, lines: Sequence[Line], *, log: bool = False) -> Path:
    importlib.import_module("matplotlib").use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(9, 4.5))
    for label, x, y in lines:
        faint = label == "_"
        axes.plot(
            x,
            y,
            label=label or None,
            linewidth=0.6 if faint else 1.2,
            color="0.7" if faint else None,
        )
    axes.set_xlabel("minutes")
    axes.set_ylabel(what)
    axes.set_yscale("log" if log else "linear")
    if not log:
        axes.set_ylim(bottom=0)
    if any(label not in ("", "_") for label, _, _ in lines):
        axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


if __name__ == "__main__":
    where = Path(sys.argv[1])
    draw(read(where / "samples.jsonl"), where)
