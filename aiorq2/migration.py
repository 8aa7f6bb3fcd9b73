"""Take over what the rq-scheduler package has scheduled: all is in one sorted set, and how it recurs in the meta of each job."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from aiorq2.backends import inspect
from aiorq2.backends.base import JobRecord
from aiorq2.backends.crons import moment_of
from aiorq2.backends.redis import RedisBackend
from aiorq2.cron import local_timezone
from aiorq2.cron_drafts import write
from aiorq2.cron_spec import CronSpec
from aiorq2.errors import AiorqError, BackendError, InvalidOption
from aiorq2.options import EnqueueOptions
from aiorq2.payloads import Call, decode_call, decode_value, function_name
from aiorq2.queue import Queue
from aiorq2.serializers import Serializer
from aiorq2.serializers import resolve as resolve_serializer
from aiorq2.terms import Callback
from aiorq2.timing import duration_text

SCHEDULED_JOBS = "rq:scheduler:scheduled_jobs"
"""Where the rq-scheduler package keeps what is scheduled; it knows no other prefix."""

Kind = Literal["cron", "interval", "once", "unread"]

_ITS_OWN = ("interval", "repeat", "cron_string", "use_local_timezone", "queue_class_name")


@dataclass(frozen=True, slots=True)
class Import:
    """One thing that rq-scheduler has scheduled, and what became of it."""

    id: str
    kind: Kind
    """``unread``: its meta was not looked at."""
    beat: str
    """The pattern, or ``every 5m``."""
    due: datetime | None
    queue: str = ""
    function: str = ""
    note: str = ""
    """What is different from before."""
    refusal: str = ""
    """Why it was not imported; empty: it was, or would be."""


async def import_rq_scheduler(
    backend: RedisBackend,
    *,
    serializer: str | Serializer | None = None,
    timezone: str = "UTC",
    dry_run: bool = False,
    key: str = SCHEDULED_JOBS,
) -> list[Import]:
    """Make entries and scheduled jobs of what the rq-scheduler package has scheduled, and take it off its list.

    It may be repeated. What cannot be taken over stays, and the reason is told. A job that waits or runs by now is left as it is.

    Args:
        serializer: that of its jobs. rq's default is ``"pickle"``, and reading pickle can run code, so it must be asked for. A dry
            run does without, and cannot tell then how a job recurs.
        timezone: the zone of cron patterns that were not meant in local time.
        dry_run: write nothing.
        key: where its list lies.

    Raises:
        InvalidOption: no serializer is given.

    Redis: 1 call, 1 pipeline per 500 jobs, and 3 calls per job taken over.
    """
    if serializer is None and not dry_run:
        raise InvalidOption(
            "say which serializer its jobs were written with: rq's default is 'pickle' (which can run code while it is read)"
        )
    reader = None if serializer is None else resolve_serializer(serializer)
    found = []
    for due, record in await _scheduled(backend, key):
        if record is None:
            continue  # its list names jobs that are gone
        seen = _seen(record, due, reader, timezone)
        if not (dry_run or seen.refusal or reader is None):
            seen = await _taken_over(backend, record, due, reader, seen, timezone)
            if not seen.refusal:
                await backend.run(["ZREM", key, record.id])
        found.append(seen)
    return found


async def _scheduled(backend: RedisBackend, key: str) -> list[tuple[float, JobRecord | None]]:
    (flat,) = await backend.run(["ZRANGE", key, 0, -1, "WITHSCORES"])
    pairs = iter(flat)
    scores = {
        member.decode("utf-8", "replace"): float(score)
        for member, score in zip(pairs, pairs, strict=True)
    }
    records = await inspect.records(backend, list(scores))
    return list(zip(scores.values(), records, strict=True))


def _seen(record: JobRecord, due: float, reader: Serializer | None, timezone: str) -> Import:
    seen = Import(
        record.id,
        "unread",
        "",
        moment_of(due),
        record.origin,
        function_name(record.fields.get("data", b"")) or "?",
    )
    if reader is None:
        return seen
    try:
        meta = _meta(record, reader)
        if meta.get("cron_string"):
            spec = _cron_spec(record, meta, reader, timezone)
            return replace(seen, kind="cron", beat=str(meta["cron_string"]), note=_note(spec))
        if meta.get("interval"):
            spec = _interval_spec(record, meta, due, reader)
            return replace(seen, kind="interval", beat=f"every {duration_text(spec.interval or 0)}")
        _options(record, meta)
        _call(record, reader)
    except (AiorqError, ValueError, TypeError) as error:
        return replace(seen, refusal=" ".join(str(error).split()))
    return replace(seen, kind="once")


async def _taken_over(
    backend: RedisBackend,
    record: JobRecord,
    due: float,
    reader: Serializer,
    seen: Import,
    timezone: str,
) -> Import:
    queue = Queue(record.origin or "default", backend, serializer=reader)
    meta = _meta(record, reader)
    try:
        if seen.kind == "cron":
            await write(backend, _cron_spec(record, meta, reader, timezone), queue, "update")
        elif seen.kind == "interval":
            await write(backend, _interval_spec(record, meta, due, reader), queue, "update")
        elif not record.is_ours:  # else it was taken over before, and only stayed on the list
            call = _call(record, reader)
            options = EnqueueOptions.checked(job_id=record.id, **_options(record, meta))
            await queue.schedule_call(_function(call), call.args, call.kwargs, options, due_at=due)
    except BackendError:
        raise
    except AiorqError as error:
        return replace(seen, refusal=" ".join(str(error).split()))
    return seen


# -- reading what it has written ---------------------------------------------------------------------------------------------


def _meta(record: JobRecord, reader: Serializer) -> dict[str, Any]:
    raw = record.fields.get("meta")
    meta = decode_value(reader, raw, what="meta", context=record.id) if raw else {}
    if not isinstance(meta, dict):
        raise InvalidOption("its meta is no dict")
    return meta


def _call(record: JobRecord, reader: Serializer) -> Call:
    return decode_call(reader, record.fields.get("data", b""), context=record.id)


def _function(call: Call) -> Callable[..., Any] | str:
    return call.func_name if call.instance is None else getattr(call.instance, call.func_name)


def _options(record: JobRecord, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``enqueue`` that a job was made with."""
    own = {name: value for name, value in meta.items() if name not in _ITS_OWN}
    options: dict[str, Any] = {
        "job_timeout": record.number("timeout"),
        "result_ttl": record.number("result_ttl"),
        "failure_ttl": record.number("failure_ttl"),
        "ttl": record.number("ttl"),
        "description": record.text("description"),
        "at_front": record.number("enqueue_at_front") == 1,
        "depends_on": record.texts("dependency_ids") or None,
        "meta": own or None,
    }
    for event in ("success", "failure", "stopped"):
        name = record.text(f"{event}_callback_name")
        if name:
            timeout = record.number(f"{event}_callback_timeout")
            options[f"on_{event}"] = Callback(name, timeout)
    return {name: value for name, value in options.items() if value is not None}


def _recurring(record: JobRecord, meta: Mapping[str, Any], reader: Serializer) -> dict[str, Any]:
    options = _options(record, meta)
    if options.pop("depends_on", None):
        raise InvalidOption("it depends on other jobs, which an entry cannot")
    if options.get("result_ttl") == -1:
        del options["result_ttl"]  # what kept its one hash; here each run has its own
    call = _call(record, reader)
    repeat = meta.get("repeat")
    return {
        "func": _function(call),
        "args": call.args,
        "kwargs": call.kwargs,
        "id": record.id,
        "queue": record.origin or None,
        "repeat": None if repeat is None else max(int(repeat), 1),
        **options,
    }


def _cron_spec(
    record: JobRecord, meta: Mapping[str, Any], reader: Serializer, timezone: str
) -> CronSpec:
    zone = local_timezone() if meta.get("use_local_timezone") else timezone
    pattern = _pattern(str(meta["cron_string"]))
    own = _recurring(record, meta, reader)
    name = record.id.removeprefix("cron-") or record.id  # what Flask-RQ2 was given
    return CronSpec.of(name, pattern=pattern, timezone=zone, dialect="crontab", **own)


def _interval_spec(
    record: JobRecord, meta: Mapping[str, Any], due: float, reader: Serializer
) -> CronSpec:
    own = _recurring(record, meta, reader)
    return CronSpec.of(record.id, interval=int(meta["interval"]), first=due, **own)


def _pattern(text: str) -> str:
    """Return a pattern of the crontab package as one of ours: its sixth field is the year."""
    fields = text.split()
    if len(fields) != 6:
        return text
    if not re.match(r"\*|\d{4}", fields[5]):
        raise InvalidOption(
            f"cron pattern {text!r:.60}: the sixth field is the year in rq-scheduler 0.12 and newer, and was the second before"
        )
    return f"0 {text}"


def _note(spec: CronSpec) -> str:
    assert spec.pattern is not None
    zone = spec.pattern.timezone
    notes = [f"in {zone}"]
    if _is_restricted(spec.pattern.text):
        notes.append("day and weekday: either, not both, has to match")
    return "; ".join(notes)


def _is_restricted(text: str) -> bool:
    """Whether a pattern names both days of the month and days of the week."""
    fields = text.split()
    if len(fields) < 5:
        return False
    days, weekdays = (fields[2], fields[4]) if len(fields) == 5 else (fields[3], fields[5])
    return not ({days[:1], weekdays[:1]} & {"*", "?"})
