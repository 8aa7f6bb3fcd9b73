"""What can be asked of a job, as frozen values: checked once, at the edge, and printed as they are."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from aiorq2.errors import InvalidOption
from aiorq2.quick import quick_dataclass
from aiorq2.states import JobStatus
from aiorq2.terms import (
    Callback,
    Durable,
    OnParentFailure,
    Parents,
    RateLimit,
    Repeat,
    Webhook,
    as_callback,
    as_durable,
    as_rate_limit,
    as_repeat,
    as_webhooks,
)
from aiorq2.timing import Duration, durations, seconds

DEFAULT_TIMEOUT = 180
"""Seconds; RQ's ``Queue.DEFAULT_TIMEOUT``."""
DEFAULT_RESULT_TTL = 500
"""Seconds; RQ's."""
DEFAULT_FAILURE_TTL = 31_536_000
"""A year, in seconds; RQ's."""
MAX_RETRIES = 1_000_000
MAX_ID = 255
MAX_NAME = 255

Offload = Literal["thread", "process"]
ResultStore = Literal["hash", "stream"]

_JOB_ID = re.compile(r"[A-Za-z0-9_-]+")


def any_job_id(job_id: object) -> str:
    """Return the id of a job that is asked for if it is a text: rq 1 allowed any, and its jobs are still to be found.

    Raises:
        InvalidOption: it is none.
    """
    if not isinstance(job_id, str):
        hint = ": give str(id)" if isinstance(job_id, UUID) else ""
        raise InvalidOption(f"job_id must be a string, not {type(job_id).__name__}{hint}")
    return job_id


def checked_job_id(job_id: object) -> str:
    """Return ``job_id`` if it follows RQ's rule for new ones: letters, digits, ``_`` and ``-``.

    Raises:
        InvalidOption: it does not.
    """
    job_id = any_job_id(job_id)
    if len(job_id) > MAX_ID or not _JOB_ID.fullmatch(job_id):
        raise InvalidOption(
            f"job_id {job_id[:60]!r}: 1 to {MAX_ID} letters, digits, '_' and '-' are allowed"
        )
    return job_id


def checked_name(name: object, what: str) -> str:
    """Return the name of a queue or a worker if Redis, rq and a terminal can all live with it.

    Raises:
        InvalidOption: it is empty, too long, or has characters that do not print.
    """
    if not isinstance(name, str):
        raise InvalidOption(f"the {what} name must be a string, not {type(name).__name__}")
    if not name or len(name) > MAX_NAME or not name.isprintable() or name != name.strip():
        raise InvalidOption(
            f"{what} name {name[:60]!r}: 1 to {MAX_NAME} printable characters, not blank at its ends"
        )
    if name.endswith((":intermediate", ":executions")):
        raise InvalidOption(
            f"{what} name {name[:60]!r}: rq keeps names that end in ':intermediate' and ':executions' for itself"
        )
    return name


class Retry(Exception):
    """Repeat a job that raised. ``max`` and ``interval`` are RQ's; the rest is ours.

    Args:
        max: how many more runs there may be after the first.
        interval: seconds (or a duration) before a retry, or a list of them; RQ counts a list from its end, so that a list of
            ``max`` intervals is used in order.
        enqueue_at_front: a retry without delay goes to the front of the queue.
        backoff: each retry waits ``interval * backoff ** (n - 1)`` seconds; only with a single interval.
        max_interval: the longest wait that ``backoff`` leads to, in seconds.
        jitter: a share, 0 to 1, of the wait that is drawn at random.
        on: exception classes (or dotted names) to retry on; anything else fails at once. Default: every exception.

    A job can also return it (as in RQ) or raise it, to be run again at most ``max`` times.

    >>> Retry(3, interval=10, backoff=2, max_interval=60)
    """

    def __init__(
        self,
        max: int,
        interval: Duration | Iterable[Duration] = 0,
        enqueue_at_front: bool = False,
        *,
        backoff: float = 1.0,
        max_interval: Duration | None = None,
        jitter: float = 0.0,
        on: type[BaseException] | str | Iterable[type[BaseException] | str] = (),
    ) -> None:
        if isinstance(max, bool) or not isinstance(max, int) or not 1 <= max <= MAX_RETRIES:
            raise InvalidOption(f"Retry(max=…): a whole number from 1 to {MAX_RETRIES} is needed")
        if not isinstance(backoff, int | float) or not 1 <= backoff < 1e6:
            raise InvalidOption("Retry(backoff=…): a factor of at least 1 is needed")
        if not isinstance(jitter, int | float) or not 0 <= jitter <= 1:
            raise InvalidOption("Retry(jitter=…): a share between 0 and 1 is needed")
        super().__init__(f"Retry(max={max!r}, interval={interval!r})")
        self.max = max
        self.intervals = durations(interval, name="Retry(interval)")
        if backoff != 1 and len(self.intervals) > 1:
            raise InvalidOption("Retry: give either a list of intervals or a backoff, not both")
        self.enqueue_at_front = enqueue_at_front
        self.backoff = backoff
        self.max_interval = (
            None if max_interval is None else seconds(max_interval, name="Retry(max_interval)")
        )
        self.jitter = jitter
        several = on if isinstance(on, Iterable) and not isinstance(on, str) else (on,)
        self.on = tuple(_exception_name(one) for one in several)

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            _retry_again,
            (
                self.max,
                self.intervals,
                self.enqueue_at_front,
                self.backoff,
                self.max_interval,
                self.jitter,
                self.on,
            ),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Retry) and other.__reduce__() == self.__reduce__()

    def __hash__(self) -> int:
        return hash((self.max, self.enqueue_at_front, self.backoff))


def _retry_again(
    max: int,
    intervals: list[float],
    front: bool,
    backoff: float,
    longest: float | None,
    jitter: float,
    on: list[str],
) -> Retry:
    return Retry(max, intervals, front, backoff=backoff, max_interval=longest, jitter=jitter, on=on)


def _exception_name(given: object) -> str:
    if isinstance(given, str) and "." in given:
        return given
    if isinstance(given, str):
        given = getattr(builtins, given, given)
    if isinstance(given, type) and issubclass(given, BaseException):
        return f"{given.__module__}.{given.__qualname__}"
    raise InvalidOption(
        f"Retry(on=…): {given!r} is neither an exception class nor the dotted name of one"
    )


@dataclass(frozen=True, slots=True)
class EnqueueOptions:
    """The options of one enqueue, checked. Durations are seconds; -1 means for ever, None the queue's or worker's default."""

    job_timeout: int | float | None = None
    result_ttl: int | float | None = None
    ttl: int | float | None = None
    failure_ttl: int | float | None = None
    description: str | None = None
    job_id: str | None = None
    at_front: bool = False
    meta: dict[str, Any] | None = None
    retry: Retry | None = None
    unique: bool | Literal["return"] = False
    redeliver: bool = True
    offload: Offload | None = None
    depends_on: Parents | None = None
    on_parent_failure: OnParentFailure = "wait"
    repeat: Repeat | None = None
    on_success: Callback | None = None
    on_failure: Callback | None = None
    on_stopped: Callback | None = None
    rate_limit: RateLimit | None = None
    webhooks: tuple[Webhook, ...] = ()
    durable: Durable | None = None

    @classmethod
    def checked(
        cls,
        *,
        job_timeout: Duration | None = None,
        result_ttl: Duration | None = None,
        ttl: Duration | None = None,
        failure_ttl: Duration | None = None,
        description: str | None = None,
        job_id: str | None = None,
        at_front: bool = False,
        meta: dict[str, Any] | None = None,
        retry: Retry | int | None = None,
        unique: bool | Literal["return"] = False,
        redeliver: bool = True,
        offload: Offload | None = None,
        depends_on: Any = None,
        on_parent_failure: OnParentFailure = "wait",
        repeat: Repeat | int | None = None,
        on_success: Callback | Callable[..., Any] | str | None = None,
        on_failure: Callback | Callable[..., Any] | str | None = None,
        on_stopped: Callback | Callable[..., Any] | str | None = None,
        rate_limit: RateLimit | None = None,
        webhooks: Webhook | Iterable[Webhook] | None = None,
        durable: Durable | int | None = None,
    ) -> EnqueueOptions:
        """Return the options with every value checked and durations in seconds.

        Raises:
            InvalidOption: one of them cannot be meant; its name is in the message.
        """
        if description is not None and not isinstance(description, str):
            raise InvalidOption(f"description must be a string, not {type(description).__name__}")
        if meta is not None and not isinstance(meta, dict):
            raise InvalidOption(f"meta must be a dict, not {type(meta).__name__}")
        if offload not in (None, "thread", "process"):
            raise InvalidOption(
                f"offload={offload!r}: 'thread' (what plain functions run in anyway) or 'process'"
            )
        if unique not in (False, True, "return"):
            raise InvalidOption(
                f"unique={unique!r}: True raises where the job exists, 'return' hands it back"
            )
        if unique and job_id is None:
            raise InvalidOption("unique=True needs a job_id: it is the id that must not exist yet")
        if on_parent_failure not in ("wait", "cancel", "run"):
            raise InvalidOption(
                f"on_parent_failure={on_parent_failure!r}: 'wait' (RQ's), 'cancel' or 'run'"
            )
        parents = Parents.of(depends_on)
        if parents is not None and job_id in parents.ids:
            raise InvalidOption(f"job {job_id!r} cannot depend on itself")
        return cls(
            job_timeout=_duration(job_timeout, "job_timeout", minimum=0.001, infinite=True),
            result_ttl=_whole(_duration(result_ttl, "result_ttl", minimum=0, infinite=True)),
            ttl=_whole(_duration(ttl, "ttl", minimum=0.001)),
            failure_ttl=_whole(_duration(failure_ttl, "failure_ttl", minimum=0, infinite=True)),
            description=description and description.encode("utf-8", "backslashreplace").decode(),
            job_id=None if job_id is None else checked_job_id(job_id),
            at_front=bool(at_front),
            meta=meta,
            retry=_retry(retry),
            unique=unique,
            redeliver=bool(redeliver),
            offload=offload,
            depends_on=parents,
            on_parent_failure=on_parent_failure,
            repeat=as_repeat(repeat),
            on_success=as_callback(on_success),
            on_failure=as_callback(on_failure),
            on_stopped=as_callback(on_stopped),
            rate_limit=as_rate_limit(rate_limit),
            webhooks=as_webhooks(webhooks),
            durable=as_durable(durable),
        )


NO_OPTIONS = EnqueueOptions()
"""What most enqueues ask for: there is nothing to check or to write."""


def _duration(
    value: Duration | None, name: str, *, minimum: float, infinite: bool = False
) -> int | float | None:
    return None if value is None else seconds(value, name=name, minimum=minimum, infinite=infinite)


def _whole(value: int | float | None) -> int | None:
    """Round up: Redis and rq count these in whole seconds."""
    return None if value is None else -int(-value // 1)


def _retry(retry: Retry | int | None) -> Retry | None:
    if retry is None or isinstance(retry, Retry):
        return retry
    if isinstance(retry, int) and not isinstance(retry, bool):
        return Retry(retry)
    if hasattr(retry, "max") and hasattr(retry, "intervals"):  # rq.Retry, without importing rq
        return Retry(
            retry.max, list(retry.intervals), bool(getattr(retry, "enqueue_at_front", False))
        )
    raise InvalidOption(f"retry must be a Retry or a number of retries, not {type(retry).__name__}")


OPTION_NAMES = frozenset(EnqueueOptions.__dataclass_fields__)
"""RQ's reserved keywords of ``enqueue`` that exist so far, and ours; whatever else is given goes to the function."""


@quick_dataclass()
class JobSpec:
    """A job on its way into Redis: payload encoded, options checked. Nothing in it is looked at again before a worker claims it."""

    id: str
    func_name: str
    origin: str
    data: bytes
    options: EnqueueOptions
    description: str
    timeout: int | float
    created_at: str
    token: str
    meta: bytes | None = None
    results: ResultStore = "hash"
    status: JobStatus = JobStatus.QUEUED
    due_at: float | None = None
    """Absolute due time, seconds since the epoch; for ``scheduled``."""
    due_in: float | None = None
    """Due time from now on by Redis' clock, in seconds; for ``scheduled``."""
    group: str | None = None
    lane: str | None = None
    """Another list than the origin's to wait in: that of a caller who runs the job himself."""
    durable: Durable | None = None
    """How many replicas must acknowledge the job; the option's, else the queue's."""


@quick_dataclass()
class EnqueueData:
    """One job of ``enqueue_many``, as ``Queue.prepare_data`` returns it."""

    func: Callable[..., Any] | str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: EnqueueOptions


def as_names(names: str | Iterable[str], what: str) -> tuple[str, ...]:
    """Return one or several names as a tuple without repetitions, each checked."""
    given = (names,) if isinstance(names, str) else tuple(names)
    return tuple(dict.fromkeys(checked_name(name, what) for name in given))
