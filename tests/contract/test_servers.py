"""What is not the Redis that it was said to be: too old, no cluster, no sentinels, no such master, another password."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from aiorq2 import Worker
from aiorq2.backends import connect
from aiorq2.backends.health import check_server
from aiorq2.errors import BackendRefused
from tests.contract.stage import add, opened
from tests.support.processes import WorkerProcess
from tests.support.redis_server import RedisServer
from tests.support.redis_topology import Cluster, SentinelTrio

pytestmark = pytest.mark.redis


@asynccontextmanager
async def lying(server: RedisServer) -> AsyncIterator[str]:
    """Yield the URL of a server that says it is a Redis 5."""

    async def relay(
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        change: Callable[[bytes], bytes],
    ) -> None:
        while chunk := await reader.read(65536):
            writer.write(change(chunk))
        writer.close()

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        theirs, ours = await asyncio.open_connection(server.host, server.port)
        try:
            await asyncio.gather(
                relay(reader, ours, lambda chunk: chunk),
                relay(
                    theirs, writer, lambda chunk: re.sub(rb"(redis_version:)\d", rb"\g<1>5", chunk)
                ),
                return_exceptions=True,
            )
        finally:
            ours.close()
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
        await asyncio.wait(serving, timeout=5)


async def test_server_that_is_too_old_is_refused_in_one_line(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """The sentence names the version that there is and the one that is needed; a worker ends with it."""
    async with lying(redis_server) as url, opened(url, key_prefix=key_prefix) as backend:
        with pytest.raises(
            BackendRefused, match=r"is 5\.\S+; aiorq2 needs 6\.2 or newer"
        ) as raised:
            await check_server(backend, strict=False)
        assert "\n" not in str(raised.value)

        with pytest.raises(BackendRefused, match=r"needs 6\.2"):
            await Worker("q", backend, handle_signals=False).work()
        with WorkerProcess(["--url", url, "q"], env={"RQ_KEY_PREFIX": key_prefix}) as worker:
            status = await asyncio.to_thread(worker.wait, 30)

    assert status == 2
    assert worker.returncode == 2


async def test_plain_server_is_no_cluster() -> None:
    """``redis+cluster://`` at a server that stands alone is refused at once."""
    with RedisServer() as server:
        url = f"redis+cluster://{server.host}:{server.port}"
        async with opened(url, retry_for=30) as backend:
            with pytest.raises(BackendRefused, match="is no cluster; use redis://"):
                await add(backend)


async def test_plain_server_is_no_sentinel(redis_server: RedisServer) -> None:
    """``redis+sentinel://`` at a server that is none is refused at once."""
    url = f"redis+sentinel://{redis_server.host}:{redis_server.port}/mymaster"
    async with opened(url, retry_for=30) as backend:
        with pytest.raises(BackendRefused, match="is no sentinel; use redis://"):
            await add(backend)


@pytest.mark.slow
async def test_sentinels_are_asked_by_name_and_password() -> None:
    """A name that they do not know and a password that is not theirs are refused at once, without showing the password."""
    with SentinelTrio(password="m4ster", sentinel_password="s3ntinel") as trio:
        async with opened(trio.url) as backend:
            await add(backend)
        urls = {
            trio.url.replace("/mymaster", "/yours"): "know no master 'yours'",
            trio.url.replace("s3ntinel", "wr0ng"): "want another password",
            trio.url.partition("?")[0]: "want another password",
            trio.url.replace("m4ster", "wr0ng"): "refuses",
        }
        for url, words in urls.items():
            async with opened(url, retry_for=30) as backend:
                with pytest.raises(BackendRefused, match=words) as raised:
                    await add(backend)
                assert not re.search("wr0ng|m4ster|s3ntinel", str(raised.value))


@pytest.mark.slow
async def test_cluster_wants_its_password() -> None:
    """So it is with the nodes of a cluster."""
    with Cluster(requirepass="s3cret") as cluster:
        async with opened(cluster.url) as backend:
            await add(backend)
        for url in (cluster.url.replace("s3cret", "wr0ng"), cluster.url.replace(":s3cret@", "")):
            async with opened(url, retry_for=30) as backend:
                with pytest.raises(BackendRefused, match="do not let us in") as raised:
                    await add(backend)
                assert "wr0ng" not in str(raised.value)


def test_connect_touches_no_network() -> None:
    """Neither sentinels nor nodes need to be there."""
    connect("redis+sentinel://127.0.0.1:1/mymaster")
    connect("redis+cluster://127.0.0.1:1")
