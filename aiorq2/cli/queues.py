"""``aiorq2 empty``, ``suspend`` and ``resume``."""

from __future__ import annotations

import sys
from itertools import chain

import click

from aiorq2 import suspension
from aiorq2.backends import inspect
from aiorq2.cli.failures import EXIT_FAILURE
from aiorq2.cli.options import Connection, connection_options, duration, option, queues_argument
from aiorq2.cli.plain_text import is_terminal, printable
from aiorq2.queue import Queue


@click.command()
@queues_argument
@option("-a", "--all", "every", is_flag=True, help="Empty every queue.")
@option("-y", "--yes", is_flag=True, help="Do not ask.")
@connection_options
@click.pass_context
def empty(
    context: click.Context, connection: Connection, queues: tuple[str, ...], every: bool, yes: bool
) -> None:
    """Delete the jobs that wait in QUEUES, with their data. Jobs that run are left alone."""
    if every and queues:
        raise click.UsageError("name the queues or give --all, not both")
    names = list(chain(*connection.run_each(inspect.queue_names))) if every else list(queues)
    if not names:
        click.echo("Nothing to do")
    elif yes or _agreed(names):
        for name in names:
            removed = connection.run_at(lambda home, name=name: Queue(name, home).empty())  # type: ignore[misc]
            click.echo(f"{removed} jobs removed from {printable(name)} queue")
    else:
        context.exit(EXIT_FAILURE)


def _agreed(names: list[str]) -> bool:
    """Ask whoever sits at the terminal; where nobody does, refuse."""
    if not is_terminal(sys.stdin):
        raise click.UsageError("this deletes jobs: where nobody can be asked, --yes is needed")
    return click.confirm(f"Delete all jobs that wait in {printable(', '.join(names))}?")


@click.command()
@option(
    "--duration", callback=duration(minimum=1), metavar="DURATION", help="Until they go on by themselves. Default: never."
)  # fmt: skip
@connection_options
def suspend(connection: Connection, duration: float | None) -> None:
    """Have all workers, rq's too, start no job until `resume`."""
    connection.run_each(lambda backend: suspension.suspend(backend, duration))
    if duration is None:
        click.echo(
            "Suspending workers.  No new jobs will be started.  But current jobs will be completed"
        )
    else:
        click.echo(
            f"Suspending workers for {duration:g} seconds.  No new jobs will be started during that time, "
            "but then will automatically resume"
        )


@click.command()
@connection_options
def resume(connection: Connection) -> None:
    """Let workers start jobs again."""
    connection.run_each(suspension.resume)
    click.echo("Resuming workers.")
