"""Nothing that we write makes a reader of rq's raise, and nothing that rq writes one of ours."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiorq2 import Group, Queue, RateLimit, Repeat, Retry, Webhook
from aiorq2.backends import inspect
from tests.flow.at_work import at_work
from tests.interop import functions
from tests.interop.peer import RqError, run_rq
from tests.interop.sides import Ours, Side, Theirs
from tests.support import jobs
from tests.support.eventually import eventually, gates
from tests.support.processes import PythonProcess


@pytest.fixture
async def everything(ours: Ours, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """Jobs of ours in every status, with every option, some of them running; the statuses by id."""
    q, wanted = Queue("q", ours.backend), {}

    async def put(status: str, func: Any, *args: Any, **options: Any) -> str:
        job = await q.enqueue(func, *args, **options)
        wanted[job.id] = status
        return job.id

    odd: dict[str, Any] = {"meta": {"ä": [1]}, "description": "x\n\x1b[1m ünïcode 🎈"}
    await put("finished", functions.add, 1, result_ttl=-1, **odd)
    await put("finished", functions.moment, result_ttl=77)
    await Ours(ours.backend).enqueue("add", 1, 2, job_id="streamed")
    wanted["streamed"] = "finished"
    failed = await put("failed", functions.fail, "\ud800 surrogate", failure_ttl=-1)
    await put("failed", functions.always_ask_for_retry, 1, "aiorq2")
    await put("scheduled", functions.fail, retry=Retry(3, interval=500, backoff=2, jitter=0.5))
    await put("scheduled", functions.add, 1, repeat=Repeat(2, 1000.5))
    await ours.work()
    await put("queued", functions.add, 1, job_timeout=0.5, ttl=1000, unique=True, job_id="only_me")
    await put("queued", functions.add, 1, on_success=functions.on_success, job_timeout=-1)
    await put("queued", functions.add, webhooks=Webhook("http://127.0.0.1:9/", "finished"))
    await put("queued", functions.fail, offload="process", redeliver=False)
    parent = await put("queued", functions.add, 1)
    await put(
        "deferred", functions.add, 2, depends_on=[parent, "never-was"], on_parent_failure="run"
    )
    await put("deferred", functions.add, 2, depends_on=failed, at_front=True)
    await put("canceled", functions.add, 2, depends_on=failed, on_parent_failure="cancel")
    wanted[(await q.enqueue_in(1000.25, functions.add, 1)).id] = "scheduled"
    canceled = await put("canceled", functions.add, 1)
    await ours.cancel(canceled)
    data = [q.prepare_data(functions.add, [number]) for number in range(2)]
    group = await Group.create(ours.backend, name="g").enqueue_many(q, data)
    wanted |= {job.id: "queued" for job in group}
    busy = Queue("busy", ours.backend)
    async with at_work(ours.backend, "busy", name="at-work", lease=6):
        running = [await busy.enqueue(jobs.wait_gate, "g") for _ in range(3)]
        await eventually(lambda: gates["g"].arrivals == 3)
        await running[0].cancel()
        wanted |= {job.id: "started" for job in running[1:]} | {running[0].id: "stopped"}
        await eventually(running[0].is_stopped)
        await eventually(lambda: says_busy(ours))
        yield wanted
        gates["g"].open()


async def says_busy(ours: Ours) -> bool:
    """Return whether our worker has written that it is busy, which it does with its heartbeat."""
    (state,) = await ours.backend.run(["HGET", "rq:worker:at-work", "state"])
    return bool(state == b"busy")


async def test_every_reader_of_rq_reads_what_we_write(
    everything: dict[str, str], theirs: Theirs
) -> None:
    """Every property of every job, every registry, worker, run, result and dependency; and nothing is moved by the reading."""
    found = await theirs.peer("look_everywhere")

    if theirs.peer.version == "1.16":  # its registry of started jobs takes our runs for jobs
        everything = {id: status for id, status in everything.items() if status != "started"}
    assert everything.keys() <= set(found)
    assert {id: await theirs.status(id) for id in everything} == everything


async def test_maintenance_of_rq_moves_nothing_of_ours(
    everything: dict[str, str], theirs: Theirs, ours: Ours
) -> None:
    """Its upkeep of registries, workers, groups and queues finds nothing to do."""
    for _ in range(2):
        await theirs.peer("maintain", queues=["q", "busy"])

    assert {id: await ours.status(id) for id in everything} == everything
    assert [worker.name for worker in await ours.workers()] == ["at-work"]


async def test_rq_info_shows_our_queues_and_workers(
    everything: dict[str, str], theirs: Theirs, redis_url: str
) -> None:
    """``rq info`` counts what waits and lists who works, as for its own."""
    how = [["--raw"], ["--by-queue"]] if theirs.peer.version == "3.0" else [["--raw"]]
    told = await asyncio.gather(
        *(asyncio.to_thread(run_rq, theirs.peer, redis_url, "info", *one) for one in how)
    )

    waiting = list(everything.values()).count("queued")
    assert f"queue q {waiting}" in told[0]
    assert "queue busy 0" in told[0]
    assert re.search(r"worker at-work .*\bbusy busy\b", told[0])
    for text in told:
        assert "Traceback" not in text
        assert "at-work" in text


async def test_status_of_3_0_that_cannot_be_avoided(ours: Ours, theirs: Theirs) -> None:
    """A job that waits for its place in a rate limit says so, which rq 2 does not know; of ``ready_to_enqueue`` we have no need."""
    queue = Queue("q", ours.backend)
    limit = RateLimit("k", 1)
    waiting = [await queue.enqueue(functions.add, one, rate_limit=limit) for one in range(2)]

    if theirs.peer.version == "2.6":
        with pytest.raises(RqError, match="'rate_limited' is not a valid JobStatus"):
            await theirs.status(waiting[1].id)
    else:
        assert await theirs.status(waiting[1].id) == "rate_limited"
    assert set(await theirs.peer("look_everywhere")) == {waiting[0].id}


async def test_our_readers_read_what_rq_writes(ours: Ours, theirs: Theirs, redis_url: str) -> None:
    """``aiorq2 info``, records and results of rq's jobs in every status that it can bring about without us."""
    ids = {
        "finished": await theirs.enqueue("add", 1),
        "failed": await theirs.enqueue("fail", "x"),
    }
    await theirs.work()
    ids["queued"] = await theirs.enqueue("add", 2, meta={"a": 1}, on_success="on_success")
    ids["deferred"] = await theirs.enqueue("add", 3, depends_on=[ids["queued"]])
    ids["scheduled"] = await theirs.enqueue("add", 4, delay=1000)
    ids["canceled"] = await theirs.enqueue("add", 5)
    await theirs.cancel(ids["canceled"])

    for status, id in ids.items():
        assert await ours.facts(id) == await theirs.facts(id)
        assert await ours.status(id) == status
        assert await ours.ids(status) == [id]
    (counts,) = await inspect.queue_counts(ours.backend, ["q"])
    assert (counts.queued, counts.deferred, counts.scheduled, counts.canceled) == (1, 1, 1, 1)
    assert (counts.finished, counts.failed, counts.started) == (1, 1, 0)
    with PythonProcess(["-m", "aiorq2", "info", "--url", redis_url]) as process:
        assert process.wait(20) == 0
        assert "q" in process.output()


@pytest.mark.parametrize("ours_too", [False, True])
async def test_rq_requeue_command(
    ours: Ours, theirs: Theirs, redis_url: str, tmp_path: Path, ours_too: bool
) -> None:
    """``rq requeue --all`` requeues what failed in our worker; it is run again."""
    producer: Side = ours if ours_too else theirs
    path = str(tmp_path / "runs")
    ids = [
        await producer.enqueue("fail_times", path, 2, job_id=f"x{number}") for number in range(2)
    ]
    await ours.work()
    assert set(await theirs.ids("failed")) == set(ids)

    json = "rq.serializers.JSONSerializer"
    await asyncio.to_thread(
        run_rq, theirs.peer, redis_url, "requeue", "--queue", "q", "--serializer", json, "--all"
    )

    assert set(await theirs.ids("queued")) == set(ids)
    await ours.work()
    assert {await theirs.status(id) for id in ids} == {"finished"}


@pytest.mark.since("3.0")
async def test_rq_commands_that_suspend_and_empty(
    ours: Ours, theirs: Theirs, redis_url: str, redis_client: Any
) -> None:
    """``rq suspend``, ``rq resume`` and ``rq empty`` hold for us, ``rq enqueue`` enqueues for us."""

    async def rq(*args: str) -> None:
        await asyncio.to_thread(run_rq, theirs.peer, redis_url, *args)

    await rq("suspend")
    assert await ours.is_suspended()
    await rq("resume")
    assert not await ours.is_suspended()
    await rq("enqueue", "--queue", "q", "tests.interop.functions.add", ":1", "y:=2")
    assert await ours.work(serializer="pickle")
    (id,) = await ours.ids("finished")
    assert (await ours.facts(id, "pickle")).return_value == 3
    kept = await ours.enqueue("add", 1)
    await rq("empty", "q")
    assert await ours.ids("queued") == []
    assert not redis_client.exists(f"rq:job:{kept}")
