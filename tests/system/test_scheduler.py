"""Time with real processes: each tick once, whoever is killed or frozen, and what is due starts on its time.

Sizes are small by default. ``SCHEDULER_SECONDS`` is how long a run with kills lasts. Lateness is printed, and decides nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from aiorq2 import CronJob, Queue, Scheduler, connect
from aiorq2.backends import crons
from aiorq2.backends.redis import RedisBackend
from aiorq2.options import EnqueueOptions
from aiorq2.states import JobStatus
from tests.support import jobs
from tests.support.eventually import eventually
from tests.support.processes import PythonProcess
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow

SECONDS = int(os.environ.get("SCHEDULER_SECONDS", "12"))
KILL_EVERY_S = 3.0

Start = Callable[..., PythonProcess]
Report = Callable[[str], None]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A Redis of this test's own; the parameter is its ``appendonly``."""
    with RedisServer(appendonly=getattr(request, "param", None)) as server:
        yield server


@pytest.fixture
async def backend(server: RedisServer) -> AsyncIterator[RedisBackend]:
    """A backend on it."""
    backend = connect(server.url)
    yield backend
    await backend.close()


@pytest.fixture
def start(server: RedisServer) -> Iterator[Start]:
    """A function that starts ``aiorq2 <arguments>`` on it; what runs at the end is killed."""
    running: list[PythonProcess] = []

    def start(*arguments: str) -> PythonProcess:
        process = PythonProcess(["-m", "aiorq2", *arguments], env={"AIORQ2_URL": server.url})
        running.append(process)
        return process

    yield start
    for process in running:
        process.close()


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Print a measured figure, also when the test passes."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n    {text}", flush=True)  # noqa: T201  figures are what these tests are for

    return say


async def every_second(backend: RedisBackend, path: Path) -> CronJob:
    """Have something run every second, and remember every run."""
    return await Scheduler("q", backend=backend).cron(
        "* * * * * *",
        jobs.append_to_file,
        [str(path), "ran"],
        name="secondly",
        catch_up="all",
        history=1000,
        result_ttl=600,
    )


async def seconds_between(cron: CronJob, began: datetime, count: int) -> list[int]:
    """Return for which of the seconds after ``began`` there is a run, once for each run."""
    found = [job.cron_tick for job in await cron.get_jobs(1000)]
    seconds = [int((tick - began).total_seconds()) for tick in found if tick]
    return sorted(second for second in seconds if 0 <= second < count)


async def lateness(cron: CronJob, began: datetime) -> list[float]:
    """Return by how many seconds each run since a time was enqueued late, in order."""
    return sorted(
        (job.enqueued_at - job.cron_tick).total_seconds()
        for job in await cron.get_jobs(1000)
        if job.enqueued_at and job.cron_tick and job.cron_tick >= began
    )


def figures(late: list[float]) -> str:
    """Return percentiles as text, in milliseconds."""
    picked = [late[len(late) // 2], late[int(len(late) * 0.99)], late[-1]]
    return "p50 {:.1f} ms, p99 {:.1f} ms, max {:.1f} ms".format(*(one * 1000 for one in picked))


async def test_each_second_has_one_run_whoever_is_killed(
    backend: RedisBackend, start: Start, tmp_path: Path, report: Report
) -> None:
    """Four processes schedule, two of them run jobs as well; every three seconds one is killed, and another started."""
    kinds = itertools.cycle([("worker", "q"), ("scheduler",)])
    processes = [start(*next(kinds)) for _ in range(4)]
    cron = await every_second(backend, tmp_path / "ledger")
    await eventually(lambda: _has_run(cron), timeout=30)
    began = await _now(backend)

    victims = itertools.count()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        await asyncio.sleep(KILL_EVERY_S)
        number = next(victims) % 4
        processes[number].kill()
        processes[number] = start(*(("worker", "q") if number % 2 == 0 else ("scheduler",)))
    await eventually(lambda: _is_past(cron, began, SECONDS), timeout=60)

    assert await seconds_between(cron, began, SECONDS) == list(range(SECONDS))
    report(
        f"{SECONDS} s, a process killed every 3 s: each second once; {figures(await lateness(cron, began))}"
    )


async def test_each_second_has_one_run_whoever_is_frozen(
    backend: RedisBackend, start: Start, tmp_path: Path, report: Report
) -> None:
    """Processes are stopped in turn for longer than any of their leases, and go on: none does late what another has done."""
    processes = [start("worker", "q"), start("scheduler"), start("scheduler")]
    cron = await every_second(backend, tmp_path / "ledger")
    await eventually(lambda: _has_run(cron), timeout=30)
    began = await _now(backend)

    for process in processes:
        process.pause()
        await asyncio.sleep(2.5)
        process.resume()
        await asyncio.sleep(0.3)
    await eventually(lambda: _is_past(cron, began, 9), timeout=60)

    assert await seconds_between(cron, began, 9) == list(range(9))
    report(f"frozen in turn for 2.5 s: each second once; {figures(await lateness(cron, began))}")


@pytest.mark.parametrize("server", ["always"], indirect=True)
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_each_second_has_one_run_though_redis_was_away(
    server: RedisServer,
    backend: RedisBackend,
    start: Start,
    tmp_path: Path,
    report: Report,
    how: str,
) -> None:
    """For three seconds: what was due meanwhile is made up for when it is back, by ``catch_up="all"`` all of it."""
    for arguments in (("worker", "q"), ("worker", "q"), ("scheduler",)):
        start(*arguments)
    cron = await every_second(backend, tmp_path / "ledger")
    await eventually(lambda: _has_run(cron), timeout=30)
    began = await _now(backend)

    await asyncio.sleep(1.5)
    server.kill() if how == "killed" else server.pause()
    await asyncio.sleep(3)
    server.restart() if how == "killed" else server.resume()
    await eventually(lambda: _is_past(cron, began, 8), timeout=60)

    assert await seconds_between(cron, began, 8) == list(range(8))
    report(f"Redis {how} for 3 s: each second once; {figures(await lateness(cron, began))}")


async def test_everything_due_at_one_instant_is_started_once(
    backend: RedisBackend, start: Start, tmp_path: Path, report: Report
) -> None:
    """20 000 jobs, two workers; Redis is not held up by any of it."""
    count, path = 20_000, tmp_path / "ledger"
    for _ in range(2):
        start("worker", "q", "--log-level", "warning")
    await eventually(lambda: _workers(backend), timeout=30)
    due_at = (await _now(backend)).timestamp() + 8
    await _schedule_all(backend, [due_at] * count, path)
    await backend.run(["CONFIG", "SET", "slowlog-log-slower-than", 1000], ["SLOWLOG", "RESET"])

    await eventually(lambda: len(_lines(path)) >= count, timeout=100, interval=0.2)

    assert Counter(line.split()[0] for line in _lines(path)) == Counter(map(str, range(count)))
    took = max(float(line.split()[1]) for line in _lines(path))
    (slow,) = await backend.run(["SLOWLOG", "GET", 1000])
    longest = max((entry[2] for entry in slow), default=0) / 1000
    report(
        f"20 000 due at once: all started in {took:.2f} s; Redis' longest command took {longest:.1f} ms"
    )


async def test_scheduled_jobs_start_on_their_time(
    backend: RedisBackend, start: Start, tmp_path: Path, report: Report
) -> None:
    """2 000 jobs spread over ten seconds, two idle workers: each starts once, and not before its time."""
    count, path = 2000, tmp_path / "ledger"
    for _ in range(2):
        start("worker", "q", "--log-level", "warning")
    await eventually(lambda: _workers(backend), timeout=30)
    begin = (await _now(backend)).timestamp() + 3
    await _schedule_all(backend, [begin + n * 10 / count for n in range(count)], path)

    await eventually(lambda: len(_lines(path)) >= count, timeout=60, interval=0.2)

    assert Counter(line.split()[0] for line in _lines(path)) == Counter(map(str, range(count)))
    late = sorted(float(line.split()[1]) for line in _lines(path))
    assert late[0] >= -0.002  # Redis' clock and ours are the same, but for rounding
    report(f"2 000 scheduled jobs over 10 s, 2 idle workers: {figures(late)}")


async def _now(backend: RedisBackend) -> datetime:
    """Return the next full second by Redis' clock."""
    found = crons.moment_of(int(await crons.now(backend)) + 1)
    assert found is not None
    return found


async def _has_run(cron: CronJob) -> bool:
    await cron.refresh()
    return cron.runs > 0


async def _is_past(cron: CronJob, began: datetime, seconds: int) -> bool:
    await cron.refresh()
    return cron.last_run is not None and (cron.last_run - began).total_seconds() >= seconds


async def _workers(backend: RedisBackend) -> bool:
    (count,) = await backend.run(["SCARD", backend.keys.workers()])
    return int(count) == 2


async def _schedule_all(backend: RedisBackend, due: list[float], path: Path) -> None:
    queue = Queue("q", backend)
    specs = []
    for number, at in enumerate(due):
        args = (str(path), str(number), at)
        spec, _ = queue.prepared(jobs.append_lateness, args, {}, EnqueueOptions())
        specs.append(replace(spec, status=JobStatus.SCHEDULED, due_at=at))
    for first in range(0, len(specs), 500):
        await backend.add(specs[first : first + 500])


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
