"""What a backend has to do, in plain Python and in memory: the state of all jobs after any history of calls.

Time stands still but for ``advance``; within it every call has its own moment. Where the order of a Redis set decides, the caller
says which it is. The ids of executions are given from outside as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.model.entries import Entries
from tests.faults.model.runs import Runs
from tests.faults.model.upkeep import Upkeep
from tests.faults.model.values import BAD, FOREVER, TERMINAL, Job, Terms


class Model(Runs, Upkeep, Entries):
    """All jobs, queues and registries. Every verb returns the first word of the reply."""

    def add(self, job_id: str, terms: Terms) -> str:
        """Add a job, or put another in the place of one that does not run."""
        old = self.jobs.get(job_id)
        if old is not None and terms.unique:
            return "DUPLICATE"
        if old is not None and old.status == "started":
            return "WRONG_STATUS"
        unmet = self._unmet(terms)
        is_never = terms.policy == "cancel" and bool(BAD & set(unmet.values()))
        if unmet and not is_never and self.closes_circle(job_id, terms.parents):
            return "CIRCLE"
        if old is not None:
            self._forget(job_id, old)
            self._leave_group(job_id, old)
        if terms.group is not None:
            self.groups.setdefault(terms.group, set()).add(job_id)
        self.expired.discard(job_id)
        at_front = terms.at_front and (
            bool(terms.parents) or terms.rate is not None or terms.delay is not None
        )
        job = self.jobs[job_id] = Job(terms, "", at_front=at_front)
        job.retries_left, job.repeats_left = terms.retries, terms.repeats
        self._expire_by_ttl(job)
        if is_never:
            self._end_as_canceled(job_id, job)
        elif terms.delay is not None:
            job.status = "scheduled"
            self.scheduled[terms.queue][job_id] = self.now + terms.delay
        elif unmet:
            self._defer(job_id, job, unmet)
        elif terms.rate is not None:
            self._line_up(job_id, job)
        else:
            job.status = "queued"
            self._push(job_id, terms.queue, terms.at_front)
        return "OK"

    def reschedule(self, job_id: str, delay: float) -> str:
        """Give a scheduled job another time."""
        job = self.jobs.get(job_id)
        if job is None:
            return "GONE"
        if job.status != "scheduled":
            return "WRONG_STATUS"
        self.scheduled[job.terms.queue][job_id] = self.now + delay
        return "OK"

    def cancel(
        self, job_id: str, children: Sequence[str], *, enqueue_dependents: bool, running_only: bool
    ) -> str:
        """Cancel what waits; have what runs be stopped."""
        job = self.jobs.get(job_id)
        if job is None:
            return "GONE"
        if job.status == "started":
            job.cancel = 2 if enqueue_dependents else 1
            return "STOPPING"
        if running_only or job.status in TERMINAL:
            return "WRONG_STATUS"
        self._forget(job_id, job)
        self._end_as_canceled(job_id, job)
        self.free(job_id, "finished" if enqueue_dependents else "canceled", children)
        return "OK"

    def requeue(self, job_id: str, *, at_front: bool, among: Sequence[str] = ()) -> str:
        """Put what has ended back into its queue."""
        job = self.jobs.get(job_id)
        if job is None:
            return "GONE"
        if job.status not in (among or TERMINAL):
            return "WRONG_STATUS"
        self._forget(job_id, job, leave=False)
        job.has_started, job.deaths, job.cancel, job.result = False, 0, 0, None
        job.expires_at = FOREVER
        self._expire_by_ttl(job)
        if job.terms.rate is not None and at_front:
            job.at_front = True
        self._enqueue(job_id, job, at_front)
        return "OK"

    def delete(self, job_id: str, children: Sequence[str]) -> str:
        """Delete what does not run."""
        job = self.jobs.get(job_id)
        if job is None:
            return "GONE"
        if job.status == "started":
            return "WRONG_STATUS"
        self._forget(job_id, job)
        self._leave_group(job_id, job)
        del self.jobs[job_id]
        noted = self.releasing.get(job_id)
        how = noted or (job.status if job.status in TERMINAL else "deleted")
        self.free(job_id, how, children)
        return "OK"

    def empty(self, queue: str, limit: int) -> int:
        """Delete the first of those that wait in a queue; returns how many ids that were."""
        ids, self.queues[queue] = self.queues[queue][:limit], self.queues[queue][limit:]
        for job_id in ids:
            job = self.jobs.get(job_id)
            if job is not None and job.status == "queued":
                del self.jobs[job_id]
                self._leave(job_id, job)
                self._release_later(job_id, "deleted")
        return len(ids)

    def _leave_group(self, job_id: str, job: Job) -> None:
        if job.terms.group is not None:
            self.groups.get(job.terms.group, set()).discard(job_id)
