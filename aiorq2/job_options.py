"""The words in which ``@rq.job``, ``.queue``, ``.schedule`` and ``.cron`` take options: Flask-RQ2's, and ours beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Literal, TypedDict

from aiorq2.cron import in_zone
from aiorq2.errors import InvalidOption
from aiorq2.options import EnqueueOptions, Offload, Retry
from aiorq2.terms import Callback, Durable, OnParentFailure, RateLimit, Repeat, Webhook
from aiorq2.timing import Duration


class MoreOptions(TypedDict, total=False):
    """The options of a job that ``@rq.job`` takes by keyword only."""

    queue: str | None
    connection: str | None
    failure_ttl: Duration | None
    job_id: str | None
    retry: Retry | int | None
    repeat: Repeat | int | None
    on_success: Callback | Callable[..., Any] | str | None
    on_failure: Callback | Callable[..., Any] | str | None
    on_stopped: Callback | Callable[..., Any] | str | None
    unique: bool | Literal["return"]
    rate_limit: RateLimit | None
    webhooks: Webhook | Iterable[Webhook] | None
    offload: Offload | None
    redeliver: bool
    durable: Durable | int | None
    on_parent_failure: OnParentFailure


class JobOptions(MoreOptions, total=False):
    """The options that each of ``queue``, ``schedule`` and ``cron`` takes."""

    timeout: Duration | None
    result_ttl: Duration | None
    ttl: Duration | None
    depends_on: Any
    at_front: bool
    meta: dict[str, Any] | None
    description: str | None


class AnyOptions(JobOptions, total=False):
    """What ``add.options(…)`` takes: those of a job, and those of a schedule and of a cron entry."""

    interval: Duration | None
    timezone: str | None
    dialect: Literal["auto", "crontab", "quartz", "seconds-last"]
    catch_up: Literal["skip", "last", "all"]
    grace: Duration
    overlap: Literal["allow", "skip", "queue", "replace"]
    jitter: Duration
    start: datetime | None
    end: datetime | None


JOB = JobOptions.__optional_keys__
SCHEDULE = JOB | {"interval"}
CRON = AnyOptions.__optional_keys__ - {"interval"}
ANY = AnyOptions.__optional_keys__

TAKEN_BY = {"queue": JOB, "schedule": SCHEDULE, "cron": CRON}
"""The options of each of the three."""

_ELSEWHERE = {
    "job_timeout": "timeout",
    "queue_name": "queue",
    "use_local_timezone": "timezone",
    "id": "job_id",
}
"""What RQ and rq-scheduler call an option in other places."""
_ALIKE = 0.8


def meant_option(word: str, names: Iterable[str] = ANY) -> str | None:
    """Return the option that somebody may have meant by ``word``, None if it resembles none."""
    known = set(names)
    if word in _ELSEWHERE and _ELSEWHERE[word] in known:
        return _ELSEWHERE[word]
    return next(iter(get_close_matches(word, known, 1, _ALIKE)), None)


def split_options(
    kwargs: Mapping[str, Any], names: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part keywords into options and the job's own arguments."""
    known = set(names)
    options = {name: value for name, value in kwargs.items() if name in known}
    return options, {name: value for name, value in kwargs.items() if name not in known}


def checked_options(options: Mapping[str, Any], names: Iterable[str] = ANY) -> Mapping[str, Any]:
    """Return options, to be kept, if each is one and can be meant; what depends on the call they are for is checked there.

    Raises:
        InvalidOption: the message names the option, and the one that may have been meant.
    """
    for name in options.keys() - set(names):
        meant = meant_option(name, names)
        hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(sorted(names))}"
        raise InvalidOption(f"unknown option {name!r}; {hint}")
    kept = {name: lasting(value) for name, value in options.items()}
    words = enqueue_options(kept)
    if "unique" in words:
        words.setdefault("job_id", "-")  # it will be given with the call
    EnqueueOptions.checked(**words)
    return kept


def lasting(value: Any) -> Any:
    """Return a value that can be read for every call: an iterator, which is used up by the first look at it, as a list."""
    return list(value) if isinstance(value, Iterator) else value


def enqueue_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in the words of ``Queue.enqueue``; what is None is left to its defaults."""
    renamed = {"timeout": "job_timeout"}
    return {
        renamed.get(name, name): value
        for name, value in options.items()
        if value is not None and name in JOB and name not in ("queue", "connection")
    }


_NOT_RECURRING = {
    "unique": "each run has an id of its own; overlap='skip' leaves out one while that before it is not done",
    "durable": "it is about an enqueueing, and what recurs is enqueued by workers; min-replicas-to-write holds for all writes",
    "depends_on": "it would hold for each run; have the last of those jobs enqueue this one, or schedule it once",
}


def refuse_for_recurring(options: Mapping[str, Any]) -> None:
    """Refuse options that make sense for one job and not for a row of them.

    Raises:
        InvalidOption: the message says what to do instead.
    """
    for name, reason in _NOT_RECURRING.items():
        if options.get(name):
            raise InvalidOption(f"{name}: no option of what recurs: {reason}")


def scheduler_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in the words of ``Scheduler.schedule``."""
    told = enqueue_options(options)
    if not told.get("unique"):
        told.pop("unique", None)
    renamed = {"job_timeout": "timeout", "job_id": "id"}
    if options.get("interval") is not None:
        told["interval"] = options["interval"]
    return {renamed.get(name, name): value for name, value in told.items()}


def cron_options(options: Mapping[str, Any], zone: str) -> dict[str, Any]:
    """Return options in the words of ``Scheduler.cron``; ``zone`` is that of times which name none."""
    told = scheduler_options(options)
    for name in CRON - JOB:
        value = options.get(name)
        if value is not None:
            told[name] = in_zone(value, zone)
    told.setdefault("timezone", zone)
    told.pop("durable", None)  # refused where it asks for something
    return told
