"""No password is shown, whatever happens: on the way to sentinels and to nodes, when they go away, and when they refuse us."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.processes import ROOT, WorkerProcess
from tests.support.redis_server import RedisServer
from tests.support.redis_topology import Cluster, SentinelTrio

pytestmark = pytest.mark.slow

CANARIES = ("c4nary-master", "c4nary-sentinel")


@contextmanager
def _sentinel() -> Iterator[tuple[str, list[RedisServer]]]:
    with SentinelTrio(password=CANARIES[0], sentinel_password=CANARIES[1]) as trio:
        yield trio.url, [trio.servers[0], *trio.sentinels]


@contextmanager
def _cluster() -> Iterator[tuple[str, list[RedisServer]]]:
    with Cluster(requirepass=CANARIES[0]) as cluster:
        yield cluster.url, list(cluster.nodes)


def _aiorq2(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aiorq2", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.faults_all
@pytest.mark.parametrize("stage", [_sentinel, _cluster], ids=["sentinel", "cluster"])
async def test_passwords_are_in_no_output(stage: type) -> None:
    """Neither in the log of a worker, down to its least words, while servers go away and come back, nor in what commands say."""
    with stage() as (url, servers):
        options = ["--url", url, "--log-level", "debug", "--lease", "2"]
        with WorkerProcess([*options, "q"]) as worker:
            await asyncio.to_thread(worker.wait_for_output, "listening on", 30)
            for server in servers:
                server.kill()
            await asyncio.to_thread(worker.wait_for_output, "trying again", 30)
            said = [worker.output()]
        commands: tuple[list[str], ...] = (
            ["info", "--url", url],
            ["worker", "--burst", "--url", url, "q"],
            ["worker", "--burst", "--url", url.replace("://:", "://someone:"), "q"],
            ["info", "--url", url.replace("127.0.0.1", "127.0.0.1:x", 1)],
            ["info", "--url", f"{url}{'&' if '?' in url else '?'}no_such_option=1"],
        )
        done = await asyncio.gather(*[asyncio.to_thread(_aiorq2, one) for one in commands])
        for one in done:
            assert one.returncode != 0
            assert "Traceback" not in one.stderr
            said.append(one.stdout + one.stderr)

    assert "WARNING" in said[0]
    for text in said:
        assert not any(canary in text for canary in CANARIES), text
