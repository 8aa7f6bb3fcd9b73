"""Messages on channels: one connection for all of them, which comes back by itself and says so."""

from __future__ import annotations

import asyncio
import logging

import pytest

from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendRefused
from tests.contract.stage import opened
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually


async def _publish(backend: RedisBackend, channel: str, message: str) -> int:
    (heard,) = await backend.run(["PUBLISH", channel, message])
    return int(heard)


async def test_messages_are_handed_to_their_subscribers(backend: RedisBackend) -> None:
    """Every message goes to the subscriber of its channel, in order."""
    heard: list[tuple[str, bytes | None]] = []
    one, two = f"{backend.key_prefix}:one", f"{backend.key_prefix}:two"
    await backend.subscribe(one, lambda message: heard.append(("one", message)))
    await backend.subscribe(two, lambda message: heard.append(("two", message)))

    for channel, message in ((one, "a"), (two, "b"), (one, "c")):
        assert await _publish(backend, channel, message) == 1

    await eventually(lambda: len(heard) == 3)
    assert heard == [("one", b"a"), ("two", b"b"), ("one", b"c")]


async def test_subscription_holds_when_subscribe_returns(backend: RedisBackend) -> None:
    """Nothing that is published after ``subscribe`` has returned is missed."""
    for n in range(20):
        await backend.subscribe(f"{backend.key_prefix}:{n}", lambda message: None)
        assert await _publish(backend, f"{backend.key_prefix}:{n}", "x") == 1


async def test_unsubscribed_channel_is_not_heard(backend: RedisBackend) -> None:
    """After ``unsubscribe`` the channel is silent, the others are not."""
    heard: list[bytes | None] = []
    one, two = f"{backend.key_prefix}:one", f"{backend.key_prefix}:two"
    await backend.subscribe(one, heard.append)
    await backend.subscribe(two, heard.append)

    await backend.unsubscribe(one)
    await backend.unsubscribe("never was")
    await _publish(backend, one, "a")
    await _publish(backend, two, "b")

    await eventually(lambda: heard == [b"b"])


async def test_subscriber_that_raises_harms_no_other(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in one subscriber is logged; the listener goes on."""
    heard: list[bytes | None] = []
    channel = f"{backend.key_prefix}:one"

    def receive(message: bytes | None) -> None:
        heard.append(message)
        if message == b"bad":
            raise ValueError("boom")

    await backend.subscribe(channel, receive)
    with caplog.at_level(logging.ERROR, "aiorq2.backend"):
        await _publish(backend, channel, "bad")
        await _publish(backend, channel, "good")
        await eventually(lambda: heard == [b"bad", b"good"])

    assert "boom" in caplog.text


async def test_command_says_how_many_heard_it(backend: RedisBackend) -> None:
    """A command to a worker that is not there is heard by nobody."""
    heard: list[bytes | None] = []
    await backend.subscribe(backend.keys.commands("w1"), heard.append)

    assert await backend.command("w1", '{"command": "shutdown"}') == 1
    assert await backend.command("w2", '{"command": "shutdown"}') == 0
    await eventually(lambda: heard == [b'{"command": "shutdown"}'])


async def test_reconnection_is_told_to_subscribers(redis_backend: RedisBackend) -> None:
    """After the connection was lost subscribers get None: they may have missed something."""
    heard: list[bytes | None] = []
    channel = f"{redis_backend.key_prefix}:one"
    await redis_backend.subscribe(channel, heard.append)

    await redis_backend.run(["CLIENT", "KILL", "TYPE", "pubsub"])

    await eventually(lambda: heard == [None])
    assert await _publish(redis_backend, channel, "a") == 1
    await eventually(lambda: heard == [None, b"a"])


async def test_subscription_made_while_redis_is_away_is_made_up_for(
    chaos_proxy: ChaosProxy, key_prefix: str
) -> None:
    """``subscribe`` does not wait for Redis to come back; the subscription follows when it does."""
    heard: list[bytes | None] = []
    async with opened(chaos_proxy.url, key_prefix=key_prefix) as backend:
        await backend.subscribe(f"{key_prefix}:one", heard.append)
        chaos_proxy.stall()
        chaos_proxy.reset_all()

        await backend.subscribe(f"{key_prefix}:two", heard.append)
        chaos_proxy.resume()

        async def both_are_heard() -> bool:
            channels = (f"{key_prefix}:one", f"{key_prefix}:two")
            return all([await _publish(backend, channel, "x") for channel in channels])

        await eventually(both_are_heard)


async def test_silent_subscription_is_replaced(chaos_proxy: ChaosProxy, key_prefix: str) -> None:
    """A half-open connection says nothing any more, not even that it is lost; it is noticed by the missing pongs."""
    heard: list[bytes | None] = []
    channel = f"{key_prefix}:one"
    async with opened(chaos_proxy.url, key_prefix=key_prefix, timeout=0.2) as backend:
        await backend.subscribe(channel, heard.append)
        await eventually(lambda: _is_heard(backend, channel, heard))

        heard.clear()
        before = chaos_proxy.traffic.connections
        chaos_proxy.stall()
        await eventually(lambda: chaos_proxy.traffic.connections > before)
        chaos_proxy.resume()

        await eventually(lambda: None in heard)
        await eventually(lambda: _is_heard(backend, channel, heard))


async def _is_heard(backend: RedisBackend, channel: str, heard: list[bytes | None]) -> bool:
    """Publish, and say whether this has come, or the same of an earlier time."""
    await _publish(backend, channel, "a")
    return b"a" in heard


async def test_quiet_subscription_is_kept(redis_url: str, key_prefix: str) -> None:
    """A channel on which nothing happens keeps its connection."""
    heard: list[bytes | None] = []
    async with opened(redis_url, key_prefix=key_prefix, timeout=2.5) as backend:
        await backend.subscribe(f"{key_prefix}:one", heard.append)

        await asyncio.sleep(5.5)  # two looks of the watch: it asks, and there was an answer

        assert heard == []


async def test_refusal_is_waited_out(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A password that is changed, sentinels without an answer: the listener says so once, tries on, and hears again."""
    heard: list[bytes | None] = []
    channel = f"{backend.key_prefix}:one"
    tries = 0

    async def refuse(_: object) -> None:
        nonlocal tries
        tries += 1
        raise BackendRefused("the sentinels want another password")

    with monkeypatch.context() as refusing, caplog.at_level(logging.ERROR, "aiorq2.backend"):
        refusing.setattr(type(backend.home._connection()), "connect", refuse)
        await backend.subscribe(channel, heard.append)
        await eventually(lambda: tries > 3)

    async def is_heard() -> bool:
        return await _publish(backend, channel, "a") == 1

    await eventually(is_heard)
    await eventually(lambda: heard == [b"a"])
    assert caplog.text.count("want another password") == 1


async def test_write_on_a_connection_that_was_just_reset_is_made_up_for(
    chaos_proxy: ChaosProxy, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Python 3.12 and newer it is a ``RuntimeError``: the connection is opened again, and watched as before."""
    heard: list[bytes | None] = []
    channel = f"{key_prefix}:one"
    tries = 0

    async def fail(*_: object, **__: object) -> None:
        nonlocal tries
        tries += 1
        raise RuntimeError("unable to perform operation on the transport; it is closed")

    async with opened(chaos_proxy.url, key_prefix=key_prefix, timeout=0.2) as backend:
        await backend.subscribe(channel, heard.append)
        await eventually(lambda: _is_heard(backend, channel, heard))
        with monkeypatch.context() as reset:
            reset.setattr(type(backend.home._connection()), "send_packed_command", fail)
            await eventually(lambda: tries > 0)  # the watch asks whether anybody is there
        await eventually(lambda: None in heard)

        heard.clear()
        before = chaos_proxy.traffic.connections
        chaos_proxy.stall()
        await eventually(lambda: chaos_proxy.traffic.connections > before)
        chaos_proxy.resume()

        await eventually(lambda: None in heard)
        await eventually(lambda: _is_heard(backend, channel, heard))


async def test_subscription_on_a_connection_that_was_just_reset_is_made_up_for(
    redis_backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``subscribe`` raises nothing of it; the subscription follows with the next connection."""
    heard: list[bytes | None] = []
    one, two = f"{redis_backend.key_prefix}:one", f"{redis_backend.key_prefix}:two"
    await redis_backend.subscribe(one, heard.append)
    kind = type(redis_backend.home._connection())

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("unable to perform operation on the transport; it is closed")

    with monkeypatch.context() as reset:
        reset.setattr(kind, "send_packed_command", fail)
        await redis_backend.subscribe(two, heard.append)

    await eventually(lambda: _publish(redis_backend, two, "a"))
    await eventually(lambda: heard[-1] == b"a")


async def test_close_is_not_held_up_by_a_ping(backend_url: str, key_prefix: str) -> None:
    """Whenever a backend is closed, it is closed: no cancellation gets lost in what the listener is doing."""
    for n in range(10):
        async with asyncio.timeout(5), opened(backend_url, key_prefix=key_prefix) as backend:
            backend.timeout = 0.002
            await backend.subscribe(f"{key_prefix}:one", lambda message: None)
            await asyncio.sleep(n / 10_000)


async def test_listener_without_channels_comes_back_quietly(
    redis_backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that was lost when nobody listened is opened again once, and serves the next subscription."""
    channel = f"{redis_backend.key_prefix}:one"
    await redis_backend.subscribe(channel, lambda message: None)
    await redis_backend.unsubscribe(channel)
    heard: list[bytes | None] = []

    with caplog.at_level(logging.DEBUG, "aiorq2.backend"):
        await redis_backend.run(["CLIENT", "KILL", "TYPE", "normal"])
        await eventually(lambda: "was lost" in caplog.text)
        await asyncio.sleep(0.3)
        await redis_backend.subscribe(channel, heard.append)

    assert caplog.text.count("was lost") == 1
    await eventually(lambda: _publish(redis_backend, channel, "a"))
    await eventually(lambda: heard == [b"a"])
