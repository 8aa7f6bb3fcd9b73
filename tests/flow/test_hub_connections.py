"""The connections of an ``RQ``: opened and closed, shared, several by name, and in the words of Flask-RQ2's configuration."""

from __future__ import annotations

import asyncio
from typing import Any

import fakeredis
import pytest
import redis
import redis.asyncio

from aiorq2 import RQ, BackendUnavailable, Queue, connect
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import InvalidOption
from tests.flow.hub_jobs import add


async def test_entering_asks_redis_and_leaving_closes(redis_url: str, key_prefix: str) -> None:
    """What comes afterwards opens them again, so that nothing depends on it."""
    rq = RQ(redis_url, key_prefix=key_prefix)

    async with rq as entered:
        assert entered is rq
        job = await rq.job(add).queue(1, 2)
        assert await rq.connection.exists(f"{key_prefix}:job:{job.id}") == 1

    assert await rq.get_queue().count() == 1
    await rq.get_worker().work(burst=True)
    await rq.close()


async def test_entering_fails_where_redis_is_away() -> None:
    """At once, not at the first job."""
    backend = connect("redis://127.0.0.1:1/0", retry_for=0.1)

    with pytest.raises(BackendUnavailable):
        async with RQ(backend):
            pytest.fail("there is no Redis")


async def test_a_burst_fails_where_redis_is_away_and_a_worker_waits() -> None:
    """As a worker without a hub does; told to stop, it goes at once."""
    rq = RQ(connect("redis://127.0.0.1:1/0", retry_for=0.1))

    with pytest.raises(BackendUnavailable):
        await rq.get_worker().work(burst=True)

    worker = rq.get_worker(handle_signals=False)
    working = asyncio.create_task(worker.work())
    await asyncio.sleep(0.3)
    assert not working.done()
    worker.request_stop()
    async with asyncio.timeout(10):
        assert await working is False


async def test_who_is_inside_keeps_the_connections_open(redis_url: str, key_prefix: str) -> None:
    """An application and a worker in it may both enter; the last one that leaves closes."""
    rq = RQ(redis_url, key_prefix=key_prefix)

    async with rq:
        home = rq.backend.home
        async with rq:
            pass
        assert rq.backend.home is home
    assert rq.backend.home is not home
    await rq.close()


async def test_the_connection_is_a_client_that_stays_open(backend: RedisBackend) -> None:
    """``async with rq.connection`` closes nothing, so that others can go on; ``with`` says what to write."""
    rq = RQ(backend)
    key = f"{backend.key_prefix}:mine"

    async with rq.connection as client:
        assert client is rq.connection
        assert isinstance(client, redis.asyncio.Redis)
        await client.set(key, "1", ex=60)
    await client.aclose()

    assert await rq.connection.get(key) == b"1"
    async with client.pipeline() as pipeline:
        pipeline.incr(key)
        pipeline.incr(key)
        assert await pipeline.execute() == [2, 3]
    await rq.connection.delete(key)
    with pytest.raises(TypeError, match=r"async with rq\.connection"):
        exec("with rq.connection: pass")  # noqa: S102  what a type checker refuses
    assert backend.location in repr(client)


async def test_the_connection_can_stand_in_a_backends_place(memory_backend: RedisBackend) -> None:
    """RQ's way to make a queue: ``Queue("low", connection=rq.connection)``. Pickled it cannot be."""
    rq = RQ(memory_backend)

    assert Queue("low", connection=rq.connection).backend is rq.backend
    with pytest.raises(InvalidOption, match="this connection's backend has"):
        connect(rq.connection, key_prefix="other")
    with pytest.raises(TypeError, match="cannot be pickled"):
        rq.connection.__reduce_ex__(4)


def test_nothing_is_shared_between_event_loops(redis_url: str, key_prefix: str) -> None:
    """A hub at module level serves one ``asyncio.run`` after the other, and may be looked at in between."""
    rq = RQ(redis_url, key_prefix=key_prefix)
    decorated = rq.job(add)
    client = rq.connection
    assert client.connection_pool is not None

    async def once(x: int) -> int:
        async with rq:
            await client.ping()
            job = await decorated.queue(x)
            await rq.get_worker().work(burst=True)
            return int(await job.wait())

    assert [asyncio.run(once(1)), asyncio.run(once(2))] == [1, 2]


async def test_further_connections_have_names(memory_backend: RedisBackend) -> None:
    """Jobs, queues and workers may be another Redis'; the default one may be named as well."""
    rq = RQ(memory_backend, connections={"other": "memory://elsewhere"})

    async with rq:
        job = await rq.job("low", connection="other")(add).queue(1, 2)
        here = await rq.job("low")(add).queue(3)

        counts = [await rq.get_queue("low", connection=one).count() for one in (None, "other")]
        assert counts == [1, 1]
        assert rq.get_queue("low", connection="default") is rq.get_queue("low")
        assert rq.get_queue("low", connection="other") is not rq.get_queue("low")
        assert await rq.get_connection("other").exists(f"rq:job:{job.id}") == 1

        await rq.get_worker("low", connection="other").work(burst=True)
        assert await job.wait() == 3
        assert (await here.get_status()).value == "queued"

        by_call = await rq.job("low")(add).queue(1, connection="other")
        assert await rq.get_queue("low", connection="other").get_job_ids() == [by_call.id]
        for queue in (rq.get_queue("low"), rq.get_queue("low", connection="other")):
            await queue.empty()
        with pytest.raises(InvalidOption, match="no connection 'third'; there are 'default', 'oth"):
            rq.get_queue("low", connection="third")


@pytest.mark.parametrize(
    ("parts", "location"),
    [
        ({"host": "h", "port": 7, "db": 3}, "h:7/3"),
        ({"HOST": None, "url": "redis://h:7/3"}, "h:7/3"),
        ({}, "localhost:6379/0"),
        ({"host": "localhost", "port": 6379, "password": None, "db": 0}, "localhost:6379/0"),
        ({"host": "::1", "ssl": True}, "::1:6379/0"),
        ({"host": "h", "socket_connect_timeout": 3}, "h:6379/0"),
    ],
)
def test_a_connection_may_be_given_in_parts(parts: dict[str, Any], location: str) -> None:
    """As Flask-RQ's configuration has them; None is "not given"."""
    parts = {name: value for name, value in parts.items() if name.islower()}
    rq = RQ("memory://x", connections={"other": parts})

    assert rq.get_backend("other").location == location


def test_a_password_with_odd_characters_arrives_whole() -> None:
    """It may look like a piece of a URL."""
    told = {"host": "h", "username": "me@here", "password": "p:/?#[]@ %20"}
    backend = RQ(connections={"other": told}).get_backend("other")

    kwargs = backend.new_client().connection_pool.connection_kwargs
    assert (kwargs["username"], kwargs["password"]) == ("me@here", "p:/?#[]@ %20")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"url": "redis://h", "db": 3}, "give a url or db, not both"),
        ({"hots": "h"}, "option that redis-py does not take"),
        ({"url": "http://h"}, "begins with one of redis://"),
    ],
)
def test_a_connection_that_cannot_be_meant_is_refused(parts: dict[str, Any], message: str) -> None:
    """With what is wrong."""
    with pytest.raises(InvalidOption, match=message):
        RQ("memory://x", connections={"other": parts}).get_backend("other")


@pytest.mark.parametrize(
    "given",
    [
        "fakeredis.FakeStrictRedis",
        "fakeredis.FakeRedis",
        "fakeredis.aioredis.FakeRedis",
        fakeredis.FakeStrictRedis,
        fakeredis.FakeAsyncRedis,
    ],
)
async def test_a_fakeredis_class_means_memory(given: str | type) -> None:
    """Flask-RQ2's recipe for tests. The same URL is the same data; another URL is not."""
    rq = RQ("redis://:secret@tests:6379/5", connection_class=given)
    decorated = rq.job(add)

    async with rq:
        assert rq.backend.location == "memory://tests:6379/5"
        job = await decorated.queue(1, 2)
        again = RQ("redis://tests:6379/5", connection_class=given)
        assert await again.get_queue().get_job_ids() == [job.id]
        another = RQ("redis://tests:6379/6", connection_class=given)
        assert await another.get_queue().is_empty()
        assert await rq.get_worker().work(burst=True)
        await again.close()
        await another.close()
    assert RQ(connection_class=given).backend.location == "memory://localhost:6379/0"


@pytest.mark.parametrize(
    "given",
    ["redis.StrictRedis", "redis.Redis", "redis.asyncio.Redis", redis.Redis, redis.asyncio.Redis],
)
def test_a_redis_class_means_redis(given: str | type) -> None:
    """Flask-RQ2's default among them."""
    assert RQ("redis://h:7/3", connection_class=given).backend.location == "h:7/3"
    rq = RQ("memory://x", connection_class=given)
    assert rq.backend.location == "memory://x"


@pytest.mark.parametrize("given", ["redis.RedisCluster", "myapp.Redis", "Redis", dict])
def test_any_other_class_is_refused(given: str | type) -> None:
    """Rather than used in part."""
    with pytest.raises(InvalidOption, match=r"connection_class=.*'redis.asyncio.Redis'"):
        RQ("redis://h", connection_class=given).get_queue()


def test_a_client_or_a_backend_may_stand_for_the_url() -> None:
    """Of a client, the address is used."""
    client = redis.asyncio.Redis(host="h", port=7, db=3)
    backend = connect("redis://h:8/3", key_prefix="mine")

    assert RQ(client).backend.location == "h:7/3"
    assert RQ(backend).backend is backend
    assert RQ(backend, key_prefix="mine").backend is backend
    with pytest.raises(InvalidOption, match="the backend that was given has 'mine'"):
        RQ(backend, key_prefix="yours").get_queue()


async def test_a_backend_of_ones_own_is_ones_own_to_close(memory_backend: RedisBackend) -> None:
    """The hub closes what it has made."""
    home = memory_backend.home

    async with RQ(memory_backend) as rq:
        await rq.get_queue().count()

    assert memory_backend.home is home


def test_a_hub_that_is_told_another_url_goes_there() -> None:
    """As every setting, it is read when it is needed."""
    rq = RQ("redis://h:7/3")
    queue, client = rq.get_queue(), rq.connection

    rq.redis_url = "redis://h:8/3"

    assert rq.backend.location == "h:8/3"
    assert rq.get_queue() is not queue
    assert rq.connection is not client
