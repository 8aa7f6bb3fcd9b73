"""A snapshot as people read it: tables on a terminal, RQ's lines elsewhere, RQ's raw lines, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import click

from aiorq2.backends.inspect import QueueCounts, Snapshot, WorkerRecord
from aiorq2.cli.options import program_name
from aiorq2.cli.plain_text import is_terminal, printable

Show = Callable[[Snapshot], None]

_BAR = 20
_SCALES = (20, 50, 100, 200, 400, 600, 800, 1000)
_COLUMNS = ("queued", "started", "finished", "failed", "deferred", "scheduled", "canceled")
_STATE_STYLE = {"busy": "yellow", "idle": "green", "suspended": "red"}


@dataclass(frozen=True)
class Sections:
    """Which parts are shown."""

    queues: bool = True
    workers: bool = True
    by_queue: bool = False
    """Whether each queue's workers are named beside it, in place of a line for each worker."""


def as_raw(snapshot: Snapshot, sections: Sections) -> Iterator[str]:
    """Yield the lines of ``rq info --raw``."""
    if sections.queues:
        yield from (f"queue {printable(one.name)} {_numbers(one)}" for one in snapshot.queues)
    if sections.workers and sections.by_queue:
        yield from _by_queue(snapshot)
    elif sections.workers:
        yield from (
            f"worker {_identity(one)} {_state(one)} {_duties(one)}" for one in snapshot.workers
        )


def as_lines(snapshot: Snapshot, sections: Sections) -> Iterator[str]:
    """Yield the lines of ``rq info``; what RQ does not tell stands at their ends."""
    if sections.queues:
        scale = _scale(max((one.queued for one in snapshot.queues), default=0))
        for one in snapshot.queues:
            bar = "█" * int(_BAR * one.queued / scale)
            yield f"{printable(one.name):<12} |{bar} {_numbers(one)}{_rest(one)}"
        yield f"{len(snapshot.queues)} queues, {sum(one.queued for one in snapshot.queues)} jobs total"
    if sections.queues and sections.workers:
        yield ""
    if sections.workers and sections.by_queue:
        yield from _by_queue(snapshot)
    elif sections.workers:
        yield from (
            f"{_identity(one)}: {_state(one)} {_duties(one)}, {one.current_execution_count} running"
            for one in snapshot.workers
        )
    if sections.workers:
        yield f"{len(snapshot.workers)} workers, {len(snapshot.queues)} queues"
    yield from _closing(snapshot)


def as_json(snapshot: Snapshot, sections: Sections) -> Iterator[str]:
    """Yield one line of JSON; times are ISO, in UTC."""
    found: dict[str, Any] = {"suspended": snapshot.is_suspended}
    if sections.queues:
        found["queues"] = [asdict(one) for one in snapshot.queues]
    if sections.workers:
        found["workers"] = [asdict(one) for one in snapshot.workers]
    yield json.dumps(found, default=_iso)


def print_tables(snapshot: Snapshot, sections: Sections) -> None:
    """Print coloured tables."""
    from rich.console import Console  # slow to import, and only terminals need it

    console = Console(highlight=False)
    if sections.queues:
        console.print(_queue_table(snapshot))
        console.print(
            f"{len(snapshot.queues)} queues, {sum(one.queued for one in snapshot.queues)} jobs total\n"
        )
    if sections.workers:
        console.print(_worker_table(snapshot))
        console.print(f"{len(snapshot.workers)} workers, {len(snapshot.queues)} queues")
    for line in _closing(snapshot):
        console.print(line, markup=False)


def _queue_table(snapshot: Snapshot) -> Any:
    from rich.text import Text

    table = _table("queue", *_COLUMNS)
    for column in table.columns[1:]:
        column.justify = "right"
    for one in snapshot.queues:
        counts = [(name, getattr(one, name)) for name in _COLUMNS]
        styles = [
            "dim" if not count else "red" if name == "failed" else "" for name, count in counts
        ]
        cells = [
            Text(f"{count:,}", style) for (_, count), style in zip(counts, styles, strict=True)
        ]
        table.add_row(Text(printable(one.name)), *cells)
    return table


def _worker_table(snapshot: Snapshot) -> Any:
    from rich.text import Text

    table = _table("worker", "where", "state", "queues", "running", "done", "failed", "heard of")
    for one in snapshot.workers:
        table.add_row(
            Text(printable(one.name)),
            Text(printable(f"{one.hostname} {one.pid or ''}".strip())),
            Text(_state(one), _STATE_STYLE.get(one.state, "")),
            Text(printable(", ".join(one.queues))),
            *(
                Text(f"{number:,}")
                for number in (
                    one.current_execution_count,
                    one.successful_job_count,
                    one.failed_job_count,
                )
            ),
            Text(_ago(one.last_heartbeat)),
        )
    return table


def _table(*columns: str) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(*columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _by_queue(snapshot: Snapshot) -> Iterator[str]:
    names = [printable(one.name) for one in snapshot.queues]
    width = max(map(len, names), default=0) + 1
    for queue, name in zip(snapshot.queues, names, strict=True):
        listening = [one for one in snapshot.workers if queue.name in one.queues]
        told = ", ".join(sorted(f"{printable(one.name)} ({_state(one)})" for one in listening))
        yield f"{f'{name}:':<{width}} {told or '–'}"


def _numbers(one: QueueCounts) -> str:
    return f"{one.queued}, {one.started} executing, {one.finished} finished, {one.failed} failed"


def _rest(one: QueueCounts) -> str:
    told = (("deferred", one.deferred), ("scheduled", one.scheduled), ("canceled", one.canceled))
    return "".join(f", {count} {name}" for name, count in told if count)


def _identity(one: WorkerRecord) -> str:
    return printable(f"{one.name} ({one.hostname} {one.ip_address} {one.pid})")


def _state(one: WorkerRecord) -> str:
    return printable(one.state) or "?"


def _duties(one: WorkerRecord) -> str:
    queues = printable(", ".join(one.queues))
    return f"{queues}. jobs: {one.successful_job_count} finished, {one.failed_job_count} failed"


def _closing(snapshot: Snapshot) -> Iterator[str]:
    yield ""
    if snapshot.is_suspended:
        yield f"Workers are suspended and start no job; `{program_name()} resume` lets them go on."
    yield f"Updated: {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _ago(moment: datetime | None) -> str:
    return (
        "never"
        if moment is None
        else f"{max((datetime.now(UTC) - moment).total_seconds(), 0):.0f} s ago"
    )


def _scale(largest: int) -> int:
    return next((scale for scale in _SCALES if largest <= scale), largest)


def _iso(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def shown(style: str, sections: Sections) -> Show:
    """Return what prints a snapshot: ``raw``, ``json``, or ``auto``: tables on a terminal and lines elsewhere."""
    if style == "auto" and is_terminal(sys.stdout) and not sections.by_queue:
        return lambda snapshot: print_tables(snapshot, sections)
    lines = {"raw": as_raw, "json": as_json, "auto": as_lines}[style]

    def print_lines(snapshot: Snapshot) -> None:
        for line in lines(snapshot, sections):
            click.echo(line)

    return print_lines
