"""``--shards``: the command line on queues that are spread over namespaces."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.shards import prefix_of, shard_of
from tests.flow.cli_stage import Stage, is_one_sentence
from tests.support.topologies import new_prefix

FIRST, SECOND = "queue-1", "queue-3"
ADD = ["enqueue", "--quiet", "tests.support.jobs.add", ":1", ":2"]


class ShardedStage(Stage):
    """A command line on four shards."""

    def __init__(self, url: str, key_prefix: str) -> None:
        super().__init__(url, key_prefix)
        self.env["AIORQ2_SHARDS"] = "4"

    def of(self, queue: str) -> Stage:
        """Return a stage on the shard of a queue alone."""
        return Stage(self.url, prefix_of(self.key_prefix, shard_of(queue, 4)))


@pytest.fixture
def stage(redis_url: str) -> Iterator[ShardedStage]:
    """Four shards with a command line."""
    stage = ShardedStage(redis_url, new_prefix("single"))
    assert shard_of(FIRST, 4) != shard_of(SECOND, 4)
    yield stage
    for number in range(4):
        one = Stage(redis_url, prefix_of(stage.key_prefix, number))
        one.library(_forget)


async def _forget(backend: RedisBackend) -> None:
    """Delete everything."""
    for key in (await backend.run(["KEYS", f"{backend.key_prefix}:*"]))[0]:
        await backend.run(["DEL", key])


def test_jobs_go_to_the_shard_of_their_queue_and_one_worker_runs_them(stage: ShardedStage) -> None:
    """From the environment or the command line; what is asked about a job is asked where it is."""
    for name in (FIRST, SECOND):
        assert stage.run(*ADD, "-q", name, "--job-id", name).exit_code == 0
        assert stage.of(name).fetch(name).status == "queued"
    counts = json.loads(stage.run("info", "--json").stdout)["queues"]
    assert [(one["name"], one["queued"]) for one in counts] == [(FIRST, 1), (SECOND, 1)]
    assert f"{SECOND} " in stage.run("info", SECOND).stdout
    assert FIRST not in stage.run("info", SECOND).stdout

    assert stage.run("cancel", SECOND).stdout == f"Cancelled {SECOND}\n"
    assert stage.run("requeue", SECOND).exit_code == 0
    assert is_one_sentence(stage.run("cancel", "no-such-job"), 1)
    status, output = stage.burst(FIRST, SECOND)

    assert status == 0, output
    assert [stage.of(name).fetch(name).result for name in (FIRST, SECOND)] == [3, 3]


def test_queues_are_emptied_and_workers_suspended_in_every_shard(stage: ShardedStage) -> None:
    """Whichever they are in."""
    for name in (FIRST, SECOND):
        stage.run(*ADD, "-q", name)

    assert stage.run("suspend").exit_code == 0
    assert all(
        json.loads(stage.of(one).run("info", "--json").stdout)["suspended"]
        for one in (FIRST, SECOND)
    )
    assert stage.run("resume").exit_code == 0
    emptied = stage.run("empty", "--all", "--yes").stdout.splitlines()

    assert sorted(emptied) == [f"1 jobs removed from {name} queue" for name in (FIRST, SECOND)]


def test_entries_are_found_in_whichever_shard_they_are(stage: ShardedStage) -> None:
    """They live with their queues; a scheduler sees to all shards."""
    for name in (FIRST, SECOND):
        job = ("tests.support.jobs.nothing", "-q", name)
        added = stage.run("cron", "add", f"at-{name}", *job, "--pattern", "* * * * *")
        assert added.exit_code == 0, added.output

    listed = json.loads(stage.run("cron", "list", "--json").stdout)
    assert [one["name"] for one in listed] == [f"at-{FIRST}", f"at-{SECOND}"]
    assert stage.run("cron", "pause", f"at-{SECOND}").stdout == f"Paused at-{SECOND}\n"
    assert stage.run("cron", "next", f"at-{FIRST}", "-n", "1").exit_code == 0
    assert is_one_sentence(stage.run("cron", "show", "nobody"), 1)
    scheduled = stage.run("scheduler", "--burst")
    assert scheduled.exit_code == 0, scheduled.output
    for name in (FIRST, SECOND):
        assert stage.run("cron", "remove", f"at-{name}").exit_code == 0


def test_doctor_looks_at_each_shard(stage: ShardedStage) -> None:
    """One after another."""
    stage.run(*ADD, "-q", FIRST)

    lines = stage.run("doctor", "--patience", "0").stdout.splitlines()

    assert [line for line in lines if line.endswith("}:")] == [
        f"{prefix_of(stage.key_prefix, number)}:" for number in range(4)
    ]


def test_what_is_for_one_shard_says_so(stage: ShardedStage) -> None:
    """With the way out."""
    for args in (["requeue", "--all"], ["cron", "import-rq-scheduler"]):
        refused = stage.run(*args)
        assert is_one_sentence(refused, 2)
        assert f"give --key-prefix '{prefix_of(stage.key_prefix, 0)}'" in refused.stderr
    assert stage.run("requeue", "--all", "-q", FIRST).stdout == "Nothing to do\n"
    assert is_one_sentence(stage.run("info", "--shards", "0"), 2)
    status, output = stage.burst("--max-jobs", "1", FIRST)
    assert status == 2
    assert "worker of several shards" in output


def test_number_of_an_application_is_its_own_to_say(stage: ShardedStage) -> None:
    """But for the command line: what it enqueues does not heed our variable."""
    job = ["enqueue", "--quiet", "tests.flow.hub_app.add", ":1", ":2", "-q", FIRST, "--job-id", "x"]
    assert stage.run(*job).exit_code == 0
    app = ("--app", "tests.flow.hub_app:rq", FIRST)

    status, output = stage.burst("--shards", "4", *app)

    assert status == 0, output
    assert output.count("the shop is open") == output.count("the shop is closed") == 1
    assert stage.of(FIRST).fetch("x").result == 3
    assert stage.of(FIRST).run("cron", "list", "--json").stdout == "[]\n"


def test_processes_of_a_pool_are_told_the_number(stage: ShardedStage) -> None:
    """By their command line."""
    for name in (FIRST, SECOND):
        stage.run(*ADD, "-q", name, "--job-id", name)

    del stage.env["AIORQ2_SHARDS"]
    status, output = stage.burst("--shards", "4", "--processes", "2", FIRST, SECOND)

    assert status == 0, output
    assert [stage.of(name).fetch(name).result for name in (FIRST, SECOND)] == [3, 3]
