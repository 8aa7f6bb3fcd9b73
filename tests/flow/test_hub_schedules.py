"""``.schedule``, ``.cron`` and ``@rq.cron``: Flask-RQ2's signatures, on entries of which each run is a job of its own."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiorq2 import RQ, Job, JobStatus, Repeat, Webhook
from aiorq2.backends.redis import RedisBackend
from aiorq2.cron_jobs import CronJob
from aiorq2.errors import (
    InvalidArguments,
    InvalidCronPattern,
    InvalidFunction,
    InvalidJobOperation,
    InvalidOption,
    NoSuchCronJobError,
)
from tests.flow.at_work import make_due
from tests.flow.hub_jobs import add, add_later, nothing
from tests.support.eventually import eventually


@pytest.fixture
def rq(memory_backend: RedisBackend) -> RQ:
    """An ``RQ`` in memory."""
    return RQ(memory_backend, name="shop")


async def due(rq: RQ) -> list[tuple[str, float]]:
    """Return what is scheduled, with the seconds until its time."""
    pairs = await rq.get_scheduler().get_jobs(with_times=True)
    now = datetime.now(UTC)
    return [(one.id, round((when - now).total_seconds() / 10) * 10) for one, when in pairs]


async def test_a_delay_schedules_one_job(backend: RedisBackend) -> None:
    """Once, after that time; it is listed until then, and a burst does not wait for it."""
    rq = RQ(backend)

    job = await rq.job(add).schedule(timedelta(seconds=60), 1, 2)

    assert isinstance(job, Job)
    assert (job.status, job.args, job.timeout, job.result_ttl) == ("scheduled", (1, 2), 180, 500)
    assert await due(rq) == [(job.id, 60)]
    assert await rq.get_scheduler().count() == 1
    assert await rq.get_worker().work(burst=True) is False
    await make_due(backend, "default")
    assert await rq.get_worker().work(burst=True) is True
    assert await job.wait() == 3


async def test_a_naive_date_is_utc_and_a_past_one_is_due(rq: RQ) -> None:
    """As Flask-RQ2's documentation has it; another zone can be set."""
    decorated = rq.job(add)

    past = await decorated.schedule(datetime(2016, 12, 31, 23, 59, 59), 1, 2)  # noqa: DTZ001  meant
    rq.timezone = "America/New_York"
    naive = datetime(2099, 1, 1, 12)  # noqa: DTZ001  meant
    await decorated.schedule(naive, 3, job_id="later")

    times = {one.id: when for one, when in await rq.get_scheduler().get_jobs(with_times=True)}
    assert times[past.id] == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert times["later"] == datetime(2099, 1, 1, 17, tzinfo=UTC)
    assert await rq.get_worker().work(burst=True) is True
    assert await past.wait() == 3
    await rq.get_scheduler().cancel("later")
    rq.timezone = "Atlantis"
    with pytest.raises(InvalidOption, match="timezone='Atlantis' is unknown"):
        await decorated.schedule(naive, 3)


async def test_the_zone_is_that_of_queues_and_schedulers_as_well(rq: RQ) -> None:
    """Whichever way something is scheduled, nine o'clock is the same time."""
    rq.timezone = "Europe/Berlin"
    nine = datetime(2099, 1, 1, 9)  # noqa: DTZ001  meant
    decorated, scheduler = rq.job(nothing), rq.get_scheduler()

    await decorated.schedule(nine)
    await rq.get_queue().enqueue_at(nine, nothing)
    await scheduler.enqueue_at(nine, nothing)
    await scheduler.schedule(nine, nothing)
    often = await scheduler.schedule(nine, nothing, interval=60)
    daily = await scheduler.cron("0 9 * * *", nothing, name="daily", start=nine)

    listed = await scheduler.get_jobs(with_times=True)
    assert [at for _, at in listed] == [datetime(2099, 1, 1, 8, tzinfo=UTC)] * 6
    assert daily.timezone == "Europe/Berlin"
    for one in (often, daily):
        await one.cancel()


async def test_repeat_is_so_many_more_runs(rq: RQ) -> None:
    """Fourteen days from now, and once more fourteen days later: two in all."""
    decorated = rq.job(add)

    cron = await decorated.schedule(timedelta(days=14), 1, 2, repeat=1)

    assert isinstance(cron, CronJob)
    assert (cron.runs_left, cron.interval, cron.args) == (2, 14 * 86400, (1, 2))
    assert await due(rq) == [(cron.id, 14 * 86400)]
    await cron.cancel()


async def test_an_interval_is_given_apart_and_the_id_is_the_entrys(rq: RQ) -> None:
    """With everything that Flask-RQ2's tests give it; the same id again is the same entry."""
    decorated = rq.job("low")(add)
    await decorated.schedule(timedelta(seconds=20), 1, repeat=11, job_id="mine")

    cron = await decorated.schedule(
        timedelta(seconds=20),
        1,
        y=2,
        repeat=12,
        interval=33,
        description="every now and then",
        job_id="mine",
        timeout=7,
        result_ttl=8,
        ttl=9,
        meta={"a": 1},
    )

    assert isinstance(cron, CronJob)
    assert (cron.id, cron.runs_left, cron.interval) == ("mine", 13, 33)
    assert (cron.origin, cron.description, cron.kwargs) == ("low", "every now and then", {"y": 2})
    assert (cron.timeout, cron.result_ttl, cron.ttl, cron.meta) == (7, 8, 9, {"a": 1})
    assert await rq.get_scheduler().count() == 1
    await cron.cancel()

    endless = await decorated.schedule(timedelta(seconds=20), 1, interval=60, queue="high")
    assert isinstance(endless, CronJob)
    assert (endless.runs_left, endless.origin) == (None, "high")
    await endless.cancel()


async def test_a_date_needs_an_interval_to_repeat(rq: RQ) -> None:
    """There is nothing that it could be taken from."""
    when = datetime(2099, 1, 1, tzinfo=UTC)

    with pytest.raises(ValueError, match="repeat needs an interval"):
        await rq.job(add).schedule(when, 1, repeat=1)
    cron = await rq.job(add).schedule(when, 1, repeat=1, interval=60)
    assert isinstance(cron, CronJob)
    assert cron.next_run == when
    await cron.cancel()


async def test_what_repeats_after_each_success_is_something_else(rq: RQ) -> None:
    """RQ's ``Repeat``, whether the decorator or the call says it, goes with the job."""
    by_decorator = await rq.job(repeat=2)(add).schedule(timedelta(seconds=60), 1)
    by_call = await rq.job(add).schedule(timedelta(seconds=60), 1, repeat=Repeat(3, 5))

    assert isinstance(by_decorator, Job)
    assert isinstance(by_call, Job)
    assert (by_decorator.repeats_left, by_call.repeats_left) == (2, 3)
    for job in (by_decorator, by_call):
        await job.cancel()


async def test_a_scheduled_job_takes_every_option_of_a_queued_one(rq: RQ) -> None:
    """Flask-RQ2 passed some of them on to the function."""
    parent = await rq.job(nothing).queue()
    job = await rq.job(add).schedule(
        timedelta(hours=12),
        1,
        queue="high",
        timeout=60 * 2,
        depends_on=parent,
        at_front=True,
        retry=3,
        on_success="app.done",
        failure_ttl=5,
        offload="thread",
    )

    assert isinstance(job, Job)
    assert (job.origin, job.timeout, job.retries_left, job.failure_ttl) == ("high", 120, 3, 5)
    assert (job.dependency_ids, job.callback_name("success")) == ([parent.id], "app.done")
    assert job.status is JobStatus.SCHEDULED
    await job.cancel()
    await rq.get_queue().empty()


# -- cron ----------------------------------------------------------------------------------------------------------------


async def test_a_cron_entry_has_a_name_and_is_replaced_under_it(backend: RedisBackend) -> None:
    """Noon UTC by the first pattern; then every minute on another queue. Another name is another entry."""
    rq = RQ(backend)
    decorated = rq.job(add)

    noon = await decorated.cron("0 0 12 * * ?", "add-one-two", 1, 2)
    assert (noon.name, noon.id, noon.pattern) == ("add-one-two", "cron-add-one-two", "0 0 12 * * ?")
    assert noon.next_run is not None
    assert (noon.next_run.hour, noon.next_run.minute, noon.next_run.tzinfo) == (12, 0, UTC)
    assert (noon.origin, noon.timeout, noon.args, noon.runs_left) == ("default", 180, (1, 2), None)

    minutely = await decorated.cron("* * * * *", "add-one-two", 1, 2, queue="high", timeout=55)
    assert (minutely.origin, minutely.timeout) == ("high", 55)
    assert await rq.get_scheduler().count() == 1

    other = await decorated.cron("* * * * *", "another", 1, y=2, repeat=3)
    assert (other.runs_left, other.kwargs) == (3, {"y": 2})
    assert {one.name for one in await rq.get_scheduler().get_cron_jobs()} == {
        "add-one-two",
        "another",
    }

    run = await minutely.run_now()
    assert await rq.get_worker("high").work(burst=True)
    assert await run.wait() == 3
    for cron in (minutely, other):
        await cron.cancel()


async def test_a_cron_entry_takes_policies_and_the_options_of_jobs(rq: RQ) -> None:
    """All that make sense; the zone of the hub is that of its patterns."""
    rq.timezone = "Europe/Berlin"
    decorated = rq.job(add)
    naive = datetime(2030, 1, 1, 12)  # noqa: DTZ001  meant

    cron = await decorated.cron(
        "0 12 * * MON",
        "policies",
        1,
        catch_up="skip",
        grace=5,
        overlap="queue",
        jitter=10,
        start=naive,
        result_ttl=9,
        retry=2,
        on_failure="app.failed",
        description="lunch",
    )
    there = await decorated.options(timezone="UTC").cron("0 12 * * MON", "elsewhere", 1)

    assert (cron.timezone, there.timezone) == ("Europe/Berlin", "UTC")
    assert (cron.policies.catch_up, cron.policies.overlap, cron.policies.grace) == (
        "skip",
        "queue",
        5,
    )
    assert cron.policies.start == datetime(2030, 1, 1, 11, tzinfo=UTC).timestamp()
    assert (cron.result_ttl, cron.retries_left, cron.description) == (9, 2, "lunch")
    for one in (cron, there):
        await one.cancel()


@pytest.mark.parametrize("options", [{"unique": True}, {"depends_on": "x"}, {"interval": 5}])
async def test_options_that_make_no_sense_for_a_pattern_are_refused(
    rq: RQ, options: dict[str, Any]
) -> None:
    """Rather than ignored."""
    decorated: Any = rq.job(add)

    with pytest.raises(InvalidOption, match=next(iter(options))):
        await decorated.cron("* * * * *", "no", 1, **options)
    with pytest.raises(InvalidCronPattern):
        await decorated.cron("every day", "no", 1)
    with pytest.raises(InvalidArguments, match="'timezone' is no option of schedule"):
        await decorated.schedule(5, 1, timezone="UTC")


async def test_what_recurs_is_not_unique_and_waits_for_nobody(rq: RQ) -> None:
    """Whoever said so: the decorator, ``options()`` or the call; which may take it back."""
    by_decorator = rq.job(unique=True)(add)

    with pytest.raises(InvalidOption, match=r"unique: no option of what recurs: .*overlap='skip'"):
        await by_decorator.cron("* * * * *", "no", 1)
    with pytest.raises(InvalidOption, match="unique: no option"):
        rq.cron("* * * * *", args=(1,))(add)
    with pytest.raises(InvalidOption, match="depends_on: no option of what recurs"):
        await by_decorator.options(depends_on="x", unique=False, interval=60).schedule(60, 1)
    cron = await by_decorator.cron("* * * * *", "yes", 1, unique=False)
    every = await by_decorator.schedule(60, 1, interval=60, unique=False)

    assert isinstance(every, CronJob)
    for one in (cron, every):
        await one.cancel()


async def test_a_connection_of_its_own_is_heeded(rq: RQ) -> None:
    """Schedules and entries go where the job goes."""
    rq.connections = {"other": "memory://schedules"}
    decorated = rq.job("low", connection="other")(add)

    async with rq:
        job = await decorated.schedule(timedelta(seconds=60), 1)
        cron = await decorated.cron("* * * * *", "there", 1)

        assert await rq.get_scheduler().count() == 0
        assert await rq.get_scheduler(connection="other").count() == 2
        for one in (job, cron):
            await one.cancel()


# -- declared ------------------------------------------------------------------------------------------------------------


async def test_declared_entries_are_written_when_a_worker_starts(rq: RQ) -> None:
    """The function becomes a job, and what its decorator says holds for the entry, whichever stands above."""
    rq.cron("0 0 12 * * ?", name="noon", args=(1,), kwargs={"y": 2})(add)
    rq.job("low", timeout=7)(add)
    rq.cron("*/5 * * * *", queue="high", overlap="skip")(nothing)

    assert list(rq.crons) == ["noon", "tests.flow.hub_jobs.nothing"]
    assert set(rq.jobs) == {"tests.flow.hub_jobs.add", "tests.flow.hub_jobs.nothing"}
    assert await rq.get_scheduler().count() == 0

    await rq.get_worker("nobody").work(burst=True)

    noon = await CronJob.fetch("noon", rq.backend)
    other = await CronJob.fetch("tests.flow.hub_jobs.nothing", rq.backend)
    assert (noon.source, noon.origin, noon.timeout, noon.args, noon.kwargs) == (
        "shop",
        "low",
        7,
        (1,),
        {"y": 2},
    )
    assert (other.origin, other.policies.overlap) == ("high", "skip")
    for one in (noon, other):
        await one.cancel()


async def test_an_iterator_that_is_declared_is_kept(rq: RQ) -> None:
    """The entry is looked at when it is declared and again whenever it is written."""
    hook = Webhook("http://localhost/", "failed")
    rq.cron("0 0 12 * * ?", name="noon", webhooks=iter([hook]))(nothing)

    for done in (await rq.sync_crons(), await rq.sync_crons()):
        assert done.removed == done.updated == ()

    run = await (await CronJob.fetch("noon", rq.backend)).run_now()
    assert run.webhooks == [hook]
    await rq.get_scheduler().cancel("noon")
    await rq.get_queue().empty()


@pytest.mark.parametrize("burst", [True, False])
async def test_declared_entries_are_written_when_a_scheduler_starts(rq: RQ, burst: bool) -> None:
    """Where the workers schedule nothing, it is the scheduler's process that knows of them."""
    rq.cron("* * * * * *", name="each second")(nothing)
    scheduler = rq.get_scheduler()

    running = asyncio.create_task(scheduler.run(burst))
    await eventually(scheduler.count)
    scheduler.request_stop()
    await running

    entry = await CronJob.fetch("each second", rq.backend)
    assert entry.source == rq.name
    await entry.cancel()


async def test_entries_that_are_declared_no_more_are_removed(memory_backend: RedisBackend) -> None:
    """Those of this program; not those of others, nor those made at run time."""
    before = RQ(memory_backend, name="shop")
    before.cron("* * * * *", name="old", args=(1,))(add)
    before.cron("* * * * *", name="stays", args=(1, 2))(add_later)
    await before.sync_crons()
    other = RQ(memory_backend, name="billing")
    other.cron("* * * * *", name="bills", args=(1,))(add)
    await other.sync_crons()
    made = await other.job(add).cron("* * * * *", "made", 1)

    after = RQ(memory_backend, name="shop")
    after.cron("0 * * * *", name="stays", args=(1, 2))(add_later)
    done = await after.sync_crons()

    assert (done.added, done.updated, done.removed) == ((), ("stays",), ("old",))
    assert (await after.sync_crons()).unchanged == ("stays",)
    left = await after.get_scheduler().get_cron_jobs()
    assert {one.name for one in left} == {"stays", "bills", "made"}
    with pytest.raises(NoSuchCronJobError):
        await CronJob.fetch("old", memory_backend)
    await made.cancel()
    for one in await after.get_scheduler().get_cron_jobs():
        await one.cancel()


async def test_an_entry_of_a_module_that_is_not_imported_is_not_taken_for_gone(
    memory_backend: RedisBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is imported; if that fails, the entry is left alone; if there is no such module any more, it goes."""
    monkeypatch.syspath_prepend(tmp_path)
    rq = RQ(memory_backend, name="shop")
    monkeypatch.setattr("tests.flow.test_hub_schedules.CURRENT", rq)
    for name, tail in (("lazy", ""), ("broken", ""), ("gone", "")):
        (tmp_path / f"shop_{name}.py").write_text(_MODULE.format(name=name, tail=tail))
        __import__(f"shop_{name}")
    await rq.sync_crons()
    assert set(rq.crons) == {"lazy", "broken", "gone"}

    again = RQ(memory_backend, name="shop")
    monkeypatch.setattr("tests.flow.test_hub_schedules.CURRENT", again)
    for name in ("lazy", "broken", "gone"):
        monkeypatch.delitem(sys.modules, f"shop_{name}")
    (tmp_path / "shop_gone.py").unlink()
    broken = _MODULE.format(name="broken", tail="import no_such_module_at_all")
    (tmp_path / "shop_broken.py").write_text(f"import no_such_module_at_all\n{broken}")
    done = await again.sync_crons()

    assert set(again.crons) == {"lazy"}
    assert (done.unchanged, done.removed) == (("lazy",), ("gone",))
    assert "'broken': shop_broken.task cannot be imported here; left as it is" in caplog.text
    for one in await again.get_scheduler().get_cron_jobs():
        await one.cancel()


CURRENT: RQ | None = None
_MODULE = """
from tests.flow import test_hub_schedules

@test_hub_schedules.CURRENT.cron("* * * * *", name="{name}")
def task():
    pass
{tail}
"""


async def test_another_programs_entry_is_not_taken_over(memory_backend: RedisBackend) -> None:
    """Two programs with one name for two things; or one program whose module is called something else by now."""
    first, second = RQ(memory_backend, name="shop"), RQ(memory_backend, name="billing")
    for one in (first, second):
        one.cron("* * * * *", name="mine")(nothing)
    await first.sync_crons()

    with pytest.raises(InvalidJobOperation, match=r"'shop' declares it; .* RQ\(name=…\)"):
        await second.get_worker().work(burst=True)
    await first.get_scheduler().cancel("mine")


def test_declarations_are_checked_where_they_are_made(rq: RQ) -> None:
    """Pattern, arguments, options and name."""
    untyped: Any = rq

    with pytest.raises(InvalidCronPattern):
        rq.cron("every day", name="no", args=(1,))(add)
    with pytest.raises(InvalidArguments, match="missing a required argument: 'x'"):
        rq.cron("* * * * *", name="no")(add)
    with pytest.raises(InvalidOption, match="unknown option 'timezon'; did you mean 'timezone'"):
        untyped.cron("* * * * *", name="no", args=(1,), timezon="UTC")(add)
    with pytest.raises(InvalidFunction, match="lambda"):
        rq.cron("* * * * *", name="no")(lambda: None)
    rq.cron("* * * * *")(nothing)
    with pytest.raises(InvalidOption, match="is declared under this name; give name=… to one"):
        rq.cron("0 * * * *")(nothing)
    rq.cron("0 * * * *", name="hourly")(nothing)
    assert list(rq.crons) == ["tests.flow.hub_jobs.nothing", "hourly"]


async def test_entries_of_a_connection_are_written_by_its_workers(rq: RQ) -> None:
    """A worker of another Redis has nothing to do with them."""
    rq.connections = {"other": "memory://declared"}
    rq.job(connection="other")(nothing)
    rq.cron("* * * * *", name="there")(nothing)
    rq.cron("* * * * *", name="here", args=(1,))(add)

    async with rq:
        await rq.get_worker().work(burst=True)
        assert [one.name for one in await rq.get_scheduler().get_cron_jobs()] == ["here"]

        await rq.get_worker(connection="other").work(burst=True)
        there = await rq.get_scheduler(connection="other").get_cron_jobs()
        assert [one.name for one in there] == ["there"]
        for one in [*there, *await rq.get_scheduler().get_cron_jobs()]:
            await one.cancel()
