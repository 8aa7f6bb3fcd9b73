"""``aiorq2 doctor``: says what is wrong, a line each, mends with ``--fix``, and tells by its exit status."""

from __future__ import annotations

import json

import pytest
import redis

from tests.flow.cli_stage import Stage, is_one_sentence
from tests.support import jobs

QUIETLY = ("doctor", "--patience", "0", "--ignore", "redis-forgets")


@pytest.fixture
def stage(redis_url: str, key_prefix: str) -> Stage:
    """The test's Redis with a command line."""
    return Stage(redis_url, key_prefix)


def test_doctor_says_that_all_is_well(stage: Stage) -> None:
    """With status 0, and how much was looked at."""
    stage.enqueue(jobs.nothing)

    result = stage.run(*QUIETLY)

    assert result.exit_code == 0
    assert result.stdout.startswith("All is well: looked at ")


def test_doctor_says_what_is_wrong_and_mends_it(
    stage: Stage, redis_client: redis.Redis, key_prefix: str
) -> None:
    """A line for each finding; status 1 until it is mended."""
    (job,) = stage.enqueue(jobs.nothing)
    redis_client.delete(f"{key_prefix}:queue:q")

    told, fixed, again = stage.run(*QUIETLY), stage.run(*QUIETLY, "--fix"), stage.run(*QUIETLY)

    line = f"lost-job: queue q: 1 job queued and in no list: {job.id}. "
    assert (told.exit_code, fixed.exit_code, again.exit_code) == (1, 0, 0)
    assert told.stdout.startswith(f"{line}--fix puts them back")
    assert fixed.stdout == f"{line}Mended: 1.\n"
    assert redis_client.lrange(f"{key_prefix}:queue:q", 0, -1) == [job.id.encode()]


def test_doctor_tells_what_only_a_person_can_mend(stage: Stage) -> None:
    """``--fix`` does not make it well."""
    stage.run("suspend")

    result = stage.run(*QUIETLY, "--fix")

    assert result.exit_code == 1
    assert result.stdout == (
        "suspended: workers are suspended, with no end. What to do: `aiorq2 resume`.\n"
    )
    stage.run("resume")


def test_doctor_tells_programs(stage: Stage, redis_client: redis.Redis, key_prefix: str) -> None:
    """One JSON object, with what was mended where that was asked for."""
    (job,) = stage.enqueue(jobs.nothing)
    redis_client.delete(f"{key_prefix}:queue:q")

    told, fixed = stage.run(*QUIETLY, "--json"), stage.run(*QUIETLY, "--json", "--fix")

    found = json.loads(told.stdout)
    assert (found["healthy"], found["complete"]) == (False, True)
    (finding,) = found["findings"]
    assert (finding["kind"], finding["where"], finding["names"], finding["mended"]) == (
        "lost-job",
        "q",
        [job.id],
        None,
    )
    assert json.loads(fixed.stdout)["findings"][0]["mended"] == 1


def test_doctor_that_did_not_see_all_does_not_say_that_all_is_well(stage: Stage) -> None:
    """Status 1, and how much was looked at."""
    stage.enqueue(*[jobs.nothing] * 10)

    result = stage.run(*QUIETLY, "--limit", "5")

    assert result.exit_code == 1
    assert "entries only." in result.stdout


def test_doctor_refuses_unknown_kinds(stage: Stage) -> None:
    """One that is misspelt would be ignored in vain."""
    assert is_one_sentence(stage.run("doctor", "--ignore", "lost-jobs"), 2)
