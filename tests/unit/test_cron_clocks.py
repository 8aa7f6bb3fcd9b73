"""Cron patterns while clocks are set forward and back, row by row, in the times that a clock on the wall shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from aiorq2.cron import CronPattern

# A time of the day that somebody chose. pattern | zone | after | the next ones, by the clock of the zone
CHOSEN = """
30 2 * * *      | Europe/Berlin       | 2026-03-28 12:00+01:00 | 29 03:00+0200 · 30 02:30+0200
0 2 * * *       | Europe/Berlin       | 2026-03-28 12:00+01:00 | 29 03:00+0200 · 30 02:00+0200
0 3 * * *       | Europe/Berlin       | 2026-03-28 12:00+01:00 | 29 03:00+0200 · 30 03:00+0200
0 2,3 * * *     | Europe/Berlin       | 2026-03-28 12:00+01:00 | 29 03:00+0200 · 30 02:00+0200 · 30 03:00+0200
30 2,3 * * *    | Europe/Berlin       | 2026-03-28 12:00+01:00 | 29 03:00+0200 · 29 03:30+0200 · 30 02:30+0200
10,20,50 2 * * * | Europe/Berlin      | 2026-03-28 12:00+01:00 | 29 03:00+0200 · 30 02:10+0200 · 30 02:20+0200
59 1 * * *      | Europe/Berlin       | 2026-03-28 12:00+01:00 | 29 01:59+0100 · 30 01:59+0200
30 2 29 3 *     | Europe/Berlin       | 2026-03-28 12:00+01:00 | 29 03:00+0200 · 29 02:30+0200
30 2 * * SUN    | Europe/Berlin       | 2026-03-28 12:00+01:00 | 29 03:00+0200 · 05 02:30+0200
30 2 L * *      | Europe/Berlin       | 2026-03-28 12:00+01:00 | 31 02:30+0200 · 30 02:30+0200
30 2 * * *      | Europe/Berlin       | 2026-10-24 12:00+02:00 | 25 02:30+0200 · 26 02:30+0100
0 2,3 * * *     | Europe/Berlin       | 2026-10-24 12:00+02:00 | 25 02:00+0200 · 25 03:00+0100 · 26 02:00+0100
30 2 * * *      | Europe/Berlin       | 2026-10-25 02:30+02:00 | 26 02:30+0100
30 2 * * *      | Europe/Berlin       | 2026-10-25 02:15+01:00 | 26 02:30+0100
0 2 * * *       | Europe/Berlin       | 2026-10-25 02:00+01:00 | 26 02:00+0100
0 2,3 * * *     | Europe/Berlin       | 2026-10-25 02:15+01:00 | 25 03:00+0100 · 26 02:00+0100
30/15 2 * * *   | Europe/Berlin       | 2026-10-24 12:00+02:00 | 25 02:30+0200 · 25 02:45+0200 · 26 02:30+0100
*/60 2 * * *    | Europe/Berlin       | 2026-10-24 12:00+02:00 | 25 02:00+0200 · 26 02:00+0100
30 1,2 * * SUNL | Europe/Berlin       | 2026-10-25 00:00+02:00 | 25 01:30+0200 · 25 02:30+0200 · 29 01:30+0100
30 2 * * *      | America/New_York    | 2026-03-07 12:00-05:00 | 08 03:00-0400 · 09 02:30-0400
30 1 * * *      | America/New_York    | 2026-10-31 12:00-04:00 | 01 01:30-0400 · 02 01:30-0500
0 1-3 * * *     | America/New_York    | 2026-10-31 12:00-04:00 | 01 01:00-0400 · 01 02:00-0500 · 01 03:00-0500
15 2 * * *      | Australia/Lord_Howe | 2026-10-03 12:00+10:30 | 04 02:30+1100 · 05 02:15+1100
45 2 * * *      | Australia/Lord_Howe | 2026-10-03 12:00+10:30 | 04 02:45+1100 · 05 02:45+1100
15,45 2 * * *   | Australia/Lord_Howe | 2026-10-03 12:00+10:30 | 04 02:30+1100 · 04 02:45+1100 · 05 02:15+1100
45 1 * * *      | Australia/Lord_Howe | 2026-04-04 12:00+11:00 | 05 01:45+1100 · 06 01:45+1030
15 1 * * *      | Australia/Lord_Howe | 2026-04-04 12:00+11:00 | 05 01:15+1100 · 06 01:15+1030
0 0 * * *       | America/Sao_Paulo   | 2018-11-03 12:00-03:00 | 04 01:00-0200 · 05 00:00-0200
@daily          | America/Sao_Paulo   | 2018-11-03 12:00-03:00 | 04 01:00-0200 · 05 00:00-0200
30 23 * * *     | America/Sao_Paulo   | 2018-02-17 12:00-02:00 | 17 23:30-0200 · 18 23:30-0300
0 0 * * *       | America/Sao_Paulo   | 2018-02-17 12:00-02:00 | 18 00:00-0300 · 19 00:00-0300
0 0 1 * *       | Africa/Cairo        | 2024-10-15 12:00+03:00 | 01 00:00+0200 · 01 00:00+0200
0 0 * * FRI     | Africa/Cairo        | 2024-04-24 12:00+02:00 | 26 01:00+0300 · 03 00:00+0300
30 23 * * *     | Africa/Cairo        | 2024-10-31 12:00+03:00 | 31 23:30+0300 · 01 23:30+0200
0 12 * * *      | Pacific/Apia        | 2011-12-29 11:00-10:00 | 29 12:00-1000 · 31 00:00+1400 · 31 12:00+1400
0 12 30 12 *    | Pacific/Apia        | 2011-12-29 11:00-10:00 | 31 00:00+1400 · 30 12:00+1400
0 12 * * FRI    | Pacific/Apia        | 2011-12-29 11:00-10:00 | 31 00:00+1400 · 06 12:00+1400
30 1 * * *      | Antarctica/Troll    | 2026-03-28 12:00+00:00 | 29 03:00+0200 · 30 01:30+0200
30 2 * * *      | Antarctica/Troll    | 2026-10-24 12:00+02:00 | 25 02:30+0200 · 26 02:30+0000
30 1 * * *      | Europe/Dublin       | 2026-03-28 12:00+00:00 | 29 02:00+0100 · 30 01:30+0100
30 2 * * *      | Asia/Kolkata        | 2026-03-28 12:00+05:30 | 29 02:30+0530 · 30 02:30+0530
30 2 * * *      | Etc/UTC             | 2026-03-28 12:00+00:00 | 29 02:30+0000 · 30 02:30+0000
30 2 * * *      | UTC                 | 2026-10-24 12:00+00:00 | 25 02:30+0000 · 26 02:30+0000
"""

# What recurs at a pace: the same columns.
PACED = """
*/15 * * * *    | Europe/Berlin       | 2026-03-29 01:30+01:00 | 29 01:45+0100 · 29 03:00+0200 · 29 03:15+0200
30 * * * *      | Europe/Berlin       | 2026-03-29 01:00+01:00 | 29 01:30+0100 · 29 03:30+0200 · 29 04:30+0200
0 * * * *       | Europe/Berlin       | 2026-03-29 00:30+01:00 | 29 01:00+0100 · 29 03:00+0200 · 29 04:00+0200
0 */2 * * *     | Europe/Berlin       | 2026-03-28 23:00+01:00 | 29 00:00+0100 · 29 03:00+0200 · 29 04:00+0200
30 */2 * * *    | Europe/Berlin       | 2026-03-28 23:00+01:00 | 29 00:30+0100 · 29 03:00+0200 · 29 04:30+0200
* 2 * * *       | Europe/Berlin       | 2026-03-28 12:00+01:00 | 29 03:00+0200 · 30 02:00+0200 · 30 02:01+0200
0/20 1-2 * * *  | Europe/Berlin       | 2026-03-29 01:30+01:00 | 29 01:40+0100 · 29 03:00+0200 · 30 01:00+0200
0/20 1-3 * * *  | Europe/Berlin       | 2026-03-29 01:30+01:00 | 29 01:40+0100 · 29 03:00+0200 · 29 03:20+0200
15/30 1-3 * * * | Europe/Berlin       | 2026-03-29 01:30+01:00 | 29 01:45+0100 · 29 03:15+0200 · 29 03:45+0200
*/15 * * * *    | Europe/Berlin       | 2026-10-25 02:30+02:00 | 25 02:45+0200 · 25 02:00+0100 · 25 02:15+0100
0 * * * *       | Europe/Berlin       | 2026-10-25 01:30+02:00 | 25 02:00+0200 · 25 02:00+0100 · 25 03:00+0100
0 */2 * * *     | Europe/Berlin       | 2026-10-24 23:00+02:00 | 25 00:00+0200 · 25 02:00+0200 · 25 02:00+0100 · 25 04:00+0100
*/30 2 * * *    | Europe/Berlin       | 2026-10-25 00:00+02:00 | 25 02:00+0200 · 25 02:30+0200 · 25 02:00+0100 · 25 02:30+0100
*/30 2 25 10 *  | Europe/Berlin       | 2026-10-25 02:10+02:00 | 25 02:30+0200 · 25 02:00+0100 · 25 02:30+0100 · 25 02:00+0200
0 * * * *       | America/New_York    | 2026-11-01 00:30-04:00 | 01 01:00-0400 · 01 01:00-0500 · 01 02:00-0500
*/15 * * * *    | Australia/Lord_Howe | 2026-10-04 01:30+10:30 | 04 01:45+1030 · 04 02:30+1100 · 04 02:45+1100
*/20 * * * *    | Australia/Lord_Howe | 2026-10-04 01:30+10:30 | 04 01:40+1030 · 04 02:30+1100 · 04 02:40+1100
15 * * * *      | Australia/Lord_Howe | 2026-10-04 01:00+10:30 | 04 01:15+1030 · 04 02:30+1100 · 04 03:15+1100
30 * * * *      | Australia/Lord_Howe | 2026-10-04 01:00+10:30 | 04 01:30+1030 · 04 02:30+1100 · 04 03:30+1100
*/15 * * * *    | Australia/Lord_Howe | 2026-04-05 01:40+11:00 | 05 01:45+1100 · 05 01:30+1030 · 05 01:45+1030 · 05 02:00+1030
45 * * * *      | Australia/Lord_Howe | 2026-04-05 01:40+11:00 | 05 01:45+1100 · 05 01:45+1030 · 05 02:45+1030
0 * * * *       | America/Sao_Paulo   | 2018-11-03 22:30-03:00 | 03 23:00-0300 · 04 01:00-0200 · 04 02:00-0200
0 * * * *       | America/Sao_Paulo   | 2018-02-17 22:30-02:00 | 17 23:00-0200 · 17 23:00-0300 · 18 00:00-0300
0 */6 * * *     | Africa/Cairo        | 2024-04-25 12:00+02:00 | 25 18:00+0200 · 26 01:00+0300 · 26 06:00+0300
0 * * * *       | Pacific/Apia        | 2011-12-29 22:30-10:00 | 29 23:00-1000 · 31 00:00+1400 · 31 01:00+1400
*/30 12 * * *   | Pacific/Apia        | 2011-12-29 12:00-10:00 | 29 12:30-1000 · 31 12:00+1400 · 31 12:30+1400
*/30 12 * * FRI | Pacific/Apia        | 2011-12-29 12:00-10:00 | 31 00:00+1400 · 06 12:00+1400 · 06 12:30+1400
0 */6 * * *     | Antarctica/Troll    | 2026-10-24 12:00+02:00 | 24 18:00+0200 · 25 00:00+0200 · 25 06:00+0000
30 * * * *      | Antarctica/Troll    | 2026-03-29 00:00+00:00 | 29 00:30+0000 · 29 03:30+0200 · 29 04:30+0200
* * * * *       | Africa/Monrovia     | 1972-01-06 23:58-00:44:30 | 06 23:59-004430 · 07 00:44+0000 · 07 00:45+0000
*/30 * * * *    | UTC                 | 2026-10-25 00:30+00:00 | 25 01:00+0000 · 25 01:30+0000 · 25 02:00+0000
0 * * * *       | Asia/Kolkata        | 2026-03-29 01:30+05:30 | 29 02:00+0530 · 29 03:00+0530
"""

COLUMNS = ("text", "zone", "after", "expected")


def rows(table: str) -> list[list[str]]:
    """Return the cells of a table, without the blanks around them."""
    return [[cell.strip() for cell in row.split("|")] for row in table.strip().splitlines()]


def ids(table: str) -> list[str]:
    """Return a name for each row."""
    return [" ".join(row[:3]) for row in rows(table)]


def _by_the_clock(times: list[datetime], zone: str) -> str:
    return " · ".join(f"{time.astimezone(ZoneInfo(zone)):%d %H:%M%z}" for time in times)


def _check_both_ways(text: str, zone: str, after: str, expected: str) -> None:
    pattern = CronPattern.parse(text, timezone=zone)
    start = datetime.fromisoformat(after)
    times = pattern.upcoming(start, expected.count("·") + 1)
    back = [times[-1]]
    while len(back) < len(times):
        moment = pattern.previous(back[0])
        assert moment is not None
        back.insert(0, moment)

    assert _by_the_clock(times, zone) == expected
    assert back == times
    assert {(time.tzinfo, time.fold) for time in times + back} == {(UTC, 0)}
    assert pattern.between(start, times[-1], 100) == (times, False)


@pytest.mark.parametrize(COLUMNS, rows(CHOSEN), ids=ids(CHOSEN))
def test_a_time_of_the_day_fires_once_a_day(
    text: str, zone: str, after: str, expected: str
) -> None:
    """Skipped, it fires as soon as clocks show a time again; shown twice, it fires the first time. Asked forward and back."""
    _check_both_ways(text, zone, after, expected)


@pytest.mark.parametrize(COLUMNS, rows(PACED), ids=ids(PACED))
def test_a_pace_goes_on(text: str, zone: str, after: str, expected: str) -> None:
    """``*`` and ``*/n`` also fire in the hour that is shown again; what was skipped is made up for where the pace would falter."""
    _check_both_ways(text, zone, after, expected)


def test_seconds_of_a_skipped_minute_fire_once() -> None:
    """Every ten seconds of a minute that does not exist are one firing, when it would have been over."""
    pattern = CronPattern.parse("*/10 30 2 * * *", timezone="Europe/Berlin")

    times = pattern.upcoming(datetime(2026, 3, 28, 12, tzinfo=UTC), 3)

    assert _by_the_clock(times, "Europe/Berlin") == "29 03:00+0200 · 30 02:30+0200 · 30 02:30+0200"


@pytest.mark.parametrize("change", ["2026-03-29T01:00+00:00", "2026-10-25T01:00+00:00"])
def test_every_second_goes_on(change: str) -> None:
    """The second before clocks are set and the second at which they are both fire, asked forward and back."""
    pattern = CronPattern.parse("* * * * * *", timezone="Europe/Berlin")
    at, second = datetime.fromisoformat(change), timedelta(seconds=1)

    assert pattern.upcoming(at - 2 * second, 3) == [at - second, at, at + second]
    assert pattern.previous(at + second) == at
    assert pattern.previous(at) == at - second


@pytest.mark.parametrize("text", ["*/5 * * * *", "* * * * *", "*/10 * * * * *", "17 * * * *"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Africa/Cairo"])
def test_a_pace_within_the_hour_is_even_all_year(text: str, zone: str) -> None:
    """Where clocks are set by whole hours, what recurs within the hour never falters, whichever change comes."""
    pattern = CronPattern.parse(text, timezone=zone)
    first, second = pattern.upcoming(datetime(2026, 1, 1, tzinfo=UTC), 2)
    for month, day in [(3, 8), (3, 28), (3, 29), (4, 23), (4, 24), (10, 25), (10, 29), (11, 1)]:
        times = pattern.upcoming(datetime(2026, month, day, 0, 30, tzinfo=UTC), 30)

        assert {later - earlier for earlier, later in pairwise(times)} == {second - first}


def test_a_moment_within_a_second_counts() -> None:
    """Fractions are not rounded away: what fires now is neither next nor previous, a microsecond decides."""
    pattern = CronPattern.parse("0 12 * * *")
    noon, tick = datetime(2026, 6, 15, 12, tzinfo=UTC), timedelta(microseconds=1)

    assert pattern.next(noon) == noon + timedelta(days=1)
    assert pattern.next(noon - tick) == noon
    assert pattern.previous(noon) == noon - timedelta(days=1)
    assert pattern.previous(noon + tick) == noon
