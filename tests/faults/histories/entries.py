"""Recurring entries, and the jobs that they make."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import rule

from aiorq2.backends import crons
from aiorq2.backends.crons import CronRecord
from aiorq2.options import Retry
from aiorq2.terms import RateLimit
from tests.contract import cron_stage
from tests.faults.histories.draws import ENTRIES, TEMPLATES
from tests.faults.histories.stage import Stage
from tests.faults.model.values import Entry, Terms

OVERLAPS = st.sampled_from(["allow", "skip", "queue", "replace"])


class OnEntries(Stage):
    """The verbs on recurring entries."""

    ticks = 0

    @rule(name=ENTRIES, terms=TEMPLATES, overlap=OVERLAPS, times=st.sampled_from([None, None, 2]))
    def write_entry(self, name: str, terms: Terms, overlap: str, times: int | None) -> None:
        """Write an entry; what it has made before, it remembers."""
        options: dict[str, Any] = {
            "queue": terms.queue,
            "overlap": overlap,
            "repeat": times,
            "at_front": terms.at_front,
            "rate_limit": terms.rate and RateLimit(*terms.rate),
            "retry": Retry(terms.retries) if terms.retries else None,
            "ttl": terms.ttl,
            "result_ttl": terms.result_ttl,
            "failure_ttl": terms.failure_ttl,
            "redeliver": terms.redeliver,
        }
        self._record(name)
        draft = cron_stage.draft(self.backend, name, **options)
        self.run(crons.save(self.backend, draft, "replace"))
        runs = self.entries[name].runs if name in self.entries else {}
        self.entries[name] = Entry(terms, overlap, times, runs)
        self.settled()

    @rule(name=ENTRIES, count=st.integers(1, 2), is_again=st.booleans(), lost=st.booleans())
    def tick(self, name: str, count: int, is_again: bool, lost: bool) -> None:
        """An entry is due: one run, or two that were missed; or a tick that was there before."""
        record = self._record(name)
        if record is None or record.state != "active":
            return
        if not is_again:
            self.ticks += count
        ticks = [cron_stage.PAST + 60 * (self.ticks - n) for n in reversed(range(count))]
        ticking = self.run(cron_stage.ticking(self.backend, record, *ticks))
        if any(self._is_forgotten(job_id) for _, job_id in ticking.runs):
            return
        self.stale |= {f"job {job_id} is " for _, job_id in ticking.runs}
        with self.call(lost) as was_lost:
            (made,) = self.run(crons.tick(self.backend, [ticking]))
        expected = self.model.tick_entry(self.entries[name], ticking.runs)
        assert made == ([] if was_lost else expected)
        self._same_runs(name)
        self.settled()

    @rule(name=ENTRIES, lost=st.booleans())
    def run_entry(self, name: str, lost: bool) -> None:
        """Somebody wants a run now."""
        if self._record(name) is None:
            return
        job_id = f"run-{uuid4().hex[:8]}"
        with self.call(lost):
            self.run(crons.run(self.backend, name, job_id))
        self.model.spawn(self.entries[name], 2e9 + self.model.now, job_id, "allow")
        self._same_runs(name)
        self.settled()

    def _is_forgotten(self, job_id: str) -> bool:
        return job_id not in self.model.jobs and self.model.is_waited_for(job_id)

    def _same_runs(self, name: str) -> None:
        """See that an entry remembers its runs in the same order."""
        runs = self.entries[name].runs
        remembered = sorted(runs, key=lambda one: (runs[one], one), reverse=True)
        assert self.run(crons.run_ids(self.backend, name, 1000)) == remembered[:20]

    def _record(self, name: str) -> CronRecord | None:
        (record,) = self.run(crons.records(self.backend, [name]))
        if record is None:
            self.entries.pop(name, None)
        return record if name in self.entries else None
