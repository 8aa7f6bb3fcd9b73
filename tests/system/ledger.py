"""Read the ledger that job functions keep, and say what in it cannot be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """One run of a job: ``how`` it ended is ``end``, ``raise`` or ``cut``, and None where it has no end."""

    job_id: str
    pid: int
    started_at: float
    ended_at: float | None = None
    how: str | None = None


def read(path: Path) -> list[Run]:
    """Return the runs in the order in which they started."""
    starts: dict[str, Run] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        what, job_id, run, pid, at = line.split(" ")
        if what == "start":
            starts[run] = Run(job_id, int(pid), float(at))
        else:
            begun = starts[run]
            starts[run] = Run(job_id, begun.pid, begun.started_at, float(at), what)
    return sorted(starts.values(), key=lambda run: run.started_at)


def by_job(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each job."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.job_id].append(run)
    return dict(found)


@dataclass(frozen=True)
class Plan:
    """What becomes of a job if no worker dies: so many runs that raise, then one that returns, unless it is to fail."""

    result: Any = None
    raises: int = 0
    fails: bool = False

    @property
    def runs(self) -> int:
        """How many runs it takes."""
        return self.raises + (not self.fails)


@dataclass
class Evidence:
    """All that was seen of a test.

    Args:
        plans: of each job whose enqueueing was acknowledged.
        runs: the ledger.
        outcomes: status, result and traceback of each job at the end.
        deaths: when each process was killed.
        in_flight: how many runs of each job held a lease at a kill.
        ended_at: when each job was first seen in a terminal status.
        changes: what was seen to change afterwards.
        max_deaths: a job may fail as abandoned after so many kills.
    """

    plans: Mapping[str, Plan]
    runs: Sequence[Run]
    outcomes: Mapping[str, tuple[str, Any, str | None]]
    deaths: Mapping[int, float] = field(default_factory=dict)
    in_flight: Counter[str] = field(default_factory=Counter)
    ended_at: Mapping[str, float] = field(default_factory=dict)
    changes: Sequence[str] = ()
    max_deaths: int = 3


def extra_runs(evidence: Evidence) -> dict[str, int]:
    """Return by how many each job has more runs than planned."""
    runs = by_job(evidence.runs)
    return {
        job_id: len(runs[job_id]) - plan.runs
        for job_id, plan in evidence.plans.items()
        if job_id in runs and len(runs[job_id]) > plan.runs
    }


def violations(evidence: Evidence) -> list[str]:
    """Return a sentence for everything that must not be: losses, wrong ends, unexplained or overlapping runs, late changes."""
    runs = by_job(evidence.runs)
    found = list(evidence.changes)
    for job_id, plan in evidence.plans.items():
        found += _wrong_end(evidence, job_id, plan, runs.get(job_id, ()))
    for job_id, extra in extra_runs(evidence).items():
        if extra > evidence.in_flight[job_id]:
            found.append(
                f"{job_id}: {extra} runs too many, in flight at {evidence.in_flight[job_id]} kills: {runs[job_id]}"
            )
    found += overlaps(evidence.runs, evidence.deaths)
    for job_id, own in runs.items():
        if job_id not in evidence.plans:
            found.append(f"{job_id}: nobody knows where it comes from")
        if own[-1].started_at > evidence.ended_at.get(job_id, float("inf")):
            found.append(f"{job_id}: it was run after it had ended")
    return found


def _wrong_end(evidence: Evidence, job_id: str, plan: Plan, runs: Sequence[Run]) -> list[str]:
    status, result, traceback = evidence.outcomes.get(job_id, (None, None, None))
    told = Counter(run.how for run in runs)
    if traceback is not None and "AbandonedJobError" in traceback and status == "failed":
        kills = evidence.in_flight[job_id]
        return [] if kills >= evidence.max_deaths else [f"{job_id}: abandoned after {kills} kills"]
    if plan.fails:
        fine = status == "failed" and told["raise"] >= plan.raises
    else:
        fine = status == "finished" and result == plan.result and told["end"] >= 1
    if fine:
        return []
    return [
        f"{job_id}: lost or wrong: {status}, result {result!r}, runs {dict(told)}, planned {plan}: {runs}"
    ]


def overlaps(runs: Sequence[Run], deaths: Mapping[int, float] | None = None) -> list[str]:
    """Return a sentence for every run that began before an earlier one of the same job had ended, or its process was killed."""
    found = []
    for job_id, own in by_job(runs).items():
        for run, later in pairwise(own):
            over_at = run.ended_at or (deaths or {}).get(run.pid, float("inf"))
            if later.started_at < over_at:
                found.append(f"{job_id}: {run} and {later} overlap")
    return found
