"""A cluster: slots that move under load, nodes that die, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from aiorq2 import JobStatus, Queue, connect
from aiorq2.backends import inspect
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendRefused, BackendUnavailable
from aiorq2.migration import import_rq_scheduler
from tests.faults.figures import Report
from tests.support import jobs
from tests.support.redis_server import RedisServer
from tests.support.redis_topology import Cluster, Node, in_step, until
from tests.topology.load import RESUME_S, Load, Verdict

pytestmark = pytest.mark.slow


PREFIX = "{rq}"
MOVES = 6


async def judged(cluster: Cluster, load: Load) -> Verdict:
    """Return the verdict on all that was enqueued."""
    try:
        verdict = await load.verdict(lambda: [cluster.owner(cluster.slot(PREFIX))])
    finally:
        await load.close()
    verdict.assert_is_fine()
    return verdict


async def test_slot_moves_every_second(tmp_path: Path, report: Report) -> None:
    """The slot of the prefix goes from node to node with all its keys: no caller gets an error, no job is lost, none runs twice."""
    with Cluster() as cluster:
        slot = cluster.slot(PREFIX)
        load = Load(cluster.url, tmp_path, PREFIX)
        moved = 0

        def move(number: int) -> int:
            source = cluster.owner(slot)
            others = [node for node in cluster.nodes if node is not source]
            target = others[number % len(others)]
            cluster.open_slot(slot, source, target)
            time.sleep(0.1)  # both ends are refusing now
            keys = cluster.move_keys(slot, source, target)
            time.sleep(0.1)
            cluster.close_slot(slot, source, target)
            return keys

        async with load.on():
            for number in range(MOVES):
                due = time.monotonic() + 1
                moved += await asyncio.to_thread(move, number)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            resumed_s = await load.resumed(time.monotonic())
        verdict = await judged(cluster, load)

    report(
        f"cluster, {MOVES} moves of the slot, {moved} keys: resumed {resumed_s:.2f} s after the last; {verdict}"
    )
    assert moved > 100
    assert verdict.lost_by_redis == []
    assert verdict.repeated == 0
    assert verdict.overlaps == []


def _promoted(cluster: Cluster, slot: int, old: Node) -> Node:
    """Wait until a replica has taken over."""

    def has_changed() -> bool:
        return cluster.owner(slot) is not old

    until(has_changed, "a replica has taken over the slot")
    return cluster.owner(slot)


@pytest.mark.faults_all
async def test_owner_of_the_slot_is_killed(tmp_path: Path, report: Report) -> None:
    """Its replica takes over; callers wait, workers go on by themselves."""
    with Cluster(replicas=1) as cluster:
        slot = cluster.slot(PREFIX)
        load = Load(cluster.url, tmp_path, PREFIX)
        async with load.on():
            old = cluster.owner(slot)
            in_step_at = in_step(old)
            old.kill()
            await asyncio.to_thread(_promoted, cluster, slot, old)
            resumed_s = await load.resumed(time.monotonic())
            await asyncio.sleep(1)
        verdict = await judged(cluster, load)

    report(f"cluster, crash: workers resumed {resumed_s:.2f} s after the switch; {verdict}")
    assert resumed_s <= RESUME_S
    assert all(load.acknowledged[one] > in_step_at for one in verdict.lost_by_redis)


@pytest.mark.faults_all
async def test_planned_failover(tmp_path: Path, report: Report) -> None:
    """CLUSTER FAILOVER waits for the replica: nothing is lost, nothing runs twice."""
    with Cluster(replicas=1) as cluster:
        slot = cluster.slot(PREFIX)
        load = Load(cluster.url, tmp_path, PREFIX)
        async with load.on():
            old = cluster.owner(slot)
            replica = cluster.replicas[cluster.nodes.index(old)]
            replica.command("CLUSTER", "FAILOVER")
            await asyncio.to_thread(_promoted, cluster, slot, old)
            resumed_s = await load.resumed(time.monotonic())
            await asyncio.sleep(1)
        verdict = await judged(cluster, load)

    report(f"cluster, planned: workers resumed {resumed_s:.2f} s after the switch; {verdict}")
    assert resumed_s <= RESUME_S
    assert verdict.lost_by_redis == []


@pytest.mark.faults_all
async def test_owner_of_the_slot_goes_silent(tmp_path: Path, report: Report) -> None:
    """Its connections stay open; that another node has the slot now is noticed all the same."""
    with Cluster(replicas=1) as cluster:
        slot = cluster.slot(PREFIX)
        load = Load(cluster.url, tmp_path, PREFIX)
        old = cluster.owner(slot)
        others: list[RedisServer] = [node for node in cluster.nodes if node is not old]
        async with load.on():
            old.pause()

            def has_changed() -> bool:
                ranges = others[0].command("CLUSTER", "SLOTS")
                return all(one[2][1] != old.port for one in ranges)

            await asyncio.to_thread(until, has_changed, "a replica has taken over the slot")
            resumed_s = await load.resumed(time.monotonic())
        old.kill()
        verdict = await judged(cluster, load)

    report(f"cluster, silent node: workers resumed {resumed_s:.2f} s after the switch; {verdict}")
    assert resumed_s <= RESUME_S


async def test_key_in_another_slot_is_refused() -> None:
    """At once, and the way to one's own keys stays what it was: what the rq-scheduler package has left lies elsewhere."""
    with Cluster() as cluster:
        elsewhere = next(
            key
            for key in map(str, range(1000))
            if cluster.owner(cluster.slot(key)) is not cluster.owner(cluster.slot(PREFIX))
        )
        backend = connect(cluster.url, retry_for=30)
        await Queue("q", backend).enqueue(jobs.nothing)

        for key in (elsewhere, f"{{{elsewhere}}}"):
            with pytest.raises(BackendRefused, match=r"a key outside of '\{rq\}' was asked for"):
                await import_rq_scheduler(backend, serializer="json", key=key)

        assert await Queue("q", backend).count() == 1
        await backend.close()


@pytest.mark.faults_all
async def test_node_without_a_replica_is_killed() -> None:
    """What lives on other nodes goes on; who wants its keys waits, and is told so when his time is over."""
    with Cluster() as cluster:
        prefixes = {cluster.owner(cluster.slot(one)).port: one for one in ("{a}", "{b}", "{c}")}
        assert len(prefixes) == 3
        backends = [
            connect(cluster.url, key_prefix=prefixes[node.port], retry_for=20)
            for node in cluster.nodes
        ]
        queues = [Queue("q", backend) for backend in backends]
        for queue in queues:
            await queue.enqueue(jobs.nothing)
        impatient = connect(cluster.url, key_prefix=backends[0].key_prefix, retry_for=0.5)

        cluster.nodes[0].kill()

        with pytest.raises(BackendUnavailable):
            await Queue("q", impatient).enqueue(jobs.nothing)
        for _ in range(20):
            for queue in queues[1:]:
                await queue.enqueue(jobs.nothing)
        await asyncio.to_thread(cluster.nodes[0].restart)
        await queues[0].enqueue(jobs.nothing)
        for backend in (*backends, impatient):
            await backend.close()


async def test_script_never_sees_half_of_its_keys(tmp_path: Path) -> None:
    """While the slot is on its way nothing is written at either end; what was asked for happens when it has arrived."""
    with Cluster() as cluster:
        slot = cluster.slot(PREFIX)
        source = cluster.owner(slot)
        target = next(node for node in cluster.nodes if node is not source)
        backend = connect(cluster.url, retry_for=20)
        queue = Queue("q", backend)
        job = await queue.enqueue(jobs.nothing, job_id="first")
        before = source.command("DBSIZE")
        cluster.open_slot(slot, source, target)
        enqueueing = asyncio.create_task(queue.enqueue(jobs.nothing, job_id="second"))
        await asyncio.sleep(0.5)

        assert not enqueueing.done()
        assert target.command("DBSIZE") == 0
        assert source.command("DBSIZE") == before
        await _reads_follow_their_key(backend, source, target)
        cluster.move_keys(slot, source, target)
        cluster.close_slot(slot, source, target)

        await enqueueing
        assert await queue.get_job_ids() == ["first", "second"]
        assert await job.get_status() == "queued"
        await backend.close()


async def _reads_follow_their_key(backend: RedisBackend, source: Node, target: Node) -> None:
    """A key that has gone ahead is read where it is; so is one that has stayed."""
    source.command("MIGRATE", target.host, target.port, backend.keys.job("first"), 0, 5000)

    assert await inspect.statuses(backend, ["first", "nobody"]) == [JobStatus.QUEUED, None]
    assert await inspect.queued_ids(backend, "q") == ["first"]
