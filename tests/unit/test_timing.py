"""Durations, points in time and back-off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rq.utils import parse_timeout, utcformat, utcparse

from aiorq2.errors import DeserializationError, InvalidOption, TimeoutFormatError
from aiorq2.timing import (
    MAX_SECONDS,
    as_utc,
    backoff,
    from_iso,
    retry_delay,
    returned_interval,
    rq_interval,
    seconds,
    to_iso,
    utc_now,
)

quick = settings(max_examples=30, deadline=None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (90, 90),
        (0.25, 0.25),
        ("10", 10),
        ("1.5", 1.5),
        ("1h", 3600),
        ("2D", 172800),
        ("1h30m", 5400),
        ("1d 2h 3m 4s 5ms", 93784.005),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("1s250ms", 1.25),
        (timedelta(minutes=1.5), 90),
        (timedelta(milliseconds=5), 0.005),
    ],
)
def test_seconds_reads_every_documented_form(
    given: float | timedelta | str, expected: float
) -> None:
    """Numbers, timedeltas, RQ's texts and compound texts all mean seconds."""
    assert seconds(given, name="ttl") == expected


def test_seconds_gives_an_int_for_whole_seconds() -> None:
    """A whole duration is an int, since rq reads its fields with int()."""
    assert type(seconds(90.0, name="ttl")) is int
    assert type(seconds("1.0s", name="ttl")) is int
    assert type(seconds(timedelta(hours=1), name="ttl")) is int


@quick
@given(st.integers(0, 10**6), st.sampled_from(["", "s", "m", "h", "d", "H"]))
def test_seconds_agrees_with_rq_on_rqs_texts(number: int, unit: str) -> None:
    """What RQ can read means the same here."""
    text = f"{number}{unit}"
    expected = parse_timeout(text)
    assert expected is not None

    if expected <= MAX_SECONDS:
        assert seconds(text, name="job_timeout") == expected


@pytest.mark.parametrize(
    "bad",
    [
        True,
        False,
        None,
        float("nan"),
        float("inf"),
        -float("inf"),
        -1,
        -0.5,
        timedelta(seconds=-1),
        10**10 + 1,
        10**20,
        pytest.param(10**5000, id="huge"),
        "",
        " ",
        "h",
        "1x",
        "1m1h",
        "1h1h",
        "1e3",
        "nan",
        "inf",
        "-5",
        "-1s",
        "1,5s",
        "٣s",
        pytest.param("9" * 100, id="long"),
        pytest.param("1" * 10_000 + "s", id="longer"),
        b"10",
        [10],
        object(),
    ],
)
def test_seconds_refuses_what_is_no_duration(bad: object) -> None:
    """Anything else is an error that names the option and shows a right form."""
    with pytest.raises(TimeoutFormatError, match=r"^result_ttl: .*1h30m") as caught:
        seconds(bad, name="result_ttl")  # type: ignore[arg-type]

    assert len(str(caught.value)) < 300


def test_seconds_knows_rqs_minus_one_only_where_it_is_legal() -> None:
    """-1 means no limit for the options that allow it, and nothing for the others."""
    assert seconds(-1, name="result_ttl", infinite=True) == -1
    assert seconds("-1", name="result_ttl", infinite=True) == -1
    with pytest.raises(TimeoutFormatError):
        seconds(-2, name="result_ttl", infinite=True)
    with pytest.raises(TimeoutFormatError):
        seconds(-1, name="ttl")


def test_seconds_checks_the_minimum() -> None:
    """A timeout of 0 is refused, a result_ttl of 0 is not."""
    assert seconds(0, name="result_ttl", minimum=0) == 0
    with pytest.raises(TimeoutFormatError, match=r"job_timeout: 0 is out of range; give 0\.001"):
        seconds(0, name="job_timeout", minimum=0.001, infinite=True)


def test_utc_now_is_aware() -> None:
    """The present comes with its zone."""
    assert utc_now().utcoffset() == timedelta(0)


def test_naive_datetime_is_utc() -> None:
    """A datetime without zone means UTC and not the machine's zone."""
    assert as_utc(datetime(2024, 5, 1, 12)) == datetime(2024, 5, 1, 12, tzinfo=UTC)  # noqa: DTZ001
    assert to_iso(datetime(2024, 5, 1, 12)) == "2024-05-01T12:00:00.000000Z"  # noqa: DTZ001


def test_aware_datetime_is_converted() -> None:
    """A datetime of another zone keeps its instant."""
    berlin = datetime(2024, 5, 1, 14, tzinfo=ZoneInfo("Europe/Berlin"))

    assert as_utc(berlin).isoformat() == "2024-05-01T12:00:00+00:00"


@pytest.mark.parametrize(
    "impossible",
    [datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))), float("nan"), 1e300, 1e15],
)
def test_to_iso_refuses_what_no_calendar_holds(impossible: datetime | float) -> None:
    """A time beyond the calendar is a typed error."""
    with pytest.raises(InvalidOption):
        to_iso(impossible)


@quick
@given(st.datetimes(timezones=st.just(UTC)))
def test_iso_text_is_rqs_and_comes_back(moment: datetime) -> None:
    """What we write is what RQ writes, RQ reads it, and so do we."""
    text = to_iso(moment)

    assert len(text) == 27
    assert from_iso(text) == moment
    assert from_iso(text.encode()) == moment
    assert utcparse(text) == moment
    if moment.year >= 1000:  # strftime does not pad the year
        assert utcformat(moment) == text


@quick
@given(st.integers(-62_000_000_000, 60_000_000_000), st.integers(0, 999_999))
def test_epoch_and_datetime_give_the_same_text(second: int, microsecond: int) -> None:
    """A time given in seconds since the epoch is written like the datetime, to the precision of a float."""
    moment = from_iso(to_iso(second + microsecond / 1e6))

    assert moment is not None
    exact = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second, microseconds=microsecond)
    assert abs(moment - exact) <= timedelta(microseconds=20)


@pytest.mark.parametrize("empty", [None, "", b""])
def test_from_iso_of_nothing_is_none(empty: str | bytes | None) -> None:
    """RQ writes an empty text for a time that was not reached."""
    assert from_iso(empty) is None


def test_from_iso_takes_a_time_without_fraction() -> None:
    """Old RQ wrote no fraction."""
    assert from_iso(b"2024-05-01T12:00:00Z") == datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "junk",
    [
        "yesterday",
        b"\xff\xfe",
        "2024-13-01T00:00:00Z",
        "9999-12-31T23:59:59-05:00",
        pytest.param("x" * 10**5, id="long"),
    ],
)
def test_from_iso_refuses_junk(junk: str | bytes) -> None:
    """A text that is no time is a typed and short error."""
    with pytest.raises(DeserializationError) as caught:
        from_iso(junk)

    assert len(str(caught.value)) < 120


@quick
@given(st.integers(-5, 10**6), st.floats(0, 100), st.floats(0, 1))
def test_backoff_stays_between_nothing_and_the_cap(
    attempt: int, base: float, jitter: float
) -> None:
    """However many attempts there were, a delay is finite, not negative and not above the cap."""
    assert 0 <= backoff(attempt, base=base, cap=30, jitter=jitter) <= 30


def test_backoff_doubles_until_the_cap() -> None:
    """Without jitter the delays are exactly exponential."""
    delays = [backoff(n, base=0.5, cap=5, jitter=0) for n in range(1, 7)]

    assert delays == [0.5, 1, 2, 4, 5, 5]


def test_backoff_jitter_spreads_the_delays() -> None:
    """Full jitter draws from the whole range, a fifth of jitter from the upper fifth."""
    full = [backoff(1, base=10, cap=100) for _ in range(200)]
    some = [backoff(1, base=10, cap=100, jitter=0.2) for _ in range(200)]

    assert min(full) < 3 < 7 < max(full)
    assert all(8 <= delay <= 10 for delay in some)


def test_retry_delay_grows_from_the_interval() -> None:
    """The n-th retry waits interval * growth ** (n - 1) seconds, up to max_interval."""
    assert [retry_delay(10, n, growth=3, max_interval=200) for n in (1, 2, 3, 4)] == [
        10,
        30,
        90,
        200,
    ]
    assert [retry_delay(7, n) for n in (1, 2, 50)] == [7, 7, 7]
    assert retry_delay(0, 3, growth=2) == 0
    assert retry_delay(1, 10**6, growth=1e6) == MAX_SECONDS


def test_rq_interval_counts_the_list_from_its_end() -> None:
    """As in RQ: a list as long as max is used in order, a shorter one repeats its first, a longer one skips its first."""
    assert [rq_interval([1, 2, 3], left) for left in (3, 2, 1)] == [1, 2, 3]
    assert [rq_interval([1, 2], left) for left in (4, 3, 2, 1)] == [1, 1, 1, 2]
    assert [rq_interval([1, 2, 3], left) for left in (2, 1)] == [2, 3]
    assert rq_interval([], 3) == 0
    assert rq_interval([5], 0) == 5


def test_returned_interval_counts_the_list_from_its_start() -> None:
    """As in RQ: the last interval repeats."""
    assert [returned_interval([1, 2], done) for done in (0, 1, 2, 9)] == [1, 2, 2, 2]
    assert returned_interval([], 0) == 0
