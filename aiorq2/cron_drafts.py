"""How a recurring entry is written: from a declaration, or from the one that is there and what is to be different."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha1
from typing import Any

from aiorq2.backends import crons
from aiorq2.backends.base import cron_context
from aiorq2.backends.crons import CronDraft, CronRecord, Saved
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.scripts import Arg
from aiorq2.backends.wire import template_fields
from aiorq2.callables import describe_call
from aiorq2.cron import CronPattern
from aiorq2.cron_spec import POLICY_NAMES, CronSpec, interval_s
from aiorq2.errors import InvalidOption
from aiorq2.options import EnqueueOptions
from aiorq2.payloads import Call, decode_call, encode_call, encode_value
from aiorq2.queue import Queue
from aiorq2.rhythm import Interval, Policies, Rhythm
from aiorq2.serializers import Serializer
from aiorq2.states import JobStatus

_OF_RHYTHM = ("pattern", "timezone", "dialect", "interval", "anchor", "start", "end", "jitter")
_OF_BEAT = ("pattern", "timezone", "dialect", "interval", "anchor")
_NUMBERS = {
    "timeout": "job_timeout",
    "result_ttl": "result_ttl",
    "ttl": "ttl",
    "failure_ttl": "failure_ttl",
}
EDITABLE = frozenset(
    {
        "pattern",
        "timezone",
        "dialect",
        "interval",
        "args",
        "kwargs",
        "description",
        "meta",
        *_NUMBERS,
        *POLICY_NAMES,
    }
)
"""What ``CronJob.save`` can change."""


async def write(
    backend: RedisBackend,
    spec: CronSpec,
    queue: Queue,
    mode: crons.Mode,
    *,
    anonymous: bool = False,
) -> Saved:
    """Write an entry as it is declared. Redis: 2 calls; with shards, 1 more for a rate limit.

    Raises:
        InvalidOption: it would never run; and as ``Queue.enqueue``.
    """
    draft = draft_of(spec, queue, await crons.now(backend))
    await queue.refuse_across([spec.options])
    if anonymous:
        draft = replace(draft, entry={**draft.entry, "anonymous": 1})
    return await crons.save(backend, draft, mode)


def draft_of(spec: CronSpec, queue: Queue, now: float, *, source: str = "") -> CronDraft:
    """Return what is written of a declaration: the entry, the template of its jobs, and when it is due first.

    Raises:
        InvalidOption: it would never run; and as ``Queue.enqueue``.
    """
    options = replace(spec.options, job_id=spec.id)
    job, _ = queue.prepared(
        spec.func, spec.args, dict(spec.kwargs), options, context=cron_context(spec.name)
    )
    template = {
        **template_fields(replace(job, status=JobStatus.SCHEDULED)),
        "aio_cron": spec.name,
    }
    rhythm = spec.rhythm(round(now, 3))
    fields = {"id": spec.id, "func_name": job.func_name, **_beat_fields(rhythm)}
    # Counted from when it is written, an interval is the same whenever that is.
    told = {
        one: value for one, value in fields.items() if one != "anchor" or spec.anchor is not None
    }
    since = (spec.anchor or now) - 0.001 if spec.interval is not None else now
    draft = _draft(spec.name, queue.name, rhythm, spec.policies, fields, template, told, since)
    return replace(draft, source=source)


def _draft(
    name: str,
    queue: str,
    rhythm: Rhythm,
    policies: Policies,
    fields: Mapping[str, Arg],
    template: Mapping[str, Arg],
    told: Mapping[str, Arg],
    since: float,
) -> CronDraft:
    tick = rhythm.next(since)
    if tick is None:
        raise InvalidOption(
            f"cron {name!r}: it would never run; look at its pattern, start and end"
        )
    bounds = _policy_fields(policies)
    declared = {**told, **bounds}
    return CronDraft(
        name=name,
        queue=queue,
        entry={**fields, **bounds},
        template=template,
        definition=_digest(
            [sorted(declared.items()), queue, policies.repeat, sorted(template.items())]
        ),
        rhythm=" ".join(f"{one}={declared[one]!s}" for one in _OF_RHYTHM if one in declared),
        tick=tick,
        due=rhythm.due(tick),
        repeat=policies.repeat,
    )


def _beat_fields(rhythm: Rhythm) -> dict[str, Arg]:
    beat = rhythm.beat
    if isinstance(beat, Interval):
        return {"interval": beat.seconds, "anchor": f"{beat.anchor:.3f}"}
    return {"pattern": beat.text, "timezone": beat.timezone, "dialect": beat.dialect}


def _policy_fields(own: Policies) -> dict[str, Arg]:
    fields: dict[str, Arg | None] = {
        "catch_up": own.catch_up,
        "grace": own.grace,
        "overlap": own.overlap,
        "jitter": own.jitter or None,
        "start": None if own.start is None else f"{own.start:.3f}",
        "end": None if own.end is None else f"{own.end:.3f}",
        "history": own.history,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _digest(parts: object) -> str:
    return sha1(repr(parts).encode("utf-8", "backslashreplace"), usedforsecurity=False).hexdigest()


# -- editing ---------------------------------------------------------------------------------------------------------------


async def edit(
    backend: RedisBackend, record: CronRecord, serializer: Serializer, changes: Mapping[str, Any]
) -> Saved:
    """Write an entry with something different. Redis: 2 calls.

    Raises:
        InvalidOption: a change cannot be meant, or it would never run.
    """
    unknown = sorted(changes.keys() - EDITABLE)
    if unknown:
        raise InvalidOption(
            f"{', '.join(unknown)} cannot be changed; there are {', '.join(sorted(EDITABLE))}"
        )
    now = await crons.now(backend)
    rhythm, policies = _edited_rhythm(record, changes, now)
    own = {
        "id": record.entry.text("id") or record.name,
        "func_name": record.entry.text("func_name") or "",
    }
    kept = {"anonymous": 1} if record.entry.text("anonymous") else {}
    fields: dict[str, Arg] = {**own, **kept, **_beat_fields(rhythm)}
    template = _edited_template(record, serializer, changes)
    queue = record.entry.text("queue") or ""
    is_anchored = "anchor=" in (record.entry.text("rhythm") or "") or "interval" in changes
    told = {one: value for one, value in fields.items() if one != "anchor" or is_anchored}
    draft = _draft(record.name, queue, rhythm, policies, fields, template, told, now)
    return await crons.save(backend, draft, "edit", revision=record.revision)


def _edited_rhythm(
    record: CronRecord, changes: Mapping[str, Any], now: float
) -> tuple[Rhythm, Policies]:
    given = {name: changes[name] for name in POLICY_NAMES & changes.keys()}
    checked = Policies.checked(**given)
    policies = replace(record.policies, **{name: getattr(checked, name) for name in given})
    beat = _edited_beat(record, changes, now)
    return Rhythm(beat, record.name, policies.jitter, policies.start, policies.end), policies


def _edited_beat(
    record: CronRecord, changes: Mapping[str, Any], now: float
) -> CronPattern | Interval:
    if not changes.keys() & set(_OF_BEAT):
        return record.rhythm.beat
    if "interval" in changes:
        if changes.keys() & {"pattern", "timezone", "dialect"}:
            raise InvalidOption("a recurring entry has a pattern or an interval, not both")
        return Interval(interval_s(changes["interval"]), round(now, 3))
    own = record.entry
    text = changes.get("pattern", own.text("pattern"))
    if text is None:
        raise InvalidOption(
            f"cron {record.name!r}: it has an interval and no pattern to be changed"
        )
    return CronPattern.parse(
        text,
        timezone=changes.get("timezone", own.text("timezone") or "UTC"),
        dialect=changes.get("dialect", own.text("dialect") or "auto"),
        name=record.name,
    )


def _edited_template(
    record: CronRecord, serializer: Serializer, changes: Mapping[str, Any]
) -> dict[str, Arg]:
    fields: dict[str, Arg] = dict(record.template.fields)
    context = cron_context(record.name)
    options = EnqueueOptions.checked(
        **{_NUMBERS[name]: changes[name] for name in _NUMBERS.keys() & changes.keys()},
        description=changes.get("description"),
        meta=changes.get("meta"),
    )
    for name, option in _NUMBERS.items():
        if name in changes:
            fields = _with(fields, name, getattr(options, option))
    if changes.keys() & {"args", "kwargs"}:
        fields |= _edited_call(record, serializer, changes)
    if "description" in changes:
        fields = _with(fields, "description", options.description)
    if "meta" in changes:
        meta = options.meta and encode_value(serializer, options.meta, what="meta", context=context)
        fields = _with(fields, "meta", meta or None)
    return fields


def _with(fields: dict[str, Arg], name: str, value: Arg | None) -> dict[str, Arg]:
    without = {one: kept for one, kept in fields.items() if one != name}
    return without if value is None else {**without, name: value}


def _edited_call(
    record: CronRecord, serializer: Serializer, changes: Mapping[str, Any]
) -> dict[str, Arg]:
    context = cron_context(record.name)
    old = decode_call(serializer, record.template.fields.get("data", b""), context=context)
    args, kwargs = changes.get("args", old.args), changes.get("kwargs", old.kwargs)
    new = Call(old.func_name, old.instance, tuple(args or ()), dict(kwargs or {}))
    data = encode_call(
        serializer, new.func_name, new.instance, new.args, new.kwargs, context=context
    )
    if record.template.text("description") != _described(old):
        return {"data": data}
    return {"data": data, "description": _described(new)}


def _described(call: Call) -> str:
    return describe_call(call.func_name, call.args, call.kwargs)
