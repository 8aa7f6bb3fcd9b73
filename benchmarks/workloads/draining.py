"""What workers do with jobs that wait: from the start of the first job until the last result is stored.

What comes before, the start of the interpreter and the imports, is not in it. Then every job must have run once, and its result
must be where the peer keeps results.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack

from benchmarks.meters import Counters, cpu_of, rss_mb_of, used_memory
from benchmarks.peers import Setup, Task
from benchmarks.peers.tally import NAP_S, Board
from benchmarks.setting import STARTING_S, Failed, Sample, Setting, Unable, check_runs, until

LONGEST = 1_000_000
"""The longest backlog, for those who enqueue quickly."""
FREED_S = 0.5
SETTLED_S = 1.0
"""After so long a worker has done what it does at its start."""


def drain(setting: Setting, processes: int = 1) -> Sample:
    """No-ops."""
    return _drained(setting, "noop", setting.share(setting.scale.drained), processes)


def threads(setting: Setting) -> Sample:
    """Plain functions, in threads."""
    return _drained(setting, "sync", setting.share(setting.scale.drained) // 2)


def naps(setting: Setting) -> Sample:
    """Jobs that wait, and the part of what would be ideal."""
    jobs = setting.concurrency * setting.scale.naps_per_slot
    jobs = max(2 * setting.concurrency, setting.share(jobs))
    sample = _drained(setting, "nap", jobs)
    return {"of_ideal": sample["jobs_per_s"] * NAP_S / setting.concurrency, **sample}


def backlog(setting: Setting, size: int) -> Sample:
    """The first of many waiting jobs; there is no time to run, and to check, all of them."""
    if size > setting.share(LONGEST):
        raise Unable("to enqueue as many takes it too long")
    wanted = min(size, max(100, setting.share(setting.scale.from_backlog)))
    setting.enqueue("noop", size)
    board = setting.board(size)
    sample = _worked(setting, board, Setup("noop", setting.concurrency), 1, wanted)
    if max(board.runs()) > 1:
        raise Failed("a job ran more than once")
    return sample


def memory(setting: Setting) -> Sample:
    """What a job takes in Redis, before and after."""
    jobs = setting.share(setting.scale.drained)
    empty = _settled_memory(setting)
    setting.enqueue("noop", jobs)
    pending = _settled_memory(setting) - empty
    board = setting.board(jobs)
    _worked(setting, board, Setup("noop", setting.concurrency), 1, jobs)
    check_runs(board.runs())
    finished = _settled_memory(setting) - empty
    return {"pending_bytes": pending / jobs, "finished_bytes": finished / jobs}


def _settled_memory(setting: Setting) -> int:
    """Return what is taken once the buffers of clients that have gone are freed, and what was deleted is."""
    time.sleep(FREED_S)
    return used_memory(setting.redis)


def long_run(setting: Setting) -> Sample:
    """What a worker's memory is before its first job and after its last."""
    jobs = setting.share(setting.scale.long_run)
    board = setting.board(jobs)
    with setting.working(Setup("noop", setting.concurrency)) as process:
        time.sleep(SETTLED_S)
        before = rss_mb_of(process.pid)
        setting.enqueue("noop", jobs)
        setting.await_stored(jobs, jobs, process)
        after = rss_mb_of(process.pid)
    check_runs(board.runs())
    if before is None or after is None:
        raise Failed("this system does not tell the memory of a process")
    return {"rss_after_mb": after, "rss_before_mb": before, "jobs": jobs}


def _drained(setting: Setting, task: Task, jobs: int, processes: int = 1) -> Sample:
    setting.enqueue(task, jobs)
    board = setting.board(jobs)
    sample = _worked(setting, board, Setup(task, setting.concurrency), processes, jobs)
    check_runs(board.runs())
    setting.check_results(jobs)
    return sample


def _worked(setting: Setting, board: Board, setup: Setup, processes: int, wanted: int) -> Sample:
    before = Counters.of(setting.redis)
    with ExitStack() as stack:
        workers = [stack.enter_context(setting.working(setup)) for _ in range(processes)]
        until(board.has_begun, workers[0], STARTING_S, "no job was started")
        cpu_s = _cpu(workers)
        looks = setting.await_stored(board.size, wanted, workers[0])
        ended_at = time.monotonic()
        after = Counters.of(setting.redis)
        spent_s = _difference(_cpu(workers), cpu_s)
    begun_at = min(filter(None, board.starts()))
    costs = after.since(before, looks).per_job(wanted, spent_s)
    return {"jobs_per_s": wanted / (ended_at - begun_at), **costs}


def _cpu(workers: list[subprocess.Popen[bytes]]) -> float | None:
    return cpu_of(worker.pid for worker in workers)


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before
