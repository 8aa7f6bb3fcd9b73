"""The options of ``aiorq2 worker``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import click

from aiorq2.cli.app import app_option
from aiorq2.cli.options import connection_options, duration, option, queues_argument

_AT_LEAST_1 = click.IntRange(min=1)
_FOLDER = click.Path(exists=True, file_okay=False)
_LEVEL = click.Choice(["debug", "info", "warning", "error"], case_sensitive=False)
_STRATEGY = click.Choice(["default", "round_robin", "random"])

number = partial(option, type=_AT_LEAST_1, metavar="N")
flag = partial(option, is_flag=True)
lasting = partial(option, metavar="DURATION")

_DECORATORS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    queues_argument,
    app_option,
    option("-n", "--name", help="Unique among living workers; several processes become NAME-1, NAME-2, …"),
    number("-c", "--concurrency", default=100, show_default=True, help="How many jobs run at once."),
    number("--sync-concurrency", default=32, show_default=True, help="How many of them may be plain functions, in threads."),
    flag("-b", "--burst", help="End when no job is left."),
    number("--max-jobs", help="End after so many jobs; of several processes, each is replaced after so many."),
    lasting("--max-idle-time", callback=duration(), help="End after so long without a job."),
    option(
        "--processes", type=click.IntRange(1, 1000), metavar="N", default=1, show_default=True,
        help="How many processes, started again when they die.",
    ),
    option("-S", "--serializer", default="json", show_default=True, help="As the queues': json, pickle, or a dotted path."),
    option("--allow", multiple=True, metavar="PATTERN", help="Functions to run beside project code: 'lib.*'; '*' for any."),
    option("-P", "--path", multiple=True, type=_FOLDER, help="Where modules are found, beside the current folder."),
    option("--import", "imports", multiple=True, metavar="MODULE", help="Import this before the first job."),
    lasting("--grace", callback=duration(), default="30", show_default=True, help="What running jobs get at a stop."),
    lasting(
        "--lease", callback=duration(0.1), default="15", show_default=True,
        help="How long others wait for a sign of life before they take over the jobs.",
    ),
    lasting(
        "--results-ttl", callback=duration(infinite=True), default="500", show_default=True,
        help="How long results are kept where the job does not say; -1 for ever.",
    ),
    option("-ds", "--dequeue-strategy", type=_STRATEGY, default="default", show_default=True, help="Which queue comes next."),
    option("-s/ ", "--with-scheduler/--no-scheduler", default=True, help="Move due jobs into the queues (the default) or not."),
    flag("--strict", help="Refuse a Redis that may drop jobs when its memory is full."),
    flag("--reload", help="Start anew when a .py file beneath the current folder changes; for development."),
    option("--log-level", type=_LEVEL, default="info", show_default=True, help="What is logged."),
    option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="One line per event."),
    flag("-q", "--quiet", help="Log warnings and errors only."),
    click.option("--supervised", is_flag=True, hidden=True, help="Standard input is the tether of a WorkerPool."),
    connection_options,
)  # fmt: skip


def worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all of them, in this order in its help."""
    return reduce(lambda decorated, decorate: decorate(decorated), reversed(_DECORATORS), command)
