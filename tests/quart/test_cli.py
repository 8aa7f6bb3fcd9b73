"""``quart rq …`` and ``aiorq2 … --app``, as a user types them: processes of their own, and a real Redis."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Callable, Coroutine, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from aiorq2 import CronJob, Job, Queue, connect
from aiorq2.backends.redis import RedisBackend
from tests.quart import jobs
from tests.support.processes import PythonProcess

pytestmark = pytest.mark.slow

APP = "tests.quart.jobs:create_app"
Command = Callable[..., str]


class Shell:
    """Runs commands of the application of this test."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env

    def rq(self, *args: str, status: int = 0, **env: str) -> str:
        """Run ``quart rq``; return what it says."""
        return self.run("-m", "quart", "--app", APP, "rq", *args, status=status, **env)

    def run(self, *args: str, status: int = 0, **env: str) -> str:
        """Run Python; return what it says."""
        with PythonProcess(args, env={**self.env, **env}) as process:
            assert process.wait(60) == status, process.output()
            return process.output()

    def library(self, work: Callable[[RedisBackend], Coroutine[Any, Any, Any]]) -> Any:
        """Return what the library finds on the same Redis."""

        async def connected() -> Any:
            backend = connect(self.env["RQ_REDIS_URL"], key_prefix=self.env["RQ_KEY_PREFIX"])
            try:
                return await work(backend)
            finally:
                await backend.close()

        return asyncio.run(connected())

    def enqueue(self, func: Any, queue: str = "default") -> str:
        """Enqueue a call; return the id of the job."""

        async def enqueued(backend: RedisBackend) -> str:
            return (await Queue(queue, backend).enqueue(func)).id

        found: str = self.library(enqueued)
        return found

    def job(self, job_id: str) -> Job:
        """Return a job as it is now."""
        found: Job = self.library(lambda backend: Job.fetch(job_id, backend))
        return found


@pytest.fixture
def shell(redis_url: str, key_prefix: str) -> Iterator[Shell]:
    """Commands on the Redis of this test."""
    shell = Shell({"RQ_REDIS_URL": redis_url, "RQ_KEY_PREFIX": key_prefix})
    yield shell

    async def empty(backend: RedisBackend) -> None:
        for name in ("default", "low"):
            await Queue(name, backend).empty()

    shell.library(empty)


def test_help_names_every_command(shell: Shell) -> None:
    """Those of Flask-RQ2, and ours."""
    told = shell.rq("--help")

    for command in (
        "worker", "scheduler", "info", "empty", "requeue", "suspend", "resume",
        "cron", "enqueue", "cancel", "doctor", "check",
    ):  # fmt: skip
        assert f"\n  {command} " in told
    options = shell.rq("worker", "--help")
    for option in (
        "-b, --burst", "--logging_level", "-n, --name", "-P, --path", "--results-ttl", "--worker-ttl",
        "-v, --verbose", "-q, --quiet", "--sentry-dsn", "--exception-handler", "--pid",
    ):  # fmt: skip
        assert option in options
    options = shell.rq("scheduler", "--help")
    for option in ("-v, --verbose", "-b, --burst", "-q, --queue", "-i, --interval", "--pid"):
        assert option in options


@pytest.mark.parametrize("program", ["quart", "aiorq2"])
def test_worker_starts_and_ends_the_app_once(shell: Shell, program: str) -> None:
    """Jobs find what ``before_serving`` has made; no further worker lives in that process, though the app wants one."""
    job_id = shell.enqueue(jobs.census)
    if program == "quart":
        told = shell.rq("worker", "--burst", EMBEDDED="1")
    else:
        told = shell.run("-m", "aiorq2", "worker", "--app", APP, "--burst", EMBEDDED="1")

    assert shell.job(job_id).result == [1, 0, "an app that serves"]
    assert told.count("the app has ended") == 1
    assert "listening on default" in told


def test_worker_takes_flask_rq2s_options(shell: Shell, tmp_path: Path) -> None:
    """Each does what it says."""
    failing = shell.enqueue(jobs.fail, "low")
    pid = tmp_path / "pid"

    told = shell.rq(
        "worker", "low", "--burst", "--worker-ttl", "10", "--results-ttl", "9", "--verbose", "-n", "mine", "-P", ".",
        "--pid", str(pid), "--exception-handler", "tests.quart.jobs.say_so",
    )  # fmt: skip

    assert "listening on low" in told
    assert "told of no" in told
    assert "DEBUG   about to" in told
    assert pid.read_text().strip().isdigit()
    assert shell.job(failing).status == "failed"
    assert " INFO " not in shell.rq("worker", "--burst", "--logging_level", "WARNING")
    assert "exclude one another" in shell.rq("worker", "--burst", "-v", "-q", status=2)


class Sentry(ThreadingHTTPServer):
    """What takes reports, as Sentry does; ``dsn`` leads to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.taken: list[str] = []
        self.dsn = f"http://key@127.0.0.1:{self.server_port}/1"


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Take a report."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert isinstance(self.server, Sentry)
        self.server.taken.append(f"{self.path}\n{body.decode()}")
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    """One that listens."""
    with Sentry() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_worker_reports_to_sentry(shell: Shell, sentry: Sentry) -> None:
    """With the real package: the exception and where it was raised; other handlers are called as well."""
    failing = shell.enqueue(jobs.fail)

    told = shell.rq(
        "worker", "--burst", "--sentry-dsn", sentry.dsn, "--exception-handler", "tests.quart.jobs.say_so"
    )  # fmt: skip

    assert "told of no" in told
    assert shell.job(failing).status == "failed"
    reports = [one for one in sentry.taken if '"exception"' in one]
    assert len(reports) == 1, sentry.taken
    assert reports[0].startswith("/api/1/envelope/")
    assert '"type":"ValueError","value":"no"' in reports[0]
    assert '"function":"fail"' in reports[0]


def test_worker_says_what_sentry_needs(shell: Shell, tmp_path: Path) -> None:
    """The package, and an address that is one."""
    (tmp_path / "sentry_sdk.py").write_text("raise ImportError('No module named sentry_sdk')\n")
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}:{Path(__file__).parents[2]}"
    dsn = "https://k@localhost/1"

    told = shell.rq("worker", "--burst", "--sentry-dsn", dsn, status=2, PYTHONPATH=path)
    assert "pip install sentry-sdk" in told
    told = shell.rq("worker", "--burst", "--sentry-dsn", "nonsense", status=2)
    assert "--sentry-dsn" in told
    assert "Traceback" not in told


def test_worker_obeys_the_address_of_its_command_line(shell: Shell) -> None:
    """Above what the application has configured."""
    job_id = shell.enqueue(jobs.census)
    url = shell.env["RQ_REDIS_URL"]

    shell.rq("worker", "--burst", "--url", url, RQ_REDIS_URL="redis://127.0.0.1:1/0")

    assert shell.job(job_id).status == "finished"
    away = shell.rq("info", "--url", url, RQ_REDIS_URL="redis://127.0.0.1:1/0")
    elsewhere = shell.rq("info", "--key-prefix", shell.env["RQ_KEY_PREFIX"], RQ_KEY_PREFIX="other")
    assert "1 finished" in away
    assert "1 finished" in elsewhere


def test_worker_works_on_a_further_connection(shell: Shell) -> None:
    """By its name in the configuration; one that is not there is refused with those that are."""
    job_id = shell.enqueue(jobs.census)
    url = shell.env["RQ_REDIS_URL"]
    away = Shell({**shell.env, "RQ_REDIS_URL": "redis://127.0.0.1:1/0", "OTHER_URL": url})

    away.rq("worker", "--burst", "--connection", "other")

    assert shell.job(job_id).status == "finished"
    assert "'other'" in away.rq("worker", "--burst", "--connection", "none", status=2)
    told = shell.run("-m", "aiorq2", "worker", "--burst", "--connection", "other", status=2)
    assert "--app is needed" in told


def test_commands_say_what_flask_rq2s_say(shell: Shell) -> None:
    """Users search logs for these texts."""
    assert "Nothing to do" in shell.rq("requeue")
    assert "1 queues, 0 jobs total" in shell.rq("info")
    assert "0 jobs removed from default queue" in shell.rq("empty", "--yes")
    assert (
        "Suspending workers for 5 seconds.  No new jobs will be started during that time, "
        "but then will automatically resume" in shell.rq("suspend", "--duration", "5")
    )
    assert "Suspending workers" in shell.rq("suspend")
    assert "suspended and start no job; `quart rq resume`" in shell.rq("info")
    assert "Resuming workers." in shell.rq("resume")


def test_jobs_are_requeued_enqueued_and_cancelled(shell: Shell) -> None:
    """An unknown id is one sentence, and ``--all`` finds what has failed."""
    failing = shell.enqueue(jobs.fail)
    shell.rq("worker", "--burst", "-q")

    assert "Requeueing 1 jobs from failed queue" in shell.rq("requeue", "--all")
    assert shell.job(failing).status == "queued"
    told = shell.rq("requeue", "nobody", status=1)
    assert "nobody" in told
    assert "Traceback" not in told
    assert f"Cancelled {failing}" in shell.rq("cancel", failing)
    told = shell.rq("enqueue", "tests.quart.jobs.where", "--job-id", "mine")
    assert "with job-id 'mine'" in told
    assert shell.job("mine").status == "queued"


def test_jobs_and_entries_are_made_with_the_defaults_of_the_app(shell: Shell) -> None:
    """What its configuration says of queue, time limit and time zone holds for commands as for its code."""
    entry = ["tests.quart.jobs.where", "--pattern", "0 9 * * *"]

    shell.rq("enqueue", "tests.quart.jobs.where", "--job-id", "mine", DEFAULTS="1")
    told = shell.rq("cron", "add", "nine", *entry, DEFAULTS="1")
    nine = shell.library(lambda backend: CronJob.fetch("nine", backend))

    assert (shell.job("mine").origin, shell.job("mine").timeout) == ("low", 3600)
    assert "At 09:00, every day, Europe/Berlin" in told
    assert (nine.origin, nine.timeout, nine.timezone) == ("low", 3600, "Europe/Berlin")
    shell.rq("cron", "remove", "nine")


def test_scheduler_goes_by_the_app(shell: Shell, tmp_path: Path) -> None:
    """What is due goes into its queue; entries can be listed."""

    async def schedule(backend: RedisBackend) -> str:
        return (await Queue("low", backend).enqueue_in(0, jobs.census)).id

    job_id = shell.library(schedule)
    pid = tmp_path / "pid"

    shell.rq("scheduler", "--burst", "--interval", "10", "--queue", "low", "-v", "--pid", str(pid))

    assert shell.job(job_id).status == "queued"
    assert pid.read_text().strip().isdigit()
    assert shell.rq("cron", "list").strip()
