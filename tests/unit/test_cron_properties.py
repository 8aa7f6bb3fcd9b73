"""Cron patterns drawn at random, against the slow way of looking at every minute, and against croniter."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiorq2.cron import CronPattern
from aiorq2.errors import InvalidCronPattern
from tests.unit.cron_walker import Drawn, a_pattern, walk_instants, walk_minutes

many = settings(max_examples=80, deadline=None)
some = settings(max_examples=30, deadline=None)

moments = st.integers(
    int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()),
    int(datetime(2090, 1, 1, tzinfo=UTC).timestamp()),
).map(lambda second: datetime.fromtimestamp(second, UTC))

CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 2, 18, 2, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2024, 4, 25, 22, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2024, 10, 31, 21, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2026, 3, 29, 1, tzinfo=UTC)),
]


@many
@given(a_pattern(wrapping=True), moments)
def test_next_and_previous_are_what_a_look_at_every_minute_finds(
    drawn: Drawn, moment: datetime
) -> None:
    """Five fields, in UTC: the next and the last minute that match."""
    pattern = CronPattern.parse(drawn.five)

    assert pattern.next(moment) == walk_minutes(drawn, moment)
    assert pattern.previous(moment) == walk_minutes(drawn, moment, back=True)


@many
@given(a_pattern(), moments)
def test_next_and_previous_are_what_croniter_says(drawn: Drawn, moment: datetime) -> None:
    """Five fields, in UTC: croniter, asked with the very same text, agrees."""
    pattern = CronPattern.parse(drawn.five)

    assert pattern.next(moment) == croniter(drawn.five, moment).get_next(datetime)
    assert pattern.previous(moment) == croniter(drawn.five, moment).get_prev(datetime)


@some
@given(a_pattern(seconds=True, any_day=True), moments)
def test_seconds_first_is_what_a_look_at_every_second_finds(drawn: Drawn, moment: datetime) -> None:
    """Six fields: every second of ten minutes, forward and back."""
    start = moment.replace(minute=min(drawn.minutes.values), hour=min(drawn.hours.values))
    end = start + timedelta(minutes=10)
    pattern = CronPattern.parse(drawn.six)
    expected = walk_instants(drawn, UTC, start, end, timedelta(seconds=1))

    assert pattern.between(start, end, 3000) == (expected, False)
    if expected:
        assert pattern.previous(end + timedelta(seconds=1)) == expected[-1]


@many
@given(a_pattern(any_day=True), st.sampled_from(CHANGES), st.integers(-1500, 1500), st.data())
def test_fire_times_around_a_clock_change_are_what_a_look_at_every_minute_finds(
    drawn: Drawn, change: tuple[str, datetime], minutes: int, data: st.DataObject
) -> None:
    """A clock is set forward or back: next, previous, between and upcoming all agree with who looks at the clock."""
    zone, at = change
    start = at + timedelta(minutes=minutes)
    end = start + timedelta(hours=data.draw(st.integers(1, 6)))
    pattern = CronPattern.parse(drawn.five, timezone=zone)
    expected = walk_instants(drawn, ZoneInfo(zone), start, end)

    assert pattern.between(start, end, 10_000) == (expected, False)
    assert pattern.upcoming(start, len(expected)) == expected
    assert _backwards(pattern, start, end) == expected


def _backwards(pattern: CronPattern, start: datetime, end: datetime) -> list[datetime]:
    times: list[datetime] = []
    moment = pattern.previous(end + timedelta(seconds=1))
    while moment is not None and moment > start:
        times.append(moment)
        moment = pattern.previous(moment)
    return times[::-1]


DAYS = ["*", "L", "15W", "1W", "31W", "L,1", "1-7", "*/3", "29", "31"]
WEEKDAYS = ["*", "MON", "MON-FRI", "FRI#3", "MON#5", "FRIL", "SUN#1,SUNL", "TUE,THU#2", "5-7"]

texts = st.builds(
    "{} {} {} {} {}".format,
    st.sampled_from(["0", "*/5", "7,37", "59"]),
    st.sampled_from(["*", "0", "2,3", "*/6", "23"]),
    st.sampled_from(DAYS),
    st.sampled_from(["*", "1", "2", "1,3,5", "MAR-OCT"]),
    st.sampled_from(WEEKDAYS),
).filter(lambda text: text.split()[2:4] != ["31", "2"])


@many
@given(texts, moments, st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]))
def test_next_and_previous_lead_back_to_one_another(text: str, moment: datetime, zone: str) -> None:
    """Between the last and the next fire time nothing fires, and each leads to the other; special days included."""
    moment = moment.replace(minute=moment.minute // 5 * 5, second=0, microsecond=0)
    pattern = CronPattern.parse(text, timezone=zone)

    after, before = pattern.next(moment), pattern.previous(moment)

    assert after is not None
    assert before is not None
    now = pattern.next(moment - timedelta(microseconds=1)) == moment
    assert before < moment < after
    assert pattern.next(before) == (moment if now else after)
    assert pattern.previous(after) == (moment if now else before)
    assert pattern.between(before, after, 2) == ([moment, after] if now else [after], False)


@many
@given(a_pattern(seconds=True), st.randoms(use_true_random=False))
def test_case_and_blanks_do_not_matter(drawn: Drawn, rng: random.Random) -> None:
    """Names in any case, tabs, several blanks and line ends: it is the same pattern."""
    names = {0: "SUN", 1: "MON", 2: "TUE", 3: "WED", 4: "THU", 5: "FRI", 6: "SAT"}
    text = drawn.six.rsplit(" ", 1)[0] + " " + names[min(drawn.weekdays.values)]
    blanks = [rng.choice([" ", "  ", "\t", "\r\n "]) for _ in range(7)]
    words = [rng.choice([str.lower, str.upper, str.title])(word) for word in text.split()]
    odd = "".join(f"{blank}{word}" for blank, word in zip(blanks, words, strict=False)) + blanks[6]

    assert CronPattern.parse(odd).fields == CronPattern.parse(text).fields


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40),
        st.text("0123456789*/,-?LWH#() @ADEFMNORSTU\t", max_size=40),
        st.lists(st.text("0123456789*/,-?LW#", min_size=1, max_size=4), min_size=5, max_size=7).map(
            " ".join
        ),
    )
)
@example("0 0 29 2 *")
def test_any_text_is_refused_or_fires(text: str) -> None:
    """Whatever is passed in is an InvalidCronPattern with the text quoted, or a pattern that has a date to fire on."""
    pattern, refusal = _parsed(text)

    if pattern is None:
        assert refusal.startswith("cron pattern ")
    else:
        assert pattern.next(datetime(1970, 1, 1, tzinfo=UTC)) is not None
        assert pattern.describe()


def _parsed(text: str) -> tuple[CronPattern | None, str]:
    try:
        return CronPattern.parse(text, name="x"), ""
    except InvalidCronPattern as refusal:
        return None, str(refusal)


@settings(max_examples=80, deadline=None)
@given(a_pattern(seconds=True), a_pattern(seconds=True), texts, texts)
def test_patterns_that_differ_have_different_words(
    one: Drawn, other: Drawn, special: str, other_special: str
) -> None:
    """The words hold all that the pattern means: who reads them would write an equal one."""
    patterns = [CronPattern.parse(text) for text in (one.six, other.six, special, other_special)]
    words = {pattern.describe() for pattern in patterns}

    assert len(words) == len({_meaning(pattern) for pattern in patterns})


def _meaning(pattern: CronPattern) -> tuple[object, ...]:
    fields = pattern.fields
    days = (
        ()
        if fields.is_every_day
        else tuple(
            (field.values, field.specials)
            for field in (fields.days, fields.weekdays)
            if not field.is_open
        )
    )
    plain = (fields.seconds, fields.minutes, fields.hours, fields.months, fields.years)
    return (days, *(field.values for field in plain))
