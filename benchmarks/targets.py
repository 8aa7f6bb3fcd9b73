"""The speed that is to be reached, and how far a run came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.figures import OURS, RUST, SYNC_PEERS, Comparison

Comparisons = Mapping[str, Comparison]

RECORD_KEEPERS = ("rq", "saq", "docket")
"""Peers that keep a record of a job, with its status, while it waits, runs and is done."""
FLAT = 0.15


@dataclass(frozen=True)
class Target:
    """One thing that is to be reached."""

    work: str
    wanted: str
    reached: str
    is_met: bool


def targets(found: Comparisons) -> list[Target]:
    """Return all that can be told from what was measured."""
    rules: list[Callable[[Comparisons], Iterator[Target]]] = [
        partial(_drain, name="drain", python=5.0, rust=1.5),
        _floor,
        partial(_drain, name="drain+2ms", python=10.0, rust=2.0),
        partial(_faster, name="enqueue-one", python=1.5, beside=("rq",)),
        partial(_faster, name="enqueue-bulk", python=2.0),
        partial(_against, name="enqueue-bulk", other=RUST, wanted=0.5),
        partial(_faster, name="enqueue-64", python=3.0),
        _pace,
        partial(_below, name="due-spread", figure="late_p99_ms", limit=10.0),
        partial(_leaner, figure="redis_us"),
        partial(_leaner, figure="commands"),
        partial(_against, name="memory", other="rq", wanted=1.0, figure="pending_bytes"),
        partial(_against, name="memory", other="rq", wanted=5.0),
        _backlog,
        partial(_below, name="idle", figure="calls_per_s", limit=2.0),
        partial(_below, name="idle", figure="commands_per_s", limit=2.0),
        partial(_below, name="idle", figure="worker_percent", limit=1.0),
        partial(_below, name="idle", figure="rss_mb", limit=50.0),
        partial(_below, name="fleet", figure="redis_percent", limit=5.0),
    ]
    return [target for rule in rules for target in rule(found)]


def _drain(found: Comparisons, name: str, python: float, rust: float) -> Iterator[Target]:
    yield from _faster(found, name, python)
    yield from _against(found, name, RUST, rust)


def _faster(
    found: Comparisons, name: str, python: float, beside: Sequence[str] = ()
) -> Iterator[Target]:
    """Compare with the fastest peer in Python, those ``beside`` left out."""
    if comparison := found.get(name):
        aside = (RUST, *SYNC_PEERS, *beside)
        yield from _against(found, name, comparison.best(leaving_out=aside), python)


def _against(
    found: Comparisons, name: str, other: str | None, wanted: float, figure: str = ""
) -> Iterator[Target]:
    comparison = found.get(name)
    ratio = comparison.ratio(OURS, other, figure) if comparison else None
    if ratio is not None:
        what = f"{name}, {figure}" if figure else name
        yield Target(what, f"≥ {wanted:g} × {other}", f"{ratio:.2f} ×", ratio >= wanted)


def _floor(found: Comparisons) -> Iterator[Target]:
    yield from _against(found, "drain", "floor", 0.6)


def _pace(found: Comparisons) -> Iterator[Target]:
    if not (pace := found.get("pace")):
        return
    for figure in ("start_p50_ms", "start_p99_ms"):
        others = [
            (ratio, label)
            for label in pace.rows
            if label != OURS and (ratio := pace.ratio(OURS, label, figure)) is not None
        ]
        if others:
            ratio, label = min(others)
            yield Target(
                f"pace, {figure}", f"≥ 1 × {label}, the quickest", f"{ratio:.2f} ×", ratio >= 1
            )
    yield from _below(found, "pace", "start_p99_ms", 5.0)


def _below(found: Comparisons, name: str, figure: str, limit: float) -> Iterator[Target]:
    row = found[name].rows.get(OURS) if name in found else None
    value = row.median(figure) if row else None
    if value is not None:
        yield Target(f"{name}, {figure}", f"< {limit:g}", f"{value:.2f}", value < limit)


def _leaner(found: Comparisons, figure: str) -> Iterator[Target]:
    """Compare what a drained job costs in Redis with the leanest of those that keep a record."""
    drain = found.get("drain")
    ours = drain.rows[OURS].median(figure) if drain and OURS in drain.rows else None
    others = [
        (value, label)
        for label in RECORD_KEEPERS
        if drain and label in drain.rows and (value := drain.rows[label].median(figure)) is not None
    ]
    if ours is not None and others:
        value, label = min(others)
        yield Target(f"drain, {figure}", f"≤ {value:.1f} ({label})", f"{ours:.1f}", ours <= value)


def _backlog(found: Comparisons) -> Iterator[Target]:
    medians = [
        value
        for name, comparison in found.items()
        if name.startswith("backlog-")
        and OURS in comparison.rows
        and (value := comparison.rows[OURS].median("jobs_per_s")) is not None
    ]
    if len(medians) > 1:
        spread = max(medians) / min(medians) - 1
        wanted = f"the same within {FLAT:.0%}"
        yield Target("backlog-*, jobs/s", wanted, f"within {spread:.0%}", spread <= FLAT)
