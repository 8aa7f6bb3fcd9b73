"""A cron pattern's text, read into its seven fields: which field stands where, and what the whole cannot mean."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import NoReturn

from aiorq2.cron.field import (
    DAY,
    HOUR,
    MINUTE,
    MONTH,
    SECOND,
    WEEKDAY,
    YEAR,
    Dialect,
    Field,
    FieldReader,
    Unit,
    shown,
)
from aiorq2.errors import InvalidCronPattern

MAX_LENGTH = 1000
"""Characters; every value of every field, written out, needs fewer."""

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * SUN",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIVE = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)
_STRANGE = re.compile(r"[^0-9A-Z*?/,#()\- \t\r\n]", re.IGNORECASE | re.ASCII)
_COMPARED = 20  # characters; looking for what is alike costs their square
_A_YEAR = re.compile(r"\b[12]\d{3}\b")
_LONGEST = {1: 31, 2: 29, 3: 31, 4: 30, 5: 31, 6: 30, 7: 31, 8: 31, 9: 30, 10: 31, 11: 30, 12: 31}


@dataclass(frozen=True)
class Fields:
    """A pattern, read."""

    seconds: Field
    minutes: Field
    hours: Field
    days: Field
    months: Field
    weekdays: Field
    years: Field

    @property
    def is_every_day(self) -> bool:
        """No day is ruled out by day or weekday. Where both are given, either is enough, as in crontab(5)."""
        given = [field for field in (self.days, self.weekdays) if not field.is_open]
        return not given or any(field.is_full for field in given)

    @property
    def is_every_date(self) -> bool:
        """No date is ruled out."""
        return self.is_every_day and self.months.is_full and self.years.is_full

    @property
    def is_paced(self) -> bool:
        """It recurs at a pace within the hour or the day, rather than at times of the day that somebody chose."""
        return self.minutes.is_paced or self.hours.is_paced

    def has_time(self, wall: datetime) -> bool:
        """Whether this hour and minute are asked for, whatever the day."""
        return wall.hour in self.hours.values and wall.minute in self.minutes.values


@lru_cache(maxsize=1024)
def read(pattern: str, dialect: Dialect = "auto", name: str | None = None) -> Fields:
    """Return a pattern's fields.

    Args:
        pattern: five fields; six, seconds first; seven, a year last; or ``@daily`` and its like.
        dialect: see ``CronPattern``.
        name: what ``H`` is spread by.

    Raises:
        InvalidCronPattern: it cannot be meant, or could be meant in two ways.
    """
    _check_characters(pattern)
    words = pattern.split()
    if words[0].startswith("@"):
        words = _alias(pattern, words).split()
    elif dialect == "quartz" and len(words) == 5:
        _refuse(pattern, f"has five fields, and Quartz has seconds first: '0 {' '.join(words)}'")
    units = _units(pattern, words, dialect)
    is_ambiguous = dialect == "auto" and "?" in words
    hint = _weekday_hint(dialect, len(words))
    reader = FieldReader(pattern, dialect, name, is_ambiguous, hint)
    fields = _fields(reader, dict(zip(units, words, strict=True)))
    _check_days(pattern, fields, dialect)
    return fields


def _fields(reader: FieldReader, words: dict[Unit, str]) -> Fields:
    found = {unit: reader.read(unit, word.upper()) for unit, word in words.items()}
    return Fields(
        seconds=found.get(SECOND) or reader.read(SECOND, "0"),
        minutes=found[MINUTE],
        hours=found[HOUR],
        days=_beside(found[WEEKDAY], found[DAY]),
        months=found[MONTH],
        weekdays=_beside(found[DAY], found[WEEKDAY]),
        years=found.get(YEAR) or reader.read(YEAR, "*"),
    )


def _beside(other: Field, field: Field) -> Field:
    """Return a day field as it is meant beside the other: "any weekday" in ``*/2 * 0-6`` adds no days to every second one."""
    return replace(field, is_open=True) if field.is_full and "*" in other.text else field


def _check_characters(pattern: str) -> None:
    if len(pattern) > MAX_LENGTH:
        _refuse(pattern, f"is longer than {MAX_LENGTH} characters")
    if not pattern.strip():
        _refuse(pattern, "is empty")
    if re.match(r"\s*(CRON_)?TZ\s*=", pattern, re.IGNORECASE):
        _refuse(pattern, "names a time zone; pass timezone= instead")
    if not pattern.lstrip().startswith("@") and (strange := _STRANGE.search(pattern)):
        _refuse(pattern, f"has {strange[0]!r}, which means nothing in a pattern")


def _alias(pattern: str, words: list[str]) -> str:
    word = words[0].lower()
    if word == "@every":
        _refuse(pattern, "is an interval, not a pattern; schedule it with interval=")
    if word == "@reboot":
        _refuse(
            pattern,
            "has no meaning here: workers come and go; call the function when your program starts",
        )
    if word not in _ALIASES:
        close = get_close_matches(word[:_COMPARED], _ALIASES, n=1)
        guess = f"did you mean {close[0]}?" if close else f"the names are {', '.join(_ALIASES)}"
        _refuse(pattern, f"begins with {shown(words[0])}, which is not a name; {guess}")
    if len(words) > 1:
        _refuse(pattern, f"has more after {words[0]!r}, which is a whole pattern")
    return _ALIASES[word]


def _units(pattern: str, words: list[str], dialect: Dialect) -> tuple[Unit, ...]:
    """Return which field stands where."""
    count = len(words)
    if count not in (5, 6, 7):
        _refuse(
            pattern,
            f"has {count} field{'s' if count != 1 else ''}; five are needed (minute, hour, day, month, weekday), "
            "six with seconds before them, seven with a year after",
        )
    if count == 6 and _A_YEAR.search(words[-1]):
        _refuse(
            pattern,
            f"has six fields, so {words[-1]!r} is not a year; write seven, seconds first: '0 {' '.join(words)}'",
        )
    if dialect == "seconds-last":
        return (*_FIVE, SECOND, YEAR)[:count]
    return (*(() if count == 5 else (SECOND,)), *_FIVE, *((YEAR,) if count == 7 else ()))


def _weekday_hint(dialect: Dialect, count: int) -> str:
    if count == 6 and dialect in ("auto", "crontab"):
        return "in six fields the first is the second; pass dialect='seconds-last' where it is the last"
    return ""


def _check_days(pattern: str, fields: Fields, dialect: Dialect) -> None:
    days, weekdays = fields.days, fields.weekdays
    if dialect == "quartz" and not days.is_open and not weekdays.is_open:
        _refuse(
            pattern, "gives both a day and a weekday, which Quartz cannot; let one of them be '?'"
        )
    longest = max(_LONGEST[month] for month in fields.months.values)
    if days.values and days.values[0] > longest:
        _refuse(
            pattern, f"can never fire: month {fields.months.text!r} has no day {days.values[0]}"
        )


def _refuse(pattern: str, fact: str) -> NoReturn:
    raise InvalidCronPattern(f"cron pattern {shown(pattern)} {fact}")
