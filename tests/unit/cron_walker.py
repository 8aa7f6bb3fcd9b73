"""What a cron pattern means, found the slow way: draw one, and look at every day, minute or second.

Nothing in here knows croniter or how aiorq2 reads a pattern: a drawn pattern carries the values that it means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from hypothesis import strategies as st

LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class DrawnField:
    """A field: its text, what it means, and whether it goes through its whole range at a step."""

    text: str
    values: frozenset[int]
    is_paced: bool


@dataclass(frozen=True)
class Drawn:
    """A pattern and what it means."""

    seconds: DrawnField
    minutes: DrawnField
    hours: DrawnField
    days: DrawnField
    months: DrawnField
    weekdays: DrawnField

    @property
    def five(self) -> str:
        """The pattern without its seconds."""
        fields = (self.minutes, self.hours, self.days, self.months, self.weekdays)
        return " ".join(field.text for field in fields)

    @property
    def six(self) -> str:
        """The pattern, seconds first."""
        return f"{self.seconds.text} {self.five}"

    @property
    def is_paced(self) -> bool:
        """It recurs at a pace within the hour or the day."""
        return self.minutes.is_paced or self.hours.is_paced

    @property
    def is_possible(self) -> bool:
        """One of its months has the first of its days."""
        longest = max(LONGEST[month - 1] for month in self.months.values)
        return min(self.days.values) <= longest

    def has_date(self, wall: datetime) -> bool:
        """Whether this is one of its days: by day or by weekday where both are given.

        One that lists all there is, beside one that has a ``*``, is as good as not given.
        """
        if wall.month not in self.months.values:
            return False
        day = wall.day in self.days.values
        weekday = wall.isoweekday() % 7 in self.weekdays.values
        if self.days.text == "*" or (len(self.days.values) == 31 and "*" in self.weekdays.text):
            return weekday
        if self.weekdays.text == "*" or (len(self.weekdays.values) == 7 and "*" in self.days.text):
            return day
        return day or weekday

    def matches(self, wall: datetime) -> bool:
        """Whether a clock that shows this shows one of its times."""
        return (
            wall.second in self.seconds.values
            and wall.minute in self.minutes.values
            and wall.hour in self.hours.values
            and self.has_date(wall)
        )


ON_THE_MINUTE = DrawnField("0", frozenset({0}), False)


def a_part(low: int, high: int, *, wrapping: bool) -> st.SearchStrategy[DrawnField]:
    """A number, a range, or a step through one or through all."""

    def stepped(start: int, end: int, step: int, text: str) -> DrawnField:
        values = frozenset(range(start, end + 1, step))
        is_paced = start - low < step and max(values) + step > high and len(values) > 1
        return DrawnField(text, values, is_paced)

    def around(ends: tuple[int, int]) -> DrawnField:
        values = {*range(ends[1], high + 1), *range(low, ends[0] + 1)}
        return DrawnField(f"{ends[1]}-{ends[0]}", frozenset(values), len(values) == high - low + 1)

    numbers = st.integers(low, high)
    starts = st.integers(low, high - 1)  # croniter before 7 takes 59/15 for */15
    steps = st.integers(1, high - low + 1)
    ranges = st.tuples(numbers, numbers).filter(lambda ends: ends[0] < ends[1])
    kinds = [
        numbers.map(lambda n: DrawnField(str(n), frozenset({n}), False)),
        ranges.map(lambda ends: stepped(ends[0], ends[1], 1, f"{ends[0]}-{ends[1]}")),
        st.builds(lambda e, n: stepped(e[0], e[1], n, f"{e[0]}-{e[1]}/{n}"), ranges, steps),
        steps.filter(lambda n: n > 1).map(lambda n: stepped(low, high, n, f"*/{n}")),
        st.builds(lambda start, n: stepped(start, high, n, f"{start}/{n}"), starts, steps),
    ]
    return st.one_of(*kinds, *([ranges.map(around)] if wrapping else []))


def a_field(low: int, high: int, *, wrapping: bool = False) -> st.SearchStrategy[DrawnField]:
    """A field: ``*``, or up to three parts."""
    everything = DrawnField("*", frozenset(range(low, high + 1)), True)

    def listed(parts: list[DrawnField]) -> DrawnField:
        values = frozenset[int]().union(*(part.values for part in parts))
        is_paced = any(part.is_paced for part in parts)
        return DrawnField(",".join(part.text for part in parts), values, is_paced)

    parts = st.lists(a_part(low, high, wrapping=wrapping), min_size=1, max_size=3)
    return st.one_of(st.just(everything), parts.map(listed))


def a_pattern(
    *, seconds: bool = False, wrapping: bool = False, any_day: bool = False
) -> st.SearchStrategy[Drawn]:
    """A pattern that can fire.

    Args:
        seconds: with seconds; otherwise it fires on the minute.
        wrapping: with ranges such as 22-2, which croniter reads otherwise when they have a step.
        any_day: all of its days are every day, so that it fires soon.
    """
    days, months, weekdays = (
        a_field(low, high, wrapping=wrapping) for low, high in ((1, 31), (1, 12), (0, 6))
    )
    if any_day:
        days, months, weekdays = (
            st.just(DrawnField("*", frozenset(range(low, high + 1)), True))
            for low, high in ((1, 31), (1, 12), (0, 6))
        )
    return st.builds(
        Drawn,
        a_field(0, 59, wrapping=wrapping) if seconds else st.just(ON_THE_MINUTE),
        a_field(0, 59, wrapping=wrapping),
        a_field(0, 23, wrapping=wrapping),
        days,
        months,
        weekdays,
    ).filter(lambda drawn: drawn.is_possible)


def minutes_of(drawn: Drawn, day: datetime) -> Iterator[datetime]:
    """Yield the minutes of a day, 1440 looks, at which it fires."""
    if not drawn.has_date(day):
        return
    for number in range(24 * 60):
        wall = day + number * MINUTE
        if wall.minute in drawn.minutes.values and wall.hour in drawn.hours.values:
            yield wall


def walk_minutes(drawn: Drawn, start: datetime, *, back: bool = False) -> datetime:
    """Return the first minute after, or the last before, a moment at which it fires: day by day, minute by minute."""
    day = start.replace(hour=0, minute=0, second=0, microsecond=0)
    for number in range(366 * 12):
        found = list(minutes_of(drawn, day + timedelta(days=-number if back else number)))
        near = [m for m in found if (m < start if back else m > start)]
        if near:
            return near[-1] if back else near[0]
    raise AssertionError(f"{drawn.five} does not fire within twelve years")


def walk_instants(
    drawn: Drawn, zone: tzinfo, after: datetime, until: datetime, step: timedelta = MINUTE
) -> list[datetime]:
    """Return the instants after one and not after another at which it fires, by looking at a clock at every step.

    When the clock jumps forward, what it skipped is looked at too: missed are the times that match, except that
    something at a pace does not miss what it does as much later anyway.
    """
    fires: list[datetime] = []
    instant = after
    while instant < until:
        before, instant = instant.astimezone(zone), instant + step
        shown = instant.astimezone(zone)
        jump = (shown.utcoffset() or step) - (before.utcoffset() or step)
        wall, skipped = shown.replace(tzinfo=None), before.replace(tzinfo=None) + step
        missed = False
        while skipped < wall and jump > timedelta():
            goes_on = drawn.is_paced and drawn.matches(skipped + jump)
            missed = missed or (drawn.matches(skipped) and not goes_on)
            skipped += step
        repeated = shown.fold == 1 and not drawn.is_paced
        if missed or (drawn.matches(wall) and not repeated):
            fires.append(instant)
    return fires
