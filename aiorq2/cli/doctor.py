"""``aiorq2 doctor``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from aiorq2.backends.redis import RedisBackend
from aiorq2.cli.failures import EXIT_FAILURE
from aiorq2.cli.options import Connection, connection_options, duration, option, program_name
from aiorq2.cli.plain_text import is_terminal, printable
from aiorq2.doctor import KINDS, Finding, Kind, Progress, Report, examine, mend

Case = tuple[Finding, int | None]
"""What was found, and how much of it was mended; None: nothing was tried."""


@click.command()
@option("--fix", is_flag=True, help="Mend what can be mended without losing a job.")
@option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@option(
    "--ignore",
    multiple=True,
    type=click.Choice(list(KINDS)),
    metavar="KIND",
    help="Say nothing of these; may be repeated.",
)
@option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Look at no more than so many keys and entries of lists.",
)
@option("--patience", callback=duration(), default="5", show_default=True, metavar="DURATION",
        help="After how long what may be wrong is looked at again.")  # fmt: skip
@connection_options
@click.pass_context
def doctor(
    context: click.Context, /, connection: Connection, fix: bool, as_json: bool, **asked: Any
) -> None:
    """Look for what is wrong: lost jobs, dead leases, leftovers of dead workers, keys that stay for ever, settings of Redis.

    Changes nothing without --fix. Exit status: 0 all is well, or was mended; 1 something is wrong. Of
    several shards, each is looked at by itself.
    """
    seen = connection.run_each(lambda backend: _consulted(backend, fix, **asked))
    for where, report, cases in seen:
        if len(seen) > 1 and not as_json:
            click.echo(f"{where}:")
        for line in [_as_json(report, cases)] if as_json else _lines(report, cases):
            click.echo(line)
    is_well = all(
        report.is_complete and all(mended for _, mended in cases) for _, report, cases in seen
    )
    context.exit(0 if is_well else EXIT_FAILURE)


async def _consulted(
    backend: RedisBackend, fix: bool, **asked: Any
) -> tuple[str, Report, Sequence[Case]]:
    """Examine, and mend if that was asked for; returns which keys as well."""
    with _progress() as show:
        report = await examine(backend, on_progress=show, **asked)
    return (
        backend.key_prefix,
        report,
        [
            (one, await mend(backend, one) if fix and one.can_be_mended else None)
            for one in report.findings
        ],
    )


def _lines(report: Report, cases: Sequence[Case]) -> Iterator[str]:
    for finding, mended in cases:
        yield f"{finding.kind}: {printable(finding.text)}. {_remedy(KINDS[finding.kind], mended)}."
    if not report.is_complete:
        yield f"Looked at {report.seen} keys and entries only."
    elif not cases:
        yield f"All is well: looked at {report.seen} keys and entries."


def _remedy(kind: Kind, mended: int | None) -> str:
    if mended is None and kind.mending:
        return f"--fix {kind.mending}"
    if mended is None:
        return f"What to do: {kind.advice.replace('`aiorq2 ', f'`{program_name()} ')}"
    return f"Mended: {mended}" if mended else "Not mended: it has changed meanwhile, look again"


def _as_json(report: Report, cases: Sequence[Case]) -> str:
    findings = [
        {**asdict(finding), "text": finding.text, "mended": mended} for finding, mended in cases
    ]
    told = {"healthy": report.is_healthy, "complete": report.is_complete, "seen": report.seen}
    return json.dumps({**told, "findings": findings})


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """Show a bar where there is a terminal."""
    if not is_terminal(sys.stderr):
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("looking"), BarColumn(), MofNCompleteColumn()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda progress: bar.update(task, total=progress.total, completed=progress.seen)
