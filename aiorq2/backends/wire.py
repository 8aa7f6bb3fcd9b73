"""How values are written into Redis and read from it: RQ 3.0's fields, and ours, which begin with ``aio_``."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import ceil
from typing import Any

from aiorq2.backends.base import Claim, JobRecord, Seat
from aiorq2.backends.scripts import Arg
from aiorq2.errors import AbandonedJobError
from aiorq2.options import DEFAULT_FAILURE_TTL, NO_OPTIONS, EnqueueOptions, JobSpec, Retry
from aiorq2.outcome import Failed, Finished, GivenBack, Outcome, Retried, Stopped
from aiorq2.states import JobStatus, Verb
from aiorq2.terms import Parents
from aiorq2.timing import MAX_SECONDS, to_iso

ENTRY_SUCCESSFUL, ENTRY_FAILED, ENTRY_RETRIED, ENTRY_RETRIES_EXCEEDED = 1, 2, 4, 5
"""RQ's ``Result.Type``. All versions of rq that keep results know the first two; on one that it does not know, a reader raises."""

MAX_TEXT = 256 * 1024
"""Bytes that a compressed traceback may unpack to."""


def spec_arguments(spec: JobSpec, replace: bool) -> tuple[dict[str, Arg], list[Arg]]:
    """Return the named arguments and the fields of ``add.lua``."""
    options = spec.options
    named: dict[str, Arg] = {
        "id": spec.id,
        "queue": spec.origin,
        "lane": spec.lane or spec.origin,
        "token": spec.token,
        "mode": "replace" if replace and not options.unique else "unique",
        "now_iso": spec.created_at,
        "policy": _policy(options),
        "rate": options.rate_limit.key if options.rate_limit else "",
        "group": spec.group or "",
        "parent_count": len(options.depends_on.ids) if options.depends_on else 0,
        "to": spec.status.value,
        "at": "" if spec.due_at is None else repr(spec.due_at),
        "delay": repr(spec.due_in or 0),
        "ttl": "" if options.ttl is None else options.ttl,
        "at_front": "1" if options.at_front and spec.status is JobStatus.QUEUED else "0",
    }
    parents = options.depends_on.ids if options.depends_on else ()
    return named, [*parents, *_spec_fields(spec)]


def template_fields(spec: JobSpec) -> dict[str, Arg]:
    """Return the fields that each job of a recurring entry is given, but for those of its own time."""
    pairs = iter(_spec_fields(spec))
    fields = {str(name): value for name, value in zip(pairs, pairs, strict=True)}
    return {
        name: value for name, value in fields.items() if name not in ("created_at", "enqueued_at")
    }


def _policy(options: EnqueueOptions) -> str:
    if options.on_parent_failure != "wait":
        return options.on_parent_failure
    return "failure" if options.depends_on and options.depends_on.allow_failure else "wait"


def record_of_spec(spec: JobSpec) -> JobRecord:
    """Return the record that a reader would find of a job that was just added."""
    return JobRecord(spec.id, _FieldsToBe(spec))


class _FieldsToBe(Mapping[str, bytes]):
    """The fields of a job on its way, written when they are looked at: most producers keep no more than the id."""

    __slots__ = ("_found", "_spec")

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._found: dict[str, bytes] | None = None

    @property
    def _fields(self) -> dict[str, bytes]:
        if self._found is None:
            spec = self._spec
            pairs = iter(
                ["status", spec.status.value, "aio_token", spec.token, *_spec_fields(spec)]
            )
            self._found = {
                str(name): value if isinstance(value, bytes) else str(value).encode()
                for name, value in zip(pairs, pairs, strict=True)
            }
        return self._found

    def __getitem__(self, name: str) -> bytes:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def plain_fields(spec: JobSpec) -> tuple[list[Arg], tuple[Arg, ...]] | None:
    """Return what ``add_many.lua`` is told of a job, its own and what it may share; None where the job wants more than to run."""
    options = spec.options
    if options is not NO_OPTIONS and (
        options.unique
        or options.job_id
        or options.at_front
        or options.ttl is not None
        or options.depends_on is not None
        or options.rate_limit is not None
    ):
        return None
    if spec.group is not None or spec.status is not JobStatus.QUEUED:
        return None
    own: list[Arg] = [spec.id, spec.token, spec.created_at, spec.data, spec.description]
    return own, tuple(_shared_fields(spec))


def _spec_fields(spec: JobSpec) -> list[Arg]:
    fields: list[Arg] = ["created_at", spec.created_at, "data", spec.data, "origin", spec.origin]
    fields += ("description", spec.description, "enqueued_at", spec.created_at)
    return fields + _shared_fields(spec)


def _shared_fields(spec: JobSpec) -> list[Arg]:
    fields: list[Arg] = ["timeout", ceil(spec.timeout)]
    if spec.timeout != int(spec.timeout):
        fields += ("aio_timeout", repr(spec.timeout))
    if spec.group is not None:
        fields += ("group_id", spec.group)
    if spec.results != "hash":
        fields += ("aio_results", spec.results)
    if spec.options is not NO_OPTIONS or spec.status is not JobStatus.QUEUED:
        fields += _option_fields(spec)
    return fields


def _option_fields(spec: JobSpec) -> Iterable[Arg]:
    options = spec.options
    for name, value in (
        ("result_ttl", options.result_ttl),
        ("failure_ttl", options.failure_ttl),
        ("ttl", options.ttl),
    ):
        if value is not None:
            yield from (name, int(value))
    if spec.meta is not None:
        yield from ("meta", spec.meta)
    if _waits_before_queue(spec):
        parents = options.depends_on
        at_front = options.at_front or (parents is not None and parents.at_front)
        if at_front or parents is not None:
            yield from ("enqueue_at_front", int(at_front))
    if options.retry is not None:
        yield from _retry_fields(options.retry)
    if options.depends_on is not None:
        yield from _parent_fields(options.depends_on, options.on_parent_failure)
    if options.repeat is not None:
        yield from ("repeats_left", options.repeat.times)
        yield from ("repeat_intervals", json.dumps([ceil(one) for one in options.repeat.intervals]))
    for name in ("success", "failure", "stopped"):
        callback = getattr(options, "on_" + name)
        if callback is not None:
            yield from (f"{name}_callback_name", callback.name)
            yield from (f"{name}_callback_timeout", ceil(callback.timeout))
    if options.webhooks:
        yield from ("webhooks", json.dumps([one.as_dict() for one in options.webhooks]))
    if options.rate_limit is not None:
        yield from ("rate_limit_key", options.rate_limit.key)
        yield from ("rate_limit_concurrency", options.rate_limit.concurrency)
    if not options.redeliver:
        yield from ("aio_redeliver", 0)
    if options.offload is not None:
        yield from ("aio_offload", options.offload)


def _waits_before_queue(spec: JobSpec) -> bool:
    options = spec.options
    return (
        spec.status is not JobStatus.QUEUED
        or options.depends_on is not None
        or options.rate_limit is not None
    )


def _parent_fields(parents: Parents, on_parent_failure: str) -> Iterable[Arg]:
    yield from ("dependency_id", parents.ids[0], "dependency_ids", json.dumps(parents.ids))
    yield from ("allow_dependency_failures", int(parents.allow_failure))
    if on_parent_failure != "wait":
        yield from ("aio_on_parent_failure", on_parent_failure)


def _retry_fields(retry: Retry) -> Iterable[Arg]:
    yield from (
        "retries_left",
        retry.max,
        "retry_intervals",
        json.dumps([ceil(one) for one in retry.intervals]),
    )
    if retry.enqueue_at_front:
        yield from ("enqueue_at_front_on_retry", 1)
    extra = {
        "max": retry.max,
        "intervals": retry.intervals if any(one != int(one) for one in retry.intervals) else None,
        "backoff": retry.backoff if retry.backoff != 1 else None,
        "max_interval": retry.max_interval,
        "jitter": retry.jitter or None,
        "on": retry.on or None,
    }
    told = {name: value for name, value in extra.items() if value is not None}
    if len(told) > 1:
        yield from ("aio_retry", json.dumps(told, separators=(",", ":")))


def plain_end(seat: Seat, claim: Claim, outcome: Outcome) -> list[Arg] | None:
    """Return the arguments by which ``finish_many.lua`` ends a run; None where it is out of the ordinary."""
    if type(outcome) is not Finished or outcome.repeat_delay is not None:
        return None
    record = claim.record
    if "rate_limit_key" in record.fields or _is_streamed(record):
        return None
    ttl = _ttl(record, "result_ttl", seat.result_ttl)
    return [
        claim.job_id,
        claim.execution_id,
        claim.origin,
        to_iso(outcome.ended_at),
        ttl,
        outcome.value or b"",
    ]


def _is_streamed(record: JobRecord) -> bool:
    """Whether the result of a run goes into the job's stream."""
    return (
        not record.is_ours
        or record.fields.get("aio_results") == b"stream"
        or "repeats_left" in record.fields  # one for each run, as in RQ
        or record.was_run_before  # and may have a stream, in which readers look first
    )


def settle_call(
    seat: Seat, claim: Claim, outcome: Outcome
) -> tuple[Verb, dict[str, Arg], list[Arg]]:
    """Return the verb that writes ``outcome``, its named arguments and the fields of its result entry."""
    record = claim.record
    named: dict[str, Arg] = {
        "id": claim.job_id,
        "execution": claim.execution_id,
        "origin": claim.origin,
        "worker": claim.worker,
        "ended_at": to_iso(outcome.ended_at),
        "ttl": _ttl(record, "failure_ttl", DEFAULT_FAILURE_TTL),
    }
    match outcome:
        case Finished(value=value):
            named |= {
                "ttl": _ttl(record, "result_ttl", seat.result_ttl),
                "result": value or b"",
                "repeat_delay": "" if outcome.repeat_delay is None else repr(outcome.repeat_delay),
                "repeat_intervals": json.dumps([ceil(one) for one in outcome.repeat_intervals]),
            }
            is_streamed = _is_streamed(record)
            entry = _entry(claim, outcome, ENTRY_SUCCESSFUL, value=value) if is_streamed else []
            return Verb.FINISH, named, entry
        case Failed(is_exhausted=is_exhausted):
            kind = ENTRY_RETRIES_EXCEEDED if is_exhausted else ENTRY_FAILED
            text, error, value = outcome.exc_info, outcome.error, outcome.value
            entry = _entry(claim, outcome, kind, value=value, text=text, error=error)
            return Verb.FAIL, named, entry
        case Stopped():
            return Verb.STOP, named, _entry(claim, outcome, ENTRY_FAILED, text=outcome.exc_info)
        case Retried():
            named |= {
                "delay": repr(outcome.delay),
                "at_front": "1" if outcome.at_front else "0",
                "retries_left": _or_blank(outcome.retries_left),
                "number_of_retries": _or_blank(outcome.number_of_retries),
            }
            text, error, value = outcome.exc_info, outcome.error, outcome.value
            entry = _entry(claim, outcome, ENTRY_RETRIED, value=value, text=text, error=error)
            return Verb.RETRY, named, entry
        case GivenBack():
            return (
                Verb.GIVE_BACK,
                named,
                _entry(claim, outcome, ENTRY_FAILED, text="stopped before it was given back"),
            )


def _ttl(record: JobRecord, name: str, default: int) -> int:
    value = record.real(name)
    if value is None or value != value:
        return default
    return ceil(min(max(value, -1), MAX_SECONDS))  # EXPIRE takes no more


def _or_blank(value: int | None) -> Arg:
    return "" if value is None else value


def _entry(
    claim: Claim,
    outcome: Outcome,
    kind: int,
    *,
    value: bytes | None = None,
    text: str | None = None,
    error: str | None = None,
) -> list[Arg]:
    """Return the fields of a result entry as RQ writes them, the number of the attempt, and the class of the exception.

    A type that rq's readers might not know is written as a failure, and what it really is into a field of ours. Where they know
    it, it has no text: whoever returned a ``Retry`` has not failed.
    """
    is_asked = getattr(outcome, "is_known_to_rq", False)
    is_known = kind <= ENTRY_FAILED or is_asked
    fields: list[Arg] = ["type", kind if is_known else ENTRY_FAILED, "worker_name", claim.worker]
    if not is_known:
        fields += ["aio_type", kind]
    if error is not None:
        fields += ["aio_error", error]
    if text is not None and not is_asked:
        fields += ["exc_string", pack_text(text)]
    if value is not None:
        fields += ["return_value", b64encode(value)]
    return [
        *fields,
        *("execution_id", claim.execution_id, "execution_started_at", f"{claim.started_at:.6f}"),
        *("execution_ended_at", f"{outcome.ended_at:.6f}", "aio_attempt", claim.attempt),
    ]


def abandoned_entry(now: float, text: str) -> list[Arg]:
    """Return the fields of the entry for a job whose worker died."""
    return [
        "type",
        ENTRY_FAILED,
        "worker_name",
        "",
        "exc_string",
        pack_text(text),
        "execution_ended_at",
        f"{now:.6f}",
        "aio_error",
        f"{AbandonedJobError.__module__}.{AbandonedJobError.__name__}",
    ]


def pack_text(text: str) -> bytes:
    """Return a text as RQ writes it into an entry: base64 of zlib of UTF-8."""
    return b64encode(zlib.compress(text.encode("utf-8", "backslashreplace")))


def unpack_text(packed: bytes) -> str:
    """Return the text of an entry, cut at ``MAX_TEXT`` bytes; what cannot be read is said in its place."""
    try:
        return (
            zlib.decompressobj().decompress(b64decode(packed), MAX_TEXT).decode("utf-8", "replace")
        )
    except (ValueError, zlib.error):
        return "(a traceback that cannot be read)"


def record_of(job_id: str, flat: Sequence[bytes]) -> JobRecord:
    """Return the record from a flat ``HGETALL`` reply."""
    return JobRecord(job_id, fields_of(flat))


def fields_of(flat: Sequence[bytes]) -> Mapping[str, bytes]:
    """Return a flat list of names and values as a mapping."""
    pairs = iter(flat)
    return {_field_name(name): value for name, value in zip(pairs, pairs, strict=True)}


@lru_cache(maxsize=256)
def _field_name(raw: bytes) -> str:
    """Return the name of a field; all jobs have the same ones."""
    return raw.decode("utf-8", "replace")


def run_of(member: bytes) -> tuple[str, str]:
    """Return the job and the execution of a lease; ids of rq's jobs have had colons in them, execution ids never."""
    job_id, _, execution_id = member.decode("utf-8", "replace").rpartition(":")
    return job_id, execution_id


def claim_of(seat: Seat, started_at: float, raw: Sequence[Any]) -> Claim:
    """Return the claim from one job of the reply of ``claim.lua``."""
    job_id, execution_id, origin, flat = raw
    job = job_id.decode()
    return Claim(
        job, execution_id.decode(), origin.decode(), seat.worker, started_at, record_of(job, flat)
    )
