"""When something recurs, and what becomes of ticks that were missed: pure arithmetic, tried without Redis and without waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiorq2.cron import CronPattern
from aiorq2.errors import InvalidOption, TimeoutFormatError
from aiorq2.rhythm import MAX_CATCH_UP, MAX_TICKS, Interval, Plan, Policies, Rhythm, plan

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC).timestamp()
HOURLY = Rhythm(CronPattern.parse("0 * * * *"), "hourly")
SECONDLY = Rhythm(CronPattern.parse("* * * * * *"), "secondly")
HOUR = 3600


# -- ticks -----------------------------------------------------------------------------------------------------------------


def test_interval_is_counted_from_its_anchor() -> None:
    """Whenever one asks, the ticks are the same: nothing drifts, and none is before the anchor."""
    every = Interval(0.1, NOON)

    assert every.next(NOON - 1000) == NOON
    assert every.next(NOON) == NOON + 0.1
    assert every.next(NOON + 0.1) == NOON + 0.2
    assert every.next(NOON + 0.25) == NOON + 0.3
    assert every.next(NOON + 1e8) == NOON + 1e8 + 0.1
    assert every.previous(NOON + 0.1) == NOON
    assert every.previous(NOON + 0.05) == NOON
    assert every.previous(NOON) is None


@settings(deadline=None)
@given(
    step=st.integers(100, 10**9),
    anchor=st.integers(0, 4 * 10**12),
    at=st.integers(0, 4 * 10**12),
)
def test_interval_next_and_previous_are_neighbours(step: int, anchor: int, at: int) -> None:
    """``next`` is the first tick after, ``previous`` the last before, to the millisecond."""
    every = Interval(step / 1000, anchor / 1000)

    following = every.next(at / 1000)
    assert following > at / 1000
    assert (round(following * 1000) - anchor) % step == 0
    before = every.previous(following)
    assert (before is None) == (round(following * 1000) == anchor)
    if before is not None:
        assert before <= at / 1000
        assert every.next(before) == following


def test_start_and_end_are_ticks_themselves() -> None:
    """A tick on the very moment counts, at both ends."""
    bounded = Rhythm(CronPattern.parse("0 * * * *"), start=NOON, end=NOON + 2 * HOUR)

    assert bounded.next(0) == NOON
    assert list(bounded.from_(NOON)) == [NOON, NOON + HOUR, NOON + 2 * HOUR]
    assert bounded.next(NOON + 2 * HOUR) is None
    assert bounded.previous(NOON + 1e9) == NOON + 2 * HOUR
    assert bounded.previous(NOON) is None


def test_jitter_is_the_same_for_everybody() -> None:
    """Drawn from the name and the tick: between none of it and all of it, and not the same for each tick."""
    shaken = Rhythm(CronPattern.parse("0 * * * *"), "x", jitter=60)
    ticks = [NOON + n * HOUR for n in range(50)]
    delays = [shaken.due(tick) - tick for tick in ticks]

    assert delays == [Rhythm(shaken.beat, "x", jitter=60).due(tick) - tick for tick in ticks]
    assert all(0 <= delay <= 60 for delay in delays)
    assert max(delays) - min(delays) > 30
    assert Rhythm(shaken.beat, "y", jitter=60).due(NOON) != shaken.due(NOON)
    assert HOURLY.due(NOON) == NOON


def test_pattern_that_runs_out_of_years_ends() -> None:
    """There is no next tick then."""
    last = Rhythm(CronPattern.parse("0 0 12 1 1 ? 2027"))

    tick = last.next(NOON)
    assert tick == datetime(2027, 1, 1, 12, tzinfo=UTC).timestamp()
    assert last.next(tick) is None


# -- plans -----------------------------------------------------------------------------------------------------------------


def policies(**options: Any) -> Policies:
    """Return policies."""
    return Policies.checked(**options)


@pytest.mark.parametrize("catch_up", ["last", "skip", "all"])
@pytest.mark.parametrize("late", [0, 0.02, 10])
def test_tick_within_its_grace_runs(catch_up: Any, late: float) -> None:
    """Whatever is to be done about missed ones."""
    assert plan(HOURLY, policies(catch_up=catch_up), NOON, NOON + late) == Plan(
        (NOON,), NOON + HOUR
    )


@pytest.mark.parametrize("catch_up", ["last", "skip", "all"])
def test_several_ticks_within_their_grace_run_each(catch_up: Any) -> None:
    """Those of every second are not lost when another process takes over a few seconds later."""
    made = plan(SECONDLY, policies(catch_up=catch_up), NOON, NOON + 3.5)

    assert made == Plan((NOON, NOON + 1, NOON + 2, NOON + 3), NOON + 4)


def test_last_makes_one_run_for_all_that_is_due() -> None:
    """Also where some of it is within its grace: after a pause there is one run, not a flood."""
    assert plan(HOURLY, policies(), NOON, NOON + 3 * HOUR + 60) == Plan(
        (NOON + 3 * HOUR,), NOON + 4 * HOUR, has_missed=True
    )
    assert plan(SECONDLY, policies(), NOON, NOON + 3600.5) == Plan(
        (NOON + 3600,), NOON + 3601, has_missed=True
    )
    assert plan(HOURLY, policies(), NOON, NOON + 60) == Plan((NOON,), NOON + HOUR)


def test_skip_makes_no_run_for_what_was_missed() -> None:
    """What is within its grace is not."""
    skip = policies(catch_up="skip")

    assert plan(HOURLY, skip, NOON, NOON + 3 * HOUR + 60) == Plan(
        (), NOON + 4 * HOUR, has_missed=True
    )
    assert plan(HOURLY, skip, NOON, NOON + 3 * HOUR + 5) == Plan(
        (NOON + 3 * HOUR,), NOON + 4 * HOUR, has_missed=True
    )
    assert plan(SECONDLY, policies(catch_up="skip", grace=2), NOON, NOON + 3600.5) == Plan(
        (NOON + 3599, NOON + 3600), NOON + 3601, has_missed=True
    )


def test_all_makes_each_run_in_bounded_portions() -> None:
    """Of an hour of seconds, the latest thousand, fifty at a time."""
    every = policies(catch_up="all")
    assert plan(HOURLY, every, NOON, NOON + 3 * HOUR + 60) == Plan(
        tuple(NOON + n * HOUR for n in range(4)), NOON + 4 * HOUR
    )

    now, pending = NOON + 3600.5, NOON
    ticks: list[float] = []
    first = plan(SECONDLY, every, pending, now)
    assert first.has_missed
    while pending is not None and pending <= now:
        made = plan(SECONDLY, every, pending, now)
        assert len(made.ticks) <= MAX_TICKS["allow"]
        ticks += made.ticks
        assert made.next is not None
        pending = made.next

    assert ticks == [NOON + 3600 - n for n in range(MAX_CATCH_UP - 1, -1, -1)]
    assert pending == NOON + 3601


@pytest.mark.parametrize("catch_up", ["last", "skip", "all"])
def test_end_ends_also_what_was_missed(catch_up: Any) -> None:
    """No tick after it is made up for, and nothing is pending then."""
    ended = Rhythm(CronPattern.parse("0 * * * *"), end=NOON + HOUR)
    made = plan(ended, policies(catch_up=catch_up), NOON, NOON + 5 * HOUR)

    assert made.next is None
    assert (
        made.ticks
        == {
            "last": (NOON + HOUR,),
            "skip": (),
            "all": (NOON, NOON + HOUR),
        }[catch_up]
    )


@settings(deadline=None, max_examples=25)
@given(
    text=st.sampled_from(["*/7 * * * * *", "0 */5 * * * *", "30 1 * * *", "0 9-17 * * MON-FRI"]),
    jitter=st.sampled_from([0, 0, 3, 90]),
    catch_up=st.sampled_from(["last", "skip", "all"]),
    asleep=st.lists(st.floats(0.01, 4000), min_size=1, max_size=5),
)
def test_plans_run_ticks_in_order_once_and_on_time(
    text: str, jitter: float, catch_up: Any, asleep: list[float]
) -> None:
    """However long nobody looks: no tick runs twice or before it is due, none within its grace is left out, and time goes on."""
    rhythm = Rhythm(CronPattern.parse(text), "x", jitter)
    own = policies(catch_up=catch_up, jitter=jitter)
    now = NOON
    pending = rhythm.next(NOON)
    assert pending is not None
    done: list[float] = []
    for pause in asleep:
        now = round(now + pause, 3)
        while rhythm.due(pending) <= now:
            made = plan(rhythm, own, pending, now)
            assert all(rhythm.due(tick) <= now for tick in made.ticks)
            assert made.next is not None
            assert made.next > pending
            in_time = [
                t for t in _between(rhythm, pending, made.next) if now - rhythm.due(t) <= own.grace
            ]
            if not made.has_missed or catch_up == "skip":
                assert set(in_time) <= set(made.ticks)
            done += made.ticks
            pending = made.next
    assert done == sorted(set(done))


def _between(rhythm: Rhythm, first: float, end: float) -> list[float]:
    found: list[float] = []
    for tick in rhythm.from_(first):
        if tick >= end:
            return found
        found.append(tick)
    return found


# -- options ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"catch_up": "some"}, "catch_up='some'"),
        ({"overlap": "never"}, "overlap='never'"),
        ({"grace": 0}, "grace: 0 is out of range"),
        ({"grace": float("nan")}, "grace: nan"),
        ({"jitter": -1}, "jitter: -1"),
        ({"repeat": 0}, "repeat=0: a whole number from 1"),
        ({"repeat": True}, "repeat=True"),
        ({"repeat": 1.5}, "repeat=1.5"),
        ({"history": 0}, "history=0: a whole number from 1 to 1000"),
        ({"history": 1001}, "history=1001"),
        ({"start": "tomorrow"}, "start: a datetime is needed, not str"),
        ({"end": 5}, "end: a datetime is needed, not int"),
        (
            {"start": datetime(2024, 5, 2), "end": datetime(2024, 5, 1)},  # noqa: DTZ001  naive is UTC
            "lies after end",
        ),
    ],
)
def test_policies_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    """The option is named."""
    with pytest.raises(InvalidOption, match=message):
        policies(**options)


def test_policies_take_durations_and_dates() -> None:
    """Text and ``timedelta`` as everywhere, naive dates in UTC."""
    own = policies(
        grace="1m",
        jitter=timedelta(seconds=5),
        start=datetime(2024, 5, 1, 12),  # noqa: DTZ001
        repeat=3,
    )

    assert (own.grace, own.jitter, own.start, own.repeat) == (60, 5, NOON, 3)
    with pytest.raises(TimeoutFormatError):
        policies(grace="soon")
