"""``kill -9`` on either side: the other one frees the jobs of the dead, each by its own rules."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.interop import functions
from tests.interop.peer import Peer, RqProcess
from tests.interop.sides import Ours, Side, Theirs
from tests.support.eventually import eventually
from tests.support.processes import PythonProcess, WorkerProcess

pytestmark = pytest.mark.slow

OFTEN = ["--worker-ttl", "16", "--maintenance-interval", "0"]
"""rq's upkeep about every second."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the runs are noted."""
    return str(tmp_path / "runs")


async def begun(path: str, times: int) -> None:
    """Wait until so many runs have begun in all."""
    await eventually(lambda: starts(path) == times, timeout=30)


def starts(path: str) -> int:
    """Return how many runs have begun."""
    return sum(line.startswith("started") for line in functions.lines(path))


def end_leases(client: Any) -> None:
    """Let the leases of the four jobs that were running be over."""
    leases = client.zrange("rq:wip:q", 0, -1)
    assert len(leases) == 4
    client.zadd("rq:wip:q", dict.fromkeys(leases, 1))


async def end_as(side: Side, ids: list[str], wanted: list[str]) -> None:
    """Wait until the jobs have these statuses."""

    async def have_ended() -> bool:
        return [await side.status(id) for id in ids] == wanted

    await eventually(have_ended, timeout=20)


@pytest.mark.since("2.6")
async def test_rq_frees_the_jobs_of_a_killed_worker_of_ours(
    ours: Ours, theirs: Theirs, peer: Peer, redis_url: str, redis_client: Any, path: str
) -> None:
    """When their leases are over, rq's upkeep treats them as those of its own dead: again while retries are left, else failed."""
    with WorkerProcess(["--url", redis_url, "--lease", "15", "q"]) as dying:
        ids = [
            await side.enqueue("hold", path, retry=retry)
            for side in (ours, theirs)
            for retry in ({"max": 2}, None)
        ]
        await begun(path, 4)
        dying.kill()
    end_leases(redis_client)
    Path(f"{path}.open").touch()
    with RqProcess(peer.python, redis_url, "worker", *OFTEN, "q"):
        await end_as(theirs, ids, ["finished", "failed"] * 2)

    for id in (ids[0], ids[2]):
        assert (
            (await ours.facts(id)).return_value == (await theirs.facts(id)).return_value == "held"
        )
    for id in (ids[1], ids[3]):
        assert "AbandonedJobError" in str((await theirs.facts(id)).exc_string)
        assert (await ours.facts(id)).exc_string == (await theirs.facts(id)).exc_string
    assert starts(path) == 6


async def test_we_free_the_jobs_of_a_killed_worker_of_rq(
    ours: Ours, theirs: Theirs, peer: Peer, redis_url: str, redis_client: Any, path: str
) -> None:
    """Our jobs go back to the front of their queue, rq's own follow RQ's rule: again while retries are left, else failed."""
    cases: list[tuple[Side, dict[str, Any]]] = [
        (ours, {}),
        (ours, {"redeliver": False}),
        (theirs, {"retry": {"max": 1}}),
        (theirs, {}),
    ]
    ids = [await side.enqueue("hold", path, **options) for side, options in cases]
    with ExitStack() as stack:
        for number in range(len(cases)):
            name = ["--name", f"rq{number}"]
            stack.enter_context(RqProcess(peer.python, redis_url, "worker", *name, "q"))
        await begun(path, len(cases))
    for line in functions.lines(path):
        os.kill(
            int(line.split()[1]), signal.SIGKILL
        )  # what they forked is in process groups of its own
    end_leases(redis_client)  # rq gives them at least a minute
    Path(f"{path}.open").touch()

    with WorkerProcess(["--url", redis_url, "--lease", "5", "q"]):
        await end_as(ours, ids, ["finished", "failed"] * 2)

    for id in (ids[0], ids[2]):
        assert (
            (await ours.facts(id)).return_value == (await theirs.facts(id)).return_value == "held"
        )
    for id in (ids[1], ids[3]):
        assert "AbandonedJobError" in str((await theirs.facts(id)).exc_string)
    assert starts(path) == 6
    assert await ours.ids("started") == []


async def test_we_put_back_what_a_killed_worker_of_rq_had_not_started(
    ours: Ours, theirs: Theirs, peer: Peer, redis_url: str, redis_client: Any
) -> None:
    """A worker that dies between taking a job and starting it leaves it on rq's intermediate list, where our sweeps find it."""
    program = "import sys; from tests.interop.driver import die_before_start; die_before_start(*sys.argv[1:])"
    id = await theirs.enqueue("add", 1, 2)
    with PythonProcess(["-c", program, redis_url, "q"], python=peer.python) as dying:
        assert dying.wait(20) == -9
    assert redis_client.lrange("rq:queue:q:intermediate", 0, -1) == [id.encode()]
    assert await theirs.status(id) == "queued"
    assert not await ours.work()

    await ours.sweep()
    redis_client.hset("rq:aio:stuck:q", id, 1)  # more than a minute ago
    await ours.sweep()

    assert await ours.work()
    assert (await theirs.facts(id)).return_value == 3
    assert redis_client.llen("rq:queue:q:intermediate") == 0
