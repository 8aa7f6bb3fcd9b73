"""Hold what was seen of a test against the invariants: a sentence for everything that must not be.

The numbers are those of ``docs/faults.md``: I1 nothing lost or invented, I2 everything ends, I3 no two runs at a time, I4 no run
too many, I5 results are right and stay, I6 workers live, I8 callers are told, I9 ticks come once, I10 nothing is left behind.
I7 (quiet while Redis is away) is measured where Redis is taken away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.faults.ledger import Run, by_job

FOREVER = float("inf")
PATIENCE_S = 0.2
"""How much later than promised a caller may hear that Redis is away."""


@dataclass(frozen=True)
class Plan:
    """What becomes of a job if no worker dies: so many runs that raise, then one that returns, unless it is to fail."""

    result: Any = None
    raises: int = 0
    fails: bool = False
    is_stopped: bool = False
    """It is cancelled, wherever that meets it."""
    repeats: int = 0
    """How often it is run again after it has succeeded."""
    after: tuple[str, ...] = ()
    """The jobs whose end it waits for."""
    due_at: float = 0.0
    """The moment (monotonic) before which it must not start."""

    @property
    def runs(self) -> int:
        """How many runs it takes."""
        return self.raises + (0 if self.fails else 1 + self.repeats)


@dataclass(frozen=True)
class Refusal:
    """What a caller was told when Redis did not do what was asked: the error, after how many seconds, of how many allowed."""

    error: BaseException
    job_id: str
    took_s: float
    limit_s: float


@dataclass
class Evidence:
    """All that was seen of a test.

    Args:
        plans: of each job whose enqueueing was acknowledged.
        runs: the ledger.
        outcomes: status, result and traceback of each job at the end.
        unsure: plans of the jobs whose enqueueing raised: they are there or not.
        deaths: when each worker was killed.
        lost: when the leases of a worker were over that lived on: it was frozen, or cut off, maybe several times.
        winners: the id of the run whose result was kept, where a job's result says it.
        in_flight: how many runs of each job held a lease at a kill, or at such a loss.
        ended_at: when each job was first seen in a terminal status.
        changes: what was seen to change afterwards.
        exits: workers that ended though nobody had told them to.
        refusals: the errors that callers got.
        ticks: what was enqueued for each tick of a schedule that was due.
        leaks: what was left behind in Redis.
        max_deaths: a job may fail as abandoned after so many kills.
    """

    plans: Mapping[str, Plan]
    runs: Sequence[Run]
    outcomes: Mapping[str, tuple[str, Any, str | None]]
    unsure: Mapping[str, Plan] = field(default_factory=dict)
    deaths: Mapping[str, float] = field(default_factory=dict)
    lost: Mapping[str, Sequence[float]] = field(default_factory=dict)
    winners: Mapping[str, str] = field(default_factory=dict)
    in_flight: Counter[str] = field(default_factory=Counter)
    ended_at: Mapping[str, float] = field(default_factory=dict)
    changes: Sequence[str] = ()
    exits: Sequence[str] = ()
    refusals: Sequence[Refusal] = ()
    ticks: Mapping[str, int] = field(default_factory=dict)
    leaks: Sequence[str] = ()
    max_deaths: int = 3


def violations(evidence: Evidence) -> list[str]:
    """Return a sentence for everything that must not be, beginning with the number of the invariant."""
    return [
        f"{number}: {sentence}"
        for number, checks in CHECKS.items()
        for check in checks
        for sentence in check(evidence)
    ]


def extra_runs(evidence: Evidence) -> dict[str, int]:
    """Return by how many each job has more runs than planned."""
    runs = by_job(evidence.runs)
    plans = {**evidence.plans, **evidence.unsure}
    extra = {job_id: len(runs.get(job_id, ())) - plan.runs for job_id, plan in plans.items()}
    return {job_id: count for job_id, count in extra.items() if count > 0}


def abandoned(evidence: Evidence) -> list[str]:
    """Return the jobs that have failed since their workers kept dying."""
    return [
        job_id
        for job_id, (status, _, text) in evidence.outcomes.items()
        if status == "failed" and "AbandonedJobError" in (text or "")
    ]


# -- one function per kind of violation ----------------------------------------------------------------------------------


def _wrong_ends(evidence: Evidence) -> list[str]:
    """I1, I2, I5: lost, stuck, or ended otherwise than planned."""
    runs = by_job(evidence.runs)
    found = []
    for job_id, plan in evidence.plans.items():
        found += _wrong_end(evidence, job_id, plan, runs.get(job_id, ()))
    for job_id, plan in evidence.unsure.items():
        if job_id in evidence.outcomes:
            found += _wrong_end(evidence, job_id, plan, runs.get(job_id, ()))
    return found


def _wrong_end(evidence: Evidence, job_id: str, plan: Plan, runs: Sequence[Run]) -> list[str]:
    status, result, traceback = evidence.outcomes.get(job_id, (None, None, None))
    told = Counter(run.how for run in runs)
    if traceback is not None and "AbandonedJobError" in traceback and status == "failed":
        kills = evidence.in_flight[job_id]
        return [] if kills >= evidence.max_deaths else [f"{job_id}: abandoned after {kills} kills"]
    if plan.is_stopped:
        fine = status in ("stopped", "canceled")
    elif plan.fails:
        fine = status == "failed" and told["raise"] >= plan.raises
    else:
        fine = status == "finished" and result == plan.result and told["end"] > plan.repeats
    if fine:
        return []
    return [
        f"{job_id}: lost or wrong: {status}, result {result!r}, runs {dict(told)}, planned {plan}: {list(runs)}"
    ]


def _strangers(evidence: Evidence) -> list[str]:
    """I1: jobs that nobody has enqueued."""
    known = evidence.plans.keys() | evidence.unsure.keys()
    return [
        f"{one}: nobody knows where it comes from" for one in by_job(evidence.runs).keys() - known
    ]


def _early_runs(evidence: Evidence) -> list[str]:
    """I1: runs before a job was due, or before those that it waits for had ended."""
    runs, dead = by_job(evidence.runs), set(abandoned(evidence))
    found = []
    for job_id, plan in evidence.plans.items():
        for run in runs.get(job_id, ())[:1]:
            if run.started_at < plan.due_at:
                found.append(
                    f"{job_id}: started {plan.due_at - run.started_at:.3f} s before it was due"
                )
            # One that was abandoned had failed, whatever its runs went on to do.
            for parent in set(plan.after) - dead:
                ended = [
                    one.ended_at or FOREVER for one in runs.get(parent, ()) if one.how == "end"
                ]
                if ended and run.started_at < min(ended):
                    found.append(f"{job_id}: started before {parent} had ended")
    return found


def _overlaps(evidence: Evidence) -> list[str]:
    """I3: runs that began while an earlier one of the same job held its lease."""
    over = {name: [moment] for name, moment in evidence.deaths.items()}
    return overlaps(evidence.runs, {**evidence.lost, **over})


def overlaps(runs: Sequence[Run], over: Mapping[str, Sequence[float]] | None = None) -> list[str]:
    """Return a sentence for every run that began before an earlier one of its job had ended, or lost its lease."""
    found = []
    for job_id, own in by_job(runs).items():
        for run, later in pairwise(own):
            moments = [one for one in (over or {}).get(run.worker, ()) if one > run.started_at]
            if later.started_at < min([run.ended_at or FOREVER, *moments]):
                found.append(f"{job_id}: {run} and {later} overlap")
    return found


def _late_winners(evidence: Evidence) -> list[str]:
    """I3: results of runs that another had taken over from."""
    runs, found = by_job(evidence.runs), []
    for job_id, winner in evidence.winners.items():
        latest = runs[job_id][-1].id if job_id in runs else None
        if winner != latest:
            found.append(f"{job_id}: the result of run {winner} was taken, the latest is {latest}")
    return found


def _unexplained_runs(evidence: Evidence) -> list[str]:
    """I4: more runs than planned that no kill explains."""
    runs = by_job(evidence.runs)
    return [
        f"{job_id}: {extra} runs too many, in flight at {evidence.in_flight[job_id]} kills: {runs[job_id]}"
        for job_id, extra in extra_runs(evidence).items()
        if extra > evidence.in_flight[job_id]
    ]


def _late_changes(evidence: Evidence) -> list[str]:
    """I5: what happened to a job after it had ended."""
    late = [
        f"{run.job_id}: it was run after it had ended"
        for run in evidence.runs
        if run.started_at > evidence.ended_at.get(run.job_id, FOREVER)
    ]
    return [*evidence.changes, *late]


def _exits(evidence: Evidence) -> list[str]:
    """I6: workers that are gone."""
    return [f"worker {name}: it ended though nobody had told it to" for name in evidence.exits]


def _bad_refusals(evidence: Evidence) -> list[str]:
    """I8: errors that come late, say nothing or say too much."""
    found = []
    for one in evidence.refusals:
        text = f"{one.error!r} {one.error.__cause__!r}"
        if not type(one.error).__module__.startswith("aiorq2."):
            found.append(f"{one.job_id}: {type(one.error).__name__} is none of our errors")
        if one.job_id not in str(one.error):
            found.append(f"{one.job_id}: the error does not name the job: {one.error}")
        if one.took_s > one.limit_s + PATIENCE_S:
            found.append(f"{one.job_id}: told after {one.took_s:.2f} s, not {one.limit_s} s")
        if SECRET in text:
            found.append(f"{one.job_id}: the password is in the error")
    return found


def _odd_ticks(evidence: Evidence) -> list[str]:
    """I9: ticks that were missed, or came more than once."""
    return [
        f"{tick}: enqueued {count} times" for tick, count in evidence.ticks.items() if count != 1
    ]


def _leaks(evidence: Evidence) -> list[str]:
    """I10: keys that outlive what they are for."""
    return list(evidence.leaks)


SECRET = "s3cret"
"""The password of every Redis in these tests that has one."""

CHECKS: Mapping[str, Sequence[Callable[[Evidence], list[str]]]] = {
    "I1 I2 I5": [_wrong_ends],
    "I1": [_strangers, _early_runs],
    "I3": [_overlaps, _late_winners],
    "I4": [_unexplained_runs],
    "I5": [_late_changes],
    "I6": [_exits],
    "I8": [_bad_refusals],
    "I9": [_odd_ticks],
    "I10": [_leaks],
}
