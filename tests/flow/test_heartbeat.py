"""Leases: kept alive while a job runs, whatever it does to the event loop, and freed when their worker is gone."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest

from aiorq2 import Job, JobFailed, Queue, Retry, connect
from aiorq2.backends.base import Claim, ClaimRequest, Seat, Tally
from aiorq2.backends.redis import RedisBackend
from aiorq2.options import Offload
from aiorq2.upkeep import Heartbeat
from tests.flow.at_work import at_work, drain
from tests.support import jobs
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually, gates

LEASE = 0.6
KEPT_LEASE = 2.4
"""For what must not be lost though this process stands still for more than a second."""


async def vanish_with(backend: RedisBackend, count: int = 1, lease: float = LEASE) -> list[Claim]:
    """Be a worker that starts jobs and is never heard of again."""
    seat = Seat("vanished", "instance", lease)
    return list((await backend.claim(seat, ClaimRequest(count, ("q",)))).claims)


async def lease_left(backend: RedisBackend, job: Job) -> float | None:
    """Return for how many seconds the lease of a job lasts, None when it has none."""
    flat, (second, micro) = await backend.run(
        ["ZRANGE", backend.keys.wip("q"), 0, -1, "WITHSCORES"], ["TIME"]
    )
    scores = dict(zip(flat[::2], flat[1::2], strict=True))
    for member, score in scores.items():
        if member.decode().startswith(f"{job.id}:"):
            return float(score) - int(second) - int(micro) / 1e6
    return None


# -- kept alive --------------------------------------------------------------------------------------


async def test_lease_is_kept_while_a_job_runs(backend: RedisBackend) -> None:
    """For as long as it takes: three leases and more, beside a second worker that would take it over."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.slow, KEPT_LEASE * 3.5)
    sync = await queue.enqueue(jobs.slow_sync, KEPT_LEASE * 3.5)

    async with at_work(backend, lease=KEPT_LEASE), at_work(backend, lease=KEPT_LEASE):
        assert await job.wait(timeout=20) == KEPT_LEASE * 3.5
        assert await sync.wait(timeout=20) == KEPT_LEASE * 3.5

    assert (job.attempt, sync.attempt) == (1, 1)


async def test_blocked_event_loop_costs_no_lease_and_is_reported(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """The heartbeat lives in a thread; it says which jobs run and in which line the loop is stuck."""
    queue = Queue("q", backend)
    neighbour = await queue.enqueue(jobs.wait_gate, "g")

    async with at_work(backend, lease=KEPT_LEASE):
        await eventually(lambda: gates["g"].arrivals == 1)
        blocking = await queue.enqueue(jobs.blocks_loop, KEPT_LEASE * 4)
        await blocking.wait(timeout=25)
        left = await lease_left(backend, neighbour)
        gates["g"].open()
        assert await neighbour.wait(timeout=5) == "g"
        await eventually(lambda: "answers again" in caplog.text)

    assert left is not None
    assert left > 0
    assert (neighbour.attempt, blocking.attempt) == (1, 1)
    (report,) = [one for one in caplog.records if "has not answered" in one.getMessage()]
    assert report.levelno == logging.WARNING
    assert blocking.id in report.getMessage()
    assert "in blocks_loop" in report.getMessage()


async def test_heartbeat_outlives_an_error_that_nobody_thought_of(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A dead heartbeat would cost every lease; it is logged and goes on."""
    original = RedisBackend.extend
    raised: list[int] = []

    async def extend(self: RedisBackend, *args: Any) -> Any:
        if len(raised) < 2:
            raised.append(1)
            raise ZeroDivisionError("a bug")
        return await original(self, *args)

    monkeypatch.setattr(RedisBackend, "extend", extend)
    job = await Queue("q", backend).enqueue(jobs.slow, KEPT_LEASE * 2.5)

    async with at_work(backend, lease=KEPT_LEASE):
        assert await job.wait(timeout=20) == KEPT_LEASE * 2.5

    assert job.attempt == 1
    assert "ZeroDivisionError: a bug" in caplog.text


async def test_slow_line_does_not_cut_a_heartbeat_off(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To connect takes more than half a lease, and has to be done for every other one: there is time enough, if it is used."""
    original = RedisBackend.extend
    lease = 2.0
    connected = set[str]()
    watches: dict[str, asyncio.Task[None]] = {}
    pauses: list[float] = []
    """How long the threads of the heartbeats, or Redis, have stood still."""

    async def watch() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            pauses.append(time.monotonic() - began)

    async def extend(self: RedisBackend, seat: Seat, *args: Any) -> Any:
        if seat.worker not in watches:
            watches[seat.worker] = asyncio.create_task(watch())
        if seat.worker in connected:
            connected.remove(seat.worker)
        else:
            await asyncio.sleep(lease * 0.6)
            connected.add(seat.worker)
        began = time.monotonic()
        try:
            return await original(self, seat, *args)
        finally:
            pauses.append(time.monotonic() - began)

    monkeypatch.setattr(RedisBackend, "extend", extend)
    queue = Queue("q", backend)

    for _ in range(5):
        pauses.clear()
        job = await queue.enqueue(jobs.slow, lease * 3)
        async with at_work(backend, lease=lease), at_work(backend, lease=lease):
            assert await job.wait(timeout=30) == lease * 3
        if job.attempt == 1:
            return
        # A heartbeat that stood still for too long has lost a lease, and that is right.
        assert max(pauses) > 0.05, f"attempt {job.attempt}"
    pytest.fail("it stood still each time")


async def test_reaper_outlives_an_error_that_nobody_thought_of(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next pass comes."""
    original = RedisBackend.reap
    raised: list[int] = []

    async def reap(self: RedisBackend, *args: Any, **options: Any) -> Any:
        if not raised:
            raised.append(1)
            raise ZeroDivisionError("a bug")
        return await original(self, *args, **options)

    monkeypatch.setattr(RedisBackend, "reap", reap)
    job = await Queue("q", backend).enqueue(jobs.add, 1, 2)
    await vanish_with(backend)

    async with at_work(backend, lease=LEASE):
        assert await job.wait(timeout=10) == 3

    assert "ZeroDivisionError: a bug" in caplog.text


# -- freed -------------------------------------------------------------------------------------------


async def test_job_of_a_vanished_worker_is_run_again_soon_after_its_lease(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Within a second: any worker of the queue frees it, and it goes to the front."""
    queue = Queue("q", backend)
    blocker = await queue.enqueue(jobs.wait_gate, "g")
    lease = 3.0

    async with at_work(backend, lease=lease, concurrency=1):
        await eventually(blocker.is_started)
        job = await queue.enqueue(jobs.record, "orphan")
        await queue.enqueue(jobs.record, "later")
        await vanish_with(backend, lease=lease)
        vanished_at = time.monotonic()
        await eventually(job.is_queued, timeout=10)
        assert time.monotonic() - vanished_at < lease + 1.5
        assert (await queue.get_job_ids())[0] == job.id
        gates["g"].open()
        assert await job.wait(timeout=5) == "orphan"

    assert jobs.recorded[0] == "orphan"
    assert job.attempt == 2
    assert f"job {job.id} of queue q: its worker died; it is queued again" in caplog.text


async def test_job_whose_workers_keep_dying_has_failed(backend: RedisBackend) -> None:
    """The third death is the last: a job that kills workers does not take the fleet along."""
    job = await Queue("q", backend).enqueue(jobs.record, "never", retry=Retry(10))

    for _ in range(3):
        await vanish_with(backend, lease=0.05)
        await asyncio.sleep(0.06)
        await backend.reap("q", max_deaths=3)

    assert await drain(backend) is False
    with pytest.raises(JobFailed, match="AbandonedJobError"):
        await job.wait(timeout=5)
    assert jobs.recorded == []


async def test_job_that_must_not_be_redelivered_fails_with_its_worker(
    backend: RedisBackend,
) -> None:
    """``redeliver=False`` is RQ's rule: nobody knows how far it came."""
    job = await Queue("q", backend).enqueue(jobs.record, "once", redeliver=False)
    await vanish_with(backend)

    async with at_work(backend, lease=LEASE):
        with pytest.raises(JobFailed, match="AbandonedJobError"):
            await job.wait(timeout=10)

    assert jobs.recorded == []


@pytest.mark.usefixtures("short_patience")
async def test_late_worker_changes_nothing(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """A run whose lease was taken away is cancelled, and what it would have said is refused."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.swallow_cancel, "g")

    async with at_work(backend, lease=4):
        await eventually(lambda: gates["g"].arrivals == 1)
        (member,) = (await backend.run(["ZRANGE", backend.keys.wip("q"), 0, -1]))[0]
        await backend.run(["ZREM", backend.keys.wip("q"), member])  # as rq's maintenance does
        await eventually(lambda: "lost" in caplog.text or "given back" in caplog.text)
        gates["g"].open()

    assert "was not accepted (LEASE_LOST)" in caplog.text
    await job.refresh()
    assert job.status == "started"
    await backend.run(["HSET", backend.keys.job(job.id), "status", "failed"])
    await job.delete()


async def test_jobs_that_a_worker_never_heard_of_are_given_back(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Started under its name by a claim whose answer got lost: its heartbeat finds them, and they run."""
    queue = Queue("q", backend)
    async with at_work(backend, lease=4, concurrency=1, name="w-1") as worker:
        blocker = await queue.enqueue(jobs.wait_gate, "g")
        await eventually(blocker.is_started)
        job = await queue.enqueue(jobs.add, 1, 2)
        lost = await backend.claim(worker._seat, ClaimRequest(1, ("q",)))
        assert [one.job_id for one in lost.claims] == [job.id]

        await eventually(job.is_queued)

        gates["g"].open()
        assert await job.wait(timeout=5) == 3

    assert job.attempt == 1
    assert "giving back 1 jobs that it was given and never heard of" in caplog.text


async def test_jobs_that_a_worker_hears_of_too_late_are_not_begun(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was frozen before the reply to its claim came: others may run them by now. Those that nobody took go back."""
    asked: list[float] = []

    def kept_until(heartbeat: Heartbeat, since: float) -> float:
        asked.append(since)
        return inf if len(asked) > 1 else 0.0

    monkeypatch.setattr(Heartbeat, "kept_until", kept_until)
    queue = Queue("q", backend)
    enqueued = [await queue.enqueue(jobs.record, name) for name in ("first", "second")]

    await drain(backend)

    assert "2 jobs were claimed a lease ago and not begun" in caplog.text
    assert [asked.count(one) for one in dict.fromkeys(asked)] == [
        1,
        3,
    ]  # claims; the second's jobs ask as well
    for job in enqueued:
        await job.refresh()
        assert (job.status, job.attempt) == ("finished", 1)


@pytest.mark.parametrize(
    ("function", "offload", "which"),
    [
        (jobs.append_to_file_async, None, (2,)),  # the first to ask is the pump
        (jobs.append_to_file, None, (2,)),
        (jobs.append_to_file, None, (3,)),  # in its thread
        (jobs.append_to_file_async, "thread", (4,)),
        (jobs.append_to_file, "process", (3,)),
        (jobs.append_to_file, "process", (4, 5)),  # in its process
    ],
)
async def test_job_whose_worker_was_frozen_before_its_first_line_is_not_begun(
    backend: RedisBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    function: Callable[..., Any],
    offload: Offload | None,
    which: tuple[int, ...],
) -> None:
    """However far it had come on its way: it goes back, since another may run it by now."""
    asked: list[float] = []

    def kept_until(heartbeat: Heartbeat, since: float) -> float:
        asked.append(since)
        return 0.0 if len(asked) in which else inf

    monkeypatch.setattr(Heartbeat, "kept_until", kept_until)
    caplog.set_level(logging.INFO, "aiorq2.worker")
    ledger = tmp_path / "ledger"
    job = await Queue("q", backend).enqueue(function, str(ledger), "begun", offload=offload)

    await drain(backend)

    assert len(asked) > max(which)
    assert [one.message for one in caplog.records if "(lease lost)" in one.message]
    assert ledger.read_text().splitlines() == ["begun"]
    await job.refresh()
    assert (job.status, job.attempt) == ("finished", 1)


async def test_process_that_is_late_though_the_lease_is_kept_is_asked_again(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It took longer to import the function than the lease was good for when it was asked; heartbeats have moved it on."""
    asked: list[float] = []

    def kept_until(heartbeat: Heartbeat, since: float) -> float:
        asked.append(since)
        return 0.0 if len(asked) == 4 else inf

    monkeypatch.setattr(Heartbeat, "kept_until", kept_until)
    ledger = tmp_path / "ledger"
    args = (str(ledger), "begun")
    job = await Queue("q", backend).enqueue(jobs.append_to_file, *args, offload="process")

    await drain(backend)

    assert len(asked) == 6
    assert ledger.read_text().splitlines() == ["begun"]
    await job.refresh()
    assert (job.status, job.attempt) == ("finished", 1)


async def test_leases_are_kept_by_heartbeats_that_arrive(backend: RedisBackend) -> None:
    """Young ones are; old ones if none was missed since they began."""
    beating = Heartbeat(
        backend,
        Seat("w", "i", LEASE),
        claims=tuple,
        tally=Tally,
        on_extended=lambda extended: None,
        on_cut_off=lambda: None,
        on_name_taken=lambda error: None,
    )
    now = time.monotonic()
    old, young = now - 2 * LEASE, now - LEASE / 2

    def kept() -> tuple[bool, bool]:
        return beating.kept_until(old) > now, beating.kept_until(young) > now

    assert kept() == (True, True)
    beating.unbroken_since = now - LEASE
    assert kept() == (False, True)
    beating.unbroken_since = now - 3 * LEASE
    assert kept() == (True, True)
    beating._extended_at = old
    assert kept() == (False, True)


async def test_busy_worker_has_no_strays(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """What has just been settled or claimed when the heartbeat looks is none."""
    queue = Queue("q", backend)

    async with at_work(backend, lease=0.4, concurrency=20):
        made = await queue.enqueue_many(queue.prepare_data(jobs.slow, (0.002,)) for _ in range(200))
        await asyncio.gather(*[job.wait(timeout=30) for job in made])

    assert "never heard of" not in caplog.text


# -- cut off -----------------------------------------------------------------------------------------


async def test_worker_that_cannot_reach_redis_for_a_lease_cancels_what_it_runs(
    chaos_proxy: ChaosProxy,
    redis_backend: RedisBackend,
    key_prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Others may have taken over; when it is back it works on."""
    far = connect(chaos_proxy.url, key_prefix=key_prefix)
    queue = Queue("q", redis_backend)
    job = await queue.enqueue(jobs.wait_gate, "g")

    async with at_work(far, lease=1):
        await eventually(lambda: gates["g"].arrivals == 1)
        chaos_proxy.stall()
        await eventually(lambda: "out of reach" in caplog.text, timeout=10)
        gates["g"].open()
        chaos_proxy.resume()
        assert await job.wait(timeout=20) == "g"
        assert await (await queue.enqueue(jobs.add, 1, 2)).wait(timeout=20) == 3
    await far.close()

    assert gates["g"].arrivals == 2


async def test_heartbeat_thread_ends_with_its_worker(backend: RedisBackend) -> None:
    """At once, and none is left."""
    took = []
    for _ in range(5):
        started = time.monotonic()
        await drain(backend)
        took.append(time.monotonic() - started)

    assert sorted(took)[-2] < 1  # the machine may stand still during one
    assert not [one for one in threading.enumerate() if isinstance(one, Heartbeat)]
