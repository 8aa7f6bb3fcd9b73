"""``aiorq2 requeue``: jobs by their ids, or all that have failed and match."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click

from aiorq2.backends.redis import RedisBackend
from aiorq2.bulk import Selection, Step
from aiorq2.cli.failures import EXIT_FAILURE, sentence
from aiorq2.cli.jobs import each
from aiorq2.cli.options import (
    Connection,
    Home,
    connection_options,
    duration,
    home_of_job,
    option,
    queue_name,
)
from aiorq2.cli.plain_text import is_terminal
from aiorq2.errors import AiorqError

_FILTERS = ("func", "error", "older_than")


@click.command()
@click.argument("job_ids", nargs=-1)
@option("-a", "--all", "every", is_flag=True, help="Every failed job, of --queue or of all queues.")
@option("-q", "--queue", callback=queue_name, help="The queue whose failed jobs are meant.")
@option("--func", metavar="NAME", help="Failed jobs of this function; * stands for anything.")
@option("--error", metavar="CLASS", help="Failed jobs with this exception; * stands for anything.")
@option(
    "--older-than", callback=duration(), metavar="DURATION", help="Jobs that failed that long ago."
)
@option("--dry-run", is_flag=True, help="Change nothing, only say how many jobs are meant.")
@connection_options
@click.pass_context
def requeue(
    context: click.Context, /, connection: Connection, job_ids: tuple[str, ...], **asked: Any
) -> None:
    """Put jobs that have ended back into their queues: those named, or failed ones that match."""
    is_selection = asked["every"] or any(asked[name] is not None for name in _FILTERS)
    if job_ids and (is_selection or asked["dry_run"]):
        raise click.UsageError("name the jobs or say which failed ones are meant, not both")
    if job_ids:
        context.exit(connection.run_at(lambda home: _requeued(home, job_ids)))
    elif is_selection:
        connection.run(lambda backend: _requeued_failed(backend, **asked), queue=asked["queue"])
    else:
        click.echo("Nothing to do")


async def _requeued(home: Home, job_ids: Sequence[str]) -> int:
    async def requeued(job_id: str) -> None:
        await (await home_of_job(home, job_id)).requeue(job_id)

    click.echo(f"Requeueing {len(job_ids)} jobs")
    refused = [
        outcome async for _, outcome in each(requeued, job_ids) if isinstance(outcome, AiorqError)
    ]
    for error in refused:
        click.echo(f"aiorq2: {sentence(error)}", err=True)
    return EXIT_FAILURE if refused else 0


async def _requeued_failed(
    backend: RedisBackend, *, every: bool, queue: str | None, dry_run: bool, **filters: Any
) -> None:
    """Requeue what matches; ``--all`` has RQ's words."""
    failed = Selection(backend, queue, **filters)
    total = await failed.total()
    if not total:
        click.echo("Nothing to do")
        return
    is_filtered = any(value is not None for value in filters.values())
    if not is_filtered and not dry_run:
        click.echo(f"Requeueing {total} jobs from failed queue")
    step = await _last(failed.requeue(dry_run=dry_run), total)
    if dry_run:
        click.echo(f"Would requeue {step.matched} of {step.seen} failed jobs")
    elif is_filtered:
        click.echo(f"Requeued {step.done} of {step.seen} failed jobs")
    if step.refused or (step.gone and not is_filtered):
        count = step.refused + step.gone
        click.echo(f"Unable to requeue {count} jobs from failed job registry", err=True)


async def _last(steps: AsyncIterator[Step], total: int) -> Step:
    """Take the steps, one after another, and return the last one; a terminal shows a bar."""
    step = Step(total)
    with _progress(total) as show:
        async for step in steps:
            show(step)
    return replace(step, job_ids=())


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Step], None]]:
    if not is_terminal(sys.stderr):
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn("{task.fields[done]} requeued"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, done=0)
        yield lambda step: bar.update(task, total=step.total, completed=step.seen, done=step.done)
