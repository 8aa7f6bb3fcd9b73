"""Recurring entries: their ticks add jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.faults.model.families import Families
from tests.faults.model.values import TERMINAL, Entry, Job

LOOK_BACK = 20
"""How many of the latest runs are asked whether they have ended."""


class Entries(Families):
    """The verbs on recurring entries, as far as they make jobs."""

    def spawn(self, entry: Entry, at: float, job_id: str, overlap: str) -> bool:
        """Make a run; returns whether there is one: ``skip`` may leave it out."""
        earlier = [] if overlap == "allow" else self._under_way(entry)
        if earlier and overlap == "skip":
            return False
        job = self.jobs[job_id] = Job(entry.terms, "", at_front=entry.terms.at_front)
        job.retries_left, job.repeats_left = entry.terms.retries, entry.terms.repeats
        self._expire_by_ttl(job)
        entry.runs[job_id] = at
        behind = self._replace(earlier) if overlap == "replace" else earlier[:1]
        if behind:
            job.terms = replace(job.terms, parents=tuple(behind), policy="run")
            self._defer(job_id, job, behind)
        else:
            self._enqueue(job_id, job, job.at_front)
        return True

    def tick_entry(self, entry: Entry, runs: Sequence[tuple[float, str]]) -> list[str]:
        """Make the runs that are due, at the times given; returns those that were made."""
        made = []
        for at, job_id in runs:
            may_run = job_id not in self.jobs and entry.runs_left != 0
            if may_run and self.spawn(entry, at, job_id, entry.overlap):
                made.append(job_id)
                if entry.runs_left is not None:
                    entry.runs_left -= 1
        return made

    def _under_way(self, entry: Entry) -> list[str]:
        latest = sorted(entry.runs, key=lambda one: (entry.runs[one], one), reverse=True)
        return [one for one in latest[:LOOK_BACK] if self._status(one) not in TERMINAL | {None}]

    def _replace(self, earlier: Sequence[str]) -> list[str]:
        """Cancel those that wait; returns those that run, and are told to stop."""
        stopping = []
        for job_id in earlier:
            job = self.jobs[job_id]
            if job.status == "started":
                job.cancel = job.cancel or 1
                stopping.append(job_id)
            else:
                self._forget(job_id, job)
                self._end_as_canceled(job_id, job)
        return stopping
