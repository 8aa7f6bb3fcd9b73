"""What is done to jobs from outside."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from aiorq2.errors import DuplicateJobError, InvalidJobOperation, NoSuchJobError
from aiorq2.options import JobSpec, Retry
from aiorq2.states import JobStatus
from aiorq2.terms import Dependency, RateLimit, Repeat
from tests.contract import stage
from tests.faults.histories.draws import ANY, IDS, QUEUES, SIMPLE, TERMS
from tests.faults.histories.stage import Stage
from tests.faults.model.values import TERMINAL, Terms


class OnJobs(Stage):
    """The verbs of producers and of people."""

    @initialize(terms=st.lists(SIMPLE, min_size=1, max_size=3))
    def begin(self, terms: list[Terms]) -> None:
        """Begin with some jobs, so that more histories have something to be about."""
        for job_id, each in zip("abc", terms, strict=False):
            self.add(job_id, each, lost=False)

    @rule(job_id=IDS, terms=TERMS, lost=st.booleans())
    def add(self, job_id: str, terms: Terms, lost: bool) -> None:
        """Add a job, new or in the place of another."""
        if self._is_odd(job_id, terms):
            return
        if job_id in self.model.expired:
            self.stale.add(f"job {job_id} is ")
        with self.call(lost):
            got = self.run(self._add({job_id: terms}))
        assert got == self.model.add(job_id, terms)
        self.settled()

    @rule(job_id=IDS, terms=TERMS, first=st.integers(0, 5))
    def add_child(self, job_id: str, terms: Terms, first: int) -> None:
        """Add a job that waits for others that have not ended yet."""
        going = [one for one, job in sorted(self.model.jobs.items()) if job.status not in TERMINAL]
        parents = [one for one in going[first:] + going[:first] if one != job_id][:2]
        self.add(job_id, replace(terms, parents=tuple(parents), delay=None), lost=False)

    def _is_odd(self, job_id: str, terms: Terms) -> bool:
        """Whether this is left to other tests: a job that waits for itself, an id that was forgotten while others wait for it."""
        is_gone = job_id not in self.model.jobs
        if job_id in terms.parents or (is_gone and self.model.is_waited_for(job_id)):
            return True
        return any(parent in self.model.expired for parent in terms.parents)

    @rule(job_ids=st.lists(IDS, min_size=2, max_size=3, unique=True), terms=TERMS, other=TERMS, lost=st.booleans())  # fmt: skip
    def add_many(self, job_ids: list[str], terms: Terms, other: Terms, lost: bool) -> None:
        """Add several jobs in one call, each of which is refused or not."""
        jobs = list(zip(job_ids, [terms, other, terms], strict=False))
        if any(
            self._is_odd(job_id, one) or set(job_ids) & set(one.parents) for job_id, one in jobs
        ):
            return
        self.stale |= {f"job {job_id} is " for job_id in self.model.expired & set(job_ids)}
        with self.call(lost):
            got = self.run(self._add(dict(jobs)))
        said = []
        for job_id, one in jobs:
            said.append(self.model.add(job_id, one))
            self.model.tick()
        assert got == next((word for word in said if word != "OK"), "OK")
        self.settled()

    @rule(job_id=ANY, enqueue_dependents=st.booleans(), only=st.booleans(), lost=st.booleans())
    def cancel(self, job_id: str, enqueue_dependents: bool, only: bool, lost: bool) -> None:
        """Cancel a job, or stop it if it runs."""
        job_id = self.named(job_id)
        children = self.children(job_id)
        act = (
            self.backend.stop(job_id)
            if only
            else self.backend.cancel(job_id, enqueue_dependents=enqueue_dependents)
        )
        with self.call(lost):
            got = self.run(_word(act))
        expected = self.model.cancel(
            job_id, children, enqueue_dependents=enqueue_dependents and not only, running_only=only
        )
        assert got == ("OK" if expected == "STOPPING" else expected)
        self.settled()

    @rule(job_id=ANY, at_front=st.booleans(), is_bulk=st.booleans(), lost=st.booleans())
    def requeue(self, job_id: str, at_front: bool, is_bulk: bool, lost: bool) -> None:
        """Put a job that has ended back, in bulk only if it has ended badly."""
        job_id = self.named(job_id)
        among = (JobStatus.FAILED, JobStatus.STOPPED) if is_bulk else ()
        with self.call(lost):
            got = self.run(_word(self.backend.requeue(job_id, at_front=at_front, among=among)))
        assert got == self.model.requeue(job_id, at_front=at_front, among=among)
        self.settled()

    @rule(job_id=ANY, lost=st.booleans())
    def delete(self, job_id: str, lost: bool) -> None:
        """Delete a job."""
        job_id = self.named(job_id)
        children = self.children(job_id)
        with self.call(lost):
            got = self.run(_word(self.backend.delete(job_id)))
        assert got == self.model.delete(job_id, children)
        self.settled()

    @rule(job_id=ANY, delay=st.sampled_from([-10.0, 300.0, 5000.0]), lost=st.booleans())
    def reschedule(self, job_id: str, delay: float, lost: bool) -> None:
        """Give a scheduled job another time."""
        job_id = self.named(job_id)
        with self.call(lost):
            got = self.run(_word(self.backend.reschedule(job_id, time.time() + delay)))
        assert got == self.model.reschedule(job_id, delay)
        self.settled()

    @rule(queue=st.sampled_from(QUEUES), limit=st.sampled_from([1, 500]), lost=st.booleans())
    def empty(self, queue: str, limit: int, lost: bool) -> None:
        """Delete what waits in a queue; a call that is repeated takes the next ones."""
        now_iso = "2024-05-01T12:00:00.000000Z"
        with self.call(lost) as was_lost:
            reply = self.run(self.backend.call("empty", queue=queue, limit=limit, now_iso=now_iso))
        removed = self.model.empty(queue, limit)
        if was_lost:
            self.model.tick()
            removed = self.model.empty(queue, limit)
        assert reply[1] == removed
        self.settled()

    async def _add(self, jobs: Mapping[str, Terms]) -> str:
        try:
            await self.backend.add([self._spec(job_id, jobs) for job_id in jobs])
        except DuplicateJobError:
            return "DUPLICATE"
        except InvalidJobOperation as error:
            return "CIRCLE" if "which waits for it" in str(error) else "WRONG_STATUS"
        return "OK"

    def _spec(self, job_id: str, jobs: Mapping[str, Terms]) -> JobSpec:
        """Return one of the jobs of a call: as one whose id was made up, unless others stand beside it and it is known.

        Those may share a script, which leaves out what is known; that comes behind the others then, and the model does not know it.
        """
        spec = _spec(job_id, jobs[job_id])
        if len(jobs) > 1 and (job_id in self.model.jobs or job_id in self.model.expired):
            return spec
        return replace(spec, options=replace(spec.options, job_id=None))


def _spec(job_id: str, terms: Terms) -> JobSpec:
    parents = terms.parents and Dependency(
        list(terms.parents), allow_failure=terms.policy == "failure"
    )
    policy: Any = "wait" if terms.policy == "failure" else terms.policy
    spec = stage.job_spec(
        job_id,
        queue=terms.queue,
        status=JobStatus.QUEUED if terms.delay is None else JobStatus.SCHEDULED,
        due_in=terms.delay,
        at_front=terms.at_front,
        unique=terms.unique,
        depends_on=parents or None,
        on_parent_failure=policy,
        rate_limit=terms.rate and RateLimit(*terms.rate),
        repeat=Repeat(terms.repeats, terms.repeat_interval) if terms.repeats else None,
        retry=Retry(terms.retries, terms.retry_interval) if terms.retries else None,
        ttl=terms.ttl,
        result_ttl=terms.result_ttl,
        failure_ttl=terms.failure_ttl,
        redeliver=terms.redeliver,
    )
    return replace(spec, group=terms.group)


async def _word(act: Awaitable[Any]) -> str:
    try:
        await act
    except NoSuchJobError:
        return "GONE"
    except InvalidJobOperation:
        return "WRONG_STATUS"
    return "OK"
