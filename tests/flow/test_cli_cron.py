"""``aiorq2 cron`` and ``aiorq2 scheduler``: what a person sees and does at a terminal."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aiorq2 import CronJob, CronSpec, Scheduler
from aiorq2.queue import Queue
from tests.flow.cli_stage import Stage, is_one_sentence
from tests.support import jobs
from tests.support.processes import PythonProcess

NOON = ["cron", "add", "add-one-two", "tests.support.jobs.add", ":1", ":2"]
PATTERN = ["--pattern", "0 0 12 * * ?"]


@pytest.fixture
def stage(redis_url: str, key_prefix: str) -> Stage:
    """The test's Redis with a command line."""
    return Stage(redis_url, key_prefix)


def entry(stage: Stage, name: str = "add-one-two") -> CronJob:
    """Return an entry as it is now."""
    found: CronJob = stage.library(lambda backend: Scheduler(backend=backend).get_cron_job(name))
    return found


def test_add_makes_an_entry(stage: Stage) -> None:
    """With arguments in RQ's syntax; it says in words when it runs, and when next."""
    result = stage.run(*NOON, *PATTERN, "-q", "high", "--timeout", "55")

    assert result.exit_code == 0, result.output
    assert re.fullmatch(
        r"Added add-one-two: At 12:00, every day, UTC; next \d{4}-\d\d-\d\d 12:00:00 UTC\n",
        result.output,
    )
    found = entry(stage)
    assert (found.origin, found.timeout, found.args) == ("high", 55, (1, 2))


def test_add_takes_every_policy(stage: Stage) -> None:
    """And an interval in place of a pattern; the same name again is a change."""
    stage.run(*NOON, *PATTERN)

    result = stage.run(
        *NOON, "--interval", "1h30m", "--catch-up", "skip", "--grace", "1m", "--overlap", "queue", "--jitter", "5",
        "--repeat", "3", "--start", "2100-05-01T12:00", "--end", "2100-06-01T12:00+02:00", "--description", "told",
        "--result-ttl", "-1", "--ttl", "2m", "-S", "pickle",
    )  # fmt: skip

    assert result.output.startswith("Updated add-one-two: Every 1h30m; next 2100-05-01")
    found = entry(stage)
    own = found.policies
    assert (own.catch_up, own.grace, own.overlap, own.jitter, own.repeat) == (
        "skip",
        60,
        "queue",
        5,
        3,
    )
    assert own.start == datetime(2100, 5, 1, 12, tzinfo=UTC).timestamp()
    assert own.end == datetime(2100, 6, 1, 10, tzinfo=UTC).timestamp()
    assert (found.description, found.result_ttl, found.ttl) == ("told", -1, 120)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pattern", "60 * * * *"], "60"),
        (["--pattern", "* * * * *", "--timezone", "Mars"], "Mars"),
        (["--pattern", "* * * * *", "--interval", "5"], "not both"),
        ([], "needs a pattern or an interval"),
        (["--interval", "soon"], "interval: 'soon' is not a duration"),
        (["--interval", "5", "--start", "soon"], "'soon' is no date"),
        (["--interval", "5", "--overlap", "never"], "never"),
    ],
)
def test_add_refuses_what_cannot_be_meant(stage: Stage, options: list[str], message: str) -> None:
    """With one sentence and status 2."""
    result = stage.run(*NOON, *options)

    assert is_one_sentence(result, 2), result.output
    assert message in result.output


def test_list_shows_patterns_in_words(stage: Stage) -> None:
    """One line for each entry; with ``--json`` everything that is known, and nothing that is not text or number."""
    stage.run(*NOON, *PATTERN)
    stage.run("cron", "add", "other", "m.f", "--interval", "5m", "-q", "low")
    stage.run("cron", "pause", "other")

    result = stage.run("cron", "list")

    first, second, last = result.output.splitlines()
    assert first.startswith(
        "add-one-two | 0 0 12 * * ? | At 12:00, every day, UTC | queue default | tests.support.jobs.add(1, 2) | next 2"
    )
    assert first.endswith("| last never | 0 runs")
    assert (
        second == "other | every 5m | Every 5m | queue low | m.f() | paused | last never | 0 runs"
    )
    assert last == "2 entries"
    found = json.loads(stage.run("cron", "list", "--json").output)
    assert [one["name"] for one in found] == ["add-one-two", "other"]
    assert found[0] | {"pattern": "0 0 12 * * ?", "state": "active", "timeout": 180} == found[0]
    assert found[0]["next_run"].endswith("T12:00:00+00:00")


def test_the_seeds_entries_are_listed(stage: Stage) -> None:
    """The two ``add.cron`` of the walk-through that this follows have one name: the second takes the place of the first."""
    stage.run(*NOON, *PATTERN)
    listed = stage.run("cron", "list").output
    assert "add-one-two | 0 0 12 * * ? | At 12:00, every day, UTC" in listed

    stage.run(*NOON, "--pattern", "* * * * *", "-q", "high", "--timeout", "55")

    listed = stage.run("cron", "list").output
    assert "add-one-two | * * * * * | Every minute" in listed
    assert "queue high" in listed
    assert listed.endswith("1 entries\n")


def test_list_reads_what_it_cannot_decode(stage: Stage) -> None:
    """Entries of another serializer, and one whose pattern nobody can read; nothing is unpickled."""

    async def work(backend: Any) -> None:
        scheduler = Scheduler("q", backend=backend, serializer="pickle")
        await scheduler.cron("* * * * *", jobs.echo, [{1, 2}], name="pickled", meta={"a": {1}})
        await scheduler.cron("* * * * *", jobs.echo, ["x"], name="odd")
        key = backend.keys.cron("odd")
        await backend.run(["HSET", key, "pattern", "bla", "error", "\x1b[31mred"])

    stage.library(work)

    result = stage.run("cron", "list")

    assert result.exit_code == 0, result.output
    assert "odd | bla | cannot be read here: " in result.output
    assert "pickled | * * * * * |" in result.output
    shown = stage.run("cron", "show", "odd").output
    assert "active: \\x1b[31mred" in shown


def test_show_tells_everything_and_the_latest_jobs(stage: Stage) -> None:
    """By name or id."""
    stage.run(*NOON, *PATTERN, "--overlap", "skip", "--repeat", "3")
    ran = stage.run("cron", "run", "add-one-two")
    job_id = ran.output.split()[-1]
    assert ran.output == f"Enqueued add-one-two as job {job_id}\n"

    result = stage.run("cron", "show", "cron-add-one-two")

    assert "when:        0 0 12 * * ? (At 12:00, every day, UTC)\n" in result.output
    assert "runs:        1, 3 left, 0 skipped\n" in result.output
    assert "policies:    catch_up last, grace 10s, overlap skip\n" in result.output
    assert "declared by: nobody: it was made at run time\n" in result.output
    assert f"  {job_id} queued\n" in result.output
    found = json.loads(stage.run("cron", "show", "add-one-two", "--json").output)
    assert found["jobs"] == [{"id": job_id, "status": "queued"}]
    assert found["function"] == "tests.support.jobs.add"


def test_next_shows_the_next_times(stage: Stage) -> None:
    """As many as asked for, fewer if it ends before; none of one that is paused."""
    stage.run(*NOON, "--pattern", "0 0 12 1 1 ? 2097-2099")

    assert stage.run("cron", "next", "add-one-two", "--count", "2").output.splitlines() == [
        "2097-01-01 12:00:00 UTC",
        "2098-01-01 12:00:00 UTC",
    ]
    assert len(stage.run("cron", "next", "add-one-two").output.splitlines()) == 3
    stage.run("cron", "pause", "add-one-two")
    assert stage.run("cron", "next", "add-one-two").output == "paused\n"


def test_pause_resume_and_remove(stage: Stage) -> None:
    """Several at once; of those that are not there it says so, with status 1, and does the others."""
    stage.run(*NOON, *PATTERN)

    result = stage.run("cron", "pause", "nobody", "add-one-two")
    assert (result.exit_code, result.stdout) == (1, "Paused add-one-two\n")
    assert result.stderr == "aiorq2: cron 'nobody': there is no such entry\n"
    assert entry(stage).is_paused

    result = stage.run("cron", "resume", "add-one-two")
    assert re.match(r"Resumed add-one-two, next \d{4}-\d\d-\d\d 12:00:00 UTC", result.output)
    assert stage.run("cron", "remove", "add-one-two").output == "Removed add-one-two\n"
    assert stage.run("cron", "list").output == "0 entries\n"
    assert is_one_sentence(stage.run("cron", "show", "add-one-two"), 1)


# -- sync ------------------------------------------------------------------------------------------------------------------

MODULE = """
from aiorq2 import CronSpec

def spec(name, *args):
    return CronSpec.of(name, "tests.support.jobs.record", args, pattern="* * * * *")

class App:
    crons = [spec("a", 1), spec("b", 2)]

app = App()
bare = [spec("a", 1)]
none = object()
wrong = ["a"]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that declares entries, in the current folder."""
    (tmp_path / "declares.py").write_text(MODULE)
    (tmp_path / "raises.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "declares", raising=False)
    return "declares"


def test_sync_makes_entries_those_of_the_code(stage: Stage, module: str) -> None:
    """It says what it did, or with ``--dry-run`` what it would do."""
    told = stage.run("cron", "sync", f"{module}:app", "--dry-run")
    assert told.output == "would be added: a\nwould be added: b\n"
    assert stage.run("cron", "list").output == "0 entries\n"

    assert stage.run("cron", "sync", f"{module}:app").output == "added: a\nadded: b\n"
    assert entry(stage, "a").source == module
    assert stage.run("cron", "sync", f"{module}:app").output == "unchanged: a\nunchanged: b\n"

    result = stage.run("cron", "sync", f"{module}:bare", "--json")
    assert json.loads(result.output) == {
        "added": [],
        "updated": [],
        "removed": ["b"],
        "unchanged": ["a"],
        "outdated": [],
        "dry_run": False,
    }


def test_sync_leaves_it_to_an_object_that_can(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as an ``RQ``, which knows its defaults: its ``sync_crons`` is called."""
    from aiorq2.cli import cron_write
    from aiorq2.cron_sync import Synced

    class Hub:
        async def sync_crons(self, backend: Any, dry_run: bool = False) -> Synced:
            spec = CronSpec.of("x", jobs.add, (1, 2), pattern="* * * * *")
            return await Scheduler(backend=backend).sync([spec], source="hub", dry_run=dry_run)

    monkeypatch.setattr(cron_write, "load_target", lambda *_: Hub())

    assert stage.run("cron", "sync", "any:thing", "--dry-run").output == "would be added: x\n"
    assert stage.run("cron", "sync", "any:thing").output == "added: x\n"
    assert entry(stage, "x").source == "hub"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("declares", 2),
        ("nowhere:app", 2),
        ("declares:nobody", 2),
        ("declares:none", 2),
        ("declares:wrong", 2),
        ("raises:app", 1),
    ],
)
def test_sync_refuses_what_declares_nothing(
    stage: Stage, module: str, target: str, status: int
) -> None:
    """With one sentence."""
    result = stage.run("cron", "sync", target)

    assert is_one_sentence(result, status), result.output
    assert target.partition(":")[0] in result.output


# -- aiorq2 scheduler --------------------------------------------------------------------------------------------------------


def test_scheduler_burst_sees_to_what_is_due(stage: Stage) -> None:
    """Of the queues that are named, or of all."""

    async def plan(backend: Any) -> None:
        for queue in ("a", "b"):
            await Scheduler(queue, backend=backend).enqueue_in(0, jobs.nothing)

    async def count(backend: Any) -> list[int]:
        return [await Queue(name, backend).count() for name in ("a", "b")]

    stage.library(plan)
    assert stage.run("scheduler", "--burst", "-q", "b").exit_code == 0
    assert stage.library(count) == [0, 1]
    assert stage.run("scheduler", "-b").exit_code == 0
    assert stage.library(count) == [1, 1]


def test_scheduler_runs_until_it_is_told_to_stop(stage: Stage) -> None:
    """It says so in one line each, and ends with status 0."""
    with PythonProcess(["-m", "aiorq2", "scheduler"], env=stage.env) as process:
        process.wait_for_output("scheduling for all queues")
        stage.run("cron", "add", "x", "tests.support.jobs.nothing", "--interval", "0.2")
        process.wait_for_output("cron x: enqueued job cron-x-")

        process.terminate()

        assert process.wait(10) == 0
        assert process.output().splitlines()[-1].endswith("the scheduler has stopped")


def test_scheduler_without_redis_stops_all_the_same(stage: Stage) -> None:
    """It waits for Redis, and not beyond a signal."""
    env = {**stage.env, "AIORQ2_URL": "redis://127.0.0.1:1/0"}
    with PythonProcess(["-m", "aiorq2", "scheduler"], env=env) as process:
        process.wait_for_output("cannot be reached")

        process.terminate()

        assert process.wait(10) == 0
