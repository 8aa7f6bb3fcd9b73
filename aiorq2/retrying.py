"""Whether and when a job that failed, or asked for it, is run again."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from aiorq2.backends.base import Claim, JobRecord
from aiorq2.failure import Failure
from aiorq2.options import Retry
from aiorq2.outcome import Failed, Retried
from aiorq2.timing import retry_delay, returned_interval, rq_interval


@dataclass(frozen=True, slots=True)
class Asked:
    """A retry that a job asked for by returning (or raising) one.

    ``rq_types`` are the names of the result types that rq knows, if it was an ``rq.Retry``. In a version that has no word for a
    retry that was asked for, or for one too many, a reader raises on that word.
    """

    retry: Retry
    rq_types: frozenset[str] = frozenset()


def retry_after_failure(claim: Claim, failure: Failure, now: float) -> Retried | None:
    """Return the retry that the job's ``Retry`` grants after an exception, None when it grants none (any more)."""
    record = claim.record
    left = record.number("retries_left")
    if left is None or left <= 0:
        return None
    terms = _object(record.fields.get("aio_retry"))
    on = terms.get("on")
    if isinstance(on, list) and on and not set(on) & set(failure.bases):
        return None
    intervals = terms.get("intervals") or record.reals("retry_intervals")
    used = int(terms.get("max", left)) - left
    delay = retry_delay(
        rq_interval(intervals, left),
        used + 1,
        growth=float(terms.get("backoff", 1)),
        max_interval=terms.get("max_interval"),
        jitter=float(terms.get("jitter", 0)),
    )
    return Retried(
        ended_at=now,
        error=failure.error,
        exc_info=failure.exc_info,
        delay=delay,
        at_front=record.fields.get("enqueue_at_front_on_retry") == b"1",
        retries_left=left - 1,
    )


def retry_as_asked(claim: Claim, asked: Asked, now: float) -> Retried | Failed:
    """Return the retry that a job asked for; it gets at most ``retry.max`` (RQ's arithmetic)."""
    retry = asked.retry
    had = claim.record.number("number_of_retries") or 0
    if had >= retry.max:
        return Failed(
            now,
            "aiorq2.Retry",
            f"the job asked for a retry {had + 1} times; max is {retry.max}",
            is_exhausted=True,
            is_known_to_rq="MAX_RETRIES_EXCEEDED" in asked.rq_types,
        )
    return Retried(
        ended_at=now,
        error="aiorq2.Retry",
        exc_info=f"the job asked to be run again ({had + 1} of {retry.max})",
        delay=retry_delay(
            returned_interval(retry.intervals, had),
            had + 1,
            growth=retry.backoff,
            max_interval=retry.max_interval,
            jitter=retry.jitter,
        ),
        at_front=retry.enqueue_at_front,
        number_of_retries=had + 1,
        is_known_to_rq="RETRIED" in asked.rq_types,
    )


def next_repeat(record: JobRecord) -> tuple[float | None, tuple[float, ...]]:
    """Return the delay before the next run of a job that has succeeded, and the intervals after it; None: it does not repeat.

    RQ's arithmetic: the intervals are used up in order, the last one stays.
    """
    if (record.number("repeats_left") or 0) <= 0:
        return None, ()
    intervals = record.reals("repeat_intervals") or [0]
    return intervals[0], tuple(intervals[1:] or intervals)


def as_asked(value: object) -> Asked | None:
    """Return what a job asks for with ``value``, if that is a ``Retry``: ours, or rq's, which is not imported for it."""
    if isinstance(value, Asked):  # from another process
        return value
    if isinstance(value, Retry):
        return Asked(value)
    kind = type(value)
    if kind.__name__ == "Retry" and kind.__module__.split(".")[0] == "rq":
        rq: Any = value
        at_front = bool(getattr(rq, "enqueue_at_front", False))
        return Asked(Retry(rq.max, list(rq.intervals), at_front), _types_of_rq())
    return None


def _types_of_rq() -> frozenset[str]:
    result: Any = getattr(sys.modules.get("rq.results"), "Result", None)
    return frozenset(getattr(getattr(result, "Type", None), "__members__", ()))


def _object(raw: bytes | None) -> dict[str, Any]:
    found = _parsed(raw)
    return found if isinstance(found, dict) else {}


def _parsed(raw: bytes | None) -> object:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None
