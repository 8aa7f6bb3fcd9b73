"""The options of ``aiorq2 cron add``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial, reduce
from typing import Any, get_args

import click

from aiorq2.cli.app import app_option
from aiorq2.cli.options import connection_options, duration, option, queue_name
from aiorq2.cron import Dialect
from aiorq2.rhythm import CatchUp, Overlap


def date(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Return a date that is written as ISO says; the callback of the options that take one."""
    try:
        return None if value is None else datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r:.60} is no date such as 2024-05-01T12:00 (UTC, unless it says otherwise)"
        ) from None


def _one_of(kind: Any) -> click.Choice[str]:
    return click.Choice(get_args(kind))


shown = partial(option, show_default=True)
lasting = partial(option, metavar="DURATION", callback=duration())
dated = partial(option, metavar="DATE", callback=date)

serializer_option = option(
    "-S",
    "--serializer",
    help="json (the default), pickle, or the dotted path of one; in an application, its own.",
)
queue_option = partial(shown, "-q", "--queue", default="default", callback=queue_name)

_DECORATORS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    option("--pattern", metavar="TEXT", help="When: a cron pattern, such as '0 12 * * *'."),
    option("--interval", metavar="DURATION", help="When: every so often, such as 5m."),
    option("--timezone", help="The zone in which the pattern is meant. Default: UTC, or the application's."),
    shown("--dialect", type=_one_of(Dialect), default="auto", help="How the pattern is read."),
    option("-q", "--queue", callback=queue_name, help="The queue of its jobs. Default: default, or the application's."),
    lasting("--timeout", callback=duration(0.001, infinite=True), help="How long a run may take; -1: any time."),
    lasting("--result-ttl", callback=duration(infinite=True), help="How long results are kept; -1: for ever."),
    lasting("--ttl", callback=duration(0.001), help="How long a job may wait before it is dropped."),
    option("--description", help="What lists show in place of the call."),
    option("--repeat", type=click.IntRange(min=1), help="How many runs in all. Default: no end to them."),
    shown("--catch-up", type=_one_of(CatchUp), default="last", help="What becomes of runs that were missed."),
    lasting("--grace", default="10", show_default=True, help="How late is not yet missed."),
    shown("--overlap", type=_one_of(Overlap), default="allow", help="What becomes of a run while an earlier one goes on."),
    lasting("--jitter", default="0", show_default=True, help="Spread the runs over so long."),
    dated("--start", help="No run before."),
    dated("--end", help="No run after."),
    serializer_option,
    app_option,
    connection_options,
)  # fmt: skip


def entry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all of them, in this order in its help."""
    return reduce(lambda decorated, decorate: decorate(decorated), reversed(_DECORATORS), command)
