"""A cron pattern in a time zone → the instants at which it fires."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import get_args

from aiorq2.cron.field import Dialect, shown
from aiorq2.cron.fires import FireTimes
from aiorq2.cron.layout import Fields, read
from aiorq2.cron.text import describe
from aiorq2.cron.walk import wall_times
from aiorq2.cron.zone import zone_clock
from aiorq2.errors import InvalidCronPattern, InvalidOption
from aiorq2.timing import as_utc

MAX_COUNT = 10_000
"""The most fire times that are listed at once."""

_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 12, 30, tzinfo=UTC)
"""The last day that has a time in every zone."""


@dataclass(frozen=True)
class CronPattern:
    """When something recurs: a cron pattern, read by the clocks of a time zone.

    ::

        noon = CronPattern.parse("0 12 * * MON-FRI", timezone="Europe/Berlin")
        noon.next(datetime.now(UTC))
        print(noon.describe())  # At 12:00, Monday to Friday, Europe/Berlin

    Fire times are instants, aware and in UTC; a naive ``datetime`` that is passed in means UTC. When clocks are changed, a
    time of the day that is skipped fires once, as soon as the clocks show a time again, and one that is shown twice fires
    the first time. A pattern that recurs at a pace (``*`` or ``*/n`` in minute or hour) keeps it: it also fires in the hour
    that is shown again, and what was skipped is made up for only where the pace would falter without.

    Args:
        text: minute, hour, day, month and weekday; or six fields, seconds first; or seven, a year last; or ``@daily``.
        timezone: a name of the IANA data base.
        dialect: "crontab" counts weekdays from Sunday, 0, and lets 7 be Sunday too; "quartz" counts 1 to 7 from Sunday;
            "seconds-last" is "crontab" with the seconds after the weekday. "auto" is "crontab" that refuses weekday
            numbers where a ``?`` suggests Quartz.
        name: what the values of ``H`` are drawn by.

    Raises:
        InvalidCronPattern: the pattern cannot be meant, could be meant in two ways, or has no date to fire on.
        InvalidOption: the zone or the dialect does not exist.
    """

    text: str
    timezone: str = "UTC"
    dialect: Dialect = "auto"
    name: str | None = None
    fields: Fields = field(init=False, repr=False, compare=False)
    _fires: FireTimes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_types()
        clock = zone_clock(self.timezone)
        fields = read(self.text, self.dialect, self.name)
        walls = wall_times(fields)
        if not walls.is_possible:
            raise InvalidCronPattern(
                f"cron pattern {shown(self.text)} can never fire: day {fields.days.text!r}, month {fields.months.text!r}, "
                f"weekday {fields.weekdays.text!r} and year {fields.years.text!r} never come together"
            )
        object.__setattr__(self, "text", " ".join(self.text.split()))
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "_fires", FireTimes(fields, walls, clock))

    def _check_types(self) -> None:
        for option, value in (("cron pattern", self.text), ("timezone", self.timezone)):
            if not isinstance(value, str):
                raise _wrong_type(option, value)
        if self.name is not None and not isinstance(self.name, str):
            raise _wrong_type("name", self.name)
        if self.dialect not in get_args(Dialect):
            raise InvalidOption(
                f"dialect: {str(self.dialect)[:40]!r} is none of {', '.join(get_args(Dialect))}"
            )

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        timezone: str = "UTC",
        dialect: Dialect = "auto",
        name: str | None = None,
    ) -> CronPattern:
        """Return the pattern; see the class. What was read once is remembered."""
        return cls(text, timezone, dialect, name)

    def __reduce__(self) -> tuple[object, ...]:
        return (CronPattern, (self.text, self.timezone, self.dialect, self.name))

    def __str__(self) -> str:
        return self.text

    def describe(self) -> str:
        """Return the pattern in words: "At 12:00, every day, UTC"."""
        return describe(self.fields, self.timezone)

    def first(self, after: datetime) -> datetime:
        """Return the next fire time, or refuse the pattern.

        Raises:
            InvalidCronPattern: it never fires again.
        """
        found = self.next(after)
        if found is None:
            raise InvalidCronPattern(
                f"cron pattern {shown(self.text)} never fires again after {as_utc(after):%Y-%m-%d %H:%M} UTC: "
                f"its years are {self.fields.years.text!r}"
            )
        return found

    def next(self, after: datetime) -> datetime | None:
        """Return the first fire time after an instant, or None: the pattern has run out of years."""
        start = _utc(after).replace(microsecond=0)
        try:
            return self._fires.after(max(start, _EPOCH))
        except OverflowError:  # beyond the year 9999
            return None

    def previous(self, before: datetime) -> datetime | None:
        """Return the last fire time before an instant, or None: there is none since 1970."""
        end = min(_utc(before), _END)
        whole = end.replace(microsecond=0)
        if whole <= _EPOCH:
            return None
        found = self._fires.before(whole + _SECOND if end > whole else whole)
        return found if found is not None and found >= _EPOCH else None

    def upcoming(self, after: datetime, count: int) -> list[datetime]:
        """Return the next ``count`` fire times after an instant; fewer if the pattern runs out of years.

        Raises:
            InvalidOption: the count is negative or above ``MAX_COUNT``.
        """
        _check_count("count", count)
        times: list[datetime] = []
        moment = after
        while len(times) < count and (found := self.next(moment)):
            times.append(found)
            moment = found
        return times

    def between(self, after: datetime, until: datetime, limit: int) -> tuple[list[datetime], bool]:
        """Return the first ``limit`` fire times after one instant and not after another, and whether there are more of them.

        Raises:
            InvalidOption: the limit is negative or above ``MAX_COUNT``.
        """
        _check_count("limit", limit)
        end = _utc(until)
        times: list[datetime] = []
        moment = self.next(after)
        while moment and moment <= end:
            if len(times) == limit:
                return times, True
            times.append(moment)
            moment = self.next(moment)
        return times, False


def _utc(moment: datetime) -> datetime:
    if not isinstance(moment, datetime):
        raise InvalidOption(f"a datetime is needed, not a {type(moment).__name__}")
    return as_utc(moment)


def _check_count(option: str, count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_COUNT:
        raise InvalidOption(f"{option}: a whole number from 0 to {MAX_COUNT} is needed")


def _wrong_type(option: str, value: object) -> InvalidOption:
    kind = InvalidCronPattern if option == "cron pattern" else InvalidOption
    return kind(f"{option}: a text is needed, not a {type(value).__name__}")
