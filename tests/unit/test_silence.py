"""A limit for waits, many of which share a timer: it ends them as ``asyncio.timeout`` does."""

from __future__ import annotations

import asyncio

import pytest

from aiorq2.backends.silence import Silence


async def test_wait_that_takes_too_long_ends() -> None:
    """With ``TimeoutError``; the task goes on as if nothing had been cancelled."""
    silence = Silence()

    with pytest.raises(TimeoutError), silence.bearable(0.01):
        await asyncio.sleep(10)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_short_waits_share_a_timer_and_none_inherits_a_limit() -> None:
    """A wait that is on when the timer of an earlier one looks goes on for its own time."""
    silence = Silence()
    with silence.bearable(60):
        timer = silence._timer

    with silence.bearable(120):
        assert silence._timer is timer
        silence._look()
        await asyncio.sleep(0)

    silence.close()


async def test_shorter_wait_after_a_longer_one_ends_in_time() -> None:
    """The timer that is there would look too late."""
    silence = Silence()
    with silence.bearable(60):
        pass

    with pytest.raises(TimeoutError), silence.bearable(0.01):
        await asyncio.sleep(60)

    silence.close()


async def test_sign_of_life_prolongs_the_wait_and_can_shorten_it() -> None:
    """What counts is the time since something was heard."""
    silence = Silence()
    with silence.bearable(0.05):
        silence.heard(60)
        await asyncio.sleep(0.1)

    async def wait() -> None:
        silence.heard(0.01)
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError), silence.bearable(60):
        await wait()

    silence.heard(1)
    silence.close()


async def test_cancellation_from_outside_is_one() -> None:
    """It does not turn into a timeout, not even where both come."""
    silence = Silence()

    async def wait() -> None:
        with silence.bearable(0.01):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                waiting.cancel()  # as the time was over
                raise

    waiting = asyncio.create_task(wait())

    with pytest.raises(asyncio.CancelledError):
        await waiting
