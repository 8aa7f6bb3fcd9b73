"""The proxy does what it says: one that only pretends to drop replies would let every test pass."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.support.chaos_proxy import ChaosProxy, Traffic
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer


@pytest.fixture
async def through(chaos_proxy: ChaosProxy) -> AsyncIterator[Any]:
    """A connected client on the other side of the proxy, which neither reconnects nor repeats anything by itself."""
    client: Any = Redis.from_url(
        chaos_proxy.url,
        protocol=2,
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
    )
    await client.ping()
    yield client
    chaos_proxy.heal()
    await client.aclose()


async def test_proxy_drops_the_reply_after_the_command_ran(
    through: Any, chaos_proxy: ChaosProxy, redis_client: redis.Redis, key_prefix: str
) -> None:
    """The client sees a connection error; Redis has counted to one."""
    key = f"{key_prefix}:suspended"
    lost = chaos_proxy.drop_next_reply(f"INCRBY {key}".encode())

    assert await through.get(key) is None
    with pytest.raises(redis.ConnectionError):
        await through.incr(key)

    assert lost.is_set()
    assert redis_client.get(key) == b"1"
    assert await through.incr(key) == 2
    assert chaos_proxy.replies_lost == 1


async def test_proxy_drops_all_replies_of_a_pipeline(
    through: Any, chaos_proxy: ChaosProxy, redis_client: redis.Redis, key_prefix: str
) -> None:
    """All commands of a pipeline ran before its connection is reset, though Redis answered the first ones long before."""
    key = f"{key_prefix}:suspended"
    lost = chaos_proxy.drop_next_reply(f"INCRBY {key}".encode())
    pipeline = through.pipeline(transaction=False)
    for _ in range(30):
        pipeline.echo(b"x" * 5000)
    pipeline.incr(key)

    with pytest.raises(redis.ConnectionError):
        await pipeline.execute()

    assert lost.is_set()
    assert redis_client.get(key) == b"1"


async def test_proxy_drops_a_part_of_all_replies(
    through: Any, chaos_proxy: ChaosProxy, redis_client: redis.Redis, key_prefix: str
) -> None:
    """Every INCR ran, whether its caller heard of it or not; the same seed loses the same ones."""
    key = f"{key_prefix}:suspended"
    chaos_proxy.drop_replies(0.3, seed=1, matching=b"INCR")
    errors = 0

    for _ in range(100):
        try:
            await through.incr(key)
        except redis.ConnectionError:
            errors += 1

    dice = random.Random(1)
    assert errors == chaos_proxy.replies_lost == sum(dice.random() < 0.3 for _ in range(100))
    assert redis_client.get(key) == b"100"


async def test_proxy_truncates_a_reply(
    through: Any, chaos_proxy: ChaosProxy, redis_client: redis.Redis, key_prefix: str
) -> None:
    """The client gets the beginning of an answer and then the end of the connection."""
    key = f"{key_prefix}:suspended"
    redis_client.set(key, b"x" * 100)
    before = chaos_proxy.traffic
    truncated = chaos_proxy.truncate_next_reply(b"GET", keep=20)

    with pytest.raises(redis.ConnectionError):
        await through.get(key)

    assert truncated.is_set()
    assert (chaos_proxy.traffic - before).bytes_to_client == 20


async def test_proxy_resets_every_connection(
    through: Any, chaos_proxy: ChaosProxy, redis_client: Any
) -> None:
    """A blocked client gets RST at once."""
    blocked = asyncio.create_task(through.blpop("nothing", 0))
    await eventually(lambda: redis_client.info("clients")["blocked_clients"])

    chaos_proxy.reset_all()

    with pytest.raises(redis.ConnectionError):
        await blocked
    assert chaos_proxy.open_connections == 0
    assert await through.ping()


async def test_proxy_stalls_and_resumes(through: Any, chaos_proxy: ChaosProxy) -> None:
    """Half-open: nothing is answered, nobody is told, new connections are taken; afterwards everything arrives."""
    chaos_proxy.stall()
    ping = asyncio.create_task(through.ping())
    with redis.Redis.from_url(chaos_proxy.url, socket_timeout=0.1) as other:
        with pytest.raises(redis.TimeoutError):
            other.ping()
        assert not ping.done()

    chaos_proxy.resume()

    assert await ping


async def test_proxy_reset_reaches_stalled_connections(
    through: Any, chaos_proxy: ChaosProxy
) -> None:
    """Half-open, then RST, as when a router comes back without its table."""
    chaos_proxy.stall()
    ping = asyncio.create_task(through.ping())
    await asyncio.sleep(0.05)

    chaos_proxy.reset_all()

    with pytest.raises(redis.ConnectionError):
        await ping


async def test_proxy_delays_a_round_trip(through: Any, chaos_proxy: ChaosProxy) -> None:
    """The delay is that of the round trip, not of each direction."""
    chaos_proxy.delay(0.1)
    took = []

    for _ in range(10):
        began = time.monotonic()
        await through.ping()
        took.append(time.monotonic() - began)

    assert 0.1 <= min(took) < 0.19


async def test_proxy_throttles(through: Any, chaos_proxy: ChaosProxy) -> None:
    """20 kB at 100 kB/s take a fifth of a second."""
    chaos_proxy.throttle(100_000)
    began = time.monotonic()

    await through.echo(b"x" * 10_000)

    assert time.monotonic() - began >= 0.2


async def test_proxy_relays_byte_by_byte(through: Any, chaos_proxy: ChaosProxy) -> None:
    """What arrives in single bytes is whole in the end, and a rule still finds its command."""
    chaos_proxy.chunk(1)
    assert await through.echo(b"x" * 2000) == b"x" * 2000

    chaos_proxy.drop_next_reply(b"ECHO y")
    with pytest.raises(redis.ConnectionError):
        await through.echo(b"y" * 2000)


async def test_proxy_calls_back_at_the_nth_request(
    through: Any, chaos_proxy: ChaosProxy, redis_client: redis.Redis, key_prefix: str
) -> None:
    """The callback runs before Redis sees the request; with ``forward=False`` it never does."""
    key = f"{key_prefix}:suspended"
    seen: list[Any] = []
    fired = chaos_proxy.on_request(b"INCR", 3, lambda: seen.append(redis_client.get(key)))
    for _ in range(3):
        await through.incr(key)
    assert fired.is_set()
    assert seen == [b"2"]

    chaos_proxy.on_request(b"INCR", 1, lambda: None, forward=False)
    with pytest.raises(redis.ConnectionError):
        await through.incr(key)
    assert redis_client.get(key) == b"3"


def test_proxy_raises_what_a_callback_raised(redis_url: str) -> None:
    """A mistake in a callback fails the test instead of vanishing in a thread."""
    proxy = ChaosProxy(redis_url)

    def use_it() -> None:
        with proxy, redis.Redis.from_url(proxy.url) as client:
            proxy.on_request(b"PING", 1, lambda: 1 / 0)
            with suppress(redis.ConnectionError):
                client.ping()

    with pytest.raises(ZeroDivisionError):
        use_it()


async def test_proxy_counts(through: Any, chaos_proxy: ChaosProxy) -> None:
    """A command is one write and one round trip, and so is a pipeline; a large one is many writes and still one round trip."""
    before = chaos_proxy.traffic
    await through.ping()
    once = chaos_proxy.traffic - before
    assert once == Traffic(
        client_writes=1, round_trips=1, commands=1, bytes_to_server=14, bytes_to_client=7
    )

    before = chaos_proxy.traffic
    pipeline = through.pipeline(transaction=False)
    for _ in range(100):
        pipeline.echo(b"x" * 20_000)
    await pipeline.execute()
    many = chaos_proxy.traffic - before
    assert (many.round_trips, many.commands, many.connections) == (1, 100, 0)
    assert many.client_writes >= 1


@pytest.mark.parametrize("protocol", [2, 3])
async def test_proxy_counts_messages_as_no_replies(
    chaos_proxy: ChaosProxy, redis_client: redis.Redis, key_prefix: str, protocol: int
) -> None:
    """Pub/sub goes through; what is pushed does not confuse the count of replies on its connection."""
    client: Any = Redis.from_url(chaos_proxy.url, protocol=protocol)
    async with client, client.pubsub() as pubsub:
        await pubsub.subscribe(key_prefix)
        assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
        redis_client.publish(key_prefix, "hello")
        assert (await pubsub.get_message(timeout=5))["data"] == b"hello"

        lost = chaos_proxy.drop_next_reply(b"PING")
        await pubsub.ping()
        await eventually(lost.is_set)


@pytest.mark.redis
async def test_proxy_notices_that_redis_has_gone() -> None:
    """A killed Redis closes the connections through the proxy; new ones are reset until it is back."""
    with RedisServer() as server, ChaosProxy(server.url) as proxy:
        client = redis.Redis.from_url(proxy.url, socket_timeout=5)
        client.ping()
        server.kill()
        await eventually(lambda: proxy.open_connections == 0)
        server.restart()
        assert client.ping()
        client.close()


def test_proxy_keeps_the_rest_of_the_url() -> None:
    """User, password, database and options stay; host and port change."""
    proxy = ChaosProxy("redis://u:p%40@10.0.0.1:7000/3?protocol=2")
    proxy.port = 1
    assert proxy.url == "redis://u:p%40@127.0.0.1:1/3?protocol=2"


async def test_proxy_resets_idle_connections(through: Any, chaos_proxy: ChaosProxy) -> None:
    """One that says something now and then stays."""
    chaos_proxy.reset_idle_after(3.0)
    for _ in range(5):
        await asyncio.sleep(0.7)
        await through.ping()

    await eventually(lambda: chaos_proxy.open_connections == 0, timeout=15)

    with pytest.raises(redis.ConnectionError):
        await through.ping()
    assert await through.ping()


async def test_proxy_records_and_strikes_by_what_a_chunk_holds(
    through: Any, chaos_proxy: ChaosProxy, redis_client: redis.Redis, key_prefix: str
) -> None:
    """A rule may look at all commands of a chunk; what came is written down."""
    key = f"{key_prefix}:suspended"
    recorded = chaos_proxy.record()
    lost = chaos_proxy.drop_next_reply(lambda commands: len(commands) == 2)

    await through.incr(key)
    pipeline = through.pipeline(transaction=False).incr(key).incr(key)
    with pytest.raises(redis.ConnectionError):
        await pipeline.execute()

    assert lost.is_set()
    assert redis_client.get(key) == b"3"
    assert [len(commands) for commands in recorded] == [1, 2]
    assert recorded[0] == [f"INCRBY {key} 1".encode()]
