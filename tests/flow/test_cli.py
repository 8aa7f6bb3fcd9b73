"""The command line: what each command does to jobs and queues, in RQ's words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from aiorq2.queue import Queue
from aiorq2.suspension import is_suspended
from tests.flow.cli_stage import UNKNOWN_ID, Stage, is_one_sentence
from tests.support import jobs
from tests.support.processes import WorkerProcess


@pytest.fixture
def stage(redis_url: str, key_prefix: str) -> Stage:
    """The test's Redis with a command line."""
    return Stage(redis_url, key_prefix)


# -- enqueue -----------------------------------------------------------------------------------------


def test_enqueue_puts_a_call_into_a_queue(stage: Stage) -> None:
    """With arguments in RQ's syntax; the function is named, not imported."""
    result = stage.run(
        "enqueue", "-q", "low", "no.such.function", "text", ":1", "key:=[2]", "--job-id", "j1"
    )

    assert result.exit_code == 0
    assert result.stdout == "Enqueued no.such.function('text', 1, key=[2]) with job-id 'j1'.\n"
    job = stage.fetch("j1")
    assert (job.origin, job.func_name, job.args, job.kwargs) == (
        "low",
        "no.such.function",
        ("text", 1),
        {"key": [2]},
    )


def test_enqueue_passes_its_options_on(stage: Stage) -> None:
    """Durations in any form, retries, meta, description and place."""
    options = [
        "--timeout",
        "1h",
        "--result-ttl",
        "-1",
        "--failure-ttl",
        "90",
        "--ttl",
        "2m",
        "--description",
        "told",
    ]
    options += [
        "--retry-max",
        "2",
        "--retry-interval",
        "5",
        "--retry-interval",
        "1m",
        "--meta",
        '{"a": 1}',
        "--at-front",
    ]
    stage.run("enqueue", "m.first")

    result = stage.run("enqueue", "m.second", *options, "--job-id", "j1", "--quiet")

    job = stage.fetch("j1")
    assert (result.exit_code, result.output) == (0, "")
    assert (job.timeout, job.result_ttl, job.failure_ttl, job.ttl) == (3600, -1, 90, 120)
    assert (job.description, job.meta, job.retries_left) == ("told", {"a": 1}, 2)
    assert stage.library(lambda backend: Queue("default", backend).get_job_position("j1")) == 0


def test_enqueue_waits_for_the_result(stage: Stage) -> None:
    """And prints it: text as it is, the rest as JSON."""
    with WorkerProcess(["default"], env=stage.env) as worker:
        worker.wait_for_output("listening on default")

        number = stage.run("enqueue", "tests.support.jobs.add", ":1", ":2", "--wait", "--quiet")
        text = stage.run("enqueue", "tests.support.jobs.echo", "two\nlines", "--wait", "--quiet")
        failure = stage.run("enqueue", "tests.support.jobs.fail", "no luck", "--wait", "--quiet")
        late = stage.run(
            "enqueue",
            "tests.support.jobs.slow",
            ":30",
            "--wait",
            "--wait-timeout",
            "0.05",
            "--quiet",
        )

    assert (number.exit_code, number.output) == (0, "3\n")
    assert text.output == "two\nlines\n"
    assert is_one_sentence(failure, 1)
    assert "no luck" in failure.stderr
    assert is_one_sentence(late, 1)
    assert "has not ended in 0.05 s" in late.stderr


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["f.g", ":{"], "argument 1: not readable as JSON"),
        (["f.g", "--job-id", "a b"], "job_id 'a b'"),
        (["f.g", "--timeout", "soon"], "'soon' is not a duration"),
        (["f.g", "--timeout", "0"], "out of range"),
        (["f.g", "--meta", "[]"], "--meta: a JSON object"),
        (["f.g", "--meta", "{"], "--meta: not readable"),
        (["f.g", "--queue", ""], "queue name ''"),
        (["f.g", "--serializer", "nope"], "serializer 'nope'"),
        (["not a name"], "not a name"),
        (["f.g", "--retry-max", "-1"], "--retry-max"),
        ([], "Missing argument 'FUNCTION'"),
        (["f.g", "\udcff"], "argument 1: not valid text"),
    ],
)
def test_enqueue_refuses_what_cannot_be_meant(
    stage: Stage, args: list[str], complaint: str
) -> None:
    """With status 2, before anything is sent."""
    result = stage.run("enqueue", *args)

    assert is_one_sentence(result, 2), result.output
    assert complaint in result.stderr


# -- empty -------------------------------------------------------------------------------------------


def test_empty_deletes_what_waits(stage: Stage) -> None:
    """In the queues that are named."""
    stage.enqueue(jobs.nothing, jobs.nothing, queue="a")
    stage.enqueue(jobs.nothing, queue="b")

    result = stage.run("empty", "a", "new", "--yes")

    assert result.stdout.splitlines() == [
        "2 jobs removed from a queue",
        "0 jobs removed from new queue",
    ]
    assert stage.library(lambda backend: Queue("b", backend).count()) == 1


def test_empty_all_empties_every_queue(stage: Stage) -> None:
    """Of those that exist."""
    stage.enqueue(jobs.nothing, queue="a")
    stage.enqueue(jobs.nothing, queue="b")

    result = stage.run("empty", "--all", "--yes")

    assert result.stdout.splitlines() == [
        "1 jobs removed from a queue",
        "1 jobs removed from b queue",
    ]


def test_empty_refuses_where_nobody_can_be_asked(stage: Stage) -> None:
    """On a pipe, ``--yes`` is needed."""
    stage.enqueue(jobs.nothing)

    result = stage.run("empty", "q", stdin="y\n")

    assert is_one_sentence(result, 2)
    assert "--yes is needed" in result.stderr
    assert stage.library(lambda backend: Queue("q", backend).count()) == 1


def test_empty_without_queues_does_nothing(stage: Stage) -> None:
    """As in RQ; and names together with ``--all`` are a mistake."""
    assert stage.run("empty").stdout == "Nothing to do\n"
    assert stage.run("empty", "--all").stdout == "Nothing to do\n"
    assert is_one_sentence(stage.run("empty", "q", "--all", "--yes"), 2)


# -- requeue and cancel ------------------------------------------------------------------------------


def test_requeue_puts_failed_jobs_back(stage: Stage) -> None:
    """Those that are named, those of a queue, or all; a registry entry without a job is told, not fatal."""
    (first,) = stage.enqueue(jobs.fail, queue="a")
    stage.enqueue(jobs.fail, jobs.fail, queue="a")
    stage.enqueue(jobs.fail, queue="b")
    stage.burst("a", "b")

    named = stage.run("requeue", first.id)
    of_queue = stage.run("requeue", "--all", "--queue", "a")
    everything = stage.run("requeue", "--all")

    assert (named.exit_code, named.stdout) == (0, "Requeueing 1 jobs\n")
    assert of_queue.stdout == "Requeueing 2 jobs from failed queue\n"
    assert everything.stdout == "Requeueing 1 jobs from failed queue\n"
    assert stage.library(lambda backend: Queue("a", backend).count()) == 3
    assert stage.run("requeue", "--all").stdout == "Nothing to do\n"
    assert stage.run("requeue").stdout == "Nothing to do\n"


def test_requeue_all_passes_over_what_is_gone(stage: Stage) -> None:
    """Hundreds of dead entries before the living one."""
    (job,) = stage.enqueue(jobs.fail)
    stage.burst("q")
    dead = [part for number in range(250) for part in (number, f"gone{number}")]
    stage.library(lambda backend: backend.run(["ZADD", backend.keys.failed("q"), *dead]))

    result = stage.run("requeue", "--all")

    assert result.exit_code == 0
    assert result.stderr == "Unable to requeue 250 jobs from failed job registry\n"
    assert stage.fetch(job.id).status == "queued"


def test_requeue_of_an_unknown_job_fails(stage: Stage) -> None:
    """One sentence for each that was refused; the others are requeued all the same."""
    (waiting,) = stage.enqueue(jobs.nothing)

    result = stage.run("requeue", UNKNOWN_ID, waiting.id)

    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"aiorq2: job '{UNKNOWN_ID}': cannot requeue, there is no such job",
        f"aiorq2: job '{waiting.id}': cannot requeue from 'queued'",
    ]
    assert is_one_sentence(stage.run("requeue", UNKNOWN_ID, "--all"), 2)


def test_cancel_cancels_and_stops(stage: Stage) -> None:
    """What waits is cancelled, what runs is stopped by its worker, what is unknown is told."""
    (running,) = stage.enqueue(jobs.slow, args=(30,))
    with WorkerProcess(["q", "--name", "w-1", "--concurrency", "1"], env=stage.env) as worker:
        worker.wait_for_output("listening on q")
        status = stage.run(
            "enqueue", "tests.support.jobs.nothing", "-q", "q", "--job-id", "waiting"
        ).exit_code
        stage.wait_for_status(running.id, "started")

        result = stage.run("cancel", "waiting", running.id, UNKNOWN_ID)

        assert result.stdout.splitlines() == [
            "Cancelled waiting",
            f"Stopping {running.id} on worker w-1",
        ]
        assert is_one_sentence(result, 1)
        stage.wait_for_status(running.id, "stopped")
    assert status == 0
    assert stage.fetch("waiting").status == "canceled"
    assert is_one_sentence(stage.run("cancel"), 2)


# -- suspend and resume ------------------------------------------------------------------------------


def test_suspend_and_resume(stage: Stage) -> None:
    """For ever or for a while, in RQ's words."""
    told = stage.run("suspend")
    assert told.stdout.startswith("Suspending workers.  No new jobs will be started.")
    assert stage.library(is_suspended)
    assert "suspended" in stage.run("info").stdout

    assert stage.run("resume").stdout == "Resuming workers.\n"
    assert not stage.library(is_suspended)

    told = stage.run("suspend", "--duration", "500")
    assert told.stdout == (
        "Suspending workers for 500 seconds.  No new jobs will be started during that time, "
        "but then will automatically resume\n"
    )
    (ttl,) = stage.library(lambda backend: backend.run(["TTL", backend.keys.suspended()]))
    assert 490 < ttl <= 500
    assert is_one_sentence(stage.run("suspend", "--duration", "0"), 2)
    stage.run("resume")


def test_enqueue_waits_for_jobs_and_times(stage: Stage) -> None:
    """With RQ's options; times are UTC."""
    (parent,) = stage.enqueue(jobs.nothing)

    stage.run("enqueue", "-q", "q", "a.b", "--depends-on", parent.id, "--job-id", "child")
    stage.run("enqueue", "-q", "q", "a.b", "--schedule-in", "1h", "--job-id", "later")
    stage.run(
        "enqueue", "-q", "q", "a.b", "--schedule-at", "2050-01-01T12:00:00", "--job-id", "then"
    )
    both = stage.run("enqueue", "a.b", "--schedule-in", "1", "--schedule-at", "2050-01-01")

    assert stage.fetch("child").dependency_ids == [parent.id]
    assert [str(stage.fetch(one).status) for one in ("child", "later", "then")] == [
        "deferred",
        "scheduled",
        "scheduled",
    ]
    when = stage.library(
        lambda backend: Queue("q", backend).scheduled_job_registry.get_scheduled_time("then")
    )
    assert when == datetime(2050, 1, 1, 12, tzinfo=UTC)
    assert is_one_sentence(both, 2)
