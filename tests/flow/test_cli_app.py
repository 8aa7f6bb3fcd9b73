"""``aiorq2 … --app module:rq``: commands from outside that work as the application's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aiorq2 import Queue
from aiorq2.backends.redis import RedisBackend
from aiorq2.cron_jobs import CronJob
from tests.flow import hub_app
from tests.flow.cli_stage import Stage, is_one_sentence
from tests.support.processes import WorkerProcess

APP = "tests.flow.hub_app:rq"
TILL = ["--app", "tests.flow.hub_app:till"]


@pytest.fixture
def stage(redis_url: str, key_prefix: str) -> Stage:
    """The test's Redis with a command line."""
    return Stage(redis_url, key_prefix)


async def _location(backend: RedisBackend) -> str:
    return backend.location


async def take_noon(backend: RedisBackend) -> tuple[str, str | None]:
    """Remove the entry of the application; return whose it was, and its pattern."""
    noon = await CronJob.fetch("noon", backend)
    await noon.cancel()
    return noon.source, noon.pattern


def test_worker_has_the_queues_hooks_handlers_and_entries_of_the_app(stage: Stage) -> None:
    """And its defaults: what nobody says on the command line is the application's to say."""
    failed = stage.enqueue(hub_app.fail, queue="shop")
    failed += stage.enqueue(hub_app.add, queue="shop")
    (added,) = stage.enqueue(hub_app.add, queue="shop", args=(1, 2))

    status, output = stage.burst("--app", APP)

    assert status == 0
    assert output.index("the shop is open") < output.index("listening on shop")
    assert "the shop is closed" in output
    assert output.count("we are sorry") == 2
    assert [stage.fetch(job.id).status for job in failed] == ["failed", "failed"]
    assert stage.fetch(added.id).result == 3
    assert 0 < stage.library(lambda on: on.run(["TTL", on.keys.job(added.id)]))[0] <= 77
    assert stage.library(take_noon) == ("tests.flow.hub_app", "0 0 12 * * ?")


def test_the_command_line_stands_above_the_app(stage: Stage) -> None:
    """Queues, options, and where Redis is; a variable only stands where the application says nothing."""
    stage.enqueue(hub_app.add, queue="other", args=(1, 2))

    status, output = stage.burst(
        "--app", "tests.flow.hub_app:elsewhere", "--url", stage.url, "other", "--name", "w-1"
    )

    assert status == 0
    assert f"redis at {stage.library(_location)}" in output
    assert "worker w-1: listening on other" in output
    assert "finished" in output

    with WorkerProcess(["--app", "tests.flow.hub_app:elsewhere", "--burst"], env=stage.env) as one:
        assert one.wait(30) == 1
        assert "127.0.0.1:1/0" in one.output()


@pytest.mark.slow
def test_processes_of_a_pool_know_the_app(stage: Stage) -> None:
    """And the URL of the command line, which may hold a password and is not on theirs."""
    jobs = [stage.enqueue(hub_app.add, queue="q", args=(1, n))[0] for n in range(3)]

    status, output = stage.burst(
        "--app", "tests.flow.hub_app:elsewhere", "--url", stage.url, "--processes", "2", "q"
    )

    assert status == 0, output
    assert output.count("redis at ") == 2
    assert [stage.fetch(job.id).result for job in jobs] == [1, 2, 3]


@pytest.mark.parametrize(
    ("app", "status", "sentence"),
    [
        ("no_such_module:rq", 2, "aiorq2: --app no_such_module:rq: No module named"),
        ("tests.flow.hub_app:nope", 2, "there is no such thing; an aiorq2.RQ is needed"),
        ("tests.flow.hub_app:add", 2, "that is a function; an aiorq2.RQ is needed"),
        (
            "tests.flow.hub_app",
            2,
            "one RQ is needed in this module; there is tests.flow.hub_app:rq",
        ),
        ("hub_app.py:rq", 2, "the dotted name of a module is needed"),
        ("raises", 1, "aiorq2: --app raises: it raised ValueError: at import"),
        ("tests.flow.hub_app:broken", 1, "break_down: ConnectionError: no route to host"),
    ],
)
def test_an_app_that_cannot_be_used_is_one_sentence(
    stage: Stage, tmp_path: Path, app: str, status: int, sentence: str
) -> None:
    """With the status for it: 2 where the command line is wrong, 1 where the application is."""
    (tmp_path / "raises.py").write_text("raise ValueError('at import')")

    ended, output = stage.burst("--app", app, cwd=tmp_path)

    assert ended == status
    assert sentence in output.splitlines()[-1]


def test_the_name_is_optional_where_there_is_one(stage: Stage, tmp_path: Path) -> None:
    """As with Flask's ``--app``."""
    (tmp_path / "shop.py").write_text("from aiorq2 import RQ\nhub = again = RQ(queues=['only'])\n")

    status, output = stage.burst("--app", "shop", cwd=tmp_path)

    assert status == 0
    assert "listening on only" in output


def test_cron_sync_takes_an_rq(stage: Stage) -> None:
    """With its own Redis, name and defaults; what it says by itself is not to be said beside it."""
    target = ["cron", "sync", "tests.flow.hub_app:rq"]

    assert stage.run(*target, "--dry-run").output == "would be added: noon\n"
    assert stage.run(*target, "--version", "2").output == "added: noon\n"
    assert stage.run(*target, "--version", "1").output == "outdated: noon\n"
    assert stage.library(take_noon)[0] == "tests.flow.hub_app"

    assert is_one_sentence(stage.run(*target, "--source", "mine"), 2)
    elsewhere = stage.run("cron", "sync", "tests.flow.hub_app:elsewhere")
    assert is_one_sentence(elsewhere, 1)
    assert "127.0.0.1:1/0" in elsewhere.stderr
    told = stage.run("cron", "sync", "tests.flow.hub_app:elsewhere", "--url", stage.url)
    assert (told.exit_code, told.output) == (0, "")


def test_scheduler_takes_the_app(stage: Stage) -> None:
    """Its Redis, and how often it looks."""

    async def schedule(backend: RedisBackend) -> str:
        return (await Queue("shop", backend).enqueue_in(0, hub_app.add, 1, 2)).id

    job_id = stage.library(schedule)

    assert stage.run("scheduler", "--app", APP, "--burst", "--log-level", "error").exit_code == 0
    assert stage.fetch(job_id).status == "queued"
    assert stage.run("scheduler", "--app", "tests.flow.hub_app:nope").exit_code == 2
    stage.library(lambda on: Queue("shop", on).empty())


def test_enqueue_goes_by_the_defaults_of_the_app(stage: Stage) -> None:
    """Its queue, its time limits and its time zone, for what the command line does not say; without one, by ours."""
    told = ["-q", "other", "--timeout", "5", "--result-ttl", "6", "-S", "pickle"]
    for job_id, options in {
        "usual": TILL,
        "nine": [*TILL, "--schedule-at", "2050-01-01T09:00:00"],
        "told": [*TILL, *told],
        "again": [*TILL, "-q", "other", "x"],
        "alone": [],
    }.items():
        result = stage.run("enqueue", "m.f", "--job-id", job_id, *options)
        assert result.exit_code == 0, result.output

    usual, told_job, alone = [stage.fetch(one) for one in ("usual", "told", "alone")]
    assert (usual.origin, usual.timeout, usual.result_ttl) == ("till", 3600, 77)
    assert (told_job.origin, told_job.timeout, told_job.result_ttl) == ("other", 5, 6)
    assert (alone.origin, alone.timeout, alone.result_ttl) == ("default", 180, None)
    nine = stage.library(
        lambda on: Queue("till", on).scheduled_job_registry.get_scheduled_time("nine")
    )
    assert nine == datetime(2050, 1, 1, 8, tzinfo=UTC)
    assert stage.fetch("again").args == (
        "x",
    )  # in the application's serializer, not that of the one before
    assert stage.run("empty", "till", "other", "default", "--yes").exit_code == 0


def test_cron_add_goes_by_the_defaults_of_the_app(stage: Stage) -> None:
    """Those of its jobs, and its time zone for the pattern and for dates."""
    add = ["m.f", "--pattern", "0 9 * * *", "--start", "2100-01-01T09:00", *TILL]
    told = ["-q", "other", "--timeout", "5", "--result-ttl", "6", "--timezone", "UTC"]
    assert stage.run("cron", "add", "usual", *add).exit_code == 0
    assert stage.run("cron", "add", "told", *add, *told).exit_code == 0

    usual = stage.library(lambda on: CronJob.fetch("usual", on))
    other = stage.library(lambda on: CronJob.fetch("told", on))

    assert (usual.origin, usual.timeout, usual.result_ttl) == ("till", 3600, 77)
    assert (other.origin, other.timeout, other.result_ttl) == ("other", 5, 6)
    assert (usual.timezone, other.timezone) == ("Europe/Berlin", "UTC")
    assert usual.next_run == datetime(2100, 1, 1, 8, tzinfo=UTC)
    assert other.next_run == datetime(2100, 1, 1, 9, tzinfo=UTC)
    assert stage.run("cron", "remove", "usual", "told").exit_code == 0


@pytest.fixture(autouse=True)
def _forget_addresses() -> Iterator[None]:
    """Commands that run in this process have told the hubs of the application where to go."""
    yield
    for hub in (hub_app.rq, hub_app.elsewhere, hub_app.till):
        hub.key_prefix = hub.version = None
    hub_app.elsewhere.redis_url = hub_app.nowhere
