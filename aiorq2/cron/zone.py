"""A time zone's clock: what it shows at an instant, and what it skips and repeats when it is changed."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from aiorq2.errors import InvalidOption

T = TypeVar("T")

_LOCALTIME = Path("/etc/localtime")
_MACHINE_BOUND = ("localtime", "posixrules", "Factory")
_ODD = ("posix/", "right/")
_LONGEST = 64


class Change(NamedTuple):
    """A clock is set forward or back at an instant: then it shows ``earlier`` one moment and ``later`` the next."""

    at: datetime
    earlier: datetime
    later: datetime

    @property
    def skips(self) -> bool:
        """What lies between is never shown; otherwise it is shown twice."""
        return self.earlier < self.later


class ZoneClock:
    """The clock on the wall in a time zone. Wall times are naive; ``fold=1`` marks the second showing, as in PEP 495."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def shown(self, instant: datetime) -> datetime:
        """Return the wall time at an instant."""
        return instant.astimezone(self._zone).replace(tzinfo=None)

    def instant(self, wall: datetime, *, fold: int = 0) -> datetime:
        """Return when a wall time is shown, for the first time or (``fold=1``) the second."""
        return wall.replace(tzinfo=self._zone, fold=fold).astimezone(UTC).replace(fold=0)

    def aware(self, wall: datetime) -> datetime:
        """Return a wall time as one that names this zone."""
        return wall.replace(tzinfo=self._zone)

    def change_of(self, wall: datetime) -> Change | None:
        """Return the change that skips or repeats a wall time, or None: it is shown exactly once."""
        before = wall.replace(tzinfo=self._zone, fold=0).utcoffset()
        after = wall.replace(tzinfo=self._zone, fold=1).utcoffset()
        if before == after or before is None or after is None:
            return None
        ends = wall.replace(tzinfo=UTC) - before, wall.replace(tzinfo=UTC) - after
        return self._change(min(ends), max(ends))

    def _offset(self, instant: datetime) -> timedelta:
        return instant.astimezone(self._zone).utcoffset() or timedelta()

    def _change(self, before: datetime, after: datetime) -> Change | None:
        """Return the change after one instant and up to another, both of whole seconds."""
        old, new = self._offset(before), self._offset(after)
        if old == new:
            return None
        low, high = 0, int((after - before).total_seconds())
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(before + timedelta(seconds=middle)) == old:
                low = middle
            else:
                high = middle
        at = before + timedelta(seconds=high)
        naive = at.replace(tzinfo=None)
        return Change(at, naive + old, naive + new)


@lru_cache(maxsize=256)
def zone_clock(name: str) -> ZoneClock:
    """Return the clock of the zone of this name.

    Raises:
        InvalidOption: there is no such zone.
    """
    if name == "UTC":  # needs no data base, which some machines lack
        return ZoneClock(UTC)
    unusable = len(name) > _LONGEST or name in _MACHINE_BOUND or name.startswith(_ODD)
    try:
        return ZoneClock(ZoneInfo("" if unusable else name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidOption(_unknown(name)) from None


def checked_zone(name: object) -> str:
    """Return the name of a zone if there is one of this name.

    Raises:
        InvalidOption: there is none.
    """
    if not isinstance(name, str):
        raise InvalidOption(f"timezone: a name is needed, not {type(name).__name__}")
    zone_clock(name)
    return name


def in_zone(given: T, zone: str) -> T:
    """Return a point in time that names no zone as one of ``zone``; whatever else it is, as it is.

    Raises:
        InvalidOption: there is no such zone.
    """
    if not isinstance(given, datetime) or given.tzinfo is not None:
        return given
    return zone_clock(zone).aware(given)  # type: ignore[return-value]  # a datetime for a datetime


def local_timezone() -> str:
    """Return the name of this machine's zone: that of ``TZ``, else that of ``/etc/localtime``, else UTC, as the C library does.

    Raises:
        InvalidOption: it has no name that other machines would know.
    """
    named = os.environ.get("TZ")
    if named is None and not _LOCALTIME.exists() and os.name == "posix":
        return "UTC"
    place = str(_LOCALTIME.resolve()) if named is None else named.removeprefix(":") or "UTC"
    name = place.rpartition("zoneinfo/")[2]
    try:
        zone_clock(name)
    except InvalidOption:
        raise InvalidOption(
            f"this machine's time zone has no name that others would know ({name[:_LONGEST]!r}); "
            "give one, as timezone='Europe/Berlin'"
        ) from None
    return name


def _unknown(name: str) -> str:
    zones = available_timezones()
    if not zones:
        return "timezone: this machine has no time zone data base; `pip install tzdata` brings one"
    quoted = repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…")
    if name in _MACHINE_BOUND:
        return f"timezone={quoted} is another zone on every machine; name the place, as in 'Europe/Berlin'"
    alike = {zone.casefold(): zone for zone in sorted(zones)}
    short = name[:_LONGEST].casefold()
    places = {zone.rpartition("/")[2]: zone for zone in alike}
    close = get_close_matches(short, [*alike, *places], n=1)
    if not close:
        return f"timezone={quoted} is unknown; give a name of the IANA data base, as 'Europe/Berlin' or 'UTC'"
    return f"timezone={quoted} is unknown; did you mean {alike[places.get(close[0], close[0])]!r}?"
