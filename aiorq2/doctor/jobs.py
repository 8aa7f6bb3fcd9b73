"""Is every job in the list or registry in which its status says it is?"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from aiorq2.backends import browse
from aiorq2.backends.browse import FOR_EVER, JobFacts
from aiorq2.backends.keys import Keys
from aiorq2.doctor.findings import Gathering
from aiorq2.doctor.places import Places
from aiorq2.doctor.suspects import Suspects
from aiorq2.doctor.tour import Tour
from aiorq2.payloads import written_with
from aiorq2.states import JobStatus

SAMPLES = 10
"""How many jobs of a queue, out of a step of some 1000 keys, have their payload looked at."""
LARGEST = 64 * 1024
"""Bytes of the largest payload that is fetched for it."""

_STATUSES = frozenset(JobStatus)
_REGISTRY: Mapping[JobStatus, Callable[[Keys, str], str]] = {
    JobStatus.SCHEDULED: Keys.scheduled,
    JobStatus.DEFERRED: Keys.deferred,
    JobStatus.READY_TO_ENQUEUE: Keys.ready,
    JobStatus.FINISHED: Keys.finished,
    JobStatus.FAILED: Keys.failed,
    JobStatus.STOPPED: Keys.failed,
}


class JobLook:
    """Looks at jobs as they are found among the keys."""

    def __init__(
        self, tour: Tour, places: Places, suspects: Suspects, gathering: Gathering
    ) -> None:
        self._tour = tour
        self._places = places
        self._suspects = suspects
        self._gathering = gathering
        self._serializers: defaultdict[str, Counter[str]] = defaultdict(Counter)

    async def __call__(self, ids: Sequence[str]) -> None:
        """Note the jobs that may be lost, or stay for ever. Redis: 3 pipelines."""
        found = [one for one in await browse.facts(self._tour.backend, ids) if one is not None]
        await self._look_at_registered([one for one in found if self._is_sound(one)])
        await self._look_at_payloads(found)

    def tell_serializers(self) -> None:
        """Say which queues have jobs of more than one serializer."""
        for queue, kinds in self._serializers.items():
            if len(kinds) > 1:
                self._gathering.add("serializer-mix", queue, detail=" and ".join(sorted(kinds)))

    def _is_sound(self, facts: JobFacts) -> bool:
        """Whether it can be asked about its registry; one that waits in a queue or runs is looked at here."""
        record, status = facts.record, facts.record.text("status") or "created"
        if not facts.data_bytes:
            if facts.ttl_ms == FOR_EVER:
                self._suspects.add("no-payload", "", record.id, facts)
            return False
        if status not in _STATUSES:
            self._gathering.add("unknown-status", record.origin, record.id, repr(status)[:60])
            return False
        if record.status is JobStatus.QUEUED and not self._places.is_somewhere(record.id):
            self._suspects.add("lost-job", record.origin, record.id, facts, "queued")
        elif record.status is JobStatus.STARTED and not self._places.is_leased(record.id):
            self._suspects.add("lost-job", record.origin, record.id, facts, "started")
        return True

    async def _look_at_registered(self, found: Sequence[JobFacts]) -> None:
        """Look for those that wait in a registry, and at until when those are kept that have ended."""
        asked = [one for one in found if self._registry_of(one) is not None]
        keys = [self._registry_of(one) or "" for one in asked]
        commands = [["ZSCORE", key, one.record.id] for key, one in zip(keys, asked, strict=True)]
        for one, score in zip(asked, await browse.read(self._tour.backend, commands), strict=True):
            record, status = one.record, one.record.status
            if status.is_terminal:
                if score is not None and 0 < float(score) < math.inf:
                    self._suspects.add("no-ttl", "", record.id, one, "(jobs that have ended)")
            elif score is None:
                is_timeless = status is JobStatus.SCHEDULED and not record.text("started_at")
                kind = "lost-schedule" if is_timeless else "lost-job"
                self._suspects.add(kind, record.origin, record.id, one, status.value)

    def _registry_of(self, facts: JobFacts) -> str | None:
        """Return the key of the registry in which a job should be, if it is to be asked."""
        status, record, keys = facts.record.status, facts.record, self._tour.keys
        if status.is_terminal and facts.ttl_ms != FOR_EVER:
            return None
        if status is JobStatus.RATE_LIMITED:
            return keys.rate_waiting(record.text("rate_limit_key") or "")
        registry = _REGISTRY.get(status)
        return registry(keys, record.origin) if registry is not None else None

    async def _look_at_payloads(self, found: Iterable[JobFacts]) -> None:
        """Recognise the serializers of some of the jobs that are still to run, by the first bytes."""
        by_queue: defaultdict[str, list[str]] = defaultdict(list)
        for one in found:
            if not one.record.status.is_terminal and 0 < one.data_bytes <= LARGEST:
                by_queue[one.record.origin].append(one.record.id)
        sample = [(queue, one) for queue, ids in by_queue.items() for one in ids[:SAMPLES]]
        commands = [["HGET", self._tour.keys.job(one), "data"] for _, one in sample]
        for (queue, _), data in zip(
            sample, await browse.read(self._tour.backend, commands), strict=True
        ):
            kind = written_with(data) if data else None
            if kind is not None:
                self._serializers[queue][kind] += 1
