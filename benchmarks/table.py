"""A comparison as a Markdown table."""

from __future__ import annotations

from benchmarks.figures import NO_PEERS, Comparison, Row, name_of

FIGURES: dict[str, tuple[str, str]] = {
    "jobs_per_s": ("jobs/s", ",.0f"),
    "of_ideal": ("of the ideal", ".1%"),
    "start_p50_ms": ("start p50, ms", ",.2f"),
    "start_p99_ms": ("start p99, ms", ",.2f"),
    "start_max_ms": ("start max, ms", ",.1f"),
    "result_p50_ms": ("result p50, ms", ",.2f"),
    "result_p99_ms": ("result p99, ms", ",.2f"),
    "late_p50_ms": ("late p50, ms", ",.1f"),
    "late_p99_ms": ("late p99, ms", ",.1f"),
    "late_first_ms": ("first, ms", ",.1f"),
    "late_last_ms": ("last, ms", ",.1f"),
    "pending_bytes": ("waiting, bytes", ",.0f"),
    "finished_bytes": ("finished, bytes", ",.0f"),
    "rss_mb": ("RSS, MB", ",.0f"),
    "rss_before_mb": ("before, MB", ",.0f"),
    "rss_after_mb": ("after, MB", ",.0f"),
    "jobs": ("jobs", ",.0f"),
    "worker_percent": ("worker, % of a core", ".2f"),
    "workers_percent": ("workers, % of a core", ".1f"),
    "redis_percent": ("Redis, % of a core", ".2f"),
    "calls_per_s": ("calls/s", ",.1f"),
    "commands_per_s": ("commands/s", ",.1f"),
    "round_trips": ("round trips/job", ".2f"),
    "commands": ("commands/job", ".1f"),
    "redis_us": ("Redis CPU µs/job", ",.0f"),
    "client_us": ("client CPU µs/job", ",.0f"),
}
"""What each figure is called, and how it is written."""


def lines_of(comparison: Comparison) -> list[str]:
    """Return the table, the best first. The ratios are to the fastest peer but ours; above 1 is better than it."""
    title, _ = FIGURES[comparison.headline]
    best = comparison.best()
    titles = [
        "queue",
        "rounds",
        f"{title}, median",
        "min",
        "max",
        f"× {best or 'the fastest peer'}",
    ]
    titles += [FIGURES[name][0] for name in comparison.beside]
    lines = [f"| {' | '.join(titles)} |", "| --- |" + " ---: |" * (len(titles) - 1)]
    for label in comparison.ranked():
        if comparison.rows[label].cannot and name_of(label) in NO_PEERS:
            continue  # a floor is there where it is one
        cells = [label, *_cells(comparison, label, best, len(titles) - 1)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cells(comparison: Comparison, label: str, best: str | None, width: int) -> list[str]:
    row, name = comparison.rows[label], comparison.headline
    if row.cannot:
        return ["", f"cannot: {row.cannot}", *[""] * (width - 2)]
    values = row.values(name)
    if not values:
        return ["0", f"failed: {_cell_text(row)}", *[""] * (width - 2)]
    written = FIGURES[name][1]
    ratio = comparison.ratio(label, best)
    return [
        str(len(values)),
        format(row.median(name), written),
        format(min(values), written),
        format(max(values), written),
        "" if ratio is None else f"{ratio:.2f}",
        *[_cell(row, figure) for figure in comparison.beside],
    ]


def _cell(row: Row, figure: str) -> str:
    value = row.median(figure)
    return "?" if value is None else format(value, FIGURES[figure][1])


def _cell_text(row: Row) -> str:
    return (row.failures[-1] if row.failures else "?").replace("|", "/")[:120]
