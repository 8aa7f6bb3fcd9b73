"""``aiorq2 info``: lines, tables, JSON, and exactly what ``rq info --raw`` prints."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial

import pytest
import redis

from aiorq2.backends.base import Seat
from aiorq2.backends.redis import RedisBackend
from tests.flow.cli_stage import Stage, is_one_sentence
from tests.support import jobs
from tests.support.processes import ROOT, PythonProcess
from tests.support.redis_server import RedisServer


@pytest.fixture
def stage(redis_url: str, key_prefix: str) -> Stage:
    """The test's Redis with a command line."""
    return Stage(redis_url, key_prefix)


def test_info_shows_queues_and_workers_in_lines(stage: Stage) -> None:
    """On a pipe these are RQ's lines, with RQ's words in RQ's order."""
    stage.enqueue(jobs.nothing, jobs.nothing, queue="high")
    stage.library(
        lambda backend: backend.register(
            Seat("w-1", "i", 15), ["high"], {"queues": "high", "state": "idle", "birth": "x"}
        )
    )

    lines = stage.run("info").stdout.splitlines()

    assert lines[0] == "high         |██ 2, 0 executing, 0 finished, 0 failed"
    assert lines[1:3] == ["1 queues, 2 jobs total", ""]
    assert lines[3] == "w-1 (  None): idle high. jobs: 0 finished, 0 failed, 0 running"
    assert lines[4:6] == ["1 workers, 1 queues", ""]
    assert re.fullmatch(r"Updated: [0-9-]+ [0-9:]+ UTC", lines[6])


def test_info_raw_prints_what_rq_prints(
    stage: Stage, redis_server: RedisServer, key_prefix: str
) -> None:
    """Scripts that read ``rq info --raw`` go on working."""
    stage.enqueue(jobs.nothing, queue="high")
    stage.enqueue(jobs.nothing, jobs.nothing, queue="low")
    stage.library(
        lambda backend: backend.register(
            Seat("w-1", "i", 15),
            ["high", "low"],
            {"queues": "high,low", "state": "busy", "birth": "2024-05-01T12:00:00Z", "hostname": "h", "ip_address": "::1",
             "pid": 7, "successful_job_count": 3, "last_heartbeat": "2024-05-01T12:00:00Z", "version": "3.0.0"},
        )
    )  # fmt: skip
    rq = [
        sys.executable,
        "-c",
        "from rq.cli import main; main()",
        "info",
        "--raw",
        "--url",
        redis_server.url,
    ]

    theirs = subprocess.run(
        rq,
        env={**os.environ, "RQ_KEY_PREFIX": key_prefix},
        capture_output=True,
        text=True,
        check=True,
    )

    assert sorted(stage.run("info", "--raw").stdout.splitlines()) == sorted(
        theirs.stdout.splitlines()
    )


def test_info_json_is_one_object(stage: Stage) -> None:
    """For programs; what was not asked for is not in it."""
    stage.enqueue(jobs.nothing)

    result = stage.run("info", "--json", "--only-queues")

    found = json.loads(result.stdout)
    assert found["suspended"] is False
    assert [(one["name"], one["queued"]) for one in found["queues"]] == [("q", 1)]
    assert "workers" not in found


def test_info_shows_only_what_is_asked_for(stage: Stage) -> None:
    """Some queues, the queues alone, the workers alone."""
    stage.enqueue(jobs.nothing, queue="high")
    stage.enqueue(jobs.nothing, queue="low")

    assert stage.run("info", "--raw", "low", "new").stdout.splitlines() == [
        "queue low 1, 0 executing, 0 finished, 0 failed",
        "queue new 0, 0 executing, 0 finished, 0 failed",
    ]
    assert "0 workers, 2 queues" in stage.run("info", "--only-workers").stdout
    assert "jobs total" not in stage.run("info", "--only-workers").stdout
    assert "workers" not in stage.run("info", "--only-queues").stdout
    assert is_one_sentence(stage.run("info", "--only-workers", "--only-queues"), 2)
    assert is_one_sentence(stage.run("info", "--raw", "--json"), 2)


@pytest.mark.leaks_allowed("a name is planted by hand")
def test_info_escapes_what_does_not_print(
    stage: Stage, redis_client: redis.Redis, key_prefix: str
) -> None:
    """A queue's name cannot move the cursor of whoever looks."""
    redis_client.sadd(f"{key_prefix}:queues", f"{key_prefix}:queue:\x1b[2J\nevil")

    result = stage.run("info", "--raw")

    assert result.stdout.splitlines() == [
        "queue \\x1b[2J\\nevil 0, 0 executing, 0 finished, 0 failed"
    ]


def test_info_on_a_terminal_is_a_table(stage: Stage) -> None:
    """With a column per registry."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")
    stage.enqueue(jobs.nothing, queue="a [bold]queue[/bold]")
    ours, theirs = pty.openpty()
    env = {**os.environ, **stage.env, "COLUMNS": "120", "TERM": "xterm"}

    subprocess.run(
        [sys.executable, "-m", "aiorq2", "info"], env=env, cwd=ROOT, stdout=theirs, check=True
    )

    os.close(theirs)
    output = re.sub(r"\x1b\[[0-9;]*m", "", os.read(ours, 65536).decode())
    os.close(ours)
    assert re.search(
        r"queue +queued +started +finished +failed +deferred +scheduled +canceled", output
    )
    assert re.search(r"a \[bold\]queue\[/bold\] +1 +0 +0", output)
    assert "0 workers, 1 queues" in output


def test_info_again_and_again_ends_with_ctrl_c(stage: Stage) -> None:
    """Status 130, no traceback."""
    with PythonProcess(["-m", "aiorq2", "info", "--interval", "0.1"], env=stage.env) as process:
        process.wait_for_output("Updated")
        process.send_signal(signal.SIGINT)

        assert process.wait() == 130
        assert "Traceback" not in process.output()


def test_closed_stdout_is_no_traceback(stage: Stage) -> None:
    """As in ``aiorq2 info | head -1``."""
    reader, writer = os.pipe()
    os.close(reader)

    process = subprocess.run(
        [sys.executable, "-m", "aiorq2", "info"],
        env={**os.environ, **stage.env}, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip

    os.close(writer)
    assert process.returncode == 1
    assert process.stderr == ""


def test_info_names_the_workers_of_each_queue(stage: Stage) -> None:
    """With ``--by-queue``, as RQ."""
    stage.enqueue(jobs.nothing, queue="high")
    stage.enqueue(jobs.nothing, queue="low")
    for name, state in (("w-1", "idle"), ("w-2", "busy")):
        seat, fields = Seat(name, "i", 15), {"queues": "high", "state": state, "birth": "x"}
        stage.library(partial(RedisBackend.register, seat=seat, queues=["high"], fields=fields))

    lines = stage.run("info", "-W", "--by-queue").stdout.splitlines()

    assert lines[:3] == ["high: w-1 (idle), w-2 (busy)", "low:  –", "2 workers, 2 queues"]
