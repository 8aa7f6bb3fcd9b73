"""Recurring entries declared in code: what Redis holds follows the code, and nothing stays behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiorq2 import CronSpec, InvalidCronPattern, InvalidJobOperation, InvalidOption, Scheduler
from aiorq2.backends.redis import RedisBackend
from aiorq2.cron_sync import Synced
from tests.contract import stage
from tests.flow.clocked import clock_of, later, minute_by_minute
from tests.support import jobs


def spec(name: str, *args: Any, pattern: str = "* * * * *", **options: Any) -> CronSpec:
    """Declare something that is recorded."""
    return CronSpec.of(name, jobs.record, args or (name,), pattern=pattern, **options)


async def test_declared_entries_are_added_updated_and_removed(clocked: RedisBackend) -> None:
    """And left alone where they are as declared; what was done is told."""
    scheduler = Scheduler("q", backend=clocked)

    assert await scheduler.sync([spec("a"), spec("b")], source="app") == Synced(added=("a", "b"))
    assert sorted(await later(clocked, 60)) == ["a", "b"]

    synced = await scheduler.sync([spec("a"), spec("b", "other"), spec("c")], source="app")
    assert synced == Synced(added=("c",), updated=("b",), unchanged=("a",))
    assert sorted(await later(clocked, 60)) == ["a", "c", "other"]

    synced = await scheduler.sync([spec("c")], source="app")
    assert synced == Synced(unchanged=("c",), removed=("a", "b"))
    assert synced.has_changes
    assert await later(clocked, 60) == ["c"]
    assert [one.source for one in await scheduler.get_cron_jobs()] == ["app"]


async def test_entries_of_others_are_left_alone(clocked: RedisBackend) -> None:
    """Those that were made at run time, and those of other code."""
    scheduler = Scheduler("q", backend=clocked)
    await scheduler.cron("* * * * *", jobs.record, ["mine"], name="mine")
    await scheduler.sync([spec("theirs")], source="other")

    await scheduler.sync([spec("a")], source="app")
    assert await scheduler.sync([], source="app") == Synced(removed=("a",))

    assert [one.name for one in await scheduler.get_cron_jobs()] == ["mine", "theirs"]
    with pytest.raises(InvalidJobOperation, match="cron 'theirs': cannot declare for 'app'"):
        await scheduler.sync([spec("theirs")], source="app")


async def test_many_processes_may_declare_at_once(clocked: RedisBackend) -> None:
    """It comes to the same, and each tick has one run."""
    scheduler = Scheduler("q", backend=clocked)

    synced = await asyncio.gather(
        *[scheduler.sync([spec("a"), spec("b")], source="app") for _ in range(8)]
    )

    assert sum(len(one.added) for one in synced) == 2
    assert await minute_by_minute(clocked, 2) == [1, 1, 2, 2]


async def test_restart_neither_loses_nor_repeats_what_was_pending(clocked: RedisBackend) -> None:
    """A process that declares on each start does not move the time: what was missed while it was down is caught up."""
    scheduler = Scheduler("q", backend=clocked)
    declared = [spec("a", pattern="0 * * * *"), spec("b", pattern="0 * * * *", catch_up="skip")]
    every = CronSpec.of("every", jobs.record, ["every"], interval="1h")
    await scheduler.sync([*declared, every], source="app")

    clock_of(clocked).travel(2.5 * 3600)
    await scheduler.sync([*declared, every], source="app")

    assert sorted(await later(clocked, 0)) == ["a", "every"]
    cron = await scheduler.get_cron_job("every")
    assert cron.next_run is not None
    assert cron.next_run.minute == 0
    changed = [CronSpec.of("every", jobs.record, ["changed"], interval="1h")]
    await scheduler.sync([*declared, *changed], source="app")
    await cron.refresh()
    assert cron.next_run.minute == 0
    assert sorted(await later(clocked, 1800)) == ["a", "b", "changed"]


async def test_what_an_operator_did_survives_a_restart(clocked: RedisBackend) -> None:
    """A pause does; an edit is taken back, since the code says otherwise; what was removed is declared again."""
    scheduler = Scheduler("q", backend=clocked)
    declared = [spec(name) for name in ("paused", "edited", "removed")]
    await scheduler.sync(declared, source="app")
    await (await scheduler.get_cron_job("paused")).pause()
    edited = await scheduler.get_cron_job("edited")
    await edited.save(args=["something else"])
    await scheduler.cancel("removed")

    synced = await scheduler.sync(declared, source="app")

    assert synced == Synced(added=("removed",), updated=("edited",), unchanged=("paused",))
    assert sorted(await later(clocked, 60)) == ["edited", "removed"]


async def test_repeat_is_not_begun_again_by_a_restart(clocked: RedisBackend) -> None:
    """``repeat=2`` is two runs, however often the code is started."""
    scheduler = Scheduler("q", backend=clocked)
    for _ in range(5):
        await scheduler.sync([spec("a", repeat=2)], source="app")
        await later(clocked, 60)

    assert jobs.recorded == ["a", "a"]


async def test_older_version_of_the_code_changes_nothing(clocked: RedisBackend) -> None:
    """In a rolling deploy, a process of the old version that starts late does not bring the old entries back."""
    scheduler = Scheduler("q", backend=clocked)
    await scheduler.sync([spec("a", "old"), spec("gone")], source="app", version=1)
    await scheduler.sync([spec("a", "new"), spec("c")], source="app", version=2)

    synced = await scheduler.sync([spec("a", "old"), spec("gone")], source="app", version=1)

    assert synced == Synced(outdated=("a", "gone", "c"))
    assert sorted(await later(clocked, 60)) == ["c", "new"]
    await scheduler.sync([], source="app", version=2)


async def test_dry_run_tells_and_writes_nothing(clocked: RedisBackend) -> None:
    """What would be done is what is done then."""
    scheduler = Scheduler("q", backend=clocked)
    await scheduler.sync([spec("same"), spec("other"), spec("gone")], source="app")
    declared = [spec("same"), spec("other", "else"), spec("new")]
    before = await stage.everything(clocked)

    told = await scheduler.sync(declared, source="app", dry_run=True)

    assert await stage.everything(clocked) == before
    assert await scheduler.sync(declared, source="app") == told
    assert told == Synced(("new",), ("other",), ("same",), ("gone",))


async def test_declaration_that_cannot_be_meant_writes_nothing(clocked: RedisBackend) -> None:
    """One bad entry among good ones, or the same name twice."""
    scheduler = Scheduler("q", backend=clocked)
    before = await stage.everything(clocked)

    with pytest.raises(InvalidOption, match="sync: a is declared more than once"):
        await scheduler.sync([spec("a"), spec("b"), spec("a", "x")], source="app")
    with pytest.raises(InvalidOption, match="cron 'b': it would never run"):
        await scheduler.sync([spec("a"), spec("b", pattern="0 0 12 1 1 ? 2020")], source="app")
    with pytest.raises(InvalidOption, match="source name ''"):
        await scheduler.sync([spec("a")], source="")
    with pytest.raises(InvalidCronPattern):
        spec("a", pattern="* * *")
    with pytest.raises(InvalidOption, match="a pattern or an interval, and not both"):
        spec("a", interval=5)

    assert await stage.everything(clocked) == before


def test_declarations_are_values() -> None:
    """Frozen, and equal where they say the same."""
    assert spec("a") == spec("a")
    assert spec("a") != spec("a", "x")
    assert spec("a", timeout=5).options.job_timeout == 5
    assert spec("a", overlap="skip").policies.overlap == "skip"
    with pytest.raises(AttributeError):
        spec("a").name = "b"  # type: ignore[misc]
