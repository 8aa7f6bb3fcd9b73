"""Cron patterns and when they fire, row by row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import pytest

from aiorq2.cron import CronPattern, Dialect

# pattern | dialect | the next three after 2026-06-15 10:00 UTC
BASIC = """
0 0 12 * * ?             | auto         | 2026-06-15 12:00:00 · 2026-06-16 12:00:00 · 2026-06-17 12:00:00
0 0 12 * * *             | auto         | 2026-06-15 12:00:00 · 2026-06-16 12:00:00 · 2026-06-17 12:00:00
0 12 * * *               | auto         | 2026-06-15 12:00:00 · 2026-06-16 12:00:00 · 2026-06-17 12:00:00
* * * * *                | auto         | 2026-06-15 10:01:00 · 2026-06-15 10:02:00 · 2026-06-15 10:03:00
*/10 * * * * *           | auto         | 2026-06-15 10:00:10 · 2026-06-15 10:00:20 · 2026-06-15 10:00:30
30 */5 * * * ?           | auto         | 2026-06-15 10:00:30 · 2026-06-15 10:05:30 · 2026-06-15 10:10:30
0 0/5 14,18 * * ?        | auto         | 2026-06-15 14:00:00 · 2026-06-15 14:05:00 · 2026-06-15 14:10:00
0 15 10 ? * MON-FRI      | auto         | 2026-06-15 10:15:00 · 2026-06-16 10:15:00 · 2026-06-17 10:15:00
0 15 10 L * ?            | auto         | 2026-06-30 10:15:00 · 2026-07-31 10:15:00 · 2026-08-31 10:15:00
0 15 10 15W * ?          | auto         | 2026-06-15 10:15:00 · 2026-07-15 10:15:00 · 2026-08-14 10:15:00
0 15 10 ? * FRIL         | auto         | 2026-06-26 10:15:00 · 2026-07-31 10:15:00 · 2026-08-28 10:15:00
0 15 10 ? * FRI#3        | auto         | 2026-06-19 10:15:00 · 2026-07-17 10:15:00 · 2026-08-21 10:15:00
0 15 10 ? * 6#3          | crontab      | 2026-06-20 10:15:00 · 2026-07-18 10:15:00 · 2026-08-15 10:15:00
0 15 10 ? * 6#3          | quartz       | 2026-06-19 10:15:00 · 2026-07-17 10:15:00 · 2026-08-21 10:15:00
0 0 12 1 * MON           | auto         | 2026-06-15 12:00:00 · 2026-06-22 12:00:00 · 2026-06-29 12:00:00
0 0 22-2 * * ?           | auto         | 2026-06-15 22:00:00 · 2026-06-15 23:00:00 · 2026-06-16 00:00:00
0 0 12 1 1 ? 2027-2029   | auto         | 2027-01-01 12:00:00 · 2028-01-01 12:00:00 · 2029-01-01 12:00:00
@daily                   | auto         | 2026-06-16 00:00:00 · 2026-06-17 00:00:00 · 2026-06-18 00:00:00
@weekly                  | auto         | 2026-06-21 00:00:00 · 2026-06-28 00:00:00 · 2026-07-05 00:00:00
*/5 * * * * 30           | seconds-last | 2026-06-15 10:00:30 · 2026-06-15 10:05:30 · 2026-06-15 10:10:30
"""

# pattern | zone | after | the next three, in UTC
ZONES = """
0 0 12 * * ?   | America/New_York | 2026-03-07 10:00-05:00 | 2026-03-07 17:00:00 · 2026-03-08 16:00:00 · 2026-03-09 16:00:00
0 30 2 * * ?   | America/New_York | 2026-03-07 12:00-05:00 | 2026-03-08 07:00:00 · 2026-03-09 06:30:00 · 2026-03-10 06:30:00
0 0 2,3 * * ?  | America/New_York | 2026-03-07 12:00-05:00 | 2026-03-08 07:00:00 · 2026-03-09 06:00:00 · 2026-03-09 07:00:00
0 * * * *      | America/New_York | 2026-03-08 00:30-05:00 | 2026-03-08 06:00:00 · 2026-03-08 07:00:00 · 2026-03-08 08:00:00
0 30 1 * * ?   | America/New_York | 2026-10-31 12:00-04:00 | 2026-11-01 05:30:00 · 2026-11-02 06:30:00 · 2026-11-03 06:30:00
0 * * * *      | America/New_York | 2026-11-01 00:30-04:00 | 2026-11-01 05:00:00 · 2026-11-01 06:00:00 · 2026-11-01 07:00:00
0 30 2 * * ?   | Europe/Berlin    | 2026-03-28 12:00+01:00 | 2026-03-29 01:00:00 · 2026-03-30 00:30:00 · 2026-03-31 00:30:00
0 30 2 * * ?   | Europe/Berlin    | 2026-10-24 12:00+02:00 | 2026-10-25 00:30:00 · 2026-10-26 01:30:00 · 2026-10-27 01:30:00
"""

# pattern | noon of a day | the days after it on which it fires, always at midnight
CALENDAR = """
0 0 29 2 *               | 2094-03-01 | 2096-02-29 · 2104-02-29 · 2108-02-29
0 0 29 2 *               | 2026-01-01 | 2028-02-29 · 2032-02-29
0 0 30 * *               | 2027-01-15 | 2027-01-30 · 2027-03-30 · 2027-04-30
0 0 31 * *               | 2026-03-01 | 2026-03-31 · 2026-05-31 · 2026-07-31 · 2026-08-31 · 2026-10-31
0 0 L * *                | 2028-01-15 | 2028-01-31 · 2028-02-29 · 2028-03-31 · 2028-04-30
0 0 L 2 *                | 2026-01-01 | 2026-02-28 · 2027-02-28 · 2028-02-29
0 0 1,15,L * *           | 2026-02-01 | 2026-02-15 · 2026-02-28 · 2026-03-01
0 0 1W * *               | 2026-07-15 | 2026-08-03 · 2026-09-01 · 2026-10-01 · 2026-11-02
0 0 W15 * *              | 2026-08-01 | 2026-08-14 · 2026-09-15 · 2026-10-15 · 2026-11-16
0 0 31W * *              | 2026-02-01 | 2026-02-27 · 2026-03-31 · 2026-04-30 · 2026-05-29
0 0 1W,15W,L * *         | 2026-08-01 | 2026-08-03 · 2026-08-14 · 2026-08-31
0 0 * * 0                | 2026-06-15 | 2026-06-21 · 2026-06-28
0 0 * * 7                | 2026-06-15 | 2026-06-21 · 2026-06-28
0 0 * * 5-7              | 2026-06-15 | 2026-06-19 · 2026-06-20 · 2026-06-21 · 2026-06-26
0 0 * * FRI-MON          | 2026-06-15 | 2026-06-19 · 2026-06-20 · 2026-06-21 · 2026-06-22 · 2026-06-26
0 0 * * 6-1              | 2026-06-15 | 2026-06-20 · 2026-06-21 · 2026-06-22 · 2026-06-27
0 0 * * 1-5/2            | 2026-06-15 | 2026-06-17 · 2026-06-19 · 2026-06-22
0 0 * * */3              | 2026-06-15 | 2026-06-17 · 2026-06-20 · 2026-06-21
0 0 * * 0-7              | 2026-06-15 | 2026-06-16 · 2026-06-17
0 0 * * 5L               | 2026-06-15 | 2026-06-26 · 2026-07-31
0 0 * * L5               | 2026-06-15 | 2026-06-26 · 2026-07-31
0 0 * * 7L               | 2026-06-15 | 2026-06-28 · 2026-07-26
0 0 * * FRI#5            | 2026-06-15 | 2026-07-31 · 2026-10-30
0 0 * 2 MON#5            | 2026-06-15 | 2044-02-29 · 2072-02-29 · 2112-02-29
0 0 * * TUE#1,TUE#3      | 2026-06-15 | 2026-06-16 · 2026-07-07 · 2026-07-21
0 0 * * MON,FRI#3        | 2026-06-15 | 2026-06-19 · 2026-06-22 · 2026-06-29
0 0 1 * FRI#3            | 2026-06-15 | 2026-06-19 · 2026-07-01 · 2026-07-17
0 0 15W * SUNL           | 2026-06-15 | 2026-06-28 · 2026-07-15 · 2026-07-26
0 0 31 2,3 *             | 2026-06-15 | 2027-03-31 · 2028-03-31
0 0 */2 * 0-6            | 2026-06-15 | 2026-06-17 · 2026-06-19
0 0 1 * 0-6              | 2026-06-15 | 2026-06-16 · 2026-06-17
0 0 */10 * MON           | 2026-06-15 | 2026-06-21 · 2026-06-22 · 2026-06-29 · 2026-07-01
0 0 28-3 * *             | 2026-02-20 | 2026-02-28 · 2026-03-01 · 2026-03-02 · 2026-03-03 · 2026-03-28
0 0 1 nov-feb *          | 2026-06-15 | 2026-11-01 · 2026-12-01 · 2027-01-01 · 2027-02-01 · 2027-11-01
0 0 ? * ?                | 2026-06-15 | 2026-06-16 · 2026-06-17
0 0 0 1 1 ? */50         | 2026-06-15 | 2070-01-01
0 0 0 1 1 ? 2098-2099    | 2026-06-15 | 2098-01-01 · 2099-01-01
0 0 0 1 1 ? 2020,2030    | 2026-06-15 | 2030-01-01
0 0 0 1 1 ? 2020         | 2026-06-15 |
@monthly                 | 2026-06-15 | 2026-07-01 · 2026-08-01
@yearly                  | 2026-06-15 | 2027-01-01 · 2028-01-01
@Annually                | 2026-06-15 | 2027-01-01 · 2028-01-01
@MIDNIGHT                | 2026-06-15 | 2026-06-16 · 2026-06-17
"""

# pattern | its times on one day, 2026-06-15, from midnight on
TIMES = """
0 22-2 * * *             | 00:00 01:00 02:00 22:00 23:00
0 21-3/2 * * *           | 01:00 03:00 21:00 23:00
50-10/10 5 * * *         | 05:00 05:10 05:50
5/15 7 * * *             | 07:05 07:20 07:35 07:50
59/15 7 * * *            | 07:59
*/40 7,8 * * *           | 07:00 07:40 08:00 08:40
*/60 */12 * * *          | 00:00 12:00
1-10/4,30,*/50 3 * * *   | 03:00 03:01 03:05 03:09 03:30 03:50
007 09 * * *             | 09:07
@hourly                  | 00:00 01:00 02:00 03:00 04:00 05:00
"""


def rows(table: str) -> list[list[str]]:
    """Return the cells of a table, without the blanks around them."""
    return [[cell.strip() for cell in row.split("|")] for row in table.strip().splitlines()]


def ids(table: str) -> list[str]:
    """Return a name for each row: what comes before its expected times."""
    return [" ".join(" ".join(row[:-1]).split()) for row in rows(table)]


@pytest.mark.parametrize(("text", "dialect", "expected"), rows(BASIC), ids=ids(BASIC))
def test_pattern_fires_when_it_says(text: str, dialect: str, expected: str) -> None:
    """The next three fire times of a pattern, in its dialect."""
    pattern = CronPattern.parse(text, dialect=cast(Dialect, dialect))

    times = pattern.upcoming(datetime(2026, 6, 15, 10, tzinfo=UTC), 3)

    assert " · ".join(f"{time:%Y-%m-%d %H:%M:%S}" for time in times) == expected
    assert all(time.tzinfo is UTC for time in times)


@pytest.mark.parametrize(("text", "zone", "after", "expected"), rows(ZONES), ids=ids(ZONES))
def test_pattern_fires_by_the_clocks_of_its_zone(
    text: str, zone: str, after: str, expected: str
) -> None:
    """The next three fire times of a pattern, in its zone."""
    times = CronPattern.parse(text, timezone=zone).upcoming(datetime.fromisoformat(after), 3)

    assert " · ".join(f"{time:%Y-%m-%d %H:%M:%S}" for time in times) == expected


@pytest.mark.parametrize(("text", "after", "expected"), rows(CALENDAR), ids=ids(CALENDAR))
def test_pattern_fires_on_the_days_it_says(text: str, after: str, expected: str) -> None:
    """The next days of a pattern, over the ends of months, leap years and centuries; fewer, where its years run out."""
    days = expected.split(" · ") if expected else []
    start = datetime.fromisoformat(f"{after}T12:00+00:00")

    times = CronPattern.parse(text).upcoming(start, max(len(days), 1))

    assert [f"{time:%Y-%m-%d}" for time in times] == days
    assert all(f"{time:%H:%M}" == "00:00" for time in times)


@pytest.mark.parametrize(("text", "expected"), rows(TIMES), ids=ids(TIMES))
def test_pattern_fires_at_the_times_it_says(text: str, expected: str) -> None:
    """The times of a day, from lists, ranges, ranges round midnight, and steps."""
    times = expected.split()
    before = datetime(2026, 6, 14, 23, 59, 59, tzinfo=UTC)

    found = CronPattern.parse(text).upcoming(before, len(times))

    assert [f"{time:%H:%M}" for time in found] == times
    assert {time.date() for time in found} == {datetime(2026, 6, 15, tzinfo=UTC).date()}
