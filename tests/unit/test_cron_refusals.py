"""Cron patterns that cannot be meant, or could be meant in two ways: refused at once, with the field, the part and a way out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from aiorq2.cron import CronPattern, Dialect
from aiorq2.errors import AiorqError, InvalidCronPattern, InvalidOption

# pattern | dialect | what the refusal says
REFUSALS = """
0 12 * * * 2027        | auto         | six fields, so '2027' is not a year; write seven, seconds first: '0 0 12 * * * 2027'
0 12 * * * 2027-2029   | crontab      | '2027-2029' is not a year
0 12 * * * 2027        | seconds-last | '2027' is not a year
0 0 31 2 *             | auto         | month '2' has no day 31
0 0 30,31 FEB *        | auto         | month 'FEB' has no day 30
0 0 31 4,6,9,11 *      | auto         | month '4,6,9,11' has no day 31
0 0 31,L 2 *           | auto         | month '2' has no day 31
0 0 31 2 MON           | auto         | month '2' has no day 31
0 0 0 29 2 ? 2027      | auto         | can never fire: day '29', month '2', weekday '?' and year '2027' never come together
0 0 0 ? 2 MON#5 2027   | auto         | never come together
R R * * *              | auto         | minute 'R' is a random value
R(0-9) * * * *         | auto         | which is a random value
@reboot                | auto         | '@reboot' has no meaning here
@every 5m              | auto         | is an interval, not a pattern; schedule it with interval=
@dayly                 | auto         | did you mean @daily?
@                      | auto         | '@', which is not a name; the names are @yearly, @annually, @monthly
@daily 5               | auto         | has more after '@daily'
* * * *                | auto         | has 4 fields; five are needed (minute, hour, day, month, weekday)
* * * * * * * *        | auto         | has 8 fields
*                      | auto         | has 1 field;
60 * * * *             | auto         | minute '60' is not within 0 to 59; for example '0,30' or '*/15'
* 24 * * *             | auto         | hour '24' is not within 0 to 23; for example '12' or '9-17'
* * 0 * *              | auto         | day '0' is not within 1 to 31
* * 32 * *             | auto         | day '32' is not within 1 to 31
* * * 0 *              | auto         | month '0' is not within 1 to 12
* * * 13 *             | auto         | month '13' is not within 1 to 12; for example 'JAN' or '6-8'
0 12 * * 8             | auto         | weekday '8' is not within 0 to 7; for example 'MON-FRI', 'FRI#3' or 'FRIL'
60 0 0 * * *           | auto         | second '60' is not within 0 to 59
0 0 0 * * * 1969       | auto         | year '1969' is not within 1970 to 2099
0 0 0 * * * 2100       | auto         | year '2100' is not within 1970 to 2099
0 0 0 * * * 2029-2027  | auto         | year '2029-2027' is a range that ends before it begins
99999999999999 * * * * | auto         | minute '99999999999999' is not within 0 to 59
*/0 * * * *            | auto         | minute '*/0' needs a step of 1 or more
*/ * * * *             | auto         | minute '*/' needs a step of 1 or more
5/x * * * *            | auto         | minute '5/x' needs a step of 1 or more
*/5/5 * * * *          | auto         | minute '*/5/5' needs a step of 1 or more
*/-5 * * * *           | auto         | minute '*/-5' needs a step of 1 or more
*/90 * * * *           | auto         | minute '*/90' has a step longer than the field (0 to 59)
0 */36 * * *           | auto         | hour '*/36' has a step longer than the field (0 to 23)
? * * * *              | auto         | minute '?' is for the day and the weekday only; write '*'
0 0 1 ? *              | auto         | month '?' is for the day and the weekday only
0 0 ?,1 * *            | auto         | day '?' must stand alone
0 0 ?/2 * *            | auto         | day '?/2' has '?', which must stand alone
0 0 12 LW * ?          | auto         | day 'LW' is not supported
0 0 12 WL * ?          | quartz       | day 'WL' is not supported
0 0 12 L-3 * ?         | auto         | day 'L-3' is not supported
0 0 12 0W * ?          | auto         | day '0W' is not within 1 to 31
0 0 12 32W * ?         | auto         | day '32W' is not within 1 to 31
0 0 12 1-5W * ?        | auto         | day '1-5W' has '5W', which is not a number from 1 to 31
0 0 12 W * ?           | auto         | day 'W' is not a number from 1 to 31
L * * * *              | auto         | minute 'L' is not a number from 0 to 59
0 0 * 5L *             | auto         | month '5L' is not a number from 1 to 12 or one of JAN … DEC
0 0 * * L              | auto         | weekday 'L' needs to know which weekday; write FRIL
0 0 * * FRI#0          | auto         | weekday 'FRI#0' needs 1 to 5 after '#'
0 0 * * FRI#6          | auto         | weekday 'FRI#6' needs 1 to 5 after '#'
0 0 * * FRI#           | auto         | weekday 'FRI#' needs 1 to 5 after '#'
0 0 * * #3             | auto         | weekday '#3' lacks a number
0 0 * * *#3            | auto         | weekday '*#3' has '*', which is not a number from 0 to 6 or one of SUN … SAT
0 0 * * MON-FRI#2      | auto         | weekday 'MON-FRI#2' has 'MON-FRI'
0 0 * * 9L             | auto         | weekday '9L' is not within 0 to 7
0 0 * * monday         | auto         | weekday 'monday' is not a name in cron; write MON
0 0 * january *        | auto         | month 'january' is not a name in cron; write JAN
0 0 * * FOO            | auto         | weekday 'FOO' is not a number from 0 to 6 or one of SUN … SAT
0 0 * MON *            | auto         | month 'MON' is not a number from 1 to 12 or one of JAN … DEC
MON * * * *            | auto         | minute 'MON' is not a number from 0 to 59; for example
1,,2 * * * *           | auto         | minute '1,,2' has an empty part
,1 * * * *             | auto         | minute ',1' has an empty part
0, 30 * * * *          | auto         | second '0,' has an empty part; lists are written without blanks
5,* * * * *            | auto         | minute '5,*' lists more beside '*'
-5 * * * *             | auto         | minute '-5' lacks a number; negative ones and open ranges do not exist
5- * * * *             | auto         | minute '5-' lacks a number
/5 * * * *             | auto         | minute '/5' lacks a number
1-5-9 * * * *          | auto         | minute '1-5-9' has '5-9', which is not a number
** * * * *             | auto         | minute '**' is not a number
5-5 * * * *            | auto         | minute '5-5' is a range of one; write that one, or '*' for all
0 0 * * MON-MON        | auto         | weekday 'MON-MON' is a range of one
0 0 * * 7-0            | auto         | weekday '7-0' is a range of one
1.5 * * * *            | auto         | has '.', which means nothing in a pattern
* * * * * echo         | auto         | weekday 'echo' is not a number
CRON_TZ=UTC 0 0 * * *  | auto         | names a time zone; pass timezone= instead
TZ=UTC 0 0 * * *       | auto         | names a time zone; pass timezone= instead
٣ * * * *              | auto         | has '٣', which means nothing in a pattern
²  * * * *             | auto         | has '²', which means nothing in a pattern
*/５ * * * *            | auto         | has '５', which means nothing in a pattern
H * * * *              | auto         | minute 'H' is drawn by the name of the entry, and there is none
0 0 12 ? * 6           | auto         | weekday '6' is ambiguous in a pattern with '?': 1 is Monday in crontab and Sunday in Quartz
0 15 10 ? * 6#3        | auto         | weekday '6#3' is ambiguous in a pattern with '?'
0 15 10 ? * 6L         | auto         | write the name (MON), or pass dialect='quartz' or 'crontab'
0 0 12 ? * MON-5       | auto         | weekday 'MON-5' is ambiguous
0 0 12 ? * 2/2         | auto         | weekday '2/2' is ambiguous
0 12 ? * 1             | auto         | weekday '1' is ambiguous
*/5 * * * * 30         | auto         | weekday '30' is not within 0 to 7 (in six fields the first is the second; pass dialect=
0 0 12 ? * 0           | quartz       | weekday '0' is not within 1 to 7
0 0 12 ? * 8           | quartz       | weekday '8' is not within 1 to 7
0 12 ? * MON           | quartz       | has five fields, and Quartz has seconds first: '0 0 12 ? * MON'
0 0 12 1 * MON         | quartz       | gives both a day and a weekday, which Quartz cannot
* * * * * 60           | seconds-last | second '60' is not within 0 to 59
"""

HASHES = """
H(5) * * * *           | minute 'H(5)' is not a form of H; write H, H(0-29), H/10 or H(0-29)/10
H(30-10) * * * *       | minute 'H(30-10)' needs a range that ends after it begins
H(5-5) * * * *         | minute 'H(5-5)' needs a range that ends after it begins
H(0-60) * * * *        | minute 'H(0-60)' is not within 0 to 59
H/0 * * * *            | minute 'H/0' needs a step of 1 or more
H/61 * * * *           | minute 'H/61' has a step longer than the field
HH * * * *             | minute 'HH' is not a form of H
0 0 0 * * * H          | year 'H' is not a form of H
0 0 ? * H(1-5)         | weekday 'H(1-5)' is ambiguous
"""


def rows(table: str, columns: int) -> list[list[str]]:
    """Return the cells of a table, without the blanks around them."""
    lines = [line.split("|", columns - 1) for line in table.strip().splitlines()]
    return [[cell.strip() for cell in line] for line in lines]


@pytest.mark.parametrize(
    ("text", "dialect", "said"), rows(REFUSALS, 3), ids=[row[0] for row in rows(REFUSALS, 3)]
)
def test_what_cannot_be_meant_is_refused_with_the_reason(
    text: str, dialect: str, said: str
) -> None:
    """The refusal quotes the pattern, names the field and the part, and says what to write."""
    with pytest.raises(InvalidCronPattern) as refusal:
        CronPattern.parse(text, dialect=cast(Dialect, dialect))

    assert said in str(refusal.value)
    assert str(refusal.value).startswith(f"cron pattern {' '.join(text.split())!r}")


@pytest.mark.parametrize(("text", "said"), rows(HASHES, 2), ids=[row[0] for row in rows(HASHES, 2)])
def test_a_hash_that_cannot_be_drawn_is_refused(text: str, said: str) -> None:
    """H has four forms, and stays within its field."""
    with pytest.raises(InvalidCronPattern) as refusal:
        CronPattern.parse(text, name="nightly")

    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cron pattern '' is empty"),
        (" \t\n ", "cron pattern '' is empty"),
        ("\0", r"cron pattern '\x00' has '\x00', which means nothing in a pattern"),
        ("0\x000 * * * *", r"has '\x00', which means nothing in a pattern"),
        ("0\u00a00 * * *", r"has '\xa0', which means nothing in a pattern"),
        ("0 0 * * \ud800", r"has '\ud800', which means nothing in a pattern"),
        ("0\x1f0 * * * *", r"has '\x1f', which means nothing in a pattern"),
        ("* " * 5000, "is longer than 1000 characters"),
        ("1," * 5000 + "1 * * * *", "is longer than 1000 characters"),
        ("@" + "x" * 10_000, "is longer than 1000 characters"),
        ("@" + "x" * 900, "which is not a name"),
        ("9" * 900 + " * * * *", "is not within 0 to 59"),
        ("*/" + "9" * 900 + " * * * *", "has a step longer than the field"),
        (",".join(["1"] * 400) + ",x * * * *", "minute 'x' is not a number"),
    ],
    ids=lambda value: ascii(value[:20]),
)
def test_text_that_is_no_pattern_at_all_is_refused(text: str, said: str) -> None:
    """Nothing, control characters, other scripts and very long texts get a short message too."""
    with pytest.raises(InvalidCronPattern) as refusal:
        CronPattern.parse(text)

    assert said in str(refusal.value)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("value", [None, 5, b"* * * * *", ["* * * * *"], datetime.now(UTC), True])
def test_what_is_not_text_is_refused(value: Any) -> None:
    """A pattern is text; the refusal names the type that was given."""
    with pytest.raises(InvalidCronPattern, match=f"a text is needed, not a {type(value).__name__}"):
        CronPattern.parse(value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dialect": "vixie"}, "dialect: 'vixie' is none of auto, crontab, quartz, seconds-last"),
        ({"dialect": ["auto"]}, "is none of auto, crontab"),
        ({"dialect": None}, "dialect: 'None' is none of auto"),
        ({"timezone": None}, "timezone: a text is needed, not a NoneType"),
        ({"timezone": UTC}, "timezone: a text is needed, not a timezone"),
        ({"name": 5}, "name: a text is needed, not a int"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_meant_is_refused(options: dict[str, Any], said: str) -> None:
    """The other options are checked as well."""
    with pytest.raises(InvalidOption, match=said):
        CronPattern.parse("* * * * *", **options)


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("Europe/Belrin", "did you mean 'Europe/Berlin'?"),
        ("Berlin", "did you mean 'Europe/Berlin'?"),
        ("new york", "did you mean 'America/New_York'?"),
        ("CEST", "is unknown"),
        ("+02:00", "is unknown; give a name of the IANA data base, as 'Europe/Berlin' or 'UTC'"),
        ("", "timezone='' is unknown"),
        ("../../etc/passwd", "is unknown"),
        ("/etc/localtime", "is unknown"),
        ("Europe", "is unknown"),
        ("a\0b", "is unknown"),
        ("é", "is unknown"),
        ("\ud800", "is unknown"),
        ("x" * 10_000, "is unknown"),
        ("right/Europe/Berlin", "is unknown"),
        ("localtime", "is another zone on every machine"),
    ],
    ids=lambda value: ascii(value[:20]),
)
def test_an_unknown_zone_is_refused_and_the_nearest_named(zone: str, said: str) -> None:
    """A misspelt zone is met with the one that was probably meant; nothing outside the data base is read."""
    with pytest.raises(InvalidOption) as refusal:
        CronPattern.parse("* * * * *", timezone=zone)

    assert said in str(refusal.value)
    assert len(str(refusal.value)) < 200


def test_refusal_is_an_option_error_and_a_value_error() -> None:
    """Who catches ValueError, as for rq-scheduler and croniter, catches this as well."""
    assert issubclass(InvalidCronPattern, InvalidOption)
    assert issubclass(InvalidCronPattern, ValueError)
    assert issubclass(InvalidCronPattern, AiorqError)
