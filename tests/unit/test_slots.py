"""How several takers share slots."""

from __future__ import annotations

from dataclasses import dataclass

from aiorq2.slots import Slots


@dataclass(eq=False)
class Taker:
    """One that has some slots, and may want more."""

    taken: int = 0
    is_hungry: bool = False
    stirred: int = 0

    def stir(self) -> None:
        """Count how often it was told."""
        self.stirred += 1


def _slots(count: int, *takers: Taker) -> Slots:
    slots = Slots(count, 1)
    for taker in takers:
        slots.join(taker)
    return slots


def test_one_taker_may_have_all() -> None:
    """Alone, it gets what is free, and never less than nothing."""
    taker = Taker(taken=3)
    slots = _slots(10, taker)

    assert slots.free_for(taker) == 7
    taker.taken = 12
    assert slots.free_for(taker) == 0


def test_who_alone_has_jobs_gets_all_but_one_for_each_of_the_others() -> None:
    """Those keep a slot, with which they listen."""
    busy, idle, other = Taker(taken=4, is_hungry=True), Taker(), Taker(taken=1)
    slots = _slots(10, busy, idle, other)

    assert slots.free_for(busy) == 4
    assert slots.free_for(idle) == 5


def test_who_has_more_than_its_share_waits_when_others_have_jobs() -> None:
    """What gets free goes to those who have less."""
    greedy, late = Taker(taken=9, is_hungry=True), Taker(taken=1, is_hungry=True)
    slots = _slots(10, greedy, late)
    assert slots.free_for(greedy) == slots.free_for(late) == 0

    greedy.taken = 7

    assert slots.free_for(greedy) == 0
    assert slots.free_for(late) == 2


def test_hungry_ones_are_told_when_slots_may_be_free() -> None:
    """The others have nothing to take them for."""
    first, hungry, full = Taker(), Taker(is_hungry=True), Taker()
    slots = _slots(3, first, hungry, full)

    slots.stir_others(first)
    assert (first.stirred, hungry.stirred, full.stirred) == (0, 1, 0)
    slots.leave(first)
    assert hungry.stirred == 2
