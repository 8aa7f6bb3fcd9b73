"""Where jobs stand: in queues and registries, and in line for a rate limit."""

from __future__ import annotations

from collections.abc import Iterable

from tests.faults.model.values import FOREVER, Job, Lease, Rate


class Shelves:
    """All jobs and where they stand, and the steps that verbs are made of."""

    def __init__(self, queues: Iterable[str]) -> None:
        self.jobs: dict[str, Job] = {}
        self.queues: dict[str, list[str]] = {queue: [] for queue in queues}
        self.scheduled: dict[str, dict[str, float]] = {queue: {} for queue in queues}
        self.deferred: dict[str, set[str]] = {queue: set() for queue in queues}
        self.leases: dict[str, dict[Lease, float]] = {queue: {} for queue in queues}
        self.finished: dict[str, dict[str, float]] = {queue: {} for queue in queues}
        self.failed: dict[str, dict[str, float]] = {queue: {} for queue in queues}
        self.canceled: dict[str, set[str]] = {queue: set() for queue in queues}
        self.rates: dict[str, Rate] = {}
        self.groups: dict[str, set[str]] = {}
        self.is_suspended = False
        self.releasing: dict[str, str] = {}
        self.expired: set[str] = set()
        """Ids whose jobs are gone because their time was over."""
        self.now = 1e9
        self.judged = 0
        """How often a job was asked whether it may run, since one that it waited for had ended."""

    # -- time ----------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Begin another call."""
        self.now += 1e-6

    def advance(self, seconds: float) -> None:
        """Let time go by: jobs whose time is over are gone, wherever their ids may stand."""
        self.now += seconds
        for job_id, job in list(self.jobs.items()):
            if job.expires_at <= self.now:
                del self.jobs[job_id]
                self.expired.add(job_id)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _status(self, job_id: str) -> str | None:
        return self.jobs[job_id].status if job_id in self.jobs else None

    def _held(self, lease: Lease) -> dict[Lease, float] | None:
        return next((held for held in self.leases.values() if lease in held), None)

    def _release(self, lease: Lease) -> Job:
        held = self._held(lease)
        assert held is not None
        del held[lease]
        return self.jobs[lease.job_id]

    def _end(self, job_id: str, job: Job, to: str, ttl: float, result: str | None = None) -> None:
        job.status, job.cancel, job.result = to, 0, result
        if ttl == 0:
            del self.jobs[job_id]
        else:
            keeps_for_ever = FOREVER if to == "finished" else -1
            registry = self.finished if to == "finished" else self.failed
            registry[job.terms.queue][job_id] = self.now + ttl if ttl > 0 else keeps_for_ever
            job.expires_at = self.now + ttl if ttl > 0 else FOREVER
        self._leave(job_id, job)

    def _wait_again(self, job_id: str, job: Job, delay: float, *, at_front: bool) -> None:
        job.status = "scheduled" if delay > 0 else "queued"
        if delay > 0:
            self._leave(job_id, job)
            self.scheduled[job.terms.queue][job_id] = self.now + delay
        else:
            self._push(job_id, job.terms.queue, at_front)

    def _expire_by_ttl(self, job: Job) -> None:
        if job.terms.ttl is not None:
            job.expires_at = self.now + job.terms.ttl

    def _push(self, job_id: str, queue: str, at_front: bool) -> None:
        self.queues[queue].insert(0 if at_front else len(self.queues[queue]), job_id)

    def _forget(self, job_id: str, job: Job, *, leave: bool = True) -> None:
        queue = job.terms.queue
        if job.status == "queued":
            self.queues[queue] = [one for one in self.queues[queue] if one != job_id]
        elif job.status in ("failed", "stopped"):
            self.failed[queue].pop(job_id, None)
        elif job.status == "finished":
            self.finished[queue].pop(job_id, None)
        elif job.status == "scheduled":
            self.scheduled[queue].pop(job_id, None)
        elif job.status == "deferred":
            self.deferred[queue].discard(job_id)
        elif job.status == "canceled":
            self.canceled[queue].discard(job_id)
        job.status = "forgotten"
        if leave:
            self._leave(job_id, job)

    def _enqueue(self, job_id: str, job: Job, at_front: bool) -> None:
        if job.terms.rate is not None:
            self._line_up(job_id, job)
        else:
            job.status = "queued"
            self._push(job_id, job.terms.queue, at_front)

    # -- rate limits ---------------------------------------------------------------------------------------------------

    def _line_up(self, job_id: str, job: Job) -> None:
        assert job.terms.rate is not None
        key, concurrency = job.terms.rate
        rate = self.rates.setdefault(key, Rate(concurrency))
        rate.concurrency = concurrency
        job.status = "rate_limited"
        rate.allowed.discard(job_id)
        rate.waiting[job_id] = self.now
        self._admit(key)

    def _leave(self, job_id: str, job: Job) -> None:
        if job.terms.rate is not None and job.terms.rate[0] in self.rates:
            rate = self.rates[job.terms.rate[0]]
            rate.waiting.pop(job_id, None)
            rate.allowed.discard(job_id)
            self._admit(job.terms.rate[0])

    def _admit(self, key: str) -> None:
        rate = self.rates[key]
        for job_id, _ in sorted(rate.waiting.items(), key=lambda one: (one[1], one[0])):
            if len(rate.allowed) >= rate.concurrency:
                break
            del rate.waiting[job_id]
            job = self.jobs.get(job_id)
            is_it = job is not None and job.terms.rate is not None and job.terms.rate[0] == key
            if is_it and job is not None and job.status == "rate_limited":
                rate.allowed.add(job_id)
                job.status = "queued"
                self._push(job_id, job.terms.queue, job.at_front)
        if not rate.allowed and not rate.waiting:
            del self.rates[key]
