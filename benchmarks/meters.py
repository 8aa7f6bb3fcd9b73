"""What is read while something runs: the counters of Redis, and what the system says about processes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

READINGS = 3
"""The commands of one reading."""


@dataclass(frozen=True)
class Counters:
    """What Redis has counted until now."""

    commands: int
    """Those that scripts call included."""
    reads: int
    """Reads from a socket: a pipeline that arrives in one piece counts once, as a round trip does."""
    cpu_s: float

    @classmethod
    def of(cls, redis: Redis) -> Counters:
        """Read them."""
        stats: Any = redis.info("commandstats")
        totals: Any = redis.info("stats")
        cpu: Any = redis.info("cpu")
        return cls(
            sum(command["calls"] for command in stats.values()),
            totals["total_reads_processed"],
            cpu["used_cpu_user"] + cpu["used_cpu_sys"],
        )

    def since(self, earlier: Counters, looks: int = 0) -> Counters:
        """Return what happened in between, without this reading and the looks that measuring took."""
        ours = looks + READINGS
        return Counters(
            max(0, self.commands - earlier.commands - ours),
            max(0, self.reads - earlier.reads - ours),
            self.cpu_s - earlier.cpu_s,
        )

    def per_job(self, jobs: int, client_s: float | None) -> dict[str, float]:
        """Return the figures that every throughput has."""
        figures = {
            "round_trips": self.reads / jobs,
            "commands": self.commands / jobs,
            "redis_us": self.cpu_s * 1e6 / jobs,
        }
        if client_s is not None:
            figures["client_us"] = client_s * 1e6 / jobs
        return figures


def used_memory(redis: Redis) -> int:
    """Return the bytes that Redis has taken for data: without clients and cached scripts."""
    memory: Any = redis.info("memory")
    aside = ("mem_clients_normal", "used_memory_scripts_eval")
    return int(memory["used_memory"]) - sum(int(memory.get(name, 0)) for name in aside)


def cpu_of(pids: Iterable[int]) -> float | None:
    """Return the CPU seconds of running processes and their threads; None where there is no ``/proc``."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rss_mb_of(pid: int) -> float | None:
    """Return the resident memory of a process; None where there is no ``/proc``."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def session_of(pid: int) -> list[int]:
    """Return the processes of the session that this one leads."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid:
            found.append(int(stat.parent.name))
    return found
