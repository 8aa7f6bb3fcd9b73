"""What a backend has to do, in plain Python and in memory: the state of all jobs after any history of calls.

Time stands still but for ``advance``; within it every call has its own moment. Where the order of a Redis set decides, the caller
says which it is. The ids of executions are given from outside as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

LEASE_S = 1000.0
YEAR_S = 31_536_000
RESULT_TTL = 500
FOREVER = float("inf")
MAX_DEATHS = 3

BAD = {"failed", "stopped", "canceled", "deleted"}
TERMINAL = {"finished", "failed", "stopped", "canceled"}
FORGIVEN: dict[str, set[str]] = {"wait": set(), "cancel": set(), "failure": {"failed"}, "run": BAD}


@dataclass(frozen=True)
class Terms:
    """What is asked of a job when it is added."""

    queue: str = "q1"
    delay: float | None = None
    at_front: bool = False
    unique: bool = False
    parents: tuple[str, ...] = ()
    policy: str = "wait"
    rate: tuple[str, int] | None = None
    repeats: int = 0
    retries: int = 0
    ttl: int | None = None
    result_ttl: int | None = None
    failure_ttl: int | None = None
    redeliver: bool = True


@dataclass
class Job:
    """A job as it is kept."""

    terms: Terms
    status: str
    expires_at: float = FOREVER
    attempt: int = 0
    deaths: int = 0
    cancel: int = 0
    retries_left: int = 0
    repeats_left: int = 0
    at_front: bool = False
    retries_at_front: bool = False
    has_started: bool = False
    settled: str | None = None
    result: str | None = None
    met: set[str] = field(default_factory=set)
    """The parents that have ended well enough."""


@dataclass
class Rate:
    """A rate limit in use."""

    concurrency: int
    allowed: set[str] = field(default_factory=set)
    waiting: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Lease:
    """A run that owns its job."""

    job_id: str
    execution: str

    @property
    def member(self) -> str:
        """What stands in the set of leases."""
        return f"{self.job_id}:{self.execution}"


class Model:
    """All jobs, queues and registries. Every verb returns the first word of the reply."""

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
        self.releasing: dict[str, str] = {}
        self.expired: set[str] = set()
        """Ids whose jobs are gone because their time was over."""
        self.now = 1e9
        self.judged = 0
        """How often a job was asked whether it may run, since one that it waited for had ended."""

    # -- time ------------------------------------------------------------------------------------------------------------

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

    # -- before a run ----------------------------------------------------------------------------------------------------

    def add(self, job_id: str, terms: Terms) -> str:
        """Add a job, or put another in the place of one that does not run."""
        old = self.jobs.get(job_id)
        if old is not None and terms.unique:
            return "DUPLICATE"
        if old is not None and old.status == "started":
            return "WRONG_STATUS"
        unmet = self._unmet(terms)
        if old is not None:
            self._forget(job_id, old)
        self.expired.discard(job_id)
        at_front = terms.at_front and (
            bool(terms.parents) or terms.rate is not None or terms.delay is not None
        )
        job = self.jobs[job_id] = Job(terms, "", at_front=at_front)
        job.retries_left, job.repeats_left = terms.retries, terms.repeats
        self._expire_by_ttl(job)
        if terms.policy == "cancel" and BAD & set(unmet.values()):
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

    def requeue(self, job_id: str, *, at_front: bool) -> str:
        """Put what has ended back into its queue."""
        job = self.jobs.get(job_id)
        if job is None:
            return "GONE"
        if job.status not in TERMINAL:
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
        del self.jobs[job_id]
        noted = self.releasing.get(job_id)
        how = noted or (job.status if job.status in TERMINAL else "deleted")
        self.free(job_id, how, children)
        return "OK"

    # -- a run -----------------------------------------------------------------------------------------------------------

    def claim(self, queues: Sequence[str], count: int, promote: int, token: str) -> list[Lease]:
        """Start what waits, after promoting what is due."""
        taken: list[Lease] = []
        for queue in queues:
            self.promote(queue, promote)
            waiting = self.queues[queue]
            while waiting and len(taken) < count:
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

    def reap(self, queue: str) -> tuple[list[str], list[str]]:
        """Free what the dead have left; returns what waits again and what has failed."""
        over = [(at, lease.member, lease) for lease, at in self.leases[queue].items()]
        requeued, failed = [], []
        for at, _, lease in sorted(over, key=lambda one: one[:2]):
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
        job.has_started = False
        if not job.terms.redeliver:
            job.retries_left -= 1
        self._expire_by_ttl(job)
        self._wait_again(job_id, job, 0, at_front=True)

    def _bury(self, job_id: str, job: Job) -> None:
        to, how = ("stopped" if job.cancel else "failed"), job.cancel
        ttl = YEAR_S if job.terms.failure_ttl is None else job.terms.failure_ttl
        self._end(job_id, job, to, ttl)
        self._release_later(job_id, "finished" if how == 2 else to)

    # -- those that wait for others --------------------------------------------------------------------------------------

    def _unmet(self, terms: Terms) -> dict[str, str]:
        """Return the parents that have not ended well, with their statuses; one that is gone counts as done."""
        fine = {None, "finished"} | FORGIVEN[terms.policy]
        statuses = {parent: self._status(parent) for parent in terms.parents}
        return {parent: str(status) for parent, status in statuses.items() if status not in fine}

    def _defer(self, job_id: str, job: Job, unmet: Iterable[str]) -> None:
        job.status, job.met = "deferred", set(job.terms.parents) - set(unmet)
        self.deferred[job.terms.queue].add(job_id)

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

    def _judge(self, child: str, parent: str, how: str) -> None:
        self.judged += 1
        job = self.jobs[child]
        forgiven = FORGIVEN[job.terms.policy]
        if how not in {"finished"} | forgiven:
            job.met.discard(parent)
            if job.terms.policy == "cancel":
                self._cancel_deferred(child, job)
            return
        job.met.add(parent)
        others = [self._status(one) for one in job.terms.parents if one != parent]
        if all(one in {None, "finished"} | forgiven for one in others):
            self._undefer(child, job)

    def sweep_deferred(self, queue: str, children: Sequence[str]) -> None:
        """Ask the parents of all deferred jobs again; one that is gone and had not ended well counts as deleted."""
        for child in children:
            job = self.jobs.get(child)
            if job is None or job.status != "deferred":
                self.deferred[queue].discard(child)
                continue
            forgiven = {"finished"} | FORGIVEN[job.terms.policy]
            statuses = [
                self._status(one) or ("finished" if one in job.met else "deleted")
                for one in job.terms.parents
            ]
            if all(one in forgiven for one in statuses):
                self._undefer(child, job)
            elif job.terms.policy == "cancel" and any(
                one in BAD for one in statuses if one not in forgiven
            ):
                self._cancel_deferred(child, job)

    def _undefer(self, child: str, job: Job) -> None:
        self.deferred[job.terms.queue].discard(child)
        self._enqueue(child, job, job.at_front)

    def _cancel_deferred(self, child: str, job: Job) -> None:
        self.deferred[job.terms.queue].discard(child)
        self._end_as_canceled(child, job)

    def _release_later(self, parent: str, how: str) -> None:
        if self.children_of(parent):
            self.releasing[parent] = how

    # -- registries ------------------------------------------------------------------------------------------------------

    def sweep(self, queue: str) -> None:
        """Trim the registries."""
        for registry in (self.finished[queue], self.failed[queue]):
            for job_id in [one for one, at in registry.items() if 0 <= at <= self.now]:
                del registry[job_id]
        self.canceled[queue] = {one for one in self.canceled[queue] if one in self.jobs}

    # -- steps -----------------------------------------------------------------------------------------------------------

    def _status(self, job_id: str) -> str | None:
        return self.jobs[job_id].status if job_id in self.jobs else None

    def _held(self, lease: Lease) -> dict[Lease, float] | None:
        return next((held for held in self.leases.values() if lease in held), None)

    def _refusal(self, lease: Lease) -> str | None:
        if self._held(lease) is not None:
            return None
        job = self.jobs.get(lease.job_id)
        if job is None:
            return "GONE"
        return "OK" if job.settled == lease.execution else "LEASE_LOST"

    def _release(self, lease: Lease) -> Job:
        held = self._held(lease)
        assert held is not None
        del held[lease]
        return self.jobs[lease.job_id]

    def _end_badly(self, lease: Lease, to: str, children: Sequence[str]) -> None:
        job = self._release(lease)
        how = "finished" if job.cancel == 2 else to
        job.settled = lease.execution
        ttl = YEAR_S if job.terms.failure_ttl is None else job.terms.failure_ttl
        self._end(lease.job_id, job, to, ttl)
        self.free(lease.job_id, how, children)

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

    def _end_as_canceled(self, job_id: str, job: Job) -> None:
        job.status = "canceled"
        self.canceled[job.terms.queue].add(job_id)
        ttl = job.terms.failure_ttl or YEAR_S
        job.expires_at = self.now + ttl if ttl > 0 else FOREVER
        self._release_later(job_id, "canceled")

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

    # -- rate limits -----------------------------------------------------------------------------------------------------

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

    def sweep_rates(self) -> None:
        """Free the places whose jobs neither wait nor run."""
        for key, rate in list(self.rates.items()):
            rate.allowed = {
                one for one in rate.allowed if self._status(one) in ("queued", "started")
            }
            self._admit(key)
