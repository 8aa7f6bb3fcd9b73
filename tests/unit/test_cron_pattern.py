"""CronPattern as a value: equality, what it is asked, H, zones, and the end of its years."""

from __future__ import annotations

import copy
import pickle
import zoneinfo
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import aiorq2
from aiorq2.cron import MAX_COUNT, CronPattern, local_timezone, zone
from aiorq2.errors import InvalidCronPattern, InvalidOption

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


def test_pattern_is_a_value() -> None:
    """Two readings of the same text are equal and hash alike; zone, dialect and name tell them apart."""
    pattern = CronPattern.parse("0 12 * * MON", timezone="Europe/Berlin")

    assert pattern == CronPattern.parse(" 0  12\t* * MON\n", timezone="Europe/Berlin")
    assert pattern == CronPattern("0 12 * * MON", "Europe/Berlin")
    assert len({pattern, copy.deepcopy(pattern), pickle.loads(pickle.dumps(pattern))}) == 1
    assert pattern != CronPattern.parse("0 12 * * MON")
    assert pattern != CronPattern.parse("0 12 * * MON", timezone="Europe/Berlin", name="x")
    assert pattern != CronPattern("0 12 * * MON", "Europe/Berlin", "crontab")


def test_pattern_prints_as_it_was_written() -> None:
    """The text is kept in its case, with single blanks; the repr can be read back."""
    pattern = CronPattern.parse("0 12  * * mon")

    assert str(pattern) == pattern.text == "0 12 * * mon"
    assert eval(repr(pattern)) == pattern  # noqa: S307  our own text
    assert aiorq2.CronPattern is CronPattern


def test_naive_datetimes_are_utc_and_others_are_converted() -> None:
    """A moment may come in without a zone, or in any; fire times come out in UTC."""
    pattern = CronPattern.parse("0 12 * * *")
    tokyo = timezone(timedelta(hours=9))

    for moment in (NOON, NOON.replace(tzinfo=None), NOON.astimezone(tokyo)):
        assert pattern.next(moment) == NOON + timedelta(days=1)
        assert pattern.previous(moment) == NOON - timedelta(days=1)


def test_pattern_ends_with_its_years() -> None:
    """After its last year there is no next one; before its first, no previous one; and a list of them is short."""
    pattern = CronPattern.parse("0 0 12 1 1 ? 2027-2028")
    first, last = datetime(2027, 1, 1, 12, tzinfo=UTC), datetime(2028, 1, 1, 12, tzinfo=UTC)

    assert pattern.upcoming(NOON, 5) == [first, last]
    assert pattern.between(NOON, last + timedelta(days=900), 5) == ([first, last], False)
    assert pattern.next(last) is None
    assert pattern.previous(first) is None
    assert pattern.previous(last + timedelta(days=9000)) == last


def test_first_refuses_what_is_over() -> None:
    """To register a pattern whose years are over is a mistake that is told at once."""
    over = CronPattern.parse("0 0 12 1 1 ? 2020")

    assert CronPattern.parse("0 12 * * *").first(NOON) == NOON + timedelta(days=1)
    with pytest.raises(InvalidCronPattern) as refusal:
        over.first(NOON)
    assert str(refusal.value) == (
        "cron pattern '0 0 12 1 1 ? 2020' never fires again after 2026-06-15 12:00 UTC: its years are '2020'"
    )


def test_calendar_has_ends() -> None:
    """Nothing fires before 1970 or after 9999, and asking there is no error."""
    pattern = CronPattern.parse("0 12 * * *", timezone="Europe/Berlin")
    first = datetime(1970, 1, 1, 11, tzinfo=UTC)

    assert pattern.next(datetime.min.replace(tzinfo=UTC)) == first
    assert pattern.previous(first) is None
    assert pattern.previous(datetime.min.replace(tzinfo=UTC)) is None
    assert pattern.next(datetime(9999, 12, 31, 12, tzinfo=UTC)) is None
    assert pattern.next(datetime.max.replace(tzinfo=UTC)) is None
    assert pattern.previous(datetime.max.replace(tzinfo=UTC)) == datetime(
        9999, 12, 29, 11, tzinfo=UTC
    )


def test_between_stops_at_its_limit_and_says_so() -> None:
    """It begins after one moment, goes up to and with another, and tells whether there was more than the limit."""
    pattern = CronPattern.parse("0 * * * *")
    until = NOON + timedelta(hours=3)
    three = [NOON + timedelta(hours=n) for n in (1, 2, 3)]

    assert pattern.between(NOON, until, 3) == (three, False)
    assert pattern.between(NOON, until, 2) == (three[:2], True)
    assert pattern.between(NOON, until, 0) == ([], True)
    assert pattern.between(NOON, NOON, 5) == ([], False)
    assert pattern.between(until, NOON, 5) == ([], False)
    assert pattern.between(NOON, until - timedelta(microseconds=1), 5) == (three[:2], False)


@pytest.mark.parametrize("count", [-1, MAX_COUNT + 1, 1.5, True, None, "3"])
def test_counts_are_checked(count: Any) -> None:
    """A count is a whole number, and bounded."""
    pattern = CronPattern.parse("* * * * *")

    with pytest.raises(InvalidOption, match="count: a whole number from 0 to 10000 is needed"):
        pattern.upcoming(NOON, count)
    with pytest.raises(InvalidOption, match="limit: a whole number from 0 to 10000 is needed"):
        pattern.between(NOON, NOON, count)


@pytest.mark.parametrize("moment", [None, 1_750_000_000, "2026-06-15", NOON.date()])
def test_moments_are_checked(moment: Any) -> None:
    """What is not a datetime is refused by name."""
    pattern = CronPattern.parse("* * * * *")

    for ask in (pattern.next, pattern.previous):
        with pytest.raises(InvalidOption, match=f"needed, not a {type(moment).__name__}"):
            ask(moment)


def test_pattern_may_be_shared_between_threads() -> None:
    """Many threads ask the same pattern for different times at once; each gets its own answer."""
    pattern = CronPattern.parse("*/7 * * * MON-FRI,SUN#2", timezone="Europe/Berlin")
    moments = [NOON + timedelta(minutes=n) for n in range(0, 40_000, 97)]
    alone = [(pattern.next(moment), pattern.previous(moment)) for moment in moments]

    with ThreadPoolExecutor(8) as threads:
        together = list(
            threads.map(lambda moment: (pattern.next(moment), pattern.previous(moment)), moments)
        )

    assert together == alone


# H


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("H * * * *", "Every hour at minute 34, UTC"),
        ("H/15 * * * *", "Every 15 minutes from minute 4"),
        ("H(0-29)/10 * * * *", "At minutes 4, 14 and 24 of every hour, UTC"),
        ("H H * * *", "At 02:34, every day, UTC"),
        ("H H H * *", "At 02:34 on the 4th of the month, UTC"),
        ("H H * * H", "At 02:34, every Thursday, UTC"),
        ("H H(1-5) H(15-31) H *", "At 04:34 on the 23rd of January, UTC"),
        ("H 5 10 * * ?", "At 10:05:50, every day, UTC"),
    ],
)
def test_hash_is_the_same_for_ever(text: str, expected: str) -> None:
    """What a name draws may never change: schedules that exist would move."""
    assert CronPattern.parse(text, name="nightly-report").describe() == expected


def test_hash_spreads_names() -> None:
    """Sixty entries at ``H * * * *`` do not fire at the same minute, and every minute is drawn by somebody."""
    drawn = Counter(
        CronPattern.parse("H * * * *", name=f"entry-{n}").fields.minutes.values[0]
        for n in range(3000)
    )

    assert set(drawn) == set(range(60))
    assert max(drawn.values()) < 100


@pytest.mark.parametrize(
    ("text", "unit", "allowed"),
    [
        ("H(0-29)/10 * * * *", "minutes", [{n, n + 10, n + 20} for n in range(10)]),
        ("H(0-5)/60 * * * *", "minutes", [{n} for n in range(6)]),
        ("H/30 * * * *", "minutes", [{n, n + 30} for n in range(30)]),
        ("H/45 * * * *", "minutes", [{n, n + 45} if n < 15 else {n} for n in range(45)]),
        ("0 H(9-17) * * *", "hours", [{n} for n in range(9, 18)]),
        ("0 0 H * *", "days", [{n} for n in range(1, 29)]),
        ("0 0 H(25-31) * *", "days", [{n} for n in range(25, 32)]),
        ("0 0 1 H *", "months", [{n} for n in range(1, 13)]),
        ("0 0 1 H(JUN-AUG) *", "months", [{6}, {7}, {8}]),
        ("0 0 * * H", "weekdays", [{n} for n in range(7)]),
        ("0 0 * * H(5-7)", "weekdays", [{5}, {6}, {0}]),
        ("H 0 0 * * *", "seconds", [{n} for n in range(60)]),
    ],
)
def test_hash_stays_in_its_range(text: str, unit: str, allowed: list[set[int]]) -> None:
    """Each name draws one of the values or rows of values that the form allows, and each of them is drawn."""
    drawn = {
        getattr(CronPattern.parse(text, name=f"entry-{n}").fields, unit).values
        for n in range(len(allowed) * 12)
    }

    assert drawn == {tuple(sorted(values)) for values in allowed}


def test_hash_of_an_odd_name_is_drawn_too() -> None:
    """Any text is a name, also one that has no encoding."""
    assert CronPattern.parse("H * * * *", name="\ud800").next(NOON) is not None
    assert CronPattern.parse("H * * * *", name="").next(NOON) is not None


# Zones


def test_utc_needs_no_data_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without time zones UTC works, and the refusal of another says what is missing."""
    monkeypatch.setattr(zone, "available_timezones", lambda: set())
    monkeypatch.setattr(zone, "ZoneInfo", _no_zone)
    zone.zone_clock.cache_clear()

    assert CronPattern.parse("0 12 * * *").next(NOON) == NOON + timedelta(days=1)
    with pytest.raises(InvalidOption, match="no time zone data base; `pip install tzdata`"):
        CronPattern.parse("0 12 * * *", timezone="Europe/Berlin")
    zone.zone_clock.cache_clear()


def _no_zone(name: str) -> zoneinfo.ZoneInfo:
    raise zoneinfo.ZoneInfoNotFoundError(name)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        (":America/New_York", "America/New_York"),
        ("/usr/share/zoneinfo/Asia/Kolkata", "Asia/Kolkata"),
        ("", "UTC"),
        ("UTC", "UTC"),
    ],
)
def test_local_timezone_is_that_of_tz(
    setting: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``TZ`` names the zone of this process."""
    monkeypatch.setenv("TZ", setting)

    assert local_timezone() == expected


def test_local_timezone_is_that_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without ``TZ`` it is what ``/etc/localtime`` leads to; where there is none, UTC; a copy has no name, and is refused."""
    place, link = tmp_path / "zoneinfo" / "Europe" / "Berlin", tmp_path / "localtime"
    place.parent.mkdir(parents=True)
    place.touch()
    monkeypatch.delenv("TZ", raising=False)
    monkeypatch.setattr(zone, "_LOCALTIME", link)

    assert local_timezone() == "UTC"
    link.symlink_to(place)
    assert local_timezone() == "Europe/Berlin"
    link.unlink()
    link.touch()
    with pytest.raises(
        InvalidOption, match="this machine's time zone has no name that others would know"
    ):
        local_timezone()


def test_local_timezone_of_a_rule_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zone spelt out in ``TZ`` has no name that another machine would know."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")

    with pytest.raises(InvalidOption, match="give one, as timezone='Europe/Berlin'"):
        local_timezone()
