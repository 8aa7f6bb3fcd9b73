"""``aiorq2 worker``: its settings, what it logs, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiorq2.backends.base import Seat
from aiorq2.backends.redis import RedisBackend
from tests.flow.cli_stage import Stage
from tests.support import jobs
from tests.support.processes import WorkerProcess


@pytest.fixture
def stage(redis_url: str, key_prefix: str) -> Stage:
    """The test's Redis with a command line."""
    return Stage(redis_url, key_prefix)


def test_worker_burst_runs_what_is_there(stage: Stage) -> None:
    """Then it ends with status 0, failed jobs or not."""
    done, failed = stage.enqueue(jobs.nothing, jobs.fail_sync)

    status, output = stage.burst("q", "--name", "w-1")

    assert status == 0
    assert "worker w-1: listening on q" in output
    assert stage.fetch(done.id).status == "finished"
    assert stage.fetch(failed.id).status == "failed"


def test_worker_takes_its_settings_from_the_environment(stage: Stage) -> None:
    """Every option has a variable; the command line wins."""
    stage.enqueue(jobs.nothing, queue="a")
    settings = {
        "AIORQ2_QUEUES": "a b",
        "AIORQ2_NAME": "w-2",
        "AIORQ2_BURST": "1",
        "AIORQ2_LOG_FORMAT": "json",
    }

    with WorkerProcess(["--log-format", "text"], env={**stage.env, **settings}) as process:
        assert process.wait(30) == 0
        output = process.output()

    assert "worker w-2: listening on a, b" in output
    assert not output.startswith("{")


def test_worker_logs_json(stage: Stage) -> None:
    """One object a line."""
    status, output = stage.burst("--log-format", "json", "--name", "w-1")

    events = [json.loads(line) for line in output.splitlines()]
    assert status == 0
    assert "worker w-1: listening on default" in [event["message"] for event in events]


def test_quiet_worker_logs_warnings_only(stage: Stage) -> None:
    """Nothing, when nothing is wrong."""
    assert stage.burst("--quiet") == (0, "")


def test_worker_finds_modules_in_the_current_folder_and_others(
    stage: Stage, tmp_path: Path
) -> None:
    """The current folder as with ``python -m``, the others with ``--path``; ``--import`` imports before the first job."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "here" / "tasks_here.py").write_text("def f(): return 'here'\n")
    (tmp_path / "there" / "tasks_there.py").write_text("def f(): return 'there'\n")
    (tmp_path / "here" / "early.py").write_text("print('imported early')\n")
    first, second = stage.enqueue("tasks_here.f", "tasks_there.f")

    status, output = stage.burst(
        "q",
        "--path",
        str(tmp_path / "there"),
        "--import",
        "early",
        cwd=tmp_path / "here",
    )

    assert status == 0
    assert "imported early" in output
    assert stage.fetch(first.id).result == "here"
    assert stage.fetch(second.id).result == "there"


def test_worker_stops_at_sigterm_with_status_0(stage: Stage) -> None:
    """An idle one at once."""
    with WorkerProcess(["q"], env=stage.env) as process:
        process.wait_for_output("listening on q")
        process.terminate()

        assert process.wait(5) == 0


def test_worker_with_the_name_of_a_living_one_is_refused(stage: Stage) -> None:
    """With status 1: it may pass."""
    fields: dict[str, str | int] = {
        "birth": "2024-05-01T12:00:00Z",
        "hostname": "elsewhere",
        "pid": 1,
    }
    stage.library(lambda backend: backend.register(Seat("w-1", "other", 15), ["q"], fields))

    status, output = stage.burst("q", "--name", "w-1")

    assert status == 1
    assert "aiorq2: worker 'w-1': a living worker has this name" in output
    assert "Traceback" not in output


def test_worker_that_has_lost_its_name_ends(stage: Stage) -> None:
    """With status 1 and a sentence that says what to do."""
    seat = Seat("w-1", "other", 15)

    async def take_over(backend: RedisBackend) -> None:
        (instance,) = await backend.run(["HGET", backend.keys.worker("w-1"), "aio_instance"])
        await backend.register(seat, ["q"], {"birth": "now"}, replaces=instance.decode())

    with WorkerProcess(["q", "--lease", "1"], name="w-1", env=stage.env) as process:
        process.wait_for_output("listening on q")
        stage.library(take_over)

        assert process.wait(10) == 1
        last = process.output().splitlines()[-1]

    assert last.startswith("aiorq2: worker 'w-1': cannot extend its leases, another worker has")
    assert last.endswith("give each its own (--name)")


@pytest.mark.parametrize(
    ("args", "status", "complaint"),
    [
        (
            ["--import", "no_such_module"],
            2,
            "--import no_such_module: No module named 'no_such_module'",
        ),
        (
            ["--import", "raises"],
            1,
            "--import raises: it raised RuntimeError: the database is away",
        ),
        (["--import", "exits"], 1, "--import exits: it raised SystemExit: 3"),
        (["--serializer", "nope"], 2, "serializer 'nope'"),
        (["--concurrency", "0"], 2, "--concurrency"),
        (["--lease", "0"], 2, "out of range"),
        (["--path", "/no/such/folder"], 2, "/no/such/folder"),
        (["--dequeue-strategy", "best"], 2, "best"),
        (["--key-prefix", "a b"], 2, "key_prefix 'a b'"),
        (["bad:intermediate"], 2, "bad:intermediate"),
        (["redis://:canary@host"], 2, "a URL is no name of a queue"),
        (["--max-jobs", "0"], 2, "--max-jobs"),
        (["--processes", "0"], 2, "--processes"),
        (["--log-level", "loud"], 2, "loud"),
    ],
)
def test_worker_refuses_what_cannot_be_meant(
    stage: Stage, tmp_path: Path, args: list[str], status: int, complaint: str
) -> None:
    """With one sentence, and before it registers."""
    (tmp_path / "raises.py").write_text("raise RuntimeError('the database\\nis away')\n")
    (tmp_path / "exits.py").write_text("import sys; sys.exit(3)\n")

    found, output = stage.burst(*args, cwd=tmp_path)

    assert found == status
    assert complaint in output
    assert "canary" not in output
    assert len(output.splitlines()) == 1


def test_worker_calls_exception_handlers_and_writes_its_process_id(
    stage: Stage, tmp_path: Path
) -> None:
    """RQ's options of these names."""
    (tmp_path / "handlers.py").write_text(
        "def noted(job, kind, error, traceback): print('handled', job.id, kind.__name__)\n"
    )
    (job,) = stage.enqueue(jobs.fail)

    status, output = stage.burst(
        "q", "--exception-handler", "handlers.noted", "--pid", "pid", cwd=tmp_path
    )
    refused, complaint = stage.burst("q", "--exception-handler", "handlers.none", cwd=tmp_path)

    assert status == 0
    assert f"handled {job.id} ValueError" in output
    assert (tmp_path / "pid").read_text().strip().isdigit()
    assert (refused, "handlers.none" in complaint) == (2, True)
