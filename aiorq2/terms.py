"""The small values that are given to ``enqueue``: Repeat, Callback, Dependency, RateLimit, Webhook, Durable. Checked when made.

Names, signatures and defaults are RQ 3.0's; what is ours says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from aiorq2.callables import name_of
from aiorq2.errors import InvalidOption
from aiorq2.timing import Duration, durations, seconds

CALLBACK_TIMEOUT = 60
"""Seconds; RQ's."""
MAX_KEY = 255
MAX_REPEATS = 1_000_000
MAX_CONCURRENCY = 1_000_000
MAX_REPLICAS = 100
DURABLE_TIMEOUT = 2
"""Seconds that an enqueue waits for replicas, unless it says otherwise."""

OnParentFailure = Literal["wait", "cancel", "run"]
WebhookStatus = Literal["finished", "failed"]


class HasId(Protocol):
    """A job, as far as a dependency is concerned."""

    id: str


class Repeat:
    """Run a job again ``times`` more times after it succeeded, each ``interval`` seconds (or the next of a list) later."""

    def __init__(self, times: int, interval: Duration | Iterable[Duration] = 0) -> None:
        if not _is_whole(times, MAX_REPEATS):
            raise InvalidOption(
                f"Repeat(times=…): a whole number from 1 to {MAX_REPEATS} is needed"
            )
        self.times = times
        self.intervals = durations(interval, name="Repeat(interval)")

    def __repr__(self) -> str:
        return f"Repeat(times={self.times}, interval={self.intervals})"


class Callback:
    """A function to call when a job has succeeded, failed or been stopped; plain or a coroutine function (RQ: plain only).

    It is called with ``(job, connection, result)``, ``(job, connection, type, value, traceback)`` or ``(job, connection)``.

    Args:
        func: the function, or its dotted name.
        timeout: seconds that it may take; 60 by default.
    """

    def __init__(self, func: Callable[..., Any] | str, timeout: Duration | None = None) -> None:
        ref = name_of(func)
        if ref.instance is not None:
            raise InvalidOption(
                "Callback: a function that can be found by its name is needed, not a bound method"
            )
        self.func = func
        self.name = ref.name
        self.timeout = (
            CALLBACK_TIMEOUT
            if timeout is None
            else seconds(timeout, name="Callback(timeout)", minimum=0.001)
        )

    def __repr__(self) -> str:
        return f"Callback({self.name}, timeout={self.timeout})"


class Dependency:
    """Jobs that must have ended before another starts.

    Args:
        jobs: a job, an id, or several.
        allow_failure: a failed one counts as done.
        enqueue_at_front: the waiting job goes to the front of its queue when its time comes.
    """

    def __init__(
        self,
        jobs: HasId | str | Iterable[HasId | str],
        allow_failure: bool = False,
        enqueue_at_front: bool = False,
    ) -> None:
        given = _several(jobs)
        if not given:
            raise InvalidOption("Dependency(jobs=[]): at least one job is needed")
        self.job_ids = tuple(_id_of(one) for one in given)
        self.allow_failure = bool(allow_failure)
        self.enqueue_at_front = bool(enqueue_at_front)

    def __repr__(self) -> str:
        return f"Dependency({list(self.job_ids)}, allow_failure={self.allow_failure})"


@dataclass(frozen=True, slots=True)
class Parents:
    """All that ``depends_on`` said, as one value: flags are OR-ed over all ``Dependency`` objects, as in RQ."""

    ids: tuple[str, ...]
    allow_failure: bool = False
    at_front: bool = False

    @classmethod
    def of(cls, depends_on: object) -> Parents | None:
        """Return what a ``depends_on`` means: a job, an id, a ``Dependency``, or a list of these."""
        if depends_on is None:
            return None
        dependencies = [
            one if isinstance(one, Dependency) else _as_dependency(one)
            for one in _several(depends_on)
        ]
        if not dependencies:
            return None
        ids = dict.fromkeys(job_id for one in dependencies for job_id in one.job_ids)
        return cls(
            tuple(ids),
            allow_failure=any(one.allow_failure for one in dependencies),
            at_front=any(one.enqueue_at_front for one in dependencies),
        )


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``concurrency`` jobs with this ``key`` are queued or running at once, whatever their queues."""

    key: str
    concurrency: int

    def __post_init__(self) -> None:
        if (
            not isinstance(self.key, str)
            or not self.key
            or len(self.key) > MAX_KEY
            or not self.key.isprintable()
        ):
            raise InvalidOption(
                f"RateLimit(key={self.key!r:.60}): 1 to {MAX_KEY} printable characters are needed"
            )
        if not _is_whole(self.concurrency, MAX_CONCURRENCY):
            raise InvalidOption(
                f"RateLimit(concurrency=…): a whole number from 1 to {MAX_CONCURRENCY} is needed"
            )


@dataclass(frozen=True, slots=True)
class Durable:
    """An enqueue counts only when ``replicas`` of Redis' replicas have acknowledged it; ours.

    Args:
        replicas: how many; 0 for none.
        timeout: seconds (or a duration) to wait for them. Calls of about the same time-out that are made at the same moment share a
            wait, less than twice as long as each asked for; one that is made meanwhile has its wait after theirs.
    """

    replicas: int
    timeout: Duration = DURABLE_TIMEOUT

    def __post_init__(self) -> None:
        if (
            isinstance(self.replicas, bool)
            or not isinstance(self.replicas, int)
            or not 0 <= self.replicas <= MAX_REPLICAS
        ):
            raise InvalidOption(
                f"durable={self.replicas!r:.60}: the number of replicas that must have the job, 0 to {MAX_REPLICAS}"
            )
        self.timeout_s  # noqa: B018  # raises what cannot be meant

    @property
    def timeout_s(self) -> float:
        """The time that the replicas have, in seconds."""
        return seconds(self.timeout, name="Durable(timeout)", minimum=0.001)


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that is called when a job has ``finished`` or ``failed``. Needs the extra ``webhook`` (httpx) in the worker.

    Args:
        headers: of the request; texts.
        timeout: seconds (or a duration) that the call may take. It is kept in whole ones, rounded up, as rq counts it.
    """

    url: str
    job_status: WebhookStatus
    method: Literal["GET", "POST"] = "GET"
    headers: Mapping[str, str] | None = None
    timeout: Duration = 10

    def __post_init__(self) -> None:
        parts = urlsplit(self.url if isinstance(self.url, str) else "")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidOption("Webhook(url=…): an http:// or https:// URL is needed")
        if self.job_status not in ("finished", "failed"):
            raise InvalidOption(f"Webhook(job_status={self.job_status!r}): 'finished' or 'failed'")
        if self.method not in ("GET", "POST"):
            raise InvalidOption(f"Webhook(method={self.method!r}): 'GET' or 'POST'")
        if self.headers is not None:
            object.__setattr__(self, "headers", _headers(self.headers))
        object.__setattr__(self, "timeout", self.timeout_s)

    @property
    def timeout_s(self) -> int:
        """The time that the call has, in seconds."""
        return ceil(seconds(self.timeout, name="Webhook(timeout)", minimum=0.001))

    def as_dict(self) -> dict[str, Any]:
        """Return it as RQ writes it into the job."""
        return {
            "url": self.url,
            "job_status": self.job_status,
            "method": self.method,
            "headers": dict(self.headers) if self.headers else None,
            "timeout": self.timeout_s,
        }


def _headers(given: object) -> dict[str, str]:
    """Return headers as they can be written and sent: a copy, and numbers as texts, as rq sends them."""
    if not isinstance(given, Mapping):
        raise InvalidOption(f"Webhook(headers=…): a dict is needed, not {type(given).__name__}")
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str | int):
            raise InvalidOption(
                f"Webhook(headers=…): {name!r:.60} and its value must be strings; use str(…)"
            )
    return {name: str(value) for name, value in given.items()}


def _is_whole(number: object, most: int) -> bool:
    """Whether it is a whole number from 1 on that Redis and Lua can count with."""
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= most


def as_repeat(given: object) -> Repeat | None:
    """Return a ``Repeat``, from one of ours, one of rq's (which is not imported for it), or a number of times."""
    if given is None or isinstance(given, Repeat):
        return given
    if isinstance(given, int):
        return Repeat(given)
    if hasattr(given, "times") and hasattr(given, "intervals"):
        return Repeat(given.times, list(given.intervals))
    raise InvalidOption(f"repeat must be a Repeat or a number of times, not {type(given).__name__}")


def as_callback(given: object) -> Callback | None:
    """Return a ``Callback``, from one of ours, one of rq's, a function or the dotted name of one."""
    if given is None or isinstance(given, Callback):
        return given
    if type(given).__module__.split(".")[0] == "rq" and hasattr(given, "func"):
        return Callback(given.func, getattr(given, "timeout", None))
    return Callback(given)  # type: ignore[arg-type]  # checked there


def as_rate_limit(given: object) -> RateLimit | None:
    """Return a ``RateLimit``, from one of ours or one of rq's."""
    if given is None or isinstance(given, RateLimit):
        return given
    if hasattr(given, "key") and hasattr(given, "concurrency"):
        return RateLimit(given.key, given.concurrency)
    raise InvalidOption(f"rate_limit must be a RateLimit, not {type(given).__name__}")


def webhooks_of(text: str | None) -> list[Webhook]:
    """Return the webhooks that a job's field holds.

    Raises:
        InvalidOption: it holds something else.
    """
    try:
        return [Webhook(**one) for one in json.loads(text or "[]")]
    except Exception as error:  # noqa: BLE001  whatever another program has written there
        raise InvalidOption(f"webhooks: {error}") from None


def as_durable(given: object) -> Durable | None:
    """Return a ``Durable``, from one or from a number of replicas."""
    if given is None or isinstance(given, Durable):
        return given
    return Durable(given)  # type: ignore[arg-type]  # checked there


def as_webhooks(given: object) -> tuple[Webhook, ...]:
    """Return one or several ``Webhook`` as a tuple."""
    return () if given is None else tuple(_as_webhook(one) for one in _several(given))


def _as_webhook(given: object) -> Webhook:
    if isinstance(given, Webhook):
        return given
    if hasattr(given, "url") and hasattr(given, "job_status"):  # rq's
        rq: Any = given
        return Webhook(rq.url, rq.job_status, rq.method, rq.headers, rq.timeout)
    raise InvalidOption(f"webhooks must be Webhook objects, not {type(given).__name__}")


def _as_dependency(given: object) -> Dependency:
    # rq.job.Dependency, without importing rq
    if hasattr(given, "dependencies") and hasattr(given, "allow_failure"):
        return Dependency(
            given.dependencies, given.allow_failure, bool(getattr(given, "enqueue_at_front", False))
        )
    return Dependency(given)  # type: ignore[arg-type]  # checked there


def _several(given: object) -> list[Any]:
    """Return what may be one or several; whatever is no collection is one."""
    is_several = isinstance(given, Iterable) and not isinstance(given, str | bytes)
    return list(given) if is_several and not hasattr(given, "id") else [given]  # type: ignore[call-overload]


def _id_of(job: object) -> str:
    job_id = job if isinstance(job, str) else getattr(job, "id", None)
    if not isinstance(job_id, str) or not job_id:
        raise InvalidOption(f"depends_on: {job!r:.60} is neither a job nor the id of one")
    return job_id
