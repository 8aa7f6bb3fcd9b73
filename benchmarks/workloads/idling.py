"""What workers cost that have nothing to do."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.figures import quantile
from benchmarks.meters import Counters, cpu_of, rss_mb_of, session_of
from benchmarks.peers import Setup
from benchmarks.setting import STARTING_S, Failed, Sample, Setting, check_runs
from benchmarks.workloads.draining import SETTLED_S

JOBS = 10
"""One after the other, for a fleet."""
RATE = 2


def idle(setting: Setting) -> Sample:
    """One worker that waits."""
    setting.board(1)
    with setting.working(Setup("noop", setting.concurrency)) as process:
        time.sleep(3 * SETTLED_S)
        sample = _watched(setting, [process.pid])
        rss_mb = rss_mb_of(process.pid)
        if process.poll() is not None:
            raise Failed(f"the worker ended with {process.returncode}")
    if rss_mb is not None:
        sample["rss_mb"] = rss_mb
    sample["worker_percent"] = sample.pop("workers_percent", 0.0)
    return sample


def fleet(setting: Setting) -> Sample:
    """Many workers that wait, and now and then one job for all of them."""
    number, board = setting.scale.fleet, setting.board(JOBS)
    with (
        setting.working(Setup("noop", 1), fleet=number) as process,
        setting.started("pace", setting.url, JOBS, RATE) as producer,
    ):
        _await_clients(setting, number)
        time.sleep(SETTLED_S + number / 50)  # they register, one after the other on a few cores
        sample = _watched(setting, session_of(process.pid))
        before = Counters.of(setting.redis)
        sent = producer.go()["sent"]
        after = Counters.of(setting.redis)
    check_runs(board.runs())
    starts = [(start - at) * 1000 for start, at in zip(board.starts(), sent, strict=True)]
    between = sample["commands_per_s"] * (JOBS - 1) / RATE
    return {
        **sample,
        "start_p50_ms": quantile(starts, 0.5),
        "start_max_ms": max(starts),
        "commands": max(0.0, after.since(before).commands - between) / JOBS,
    }


def _await_clients(setting: Setting, number: int) -> None:
    """Wait until all have connected, that is until no more connections come."""
    deadline, connected, before = time.monotonic() + STARTING_S + number / 2, 0, -1
    while connected <= number or connected != before:
        if time.monotonic() > deadline:
            raise Failed(f"{connected} connections of {number} workers")
        time.sleep(SETTLED_S)
        before = connected
        clients: Any = setting.redis.info("clients")
        connected = clients["connected_clients"]


def _watched(setting: Setting, pids: list[int]) -> Sample:
    seconds = setting.scale.idle_s
    before, cpu_s = Counters.of(setting.redis), cpu_of(pids)
    time.sleep(seconds)
    after, spent_s = Counters.of(setting.redis), cpu_of(pids)
    idle = after.since(before)
    sample = {
        "redis_percent": idle.cpu_s / seconds * 100,
        "calls_per_s": idle.reads / seconds,
        "commands_per_s": idle.commands / seconds,
    }
    if cpu_s is not None and spent_s is not None:
        sample["workers_percent"] = (spent_s - cpu_s) / seconds * 100
    return sample
