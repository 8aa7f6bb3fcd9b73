"""What nobody waits for: registries are trimmed, what was left half done is found."""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.model.families import Families
from tests.faults.model.values import BAD, FORGIVEN, Job, Lease, Rate


class Upkeep(Families):
    """The verbs of upkeep, and of the doctor on jobs that are in no list."""

    def sweep(self, queue: str) -> None:
        """Trim the registries."""
        for registry in (self.finished[queue], self.failed[queue]):
            for job_id in [one for one, at in registry.items() if 0 <= at <= self.now]:
                del registry[job_id]
        self.canceled[queue] = {one for one in self.canceled[queue] if one in self.jobs}

    def sweep_deferred(self, queue: str, children: Sequence[str]) -> None:
        """Ask the parents of all deferred jobs again; one that is gone and had not ended well counts as deleted."""
        for child in children:
            job = self.jobs.get(child)
            if job is None or job.status != "deferred":
                self.deferred[queue].discard(child)
                continue
            forgiven = {"finished"} | FORGIVEN[job.terms.policy]
            statuses = [
                self._status_for(job, one) or ("finished" if one in job.met else "deleted")
                for one in job.terms.parents
            ]
            if all(one in forgiven for one in statuses):
                self._undefer(child, job)
            elif job.terms.policy == "cancel" and any(
                one in BAD for one in statuses if one not in forgiven
            ):
                self._cancel_deferred(child, job)

    def sweep_rates(self) -> None:
        """Free the places whose jobs neither wait nor run."""
        for key, rate in list(self.rates.items()):
            rate.allowed = {
                one for one in rate.allowed if self._status(one) in ("queued", "started")
            }
            self._admit(key)

    def sweep_groups(self) -> None:
        """Forget the groups of which no job is left."""
        self.groups = {name: ids for name, ids in self.groups.items() if ids & self.jobs.keys()}

    def compact(self, queue: str) -> None:
        """Take out of a queue what nobody could run: ids without a job, and repetitions."""
        once = dict.fromkeys(self.queues[queue])
        self.queues[queue] = [one for one in once if one in self.jobs]

    def relist(self, job_id: str, lease: Lease) -> int:
        """Put a job back that is in no list; returns whether it was put anywhere. Its lease, if it has started, is over."""
        job = self.jobs[job_id]
        queue = job.terms.queue
        match job.status:
            case "queued" if job_id not in self.queues[queue]:
                self._push(job_id, queue, at_front=True)
            case "started" if all(one.job_id != job_id for one in self.leases[queue]):
                self.leases[queue][lease] = self.now
            case "deferred" if job_id not in self.deferred[queue]:
                self._defer(job_id, job, self._unmet(job.terms))
            case "rate_limited" if job_id not in self._line(job).waiting:
                self._enqueue(job_id, job, job.at_front)
            case "scheduled" if job_id not in self.scheduled[queue]:
                self.scheduled[queue][job_id] = self.now
            case _:
                return 0
        return 1

    def mislay(self, job_id: str) -> None:
        """Take a job out of where it stands, as no verb does."""
        job = self.jobs[job_id]
        queue = job.terms.queue
        self.queues[queue] = [one for one in self.queues[queue] if one != job_id]
        self.leases[queue] = {
            lease: at for lease, at in self.leases[queue].items() if lease.job_id != job_id
        }
        self.deferred[queue].discard(job_id)
        self.scheduled[queue].pop(job_id, None)
        if job.status == "rate_limited":
            del self._line(job).waiting[job_id]

    def _line(self, job: Job) -> Rate:
        assert job.terms.rate is not None
        return self.rates[job.terms.rate[0]]

    def recover(self, job_id: str) -> None:
        """Put a job to the front that an rq worker has taken and not started, or enqueue one that rq was about to."""
        job = self.jobs[job_id]
        if job.status == "queued":
            self.queues[job.terms.queue].remove(job_id)
            self._push(job_id, job.terms.queue, at_front=True)
        else:
            self._undefer(job_id, job)
