"""``aiorq2 worker --processes N``: real processes that die, are told to stop, or do not start."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from aiorq2.backends import connect, inspect
from aiorq2.backends.inspect import WorkerRecord
from aiorq2.backends.redis import RedisBackend
from aiorq2.job import Job
from aiorq2.queue import Queue
from tests.support import jobs
from tests.support.eventually import eventually
from tests.support.processes import WorkerProcess, is_alive

pytestmark = [pytest.mark.slow, pytest.mark.redis]

StartPool = Callable[..., WorkerProcess]


@pytest.fixture
async def backend(redis_url: str, key_prefix: str) -> AsyncIterator[RedisBackend]:
    """The library on the pool's Redis."""
    backend = connect(redis_url, key_prefix=key_prefix)
    yield backend
    await backend.close()


@pytest.fixture
def env(redis_url: str, key_prefix: str) -> dict[str, str]:
    """The settings of the pool."""
    return {"AIORQ2_URL": redis_url, "AIORQ2_KEY_PREFIX": key_prefix, "AIORQ2_LEASE": "5"}


async def listening(
    backend: RedisBackend, count: int, *, but: frozenset[int] = frozenset()
) -> list[WorkerRecord]:
    """Wait until so many workers are there whose pids are not in ``but``; return them by name."""

    async def enough() -> list[WorkerRecord]:
        workers = [one for one in await inspect.workers(backend) if one.pid not in but]
        return workers if len(workers) == count else []

    return await eventually(enough, timeout=20)


def pid_of(worker: WorkerRecord) -> int:
    """Return the process of a worker."""
    assert worker.pid is not None
    return worker.pid


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    """A module ``marking`` in the folder of the pool."""
    (tmp_path / "marking.py").write_text(
        "import asyncio, pathlib\n\n"
        "async def run(mark, seconds):\n"
        "    if not pathlib.Path(mark).exists():\n"
        "        pathlib.Path(mark).touch()\n"
        "        await asyncio.sleep(seconds)\n"
        "    return seconds\n"
    )
    return Marks(tmp_path)


class Marks:
    """Jobs that take some time, and say that they run; if they are run again, they are done at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def start(self, backend: RedisBackend, seconds: float) -> Job:
        """Enqueue such a job and return when its function runs."""
        mark = self.folder / uuid4().hex
        job = await Queue("q", backend).enqueue("marking.run", str(mark), seconds)
        await eventually(mark.exists, timeout=20)
        return job


async def test_burst_ends_when_all_processes_are_done(
    backend: RedisBackend, env: dict[str, str]
) -> None:
    """With status 0, and every job done once."""
    queue = Queue("q", backend)
    enqueued = [await queue.enqueue(jobs.slow, 0.2) for _ in range(12)]

    with WorkerProcess(["q", "--processes", "3", "--concurrency", "2", "--burst"], env=env) as pool:
        assert pool.wait(30) == 0

    for job in enqueued:
        assert await job.is_finished()
        assert job.attempt == 1


async def test_processes_are_named_after_the_pool(
    backend: RedisBackend, env: dict[str, str], tmp_path: Path
) -> None:
    """``NAME-1``, ``NAME-2``; the password is in none of their command lines, and the file of ``--pid`` holds the pool's."""
    settings = {**env, "AIORQ2_PID": str(tmp_path / "pid")}  # which they see, too
    with WorkerProcess(["q", "--processes", "2", "--name", "w"], env=settings) as pool:
        workers = await listening(backend, 2)
        assert (tmp_path / "pid").read_text() == f"{pool.pid}\n"

        assert [one.name for one in workers] == ["w-1", "w-2"]
        assert all(one.queues == ("q",) for one in workers)
        pool.terminate()
        assert pool.wait(10) == 0


async def test_process_that_dies_is_replaced(
    backend: RedisBackend, env: dict[str, str], marks: Marks
) -> None:
    """Under its own name, and what it ran is run again."""
    with WorkerProcess(
        ["q", "--processes", "2", "--name", "w", "--concurrency", "1"],
        env=env,
        cwd=marks.folder,
    ) as pool:
        first, second = await listening(backend, 2)
        pool.wait_for_output("worker w-2: listening")
        job = await marks.start(backend, 60)
        await eventually(job.is_started)
        victim = first if job.worker_name == "w-1" else second

        os.kill(pid_of(victim), signal.SIGKILL)

        assert await job.wait(40) == 60
        assert job.attempt == 2
        replaced = await listening(backend, 2, but=frozenset({pid_of(victim)}))
        assert [one.name for one in replaced] == ["w-1", "w-2"]
        pool.terminate()
        assert pool.wait(10) == 0


@pytest.mark.parametrize("is_group", [False, True])
async def test_first_signal_lets_jobs_finish(
    backend: RedisBackend, env: dict[str, str], marks: Marks, is_group: bool
) -> None:
    """Whether it reaches the pool alone or all of its processes as well, as Ctrl-C and systemd have it."""
    with WorkerProcess(["q", "--processes", "2"], env=env, cwd=marks.folder) as pool:
        await listening(backend, 2)
        job = await marks.start(backend, 1.5)

        (pool.signal_group if is_group else pool.send_signal)(signal.SIGTERM)

        assert pool.wait(10) == 0
        assert await job.is_finished()
        assert "at once" not in pool.output()


@pytest.mark.parametrize("is_seen_first", [True, False])
async def test_second_signal_stops_at_once(
    backend: RedisBackend, env: dict[str, str], marks: Marks, is_seen_first: bool
) -> None:
    """What ran is given back, its attempt does not count; also where both signals come before the pool has looked."""
    with WorkerProcess(["q", "--processes", "2"], env=env, cwd=marks.folder) as pool:
        await listening(backend, 2)
        job = await marks.start(backend, 60)

        pool.send_signal(signal.SIGINT)
        if is_seen_first:
            pool.wait_for_output("stopping; 1 jobs are running")
        assert pool.is_running
        pool.send_signal(signal.SIGTERM)

        assert pool.wait(10) == 0
        assert await job.is_queued()
        assert job.attempt == 0
    await job.delete()


async def test_processes_stop_when_the_pool_is_killed(
    backend: RedisBackend, env: dict[str, str], marks: Marks
) -> None:
    """They finish what they run and are gone."""
    with WorkerProcess(["q", "--processes", "2"], env=env, cwd=marks.folder) as pool:
        workers = await listening(backend, 2)
        job = await marks.start(backend, 1)

        pool.kill_parent()

        await eventually(lambda: not any(is_alive(pid_of(one)) for one in workers), timeout=10)
        assert await job.is_finished()


async def test_pool_gives_up_on_a_process_that_does_not_start(
    env: dict[str, str], tmp_path: Path
) -> None:
    """After five tries, further and further apart, with the status of the process."""
    ledger = tmp_path / "ledger"
    (tmp_path / "broken.py").write_text(
        f"open({str(ledger)!r}, 'a').write('x'); raise RuntimeError('no database')\n"
    )

    with WorkerProcess(["--processes", "2", "--import", "broken"], env=env, cwd=tmp_path) as pool:
        assert pool.wait(60) == 1
        output = pool.output()

    assert 5 <= len(ledger.read_text()) <= 10
    assert "--import broken: it raised RuntimeError: no database" in output
    assert "does not start (status 1); giving up" in output
    assert "Traceback" not in output


async def test_pool_gives_up_at_once_on_a_wrong_setting(env: dict[str, str]) -> None:
    """A module that does not exist will not exist in a minute either."""
    with WorkerProcess(["--processes", "2", "--import", "no_such_module"], env=env) as pool:
        assert pool.wait(20) == 2
        assert 1 <= pool.output().count("No module named 'no_such_module'") <= 2


@pytest.mark.parametrize("name", [[], ["--name", "w"]], ids=["unnamed", "named"])
async def test_pool_survives_jobs_that_kill_their_process(
    backend: RedisBackend, env: dict[str, str], tmp_path: Path, name: list[str]
) -> None:
    """Dying of a job is not failing to start, however often it happens; each death is counted, under any name."""
    (tmp_path / "killers.py").write_text(
        "import os, signal\n\ndef die():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    queue = Queue("q", backend)
    killers = [await queue.enqueue("killers.die") for _ in range(2)]

    with WorkerProcess(
        ["q", "--processes", "2", "--lease", "4", *name], env=env, cwd=tmp_path
    ) as pool:
        for job in killers:
            await eventually(job.is_failed, timeout=60)
        after = await queue.enqueue(jobs.add, 1, 2)

        assert await after.wait(30) == 3
        pool.terminate()
        assert pool.wait(10) == 0


async def test_reload_starts_anew_when_the_source_changes(
    backend: RedisBackend, env: dict[str, str], tmp_path: Path
) -> None:
    """Also when it was broken in between."""
    module = tmp_path / "changing.py"
    module.write_text("def version():\n    return 1\n")
    queue = Queue("q", backend)

    with WorkerProcess(["q", "--reload", "--import", "changing"], env=env, cwd=tmp_path) as pool:
        assert await (await queue.enqueue("changing.version")).wait(20) == 1

        module.write_text("def version(:\n")
        pool.wait_for_output("waiting for a change of the source", timeout=20)
        module.write_text("def version():\n    return 22\n")

        assert await (await queue.enqueue("changing.version")).wait(20) == 22
        pool.terminate()
        assert pool.wait(10) == 0


async def test_processes_take_turns_when_their_jobs_are_counted(
    backend: RedisBackend, env: dict[str, str]
) -> None:
    """``--max-jobs`` in a pool replaces a process after so many jobs."""
    queue = Queue("q", backend)
    with WorkerProcess(["q", "--processes", "1", "--reload", "--max-jobs", "1"], env=env) as pool:
        seen = set()
        for _ in range(3):
            job = await queue.enqueue(jobs.add, 1, 2)
            assert await job.wait(20) == 3
            seen.add(job.worker_name)

        assert len(seen) == 3
        pool.terminate()
        assert pool.wait(10) == 0


async def test_settings_reach_the_processes(
    backend: RedisBackend, env: dict[str, str], tmp_path: Path
) -> None:
    """From the command line as from the environment; quiet means quiet."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "elsewhere.py").write_text("def f():\n    return 'there'\n")
    job = await Queue("low", backend).enqueue("elsewhere.f")
    options = [
        "high",
        "low",
        "--processes",
        "2",
        "--burst",
        "--path",
        str(tmp_path / "there"),
        "--no-scheduler",
    ]

    with WorkerProcess(
        [*options, "--allow", "a.*", "--allow", "b.*"], env={**env, "AIORQ2_QUIET": "1"}
    ) as pool:
        assert pool.wait(30) == 0
        said = pool.output().splitlines()
        assert [line for line in said if "not subscribed yet" not in line] == []  # a slow Redis

    assert await job.wait(10) == "there"
