"""What the rq-scheduler package has scheduled is taken over: its jobs are written here field by field, as its source does."""

from __future__ import annotations

import json
import pickle
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiorq2 import InvalidOption, Job, Scheduler
from aiorq2.backends.redis import RedisBackend
from aiorq2.migration import Import, import_rq_scheduler
from aiorq2.timing import to_iso
from tests.contract import stage
from tests.flow.at_work import drain
from tests.flow.cli_stage import Stage, is_one_sentence
from tests.flow.clocked import NOON, clock_of
from tests.support import jobs

DUE = NOON + timedelta(minutes=1)


class Trap:
    """What must not be unpickled by those who only look."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (jobs.recorded.append, ("sprung",))


def _key(backend: RedisBackend) -> str:
    return f"{backend.key_prefix}:scheduler:scheduled_jobs"


async def plant(
    backend: RedisBackend,
    job_id: str,
    meta: Any = None,
    *,
    due: datetime = DUE,
    dumps: Any = pickle.dumps,
    call: Any = None,
    **fields: Any,
) -> None:
    """Write a job as rq-scheduler 0.14 on rq 3.0 does."""
    call = call or ("tests.support.jobs.record", None, (job_id,), {})
    pairs: dict[str, Any] = {
        "created_at": to_iso(NOON),
        "data": zlib.compress(dumps(call)),
        "status": "scheduled",
        "success_callback_name": "",
        "failure_callback_name": "",
        "stopped_callback_name": "",
        "started_at": "",
        "ended_at": "",
        "last_heartbeat": "",
        "worker_name": "",
        "group_id": "",
        "origin": "q",
        "description": f"tests.support.jobs.record('{job_id}')",
        "timeout": 180,
        **fields,
    }
    if meta is not None:
        pairs["meta"] = dumps(meta)
    flat = [part for pair in pairs.items() for part in pair]
    await backend.run(
        ["HSET", backend.keys.job(job_id), *flat],
        ["ZADD", _key(backend), int(due.timestamp()), job_id],
    )


async def imported(backend: RedisBackend, **options: Any) -> dict[str, Import]:
    """Import everything, and return what became of it by id."""
    options = {"serializer": "pickle", **options}
    found = await import_rq_scheduler(backend, key=_key(backend), **options)
    return {one.id: one for one in found}


async def _left(backend: RedisBackend) -> list[str]:
    (members,) = await backend.run(["ZRANGE", _key(backend), 0, -1])
    return [member.decode() for member in members]


async def _forget(backend: RedisBackend, *ids: str) -> None:
    """Delete the hashes that rq-scheduler would leave behind, too."""
    await backend.run(["DEL", _key(backend), *[backend.keys.job(one) for one in ids]])


async def test_cron_becomes_an_entry(clocked: RedisBackend) -> None:
    """With its pattern, arguments and options; Flask-RQ2's ``cron-<name>`` has its name again."""
    meta = {"cron_string": "30 * * * *", "use_local_timezone": False, "repeat": 2, "mine": 1}
    await plant(clocked, "cron-x", meta, result_ttl=-1, timeout=55, ttl=99, enqueue_at_front=1)

    found = await imported(clocked)

    assert found["cron-x"] == Import(
        "cron-x", "cron", "30 * * * *", DUE, "q", "tests.support.jobs.record", "in UTC"
    )
    cron = await Scheduler(backend=clocked, serializer="pickle").get_cron_job("x")
    assert (cron.id, cron.pattern, cron.timezone) == ("cron-x", "30 * * * *", "UTC")
    assert (cron.args, cron.timeout, cron.ttl, cron.result_ttl) == (("cron-x",), 55, 99, None)
    assert (cron.meta, cron.runs_left, cron.enqueue_at_front) == ({"mine": 1}, 2, True)
    assert await _left(clocked) == []
    await _forget(clocked, "cron-x")

    clock_of(clocked).travel(30 * 60)
    await drain(clocked, serializer="pickle")
    assert jobs.recorded == ["cron-x"]


async def test_interval_goes_on_from_its_due_time(clocked: RedisBackend) -> None:
    """``repeat`` is how many runs are left in all, as rq-scheduler counts."""
    await plant(clocked, "every", {"interval": 90, "repeat": 2})

    found = await imported(clocked)

    assert (found["every"].kind, found["every"].beat) == ("interval", "every 1m30s")
    cron = await Scheduler(backend=clocked).get_cron_job("every")
    assert (cron.interval, cron.next_run, cron.runs_left) == (90, DUE, 2)
    await _forget(clocked, "every")
    for _ in range(4):
        clock_of(clocked).travel(75)
        await drain(clocked, serializer="pickle")
    assert jobs.recorded == ["every"] * 2


async def test_scheduled_job_keeps_its_id_and_time(clocked: RedisBackend) -> None:
    """It is a scheduled job of its queue then, with its options, callbacks and parents."""
    await plant(
        clocked, "once", {"a": 1}, result_ttl=70, success_callback_name="tests.support.jobs.echo",
        success_callback_timeout=5, dependency_ids=json.dumps(["parent"]), dependency_id="parent",
    )  # fmt: skip

    found = await imported(clocked)

    assert (found["once"].kind, found["once"].refusal) == ("once", "")
    job = await Job.fetch("once", clocked, "pickle")
    assert (job.status, job.origin, job.meta, job.result_ttl) == ("scheduled", "q", {"a": 1}, 70)
    assert job.callback_name("success") == "tests.support.jobs.echo"
    assert job.dependency_ids == ["parent"]
    assert await Scheduler(backend=clocked).get_jobs(with_times=True) == [(job, DUE)]
    assert await _left(clocked) == []


async def test_import_may_be_repeated(clocked: RedisBackend) -> None:
    """What was taken over by a process that died before it could take it off the list is not run twice."""
    await plant(clocked, "once")
    await plant(clocked, "cron-x", {"cron_string": "* * * * *"})
    await imported(clocked)
    await drain(clocked, serializer="pickle")
    clock_of(clocked).travel(60)
    await drain(clocked, serializer="pickle")
    assert sorted(jobs.recorded) == ["cron-x", "once"]

    await clocked.run(["ZADD", _key(clocked), 1, "once", 1, "cron-x"])
    await imported(clocked)
    await drain(clocked, serializer="pickle")

    assert sorted(jobs.recorded) == ["cron-x", "once"]
    assert await _left(clocked) == []
    await _forget(clocked, "cron-x")


@pytest.mark.leaks_allowed("what is not imported stays as rq-scheduler left it")
async def test_dry_run_writes_nothing_and_unpickles_nothing(clocked: RedisBackend) -> None:
    """Without a serializer it says what it can see: ids, functions, queues and times."""
    trap: Any = ("tests.support.jobs.record", None, (Trap(),), {})
    await plant(clocked, "cron-x", {"cron_string": "* * * * *", "trap": Trap()}, call=trap)
    before = await stage.everything(clocked)

    found = await imported(clocked, serializer=None, dry_run=True)

    assert found["cron-x"] == Import("cron-x", "unread", "", DUE, "q", "tests.support.jobs.record")
    assert jobs.recorded == []
    told = await imported(clocked, dry_run=True)
    assert (told["cron-x"].kind, told["cron-x"].refusal) == ("cron", "")
    assert await stage.everything(clocked) == before
    with pytest.raises(InvalidOption, match="say which serializer"):
        await imported(clocked, serializer=None)


@pytest.mark.leaks_allowed("what is not imported stays as rq-scheduler left it")
async def test_what_cannot_be_taken_over_stays(clocked: RedisBackend) -> None:
    """With its reason; the others are taken over."""
    await plant(clocked, "pattern", {"cron_string": "61 * * * *"})
    await plant(clocked, "seconds", {"cron_string": "* * * * * 30"})
    await plant(clocked, "parents", {"interval": 60}, dependency_ids='["p"]')
    await plant(clocked, "json", {"interval": 60}, dumps=lambda value: json.dumps(value).encode())
    await plant(clocked, "a b", {"interval": 60})
    await plant(clocked, "interval", {"interval": "soon"})
    await plant(clocked, "meta", ["no", "dict"])
    await plant(clocked, "good", {"interval": 60})
    await clocked.run(["ZADD", _key(clocked), 1, "gone"])

    found = await imported(clocked)

    refusals = {one.id: one.refusal for one in found.values() if one.refusal}
    assert refusals.keys() == {
        "pattern", "seconds", "parents", "json", "a b", "interval", "meta",
    }  # fmt: skip
    assert "the sixth field is the year" in refusals["seconds"]
    assert "it looks like json" in refusals["json"]
    assert "depends on other jobs" in refusals["parents"]
    assert sorted(await _left(clocked)) == sorted([*refusals, "gone"])
    assert [one.name for one in await Scheduler(backend=clocked).get_cron_jobs()] == ["good"]


@pytest.mark.parametrize(
    ("pattern", "local", "expected", "note"),
    [
        ("30 12 * * * *", False, "0 30 12 * * * *", "in UTC"),
        ("30 12 * * * 2025", False, "0 30 12 * * * 2025", "in UTC"),
        ("5 30 12 * * * *", False, "5 30 12 * * * *", "in UTC"),
        ("0 9 * * 1", True, "0 9 * * 1", "in Asia/Tokyo"),
        ("0 9 1 * mon", False, "0 9 1 * mon", "day and weekday: either, not both, has to match"),
    ],
)
async def test_patterns_are_those_of_the_crontab_package(
    clocked: RedisBackend,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    local: bool,
    expected: str,
    note: str,
) -> None:
    """A sixth field is the year; what is meant otherwise there is told."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    await plant(clocked, "cron-x", {"cron_string": pattern, "use_local_timezone": local})

    found = await imported(clocked)

    assert note in found["cron-x"].note
    cron = await Scheduler(backend=clocked).get_cron_job("x")
    assert cron.pattern == expected
    await _forget(clocked, "cron-x")


async def test_method_of_an_object_is_carried_over(clocked: RedisBackend) -> None:
    """As pickle allows."""
    call: Any = ("deposit", jobs.Account(3), (4,), {})
    await plant(clocked, "method", {"interval": 60}, call=call)

    await imported(clocked)
    await _forget(clocked, "method")
    clock_of(clocked).travel(60)
    await drain(clocked, serializer="pickle")

    cron = await Scheduler(backend=clocked, serializer="pickle").get_cron_job("method")
    (job,) = await cron.get_jobs()
    assert job.result == 7


def test_command_line_imports(redis_url: str, key_prefix: str) -> None:
    """With a dry run before; it ends with 1 where something stays."""
    stage_ = Stage(redis_url, key_prefix)

    async def prepare(backend: RedisBackend) -> None:
        due = datetime(2100, 1, 1, tzinfo=UTC)
        await plant(backend, "cron-x", {"cron_string": "0 12 * * *"}, due=due)
        await plant(backend, "once", due=due)

    stage_.library(prepare)
    command = ["cron", "import-rq-scheduler", "--key", f"{key_prefix}:scheduler:scheduled_jobs"]

    assert is_one_sentence(stage_.run(*command), 2)
    told = stage_.run(*command, "--dry-run").output
    assert "once: tests.support.jobs.record in q, at 2100-01-01 00:00:00 UTC; how it recurs" in told
    assert told.endswith("2 would be imported, 0 cannot be\n")
    result = stage_.run(*command, "-S", "pickle")
    assert result.exit_code == 0
    assert "cron-x: tests.support.jobs.record in q, 0 12 * * *, next 2100-01-01" in result.output
    assert result.output.endswith("2 imported, 0 cannot be\n")
    assert stage_.run(*command, "-S", "pickle").output == "0 imported, 0 cannot be\n"

    async def refuse(backend: RedisBackend) -> None:
        await plant(backend, "odd", {"cron_string": "bla"})

    stage_.library(refuse)
    result = stage_.run(*command, "-S", "pickle")
    assert result.exit_code == 1
    assert "odd: " in result.stderr
    assert "not imported: cron pattern 'bla'" in result.stderr
    stage_.library(lambda backend: _forget(backend, "cron-x", "odd"))
