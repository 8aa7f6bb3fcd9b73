"""``Scheduler``: rq-scheduler's names, for what runs once and for what runs again and again."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from aiorq2 import (
    CronJob,
    InvalidCronPattern,
    InvalidJobOperation,
    InvalidOption,
    Job,
    NoSuchCronJobError,
    NoSuchJobError,
    Queue,
    Scheduler,
    signed,
)
from aiorq2.backends.redis import RedisBackend
from aiorq2.cron import local_timezone
from aiorq2.patrol import Patrol
from tests.flow.at_work import at_work, drain, make_due
from tests.flow.clocked import NOON, clock_of, later, minute_by_minute
from tests.support import jobs
from tests.support.eventually import eventually, gates

MINUTE = timedelta(minutes=1)


# -- once ------------------------------------------------------------------------------------------------------------------


async def test_enqueue_at_and_in_make_jobs_of_the_queue(clocked: RedisBackend) -> None:
    """As the queue's methods of these names, on the scheduler's queue or another."""
    scheduler = Scheduler("q", backend=clocked)

    at = await scheduler.enqueue_at(NOON + MINUTE, jobs.record, "at", job_id="a")
    after = await scheduler.enqueue_in(2 * MINUTE, jobs.record, key="in")
    other = await scheduler.enqueue_in(60, jobs.record, "other", queue_name="other")

    assert (at.id, at.status, at.origin, other.origin) == ("a", "scheduled", "q", "other")
    listed = await scheduler.get_jobs(with_times=True)
    assert dict(listed) == {at: NOON + MINUTE, other: NOON + MINUTE, after: NOON + 2 * MINUTE}
    assert listed[-1] == (after, NOON + 2 * MINUTE)
    assert await later(clocked, 60) == ["at"]
    assert await later(clocked, 60) == ["in"]
    assert await later(clocked, 60, "other") == ["other"]


async def test_schedule_once_takes_rq_schedulers_arguments(clocked: RedisBackend) -> None:
    """And makes a scheduled job, as any other; naive dates are UTC."""
    scheduler = Scheduler("q", backend=clocked)

    job = await scheduler.schedule(
        datetime(2024, 5, 1, 12, 1),  # noqa: DTZ001
        jobs.add,
        [1],
        {"y": 2},
        result_ttl=70,
        ttl=80,
        timeout=90,
        id="x",
        description="told",
        meta={"a": 1},
    )

    assert isinstance(job, Job)
    assert (job.id, job.args, job.kwargs, job.timeout) == ("x", (1,), {"y": 2}, 90)
    assert (job.result_ttl, job.ttl, job.description, job.meta) == (70, 80, "told", {"a": 1})
    assert await Queue("q", clocked).scheduled_job_registry.get_scheduled_time(job) == NOON + MINUTE


async def test_scheduler_has_a_zone(clocked: RedisBackend) -> None:
    """Its own, or its queue's: for every datetime and every pattern that names none."""
    one_berlin = datetime(2024, 5, 2, 13)  # noqa: DTZ001  meant
    due = datetime(2024, 5, 2, 11, tzinfo=UTC)
    queue = Queue("q", clocked, timezone="Europe/Berlin")
    for scheduler in (
        Scheduler(queue),
        Scheduler("q", backend=clocked, timezone="Europe/Berlin"),
        Scheduler(Queue("q", clocked, timezone="Asia/Tokyo"), timezone="Europe/Berlin"),
    ):
        made: list[Any] = [
            await scheduler.enqueue_at(one_berlin, jobs.nothing),
            await scheduler.schedule(one_berlin, jobs.nothing),
            await scheduler.schedule(one_berlin, jobs.nothing, interval=60),
            await scheduler.cron("0 13 * * *", jobs.nothing, name="x"),
            await scheduler.cron("* * * * *", jobs.nothing, name="y", start=one_berlin),
            await scheduler.enqueue_in(60, jobs.nothing),
        ]
        await scheduler.change_execution_time(made[-1], one_berlin)

        assert [at for _, at in await scheduler.get_jobs(one_berlin, with_times=True)] == [due] * 6
        there = await scheduler.cron("0 13 * * *", jobs.nothing, name="z", timezone="UTC")
        assert there.timezone == "UTC"
        for one in (*made, there):
            await scheduler.cancel(one)
    with pytest.raises(InvalidOption, match="timezone='Mars/Olympus' is unknown"):
        Scheduler("q", backend=clocked, timezone="Mars/Olympus")


async def test_job_can_be_moved_and_cancelled(clocked: RedisBackend) -> None:
    """By the job or its id; what is not scheduled is refused."""
    scheduler = Scheduler("q", backend=clocked)
    job = await scheduler.enqueue_in(60, jobs.record, "x")
    assert await scheduler.contains(job)
    assert await scheduler.contains(job.id)

    await scheduler.change_execution_time(job, NOON + timedelta(hours=1))
    assert await later(clocked, 600) == []
    await scheduler.cancel(job.id)
    assert not await scheduler.contains(job)
    assert await job.is_canceled()
    assert await later(clocked, 6000) == []

    with pytest.raises(InvalidJobOperation):
        await scheduler.change_execution_time(job, NOON)
    with pytest.raises(InvalidJobOperation):
        await scheduler.cancel(job)
    with pytest.raises(NoSuchJobError):
        await scheduler.cancel("nobody")
    with pytest.raises(NoSuchJobError):
        await scheduler.change_execution_time("nobody", NOON)
    with pytest.raises(InvalidOption, match="a datetime is needed, not str"):
        await scheduler.change_execution_time("nobody", "now")  # type: ignore[arg-type]


# -- intervals -------------------------------------------------------------------------------------------------------------


async def test_interval_runs_from_its_first_time_on(clocked: RedisBackend) -> None:
    """For ever; each run is a job of its own, which knows what it was made for."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.schedule(NOON + MINUTE, jobs.record, ["x"], interval=120, id="every")
    assert isinstance(cron, CronJob)
    assert (cron.id, cron.name, cron.interval, cron.pattern) == ("every", "every", 120, None)
    assert (cron.next_run, cron.last_run, cron.runs_left) == (NOON + MINUTE, None, None)

    assert await minute_by_minute(clocked, 7) == [1, 3, 5, 7]

    await cron.refresh()
    assert (cron.runs, cron.last_run) == (4, NOON + 7 * MINUTE)
    assert cron.next_run == NOON + 9 * MINUTE
    latest, *rest = await cron.get_jobs()
    assert latest.id == cron.last_job_id == "every-20240501T120700"
    assert (latest.cron_name, latest.cron_tick) == ("every", NOON + 7 * MINUTE)
    assert latest.status == "finished"
    assert len({job.id for job in [latest, *rest]}) == 4


async def test_interval_does_not_drift(clocked: RedisBackend) -> None:
    """It advances from the due time: a worker that comes late each time does not shift it."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.schedule(NOON, jobs.record, ["x"], interval=60, id="x")

    for _ in range(5):
        clock_of(clocked).travel(63)
        await drain(clocked)

    await cron.refresh()
    assert cron.next_run is not None
    assert cron.next_run.second == 0


async def test_repeat_is_so_many_more_runs(clocked: RedisBackend) -> None:
    """With ``schedule``, as in the walk-through that this follows: once, and then ``repeat`` times."""
    scheduler = Scheduler("q", backend=clocked)

    await scheduler.schedule(NOON, jobs.record, ["a"], interval=60, repeat=2)
    await scheduler.schedule(timedelta(minutes=3), jobs.record, ["b"], repeat=1)
    await scheduler.schedule(MINUTE, jobs.record, ["c"], repeat=0, interval=MINUTE)
    assert await scheduler.count() == 3

    ran = [await later(clocked, 0), *[await later(clocked, 60) for _ in range(8)]]

    assert [sorted(one) for one in ran] == [["a"], ["a", "c"], ["a"], ["b"], [], [], ["b"], [], []]
    assert await scheduler.count() == 0
    assert await scheduler.get_cron_jobs() == []


async def test_same_id_is_replaced(clocked: RedisBackend) -> None:
    """The next interval of an id takes the place of the one before, its time as well."""
    scheduler = Scheduler("q", backend=clocked)
    await scheduler.schedule(NOON + MINUTE, jobs.record, ["a"], interval=60, id="x")

    await scheduler.schedule(NOON + 3 * MINUTE, jobs.record, ["b"], interval=60, repeat=0, id="x")

    assert await scheduler.count() == 1
    assert await minute_by_minute(clocked, 5) == [3]
    assert jobs.recorded == ["b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeat": 1}, "repeat needs an interval"),
        ({"interval": 60, "repeat": -1}, "repeat=-1"),
        ({"interval": 60, "repeat": True}, "repeat=True"),
        ({"interval": 0}, "interval: 0 is out of range"),
        ({"interval": 0.01}, "interval: 0.01"),
        ({"interval": float("nan")}, "interval: nan"),
        ({"interval": 10**12}, "interval: 1000000000000"),
        ({"interval": 60, "depends_on": "x"}, "depends_on: no option of a recurring entry"),
        ({"interval": 60, "unique": True, "id": "x"}, "unique: no option"),
        ({"interval": 60, "colour": "red"}, "colour: no option"),
        ({"interval": 60, "id": "a b"}, "job_id 'a b'"),
        ({"interval": 60, "id": "x" * 201}, "at most 200"),
        ({"interval": 60, "overlap": "never"}, "overlap='never'"),
        ({"interval": 60, "end": NOON - MINUTE}, "it would never run"),
        ({"interval": 60, "timeout": "soon"}, "job_timeout: 'soon'"),
        ({"id": "a b"}, "job_id 'a b'"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    clocked: RedisBackend, options: dict[str, Any], message: str
) -> None:
    """Before anything is written."""
    scheduler = Scheduler("q", backend=clocked)

    with pytest.raises((InvalidOption, TypeError), match=message):
        await scheduler.schedule(NOON, jobs.record, ["x"], **options)

    assert await scheduler.count() == 0


async def test_shortest_delays_are_now(clocked: RedisBackend) -> None:
    """None at all, and less than the clock can tell."""
    scheduler = Scheduler("q", backend=clocked)
    await scheduler.enqueue_in(0, jobs.record, "none")
    await scheduler.schedule(timedelta(microseconds=1), jobs.record, ["micro"])
    await scheduler.schedule(0, jobs.record, ["again"], interval=3600)

    assert sorted(await later(clocked, 0.001)) == ["again", "micro", "none"]


async def test_clock_of_this_machine_does_not_matter(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Due times are judged by Redis' clock: a process that is an hour ahead, or behind, is neither early nor late."""
    scheduler = Scheduler("q", backend=backend)
    for ahead in (3600, -3600):
        moment = time.time() + ahead
        monkeypatch.setattr("aiorq2.backends.server.time", SimpleNamespace(time=lambda: moment))  # noqa: B023
        cron = await scheduler.cron("0 0 * * *", jobs.record, ["x"], name="x")
        assert cron.next_run is not None
        assert 0 < (cron.next_run - datetime.now(UTC)).total_seconds() <= 86_400
        every = await scheduler.schedule(0, jobs.record, ["every"], interval=3600, id="every")
        await scheduler.enqueue_in(600, jobs.record, "later")
        await scheduler.enqueue_in(0, jobs.record, "now")

        await drain(backend)

        assert sorted(jobs.recorded) == ["every", "now"]
        jobs.reset()
        await every.cancel()
        await cron.cancel()


@pytest.mark.parametrize("moment", ["soon", -1, float("nan"), 10**12, None])
async def test_times_that_are_none_are_refused(clocked: RedisBackend, moment: Any) -> None:
    """What is no time, no time to come, or beyond the calendar."""
    scheduler = Scheduler("q", backend=clocked)

    with pytest.raises(InvalidOption):
        await scheduler.schedule(moment, jobs.record, ["x"])
    with pytest.raises(InvalidOption):
        await scheduler.schedule(moment, jobs.record, ["x"], interval=60)


# -- cron ------------------------------------------------------------------------------------------------------------------


async def test_cron_runs_at_its_times(clocked: RedisBackend) -> None:
    """Noon, every day, in UTC unless a zone is given."""
    scheduler = Scheduler("q", backend=clocked)

    cron = await scheduler.cron(
        "0 0 12 * * ?", jobs.record, ["x"], name="add-one-two", queue_name="high", timeout=55
    )

    assert (cron.name, cron.id, cron.pattern) == ("add-one-two", "cron-add-one-two", "0 0 12 * * ?")
    assert (cron.origin, cron.timeout, cron.timezone) == ("high", 55, "UTC")
    assert (cron.func_name, cron.args, cron.kwargs) == ("tests.support.jobs.record", ("x",), {})
    assert cron.description == "tests.support.jobs.record('x')"
    assert repr(cron) == "<CronJob add-one-two: 0 0 12 * * ? tests.support.jobs.record('x')>"
    assert cron.next_run == NOON + timedelta(days=1)
    assert (cron.is_paused, cron.has_ended, cron.source) == (False, False, "")
    assert cron.created_at == NOON
    assert await later(clocked, 86_399, "high") == []
    assert await later(clocked, 1, "high") == ["x"]
    (job,) = await cron.get_jobs()
    assert job.id == "cron-add-one-two-20240502T120000"


async def test_same_name_is_one_entry(clocked: RedisBackend) -> None:
    """Declared again it is updated, however many processes do so."""
    scheduler = Scheduler("q", backend=clocked)
    first = await scheduler.cron("0 0 12 * * ?", jobs.add, (1, 2), name="x")

    await asyncio.gather(
        *[scheduler.cron("* * * * *", jobs.record, ["x"], name="x") for _ in range(5)]
    )

    assert await scheduler.count() == 1
    assert await first.get_jobs() == []
    assert await minute_by_minute(clocked, 3) == [1, 2, 3]


async def test_declaration_without_a_name_is_one_entry(clocked: RedisBackend) -> None:
    """N processes that say the same make one; another argument, queue or time makes another."""
    scheduler = Scheduler("q", backend=clocked)

    one = await scheduler.cron("* * * * *", jobs.record, ["x"])
    assert one.name.startswith("tests.support.jobs.record-")
    assert await scheduler.cron("* * * * *", jobs.record, ["x"]) == one
    await scheduler.cron("* * * * *", jobs.record, ["y"])
    await scheduler.cron("*/2 * * * *", jobs.record, ["x"])
    await scheduler.cron("* * * * *", jobs.record, ["x"], timezone="Europe/Berlin")
    await scheduler.cron("* * * * *", jobs.record, ["x"], queue_name="other")

    assert await scheduler.count() == 5


async def test_id_of_rq_scheduler_is_name_and_id(clocked: RedisBackend) -> None:
    """``id`` is rq-scheduler's word: entries are found by it, and the ids of their jobs begin with it."""
    scheduler = Scheduler("q", backend=clocked)

    cron = await scheduler.cron("* * * * *", jobs.record, ["x"], id="mine")

    assert (cron.name, cron.id) == ("mine", "mine")
    await later(clocked, 60)
    assert [job.id for job in await cron.get_jobs()] == ["mine-20240501T120100"]


async def test_name_may_be_any_text(clocked: RedisBackend) -> None:
    """The ids of the jobs follow RQ's rule all the same."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.cron("* * * * *", jobs.record, ["x"], name="nightly: clean-up (fünf)")

    await later(clocked, 60)

    (job,) = await cron.get_jobs()
    assert job.cron_name == "nightly: clean-up (fünf)"
    assert job.id.startswith("cron-nightly-clean-up-f-nf-")
    assert await scheduler.get_cron_job("nightly: clean-up (fünf)") == cron
    for bad in ("", " x", "a\nb", "x" * 201, 5):
        with pytest.raises(InvalidOption):
            await scheduler.cron("* * * * *", jobs.record, ["x"], name=bad)  # type: ignore[arg-type]


async def test_cron_repeat_is_how_many_runs_in_all(clocked: RedisBackend) -> None:
    """Then the entry has ended, and is to be seen for a while."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.cron("* * * * *", jobs.record, ["x"], repeat=2, name="x")

    assert await minute_by_minute(clocked, 4) == [1, 2]

    await cron.refresh()
    assert (cron.has_ended, cron.runs_left, cron.next_run) == (True, 0, None)
    assert not await scheduler.contains("x")
    assert await scheduler.count() == 0
    assert await scheduler.get_cron_jobs() == [cron]


async def test_bad_pattern_is_refused_at_once(clocked: RedisBackend) -> None:
    """In the caller, never in the scheduler; nothing is written."""
    scheduler = Scheduler("q", backend=clocked)

    for pattern in ("60 * * * *", "0 0 31 2 *", "@reboot", ""):
        with pytest.raises(InvalidCronPattern):
            await scheduler.cron(pattern, jobs.record, ["x"])
    with pytest.raises(InvalidOption):
        await scheduler.cron("0 0 12 1 1 ? 2020", jobs.record, ["x"])
    with pytest.raises(InvalidOption):
        await scheduler.cron("* * * * *", jobs.record, ["x"], timezone="Mars/Olympus")

    assert await scheduler.get_cron_jobs() == []


async def test_local_time_zone_is_this_machines(
    clocked: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``use_local_timezone=True``, as rq-scheduler has it."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    scheduler = Scheduler("q", backend=clocked)

    cron = await scheduler.cron("0 9 * * *", jobs.record, ["x"], use_local_timezone=True)

    assert (cron.timezone, cron.next_run) == ("Asia/Tokyo", NOON + timedelta(hours=12))
    monkeypatch.setenv("TZ", "CET-1CEST")
    with pytest.raises(InvalidOption, match="this machine's time zone has no name"):
        local_timezone()


async def test_pattern_that_runs_out_of_years_ends_its_entry(clocked: RedisBackend) -> None:
    """After its last run."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.cron("0 1 12 1 5 ? 2024", jobs.record, ["x"], name="x")

    assert await later(clocked, 60) == ["x"]

    await cron.refresh()
    assert cron.has_ended


# -- the handle ------------------------------------------------------------------------------------------------------------


async def test_entry_can_be_paused_and_resumed(clocked: RedisBackend) -> None:
    """What is due meanwhile is not caught up."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.cron("* * * * *", jobs.record, ["x"], name="x")

    await cron.pause()
    assert (cron.is_paused, cron.next_run) == (True, None)
    assert await minute_by_minute(clocked, 3) == []
    clock_of(clocked).travel(5)
    await cron.resume()
    assert (cron.is_paused, cron.next_run) == (False, NOON + 4 * MINUTE)
    assert await minute_by_minute(clocked, 2) == [1, 2]


async def test_resume_leaves_an_entry_alone_that_is_not_paused(clocked: RedisBackend) -> None:
    """What is due, or was missed, gets its run all the same."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.cron("0 * * * *", jobs.record, ["x"], name="x")
    clock_of(clocked).travel(3600)

    await cron.resume()

    assert cron.next_run == NOON + timedelta(hours=1)
    assert await later(clocked, 0) == ["x"]


async def test_paused_entry_that_is_moved_stays_paused(clocked: RedisBackend) -> None:
    """It goes on at that time once it is resumed; when that is over, with the next one."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.cron("0 * * * *", jobs.record, ["x"], name="x")
    await cron.pause()

    await cron.move(NOON + 10 * MINUTE)
    assert (cron.is_paused, cron.next_run) == (True, None)
    assert await scheduler.get_jobs() == []
    await cron.resume()
    assert cron.next_run == NOON + 10 * MINUTE
    assert await minute_by_minute(clocked, 11) == [10]

    await cron.pause()
    await cron.move(NOON + 20 * MINUTE)
    assert await minute_by_minute(clocked, 10) == []
    await cron.resume()
    assert cron.next_run == NOON + 60 * MINUTE


async def test_entry_can_be_run_now(clocked: RedisBackend) -> None:
    """Paused or not; the times stay as they are."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.cron("* * * * *", jobs.record, ["x"], name="x", repeat=1)
    await cron.pause()

    job = await cron.run_now()

    assert (job.status, job.args, job.cron_name) == ("queued", ("x",), "x")
    assert await later(clocked, 0) == ["x"]
    await cron.refresh()
    assert (cron.is_paused, cron.runs_left, cron.last_job_id) == (True, 1, job.id)


async def test_entry_can_be_cancelled(clocked: RedisBackend) -> None:
    """By its handle, its name or its id; its jobs stay."""
    scheduler = Scheduler("q", backend=clocked)
    entries = [
        await scheduler.cron("* * * * *", jobs.record, ["x"], name=name) for name in ("a", "b", "c")
    ]
    await later(clocked, 60)

    await scheduler.cancel(entries[0])
    await scheduler.cancel("b")
    await scheduler.cancel("cron-c")

    assert await scheduler.count() == 0
    assert await later(clocked, 60) == []
    assert await Job.exists("cron-a-20240501T120100", clocked)
    for verb in (entries[0].refresh, entries[0].cancel, entries[0].pause, entries[0].run_now):
        with pytest.raises(NoSuchCronJobError, match="cron 'a'"):
            await verb()
    assert not await scheduler.contains(entries[0])
    with pytest.raises(NoSuchCronJobError, match="cron 'a': there is no such entry"):
        await scheduler.get_cron_job("a")


async def test_entry_can_be_moved(clocked: RedisBackend) -> None:
    """A pattern's next run is at that time, and then it goes on; an interval counts from there."""
    scheduler = Scheduler("q", backend=clocked)
    daily = await scheduler.cron("0 0 * * *", jobs.record, ["daily"], name="daily")
    every = await scheduler.schedule(NOON, jobs.record, ["every"], interval=3600, id="every")
    assert await later(clocked, 0) == ["every"]

    await scheduler.change_execution_time(daily, NOON + timedelta(minutes=10))
    await scheduler.change_execution_time("every", NOON + timedelta(minutes=20))

    assert await later(clocked, 600) == ["daily"]
    assert await later(clocked, 600) == ["every"]
    await daily.refresh()
    await every.refresh()
    assert daily.next_run == datetime(2024, 5, 2, tzinfo=UTC)
    assert every.next_run == NOON + timedelta(minutes=80)


async def test_entry_can_be_edited(clocked: RedisBackend) -> None:
    """What is named changes, the rest stays as it is."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.cron("0 0 * * *", jobs.record, ["x"], name="x", timeout=7, meta={"a": 1})
    await later(clocked, 12 * 3600)

    await cron.save(pattern="*/2 * * * *", timezone="Europe/Berlin", args=["y"], overlap="skip")

    assert (cron.pattern, cron.timezone, cron.args) == ("*/2 * * * *", "Europe/Berlin", ("y",))
    assert cron.description == "tests.support.jobs.record('y')"
    assert (cron.timeout, cron.meta, cron.runs, cron.policies.overlap) == (7, {"a": 1}, 1, "skip")
    assert await minute_by_minute(clocked, 4) == [2, 4]
    assert jobs.recorded == ["x", "y", "y"]

    await cron.save(interval=60, kwargs={"key": "z"}, args=[], timeout=None, meta={}, repeat=1)
    assert (cron.pattern, cron.interval, cron.runs_left) == (None, 60, 1)
    assert cron.meta == {}
    assert "timeout" not in cron._record.fields
    assert await minute_by_minute(clocked, 3) == [1]
    assert jobs.recorded[-1] == "z"


async def test_edit_of_an_entry_that_has_ended_gives_it_no_runs(clocked: RedisBackend) -> None:
    """Also by a handle that was read before the end; whoever wants more of them says how many."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.cron("* * * * *", jobs.record, ["x"], name="x", repeat=2)
    assert await minute_by_minute(clocked, 3) == [1, 2]

    await cron.save(description="new")
    await cron.save(args=["y"])
    assert (cron.has_ended, cron.next_run, cron.runs) == (True, None, 2)
    assert await minute_by_minute(clocked, 2) == []

    await cron.save(repeat=1)
    assert await minute_by_minute(clocked, 3) == [1]
    assert jobs.recorded == ["x", "x", "y"]


async def test_edit_that_cannot_be_meant_is_refused(clocked: RedisBackend) -> None:
    """As is one that comes too late."""
    scheduler = Scheduler("q", backend=clocked)
    cron = await scheduler.cron("0 0 * * *", jobs.record, ["x"], name="x")
    every = await scheduler.schedule(NOON, jobs.record, ["x"], interval=60, id="every")
    again = await scheduler.get_cron_job("x")

    with pytest.raises(InvalidCronPattern):
        await cron.save(pattern="x")
    with pytest.raises(InvalidOption, match="colour cannot be changed; there are args"):
        await cron.save(colour="red")
    with pytest.raises(InvalidOption, match="a pattern or an interval, not both"):
        await cron.save(interval=5, pattern="* * * * *")
    with pytest.raises(InvalidOption, match="no pattern to be changed"):
        await every.save(timezone="Europe/Berlin")
    with pytest.raises(InvalidOption, match="it would never run"):
        await cron.save(end=NOON - MINUTE)
    with pytest.raises(InvalidOption, match="grace"):
        await cron.save(grace=0)

    await cron.save(description="first")
    with pytest.raises(InvalidJobOperation, match="cron 'x': cannot save, it was changed"):
        await again.save(description="second")
    assert again.description == "first"


async def test_signed_payloads_are_good_for_their_entry_only(clocked: RedisBackend) -> None:
    """Every job of an entry can be run by workers with the secret; its call cannot be moved into another entry."""
    serializer = signed("secret")
    scheduler = Scheduler("q", backend=clocked, serializer=serializer)
    await scheduler.cron("* * * * *", jobs.record, ["x"], name="x", meta={"a": 1})
    other = await scheduler.cron("* * * * *", jobs.record, ["y"], name="other")
    clock_of(clocked).travel(60)

    await drain(clocked, serializer=serializer)

    assert sorted(jobs.recorded) == ["x", "y"]
    keys = clocked.keys
    (stolen,) = await clocked.run(["HGET", keys.cron_job("x"), "data"])
    await clocked.run(["HSET", keys.cron_job("other"), "data", stolen])
    clock_of(clocked).travel(60)
    await drain(clocked, serializer=serializer)
    assert sorted(jobs.recorded) == ["x", "x", "y"]
    latest, _ = await other.get_jobs()
    assert latest.status == "failed"
    assert "Deserialization" in str(latest.exc_info)
    (good, _) = await (await scheduler.get_cron_job("x")).get_jobs()
    assert good.meta == {"a": 1}
    good.meta["b"] = 2
    await good.save_meta()
    assert await good.get_meta() == {"a": 1, "b": 2}


# -- looking ---------------------------------------------------------------------------------------------------------------


async def test_scheduled_things_are_listed_by_their_times(clocked: RedisBackend) -> None:
    """Jobs and entries of all queues together; up to a time, and in pages."""
    scheduler = Scheduler("q", backend=clocked)
    job = await scheduler.enqueue_in(90, jobs.nothing)
    cron = await scheduler.cron("* * * * *", jobs.nothing, name="x")
    late = await scheduler.enqueue_in(3600, jobs.nothing, queue_name="other")
    every = await scheduler.schedule(timedelta(hours=2), jobs.nothing, interval="1d")
    whole: list[Any] = [cron, job, late, every]

    assert await scheduler.get_jobs() == whole
    assert [at for _, at in await scheduler.get_jobs(with_times=True)] == [
        NOON + timedelta(seconds=one) for one in (60, 90, 3600, 7200)
    ]
    assert await scheduler.get_jobs(offset=1, length=2) == [job, late]
    assert await scheduler.get_jobs(length=1) == [cron]
    for until in (NOON + timedelta(seconds=90), timedelta(seconds=90), NOON.timestamp() + 90):
        assert await scheduler.get_jobs(until) == [cron, job]
        assert await scheduler.count(until) == 2
    assert await scheduler.count() == 4
    assert await Scheduler("other", backend=clocked).count() == 4
    for one in whole:
        await scheduler.cancel(one)
    assert await scheduler.get_jobs() == []


def test_scheduler_touches_no_network_and_says_what_needs_it(memory_url: str) -> None:
    """``len`` and ``in`` cannot be awaited."""
    scheduler = Scheduler("low", connection=memory_url)

    assert repr(scheduler) == "<Scheduler low>"
    assert (scheduler.queue_name, scheduler.interval) == ("low", 60)
    assert scheduler
    with pytest.raises(TypeError, match=r"await scheduler.count\(\)"):
        len(scheduler)
    with pytest.raises(TypeError, match=r"await scheduler.contains\(job\)"):
        "x" in scheduler  # noqa: B015
    with pytest.raises(InvalidOption, match="interval"):
        Scheduler(interval=0, connection=memory_url)
    with pytest.raises(InvalidOption, match="backend or connection"):
        Scheduler(backend=scheduler.backend, connection=memory_url)


async def test_scheduler_of_a_queue_is_on_its_backend(clocked: RedisBackend) -> None:
    """With its serializer, and its other settings."""
    queue = Queue("q", clocked, serializer="pickle", default_timeout=7)
    scheduler = Scheduler(queue)

    job = await scheduler.enqueue_in(60, jobs.nothing)
    cron = await scheduler.cron("* * * * *", jobs.nothing, name="x")

    assert scheduler.backend is clocked
    assert scheduler.serializer.name == "pickle"
    assert (job.timeout, cron.timeout) == (7, 7)


# -- running ---------------------------------------------------------------------------------------------------------------


async def test_burst_carries_out_what_is_due(clocked: RedisBackend) -> None:
    """Of all queues; the jobs then wait for a worker."""
    scheduler = Scheduler("q", backend=clocked)
    await scheduler.enqueue_in(60, jobs.nothing)
    await scheduler.cron("* * * * *", jobs.nothing, name="x", queue_name="other")
    await scheduler.run(burst=True)
    assert await Queue("q", clocked).count() == 0

    clock_of(clocked).travel(60)
    await scheduler.run(burst=True)

    assert await Queue("q", clocked).count() == 1
    assert await Queue("other", clocked).count() == 1


async def test_scheduler_finds_an_entry_whose_queue_was_deleted(clocked: RedisBackend) -> None:
    """By us, or by rq, which takes the queue off the list; a scheduler that runs sees it after an interval."""
    scheduler = Scheduler("ours", backend=clocked)
    await scheduler.cron("* * * * *", jobs.nothing, name="x")
    await scheduler.cron("* * * * *", jobs.nothing, name="y", queue_name="rqs")
    patrol = Patrol(clocked, 0.05)
    assert await patrol.sweep() == 0
    await Queue("ours", clocked).delete()
    await clocked.run(["SREM", clocked.keys.queues(), clocked.keys.queue("rqs")])
    clock_of(clocked).travel(60)

    async def sees_to_both() -> bool:
        await patrol.sweep()
        return [await Queue(name, clocked).count() for name in ("ours", "rqs")] == [1, 1]

    await eventually(sees_to_both)


async def due_in_a_broken_queue(backend: RedisBackend, queue: str) -> None:
    """Have two jobs due in a queue; what wakes its workers is of the wrong type, so that each of them takes a call that fails."""
    for _ in range(2):
        await Queue(queue, backend).enqueue_in(60, jobs.nothing)
    await make_due(backend, queue)
    wake = backend.keys.wake(queue)
    await backend.run(["DEL", wake], ["SET", wake, "a string"])


@pytest.mark.leaks_allowed("the test itself writes what should not be there")
async def test_queue_that_is_broken_holds_up_no_other(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither its jobs nor its entries; what is wrong with it is told once."""
    scheduler = Scheduler("sound", backend=backend)
    patrol = Patrol(backend, 60)
    await due_in_a_broken_queue(backend, "a")
    await backend.run(["SET", backend.keys.queue("b"), "a string"])
    await scheduler.schedule(0, jobs.nothing, interval=3600, id="b", queue_name="b")
    await scheduler.schedule(0, jobs.nothing, interval=3600, id="x")
    await scheduler.enqueue_in(60, jobs.nothing)
    await make_due(backend, "sound")

    for _ in range(2):
        await patrol.sweep()

    assert await Queue("sound", backend).count() == 2
    told = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert [text.split(":")[0] for text in told] == [
        "cron b cannot run",
        "cannot promote in queue 'a'",
    ]
    assert "queue b is no list" in told[0]


@pytest.mark.leaks_allowed("the test itself writes what should not be there")
async def test_scheduler_looks_again_soon_when_something_has_failed(backend: RedisBackend) -> None:
    """Not after its interval."""
    scheduler = Scheduler("q", backend=backend, interval=60)
    await due_in_a_broken_queue(backend, "q")

    running = asyncio.create_task(scheduler.run())
    await eventually(lambda: _has_queued(backend, 2), timeout=5)

    scheduler.request_stop()
    await running


async def _has_queued(backend: RedisBackend, count: int) -> bool:
    return await _queued(backend) == count


async def test_scheduler_wakes_for_what_is_due(backend: RedisBackend) -> None:
    """On its time, though it slept when that was scheduled; worker and scheduler side by side do it once."""
    scheduler = Scheduler("q", backend=backend, interval=60)
    running = asyncio.create_task(scheduler.run())
    await eventually(lambda: scheduler._patrol is not None)
    with pytest.raises(InvalidJobOperation, match="runs already"):
        await scheduler.run()

    async with at_work(backend, with_scheduler=False):
        began = time.time()
        job = await scheduler.enqueue_in(0.3, jobs.nothing)
        cron = await scheduler.schedule(0.3, jobs.record, ["x"], interval=0.2, id="x", repeat=4)
        await job.wait(timeout=15)
        assert time.time() - began < 10
        await eventually(lambda: len(jobs.recorded) >= 3)
    async with at_work(backend):
        await eventually(lambda: len(jobs.recorded) >= 5)
    scheduler.request_stop()
    await running

    assert len(jobs.recorded) == 5
    assert not await scheduler.contains(cron)


async def test_one_of_several_schedulers_takes_over(backend: RedisBackend) -> None:
    """When the one that leads is gone, also without a word, within two seconds."""
    schedulers = [Scheduler("q", backend=backend) for _ in range(3)]
    running = [asyncio.create_task(one.run()) for one in schedulers]
    await eventually(lambda: _leader(backend))

    for task in running[:2]:
        task.cancel()
    await asyncio.wait(running[:2])
    await schedulers[2].enqueue_in(0.1, jobs.nothing)
    await eventually(lambda: _queued(backend), timeout=5)

    schedulers[2].request_stop()
    await running[2]
    assert await _leader(backend) is None


async def _leader(backend: RedisBackend) -> bytes | None:
    found: list[bytes | None] = await backend.run(["GET", backend.keys.lead("all")])
    return found[0]


async def _queued(backend: RedisBackend) -> int:
    return await Queue("q", backend).count()


async def test_scheduler_that_does_not_lead_sleeps_on(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is scheduled wakes the one that leads; the others only ask now and then whether it still does."""
    leads: list[bool] = []
    lead = Patrol._lead

    async def counted(patrol: Patrol, lead_s: float) -> bool:
        leads.append(await lead(patrol, lead_s))
        return leads[-1]

    monkeypatch.setattr(Patrol, "_lead", counted)
    schedulers = [Scheduler("q", backend=backend) for _ in range(3)]
    running = [asyncio.create_task(one.run()) for one in schedulers]
    await eventually(lambda: len(leads) >= 3)

    for delay in (9, 8, 7, 6, 5):
        await schedulers[0].enqueue_in(delay, jobs.nothing)
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    asked = leads.count(False)
    for one in schedulers:
        one.request_stop()
    await asyncio.gather(*running)

    assert asked <= 2 + 2 * 5


async def test_job_in_the_care_of_rqs_scheduler_is_left_to_it(backend: RedisBackend) -> None:
    """While rq's scheduler holds its lock on a queue, its scheduled jobs are its own; ours are seen to when it is gone."""
    scheduler = Scheduler("q", backend=backend)
    job = await scheduler.enqueue_in(60, jobs.nothing)
    await make_due(backend)
    lock = backend.keys.scheduler_lock("q")
    await backend.run(["SET", lock, "rq's", "EX", 60])

    await scheduler.run(burst=True)
    assert await job.is_scheduled()

    await backend.run(["DEL", lock])
    await scheduler.run(burst=True)
    assert await job.is_queued()


async def test_worker_whose_slots_are_all_taken_still_ticks(backend: RedisBackend) -> None:
    """What is due does not wait for a free slot."""
    scheduler = Scheduler("q", backend=backend)
    queue = Queue("q", backend)
    async with at_work(backend, concurrency=1):
        await queue.enqueue(jobs.wait_gate, "g")
        await eventually(lambda: gates["g"].arrivals == 1)
        job = await scheduler.enqueue_in(0.05, jobs.nothing)
        cron = await scheduler.schedule(0.05, jobs.nothing, interval=60, id="x")

        await eventually(lambda: job.is_queued())
        await eventually(lambda: cron.get_jobs())
        gates["g"].open()
    await cron.cancel()
