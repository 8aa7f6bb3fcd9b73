"""``aiorq2 scheduler``."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from aiorq2.backends.shards import Shards
from aiorq2.cli import logs
from aiorq2.cli.app import app_option, application, given_options
from aiorq2.cli.options import Connection, Home, connection_options, duration, option, queue_name
from aiorq2.cli.targets import find_modules_in
from aiorq2.hub import RQ
from aiorq2.scheduler import Scheduler
from aiorq2.sharded import ShardedScheduler


@click.command()
@app_option
@option(
    "-i", "--interval", callback=duration(0.1), default="60", show_default=True, metavar="DURATION",
    help="How often to look for what was scheduled without a word (by rq).",
)  # fmt: skip
@option(
    "-q", "--queue", "queues", multiple=True, callback=queue_name, metavar="NAME",
    help="See to this queue only; may be repeated. Default: all.",
)  # fmt: skip
@option("-b", "--burst", is_flag=True, help="See to what is due now, and end.")
@option(
    "--pid",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Write the process id there.",
)
@option("-v", "--verbose", is_flag=True, help="Log everything.")
@option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info", show_default=True, help="What is logged.",
)  # fmt: skip
@option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="One line per event."
)  # fmt: skip
@connection_options
@click.pass_context
def scheduler(
    context: click.Context,
    /,
    connection: Connection,
    app: str | None,
    interval: float,
    queues: tuple[str, ...],
    burst: bool,
    pid: str | None,
    verbose: bool,
    log_level: str,
    log_format: logs.LogFormat,
) -> None:
    """Move due jobs into their queues, and make the runs of recurring entries.

    Workers do that as well, for their own queues; a scheduler is for queues whose workers do not. Any number may run.
    """
    logs.configure("debug" if verbose else log_level, log_format)
    if pid:
        Path(pid).write_text(f"{os.getpid()}\n")
    find_modules_in()
    rq = application(app, context, connection)
    if rq is not None:
        given = given_options(context, {"interval": interval})
        asyncio.run(_run_for_app(rq, burst, queues, **given))
        return

    async def work(home: Home) -> None:
        if isinstance(home, Shards):
            await ShardedScheduler(home, interval=interval).run(burst, queues)
        else:
            await Scheduler(backend=home, interval=interval).run(burst, queues)

    connection.run_at(work)


async def _run_for_app(
    rq: RQ, burst: bool, queues: tuple[str, ...], interval: float | None = None
) -> None:
    try:
        if rq.get_shards() is None:
            await rq.get_scheduler(interval).run(burst, queues)
        else:
            await rq.get_schedulers(interval).run(burst, queues)
    finally:
        await rq.close()
