"""Jobs that wait for others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.faults.model.shelves import Shelves
from tests.faults.model.values import BAD, FOREVER, FORGIVEN, YEAR_S, Job, Terms


class Families(Shelves):
    """Which jobs wait for which, and what becomes of them when those have ended."""

    def children_of(self, parent: str) -> set[str]:
        """Return the deferred jobs that wait for ``parent``."""
        return {
            job_id
            for job_id, job in self.jobs.items()
            if job.status == "deferred" and parent in job.terms.parents
        }

    def free(self, parent: str, how: str, children: Sequence[str]) -> None:
        """Judge those that wait for a job that has ended, in the order given."""
        waiting = self.children_of(parent)
        assert waiting <= set(children), f"{waiting - set(children)} are not noted under {parent}"
        self.releasing.pop(parent, None)
        for child in children:
            if child in waiting:
                self._judge(child, parent, how)

    def _unmet(self, terms: Terms) -> dict[str, str]:
        """Return the parents that have not ended well, with their statuses; one that is gone counts as done."""
        fine = {None, "finished"} | FORGIVEN[terms.policy]
        statuses = {parent: self._status(parent) for parent in terms.parents}
        return {parent: str(status) for parent, status in statuses.items() if status not in fine}

    def _defer(self, job_id: str, job: Job, unmet: Iterable[str]) -> None:
        job.status, job.met = "deferred", set(job.terms.parents) - set(unmet)
        self.deferred[job.terms.queue].add(job_id)

    def _judge(self, child: str, parent: str, how: str) -> None:
        self.judged += 1
        job = self.jobs[child]
        if parent not in self.jobs and parent in job.met:
            how = "finished"  # it was judged before it was erased
        forgiven = FORGIVEN[job.terms.policy]
        if how not in {"finished"} | forgiven:
            job.met.discard(parent)
            if job.terms.policy == "cancel":
                self._cancel_deferred(child, job)
            return
        job.met.add(parent)
        others = [self._status_for(job, one) for one in job.terms.parents if one != parent]
        if all(one in {None, "finished"} | forgiven for one in others):
            self._undefer(child, job)

    def _status_for(self, job: Job, parent: str) -> str | None:
        """Return the status of a parent; ``finished`` if it ended badly and was to count as done all the same."""
        status = self._status(parent)
        return "finished" if status in BAD and parent in job.met else status

    def _undefer(self, child: str, job: Job) -> None:
        self.deferred[job.terms.queue].discard(child)
        self._enqueue(child, job, job.at_front)

    def _cancel_deferred(self, child: str, job: Job) -> None:
        self.deferred[job.terms.queue].discard(child)
        self._end_as_canceled(child, job)

    def _end_as_canceled(self, job_id: str, job: Job) -> None:
        job.status = "canceled"
        self.canceled[job.terms.queue].add(job_id)
        ttl = job.terms.failure_ttl or YEAR_S
        job.expires_at = self.now + ttl if ttl > 0 else FOREVER
        self._release_later(job_id, "canceled")

    def _release_later(self, parent: str, how: str) -> None:
        if self.children_of(parent):
            self.releasing[parent] = how

    def is_waited_for(self, job_id: str) -> bool:
        """Whether a job waits for this one, or will when its time has come."""
        return any(
            job_id in job.terms.parents and self._waits_for_others(job)
            for job in self.jobs.values()
        )

    def closes_circle(self, job_id: str, parents: Iterable[str]) -> bool:
        """Whether one of these jobs waits for the one named, itself or by way of others."""
        waiting, seen = list(parents), set(parents)
        while waiting:
            one = waiting.pop()
            if one == job_id:
                return True
            job = self.jobs.get(one)
            if job is not None and self._waits_for_others(job):
                waiting += set(job.terms.parents) - seen
                seen |= set(job.terms.parents)
        return False

    def _waits_for_others(self, job: Job) -> bool:
        return job.status == "deferred" or (job.status == "scheduled" and not job.has_started)
