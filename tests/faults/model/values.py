"""Jobs, rate limits, leases and recurring entries as the model keeps them."""

from __future__ import annotations

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
    repeat_interval: int = 0
    retries: int = 0
    retry_interval: int = 0
    ttl: int | None = None
    result_ttl: int | None = None
    failure_ttl: int | None = None
    redeliver: bool = True
    group: str | None = None


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


@dataclass
class Entry:
    """A recurring entry, whose ticks add jobs."""

    terms: Terms
    overlap: str
    runs_left: int | None = None
    runs: dict[str, float] = field(default_factory=dict)
    """The jobs that it has made, by when."""
