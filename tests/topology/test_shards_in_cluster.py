"""Shards on the nodes of a cluster: a node that dies takes its queues along, and no others."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from aiorq2 import Queue, ShardedWorker, connect
from aiorq2.errors import BackendUnavailable
from tests.faults.figures import Report
from tests.support import jobs
from tests.support.eventually import eventually, gates
from tests.support.redis_topology import Cluster, until

pytestmark = pytest.mark.slow

SHARDS = 12
NAMES = [f"queue-{n}" for n in range(40)]


async def test_shards_lie_on_all_nodes_and_one_that_dies_leaves_the_others(
    tmp_path: Path, report: Report
) -> None:
    """One worker serves the queues on all nodes; when a node without a replica is killed the others' jobs go on, at full speed."""
    with Cluster(appendonly="always") as cluster:
        shards = connect(cluster.url, shards=SHARDS, retry_for=20)
        impatient = connect(cluster.url, shards=SHARDS, retry_for=0.5)
        at = {name: cluster.owner(cluster.slot(shards.of(name).key_prefix)) for name in NAMES}
        assert set(at.values()) == set(cluster.nodes)
        lost = next(name for name in NAMES if at[name] is cluster.nodes[0])
        kept = [name for name in NAMES if at[name] is not cluster.nodes[0]]
        worker = ShardedWorker(NAMES, shards, concurrency=60, lease=5, handle_signals=False)
        working = asyncio.create_task(worker.work())
        for name in NAMES:
            assert await (await Queue(name, shards).enqueue(jobs.add, 1, 2)).wait(10) == 3

        cluster.nodes[0].kill()
        with pytest.raises(BackendUnavailable):
            await Queue(lost, impatient).enqueue(jobs.nothing)

        began = time.monotonic()
        todo = [await Queue(name, shards).enqueue(jobs.wait_gate, "g") for name in kept]
        await eventually(lambda: gates["g"].arrivals == len(todo), timeout=20)
        took_s = time.monotonic() - began
        gates["g"].open()
        for job in todo:
            await job.wait(10)
        await asyncio.to_thread(cluster.nodes[0].restart)
        slot = cluster.slot(shards.of(lost).key_prefix)
        await asyncio.to_thread(until, lambda: cluster.owner(slot), "the node is back")

        async def is_done() -> bool:
            return bool(await (await Queue(lost, shards).enqueue(jobs.add, 1, 2)).wait(5) == 3)

        await eventually(is_done, timeout=20, interval=0.2)
        worker.request_stop()
        async with asyncio.timeout(20):
            await working
        await shards.close()
        await impatient.close()

    report(
        f"shards: {SHARDS} on 3 nodes; with a node killed, {len(todo)} jobs on the others were begun in {took_s:.2f} s"
    )
