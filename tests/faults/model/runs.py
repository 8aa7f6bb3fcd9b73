"""From the claim to the end of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.faults.model.families import Families
from tests.faults.model.values import (
    BAD,
    FOREVER,
    LEASE_S,
    MAX_DEATHS,
    RESULT_TTL,
    YEAR_S,
    Job,
    Lease,
)


class Runs(Families):
    """The verbs of workers on runs."""

    def promote(self, queue: str, limit: int) -> int:
        """Move what is due into its queue."""
        scheduled = self.scheduled[queue]
        due = sorted((at, job_id) for job_id, at in scheduled.items() if at <= self.now)[:limit]
        for _, job_id in due:
            del scheduled[job_id]
            job = self.jobs.get(job_id)
            is_it = job is not None and job.terms.queue == queue  # not another job of the same id
            if is_it and job is not None and job.status == "scheduled":
                self._come_due(job_id, job)
        return len(due)

    def _come_due(self, job_id: str, job: Job) -> None:
        unmet = {} if job.has_started else self._unmet(job.terms)
        if job.terms.policy == "cancel" and BAD & set(unmet.values()):
            self._end_as_canceled(job_id, job)
        elif unmet:
            self._defer(job_id, job, unmet)
        else:
            at_front = job.at_front or (job.has_started and job.retries_at_front)
            self._enqueue(job_id, job, at_front)

    def claim(
        self, queues: Sequence[str], count: int, promote: int, token: str, share: int = 0
    ) -> list[Lease]:
        """Start what waits, after promoting what is due."""
        taken: list[Lease] = []
        for queue in [] if self.is_suspended else queues:
            upto = min(count, len(taken) + share) if share else count
            self.promote(queue, promote)
            waiting = self.queues[queue]
            while waiting and len(taken) < upto:
                job_id = waiting.pop(0)
                job = self.jobs.get(job_id)
                if job is not None and job.status == "queued":
                    lease = Lease(job_id, f"{token}{len(taken):08x}")
                    self._start(job, lease)
                    taken.append(lease)
        return taken

    def _start(self, job: Job, lease: Lease) -> None:
        job.status, job.has_started, job.expires_at = "started", True, FOREVER
        job.attempt += 1
        self.leases[job.terms.queue][lease] = self.now + LEASE_S

    def extend(self, leases: Iterable[Lease]) -> tuple[set[str], set[str]]:
        """Move leases on; returns the executions that have lost theirs, and those that are to stop."""
        lost, stopping = set(), set()
        for lease in leases:
            held = self._held(lease)
            if held is None:
                lost.add(lease.execution)
                continue
            held[lease] = self.now + LEASE_S
            if self.jobs[lease.job_id].cancel:
                stopping.add(lease.execution)
        return lost, stopping

    def finish(
        self, lease: Lease, result: str, repeat_delay: float | None, children: Sequence[str]
    ) -> str:
        """End a run well."""
        if refusal := self._refusal(lease):
            return refusal
        job = self._release(lease)
        job.settled = lease.execution
        if repeat_delay is None or job.cancel:
            ttl = RESULT_TTL if job.terms.result_ttl is None else job.terms.result_ttl
            self._end(lease.job_id, job, "finished", ttl, result)
        else:
            job.repeats_left, job.deaths, job.result = job.repeats_left - 1, 0, None
            self._expire_by_ttl(job)
            self._wait_again(lease.job_id, job, repeat_delay, at_front=False)
        self.free(lease.job_id, "finished", children)
        return "OK"

    def fail(self, lease: Lease, to: str, children: Sequence[str]) -> str:
        """End a run badly: ``failed`` or ``stopped``."""
        if refusal := self._refusal(lease):
            return refusal
        self._end_badly(lease, to, children)
        return "OK"

    def retry(
        self,
        lease: Lease,
        delay: float,
        *,
        at_front: bool,
        retries_left: int,
        children: Sequence[str],
    ) -> str:
        """End an attempt that is repeated."""
        if refusal := self._refusal(lease):
            return refusal
        job = self.jobs[lease.job_id]
        if job.cancel:
            self._end_badly(lease, "stopped", children)
            return "OK"
        self._release(lease)
        job.settled, job.retries_left = lease.execution, retries_left
        job.retries_at_front |= at_front
        self._expire_by_ttl(job)
        self._wait_again(lease.job_id, job, delay, at_front=at_front)
        return "OK"

    def give_back(self, lease: Lease, children: Sequence[str]) -> str:
        """Undo a claim."""
        if refusal := self._refusal(lease):
            return refusal
        job = self.jobs[lease.job_id]
        if job.cancel:
            self._end_badly(lease, "stopped", children)
            return "OK"
        self._release(lease)
        job.settled, job.has_started = lease.execution, False
        job.attempt -= 1
        self._expire_by_ttl(job)
        self._wait_again(lease.job_id, job, 0, at_front=True)
        return "OK"

    def reap(self, queue: str, limit: int = 100) -> tuple[list[str], list[str]]:
        """Free what the dead have left; returns what waits again and what has failed."""
        over = [(at, lease.member, lease) for lease, at in self.leases[queue].items()]
        requeued, failed = [], []
        for at, _, lease in sorted(over, key=lambda one: one[:2])[:limit]:
            if at <= self.now:
                job = self._release(lease)
                job.deaths += 1
                if self._may_live(job) and not job.cancel:
                    self._revive(lease.job_id, job)
                    requeued.append(lease.job_id)
                else:
                    self._bury(lease.job_id, job)
                    failed.append(lease.job_id)
        return requeued, failed

    def _may_live(self, job: Job) -> bool:
        return (job.terms.redeliver or job.retries_left > 0) and job.deaths < MAX_DEATHS

    def _revive(self, job_id: str, job: Job) -> None:
        job.has_started, delay = False, 0
        if not job.terms.redeliver:
            job.retries_left, delay = job.retries_left - 1, job.terms.retry_interval
        self._expire_by_ttl(job)
        self._wait_again(job_id, job, delay, at_front=True)

    def _bury(self, job_id: str, job: Job) -> None:
        to, how = ("stopped" if job.cancel else "failed"), job.cancel
        ttl = YEAR_S if job.terms.failure_ttl is None else job.terms.failure_ttl
        self._end(job_id, job, to, ttl)
        self._release_later(job_id, "finished" if how == 2 else to)

    def _refusal(self, lease: Lease) -> str | None:
        if self._held(lease) is not None:
            return None
        job = self.jobs.get(lease.job_id)
        if job is None:
            return "GONE"
        return "OK" if job.settled == lease.execution else "LEASE_LOST"

    def _end_badly(self, lease: Lease, to: str, children: Sequence[str]) -> None:
        job = self._release(lease)
        how = "finished" if job.cancel == 2 else to
        job.settled = lease.execution
        ttl = YEAR_S if job.terms.failure_ttl is None else job.terms.failure_ttl
        self._end(lease.job_id, job, to, ttl)
        self.free(lease.job_id, how, children)
