"""Read the ledger that job functions keep outside Redis: who ran what, when, and how it ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One run of a job: ``how`` it ended is ``end``, ``raise`` or ``cut``, and None where it has no end.

    ``pid`` is the process in which the function ran: the worker's, or that of a job with ``offload="process"``.
    """

    job_id: str
    worker: str
    started_at: float
    ended_at: float | None = None
    how: str | None = None
    pid: int = 0
    id: str = ""


def read(path: Path) -> list[Run]:
    """Return the runs in the order in which they started."""
    runs: dict[str, Run] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        what, job_id, run, pid, worker, at = line.split(" ")
        if what == "start":
            runs[run] = Run(job_id, worker, float(at), pid=int(pid), id=run)
        else:
            runs[run] = replace(runs[run], ended_at=float(at), how=what)
    return sorted(runs.values(), key=lambda run: run.started_at)


def by_job(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each job."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.job_id].append(run)
    return dict(found)
