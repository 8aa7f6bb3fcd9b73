"""``aiorq2 check``."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click

from aiorq2.backends import inspect
from aiorq2.backends.workers import WorkerRecord
from aiorq2.cli.failures import EXIT_FAILURE
from aiorq2.cli.options import Connection, connection_options, duration, option
from aiorq2.cli.plain_text import printable


@click.command()
@click.argument("workers", nargs=-1, metavar="[WORKERS]...")
@option(
    "--max-age", callback=duration(minimum=1), default="30", show_default=True, metavar="DURATION",
    help="How long ago a living worker may have been heard of; it is heard of every quarter of its lease.",
)  # fmt: skip
@connection_options
@click.pass_context
def check(
    context: click.Context, connection: Connection, workers: tuple[str, ...], max_age: float
) -> None:
    """Say whether WORKERS are alive: 0 if each is, else 1. If none is named, one of this machine has to be.

    A probe for whoever restarts containers: a worker that is cut off from Redis, frozen or stuck is heard of no more.
    """
    known = [one for found in connection.run_each(inspect.workers) for one in found]
    if missing := _missing(known, workers, timedelta(seconds=max_age)):
        click.echo(f"not heard of for {max_age:g} s: {printable(', '.join(missing))}")
        context.exit(EXIT_FAILURE)
    click.echo("alive")


def _missing(known: Sequence[WorkerRecord], names: Sequence[str], max_age: timedelta) -> list[str]:
    host, now = socket.gethostname(), datetime.now(UTC)
    living = [one for one in known if _is_alive(one, now - max_age)]
    if not names:
        return [] if host in {one.hostname for one in living} else [f"any worker of {host}"]
    return [name for name in names if name not in {one.name for one in living}]


def _is_alive(one: WorkerRecord, since: datetime) -> bool:
    heard = one.last_heartbeat
    return one.death_date is None and heard is not None and heard >= since
