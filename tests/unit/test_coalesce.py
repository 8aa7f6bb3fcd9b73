"""Who shares a pipeline, and how many are in flight: one, or of a crowd that goes on calling, two halves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain

import pytest

from aiorq2.backends.coalesce import CROWD, Coalescer
from aiorq2.errors import BackendUnavailable, InvalidOption


class Road:
    """Takes pipelines and answers each command with itself, in the order in which they came, a moment later.

    Args:
        fails: the numbers of the pipelines that end with an error.
    """

    def __init__(self, *, fails: Sequence[int] = ()) -> None:
        self.sent: list[list[int]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._fails = fails
        self._turn = asyncio.Lock()

    async def send(self, commands: Sequence[int], _: float | None) -> list[int]:
        number = len(self.sent)
        self.sent.append(list(commands))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            async with self._turn:
                await asyncio.sleep(0.002)
            if number in self._fails:
                raise BackendUnavailable("away")
            return list(commands)
        finally:
            self._at_once -= 1


async def go_on_calling(coalescer: Coalescer[int], callers: int, rounds: int) -> None:
    """Call from so many tasks, in each one after the other, and see that each gets what is its own."""

    async def call(first: int) -> None:
        for number in range(first, first + rounds):
            assert await coalescer.call(number) == number

    await asyncio.gather(*[call(caller * rounds) for caller in range(callers)])


async def test_crowd_that_goes_on_calling_shares_two_pipelines() -> None:
    """Who comes first goes alone, then all together; from then on each takes half, and the two are in flight together."""
    road = Road()

    await go_on_calling(Coalescer(road.send, is_split=True), 64, 10)

    assert sorted(chain.from_iterable(road.sent)) == list(range(640))
    assert [len(one) for one in road.sent[:6]] == [1, 64, 32, 32, 32, 32]
    assert road.most_at_once == 2
    assert len(road.sent) < 25


@pytest.mark.parametrize(("callers", "is_split"), [(CROWD - 1, True), (64, False)])
async def test_others_share_one_pipeline(callers: int, is_split: bool) -> None:
    """A few callers, and those whose pipelines are not to be split."""
    road = Road()

    await go_on_calling(Coalescer(road.send, is_split=is_split), callers, 10)

    assert road.most_at_once == 1
    assert [len(one) for one in road.sent] == [1, *[callers] * 9, callers - 1]


async def test_second_pipeline_goes_when_the_first_was_answered() -> None:
    """Before anything was answered, nothing is known of the server: what fails and is sent again keeps its order."""
    road = Road()
    coalescer = Coalescer(road.send, is_split=True)
    first = [asyncio.create_task(coalescer.call(number)) for number in range(3)]
    while len(road.sent) < 2:
        await asyncio.sleep(0)

    await asyncio.gather(*first, *[coalescer.call(number) for number in range(3, 3 + CROWD)])

    assert road.most_at_once == 1
    assert [len(one) for one in road.sent] == [1, 2, CROWD]


async def test_what_is_called_together_is_never_split() -> None:
    """However many commands there are, and whoever calls beside them: the next part goes when the last is answered."""
    road = Road()
    under_way: set[int] = set()

    async def send(commands: Sequence[int], patience: float | None) -> list[int]:
        parts = {number for number in commands if number >= 10_000}
        assert not (parts and under_way)
        assert sorted(parts) == [number for number in commands if number in parts]
        under_way.update(parts)
        try:
            return await road.send(commands, patience)
        finally:
            under_way.difference_update(parts)

    coalescer = Coalescer(send, most=20, is_split=True)
    together = list(range(10_000, 10_205))

    crowd = asyncio.create_task(go_on_calling(coalescer, 64, 10))
    await asyncio.sleep(0.01)
    replies = await coalescer.call_many(together)
    await crowd

    assert replies == together
    assert [one for pipeline in road.sent for one in pipeline if one >= 10_000] == together
    assert road.most_at_once == 2


async def test_error_of_one_pipeline_is_not_the_others() -> None:
    """Those in it hear of it; those in the one beside it, and behind it, do not."""
    road = Road(fails=[2])
    coalescer = Coalescer(road.send, patience=0.0, is_split=True)
    failed: list[int] = []

    async def call(first: int) -> None:
        for number in range(first, first + 6):
            try:
                assert await coalescer.call(number) == number
            except BackendUnavailable:
                failed.append(number)

    await asyncio.gather(*[call(caller * 6) for caller in range(64)])

    assert sorted(failed) == sorted(road.sent[2])
    assert sorted(chain.from_iterable(road.sent)) == list(range(64 * 6))


@pytest.mark.parametrize("error", [InvalidOption, TypeError, UnicodeError])
async def test_command_that_cannot_be_sent_is_its_callers_alone(error: type[Exception]) -> None:
    """Whoever shares a pipeline with it is answered."""
    road = Road()

    async def send(commands: Sequence[int], patience: float | None) -> list[int]:
        if 13 in commands:
            raise error("13 cannot be sent")
        return await road.send(commands, patience)

    coalescer = Coalescer(send, is_split=True)
    told = await asyncio.gather(*[coalescer.call(n) for n in range(40)], return_exceptions=True)

    assert isinstance(told.pop(13), error)
    assert told == [n for n in range(40) if n != 13]


async def test_closing_ends_both_pipelines_and_what_waits() -> None:
    """Every caller is told."""
    road = Road()
    coalescer = Coalescer(road.send, is_split=True)
    await go_on_calling(coalescer, 64, 1)
    calling = [asyncio.create_task(coalescer.call(number)) for number in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert road.most_at_once in (1, 2)

    await coalescer.close()
    ends = await asyncio.gather(*calling, return_exceptions=True)

    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    await go_on_calling(coalescer, 64, 2)  # it can be used again, as a backend that is closed can
