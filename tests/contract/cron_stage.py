"""Recurring entries for the contract tests: written, due, and ticked by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiorq2.backends import crons
from aiorq2.backends.crons import CronDraft, CronRecord, Tick
from aiorq2.backends.line import Command
from aiorq2.backends.redis import RedisBackend
from aiorq2.cron_drafts import draft_of
from aiorq2.cron_spec import CronSpec, tick_id
from aiorq2.errors import BackendError
from aiorq2.queue import Queue
from tests.contract.stage import QUEUE

PAST = 1_600_000_000.0
"""A tick that is due since long ago."""
NEXT = 4_000_000_000.0
"""One that is not due for long."""


def draft(
    backend: RedisBackend, name: str = "x", *, at: float = PAST, queue: str = QUEUE, **options: Any
) -> CronDraft:
    """Return an entry on its way into Redis, which ticks every minute and for the first time at ``at``."""
    options.setdefault("interval", None if "pattern" in options else 60)
    spec = CronSpec.of(name, "tests.support.jobs.nothing", queue=queue, **options)
    made = draft_of(spec, Queue(queue, backend), at, source="")
    return replace(made, tick=at, due=at)


async def entry(backend: RedisBackend, name: str = "x", **options: Any) -> CronRecord:
    """Write an entry that is due, and return it."""
    await crons.save(backend, draft(backend, name, **options), "update")
    return await read(backend, name)


async def read(backend: RedisBackend, name: str = "x") -> CronRecord:
    """Return the entry of this name, which must be there."""
    (record,) = await crons.records(backend, [name])
    assert record is not None
    return record


async def ticking(
    backend: RedisBackend,
    record: CronRecord,
    *ticks: float,
    next_tick: float | None = NEXT,
    seen_at: float | None = None,
) -> Tick:
    """Return what a process writes that has looked at an entry: by default one run, for the pending tick."""
    runs = tuple(
        (tick, tick_id(record.template.id, tick)) for tick in ticks or (record.tick or PAST,)
    )
    seen = await crons.now(backend) if seen_at is None else seen_at
    return Tick(record, seen, runs, next_tick, next_tick)


async def tick(backend: RedisBackend, name: str = "x", *ticks: float, **options: Any) -> list[str]:
    """Tick an entry and return the ids of the jobs that made."""
    record = await read(backend, name)
    (made,) = await crons.tick(backend, [await ticking(backend, record, *ticks, **options)])
    if isinstance(made, BackendError):
        raise made
    assert made is not None
    return made


async def tick_command(backend: RedisBackend, record: CronRecord, **options: Any) -> Command:
    """Return the command that ticks an entry, to be sent by hand."""
    command: Command = crons._tick_command(backend, await ticking(backend, record, **options))
    return command


def save_command(backend: RedisBackend, made: CronDraft, **options: Any) -> Command:
    """Return the command that writes an entry."""
    named = {"mode": "update", "revision": "", "version": "", "token": "t", **options}
    fields = [part for pair in made.entry.items() for part in pair]
    template = [part for pair in made.template.items() for part in pair]
    return backend._command(
        "save_cron",
        {
            "cron": made.name,
            "queue": made.queue,
            "source": made.source,
            "definition": made.definition,
            "rhythm": made.rhythm,
            "times": "" if made.repeat is None else made.repeat,
            "tick": f"{made.tick:.3f}",
            "due": f"{made.due:.3f}",
            "now_iso": "2024-05-01T12:00:00.000000Z",
            "field_count": len(fields),
            **named,
        },
        [*fields, *template],
    )


async def due_names(backend: RedisBackend, instance: str = "i1", *queues: str) -> list[str]:
    """Return the names of the entries that a process is handed out."""
    found = await crons.due(backend, instance, queues or (QUEUE,))
    return [record.name for record in found.records]


async def runs(backend: RedisBackend, name: str = "x") -> list[str]:
    """Return the ids that an entry remembers, the newest first."""
    return await crons.run_ids(backend, name, 1000)


def declared(made: CronDraft, source: str) -> CronDraft:
    """Return an entry as code declares it."""
    return replace(made, source=source)
