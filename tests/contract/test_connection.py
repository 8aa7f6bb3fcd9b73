"""Redis is away, for a moment or for longer: calls are repeated in silence, or end with an error that names the server."""

from __future__ import annotations

import asyncio
import time

import pytest

from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendRefused, BackendUnavailable
from aiorq2.states import Verb
from tests.contract import stage
from tests.contract.stage import QUEUE, SEAT, TALLY, opened
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.redis


async def test_reset_connection_is_not_noticed(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Connections that were reset between two calls are opened again in silence."""
    for _ in range(3):
        claimed = await stage.start(shaky)
        chaos_proxy.reset_all()
        settled = await stage.settle(shaky, claimed, stage.OUTCOMES[Verb.FINISH])
        assert settled.refused == ()


async def test_call_waits_for_redis_to_come_back(key_prefix: str) -> None:
    """A call that is made while Redis is down succeeds if it comes back in time."""
    with RedisServer() as server:
        async with opened(server.url, key_prefix=key_prefix, retry_for=20) as backend:
            await stage.add(backend)
            server.kill()
            adding = asyncio.create_task(stage.add(backend, "x"))
            await asyncio.sleep(0.2)
            assert not adding.done()

            await asyncio.to_thread(server.restart)

            assert await adding == ["x"]
            assert await stage.queued(backend) == ["x"]


@pytest.mark.parametrize("retry_for", [0.0, 0.5])
async def test_call_gives_up_after_its_time(key_prefix: str, retry_for: float) -> None:
    """After ``retry_for`` seconds the caller gets an error that names host and port, and not the password."""
    with RedisServer() as server:
        port = server.port
    url = f"redis://someone:s3cret@127.0.0.1:{port}/0"
    async with opened(url, key_prefix=key_prefix, retry_for=retry_for) as backend:
        started = time.monotonic()

        with pytest.raises(BackendUnavailable) as raised:
            await stage.add(backend)

    assert time.monotonic() - started < 4  # by default it is repeated for five
    assert f"127.0.0.1:{port}" in str(raised.value)
    assert "s3cret" not in f"{raised.value!r} {raised.value.__cause__!r}"


async def test_silent_redis_counts_as_away(chaos_proxy: ChaosProxy, key_prefix: str) -> None:
    """A peer that takes commands and answers nothing is given up after ``timeout``, and after ``retry_for`` the call is."""
    options = {"retry_for": 3.0, "timeout": 1.0}
    async with opened(chaos_proxy.url, key_prefix=key_prefix, **options) as backend:
        await stage.add(backend)
        chaos_proxy.stall()
        started = time.monotonic()

        with pytest.raises(BackendUnavailable):
            await stage.add(backend)

        assert 1 <= time.monotonic() - started < 6
        chaos_proxy.resume()
        await stage.add(backend)


async def test_caller_behind_others_is_told_in_its_own_time(
    chaos_proxy: ChaosProxy, key_prefix: str
) -> None:
    """Who calls while another call waits for a silent Redis is told when its own time is over, neither later nor much sooner."""
    limit = 4.0
    async with opened(chaos_proxy.url, key_prefix=key_prefix, retry_for=limit) as backend:
        await stage.add(backend)
        chaos_proxy.stall()

        async def ask(after: float) -> float:
            await asyncio.sleep(after)
            started = time.monotonic()
            with pytest.raises(BackendUnavailable):
                await backend.run(["PING"])
            return time.monotonic() - started

        took = await asyncio.gather(*[ask(0.3 * number) for number in range(5)])

        assert min(took) > limit / 2
        assert max(took) < 1.7 * limit  # one that came just after another waited for twice as long
        chaos_proxy.resume()


async def test_silent_redis_does_not_hold_a_wait(chaos_proxy: ChaosProxy, key_prefix: str) -> None:
    """A blocking wait on a connection that has gone silent ends some time after it should have."""
    async with opened(chaos_proxy.url, key_prefix=key_prefix, timeout=2) as backend:
        await backend.wait(SEAT, [QUEUE], 0.05)
        chaos_proxy.stall()
        started = time.monotonic()

        with pytest.raises(BackendUnavailable):
            await backend.wait(SEAT, [QUEUE], 0.05)

        assert time.monotonic() - started < 5
        chaos_proxy.resume()


async def test_large_answer_on_a_slow_line_is_waited_for(
    chaos_proxy: ChaosProxy, key_prefix: str
) -> None:
    """What counts is silence: as long as some of an answer arrives, the peer is there."""
    async with opened(chaos_proxy.url, key_prefix=key_prefix, timeout=0.5) as backend:
        await backend.run(["PING"])
        chaos_proxy.throttle(256 * 1024)
        started = time.monotonic()

        (answer,) = await backend.run(["EVAL", "return string.rep('x', 400000)", 0])

        assert len(answer) == 400_000
        assert time.monotonic() - started > 1
        chaos_proxy.heal()


async def test_heartbeat_does_not_wait_for_redis(key_prefix: str) -> None:
    """A heartbeat that cannot be sent is an error at once, however patient the backend is otherwise."""
    with RedisServer() as server:
        url = server.url
    async with opened(url, key_prefix=key_prefix, retry_for=None) as backend:
        with pytest.raises(BackendUnavailable):
            await backend.extend(SEAT, [], TALLY)


async def test_wait_that_is_cut_off_says_so(shaky: RedisBackend, chaos_proxy: ChaosProxy) -> None:
    """A blocking wait whose connection is lost ends with an error of ours; the next one works."""
    waiting = asyncio.create_task(shaky.wait(SEAT, [QUEUE], 10))
    await eventually(lambda: chaos_proxy.open_connections >= 2)
    chaos_proxy.reset_all()

    with pytest.raises(BackendUnavailable):
        await waiting

    await stage.add(shaky)
    assert await shaky.wait(SEAT, [QUEUE], 5)


@pytest.mark.parametrize("password", ["", "wr0ng"])
async def test_wrong_password_is_refused_at_once(key_prefix: str, password: str) -> None:
    """Waiting does not mend a password: the error comes at once, and does not show it."""
    with RedisServer(requirepass="s3cret") as server:
        credentials = f":{password}@" if password else ""
        url = f"redis://{credentials}{server.host}:{server.port}/0"
        async with opened(url, key_prefix=key_prefix, retry_for=30) as backend:
            started = time.monotonic()

            with pytest.raises(BackendRefused) as raised:
                await stage.add(backend)

        assert time.monotonic() - started < 5
        assert str(server.port) in str(raised.value)
        assert "wr0ng" not in str(raised.value)


async def test_missing_rights_are_refused_at_once(key_prefix: str) -> None:
    """So it is with a user that may not do what is needed."""
    with RedisServer() as server:
        server.command("ACL", "SETUSER", "poor", "on", ">pw", "~*", "+@connection", "+get")
        url = f"redis://poor:pw@{server.host}:{server.port}/0"
        async with opened(url, key_prefix=key_prefix, retry_for=30) as backend:
            with pytest.raises(BackendRefused):
                await stage.add(backend)
