"""RQ's arguments that are left out: each is refused with what to use in its place, or why there is no need of it."""

from __future__ import annotations

from collections.abc import Mapping

from aiorq2.errors import InvalidOption

_LOGGING = "the library does not configure logging: set up the logger 'aiorq2', or run `aiorq2 worker --log-level`"
_CLASSES = "what is handed out are `Job` and `Queue`; a `Queue` and a `Worker` take a `job_class`"
_TIME_LIMITS = (
    "there is one way to end a run: `job_timeout` at the job, `default_timeout` at the queue"
)

QUEUE: Mapping[str, str] = {
    "death_penalty_class": _TIME_LIMITS,
    "async": "it is called `is_async`",
}
REGISTRY: Mapping[str, str] = {"job_class": _CLASSES, "death_penalty_class": _TIME_LIMITS}
WORKER: Mapping[str, str] = {
    "queue_class": _CLASSES,
    "worker_ttl": "how soon others take over the jobs of a dead worker is `lease` (seconds)",
    "default_worker_ttl": "how soon others take over the jobs of a dead worker is `lease` (seconds)",
    "job_monitoring_interval": "a heartbeat is sent every quarter of a `lease`",
    "maintenance_interval": "workers look after dead leases all the time, and after the rest about once a minute",
    "log_job_description": "the ends of jobs are logged at level INFO, with their ids only: see the logger 'aiorq2.worker'",
    "disable_default_exception_handler": "what a job raises is recorded in any case; `exception_handlers` come after that",
    "prepare_for_work": "a worker announces itself in `work()`, and making one touches no network",
    "work_horse_killed_handler": "there is no work horse; a job in a process of its own (`offload='process'`) that dies fails, "
    "which `exception_handlers` and `on_failure` hear",
}
WORK: Mapping[str, str] = {
    "logging_level": _LOGGING,
    "date_format": _LOGGING,
    "log_format": _LOGGING,
}


def refuse(what: str, given: Mapping[str, object], words: Mapping[str, str]) -> None:
    """Return if nothing is given that is left out.

    Raises:
        InvalidOption: one of RQ's arguments; the message says what to use instead.
        TypeError: an argument that nobody knows.
    """
    for name in given:
        if name not in words:
            raise TypeError(f"{what}() got an unexpected keyword argument {name!r}")
        raise InvalidOption(f"{what}({name}=…) is left out: {words[name]}")
