"""``aiorq2 cron add``, ``sync`` and ``import-rq-scheduler``."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import click
from click.core import ParameterSource

from aiorq2.backends.redis import RedisBackend
from aiorq2.cli.app import connected, queue_of, with_defaults
from aiorq2.cli.arguments import parse_arguments
from aiorq2.cli.cron_options import entry_options, queue_option, serializer_option
from aiorq2.cli.failures import EXIT_FAILURE
from aiorq2.cli.options import Connection, connection_options, option, point
from aiorq2.cli.plain_text import printable
from aiorq2.cli.show_crons import as_json, moment
from aiorq2.cli.targets import load_target
from aiorq2.connections import DEFAULT
from aiorq2.cron import in_zone
from aiorq2.cron_drafts import write
from aiorq2.cron_jobs import CronJob
from aiorq2.cron_spec import CronSpec
from aiorq2.cron_sync import Synced
from aiorq2.errors import InvalidOption
from aiorq2.hub import RQ
from aiorq2.migration import SCHEDULED_JOBS, Import, import_rq_scheduler
from aiorq2.scheduler import Scheduler

_FOLDER = click.Path(exists=True, file_okay=False)


@click.command()
@click.argument("name")
@click.argument("function")
@click.argument("arguments", nargs=-1, metavar="[ARGS]...")
@entry_options
@click.pass_context
def add(context: click.Context, /, connection: Connection, app: str | None, **asked: Any) -> None:
    """Have FUNCTION, a dotted name that workers can import, run again and again with ARGS, under a NAME; an entry of this name is
    changed. ARGS are written as for `aiorq2 enqueue`.
    """
    args, kwargs = parse_arguments(asked.pop("arguments"))
    name, function = asked.pop("name"), asked.pop("function")
    serializer = asked.pop("serializer")
    connection = connected(app, context, connection)
    zone = "UTC" if connection.rq is None else connection.rq.settings().timezone
    options = with_defaults(asked, connection.rq)
    spec = CronSpec.of(
        name, function, args, kwargs, **{one: in_zone(value, zone) for one, value in options.items() if value is not None}
    )  # fmt: skip

    async def work(backend: RedisBackend) -> tuple[str, CronJob]:
        queue = queue_of(connection, options["queue"], backend, serializer)
        saved = await write(backend, spec, queue, "update")
        return saved, await CronJob.fetch(spec.name, backend, queue.serializer)

    saved, found = connection.run(work, queue=options["queue"])
    told = f"{saved.capitalize()} {found.name}: {found.describe()}; next {moment(found.next_run)}"
    click.echo(printable(told))


@click.command()
@click.argument("target", required=False)
@option(
    "--source", help="What stands for the code that declares them. Default: the name of the module."
)
@option("--version", type=float, help="Of that code, a number that grows: the newest wins.")
@queue_option(help="Of entries that name none.")
@option(
    "-P",
    "--path",
    multiple=True,
    type=_FOLDER,
    help="Where modules are found, beside the current folder.",
)
@option("--dry-run", is_flag=True, help="Change nothing, only say what would be done.")
@option("--json", "as_json_", is_flag=True, help="Print one line of JSON.")
@serializer_option
@connection_options
@click.pass_context
def sync(
    context: click.Context,
    /,
    connection: Connection,
    target: str | None,
    source: str | None,
    version: float | None,
    queue: str,
    path: Sequence[str],
    dry_run: bool,
    as_json_: bool,
    serializer: str | None,
) -> None:
    """Add, change and remove entries until they are those that TARGET declares.

    TARGET is module:attribute, of an RQ or of an object with `crons`, a list of CronSpec, or of such a list. In an
    application it is the application's own RQ if none is named.
    """
    if target is None and connection.rq is None:
        raise click.UsageError("name what declares the entries: module:attribute")
    found: Any = connection.rq if target is None else load_target(target, path)
    if isinstance(found, RQ):
        _refuse_beside_an_rq(context)
        if target is not None:
            point(found, context, connection)
        _tell(asyncio.run(_synced(found, version, dry_run)), dry_run, as_json_)
        return
    target = str(target)

    async def work(backend: RedisBackend) -> Synced:
        own = getattr(found, "sync_crons", None)
        if inspect.iscoroutinefunction(own):
            if dry_run and "dry_run" not in inspect.signature(own).parameters:
                raise InvalidOption(f"{target[:100]!r} cannot say beforehand what it would do")
            done: Synced = await own(backend=backend, **({"dry_run": True} if dry_run else {}))
            return done
        scheduler = Scheduler(queue, backend=backend, serializer=connection.serializer(serializer))
        name = source or target.partition(":")[0]
        return await scheduler.sync(_declared(found, target), source=name, version=version, dry_run=dry_run)  # fmt: skip

    _tell(connection.run(work), dry_run, as_json_)


def _refuse_beside_an_rq(context: click.Context) -> None:
    for name in ("source", "queue", "serializer"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise InvalidOption(f"--{name}: an RQ says that itself; it is for a list of CronSpec")


async def _synced(rq: RQ, version: float | None, dry_run: bool) -> Synced:
    """Have the entries of an ``RQ`` written, on each of its connections."""
    if version is not None:
        rq.version = version
    try:
        done = [
            await rq.sync_crons(name, dry_run=dry_run)
            for name in dict.fromkeys((DEFAULT, *rq.connections))
        ]
    finally:
        await rq.close()
    return Synced(
        *[
            tuple(name for one in done for name in getattr(one, kind.name))
            for kind in fields(Synced)
        ]
    )


def _declared(found: object, target: str) -> list[CronSpec]:
    crons = getattr(found, "crons", found)
    specs = list(crons) if isinstance(crons, Iterable) and not isinstance(crons, str) else [None]
    if not all(isinstance(one, CronSpec) for one in specs):
        raise InvalidOption(
            f"{target[:100]!r}: neither a list of CronSpec, nor has it one as `crons`"
        )
    return specs  # type: ignore[return-value]


def _tell(synced: Synced, dry_run: bool, as_json_: bool) -> None:
    kinds = ("added", "updated", "removed", "unchanged", "outdated")
    if as_json_:
        click.echo(as_json({kind: getattr(synced, kind) for kind in kinds} | {"dry_run": dry_run}))
        return
    would = "would be " if dry_run else ""
    for kind in kinds:
        label = f"{would}{kind}" if kind in kinds[:3] else kind
        for name in getattr(synced, kind):
            click.echo(printable(f"{label}: {name}"))


@click.command("import-rq-scheduler")
@option(
    "-S",
    "--serializer",
    help="Of its jobs: rq's default is pickle, which can run code while it is read.",
)
@option(
    "--timezone",
    default="UTC",
    show_default=True,
    help="Of patterns that were not meant in local time.",
)
@option("--key", default=SCHEDULED_JOBS, show_default=True, help="Where its list lies in Redis.")
@option("--dry-run", is_flag=True, help="Change nothing, only say what would be done.")
@connection_options
@click.pass_context
def import_(
    context: click.Context, /, connection: Connection, dry_run: bool, **asked: str | None
) -> None:
    """Take over what the rq-scheduler package has scheduled; stop it before. May be repeated."""
    found = connection.run(
        lambda backend: import_rq_scheduler(backend, dry_run=dry_run, **asked)  # type: ignore[arg-type]
    )
    for one in found:
        click.echo(printable(_imported(one, dry_run)), err=bool(one.refusal))
    refused = sum(bool(one.refusal) for one in found)
    done = "would be imported" if dry_run else "imported"
    click.echo(f"{len(found) - refused} {done}, {refused} cannot be")
    context.exit(EXIT_FAILURE if refused else 0)


def _imported(one: Import, dry_run: bool) -> str:
    due = moment(one.due)
    when = {
        "once": f"once, at {due}",
        "unread": f"at {due}; how it recurs is known with --serializer",
    }
    text = (
        f"{one.id}: {one.function} in {one.queue}, {when.get(one.kind, f'{one.beat}, next {due}')}"
    )
    if one.refusal:
        return f"{text}: not imported: {one.refusal}"
    return f"{text} ({one.note})" if one.note else text
