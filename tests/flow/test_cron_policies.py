"""What happens when things do not go as planned: the time lines of docs/cron.md, tried on a clock of the test's own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiorq2 import CronJob, Queue, Scheduler
from aiorq2.backends import crons
from aiorq2.backends.redis import RedisBackend
from aiorq2.rhythm import Plan, plan
from aiorq2.suspension import resume, suspend
from tests.flow.at_work import at_work, drain
from tests.flow.clocked import NOON, clock_of, later, minute_by_minute
from tests.support import jobs
from tests.support.eventually import eventually, gates

MINUTE = timedelta(minutes=1)


async def every_minute(backend: RedisBackend, **options: Any) -> CronJob:
    """Have something recorded every minute."""
    scheduler = Scheduler("q", backend=backend)
    return await scheduler.cron("* * * * *", jobs.record, ["x"], name="x", **options)


async def ticks(cron: CronJob) -> list[int]:
    """Return for which minutes after noon there was a run."""
    found = [job.cron_tick for job in await cron.get_jobs(1000)]
    return sorted(int((tick - NOON).total_seconds() // 60) for tick in found if tick)


async def tick(backend: RedisBackend, delta: timedelta | float = MINUTE) -> None:
    """Let time pass, and have a scheduler, but no worker, do what is due."""
    clock_of(backend).travel(delta)
    await Scheduler(backend=backend).run(burst=True)


# -- catch_up and grace ----------------------------------------------------------------------------------------------------


async def test_last_makes_one_run_for_all_that_was_missed(clocked: RedisBackend) -> None:
    """The default: nobody was there for ten minutes, and there is one run, for the latest of them."""
    cron = await every_minute(clocked)

    assert await later(clocked, 10.5 * 60) == ["x"]

    assert await ticks(cron) == [10]
    assert await later(clocked, 30) == ["x"]


async def test_skip_makes_no_run_for_what_was_missed(clocked: RedisBackend) -> None:
    """The next one is on time."""
    cron = await every_minute(clocked, catch_up="skip")

    assert await later(clocked, 10.5 * 60) == []
    assert await later(clocked, 30) == ["x"]

    assert await ticks(cron) == [11]


async def test_all_makes_a_run_for_each(clocked: RedisBackend) -> None:
    """In their order, each knowing what it was for."""
    cron = await every_minute(clocked, catch_up="all")

    assert await later(clocked, 10.5 * 60) == ["x"] * 10

    assert await ticks(cron) == list(range(1, 11))


@pytest.mark.parametrize("catch_up", ["last", "skip", "all"])
async def test_what_is_noticed_within_its_grace_was_not_missed(
    clocked: RedisBackend, catch_up: Any
) -> None:
    """Each tick that is late by less gets its run, whatever the policy."""
    cron = await every_minute(clocked, catch_up=catch_up, grace="3m")

    assert await later(clocked, 3.5 * 60) == ["x"] * 3

    assert await ticks(cron) == [1, 2, 3]


@pytest.mark.parametrize(("catch_up", "count"), [("last", 1), ("skip", 11), ("all", 1000)])
async def test_process_that_was_stopped_for_an_hour_does_not_flood(
    clocked: RedisBackend, catch_up: Any, count: int
) -> None:
    """Of 3600 ticks, ``last`` runs one, ``skip`` those within their grace, and ``all`` a thousand."""
    scheduler = Scheduler("q", backend=clocked)
    await scheduler.cron("* * * * * *", jobs.record, ["x"], name="x", catch_up=catch_up)
    queue = Queue("q", clocked)

    await tick(clocked, 3600)
    assert await queue.count() == count
    await tick(clocked, 1)
    assert await queue.count() == count + 1


async def test_decision_made_before_a_freeze_is_made_anew(
    clocked: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped between looking and writing looks again when it wakes, and follows the policy."""
    cron = await every_minute(clocked, catch_up="skip")
    write = crons.tick

    async def write_after_a_freeze(*args: Any) -> Any:
        monkeypatch.setattr(crons, "tick", write)
        clock_of(clocked).travel(3600)
        return await write(*args)

    monkeypatch.setattr(crons, "tick", write_after_a_freeze)
    assert await later(clocked, 90) == []

    assert await later(clocked, 30) == ["x"]
    assert await ticks(cron) == [62]


async def test_many_entries_that_take_long_to_decide_about_get_their_runs(
    clocked: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decisions do not grow stale while others are made: they are written in between."""
    scheduler = Scheduler("q", backend=clocked)
    for n in range(8):
        await scheduler.cron("0 * * * *", jobs.nothing, name=f"x{n}", catch_up="all")

    def slow(*args: Any) -> Plan:
        clock_of(clocked).travel(0.8)
        return plan(*args)

    monkeypatch.setattr("aiorq2.ticking.plan", slow)
    await tick(clocked, 3 * 3600 + 60)

    assert await Queue("q", clocked).count() == 8 * 3


async def test_what_was_missed_is_found_though_jobs_hold_every_thread(
    clocked: RedisBackend,
) -> None:
    """Those of ``asyncio.to_thread``: no entry waits for one of them."""
    cron = await every_minute(clocked)
    pool, is_over = ThreadPoolExecutor(1), threading.Event()
    asyncio.get_running_loop().set_default_executor(pool)
    pool.submit(is_over.wait, 30)

    try:
        async with asyncio.timeout(10):
            assert await later(clocked, 10.5 * 60) == ["x"]
    finally:
        is_over.set()

    assert await ticks(cron) == [10]


async def test_clock_that_goes_back_repeats_nothing(clocked: RedisBackend) -> None:
    """Each tick has had its run; the entry goes on when the clock is where it was."""
    cron = await every_minute(clocked)
    assert await minute_by_minute(clocked, 3) == [1, 2, 3]

    clock_of(clocked).travel(-3600)
    assert await minute_by_minute(clocked, 61) == [61]

    assert await ticks(cron) == [1, 2, 3, 4]


async def test_nothing_ticks_while_workers_are_suspended(clocked: RedisBackend) -> None:
    """Afterwards the policy decides, so that there is no flood."""
    cron = await every_minute(clocked)
    await suspend(clocked)
    await tick(clocked, 600)
    assert await ticks(cron) == []

    await resume(clocked)
    await tick(clocked, 30)

    assert await ticks(cron) == [10]


# -- overlap ---------------------------------------------------------------------------------------------------------------


async def statuses(cron: CronJob) -> list[str]:
    """Return the statuses of an entry's jobs, the first one first."""
    return [str(job.status) for job in reversed(await cron.get_jobs())]


async def test_allow_lets_runs_overlap(clocked: RedisBackend) -> None:
    """The default: each tick has its run, whatever the earlier ones do."""
    cron = await every_minute(clocked)

    for _ in range(3):
        await tick(clocked)

    assert await statuses(cron) == ["queued"] * 3


async def test_skip_leaves_a_tick_out_while_a_run_goes_on(clocked: RedisBackend) -> None:
    """It is counted, and there is a run again when the earlier one has ended."""
    cron = await every_minute(clocked, overlap="skip")

    for _ in range(3):
        await tick(clocked)
    assert await statuses(cron) == ["queued"]
    await drain(clocked)
    await tick(clocked)

    assert await statuses(cron) == ["finished", "queued"]
    assert await ticks(cron) == [1, 4]
    await cron.refresh()
    assert (cron.runs, cron.skipped) == (2, 2)


async def test_queue_makes_runs_one_after_another(clocked: RedisBackend) -> None:
    """None is left out, and no two run at once."""
    cron = await every_minute(clocked, overlap="queue")

    for _ in range(3):
        await tick(clocked)
    assert await statuses(cron) == ["queued", "deferred", "deferred"]
    await drain(clocked)

    assert await statuses(cron) == ["finished"] * 3


async def test_replace_stops_the_run_that_goes_on(clocked: RedisBackend) -> None:
    """The new one begins when it is gone; one that had not begun is cancelled."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.cron("* * * * *", jobs.wait_gate, ["g"], name="x", overlap="replace")

    async with at_work(clocked, with_scheduler=False, lease=2):
        await tick(clocked)
        await eventually(lambda: gates["g"].arrivals == 1)
        await tick(clocked)
        await eventually(lambda: gates["g"].arrivals == 2)
        assert await statuses(cron) == ["stopped", "started"]
        gates["g"].open()
        await eventually(lambda: _all_have_ended(cron))
    await tick(clocked)
    await tick(clocked)

    assert await statuses(cron) == ["stopped", "finished", "canceled", "queued"]


async def _all_have_ended(cron: CronJob) -> bool:
    return all(job.status.is_terminal for job in await cron.get_jobs())


# -- jitter, bounds and zones ------------------------------------------------------------------------------------------------


async def test_jitter_spreads_the_runs(clocked: RedisBackend) -> None:
    """Each is due some time after its tick, the same for all processes, and not before."""
    scheduler = Scheduler("q", backend=clocked)
    names = [f"x{n}" for n in range(10)]
    for name in names:
        await scheduler.cron("1 12 * * *", jobs.record, [name], name=name, jitter=60, repeat=1)
    due = {one.name: one.next_run for one in await scheduler.get_cron_jobs()}
    assert all(NOON + MINUTE <= at <= NOON + 2 * MINUTE for at in due.values() if at)
    assert len(set(due.values())) > 5

    ran: dict[str, int] = {}
    for second in range(60, 125, 4):
        clock_of(clocked).travel_to(NOON + timedelta(seconds=second))
        ran |= dict.fromkeys(await later(clocked, 0), second)

    assert ran.keys() == set(names)
    for name, at in due.items():
        assert at is not None
        assert 0 <= ran[name] - (at - NOON).total_seconds() <= 4
    job = (await (await scheduler.get_cron_job("x0")).get_jobs())[0]
    assert job.id == "cron-x0-20240501T120100"


async def test_start_and_end_bound_the_ticks(clocked: RedisBackend) -> None:
    """Both are included; then the entry has ended."""
    cron = await every_minute(clocked, start=NOON + 3 * MINUTE, end=NOON + 5 * MINUTE)
    assert cron.next_run == NOON + 3 * MINUTE

    assert await minute_by_minute(clocked, 8) == [3, 4, 5]

    await cron.refresh()
    assert cron.has_ended


async def test_repeat_ends_an_entry_after_so_many_runs(clocked: RedisBackend) -> None:
    """Runs, not ticks: what was missed, or left out, does not count."""
    cron = await every_minute(clocked, repeat=2)

    assert await later(clocked, 10.5 * 60) == ["x"]
    assert await minute_by_minute(clocked, 3) == [1]

    await cron.refresh()
    assert (cron.has_ended, cron.runs) == (True, 2)


async def test_history_is_as_long_as_asked_for(clocked: RedisBackend) -> None:
    """The jobs themselves are kept as long as any."""
    cron = await every_minute(clocked, history=3)

    await minute_by_minute(clocked, 5)

    assert await ticks(cron) == [3, 4, 5]
    assert await Queue("q", clocked).finished_job_registry.count() == 5


@pytest.mark.parametrize(
    ("day", "times"),
    [
        (
            datetime(2024, 3, 30, 12, tzinfo=UTC),
            ["31 01:00", "01 00:30"],
        ),  # 02:30 does not exist: 03:00
        (
            datetime(2024, 10, 26, 12, tzinfo=UTC),
            ["27 00:30", "28 01:30"],
        ),  # 02:30 exists twice: the first
    ],
    ids=["forward", "back"],
)
async def test_time_zone_is_kept_when_clocks_are_changed(
    clocked: RedisBackend, day: datetime, times: list[str]
) -> None:
    """Half past two in Berlin, once a day, in UTC."""
    clock_of(clocked).travel_to(day)
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.cron(
        "30 2 * * *", jobs.record, ["x"], name="x", timezone="Europe/Berlin"
    )

    for _ in range(8):
        await later(clocked, 6 * 3600)

    found = [job.cron_tick for job in reversed(await cron.get_jobs())]
    assert [f"{tick:%d %H:%M}" for tick in found if tick] == times
