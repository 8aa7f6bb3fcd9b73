"""``aiorq2 enqueue`` and ``cancel``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import click

from aiorq2.callables import describe_call
from aiorq2.cli.app import app_option, connected, queue_of, with_defaults
from aiorq2.cli.arguments import parse_arguments
from aiorq2.cli.failures import EXIT_FAILURE, sentence
from aiorq2.cli.options import (
    Connection,
    Home,
    connection_options,
    duration,
    home_of_job,
    option,
    queue_name,
)
from aiorq2.cli.plain_text import printable
from aiorq2.errors import AiorqError, BackendError
from aiorq2.job import Job
from aiorq2.options import Retry
from aiorq2.queue import Queue

AT_ONCE = 100
"""How many jobs one pipeline changes."""


@click.command()
@click.argument("function")
@click.argument("arguments", nargs=-1, metavar="[ARGS]...")
@option(
    "-q",
    "--queue",
    callback=queue_name,
    help="The queue. Default: default, or the application's.",
)
@option(
    "--timeout",
    callback=duration(0.001, infinite=True),
    metavar="DURATION",
    help="How long a run may take; -1: any time.",
)
@option(
    "--result-ttl",
    callback=duration(infinite=True),
    metavar="DURATION",
    help="How long the result is kept; -1: for ever.",
)
@option(
    "--ttl",
    callback=duration(0.001),
    metavar="DURATION",
    help="How long it may wait before it is dropped.",
)
@option(
    "--failure-ttl",
    callback=duration(infinite=True),
    metavar="DURATION",
    help="How long it is kept when it fails.",
)
@option("--description", help="What lists show in place of the call.")
@option("--job-id", help="Its id; default: a random one.")
@option("--at-front", is_flag=True, help="Let it be the next.")
@option("--depends-on", multiple=True, metavar="JOB_ID", help="Wait for this job; may be repeated.")
@option("--schedule-in", callback=duration(), metavar="DURATION", help="Run it so much later.")
@option(
    "--schedule-at",
    type=click.DateTime(("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d")),
    metavar="TIME",
    help="Run it then, in UTC or the application's zone: 2024-05-01T12:00:00.",
)
@option(
    "--retry-max",
    type=click.IntRange(min=0),
    default=0,
    help="How often it is repeated after an exception.",
)
@option(
    "--retry-interval",
    multiple=True,
    callback=duration(),
    metavar="DURATION",
    help="Before a retry; may be repeated.",
)
@option("--meta", metavar="JSON", help="An object that goes with the job.")
@option(
    "-S",
    "--serializer",
    help="json (the default), pickle, or the dotted path of one; in an application, its own.",
)
@option("--wait", is_flag=True, help="Wait for the end and print what was returned.")
@option("--wait-timeout", callback=duration(), metavar="DURATION", help="Wait no longer than this.")
@option("--quiet", is_flag=True, help="Do not say that it was enqueued.")
@app_option
@connection_options
@click.pass_context
def enqueue(
    context: click.Context, /, connection: Connection, app: str | None, **asked: Any
) -> None:
    """Enqueue FUNCTION, a dotted name that workers can import, with ARGS.

    ARGS are in RQ's syntax: text, :json, %literal, key=text, key:=json, key%=literal; @file in place of a value reads it from
    a file. After `--` an argument may begin with a dash.
    """
    asked["args"], asked["kwargs"] = parse_arguments(asked.pop("arguments"))
    asked["meta"] = _object(asked["meta"])
    if asked["schedule_in"] is not None and asked["schedule_at"] is not None:
        raise click.UsageError("--schedule-in and --schedule-at exclude one another")
    connection = connected(app, context, connection)
    told = with_defaults(asked, connection.rq)
    queue, serializer = told.pop("queue"), told.pop("serializer")
    value = connection.run_at(
        lambda home: _enqueued(queue_of(connection, queue, home, serializer), **told)
    )
    if asked["wait"]:
        click.echo(_readable(value))


async def _enqueued(
    target: Queue,
    *,
    function: str,
    retry_max: int,
    retry_interval: Sequence[float],
    depends_on: Sequence[str],
    schedule_in: float | None,
    schedule_at: datetime | None,
    wait: bool,
    wait_timeout: float | None,
    quiet: bool,
    args: list[Any],
    kwargs: dict[str, Any],
    **options: Any,
) -> Any:
    """Enqueue one job, and wait for it if that was asked for."""
    retry = Retry(retry_max, list(retry_interval) or 0) if retry_max else None
    options |= {"retry": retry, "depends_on": list(depends_on) or None}
    explicit = {"args": args, "kwargs": kwargs, "job_timeout": options.pop("timeout"), **options}
    if schedule_in is not None:
        job = await target.enqueue_in(schedule_in, function, **explicit)
    elif schedule_at is not None:
        job = await target.enqueue_at(schedule_at, function, **explicit)
    else:
        job = await target.enqueue(function, **explicit)
    if not quiet:
        click.echo(f"Enqueued {describe_call(function, args, kwargs)} with job-id '{job.id}'.")
    return await _value(job, wait_timeout) if wait else None


async def _value(job: Job, timeout: float | None) -> Any:
    try:
        return await job.wait(timeout)
    except TimeoutError:
        raise click.ClickException(
            f"job {job.id!r} has not ended in {timeout:g} s; it goes on"
        ) from None


@click.command()
@click.argument("job_ids", nargs=-1, required=True)
@connection_options
@click.pass_context
def cancel(context: click.Context, connection: Connection, job_ids: tuple[str, ...]) -> None:
    """Cancel jobs; those that run are stopped by their worker."""
    context.exit(connection.run_at(lambda home: _cancelled(home, job_ids)))


async def _cancelled(home: Home, job_ids: Sequence[str]) -> int:
    async def cancelled(job_id: str) -> str | None:
        return await (await home_of_job(home, job_id)).cancel(job_id)

    refused = 0
    async for job_id, outcome in each(cancelled, job_ids):
        if isinstance(outcome, AiorqError):
            refused += 1
            click.echo(f"aiorq2: {sentence(outcome)}", err=True)
        elif outcome:
            click.echo(f"Stopping {job_id} on worker {printable(outcome)}")
        else:
            click.echo(f"Cancelled {job_id}")
    return EXIT_FAILURE if refused else 0


async def each(
    verb: Callable[[str], Awaitable[Any]], job_ids: Sequence[str]
) -> AsyncIterator[tuple[str, Any]]:
    """Do something to every job; yields each id with what came of it, refusals as exceptions."""
    for start in range(0, len(job_ids), AT_ONCE):
        chunk = job_ids[start : start + AT_ONCE]
        outcomes = await asyncio.gather(*(verb(job_id) for job_id in chunk), return_exceptions=True)
        for job_id, outcome in zip(chunk, outcomes, strict=True):
            if isinstance(outcome, BaseException) and (
                isinstance(outcome, BackendError) or not isinstance(outcome, AiorqError)
            ):
                raise outcome
            yield job_id, outcome


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        found = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        raise click.UsageError("--meta: not readable as JSON") from None
    if found is not None and not isinstance(found, dict):
        raise click.UsageError("--meta: a JSON object is needed")
    return found


def _readable(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)
