"""Recurring entries as people and programs read them. Nothing of their payloads is decoded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from aiorq2.cli.plain_text import is_terminal, printable
from aiorq2.cron_jobs import CronJob
from aiorq2.job import Job
from aiorq2.timing import duration_text

_STATE_STYLE = {"active": "green", "paused": "yellow", "ended": "dim"}


def facts(cron: CronJob) -> dict[str, Any]:
    """Return what is known of an entry; times are aware."""
    own = cron.policies
    return {
        "name": cron.name,
        "id": cron.id,
        "state": cron.state,
        "queue": cron.origin,
        "pattern": cron.pattern,
        "interval": cron.interval,
        "timezone": cron.timezone,
        "description": cron.describe(),
        "call": cron.description,
        "function": cron.function,
        "timeout": cron.timeout,
        "next_run": cron.next_run,
        "last_run": cron.last_run,
        "last_job": cron.last_job_id,
        "runs": cron.runs,
        "skipped": cron.skipped,
        "runs_left": cron.runs_left,
        "catch_up": own.catch_up,
        "grace": own.grace,
        "overlap": own.overlap,
        "jitter": own.jitter,
        "source": cron.source or None,
        "created_at": cron.created_at,
        "error": cron.error,
    }


def as_json(found: object) -> str:
    """Return one line of JSON; times are ISO, in UTC."""
    return json.dumps(found, default=lambda one: one.isoformat())


def show_all(crons: Sequence[CronJob]) -> None:
    """Print a table on a terminal, and lines elsewhere."""
    if is_terminal(sys.stdout):
        _print_table(crons)
    else:
        for cron in crons:
            click.echo(_line(cron))
    click.echo(f"{len(crons)} entries")


def _line(cron: CronJob) -> str:
    parts = [
        cron.name,
        cron.beat,
        cron.describe(),
        f"queue {cron.origin}",
        cron.description,
        _next(cron),
        f"last {moment(cron.last_run)}",
        f"{cron.runs} runs",
    ]
    return printable(" | ".join(parts))


def _print_table(crons: Sequence[CronJob]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console  # slow to import, and only terminals need it
    from rich.table import Table
    from rich.text import Text

    columns = ("name", "when", "in words", "queue", "call", "next", "last", "runs")
    table = Table(*columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for cron in crons:
        cells = (
            cron.name,
            cron.beat,
            cron.describe(),
            cron.origin,
            cron.description,
            moment(cron.next_run) if cron.next_run else cron.state,
            moment(cron.last_run),
            f"{cron.runs:,}",
        )
        style = _STATE_STYLE.get(cron.state, "") if cron.state != "active" else ""
        table.add_row(*[Text(printable(cell), style) for cell in cells])
    Console(highlight=False).print(table)


def show_one(cron: CronJob, jobs: Sequence[Job]) -> None:
    """Print all that is known of an entry, and its latest jobs."""
    for name, value in _told(cron):
        click.echo(f"{name + ':':<13}{printable(value)}")
    for job in jobs:
        ended = f", ended {moment(job.ended_at)}" if job.status.is_terminal else ""
        click.echo(printable(f"  {job.id} {job.status.value}{ended}"))


def _told(cron: CronJob) -> Iterator[tuple[str, str]]:
    own = cron.policies
    yield "name", cron.name
    yield "when", f"{cron.beat} ({cron.describe()})"
    yield "state", cron.state + (f": {cron.error}" if cron.error else "")
    yield "next", moment(cron.next_run)
    yield "last", moment(cron.last_run) + (f", job {cron.last_job_id}" if cron.last_job_id else "")
    left = "" if cron.runs_left is None else f", {cron.runs_left} left"
    yield "runs", f"{cron.runs}{left}, {cron.skipped} skipped"
    yield "call", cron.description
    yield "queue", cron.origin
    yield "timeout", f"{cron.timeout} s"
    policies = f"catch_up {own.catch_up}, grace {duration_text(own.grace)}, overlap {own.overlap}"
    yield "policies", policies + (f", jitter {duration_text(own.jitter)}" if own.jitter else "")
    yield "declared by", cron.source or "nobody: it was made at run time"


def _next(cron: CronJob) -> str:
    return f"next {moment(cron.next_run)}" if cron.next_run else cron.state


def moment(at: datetime | None) -> str:
    """Return a point in time as people read it, to the second, in UTC."""
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"
