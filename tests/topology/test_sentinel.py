"""A master under three sentinels: what a failover costs, of each kind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis

from aiorq2 import RQ, Durable, Queue, connect
from aiorq2.errors import BackendUnavailable
from tests.faults.figures import Report
from tests.support import jobs
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer
from tests.support.redis_topology import SentinelTrio, in_step
from tests.topology.load import PRODUCERS, RESUME_S, Load, Verdict

pytestmark = pytest.mark.slow


@asynccontextmanager
async def under_load(
    trio: SentinelTrio, folder: Path, durable: Durable | None = None
) -> AsyncIterator[Load]:
    """Have jobs coming in, and run, while something happens; they are looked at for a second more."""
    load = Load(trio.url, folder, durable=durable)
    try:
        async with load.on():
            yield load
            await asyncio.sleep(1)
    finally:
        if load.errors:
            await load.close()


async def switched(trio: SentinelTrio, old: RedisServer, load: Load) -> float:
    """Wait for another master; return how long after that the last worker has gone on."""
    await asyncio.to_thread(trio.wait_for_switch, old)
    return await load.resumed(time.monotonic())


async def judged(trio: SentinelTrio, load: Load) -> Verdict:
    """Return the verdict on all that was enqueued."""
    try:
        verdict = await load.verdict(lambda: [trio.master])
    finally:
        await load.close()
    verdict.assert_is_fine()
    return verdict


async def test_crash_of_the_master(tmp_path: Path, report: Report) -> None:
    """kill -9: callers wait, workers go on by themselves, and only what had not reached the replica is lost."""
    with SentinelTrio() as trio:
        async with under_load(trio, tmp_path) as load:
            old = trio.master
            trio.judge_quickly()
            in_step_at = in_step(old)
            old.kill()
            resumed_s = await switched(trio, old, load)
        verdict = await judged(trio, load)

    report(f"sentinel, crash: workers resumed {resumed_s:.2f} s after the switch; {verdict}")
    assert resumed_s <= RESUME_S
    assert all(load.acknowledged[one] > in_step_at for one in verdict.lost_by_redis)


@pytest.mark.faults_all
async def test_planned_failover(tmp_path: Path, report: Report) -> None:
    """SENTINEL FAILOVER on a master that wants a replica for its writes: the same, and nothing is lost but what was in flight."""
    with SentinelTrio(extra=["--min-replicas-to-write", "1"]) as trio:
        for server in trio.servers[1:]:
            server.config("min-replicas-to-write", 0)  # it will be alone for a moment
        async with under_load(trio, tmp_path) as load:
            old = trio.master
            trio.fail_over()
            resumed_s = await switched(trio, old, load)
        verdict = await judged(trio, load)

    report(f"sentinel, planned: workers resumed {resumed_s:.2f} s after the switch; {verdict}")
    assert resumed_s <= RESUME_S


@pytest.mark.faults_all
@pytest.mark.parametrize("durable", [None, Durable(1, "500ms")], ids=["default", "durable=1"])
async def test_replication_was_cut_before_the_crash(
    tmp_path: Path, report: Report, durable: Durable | None
) -> None:
    """What was acknowledged in between is lost with the master; with durable=1 nothing is, since nothing was acknowledged."""
    with SentinelTrio(replicas=2) as trio:
        async with under_load(trio, tmp_path, durable) as load:
            old = trio.master
            old.command("ACL", "SETUSER", "default", "-psync", "-sync")
            in_step_at = in_step(old, replicas=2)
            old.command("CLIENT", "KILL", "TYPE", "replica")
            cut_at, refused = time.monotonic(), len(load.not_durable)

            def has_mattered() -> bool:
                """Whether jobs have been enqueued since; each producer may have had one on its way at the cut."""
                if durable is not None:
                    return len(load.not_durable) > refused + PRODUCERS
                acknowledged = sum(at > cut_at for at in load.acknowledged.values())
                return acknowledged > 2 * PRODUCERS

            await eventually(has_mattered, timeout=20)
            trio.judge_quickly()
            old.kill()
            resumed_s = await switched(trio, old, load)
        verdict = await judged(trio, load)

    report(
        f"sentinel, cut and crash, {durable}: resumed {resumed_s:.2f} s after the switch; {verdict}"
    )
    assert resumed_s <= RESUME_S
    if durable is None:
        assert all(load.acknowledged[one] > in_step_at for one in verdict.lost_by_redis)
        assert verdict.lost_by_redis
    else:
        assert verdict.lost_by_redis == []
        assert verdict.not_durable


@pytest.mark.faults_all
async def test_master_that_goes_silent(tmp_path: Path, report: Report) -> None:
    """Frozen, or cut off: its connections stay open and say nothing; the word of the sentinels is enough to leave it."""
    with SentinelTrio() as trio:
        async with under_load(trio, tmp_path) as load:
            old = trio.master
            trio.judge_quickly()
            old.pause()
            resumed_s = await switched(trio, old, load)
        old.kill()
        verdict = await judged(trio, load)

    report(
        f"sentinel, silent master: workers resumed {resumed_s:.2f} s after the switch; {verdict}"
    )
    assert resumed_s <= RESUME_S


@pytest.mark.faults_all
async def test_master_that_only_the_sentinels_have_lost() -> None:
    """Clients could still write to the old master; they follow the sentinels, whose master it no longer is."""
    with SentinelTrio(password="m4ster", watcher="watch") as trio:
        backend = connect(trio.url, retry_for=10)
        queue = Queue("q", backend)
        await queue.enqueue(jobs.nothing)
        old = trio.master
        await asyncio.sleep(0.5)  # the word of the sentinels is listened to
        trio.judge_quickly()
        old.command("ACL", "SETUSER", "watch", "off")
        old.command("CLIENT", "KILL", "USER", "watch")
        new = await asyncio.to_thread(trio.wait_for_switch, old)
        assert old.command("ROLE")[0] == b"master"

        async def lands_on_the_new_one() -> bool:
            job = await queue.enqueue(jobs.nothing)
            return bool(new.command("EXISTS", backend.keys.job(job.id)))

        await eventually(lands_on_the_new_one, timeout=RESUME_S)
        job = await queue.enqueue(jobs.nothing)
        assert old.command("EXISTS", backend.keys.job(job.id)) == 0
        await backend.close()


async def test_connection_of_an_rq_follows_the_master() -> None:
    """``rq.connection``, for commands of one's own: what it sends after a failover is at the new master."""
    with SentinelTrio() as trio:
        rq = RQ(trio.url)
        async with rq, rq.connection as client:
            await client.set("mine", 1)
            old = trio.master
            trio.fail_over()
            new = await asyncio.to_thread(trio.wait_for_switch, old)

            async def arrives() -> bool:
                try:
                    await client.set("mine", 2)
                except redis.RedisError:  # its connection was the old master's
                    return False
                return bool(new.command("GET", "mine") == b"2")

            await eventually(arrives, timeout=RESUME_S)
            assert (await client.role())[0] == b"master"


async def test_all_sentinels_down() -> None:
    """Open connections go on; a new one waits for a sentinel, and says so when its time is over."""
    with SentinelTrio() as trio:
        backend = connect(trio.url, retry_for=3)
        queue = Queue("q", backend)
        await queue.enqueue(jobs.nothing)
        master = trio.master
        for sentinel in trio.sentinels:
            sentinel.kill()

        await queue.enqueue(jobs.nothing)
        master.command("CLIENT", "KILL", "TYPE", "normal")
        with pytest.raises(BackendUnavailable, match="none of its 3 sentinels answers"):
            await queue.enqueue(jobs.nothing)
        trio.sentinels[0].restart()
        await queue.enqueue(jobs.nothing)

        assert await queue.count() == 3
        await backend.close()
