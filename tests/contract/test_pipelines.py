"""Pipelines that follow each other on one connection: each gets its own answers, also when the connection goes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from aiorq2.backends.line import Line
from aiorq2.backends.redis import RedisBackend
from tests.contract import stage
from tests.contract.stage import opened
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually

pytestmark = pytest.mark.redis

ConnectionError_ = (ConnectionError, RedisConnectionError)
"""redis-py's is none of Python's."""


def a_line(backend: RedisBackend, timeout: float = 5.0) -> Line:
    return Line(backend.connection, timeout)


async def echo(line: Line, text: str, count: int = 1) -> list[bytes]:
    replies: list[bytes] = await line.run([["ECHO", text]] * count)
    return replies


async def test_next_is_sent_before_the_last_is_answered(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Five of them do not take five round trips; none is answered with another's."""
    line = a_line(shaky)
    await echo(line, "first")
    chaos_proxy.delay(0.2)
    before = chaos_proxy.traffic
    sending = [asyncio.create_task(echo(line, f"{n}", 3)) for n in range(5)]

    assert await asyncio.gather(*sending) == [[f"{n}".encode()] * 3 for n in range(5)]
    sent = chaos_proxy.traffic - before
    assert sent.commands == 15
    assert sent.connections == 0
    assert sent.round_trips <= 2
    await line.close()


async def test_reset_costs_all_that_are_under_way_their_answers(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Each of them is told that the connection was lost; the next one connects anew."""
    line = a_line(shaky)
    await echo(line, "first")
    chaos_proxy.delay(0.5)
    sending = [asyncio.create_task(echo(line, f"{n}")) for n in range(5)]
    await asyncio.sleep(0.05)

    chaos_proxy.reset_all()
    ends = await asyncio.gather(*sending, return_exceptions=True)

    assert all(isinstance(end, ConnectionError_) for end in ends)
    chaos_proxy.heal()
    assert await echo(line, "again") == [b"again"]
    await line.close()


async def test_one_new_connection_is_enough_for_all(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Each of those whose answers are lost asks again at once; who hears of the loss late does not cost the others theirs."""
    line = a_line(shaky)
    await echo(line, "first")
    chaos_proxy.delay(0.5)

    async def ask_twice(n: int) -> list[bytes]:
        with pytest.raises(ConnectionError_):
            await echo(line, f"{n}")
        return await echo(line, f"{n} again")

    asking = [asyncio.create_task(ask_twice(n)) for n in range(5)]
    await asyncio.sleep(0.05)
    before = chaos_proxy.traffic
    chaos_proxy.heal()
    chaos_proxy.reset_all()

    assert await asyncio.gather(*asking) == [[f"{n} again".encode()] for n in range(5)]
    assert (chaos_proxy.traffic - before).connections == 1
    await line.close()


@pytest.mark.parametrize("which", [0, 2])
async def test_cancelled_pipeline_leaves_no_answer_for_another(
    shaky: RedisBackend, chaos_proxy: ChaosProxy, which: int
) -> None:
    """Its connection goes, and with it the answers of the others: they are told, and can ask again."""
    line = a_line(shaky)
    await echo(line, "first")
    chaos_proxy.delay(0.2)
    sending = [asyncio.create_task(echo(line, f"{n}")) for n in range(4)]
    await asyncio.sleep(0.02)

    sending[which].cancel()
    ends = await asyncio.gather(*sending, return_exceptions=True)
    chaos_proxy.heal()

    for n, end in enumerate(ends):
        assert end == [f"{n}".encode()] or isinstance(end, Exception | asyncio.CancelledError)
    assert isinstance(ends[which], asyncio.CancelledError)
    assert await echo(line, "again") == [b"again"]
    await line.close()


async def test_silence_is_noticed_once_for_all(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Who waits behind a pipeline that is not answered does not wait for as long again."""
    timeout = 2.5
    line = a_line(shaky, timeout)
    await echo(line, "first")
    chaos_proxy.stall()
    loop = asyncio.get_running_loop()
    started = loop.time()

    ends = await asyncio.gather(*[echo(line, f"{n}") for n in range(4)], return_exceptions=True)

    assert all(isinstance(end, Exception) for end in ends)
    assert loop.time() - started < 2 * timeout
    chaos_proxy.resume()
    assert await echo(line, "again") == [b"again"]
    await line.close()


async def test_answers_are_nobody_elses_while_everything_goes_wrong(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Pipelines are cancelled and connections reset at random: what is answered is one's own."""
    line = a_line(shaky, timeout=0.5)
    dice = random.Random(1)
    answered, broken = 0, 0

    async def ask(n: int, patience: Sequence[float]) -> None:
        nonlocal answered, broken
        text, count = f"{n}-" + "x" * dice.choice([1, 1, 20_000]), dice.randint(1, 4)
        try:
            async with asyncio.timeout(dice.choice(patience)):
                replies = await echo(line, text, count)
        except Exception:  # noqa: BLE001  the connection goes in many ways
            broken += 1
        else:
            assert replies == [text.encode()] * count
            answered += 1

    chaos_proxy.delay(0.004, jitter=0.01)
    for start in range(0, 600, 6):
        if dice.random() < 0.1:
            chaos_proxy.reset_all()
        # Every third time nobody is in a hurry: those are answered, however slow the machine is.
        patience = [5.0] if start % 18 == 0 else [0.01, 0.03, 5.0]
        await asyncio.gather(*[ask(start + n, patience) for n in range(6)])
    chaos_proxy.heal()

    assert answered > 50
    assert broken > 50
    assert await echo(line, "again") == [b"again"]
    await line.close()


async def test_crowd_gets_what_is_its_own_while_connections_are_reset(
    shaky: RedisBackend, chaos_proxy: ChaosProxy, key_prefix: str
) -> None:
    """64 callers add jobs, one after the other; every job is there once, in the order of its caller."""
    callers, rounds = 64, 12
    added, is_over = 0, False

    async def reset_now_and_then() -> None:
        before = 0
        while not is_over:
            await asyncio.sleep(0.02)
            if added > before:  # a machine that needs longer for an add than this gets on as well
                before = added
                chaos_proxy.reset_all()

    async def add(backend: RedisBackend, caller: int) -> None:
        nonlocal added
        for n in range(rounds):
            assert await stage.add(backend, f"{caller}-{n}") == [f"{caller}-{n}"]
            added += 1

    async with opened(chaos_proxy.url, key_prefix=key_prefix, retry_for=60) as backend:
        chaos_proxy.delay(0.003)
        resetting = asyncio.create_task(reset_now_and_then())
        await asyncio.gather(*[add(backend, caller) for caller in range(callers)])
        is_over = True
        await resetting
        chaos_proxy.heal()
    await eventually(lambda: shaky.run(["PING"]))

    queued = await stage.queued(shaky)
    assert sorted(queued) == sorted(f"{c}-{n}" for c in range(callers) for n in range(rounds))
    for caller in range(callers):
        own = [one for one in queued if one.startswith(f"{caller}-")]
        assert own == [f"{caller}-{n}" for n in range(rounds)]
