"""When something that recurs is due, and what becomes of the times that were missed. Nothing in here knows Redis or a clock.

A *tick* is a time at which an entry is meant to run, in seconds since the epoch, to the millisecond. It is *due* at that time, or
up to ``jitter`` seconds later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import Literal
from zlib import crc32

from aiorq2.cron import CronPattern
from aiorq2.errors import InvalidOption
from aiorq2.timing import Duration, as_utc, seconds

CatchUp = Literal["skip", "last", "all"]
Overlap = Literal["allow", "skip", "queue", "replace"]

GRACE_S = 10
"""How late a tick may be noticed, in seconds, and still count as on time; unless told otherwise."""
MIN_GRACE_S = 1
MIN_INTERVAL_S = 0.1
MAX_HISTORY = 1000
MAX_TICKS = 100
"""How many ticks of an entry one plan runs; what is left comes with the next one, at once."""
MAX_CATCH_UP = 1000
"""How many missed ticks ``catch_up="all"`` runs at the most, the latest ones."""
_MILLISECOND = 0.001


@dataclass(frozen=True, slots=True)
class Policies:
    """What is to happen when things do not go as planned, and when they begin and end.

    Args:
        catch_up: of ticks that were missed, since nothing was running: ``"last"`` makes one run for all that is due,
            ``"skip"`` none, ``"all"`` one for each.
        grace: seconds by which a tick may be late and still not count as missed.
        overlap: while an earlier run has not ended: ``"allow"`` another beside it, ``"skip"`` it, ``"queue"`` it behind, or let
            it ``"replace"`` the earlier one, which is cancelled.
        jitter: each tick is due up to so many seconds later; the same for every process.
        start: no tick before.
        end: no tick after.
        repeat: how many runs in all; None for ever.
        history: how many of the latest runs are remembered.
    """

    catch_up: CatchUp = "last"
    grace: float = GRACE_S
    overlap: Overlap = "allow"
    jitter: float = 0
    start: float | None = None
    end: float | None = None
    repeat: int | None = None
    history: int = 20

    @classmethod
    def checked(
        cls,
        *,
        catch_up: CatchUp = "last",
        grace: Duration = GRACE_S,
        overlap: Overlap = "allow",
        jitter: Duration = 0,
        start: datetime | None = None,
        end: datetime | None = None,
        repeat: int | None = None,
        history: int = 20,
    ) -> Policies:
        """Return the policies with every value checked; a naive ``datetime`` is UTC.

        Raises:
            InvalidOption: one of them cannot be meant; its name is in the message.
        """
        if catch_up not in ("skip", "last", "all"):
            raise InvalidOption(f"catch_up={catch_up!r}: 'last', 'skip' or 'all'")
        if overlap not in ("allow", "skip", "queue", "replace"):
            raise InvalidOption(f"overlap={overlap!r}: 'allow', 'skip', 'queue' or 'replace'")
        from_, to = moment(start, "start"), moment(end, "end")
        if from_ is not None and to is not None and from_ > to:
            raise InvalidOption(f"start={start} lies after end={end}")
        return cls(
            catch_up=catch_up,
            grace=seconds(grace, name="grace", minimum=MIN_GRACE_S),
            overlap=overlap,
            jitter=seconds(jitter, name="jitter"),
            start=from_,
            end=to,
            repeat=None if repeat is None else count(repeat, "repeat"),
            history=count(history, "history", MAX_HISTORY),
        )


def moment(given: object, name: str) -> float | None:
    """Return a ``datetime`` as seconds since the epoch, to the millisecond; None for None.

    Raises:
        InvalidOption: it is something else.
    """
    if given is None:
        return None
    if not isinstance(given, datetime):
        raise InvalidOption(f"{name}: a datetime is needed, not {type(given).__name__}")
    return round(as_utc(given).timestamp(), 3)


def count(given: object, name: str, most: float = inf) -> int:
    """Return a whole number of at least 1.

    Raises:
        InvalidOption: it is none, or larger than ``most``.
    """
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= most:
        upto = "" if most == inf else f" to {most}"
        raise InvalidOption(f"{name}={given!r:.60}: a whole number from 1{upto} is needed")
    return given


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many seconds from ``anchor`` on: counted from there, so that nothing drifts."""

    seconds: float
    anchor: float

    def next(self, after: float) -> float:
        """Return the first tick after a time."""
        step, passed = self._ms(after)
        return self._at(max(passed // step + 1, 0))

    def previous(self, before: float) -> float | None:
        """Return the last tick before a time; None: there is none."""
        step, passed = self._ms(before)
        number = -(-passed // step) - 1
        return None if number < 0 else self._at(number)

    def _ms(self, moment: float) -> tuple[int, int]:
        return round(self.seconds * 1000), round(moment * 1000) - round(self.anchor * 1000)

    def _at(self, number: int) -> float:
        return (round(self.anchor * 1000) + number * round(self.seconds * 1000)) / 1000


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The ticks of one entry: its pattern or interval, between ``start`` and ``end``, each moved by its jitter.

    Args:
        name: the entry's; jitter is drawn from it, so that every process draws the same.
    """

    beat: CronPattern | Interval
    name: str = ""
    jitter: float = 0
    start: float | None = None
    end: float | None = None

    def next(self, after: float) -> float | None:
        """Return the first tick after a time; None: there is none any more."""
        if self.start is not None:
            after = max(after, self.start - _MILLISECOND)
        found = _next(self.beat, after)
        return None if found is None or (self.end is not None and found > self.end) else found

    def previous(self, before: float) -> float | None:
        """Return the last tick before a time; None: there is none."""
        if self.end is not None:
            before = min(before, self.end + _MILLISECOND)
        found = _previous(self.beat, before)
        return None if found is None or (self.start is not None and found < self.start) else found

    def due(self, tick: float) -> float:
        """Return when a tick is due."""
        if not self.jitter:
            return tick
        share = crc32(f"{self.name} {tick:.3f}".encode()) / 2**32
        return round(tick + self.jitter * share, 3)

    def latest(self, now: float, pending: float) -> float:
        """Return the last tick that is due, from ``pending`` on, which is."""
        tick = self.previous(now + _MILLISECOND)
        while tick is not None and tick > pending and self.due(tick) > now:
            tick = self.previous(tick)
        return pending if tick is None else max(tick, pending)

    def from_(self, tick: float | None) -> Iterator[float]:
        """Yield a tick and those after it."""
        while tick is not None:
            yield tick
            tick = self.next(tick)


def _next(beat: CronPattern | Interval, after: float) -> float | None:
    if isinstance(beat, Interval):
        return beat.next(after)
    try:
        found = beat.next(datetime.fromtimestamp(round(after, 3), UTC))
    except (OverflowError, OSError):
        return None
    return None if found is None else found.timestamp()


def _previous(beat: CronPattern | Interval, before: float) -> float | None:
    if isinstance(beat, Interval):
        return beat.previous(before)
    try:
        found = beat.previous(datetime.fromtimestamp(round(before, 3), UTC))
    except (OverflowError, OSError):
        return None
    return None if found is None else found.timestamp()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about an entry that is due."""

    ticks: tuple[float, ...]
    """Those that get a run now, the earliest first."""
    next: float | None
    """The one that is pending then; None: there is none, the entry has ended."""
    has_missed: bool = False
    """Whether ticks get no run that would have got one in time."""


def plan(rhythm: Rhythm, policies: Policies, pending: float, now: float) -> Plan:
    """Return what is to be done at ``now`` about an entry whose tick ``pending`` is due.

    Bounded: at most ``MAX_TICKS`` runs; the rest is pending, and due, after them.
    """
    if now - rhythm.due(pending) <= policies.grace:
        return _each(rhythm, pending, now)
    match policies.catch_up:
        case "all":
            first = _newest(rhythm, pending, now, MAX_CATCH_UP)
            made = _each(rhythm, first, now)
            return Plan(made.ticks, made.next, has_missed=first > pending)
        case "last":
            last = rhythm.latest(now, pending)
            return Plan((last,), rhythm.next(last), has_missed=last > pending)
        case _:
            made = _each(rhythm, _first_in_time(rhythm, pending, now - policies.grace), now)
            return Plan(made.ticks, made.next, has_missed=True)


def _each(rhythm: Rhythm, first: float | None, now: float) -> Plan:
    ticks: list[float] = []
    for tick in rhythm.from_(first):
        if rhythm.due(tick) > now or len(ticks) == MAX_TICKS:
            return Plan(tuple(ticks), tick)
        ticks.append(tick)
    return Plan(tuple(ticks), None)


def _first_in_time(rhythm: Rhythm, pending: float, since: float) -> float | None:
    """Return the first tick after ``pending`` that is due at ``since`` or later."""
    after = max(pending, since - rhythm.jitter - _MILLISECOND)
    return next(
        (tick for tick in rhythm.from_(rhythm.next(after)) if rhythm.due(tick) >= since), None
    )


def _newest(rhythm: Rhythm, pending: float, now: float, most: int) -> float:
    """Return the first of the ``most`` latest ticks that are due."""
    tick = rhythm.latest(now, pending)
    for _ in range(most - 1):
        earlier = rhythm.previous(tick)
        if earlier is None or earlier <= pending:
            return pending
        tick = earlier
    return tick
