"""What is measured: each workload with its title, the figure by which peers are compared, and those beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.scale import Scale
from benchmarks.setting import Sample, Setting
from benchmarks.workloads.draining import backlog, drain, long_run, memory, naps, threads
from benchmarks.workloads.enqueueing import bulk, one_by_one, together
from benchmarks.workloads.idling import fleet, idle
from benchmarks.workloads.timing import due_at_once, due_spread, pace

COSTS = ("round_trips", "commands", "redis_us", "client_us")
FAR_S = 0.002
FAR = "+2ms"


@dataclass(frozen=True)
class Workload:
    """A measurement."""

    title: str
    headline: str
    """The figure by which peers are compared."""
    measure: Callable[[Setting], Sample]
    beside: tuple[str, ...] = ()
    is_better: str = "more"
    """Or "less"."""
    concurrency: int | None = None
    """How many jobs at once, if not what the peer is quickest with."""
    round_trip_s: float = 0.0
    """What is added to every round trip."""


def workloads(scale: Scale) -> dict[str, Workload]:
    """Return all that is measured at a scale, by name."""
    near = {
        "enqueue-one": Workload(
            "Enqueue one at a time, each awaited before the next", "jobs_per_s", one_by_one, COSTS
        ),
        "enqueue-bulk": Workload(
            f"Enqueue {scale.bulk:,} in bulk, by the quickest way there is",
            "jobs_per_s",
            bulk,
            COSTS,
        ),
        "enqueue-64": Workload(
            "Enqueue by 64 concurrent callers (tasks; threads where the producer blocks)",
            "jobs_per_s",
            together,
            COSTS,
        ),
        "drain": Workload(
            "Drain no-ops: one worker process, from the first job's start to the last stored result",
            "jobs_per_s",
            drain,
            COSTS,
        ),
        "pace": Workload(
            "50 jobs a second for an idle worker: from the call that enqueues to the job's start, and to the result in hand",
            "start_p50_ms",
            pace,
            ("start_p99_ms", "result_p50_ms", "result_p99_ms", *COSTS),
            is_better="less",
        ),
    }
    far = {
        name + FAR: Workload(
            f"{each.title}, with {FAR_S * 1000:.0f} ms added to every round trip",
            each.headline,
            each.measure,
            each.beside,
            each.is_better,
            round_trip_s=FAR_S,
        )
        for name, each in near.items()
    }
    return near | _waiting_jobs(scale) | _due_jobs(scale) | _footprint(scale) | _many(scale) | far


def _waiting_jobs(scale: Scale) -> dict[str, Workload]:
    io = {
        f"io-{slots}": Workload(
            f"Drain jobs that wait 50 ms, {slots:,} at once: the part of what would be ideal",
            "of_ideal",
            naps,
            ("jobs_per_s", *COSTS),
            concurrency=slots,
        )
        for slots in (100, 1000)
    }
    return io | {
        "threads": Workload(
            "Drain plain functions in 32 threads", "jobs_per_s", threads, COSTS, concurrency=32
        )
    }


def _due_jobs(scale: Scale) -> dict[str, Workload]:
    late = ("late_p50_ms", "late_first_ms", "late_last_ms")
    return {
        "due-once": Workload(
            f"{scale.due:,} jobs due at one instant: how much later each began, and the last of them",
            "late_p99_ms",
            due_at_once,
            late,
            is_better="less",
        ),
        "due-spread": Workload(
            f"{scale.spread} jobs due one by one over {scale.spread_s:.0f} s: how much later each began",
            "late_p99_ms",
            due_spread,
            late,
            is_better="less",
        ),
    }


def _footprint(scale: Scale) -> dict[str, Workload]:
    return {
        "memory": Workload(
            "Redis memory per job: waiting, and finished with its result kept",
            "finished_bytes",
            memory,
            ("pending_bytes",),
            is_better="less",
        ),
        "rss": Workload(
            f"Resident memory of a worker: at its start, and after {scale.long_run:,} jobs",
            "rss_after_mb",
            long_run,
            ("rss_before_mb", "jobs"),
            is_better="less",
        ),
        "idle": Workload(
            "An idle worker: what it costs",
            "worker_percent",
            idle,
            ("redis_percent", "calls_per_s", "commands_per_s", "rss_mb"),
            is_better="less",
        ),
        "fleet": Workload(
            f"{scale.fleet} idle workers: what they cost, and how soon one of them starts a job",
            "redis_percent",
            fleet,
            (
                "workers_percent",
                "calls_per_s",
                "commands_per_s",
                "start_p50_ms",
                "start_max_ms",
                "commands",
            ),
            is_better="less",
        ),
    }


def _many(scale: Scale) -> dict[str, Workload]:
    processes = {
        f"drain-{number}": Workload(
            f"Drain no-ops with {number} worker processes (one: see above)",
            "jobs_per_s",
            partial(drain, processes=number),
            COSTS,
        )
        for number in scale.processes
    }
    backlogs = {
        f"backlog-{_short(size)}": Workload(
            f"Drain the first {scale.from_backlog:,} of {size:,} waiting no-ops",
            "jobs_per_s",
            partial(backlog, size=size),
            COSTS,
        )
        for size in scale.backlogs
    }
    return processes | backlogs


def _short(number: int) -> str:
    return f"{number // 1_000_000}M" if number >= 1_000_000 else f"{number // 1000}k"
