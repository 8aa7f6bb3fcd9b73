"""The clock, durations and back-off: how every other part counts time.

Durations are seconds inside the package. Points in time are aware UTC ``datetime`` at the surface and RQ's
``2024-05-01T12:00:00.000000Z`` in Redis; a naive ``datetime`` always means UTC.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol, SupportsFloat

from aiorq2.errors import DeserializationError, InvalidOption, TimeoutFormatError

Duration = float | int | timedelta | str
"""Seconds, a ``timedelta``, or text: ``"90"``, ``"1h"``, ``"1h30m"``, ``"1.5s"``, ``"250ms"``."""

MAX_SECONDS = 10**10
"""The longest finite duration, some 317 years: far enough for anything, and no clock overflows on it."""

_INFINITE = -1  # RQ's word for "no limit"
_LONGEST_TEXT = 64

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PLAIN = re.compile(rf"-?{_NUMBER}")
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_COMPOUND = re.compile(r"\s*".join(rf"(?:({_NUMBER})\s*{unit})?" for unit in _UNITS), re.IGNORECASE)


def seconds(
    value: Duration, *, name: str, minimum: float = 0, infinite: bool = False
) -> int | float:
    """Return a duration in seconds, as an ``int`` when it is whole.

    Text is RQ's (``"90"``, ``"1h"``; one unit of d, h, m, s) or several units in falling order, ``ms`` being the last.

    Args:
        value: the duration.
        name: the option that it was given for; it stands in the error message.
        minimum: the least that makes sense for this option, in seconds.
        infinite: -1 is legal and means "no limit", as in RQ.

    Raises:
        TimeoutFormatError: it cannot be read, is below ``minimum`` or above ``MAX_SECONDS``, or is NaN,
            infinite or a bool.
    """
    number = _as_number(value)
    if number is None:
        raise TimeoutFormatError(_unreadable(value, name))
    if infinite and number == _INFINITE:
        return _INFINITE
    if not minimum <= number <= MAX_SECONDS:  # also false for NaN
        raise TimeoutFormatError(_out_of_range(value, name, minimum, infinite))
    # A float that is whole must not become "180.0": rq reads these fields with int().
    return int(number) if number == int(number) else number


def durations(given: Duration | Iterable[Duration], *, name: str) -> list[int | float]:
    """Return one or several durations as a list of seconds.

    Raises:
        TimeoutFormatError: there is none, or one cannot be read.
    """
    several = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if not several:
        raise TimeoutFormatError(f"{name}: at least one interval is needed")
    return [seconds(one, name=name) for one in several]


def _as_number(value: object) -> int | float | None:
    """Return what ``value`` says, unchecked, or None when it is no duration at all."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        return _parse(value.strip()) if len(value) <= _LONGEST_TEXT else None
    if hasattr(value, "__index__") and isinstance(value, SupportsFloat):
        return float(value)  # whole numbers of other libraries, such as numpy's
    return None


def _parse(text: str) -> int | float | None:
    if _PLAIN.fullmatch(text):
        return float(text)
    match = _COMPOUND.fullmatch(text)
    if not text or match is None:
        return None
    parts = zip(match.groups(), _UNITS.values(), strict=True)
    # Rounded, because 0.001 has no exact float: "1s250ms" is 1.25, not 1.2500000000000002.
    return round(sum(float(number) * unit for number, unit in parts if number), 6)


def _unreadable(value: object, name: str) -> str:
    return (
        f"{name}: {_shown(value)} is not a duration; give seconds (90), a timedelta, or text "
        "made of d, h, m, s and ms ('1h30m')"
    )


def _out_of_range(value: object, name: str, minimum: float, infinite: bool) -> str:
    or_infinite = ", or -1 for no limit" if infinite else ""
    return (
        f"{name}: {_shown(value)} is out of range; give {minimum:g} to {MAX_SECONDS} seconds "
        f"(90, '1h30m'){or_infinite}"
    )


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) > MAX_SECONDS**2:
        return "a huge number"  # the repr of an int is itself refused above some digits
    if isinstance(value, str):
        return repr(value[:_LONGEST_TEXT])
    if isinstance(value, int | float | timedelta | None):
        return repr(value)
    return f"a {type(value).__name__}"


class Clock(Protocol):
    """What tells the time."""

    def time(self) -> float:
        """Return the present, in seconds since the epoch."""
        ...


class ManualClock:
    """A clock that stands still until it is told to move: for tests of what happens at a certain time.

    Everybody who is to live by it is given the same object; Redis' own time then counts for times to live only.

    >>> clock = ManualClock(datetime(2024, 5, 1, 12, tzinfo=UTC))
    >>> backend = connect("memory://test", clock=clock)
    >>> clock.travel(timedelta(hours=1))
    """

    def __init__(self, start: datetime | float) -> None:
        self._now = as_utc(start).timestamp() if isinstance(start, datetime) else float(start)

    def __repr__(self) -> str:
        return f"<ManualClock {to_iso(self._now)}>"

    def time(self) -> float:
        """Return the present, in seconds since the epoch."""
        return self._now

    def now(self) -> datetime:
        """Return the present, aware, in UTC."""
        return datetime.fromtimestamp(self._now, UTC)

    def travel(self, delta: timedelta | float) -> None:
        """Move on by a ``timedelta`` or by seconds; back, where it is negative."""
        self._now += delta.total_seconds() if isinstance(delta, timedelta) else delta

    def travel_to(self, moment: datetime) -> None:
        """Move to a point in time; a naive one is UTC."""
        self._now = as_utc(moment).timestamp()


def utc_now() -> datetime:
    """Return the present, aware, by this machine's clock."""
    return datetime.now(UTC)


def as_utc(moment: datetime) -> datetime:
    """Return the same instant in UTC; a naive ``datetime`` is UTC already.

    Raises:
        InvalidOption: UTC cannot express it: it lies at the very end of the calendar.
    """
    if moment.utcoffset() is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidOption(f"{moment} has no equivalent in UTC") from None


def to_iso(moment: datetime | float) -> str:
    """Return RQ's text for a point in time, or for seconds since the epoch: ``2024-05-01T12:00:00.000000Z``.

    Raises:
        InvalidOption: the calendar has no such day.
    """
    if isinstance(moment, datetime):
        return as_utc(moment).isoformat(timespec="microseconds")[:26] + "Z"
    try:
        second, fraction = divmod(round(moment * 1_000_000), 1_000_000)
        return f"{_iso_second(second)}.{fraction:06d}Z"
    except (OverflowError, ValueError, OSError):
        raise InvalidOption(f"{moment!r} seconds since the epoch is not on the calendar") from None


@lru_cache(maxsize=16)
def _iso_second(epoch: int) -> str:
    # Every job needs the time once or more often, thousands of jobs share a second.
    return datetime.fromtimestamp(epoch, UTC).isoformat()[:19]


def from_iso(text: str | bytes | None) -> datetime | None:
    """Return the aware point in time that RQ wrote, with or without a fraction; None for None and for an empty text.

    Raises:
        DeserializationError: it is something else.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.decode("ascii") if isinstance(text, bytes) else text)
        return as_utc(moment)
    except (ValueError, InvalidOption):
        raise DeserializationError(f"{text[:40]!r} is not a timestamp") from None


def backoff(
    attempt: int, *, base: float, cap: float, growth: float = 2.0, jitter: float = 1.0
) -> float:
    """Return how long to wait before the ``attempt``-th repetition, counted from 1: ``base * growth ** (attempt - 1)``.

    Args:
        attempt: 1 for the first repetition.
        base: the first delay, in seconds.
        cap: no delay is longer, in seconds.
        growth: each delay is so many times the one before.
        jitter: the share of the delay that is drawn at random. With 1, "full jitter", anything between none of it and
            all of it: clients that lost the same server do not come back in step.
    """
    try:
        delay = min(cap, base * float(growth) ** max(attempt - 1, 0))
    except OverflowError:
        delay = cap
    return delay * (1 - jitter * random.random())


def retry_delay(
    interval: float,
    attempt: int,
    *,
    growth: float = 1.0,
    max_interval: float | None = None,
    jitter: float = 0.0,
) -> float:
    """Return the seconds before the ``attempt``-th retry of a job, counted from 1, by the terms of its ``Retry``."""
    cap = MAX_SECONDS if max_interval is None else max_interval
    return backoff(attempt, base=interval, cap=cap, growth=growth, jitter=jitter)


def rq_interval(intervals: Sequence[float], retries_left: int) -> float:
    """Return the interval before the next retry after an exception, as RQ picks it.

    ``retries_left`` is the count before this retry is taken off. RQ counts the list from its end: with fewer intervals
    than retries the first one repeats, with more of them the first ones are skipped.
    """
    if not intervals:
        return 0
    index = max(len(intervals) - retries_left, 0)
    return intervals[min(index, len(intervals) - 1)]


def returned_interval(intervals: Sequence[float], number_of_retries: int) -> float:
    """Return the interval before the next retry that a job asked for by returning a ``Retry``, as RQ picks it.

    ``number_of_retries`` is how many it has had. Here the list is counted from its start, and its last one repeats.
    """
    if not intervals:
        return 0
    return intervals[min(len(intervals) - 1, max(number_of_retries, 0))]
