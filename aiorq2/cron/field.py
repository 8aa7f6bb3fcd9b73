"""One field of a cron pattern, read: which values it asks for, and whether it asks for them at an even pace.

A numeric weekday is 0 (Sunday) to 6 in here, whatever the dialect counts from.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from aiorq2.errors import InvalidCronPattern

Dialect = Literal["auto", "crontab", "quartz", "seconds-last"]

LAST = 6
"""The ``nth`` of the last weekday of a month; no month has a sixth."""

_SHOWN = 64


class Unit(NamedTuple):
    """What a field counts: its name, its bounds, its names for values, and an example for error messages."""

    name: str
    low: int
    high: int
    example: str
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many values there are."""
        return self.high - self.low + 1


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

SECOND = Unit("second", 0, 59, "'0' or '*/10'")
MINUTE = Unit("minute", 0, 59, "'0,30' or '*/15'")
HOUR = Unit("hour", 0, 23, "'12' or '9-17'")
DAY = Unit("day", 1, 31, "'1,15', 'L' for the last day or '15W'")
MONTH = Unit("month", 1, 12, "'JAN' or '6-8'", _MONTHS)
WEEKDAY = Unit("weekday", 0, 6, "'MON-FRI', 'FRI#3' or 'FRIL'", _WEEKDAYS)
YEAR = Unit("year", 1970, 2099, "'2027' or '2027-2029'")


class Special(NamedTuple):
    """A day that depends on the month: its last, the working day nearest to one, or the nth (or last) of a weekday."""

    kind: Literal["last", "nearest", "nth"]
    day: int = 0
    nth: int = 0


@dataclass(frozen=True)
class Field:
    """What one field asks for.

    Attributes:
        values: the plain values, in order; all of them where nothing is asked.
        specials: days that depend on the month, beside the plain values.
        is_open: nothing is asked: ``*``, ``?`` or ``*/1``. (crontab tells ``*`` from ``1-31`` where day and weekday meet.)
        is_paced: it recurs through its whole range at a step, as ``*``, ``*/5``, ``0/5`` and ``0-59`` do.
    """

    unit: Unit
    text: str
    values: tuple[int, ...]
    specials: tuple[Special, ...] = ()
    is_open: bool = False
    is_paced: bool = False

    @property
    def is_full(self) -> bool:
        """Every value is asked for."""
        return len(self.values) == self.unit.size


class _Part(NamedTuple):
    values: frozenset[int] = frozenset()
    special: Special | None = None
    is_paced: bool = False


def shown(pattern: str) -> str:
    """Return a pattern as error messages quote it: on one line, and not too long."""
    text = " ".join(pattern.split())
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


@dataclass(frozen=True)
class FieldReader:
    """Reads the fields of one pattern.

    Args:
        pattern: the whole of it, for error messages.
        dialect: whose weekday numbers these are.
        name: what ``H`` is spread by.
        is_ambiguous: the pattern does not say whether its weekday numbers are crontab's or Quartz's.
        weekday_hint: what else may be wrong when the weekday cannot be read.
    """

    pattern: str
    dialect: Dialect
    name: str | None
    is_ambiguous: bool
    weekday_hint: str = ""

    def read(self, unit: Unit, text: str) -> Field:
        """Return what a field asks for.

        Raises:
            InvalidCronPattern: it cannot be meant.
        """
        if text == "?" and unit not in (DAY, WEEKDAY):
            raise self._refusal(unit, text, "is for the day and the weekday only; write '*'")
        if text in ("*", "?", "*/1"):
            every = tuple(range(unit.low, unit.high + 1))
            return Field(unit, text, every, is_open=True, is_paced=True)
        parts = [self._part(unit, text, part) for part in text.split(",")]
        if len(parts) > 1 and "*" in text.split(","):
            raise self._refusal(unit, text, "lists more beside '*', which is all there is")
        values = frozenset[int]().union(*(part.values for part in parts))
        specials = {part.special for part in parts if part.special}
        is_paced = len(values) > 1 and any(part.is_paced for part in parts)
        return Field(unit, text, tuple(sorted(values)), tuple(sorted(specials)), False, is_paced)

    def _part(self, unit: Unit, text: str, part: str) -> _Part:
        if not part:
            raise self._refusal(unit, text, "has an empty part; lists are written without blanks")
        if part.startswith("H"):
            return self._hashed(unit, part)
        if unit is DAY and (day := self._special_day(part)):
            return _Part(special=day)
        if unit is WEEKDAY and (weekday := self._special_weekday(part)):
            return _Part(special=weekday)
        if unit is WEEKDAY and part == "L":  # Quartz's other word for 7
            return _Part(frozenset({unit.names.index("SAT")}))
        body, slash, step_text = part.partition("/")
        step = self._step(unit, part, step_text) if slash else 1
        if body == "*":
            low, high = unit.low, unit.high
        elif "-" in body:
            low, high = self._range(unit, part, body)
        else:
            low = self._value(unit, part, body)
            if not slash:
                return _Part(frozenset({_within(unit, low)}))
            low = _within(unit, low)
            high = unit.high
        return _stepped(unit, low, high, step)

    def _step(self, unit: Unit, part: str, text: str) -> int:
        if not text.isdigit() or not int(text):
            raise self._refusal(unit, part, "needs a step of 1 or more after '/'")
        if int(text) > unit.size:
            fact = f"has a step longer than the field ({unit.low} to {unit.high}); cron starts afresh in each, "
            raise self._refusal(unit, part, fact + "so use interval= for a longer pace")
        return int(text)

    def _range(self, unit: Unit, part: str, body: str) -> tuple[int, int]:
        low, high = (self._value(unit, part, end) for end in body.split("-", 1))
        if _within(unit, low) == _within(unit, high) and (low, high) != (0, WEEKDAY.size):
            raise self._refusal(unit, part, "is a range of one; write that one, or '*' for all")
        if unit is YEAR and high < low:
            raise self._refusal(unit, part, "is a range that ends before it begins")
        return low, high

    def _value(self, unit: Unit, part: str, text: str) -> int:
        """Return a number or a name as a value; 7 stays 7 for crontab's Sunday, so that ``5-7`` is a range."""
        if text in unit.names:
            return unit.names.index(text) + unit.low
        if not text.isdigit():
            raise self._refusal(unit, part, self._unreadable(unit, part, text))
        if unit is WEEKDAY and self.is_ambiguous:
            fact = "is ambiguous in a pattern with '?': 1 is Monday in crontab and Sunday in Quartz; write the name "
            raise self._refusal(unit, part, fact + "(MON), or pass dialect='quartz' or 'crontab'")
        low, high = unit.low, unit.high
        if unit is WEEKDAY:
            low, high = (1, 7) if self.dialect == "quartz" else (0, 7)
        value = int(text) if len(text) < 9 else high + 1
        if not low <= value <= high:
            raise self._refusal(unit, part, f"is not within {low} to {high}{self._hint(unit)}")
        return value - 1 if unit is WEEKDAY and self.dialect == "quartz" else value

    def _unreadable(self, unit: Unit, part: str, text: str) -> str:
        quoted = "" if text == part else f"has {text!r}, which "
        if not text:
            return "lacks a number; negative ones and open ranges do not exist"
        if text == "?":
            return f"{quoted}must stand alone"
        if text.startswith("R"):
            return f"{quoted}is a random value, another one in every process; use H"
        if text[:3] in unit.names:
            return f"{quoted}is not a name in cron; write {text[:3]}"
        names = f" or one of {unit.names[0]} … {unit.names[-1]}" if unit.names else ""
        number = f"is not a number from {unit.low} to {unit.high}"
        return f"{quoted}{number}{names}{self._hint(unit)}"

    def _hint(self, unit: Unit) -> str:
        return f" ({self.weekday_hint})" if unit is WEEKDAY and self.weekday_hint else ""

    def _special_day(self, part: str) -> Special | None:
        if part == "L":
            return Special("last")
        if part in ("LW", "WL"):
            raise self._refusal(
                DAY, part, "is not supported: the last working day; 'L' and '15W' are"
            )
        if part.startswith("L-"):
            raise self._refusal(DAY, part, "is not supported: days before the last one; 'L' is")
        if match := re.fullmatch(r"(\d+)W|W(\d+)", part):
            return Special("nearest", self._value(DAY, part, match[1] or match[2]))
        return None

    def _special_weekday(self, part: str) -> Special | None:
        if part == "L" and self.dialect != "quartz":
            raise self._refusal(
                WEEKDAY, part, "needs to know which weekday; write FRIL for the last Friday"
            )
        if match := re.fullmatch(r"([^#]*)#([^#]*)", part):
            weekday = self._value(WEEKDAY, part, match[1])
            if match[2] not in ("1", "2", "3", "4", "5"):
                raise self._refusal(WEEKDAY, part, "needs 1 to 5 after '#'")
            return Special("nth", _within(WEEKDAY, weekday), int(match[2]))
        if match := re.fullmatch(r"(\w+)L|L(\w+)", part):
            weekday = self._value(WEEKDAY, part, match[1] or match[2])
            return Special("nth", _within(WEEKDAY, weekday), LAST)
        return None

    def _hashed(self, unit: Unit, part: str) -> _Part:
        """Return the value that ``H`` stands for, drawn by the name: the same in every process and for ever."""
        match = re.fullmatch(r"H(?:\((\w+)-(\w+)\))?(?:/(\w+))?", part)
        if match is None or unit is YEAR:
            raise self._refusal(
                unit, part, "is not a form of H; write H, H(0-29), H/10 or H(0-29)/10"
            )
        if self.name is None:
            raise self._refusal(unit, part, "is drawn by the name of the entry, and there is none")
        low, high = unit.low, 28 if unit is DAY else unit.high  # every month has a 28th
        if match[1]:
            low, high = (self._value(unit, part, end) for end in (match[1], match[2]))
            if high <= low:
                raise self._refusal(unit, part, "needs a range that ends after it begins")
        step = self._step(unit, part, match[3]) if match[3] else high - low + 1
        first = low + _draw(self.name, unit) % min(step, high - low + 1)
        return _stepped(unit, first, high if match[3] else first, step)

    def _refusal(self, unit: Unit, part: str, fact: str) -> InvalidCronPattern:
        as_written = re.search(re.escape(part), self.pattern, re.IGNORECASE)
        quoted = shown(as_written[0] if as_written else part)
        return InvalidCronPattern(
            f"cron pattern {shown(self.pattern)}: {unit.name} {quoted} {fact}; for example {unit.example}"
        )


def _stepped(unit: Unit, low: int, high: int, step: int) -> _Part:
    """Return every ``step``-th value from ``low`` to ``high``, round the end of the range where that comes first."""
    end = high if low <= high else high + unit.size
    reached = range(low, end + 1, step)
    covers = low - unit.low < step and unit.high < reached[-1] + step
    return _Part(frozenset(_within(unit, value) for value in reached), is_paced=covers)


def _within(unit: Unit, value: int) -> int:
    """Return the value that a number beyond the end of the range stands for: Sunday for weekday 7."""
    return (value - unit.low) % unit.size + unit.low


def _draw(name: str, unit: Unit) -> int:
    # A hash of our own, since an upgrade of a library must not move anybody's schedule.
    return int.from_bytes(
        hashlib.sha256(f"{name}/{unit.name}".encode(errors="backslashreplace")).digest()[:8]
    )
