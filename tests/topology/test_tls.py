"""Encryption all the way: sentinels, masters and nodes that speak nothing else. The server has to be built for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.contract import stage
from tests.support.eventually import eventually
from tests.support.redis_topology import Cluster, SentinelTrio, in_step
from tests.support.tls import options_of, written
from tests.topology.load import RESUME_S

pytestmark = pytest.mark.slow


async def test_sentinels_and_their_master_may_be_encrypted(tmp_path: Path) -> None:
    """All the way: the sentinels that are asked, and the master; also after a failover."""
    pem = written(tmp_path, "good")
    with SentinelTrio(tls=options_of(pem)) as trio:
        async with stage.opened(f"{trio.url}?ssl_ca_certs={pem}", retry_for=20) as backend:
            (first,) = await stage.add(backend)
            old = trio.master
            in_step(old)
            trio.fail_over()
            new = await asyncio.to_thread(trio.wait_for_switch, old)

            async def lands_on_the_new_one() -> str | None:
                """What the old one still takes before we have heard of the other is lost with its place."""
                (job_id,) = await stage.add(backend)
                return job_id if new.command("EXISTS", backend.keys.job(job_id)) else None

            later = await eventually(lands_on_the_new_one, timeout=RESUME_S)
            assert await stage.queued(backend) == [first, later]


async def test_nodes_of_a_cluster_may_be_encrypted(tmp_path: Path) -> None:
    """The ports that they tell of are those that encrypt."""
    pem = written(tmp_path, "good")
    with Cluster(tls=options_of(pem)) as cluster:
        async with stage.opened(f"{cluster.url}?ssl_ca_certs={pem}", retry_for=20) as backend:
            (job_id,) = await stage.add(backend)
            assert await stage.queued(backend) == [job_id]
