"""Have Redis hold the recurring entries that code declares, and none of those that are gone from the code."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import chain

from aiorq2.backends import crons
from aiorq2.backends.crons import CronDraft, CronRecord, Saved
from aiorq2.backends.redis import RedisBackend
from aiorq2.cron_drafts import draft_of
from aiorq2.cron_spec import CronSpec
from aiorq2.errors import InvalidOption, NoSuchCronJobError
from aiorq2.options import checked_name
from aiorq2.queue import Queue


@dataclass(frozen=True, slots=True)
class Synced:
    """What was done, or would be: the names of the entries."""

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    """Left alone, since a newer version of the code has spoken."""

    @classmethod
    def of(cls, parts: Sequence[Synced]) -> Synced:
        """Return what was done in several places as one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            *[tuple(chain(*(getattr(one, kind.name) for one in parts))) for kind in fields(cls)]
        )

    @property
    def has_changes(self) -> bool:
        """Whether anything is different from before."""
        return bool(self.added or self.updated or self.removed)


async def sync(
    backend: RedisBackend,
    declared: Iterable[CronSpec],
    source: str,
    queue_for: Callable[[str | None], Queue],
    *,
    version: float | None = None,
    dry_run: bool = False,
    keep: Collection[str] = (),
) -> Synced:
    """Add, update and remove entries until those of this source are the ones declared; see ``Scheduler.sync``.

    Raises:
        InvalidOption: a name stands twice, or a declaration cannot be meant; nothing was written.
        InvalidJobOperation: other code declares an entry of this name.

    Redis: 2 calls, 1 pipeline per 200 entries, and 1 call per entry declared or removed.
    """
    checked_name(source, "source")
    specs = list(declared)
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidOption(f"sync: {', '.join(twice)} is declared more than once")
    now = await crons.now(backend)
    drafts = [draft_of(spec, queue_for(spec.queue), now, source=source) for spec in specs]
    there = {one.name: one for one in await _there(backend)}
    staying = {*names, *keep}
    gone = [name for name, one in there.items() if _source(one) == source and name not in staying]
    if dry_run:
        return _foreseen(drafts, there, gone)
    for spec in specs:
        await queue_for(spec.queue).refuse_across([spec.options])
    done: dict[Saved, list[str]] = {}
    for draft in drafts:
        saved = await crons.save(backend, draft, "declare", version=version)
        done.setdefault(saved, []).append(draft.name)
    removed, kept = await _removed(backend, gone, source, version)
    return Synced(
        added=tuple(done.get("added", ())),
        updated=tuple(done.get("updated", ())),
        unchanged=tuple(done.get("unchanged", ())),
        removed=tuple(removed),
        outdated=(*done.get("outdated", ()), *kept),
    )


async def _there(backend: RedisBackend) -> list[CronRecord]:
    found = await crons.records(backend, await crons.names(backend))
    return [one for one in found if one is not None]


def _source(record: CronRecord) -> str:
    return record.entry.text("source") or ""


def _foreseen(
    drafts: Sequence[CronDraft], there: dict[str, CronRecord], gone: Sequence[str]
) -> Synced:
    new = [draft.name for draft in drafts if draft.name not in there]
    same = [
        draft.name
        for draft in drafts
        if draft.name in there
        and there[draft.name].entry.text("definition") == draft.definition
        and _source(there[draft.name]) == draft.source
    ]
    other = [draft.name for draft in drafts if draft.name not in {*new, *same}]
    return Synced(tuple(new), tuple(other), tuple(same), tuple(gone))


async def _removed(
    backend: RedisBackend, names: Sequence[str], source: str, version: float | None
) -> tuple[list[str], list[str]]:
    """Remove entries; returns those that are gone, and those that were to stay."""
    removed: list[str] = []
    kept: list[str] = []
    for name in names:
        try:
            is_gone = await crons.remove(backend, name, source=source, version=version)
        except NoSuchCronJobError:
            is_gone = True
        (removed if is_gone else kept).append(name)
    return removed, kept
