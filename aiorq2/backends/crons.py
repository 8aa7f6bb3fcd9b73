"""Recurring entries: what lies in Redis of one, and the verbs on it. One script each, as for jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Literal

from aiorq2.backends.base import JobRecord
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.scripts import Arg
from aiorq2.backends.wire import fields_of, record_of
from aiorq2.cron import CronPattern
from aiorq2.errors import BackendError, InvalidJobOperation, NoSuchCronJobError
from aiorq2.rhythm import Interval, Policies, Rhythm
from aiorq2.states import Reply
from aiorq2.timing import to_iso

Mode = Literal["replace", "update", "declare", "edit"]
Saved = Literal["added", "updated", "unchanged", "outdated"]

DUTY_S = 1.0
"""How long the process that has taken it upon itself to tick may take before another does."""
MAX_DUE = 100
"""How many entries one pass sees to."""
CHUNK = 200
KEPT_S = 86_400
"""How long an entry that has ended is to be seen; one that code declares for a year, lest it begins again at the next start."""
KEPT_DECLARED_S = 31_536_000
LATER_S = 60.0
"""After how long an entry that cannot be read is looked at again."""


@dataclass(frozen=True, slots=True)
class CronRecord:
    """A recurring entry as it lies in Redis, and the template of its jobs (its id is that which their ids begin with)."""

    name: str
    entry: JobRecord
    template: JobRecord

    @property
    def revision(self) -> str:
        """What changes with every edit."""
        return self.entry.text("revision") or ""

    @property
    def state(self) -> str:
        """``active``, ``paused`` or ``ended``."""
        return self.entry.text("state") or "ended"

    @property
    def tick(self) -> float | None:
        """The pending tick; None: there is none."""
        return self.entry.real("tick")

    @property
    def due(self) -> float | None:
        """When it is due."""
        return self.entry.real("due")

    @property
    def policies(self) -> Policies:
        """The policies, without what they were checked for when they were written."""
        own, unsaid = self.entry, Policies()
        return Policies(
            catch_up=own.text("catch_up") or unsaid.catch_up,  # type: ignore[arg-type]
            grace=own.real("grace") or unsaid.grace,
            overlap=own.text("overlap") or unsaid.overlap,  # type: ignore[arg-type]
            jitter=own.real("jitter") or 0,
            start=own.real("start"),
            end=own.real("end"),
            repeat=own.number("repeat"),
            history=own.number("history") or unsaid.history,
        )

    @property
    def pattern(self) -> CronPattern | None:
        """The cron pattern, if it has one.

        Raises:
            InvalidOption: it cannot be read here: somebody wrote it by hand, or the time zone is not known.
        """
        text = self.entry.text("pattern")
        if text is None:
            return None
        return CronPattern.parse(
            text,
            timezone=self.entry.text("timezone") or "UTC",
            dialect=self.entry.text("dialect") or "auto",  # type: ignore[arg-type]
            name=self.name,
        )

    @property
    def rhythm(self) -> Rhythm:
        """When it ticks.

        Raises:
            InvalidOption: as ``pattern``.
        """
        own = self.policies
        beat: CronPattern | Interval | None = self.pattern
        if beat is None:
            beat = Interval(self.entry.real("interval") or 1, self.entry.real("anchor") or 0)
        return Rhythm(beat, self.name, own.jitter, own.start, own.end)


@dataclass(frozen=True, slots=True)
class CronDraft:
    """A recurring entry on its way into Redis."""

    name: str
    queue: str
    entry: Mapping[str, Arg]
    template: Mapping[str, Arg]
    definition: str
    """A digest of all that was declared."""
    rhythm: str
    """What its times depend on, as text: as long as it is the same, the pending tick stays."""
    tick: float
    due: float
    repeat: int | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class DueCrons:
    """What is due: the entries (their templates are not read), the time by which that was found, and when the next one is due."""

    records: tuple[CronRecord, ...]
    now: float
    next_due: float | None


async def now(backend: RedisBackend) -> float:
    """Return the present by the clock that due times are judged by. Redis: 1 call, none with an injected clock."""
    if backend.clock is not None:
        return backend.clock.time()
    seconds, micros = (await backend.run(["TIME"]))[0]
    return int(seconds) + int(micros) / 1e6


async def save(
    backend: RedisBackend,
    draft: CronDraft,
    mode: Mode,
    *,
    revision: str = "",
    version: float | None = None,
) -> Saved:
    """Write an entry. Redis: 1 call.

    Args:
        mode: ``replace`` whatever there is, ``update`` it, ``declare`` it: update, but leave one that has ended as it is; or
            ``edit`` it: update, but one that has ended begins again only with another ``repeat``, or other times if runs are left.
        revision: that of the entry which the caller has seen.
        version: that of the code that declares it.

    Returns what was done; ``outdated`` where the revision is another or the version is not the newest.
    """
    entry, template = _flat(draft.entry), _flat(draft.template)
    reply = await backend.call(
        "save_cron",
        [*entry, *template],
        cron=draft.name,
        queue=draft.queue,
        token=token_hex(8),
        mode=mode,
        revision=revision,
        source=draft.source,
        version="" if version is None else repr(version),
        definition=draft.definition,
        rhythm=draft.rhythm,
        times="" if draft.repeat is None else draft.repeat,
        tick=f"{draft.tick:.3f}",
        due=f"{draft.due:.3f}",
        now_iso=to_iso(backend.time()),
        field_count=len(entry),
    )
    match Reply(reply[0].decode()):
        case Reply.OK:
            done: Saved = reply[1].decode()
            return done
        case Reply.CHANGED:
            return "outdated"
        case Reply.DUPLICATE:
            raise InvalidJobOperation(
                f"cron {draft.name!r}: cannot declare for {draft.source!r}, {_text(reply[1])!r} declares it"
            )
        case _:
            raise BackendError(
                f"cron {draft.name!r}: cannot save, something that is no entry lies under its key"
            )


async def adjust(
    backend: RedisBackend,
    record: CronRecord,
    verb: str,
    *,
    state: str,
    tick: float | None,
    due: float | None,
    fields: Mapping[str, Arg] | None = None,
) -> bool:
    """Pause, resume or move an entry; returns False if it is not as it was seen any more. Redis: 1 call.

    Raises:
        NoSuchCronJobError: there is none.
        InvalidJobOperation: it has ended.
    """
    reply = await backend.call(
        "adjust_cron",
        _flat(fields or {"state": state}),
        cron=record.name,
        token=token_hex(8),
        revision=record.revision,
        state=state,
        tick="" if tick is None else f"{tick:.3f}",
        due="" if due is None else f"{due:.3f}",
        now_iso=to_iso(backend.time()),
    )
    word = Reply(reply[0].decode())
    if word is Reply.WRONG_STATUS:
        raise InvalidJobOperation(f"cron {record.name!r}: cannot {verb}, it has ended")
    _raise_if_gone(word, record.name, verb)
    return word is Reply.OK


async def remove(
    backend: RedisBackend, name: str, *, source: str = "", version: float | None = None
) -> bool:
    """Remove an entry; its jobs stay. Returns False where another source, or a newer version, has it. Redis: 1 call.

    Raises:
        NoSuchCronJobError: there is none.
    """
    reply = await backend.call(
        "remove_cron",
        cron=name,
        token=token_hex(8),
        source=source,
        version="" if version is None else repr(version),
    )
    word = Reply(reply[0].decode())
    _raise_if_gone(word, name, "remove")
    return word is Reply.OK


async def run(backend: RedisBackend, name: str, job_id: str) -> None:
    """Make a run of an entry now. Redis: 1 call.

    Raises:
        NoSuchCronJobError: there is none.
    """
    iso = to_iso(backend.time())
    reply = await backend.call(
        "run_cron", cron=name, token=token_hex(8), job=job_id, tick_iso=iso, now_iso=iso
    )
    _raise_if_gone(Reply(reply[0].decode()), name, "run")


async def due(
    backend: RedisBackend, instance: str, queues: Sequence[str], *, limit: int = MAX_DUE
) -> DueCrons:
    """Return the entries of these queues that are due, if nobody else sees to them. Redis: 1 call.

    For ``DUTY_S`` nobody else is given any of these queues; a call that finds nothing ends that.
    """
    reply = await backend.call(
        "due_crons", queues, instance=instance, duty_ms=int(DUTY_S * 1000), limit=limit
    )
    records = tuple(_record(_text(name), fields, ()) for name, fields in reply[3:])
    return DueCrons(records, float(reply[1]), float(reply[2]) if reply[2] else None)


@dataclass(frozen=True, slots=True)
class Tick:
    """What is to be written for an entry that is due: the runs, as (tick, job id), and the tick that is pending then."""

    record: CronRecord
    seen_at: float
    runs: tuple[tuple[float, str], ...]
    next_tick: float | None
    next_due: float | None
    error: str = ""


async def tick(
    backend: RedisBackend, ticks: Sequence[Tick]
) -> list[list[str] | BackendError | None]:
    """Make the runs of entries that are due; of each, return the ids of the jobs added, None if somebody else was quicker, or
    why it was refused.

    Redis: 1 pipeline, 1 script per entry.
    """
    replies = await backend.home.calls.call_many([_tick_command(backend, one) for one in ticks])
    added: list[list[str] | BackendError | None] = []
    for reply in replies:
        if type(reply) is BackendError:  # of this entry alone, such as a queue that is none
            added.append(reply)
            continue
        if isinstance(reply, BaseException):
            raise reply
        added.append(None if reply[0] != b"OK" else [one.decode() for one in reply[1]])
    return added


def _tick_command(backend: RedisBackend, tick: Tick) -> Any:
    entry = tick.record.entry
    is_named = entry.text("anonymous") is None
    kept = (KEPT_DECLARED_S if entry.text("source") else KEPT_S) if is_named else 0
    runs = [part for at, job_id in tick.runs for part in (f"{at:.3f}", to_iso(at), job_id)]
    return backend._command(
        "tick_cron",
        {
            "cron": tick.record.name,
            "token": token_hex(8),
            "due": entry.text("due") or "",
            "revision": tick.record.revision,
            "seen": repr(tick.seen_at),
            "next_tick": "" if tick.next_tick is None else f"{tick.next_tick:.3f}",
            "next_due": "" if tick.next_due is None else f"{tick.next_due:.3f}",
            "now_iso": to_iso(backend.time()),
            "error": tick.error,
            "kept": kept,
        },
        runs,
    )


async def names(backend: RedisBackend) -> list[str]:
    """Return the names of all entries, sorted; one or the other may be gone. Redis: 1 call."""
    (found,) = await backend.run(["ZRANGE", backend.keys.cron_names(), 0, -1])
    return sorted(_text(one) for one in found)


async def records(backend: RedisBackend, names: Sequence[str]) -> list[CronRecord | None]:
    """Return the entries of these names, None where there is none. Redis: 1 pipeline per 200 of them."""
    keys, found = backend.keys, []
    for start in range(0, len(names), CHUNK):
        chunk = names[start : start + CHUNK]
        commands = [["HGETALL", key(name)] for name in chunk for key in (keys.cron, keys.cron_job)]
        replies = await backend.home.calls.call_many(commands)
        for name, entry, template in zip(chunk, replies[::2], replies[1::2], strict=True):
            found.append(_found(name, entry, template))
    return found


async def queues(backend: RedisBackend) -> set[str]:
    """Return the names of the queues that have active entries. Redis: 1 call, and 1 pipeline per 200 entries."""
    found = await records(backend, await names(backend))
    return {one.entry.text("queue") or "" for one in found if one and one.state == "active"} - {""}


async def run_ids(backend: RedisBackend, name: str, limit: int) -> list[str]:
    """Return the ids of the latest jobs that an entry has made, the newest first. Redis: 1 call."""
    (found,) = await backend.run(["ZREVRANGE", backend.keys.cron_runs(name), 0, limit - 1])
    return [_text(one) for one in found]


def _found(name: str, entry: Any, template: Any) -> CronRecord | None:
    for one in (entry, template):
        if isinstance(one, BackendError) and "WRONGTYPE" in str(one):
            return None
        if isinstance(one, BaseException):
            raise one
    return _record(name, entry, template) if entry else None


def _record(name: str, entry: Sequence[bytes], template: Sequence[bytes]) -> CronRecord:
    own = JobRecord(name, fields_of(entry))
    return CronRecord(name, own, record_of(own.text("id") or name, template))


def _flat(fields: Mapping[str, Arg]) -> list[Arg]:
    return [part for pair in fields.items() for part in pair]


def _raise_if_gone(word: Reply, name: str, verb: str) -> None:
    if word is Reply.GONE:
        raise NoSuchCronJobError(f"cron {name!r}: cannot {verb}, there is no such entry")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def moment_of(seconds: float | None) -> datetime | None:
    """Return seconds since the epoch as an aware ``datetime``, None for None and for what is not on the calendar."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
