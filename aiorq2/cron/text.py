"""A cron pattern in words. Patterns that fire at different times never have the same words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from aiorq2.cron.field import LAST, Field, Special
from aiorq2.cron.layout import Fields

_FEW = 4
"""So many times of the day are listed one by one."""

_NTH = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", LAST: "last"}
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def describe(fields: Fields, timezone: str) -> str:
    """Return when a pattern fires: "At 12:00, every day, UTC".

    The zone is left out where it does not matter, as for "Every 5 minutes".
    """
    pace = _pace(fields)
    if pace and fields.hours.is_full and fields.is_every_date:
        return pace
    times = pace or _hours(fields) or _clock_times(fields) or _field_by_field(fields)
    return f"{times}{_days(fields)}{_years(fields)}, {timezone}"


# The times of the day.


def _pace(fields: Fields) -> str:
    """Return "Every 5 minutes from 09:00 to 17:55", or an empty text where that would not be the whole truth."""
    paced, offsets = _paced_unit(fields)
    if paced is None:
        return ""
    every = _every(paced)
    if fields.hours.is_full:
        return every + offsets
    if not _is_run(fields.hours.values):
        return f"{every}{offsets} in {_counted(fields.hours)}"
    return f"{every} from {_clock(fields, 0)} to {_clock(fields, -1)}"


def _paced_unit(fields: Fields) -> tuple[Field | None, str]:
    """Return the field that recurs evenly while all that is longer goes on, and where in its range it begins."""
    seconds, minutes = fields.seconds, fields.minutes
    is_one_minute = len(minutes.values) == len(fields.hours.values) == 1 and len(seconds.values) > 2
    if (minutes.is_full or is_one_minute) and _even_step(seconds):
        return seconds, _beginning(seconds)
    if len(seconds.values) > 1 or not _even_step(minutes):
        return None, ""
    if len(minutes.values) == 2 and not fields.hours.is_full:
        return None, ""  # two times in each hour are better named
    second = seconds.values[0]
    return minutes, _beginning(minutes) + (f" at second {second}" if second else "")


def _hours(fields: Fields) -> str:
    """Return "Every 2 hours from 01:30" where there is one time in each hour, or an empty text."""
    if len(fields.seconds.values) > 1 or len(fields.minutes.values) > 1:
        return ""
    hours, minute, second = fields.hours, fields.minutes.values[0], fields.seconds.values[0]
    if hours.is_full:
        at_minute = f" at minute {minute}" if minute or second else ""
        return f"Every hour{at_minute}" + (f" and second {second}" if second else "")
    if len(hours.values) > 2 and _even_step(hours):
        is_plain = not (hours.values[0] or minute or second)
        return _every(hours) + ("" if is_plain else f" from {_clock(fields, 0)}")
    if len(hours.values) > _FEW and _is_run(hours.values):
        return f"Every hour from {_clock(fields, 0)} to {_clock(fields, -1)}"
    return ""


def _clock_times(fields: Fields) -> str:
    """Return "At 09:00 and 17:30" where there are few enough, or an empty text."""
    hours, minutes, seconds = fields.hours.values, fields.minutes.values, fields.seconds.values
    if len(hours) * len(minutes) * len(seconds) > _FEW:
        return ""
    times = [(hour, minute, second) for hour in hours for minute in minutes for second in seconds]
    return f"At {_joined([_digits(*time, long=any(seconds)) for time in times])}"


def _field_by_field(fields: Fields) -> str:
    text = f"{_counted(fields.minutes)} of {_counted(fields.hours)}"
    if fields.seconds.values == (0,):
        return f"At {text}"
    return f"At {_counted(fields.seconds)} of {text}"


def _clock(fields: Fields, index: int) -> str:
    """Return the first (0) or the last (-1) time of a day."""
    values = [field.values for field in (fields.hours, fields.minutes, fields.seconds)]
    hour, minute, second = (field[index] for field in values)
    return _digits(hour, minute, second, long=any(fields.seconds.values))


def _digits(hour: int, minute: int, second: int, *, long: bool) -> str:
    return f"{hour:02}:{minute:02}:{second:02}" if long else f"{hour:02}:{minute:02}"


def _every(field: Field) -> str:
    step = _even_step(field)
    return f"Every {field.unit.name}" if step == 1 else f"Every {step} {field.unit.name}s"


def _beginning(field: Field) -> str:
    return f" from {field.unit.name} {field.values[0]}" if field.values[0] else ""


def _counted(field: Field) -> str:
    if field.is_full:
        return f"every {field.unit.name}"
    plural = "s" if len(field.values) > 1 else ""
    return f"{field.unit.name}{plural} {_joined(_grouped(field.values, str))}"


def _even_step(field: Field) -> int:
    """Return the step that leads through the whole range and on into the next without a stumble, or 0."""
    step, rest = divmod(field.unit.size, len(field.values))
    is_even = not rest and len(field.values) > 1
    expected = range(field.values[0], field.values[0] + field.unit.size, step)
    return step if is_even and tuple(expected) == field.values else 0


# The days.


def _days(fields: Fields) -> str:
    months = "" if fields.months.is_full else _months(fields.months.values)
    if fields.is_every_day:
        is_said = len(fields.hours.values) > 2 and _even_step(fields.hours) and not months
        return "" if is_said else ", every day" + (f" in {months}" if months else "")
    days, weekdays = fields.days, fields.weekdays
    in_months = f", in {months}" if months else ""
    of_months = months or "the month"
    if days.is_open and not weekdays.specials:
        return f", {_weekdays(weekdays)}{in_months}"
    if weekdays.is_open:
        return f" on {_month_days(days)} of {of_months}"
    if days.is_open and not weekdays.values:
        return f" on {_month_weekdays(weekdays.specials)} of {of_months}"
    month_days = [] if days.is_open else [f"on {_month_days(days)} of the month"]
    specials = weekdays.specials
    nth = [f"on {_month_weekdays(specials)} of the month"] if specials else []
    plain = [f"on {_weekdays(weekdays)}"] if weekdays.values else []
    return f" {_joined([*month_days, *plain, *nth])}{in_months}"


def _month_days(days: Field) -> str:
    """Return "the 1st, 15th and the last day"."""
    specials = [
        "the last day" if day.kind == "last" else f"the working day nearest the {_ordinal(day.day)}"
        for day in days.specials
    ]
    plain = _grouped(days.values, _ordinal)
    if (step := _long_step(days.values)) > 1:
        first, last = _ordinal(days.values[0]), _ordinal(days.values[-1])
        plain = [f"every {_ordinal(step)} day from the {first} to the {last}"]
    elif plain:
        plain[0] = f"the {plain[0]}"
    return _joined([*plain, *specials])


def _month_weekdays(specials: Sequence[Special]) -> str:
    """Return "the third and the last Friday"."""
    return _joined([f"the {_NTH[one.nth]} {_WEEKDAYS[one.day]}" for one in specials])


def _weekdays(weekdays: Field) -> str:
    """Return "Monday to Friday" or "every Monday and Friday"; a week begins on Monday."""
    from_monday = sorted((value - 1) % 7 for value in weekdays.values)
    names = _grouped(from_monday, lambda day: _WEEKDAYS[(day + 1) % 7])
    return ("every " if len(names) == len(from_monday) else "") + _joined(names)


def _months(values: Sequence[int]) -> str:
    return _joined(_grouped(values, lambda month: _MONTHS[month - 1]))


def _years(fields: Fields) -> str:
    if fields.years.is_full:
        return ""
    years = _grouped(fields.years.values, str)
    return f", {'from' if 'to' in years[0] and len(years) == 1 else 'in'} {_joined(years)}"


# Words.


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number in (11, 12, 13) else ending}"


def _grouped(values: Sequence[int], name: Callable[[int], str]) -> list[str]:
    """Return the names of values in order, three or more that follow one another as "1 to 3"."""
    words: list[str] = []
    rest = list(values)
    while rest:
        length = next((i for i in range(1, len(rest)) if rest[i] != rest[0] + i), len(rest))
        if length > 2:
            words.append(f"{name(rest[0])} to {name(rest[length - 1])}")
        else:
            words.extend(map(name, rest[:length]))
        del rest[:length]
    return words


def _is_run(values: Sequence[int]) -> bool:
    return values[-1] - values[0] == len(values) - 1


def _long_step(values: Sequence[int]) -> int:
    """Return the distance between more than a few values, if there is but one, or 0."""
    steps = {later - earlier for earlier, later in pairwise(values)}
    return steps.pop() if len(values) > _FEW and len(steps) == 1 else 0


def _joined(words: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
