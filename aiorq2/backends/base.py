"""The values that travel between a backend and the rest: frozen, printable, without a connection in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

from aiorq2.errors import DeserializationError
from aiorq2.options import DEFAULT_RESULT_TTL
from aiorq2.quick import quick_dataclass
from aiorq2.states import JobStatus, Reply
from aiorq2.timing import MAX_SECONDS, from_iso


@quick_dataclass()
class JobRecord:
    """A job as it lies in Redis: its id and the fields of its hash, read but not decoded further than asked."""

    id: str
    fields: Mapping[str, bytes]

    def text(self, name: str) -> str | None:
        """Return a field as text; None where it is missing or empty (RQ does not tell the two apart)."""
        value = self.fields.get(name)
        return value.decode("utf-8", "replace") if value else None

    def number(self, name: str) -> int | None:
        """Return a field as a whole number, None where it is missing or is none."""
        value = self.real(name)
        return None if value is None or not isfinite(value) else int(value)

    def real(self, name: str) -> float | None:
        """Return a field as a number, None where it is missing or is none."""
        value = self.fields.get(name)
        if value is None:  # most of those that are asked for
            return None
        try:
            return float(value)
        except ValueError:
            return None

    def time(self, name: str) -> datetime | None:
        """Return a field as an aware UTC datetime, None where it is missing or is none."""
        try:
            return from_iso(self.fields.get(name))
        except DeserializationError:
            return None

    def texts(self, name: str) -> list[str]:
        """Return a field that holds a JSON list of texts; empty where it is missing or is none."""
        try:
            found = json.loads(self.fields.get(name) or b"[]")
        except (ValueError, RecursionError):
            return []
        return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []

    def reals(self, name: str) -> list[float]:
        """Return a field that holds a JSON list of durations; empty where it is missing or is none. What no duration can be, be it
        infinite, is left out."""
        try:
            found = json.loads(self.fields.get(name) or b"[]")
        except (ValueError, RecursionError):
            return []
        return [one for one in found if _is_duration(one)] if isinstance(found, list) else []

    @property
    def status(self) -> JobStatus:
        """The status; a hash without one, or with one that we do not know, counts as created."""
        try:
            return JobStatus(self.text("status") or "created")
        except ValueError:
            return JobStatus.CREATED

    @property
    def origin(self) -> str:
        """The queue the job was enqueued on."""
        return self.text("origin") or ""

    @property
    def context(self) -> str:
        """What a signature of the payload is tied to: the job, or the recurring entry that has made it."""
        cron = self.fields.get("aio_cron")
        return self.id if cron is None else cron_context(cron.decode("utf-8", "replace"))

    @property
    def has_callbacks(self) -> bool:
        """Whether a function is to be called when the job has ended."""
        return bool(
            self.fields.get("success_callback_name")
            or self.fields.get("failure_callback_name")
            or self.fields.get("stopped_callback_name")
        )

    @property
    def has_streamed_result(self) -> bool:
        """Whether the job has ended and what it left is in its stream, not in its hash.

        rq leaves a value in the hash as well: that of a run before the last, when a job repeats or asks for a retry.
        """
        is_kept_here = (
            "result" in self.fields
            and not {"repeats_left", "number_of_retries"} & self.fields.keys()
        )
        return self.status.is_terminal and not is_kept_here

    @property
    def was_run_before(self) -> bool:
        """Whether a run of the job has ended, or its worker has died, before it was queued again."""
        return bool(self.number("aio_attempt") or self.fields.get("ended_at"))

    @property
    def is_ours(self) -> bool:
        """Whether aiorq2 enqueued the job (else rq did)."""
        return "aio_token" in self.fields


def _is_duration(given: object) -> bool:
    return isinstance(given, int | float) and abs(given) <= MAX_SECONDS  # false for NaN


def cron_context(name: str) -> str:
    """Return what the payload of a recurring entry is tied to; no job id looks like that."""
    return f"cron/{name}"


@dataclass(frozen=True, slots=True)
class Seat:
    """A worker's place: its name, the random identity of this start of it, the length of its leases in seconds, and how long
    it keeps results of jobs that do not say (seconds)."""

    worker: str
    instance: str
    lease: float
    result_ttl: int = DEFAULT_RESULT_TTL


@quick_dataclass()
class Claim:
    """One job that a worker has started: the record as it was before, and the run that holds the lease."""

    job_id: str
    execution_id: str
    origin: str
    worker: str
    started_at: float
    record: JobRecord

    @property
    def attempt(self) -> int:
        """Which run of the job this is, counted from 1; given-back runs do not count."""
        return (self.record.number("aio_attempt") or 0) + 1


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """What a worker asks for: at most ``count`` jobs from ``queues``, in that order; at most ``promote`` due ones moved before."""

    count: int
    queues: tuple[str, ...]
    share: int = 0
    """How many jobs one queue may give at the most; 0 for as many as there are."""
    promote: int = 100
    watch_s: float = 1.1
    last_chance: int = 0
    """The number of deaths from which a job is had alone, and only by who is empty; 0: however often, beside others."""
    is_empty: bool = False
    """Whether nothing runs where these are to run, and nothing else is claimed for it until this is answered."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What came of it. ``refused`` are the settled runs that had lost their lease, with the reply."""

    claims: tuple[Claim, ...] = ()
    has_more: bool = False
    """Whether jobs were left waiting."""
    next_due_in: float | None = None
    is_watching: bool = False
    has_ticks: bool = False
    """Whether a recurring entry of these queues is due."""
    is_suspended: bool = False
    has_stood_back: bool = False
    """Whether there was a job that is to be had alone."""
    crowd: int = 0
    """How many workers the queues have that somebody else watches: of several, the one that has the fewest."""
    refused: tuple[tuple[Claim, Reply], ...] = ()


@dataclass(frozen=True, slots=True)
class Tally:
    """A worker's counters, as totals since its start: safe to write twice. Whether it is busy, Redis knows itself."""

    is_suspended: bool = False
    successes: int = 0
    failures: int = 0
    working_time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Extended:
    """What a heartbeat brought back, as execution ids."""

    lost: frozenset[str]
    stopping: frozenset[str]
    standing: Mapping[str, str]
    """Every execution under the worker's name, with its job."""
    is_registered: bool


@dataclass(frozen=True, slots=True)
class Reaped:
    """The jobs that a pass over dead leases requeued and failed, and in how many seconds the next lease ends (None: there is none;
    not above 0: the pass hit its limit)."""

    requeued: tuple[str, ...]
    failed: tuple[str, ...]
    next_in: float | None
    releases: bool = False
    """Whether dependents of jobs that have ended are still to be freed."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A job that is looked at: its record (None: there is none) and, if it has ended, its latest result entry."""

    record: JobRecord | None
    entry: tuple[str, Mapping[str, bytes]] | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """What a waiting process is told: the last status (or ``deleted``) and, for a finished job, the serialised result."""

    job_id: str
    status: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Progressed:
    """What those who follow a job are told: how far it is, as it was written."""

    job_id: str
    raw: bytes
