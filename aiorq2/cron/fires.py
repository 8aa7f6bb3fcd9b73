"""Wall times of a pattern and the clock of a zone → instants: what happens when clocks are changed is decided here.

A time of the day that somebody chose happens once a day: skipped, it fires as soon as clocks show a time again; shown
twice, it fires the first time. A pattern that recurs at a pace keeps it: it fires whenever the clock shows a time that
matches, and what was skipped is made up for only if the pace does not go on by itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from aiorq2.cron.layout import Fields
from aiorq2.cron.walk import WallTimes
from aiorq2.cron.zone import Change, ZoneClock

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)


class FireTimes:
    """The instants at which a pattern fires in a zone. All instants that come in are whole seconds, in UTC."""

    def __init__(self, fields: Fields, walls: WallTimes, clock: ZoneClock) -> None:
        self._fields = fields
        self._walls = walls
        self._clock = clock

    def after(self, instant: datetime) -> datetime | None:
        """Return the first one after an instant, or None."""
        shown = self._clock.shown(instant)
        found = self._walls.after(shown)
        repeat = self._clock.change_of(shown)
        if repeat is not None and self._fields.is_paced and not shown.fold:
            if (
                found is None or found >= repeat.earlier
            ):  # nothing more in this showing: on to the second
                found = self._walls.after(repeat.later - _SECOND)
        elif repeat is not None and not self._fields.is_paced and shown.fold:
            found = self._walls.after(repeat.earlier - _SECOND)
        return self._next_instant(found, instant)

    def before(self, instant: datetime) -> datetime | None:
        """Return the last one before an instant, or None."""
        shown = self._clock.shown(instant)
        found = self._walls.before(shown)
        repeat = self._clock.change_of(shown)
        if repeat is not None and shown.fold:
            in_second = found is not None and found >= repeat.later
            if not (self._fields.is_paced and in_second):  # back into the first showing
                found = self._walls.before(repeat.earlier)
        return self._last_instant(found, instant)

    def _next_instant(self, wall: datetime | None, after: datetime) -> datetime | None:
        while wall is not None:
            change = self._clock.change_of(wall)
            if change is None or not change.skips:
                first = self._clock.instant(wall)
                return first if first > after else self._clock.instant(wall, fold=1)
            if self._makes_up(change):
                return change.at
            wall = self._walls.after(change.later - _SECOND)
        return None

    def _last_instant(self, wall: datetime | None, before: datetime) -> datetime | None:
        while wall is not None:
            change = self._clock.change_of(wall)
            if change is None or not change.skips:
                second = self._clock.instant(wall, fold=1)
                is_shown = self._fields.is_paced and second < before
                return second if is_shown else self._clock.instant(wall)
            if change.at < before and self._makes_up(change):
                return change.at
            wall = self._walls.before(change.earlier)
        return None

    def _makes_up(self, change: Change) -> bool:
        """Whether to fire when a change is over, for wall times that it skipped.

        A pace goes on by itself if every skipped time, as much later as the clock was set forward, is one that matches:
        an hour without 02:30 is followed by 03:30, sixty minutes after 01:30.
        """
        fields, skipped = self._fields, change.later - change.earlier
        if not fields.is_paced or skipped % _MINUTE:
            return True
        last = change.later + skipped - _SECOND
        if change.earlier.date() != last.date() and not fields.is_every_date:
            return True
        missed = (change.earlier + n * _MINUTE for n in range(skipped // _MINUTE))
        return any(fields.has_time(wall) and not fields.has_time(wall + skipped) for wall in missed)
