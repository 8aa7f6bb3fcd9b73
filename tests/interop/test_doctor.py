"""The doctor on a Redis that both libraries use: quiet while they work, and what a worker of rq has lost can be run again."""

from __future__ import annotations

import asyncio

import pytest
import redis

from aiorq2 import Worker
from aiorq2.doctor import examine, mend
from aiorq2.upkeep import Sweeper
from tests.flow.at_work import at_work
from tests.interop.sides import Ours, Theirs
from tests.support.eventually import eventually

QUIET = ["redis-forgets", "old-rq"]
"""What is wrong on purpose: the Redis of the tests keeps no file, and rq 1.16 is beside us."""


async def test_doctor_is_quiet_while_both_sides_work(ours: Ours, theirs: Theirs) -> None:
    """rq moves jobs in several steps, which are looked at twice; its leftovers of a moment are none."""
    for number in range(60):
        side = ours if number % 2 else theirs
        parent = await side.enqueue("add", number, result_ttl=60)
        await side.enqueue("fail", failure_ttl=60, retry={"max": 1})
        await side.enqueue("add_async", number, depends_on=[parent], result_ttl=60)

    async def has_failed_one() -> bool:
        """Whether rq's worker has run what comes after the first job that fails."""
        return len(await ours.ids("finished")) > 1

    working = asyncio.create_task(theirs.work("q"))
    await eventually(has_failed_one, timeout=20)
    async with at_work(ours.backend, "q", concurrency=2) as worker:
        while not working.done():
            report = await examine(ours.backend, patience=5, ignore=QUIET)
            assert report.is_healthy, [one.text for one in report.findings]
        await working
        assert await Worker.count(ours.backend) >= 1
        assert worker.failed_job_count < 120  # rq's worker has had its share


@pytest.mark.parametrize("place", ["in the intermediate list", "nowhere"])
async def test_what_a_worker_of_rq_has_lost_is_run_by_rq(
    ours: Ours, theirs: Theirs, redis_client: redis.Redis, place: str
) -> None:
    """It is where rq expects it again, at the front."""
    lost = await theirs.enqueue("add", 1, 2)
    if place == "nowhere":
        redis_client.lpop("rq:queue:q")
    else:
        redis_client.lmove("rq:queue:q", "rq:queue:q:intermediate", "LEFT", "RIGHT")
    await theirs.enqueue("add", 3)
    report = await examine(ours.backend, patience=0, ignore=QUIET)

    mended = [await mend(ours.backend, one) for one in report.findings]

    assert mended == [1]
    assert (await theirs.ids("queued"))[0] == lost
    assert await theirs.work("q")
    assert (await theirs.facts(lost)).return_value == 3
    assert (await examine(ours.backend, patience=0, ignore=QUIET)).is_healthy


async def test_job_abandoned_by_rq_ends_by_rqs_rule(
    ours: Ours, theirs: Theirs, redis_client: redis.Redis
) -> None:
    """A dead lease of its worker: the job has failed, or is retried where it has retries left; rq reads both."""
    failed = await theirs.enqueue("add", 1)
    retried = await theirs.enqueue("add", 2, retry={"max": 1})
    for id in (failed, retried):
        redis_client.lpop("rq:queue:q")
        redis_client.hset(f"rq:job:{id}", mapping={"status": "started", "worker_name": "dead"})
        redis_client.zadd("rq:wip:q", {f"{id}:e1": 1})
    report = await examine(ours.backend, patience=0, ignore=QUIET)

    assert [one.kind for one in report.findings] == ["dead-lease"]
    assert await mend(ours.backend, report.findings[0]) == 2

    assert (await theirs.facts(failed)).status == "failed"
    assert "AbandonedJobError" in ((await theirs.facts(failed)).exc_string or "")
    assert await theirs.work("q")
    assert (await theirs.facts(retried)).return_value == 2


async def test_leftovers_of_finished_work_are_not_reported(ours: Ours, theirs: Theirs) -> None:
    """What either side leaves when it is done, before anybody has swept, is as it should be."""
    for side in (ours, theirs):
        await side.enqueue("add", 1, result_ttl=1)
        await side.work("q")
    await Sweeper(ours.backend, ["q"]).sweep()

    assert (await examine(ours.backend, patience=0, ignore=QUIET)).is_healthy
