"""``aiorq2 info``."""

from __future__ import annotations

import asyncio
import time

import click

from aiorq2.backends import inspect
from aiorq2.backends.shards import Shards
from aiorq2.cli.options import Connection, Home, connection_options, option, queues_argument
from aiorq2.cli.show import Sections, shown


@click.command()
@queues_argument
@option("-r", "--raw", is_flag=True, help="Print RQ's raw lines.")
@option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@option("-Q", "--only-queues", is_flag=True, help="Show the queues only.")
@option("-W", "--only-workers", is_flag=True, help="Show the workers only.")
@option("-R", "--by-queue", is_flag=True, help="Name the workers of each queue beside it.")
@option(
    "-i",
    "--interval",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Look again and again, so often.",
)
@connection_options
def info(
    connection: Connection,
    queues: tuple[str, ...],
    raw: bool,
    as_json: bool,
    only_queues: bool,
    only_workers: bool,
    by_queue: bool,
    interval: float | None,
) -> None:
    """Show QUEUES (all, if none is named) with their registries, and the workers. Changes nothing."""
    if (raw and as_json) or (only_queues and only_workers):
        raise click.UsageError(
            "--raw and --json, --only-queues and --only-workers exclude one another"
        )
    sections = Sections(not only_workers, not only_queues, by_queue)
    show = shown("raw" if raw else "json" if as_json else "auto", sections)
    while True:
        snapshot = connection.run_at(lambda home: _seen(home, queues))
        if interval:
            click.clear()  # does nothing where there is no terminal
        show(snapshot)
        if not interval:
            return
        time.sleep(interval)


async def _seen(home: Home, queues: tuple[str, ...]) -> inspect.Snapshot:
    if not isinstance(home, Shards):
        return await inspect.snapshot(home, queues or None)
    parted = home.parted(queues)
    meant = [(one, parted[one]) for one in parted] if queues else [(one, None) for one in home]
    return inspect.merged(
        await asyncio.gather(*[inspect.snapshot(one, names) for one, names in meant])
    )
