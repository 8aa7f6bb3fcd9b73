"""``aiorq2 cron``: look at recurring entries, change, run and remove them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import click

from aiorq2.cli.failures import EXIT_FAILURE, sentence
from aiorq2.cli.options import Connection, Home, connection_options, option, parts_of
from aiorq2.cli.plain_text import printable
from aiorq2.cli.show_crons import as_json, facts, moment, show_all, show_one
from aiorq2.cron_jobs import CronJob
from aiorq2.errors import AiorqError, BackendError, NoSuchCronJobError
from aiorq2.scheduler import Scheduler

JOBS_SHOWN = 20

as_json_option = option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
names_argument = click.argument("names", nargs=-1, required=True)


@click.group()
def cron() -> None:
    """Recurring entries: what runs at certain times, again and again."""


@cron.command("list")
@as_json_option
@connection_options
def list_(connection: Connection, as_json: bool) -> None:
    """Show all entries, with their patterns in words and their next runs."""
    parts = connection.run_each(lambda backend: Scheduler(backend=backend).get_cron_jobs())
    found = sorted(chain(*parts), key=lambda one: one.name)
    _echo_json([facts(one) for one in found]) if as_json else show_all(found)


@cron.command()
@click.argument("name")
@as_json_option
@connection_options
def show(connection: Connection, name: str, as_json: bool) -> None:
    """Show all that is known of an entry, and its latest jobs."""

    async def work(home: Home) -> tuple[CronJob, list[Any]]:
        found = await entry_at(home, name)
        return found, await found.get_jobs(JOBS_SHOWN)

    found, jobs = connection.run_at(work)
    if as_json:
        _echo_json(facts(found) | {"jobs": [{"id": one.id, "status": one.status} for one in jobs]})
    else:
        show_one(found, jobs)


@cron.command("next")
@click.argument("name")
@option(
    "-n", "--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many."
)
@connection_options
def next_(connection: Connection, name: str, count: int) -> None:
    """Show when an entry is due next."""
    found = connection.run_at(lambda home: entry_at(home, name))
    for at in found.upcoming(count):
        click.echo(moment(at))
    if not found.next_run:
        click.echo(found.state)


@cron.command()
@names_argument
@connection_options
@click.pass_context
def pause(context: click.Context, connection: Connection, names: tuple[str, ...]) -> None:
    """Have entries make no runs until they are resumed; what is due meanwhile is not caught up."""
    _each(context, connection, names, CronJob.pause, "Paused {name}")


@cron.command()
@names_argument
@connection_options
@click.pass_context
def resume(context: click.Context, connection: Connection, names: tuple[str, ...]) -> None:
    """Have paused entries go on."""
    _each(context, connection, names, CronJob.resume, "Resumed {name}, next {next}")


@cron.command()
@names_argument
@connection_options
@click.pass_context
def run(context: click.Context, connection: Connection, names: tuple[str, ...]) -> None:
    """Make a run of entries now, whatever their times and states say."""
    _each(context, connection, names, CronJob.run_now, "Enqueued {name} as job {job}")


@cron.command()
@names_argument
@connection_options
@click.pass_context
def remove(context: click.Context, connection: Connection, names: tuple[str, ...]) -> None:
    """Remove entries; the jobs that they have made stay."""
    _each(context, connection, names, CronJob.cancel, "Removed {name}")


def _each(
    context: click.Context,
    connection: Connection,
    names: Sequence[str],
    verb: Callable[[CronJob], Awaitable[Any]],
    said: str,
) -> None:
    """Do something to every entry named, and say what came of it."""

    async def work(home: Home) -> int:
        status = 0
        for name in names:
            try:
                found = await entry_at(home, name)
                job = await verb(found)
            except BackendError:
                raise
            except AiorqError as error:
                click.echo(f"aiorq2: {sentence(error)}", err=True)
                status = EXIT_FAILURE
            else:
                job_id = "" if job is None else job.id
                text = said.format(name=found.name, next=moment(found.next_run), job=job_id)
                click.echo(printable(text))
        return status

    context.exit(connection.run_at(work))


async def entry_at(home: Home, name: str) -> CronJob:
    """Return a recurring entry by its name, in whichever shard it is.

    Raises:
        NoSuchCronJobError: there is none.
    """
    for one in parts_of(home):
        with suppress(NoSuchCronJobError):
            return await Scheduler(backend=one).get_cron_job(name)
    raise NoSuchCronJobError(f"cron {name!r}: there is no such entry")


def _echo_json(found: object) -> None:
    click.echo(as_json(found))
