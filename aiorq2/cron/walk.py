"""The wall times that a pattern matches, one after the other, found by croniter.

A wall time is what a clock on the wall shows: a naive ``datetime`` without any zone. croniter is asked in a form that it
has always read in one way: seconds first, plain lists, and one kind of day at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from croniter import croniter

from aiorq2.cron.field import LAST, Field, Special
from aiorq2.cron.layout import Fields

_FARTHEST_YEARS = 150
"""A pattern for 2099 is waited for from 1970 on; without a year, the rarest day comes back within 40 (29 February, a Monday)."""

_START = datetime(1970, 1, 1)  # noqa: DTZ001  a wall time


class WallTimes:
    """The wall times of a pattern. Nothing in here changes once it is made, so it may be shared between threads.

    Attributes:
        is_possible: every day that is asked for exists in at least one of the months and years.
    """

    def __init__(self, fields: Fields) -> None:
        self._iterators = [_iterator(expression) for expression in _expressions(fields)]
        self.is_possible = all(_step(one, "get_next", _START) for one in self._iterators)

    def after(self, wall: datetime) -> datetime | None:
        """Return the first one after a wall time of whole seconds, or None: there is none."""
        found = [_step(one, "get_next", wall) for one in self._iterators]
        return min(filter(None, found), default=None)

    def before(self, wall: datetime) -> datetime | None:
        """Return the last one before a wall time of whole seconds, or None: there is none."""
        found = [_step(one, "get_prev", wall) for one in self._iterators]
        return max(filter(None, found), default=None)


@lru_cache(maxsize=1024)
def wall_times(fields: Fields) -> WallTimes:
    """Return the wall times of a pattern."""
    return WallTimes(fields)


def _iterator(expression: str) -> croniter:
    return croniter(
        expression,
        _START,
        second_at_beginning=True,
        max_years_between_matches=_FARTHEST_YEARS,
    )


def _step(iterator: croniter, method: str, wall: datetime) -> datetime | None:
    own = copy.copy(iterator)  # a croniter remembers where it stands
    own.set_current(wall)
    try:
        found: datetime = getattr(own, method)(datetime)
    except (ValueError, OverflowError):  # no match within reach, or the end of the calendar
        return None
    return found


def _expressions(fields: Fields) -> Iterator[str]:
    times = f"{_text(fields.seconds)} {_text(fields.minutes)} {_text(fields.hours)}"
    months = _text(fields.months)
    years = "" if fields.years.is_full else f" {_text(fields.years)}"
    for day, weekday in _days(fields):
        yield f"{times} {day} {months} {weekday}{years}"


def _days(fields: Fields) -> Iterator[tuple[str, str]]:
    """Yield day and weekday apart: croniter knows "either is enough" for plain lists only."""
    if fields.is_every_day:
        yield "*", "*"
        return
    if not fields.days.is_open:
        for day in _alternatives(fields.days):
            yield day, "*"
    if not fields.weekdays.is_open:
        for weekday in _alternatives(fields.weekdays):
            yield "*", weekday


def _alternatives(field: Field) -> Iterator[str]:
    if field.values:
        yield _text(field)
    yield from map(_special, field.specials)


def _special(special: Special) -> str:
    if special.kind == "last":
        return "L"
    if special.kind == "nearest":
        return f"{special.day}W"
    return f"L{special.day}" if special.nth == LAST else f"{special.day}#{special.nth}"


def _text(field: Field) -> str:
    return "*" if field.is_full else ",".join(map(str, field.values))
