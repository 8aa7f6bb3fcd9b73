"""Redis is there and says no: what passes by itself is waited out, and what it has forgotten is told again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendUnavailable
from aiorq2.states import Verb
from tests.contract import stage
from tests.contract.stage import QUEUE, SEAT, opened
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A Redis that the test may upset."""
    with RedisServer() as server:
        yield server


async def _still_running(task: asyncio.Task[Any]) -> bool:
    await asyncio.sleep(0.2)
    return not task.done()


async def test_scripts_that_redis_forgot_are_sent_again(redis_backend: RedisBackend) -> None:
    """After a flush of its scripts, or a restart, Redis gets them again, and nobody notices."""
    for _ in range(2):
        await redis_backend.run(["SCRIPT", "FLUSH"])
        first = await stage.start(redis_backend)
        await stage.add(redis_backend, "next")
        await redis_backend.run(["SCRIPT", "FLUSH"])
        answer = await redis_backend.settle(
            SEAT, [(first, stage.OUTCOMES[Verb.FINISH])], stage.request(1)
        )
        assert [one.job_id for one in answer.claims] == ["next"]
        await redis_backend.run(["SCRIPT", "FLUSH"])
        await redis_backend.delete(first.job_id)
        await stage.settle(redis_backend, answer.claims[0], stage.OUTCOMES[Verb.FINISH])


async def test_replica_is_waited_out(own_server: RedisServer, key_prefix: str) -> None:
    """READONLY, as after a fail-over, passes: the call succeeds when the server is a master again."""
    async with opened(own_server.url, key_prefix=key_prefix, retry_for=20) as backend:
        claimed = await stage.start(backend)
        own_server.command("REPLICAOF", "127.0.0.1", 1)
        settling = asyncio.create_task(stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH]))
        assert await _still_running(settling)

        own_server.command("REPLICAOF", "NO", "ONE")

        assert (await settling).refused == ()
        assert await stage.status_of(backend, claimed.job_id) == "finished"


async def test_missing_replicas_are_waited_out(own_server: RedisServer, key_prefix: str) -> None:
    """NOREPLICAS passes when the replicas are back."""
    async with opened(own_server.url, key_prefix=key_prefix, retry_for=20) as backend:
        own_server.config("min-replicas-to-write", 1)
        adding = asyncio.create_task(stage.add(backend, "x"))
        assert await _still_running(adding)

        own_server.config("min-replicas-to-write", 0)

        assert await adding == ["x"]


async def test_loading_server_is_waited_out(key_prefix: str) -> None:
    """A Redis that has just started and still reads its data is waited for."""
    slow = ["--aof-use-rdb-preamble", "yes", "--key-load-delay", "20000"]
    with RedisServer(appendonly="always", extra=slow) as server:
        async with opened(server.url, key_prefix=key_prefix, retry_for=30) as backend:
            # It looks up every two megabytes while it reads, and answers then.
            data = os.urandom(100_000)
            await backend.add([replace(stage.job_spec(), data=data) for _ in range(200)])
            await backend.run(["BGREWRITEAOF"])
            await eventually(lambda: _is_rewritten(server), timeout=30)
            server.kill()
            restarting = asyncio.create_task(asyncio.to_thread(server.restart))
            await eventually(lambda: _complains(server, "loading"))

            await stage.add(backend, "x", at_front=True)

            assert (await stage.queued(backend))[0] == "x"
            assert len(await stage.queued(backend)) == 201
            await restarting


def _is_rewritten(server: RedisServer) -> bool:
    with server.client() as client:
        info: Any = client.info("persistence")
    return not info["aof_rewrite_in_progress"] and info["aof_last_rewrite_time_sec"] >= 0


async def test_busy_server_is_waited_out(own_server: RedisServer, key_prefix: str) -> None:
    """A script of somebody else's that does not end makes Redis BUSY until it is killed."""
    own_server.config("lua-time-limit", 20)  # what Redis 6.2 calls it, and newer ones still know
    async with opened(own_server.url, key_prefix=key_prefix, retry_for=20) as backend:
        await stage.add(backend)
        looping = asyncio.create_task(asyncio.to_thread(_loop_for_ever, own_server))
        await eventually(lambda: _complains(own_server, "BUSY"))
        adding = asyncio.create_task(stage.add(backend, "x"))
        assert await _still_running(adding)

        own_server.command("SCRIPT", "KILL")

        assert await adding == ["x"]
        await looping


def _loop_for_ever(server: RedisServer) -> None:
    with pytest.raises(Exception, match="killed"):
        server.command("EVAL", "while true do end", 0)


def _complains(server: RedisServer, of: str) -> bool:
    try:
        server.command("PING")
    except redis.RedisError as error:
        return of in str(error)
    return False


async def test_crowded_server_is_waited_out(own_server: RedisServer, key_prefix: str) -> None:
    """A Redis that takes no more clients is waited for."""
    with own_server.client() as client:
        client.config_set("maxclients", 1)
        async with opened(own_server.url, key_prefix=key_prefix, retry_for=20) as backend:
            adding = asyncio.create_task(stage.add(backend, "x"))
            assert await _still_running(adding)

            client.config_set("maxclients", 100)

            assert await adding == ["x"]


async def test_state_that_lasts_too_long_is_named(own_server: RedisServer, key_prefix: str) -> None:
    """When a passing state does not pass in time, the error says what Redis said."""
    own_server.config("min-replicas-to-write", 1)
    async with opened(own_server.url, key_prefix=key_prefix, retry_for=0.3) as backend:

        async def is_named() -> bool:
            with pytest.raises(BackendUnavailable) as raised:
                await stage.add(backend)
            return "NOREPLICAS" in str(raised.value)

        await eventually(is_named)  # one that is slow for a moment is said to be silent


async def test_wait_that_was_unblocked_says_so(redis_backend: RedisBackend) -> None:
    """A server that turns into a replica unblocks its clients with an error: that passes, too."""
    waiting = asyncio.create_task(redis_backend.wait(SEAT, [QUEUE], 10))

    async def is_unblocked() -> bool:
        (clients,) = await redis_backend.run(["CLIENT", "LIST"])
        blocked = [one for one in clients.splitlines() if b"cmd=bzpopmin" in one]
        client_id = blocked[0].split()[0].removeprefix(b"id=")
        return bool((await redis_backend.run(["CLIENT", "UNBLOCK", client_id, "ERROR"]))[0])

    await eventually(is_unblocked)

    with pytest.raises(BackendUnavailable):
        await waiting
