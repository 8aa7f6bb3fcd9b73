"""From what ``connect`` makes a backend, and what it refuses before anything is sent."""

from __future__ import annotations

import asyncio

import pytest
import redis
import redis.asyncio

from aiorq2 import RQ
from aiorq2.backends import connect
from aiorq2.backends.kept import backend_of
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import InvalidOption
from aiorq2.states import Verb
from tests.contract import stage
from tests.contract.stage import opened
from tests.support.redis_server import RedisServer


async def _works(backend: RedisBackend) -> None:
    """Take one job through its life."""
    claimed = await stage.start(backend)
    settled = await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH])
    assert settled.refused == ()
    observed = await backend.observe(claimed.job_id)
    assert observed.record is not None
    assert observed.record.fields["result"] == b"42"


@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
async def test_existing_client_gives_its_address(
    redis_server: RedisServer,
    redis_url: str,
    key_prefix: str,
    decode_responses: bool,
    protocol: int,
) -> None:
    """A client of redis-py is taken for its address and credentials; how it decodes is its own affair."""
    client = redis.asyncio.Redis.from_url(
        redis_server.url, decode_responses=decode_responses, protocol=protocol
    )
    async with client:
        async with opened(client, key_prefix=key_prefix) as backend:
            await _works(backend)

        assert await client.ping()


@pytest.mark.redis
async def test_existing_client_with_a_password_works(key_prefix: str) -> None:
    """The credentials of a client are used and not shown."""
    with RedisServer(requirepass="s3cret") as server:
        client = redis.asyncio.Redis(host=server.host, port=server.port, password="s3cret")
        async with client, opened(client, key_prefix=key_prefix) as backend:
            await _works(backend)

            assert "s3cret" not in f"{backend!r} {backend.location}"


@pytest.mark.redis
async def test_unix_socket_works(key_prefix: str) -> None:
    """``unix://`` leads to the same Redis."""
    with RedisServer(unixsocket=True) as server:
        async with opened(server.unix_url, key_prefix=key_prefix) as backend:
            await _works(backend)

            assert "redis.sock" in backend.location


@pytest.mark.redis
@pytest.mark.parametrize("prefix", ["{rq}", "a.b:c-d_e", "RQ2"])
async def test_prefix_may_hold_what_rq_allows(prefix: str) -> None:
    """All keys begin with the prefix, and nothing is written outside it."""
    with RedisServer() as server:
        async with opened(server.url, key_prefix=prefix) as backend:
            await _works(backend)

        keys: list[bytes] = server.command("KEYS", "*")
        assert keys
        assert all(key.startswith(f"{prefix}:".encode()) for key in keys)


BAD: list[tuple[object, str]] = [
    ("localhost:6379", "begins with"),
    ("http://localhost:6379", "http"),
    ("", "begins with"),
    ("redis://localhost:port", "cannot be read"),
    ("redis://localhost:99999999", "cannot be read"),
    ("redis://localhost/?decode_responses=true", "decode_responses"),
    ("redis://localhost/?db=zero", "cannot be read"),
    ("redis://localhost/?no_such_option=1", "option"),
    ("redis+sentinel://h1,h2,h3", "ends with the master's name"),
    ("redis+sentinel://h1:port/mymaster", "host:port"),
    ("redis+sentinel:///mymaster", "host:port"),
    ("redis+sentinel://h1,,h3/mymaster", "host:port"),
    ("redis+sentinel://h1/mymaster/zero", "the database is a number"),
    ("redis+sentinel://h1/mymaster?no_such_option=1", "option"),
    ("redis+sentinel://h1/mymaster?decode_responses=1", "decode_responses"),
    ("redis+cluster://h1:0", "host:port"),
    ("redis+cluster://h1/3", "one database"),
    ("redis+cluster://h1?db=3", "one database"),
    ("redis+cluster://h1/x", "the database is a number"),
    ("redis+cluster://h1?sentinel_password=x", "belong to redis\\+sentinel"),
    (6379, "int"),
    (redis.Redis(), "synchronous"),
    (redis, "module"),
]


@pytest.mark.parametrize(("source", "word"), BAD, ids=[str(source)[:40] for source, _ in BAD])
def test_source_that_cannot_be_meant_is_refused(source: object, word: str) -> None:
    """What is neither a URL nor an asyncio client is refused at once, with the reason."""
    with pytest.raises(InvalidOption, match=word):
        connect(source)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:s3cret@localhost:port/0",
        "redis+sentinel://user:s3cret@h1:port/mymaster",
        "redis+sentinel://h1/mymaster/x?sentinel_password=s3cret",
        "redis+sentinel://h1/?sentinel_password=s3cret",
        "redis+cluster://user:s3cret@h1/x",
        "redis+cluster://h1?sentinel_password=s3cret",
        "rediss+cluster://user:s3cret@h1?no_such_option=1",
    ],
)
def test_password_in_a_bad_url_is_not_shown(url: str) -> None:
    """The message about a URL does not repeat its password."""
    with pytest.raises(InvalidOption) as raised:
        connect(url)

    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis+sentinel://u:s3cret@h1:1,h2,[::1]:3/mymaster?db=4&sentinel_password=s3cret",
         "mymaster/4 of the sentinels h1:1,h2:26379,[::1]:3"),
        ("rediss+sentinel://:s3cret@h1/mymaster/2", "mymaster/2 of the sentinels h1:26379"),
        ("redis+cluster://u:s3cret@h1:1,h2", "the cluster h1:1,h2:6379"),
        ("rediss+cluster://u:s3cret@h1?ssl_cert_reqs=none", "the cluster h1:6379"),
    ],
)  # fmt: skip
def test_several_hosts_are_named_without_passwords(url: str, location: str) -> None:
    """All that is shown of a backend says where it is, and no more."""
    backend = connect(url)

    assert backend.location == location
    assert "s3cret" not in f"{backend!r} {backend.connection()!r} {backend.exchange!r}"
    assert backend.url == url


def test_namespace_of_a_cluster_lies_in_one_slot() -> None:
    """The usual prefix is in braces there; one without is refused, with the one to use."""
    assert connect("redis+cluster://h1").key_prefix == "{rq}"
    assert connect("redis+cluster://h1", key_prefix="app{x}y").key_prefix == "app{x}y"
    for prefix, better in (("rq", "'{rq}'"), ("{}", "'{rq}'"), ("{a", "'{a}'"), ("a}", "'{a}'")):
        with pytest.raises(InvalidOption, match="in one slot") as raised:
            connect("redis+cluster://h1", key_prefix=prefix)
        assert better in str(raised.value)


def test_prefix_of_the_environment_holds_in_a_cluster_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be one that rq uses there; without braces it is refused."""
    monkeypatch.setenv("RQ_KEY_PREFIX", "{mine}")
    assert connect("redis+cluster://h1").key_prefix == "{mine}"
    monkeypatch.setenv("RQ_KEY_PREFIX", "mine")
    with pytest.raises(InvalidOption, match="in one slot"):
        connect("redis+cluster://h1")


@pytest.mark.parametrize("prefix", ["", "a b", "a*", "ü", "a\n", "a/b"])
def test_prefix_that_cannot_be_meant_is_refused(prefix: str) -> None:
    """The prefix follows RQ's rule for ``RQ_KEY_PREFIX``."""
    with pytest.raises(InvalidOption, match="key_prefix"):
        connect("memory://x", key_prefix=prefix)


def test_environment_says_where_and_under_which_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a source the environment decides, our own variable before RQ's."""
    monkeypatch.setenv("REDIS_URL", "redis://third:1/1")
    assert connect().location == "third:1/1"
    monkeypatch.setenv("RQ_REDIS_URL", "redis://second:1/1")
    assert connect().location == "second:1/1"
    monkeypatch.setenv("AIORQ2_URL", "redis://:s3cret@first:1/1")
    monkeypatch.setenv("RQ_KEY_PREFIX", "mine")
    backend = connect()
    assert (backend.location, backend.key_prefix) == ("first:1/1", "mine")


def test_prefix_of_the_environment_is_that_of_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own variable before RQ's, wherever a backend is made, so that a program and the workers beside it meet; an empty one
    counts as none."""
    url = "redis://localhost:1/1"
    monkeypatch.setenv("RQ_KEY_PREFIX", "theirs")
    assert backend_of(url).key_prefix == "theirs"

    monkeypatch.setenv("AIORQ2_KEY_PREFIX", "ours")
    for backend in (connect(url), backend_of(url), RQ(url).backend):
        assert backend.key_prefix == "ours"
    assert [one.key_prefix for one in connect(url, shards=2)] == ["{ours0}", "{ours1}"]

    monkeypatch.setenv("AIORQ2_KEY_PREFIX", "")
    assert connect(url).key_prefix == "theirs"
    monkeypatch.setenv("RQ_KEY_PREFIX", "")
    assert connect(url).key_prefix == "rq"


def test_nothing_is_sent_before_it_is_used() -> None:
    """``connect`` needs neither a Redis nor an event loop."""
    assert connect("redis://localhost:1/0").location == "localhost:1/0"
    assert connect("memory://").location == "memory://"


async def test_memory_is_shared_by_name(key_prefix: str) -> None:
    """Two backends of one name see the same jobs, of two names they do not."""
    async with (
        opened(f"memory://{key_prefix}") as one,
        opened(f"memory://{key_prefix}") as same,
        opened(f"memory://{key_prefix}2") as other,
    ):
        (job_id,) = await stage.add(one)

        assert await stage.queued(same) == [job_id]
        assert await stage.queued(other) == []


def test_backend_works_in_two_event_loops_one_after_the_other(
    backend_url: str, key_prefix: str
) -> None:
    """A backend made at import time serves ``asyncio.run`` any number of times."""
    backend = connect(backend_url, key_prefix=key_prefix)

    async def once() -> None:
        await _works(backend)
        job_id = (await stage.add(backend))[0]
        await backend.cancel(job_id)
        await backend.ended(job_id, 5)
        await backend.close()

    asyncio.run(once())
    asyncio.run(once())


async def test_closed_backend_can_be_used_again(backend: RedisBackend) -> None:
    """``close`` closes connections; the next call opens them again."""
    await _works(backend)
    await backend.close()
    await backend.close()

    await _works(backend)
