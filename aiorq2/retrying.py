"""Whether and when a job that failed, or asked for it, is run again."""

from __future__ import annotations

import json
from typing import Any

from aiorq2.backends.base import Claim, JobRecord
from aiorq2.failure import Failure
from aiorq2.options import Retry
from aiorq2.outcome import Failed, Retried
from aiorq2.timing import retry_delay, returned_interval, rq_interval


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


def retry_as_asked(claim: Claim, retry: Retry, now: float) -> Retried | Failed:
    """Return the retry that a job asked for by returning (or raising) one; it gets at most ``retry.max`` (RQ's arithmetic)."""
    had = claim.record.number("number_of_retries") or 0
    if had >= retry.max:
        return Failed(
            now,
            "aiorq2.Retry",
            f"the job asked for a retry {had + 1} times; max is {retry.max}",
            is_exhausted=True,
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
    )


def next_repeat(record: JobRecord) -> tuple[float | None, tuple[float, ...]]:
    """Return the delay before the next run of a job that has succeeded, and the intervals after it; None: it does not repeat.

    RQ's arithmetic: the intervals are used up in order, the last one stays.
    """
    if (record.number("repeats_left") or 0) <= 0:
        return None, ()
    intervals = record.reals("repeat_intervals") or [0]
    return intervals[0], tuple(intervals[1:] or intervals)


def as_retry(value: object) -> Retry | None:
    """Return ``value`` as a ``Retry`` if it is one: ours, or rq's, which is not imported for it."""
    if isinstance(value, Retry):
        return value
    kind = type(value)
    if kind.__name__ == "Retry" and kind.__module__.split(".")[0] == "rq":
        rq: Any = value
        return Retry(rq.max, list(rq.intervals), bool(getattr(rq, "enqueue_at_front", False)))
    return None


def _object(raw: bytes | None) -> dict[str, Any]:
    found = _parsed(raw)
    return found if isinstance(found, dict) else {}


def _parsed(raw: bytes | None) -> object:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None
