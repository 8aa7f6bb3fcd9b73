"""Random histories of all verbs, on a backend and on the model beside it: after every call the two must be equal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, seed
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from aiorq2.backends import scripts
from tests.faults import settings
from tests.faults.figures import Report
from tests.faults.histories import Histories
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow

SCRIPTS = Path(scripts.__file__).parent / "lua"

IN_REDIS, IN_MEMORY = 60, 20
"""How many histories one seed makes. The number is part of what the seed repeats; more histories are more seeds."""


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody wait before he tries again."""
    monkeypatch.setattr("aiorq2.backends.claiming.LOST_CLAIM_PAUSE_S", 0)
    monkeypatch.setattr("aiorq2.backends.exchange.backoff", lambda *_, **__: 0)


LEFT_OUT = {
    "adjust_cron": "changes an entry, no job",
    "delete_queue": "the list of a queue; its jobs have their own verbs",
    "due_crons": "reads",
    "expire_ended": "a time to live, for the doctor",
    "forget_gone": "ids without a job, when somebody looks through a registry",
    "forget_worker": "workers",
    "give_ttl": "a time to live, for the doctor",
    "lead": "schedulers",
    "observe": "reads",
    "progress": "what a run tells",
    "register": "workers",
    "remove_cron": "removes an entry, no job",
    "save_meta": "what a run tells",
    "unlist": "ids of jobs that have ended, where rq has left them in a queue",
    "unlock": "rq's schedulers",
    "unregister": "workers",
}
"""The scripts that the model need not know, and what they are about instead of the state of jobs."""


def _run(url: str, examples: int, seeds: Sequence[int]) -> int:
    """Compare the histories of some seeds; returns how many there were. All scripts that move jobs must have had their part."""
    count, called = 0, set[str]()
    for number in seeds:
        members = {"url": url, "count": 0, "called": called}
        machine: type[Histories] = type("Histories", (Histories,), members)
        how = hypothesis_settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(seed(number)(machine), settings=how)
        except BaseException as error:
            error.add_note(f"seed {number}: it comes again with FAULT_SEEDS={number}")
            raise
        count += machine.count
    assert {script.stem for script in SCRIPTS.glob("*.lua")} - called == LEFT_OUT.keys()
    return count


def _sentence(count: int, where: str, seeds: Sequence[int]) -> str:
    return f"{count} histories {where} (seeds {seeds[0]} to {seeds[-1]}), equal after every call"


@pytest.mark.redis
@pytest.mark.timeout(7200)
def test_model_and_redis_agree(redis_server: RedisServer, report: Report) -> None:
    """On a real Redis, after every call of random histories."""
    seeds = settings.seeds(34)
    count = _run(redis_server.url, IN_REDIS, seeds)
    report(_sentence(count, "on Redis", seeds))
    report.figure("histories", f"{count} on Redis, equal", backend="redis")


@pytest.mark.timeout(7200)
def test_model_and_memory_agree(report: Report) -> None:
    """In memory, where the same scripts are run by fakeredis."""
    seeds = settings.seeds(25)
    count = _run(f"memory://{uuid4().hex}", IN_MEMORY, seeds)
    report(_sentence(count, "in memory", seeds))
    report.figure("histories", f"{count} in memory, equal", backend="memory")
