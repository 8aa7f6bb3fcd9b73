"""How soon: a job for a worker that waits for one, and jobs that wait for their time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.figures import quantile
from benchmarks.meters import Counters, cpu_of
from benchmarks.peers import Setup
from benchmarks.setting import Failed, Sample, Setting, check_runs
from benchmarks.workloads.draining import SETTLED_S

RATE = 50
SOON_S = 1.0
"""When the first of the jobs is due that are spread."""
EARLY_S = 1.0
"""Queues that count in whole seconds start jobs up to so much before their time: told, and no failure."""


def pace(setting: Setting) -> Sample:
    """An idle worker gets a job, and after 20 ms the next; somebody waits for each result."""
    jobs = setting.scale.paced
    board = setting.board(jobs)
    with (
        setting.working(Setup("noop", setting.concurrency)) as process,
        setting.started("pace", setting.url, jobs, RATE) as producer,
    ):
        time.sleep(SETTLED_S)
        before, cpu_s = Counters.of(setting.redis), cpu_of([process.pid])
        took = producer.go()
        after, spent_s = Counters.of(setting.redis), cpu_of([process.pid])
    check_runs(board.runs())
    starts = _differences(board.starts(), took["sent"])
    known = _differences(took["known"], took["sent"])
    client_s = None if cpu_s is None or spent_s is None else spent_s - cpu_s
    return {
        "start_p50_ms": quantile(starts, 0.5),
        "start_p99_ms": quantile(starts, 0.99),
        "result_p50_ms": quantile(known, 0.5),
        "result_p99_ms": quantile(known, 0.99),
        **after.since(before).per_job(jobs, client_s),
    }


def due_at_once(setting: Setting) -> Sample:
    """All at one instant; for slow peers just as many, since that is what makes them late."""
    return _due(setting, setting.scale.due, 0.0)


def due_spread(setting: Setting) -> Sample:
    """One after the other."""
    return _due(setting, setting.scale.spread, setting.scale.spread_s)


def _due(setting: Setting, jobs: int, spread_s: float) -> Sample:
    board, due_in_s = setting.board(jobs), setting.scale.due_in_s
    if spread_s:
        due_in_s = min(due_in_s, SOON_S)
    told = ("at", setting.url, setting.ids, due_in_s, spread_s, jobs)
    with (
        setting.working(Setup("noop", setting.concurrency, schedules=True)) as process,
        setting.started(*told) as producer,
    ):
        time.sleep(SETTLED_S)
        took = producer.go()
        if took["took"] > due_in_s:
            raise Failed(f"{jobs} jobs took {took['took']:.1f} s to enqueue, and were due before")
        time.sleep(max(0.0, took["due"] + spread_s - time.monotonic()))
        setting.await_stored(jobs, jobs, process)
    check_runs(board.runs())
    late = _differences(board.starts(), [took["due"] + spread_s * i / jobs for i in range(jobs)])
    if min(late) < -1000 * EARLY_S:
        raise Failed(f"a job began {-min(late):.0f} ms before its time")
    setting.check_results(jobs)
    return {
        "late_p50_ms": quantile(late, 0.5),
        "late_p99_ms": quantile(late, 0.99),
        "late_first_ms": min(late),
        "late_last_ms": max(late),
    }


def _differences(later: Sequence[float], earlier: Sequence[float]) -> list[float]:
    return [(after - before) * 1000 for after, before in zip(later, earlier, strict=True)]
