"""Two workers of rq and two of ours on the same queues: every job is run exactly once."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from aiorq2.backends import inspect
from aiorq2.states import JobStatus
from tests.faults.figures import Report
from tests.interop import functions
from tests.interop.peer import RqProcess
from tests.interop.sides import Ours, Theirs
from tests.support.eventually import eventually
from tests.support.processes import PythonProcess, WorkerProcess

JOBS = 2_000
SECONDS = 0.03
"""What a job takes: so much that rq's workers get their share."""


@pytest.mark.slow
@pytest.mark.since("3.0")
async def test_fleet_of_both_runs_every_job_once(
    ours: Ours, theirs: Theirs, redis_url: str, tmp_path: Path, report: Report
) -> None:
    """Plain and coroutine functions, enqueued half by rq and half by us; the ledger is a file."""
    path = str(tmp_path / "ledger")
    with ExitStack() as stack:
        workers = start_fleet(stack, theirs, redis_url)
        await eventually(lambda: number_of_workers(ours, 4), timeout=30)
        ids = await enqueue_all(ours, theirs, path)

        await eventually(lambda: len(functions.lines(path)) >= JOBS, timeout=90, interval=0.2)
        await eventually(lambda: all_finished(ours, ids), timeout=10, interval=0.2)
        await asyncio.sleep(1)  # for a second run that somebody might still make

    runs = [line.split() for line in functions.lines(path)]
    numbers = Counter(int(number) for number, _, _ in runs)
    shares = Counter(share_of(workers, int(pid), int(parent)) for _, pid, parent in runs)
    lost = set(range(JOBS)) - numbers.keys()
    twice = [number for number, times in numbers.items() if times > 1]
    report(f"{dict(sorted(shares.items()))}, {len(twice)} run twice, {len(lost)} lost")
    assert (lost, twice) == (set(), [])
    assert set(shares) == set(workers)
    for place in ("queued", "started", "failed", "scheduled", "deferred"):
        assert await ours.ids(place) == await theirs.ids(place) == []
    assert len(await ours.ids("finished")) == len(await theirs.ids("finished")) == JOBS


def start_fleet(stack: ExitStack, theirs: Theirs, url: str) -> dict[str, PythonProcess]:
    """Start a forking and a simple worker of rq, one of them on two queues, and two of ours with two slots each."""
    python = theirs.peer.python
    simple = ["--worker-class", "rq.worker.SimpleWorker", "other", "q"]
    small = ["--url", url, "--concurrency", "2", "--lease", "4"]
    workers: dict[str, PythonProcess] = {
        "rq": RqProcess(python, url, "worker", "--quiet", "q"),
        "rq simple": RqProcess(python, url, "worker", "--quiet", *simple),
        "aiorq2 a": WorkerProcess([*small, "q"]),
        "aiorq2 b": WorkerProcess([*small, "other", "q"]),
    }
    for worker in workers.values():
        stack.enter_context(worker)
    return workers


async def enqueue_all(ours: Ours, theirs: Theirs, path: str) -> list[str]:
    """Enqueue every number once, in turn by either side, and as either kind of function."""
    ids: list[str] = []
    queue = ours.queue()
    for start in range(0, JOBS, 100):
        func = ("work", "work_async")[start // 200 % 2]
        calls = [[path, number, SECONDS] for number in range(start, start + 100)]
        if start % 200:
            ids += await theirs.peer("enqueue_many", func=func, calls=calls)
        else:
            data = [queue.prepare_data(functions.CALLABLES[func], call) for call in calls]
            ids += [job.id for job in await queue.enqueue_many(data)]
    return ids


def share_of(workers: dict[str, PythonProcess], pid: int, parent: int) -> str:
    """Return the name of the worker that ran a job, or whose child did."""
    return next(name for name, one in workers.items() if one.pid in (pid, parent))


async def all_finished(ours: Ours, ids: list[str]) -> bool:
    """Return whether every job says so."""
    return set(await inspect.statuses(ours.backend, ids)) == {JobStatus.FINISHED}


async def number_of_workers(ours: Ours, number: int) -> bool:
    """Return whether so many workers are listed."""
    return len(await ours.workers()) == number
