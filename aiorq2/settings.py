"""What an ``RQ`` is set to, as one value; and the classes that some of it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypedDict, TypeVar

from aiorq2.errors import ClassNotFound, InvalidOption
from aiorq2.options import ResultStore
from aiorq2.timing import Duration

T = TypeVar("T")


class HubOptions(TypedDict, total=False):
    """What ``RQ(…)`` takes by keyword, each the attribute of that name."""

    default_queue: str
    default_timeout: Duration | None
    default_result_ttl: Duration | None
    is_async: bool | None
    queues: Sequence[str]
    connections: Mapping[str, Any]
    connection_class: str | type
    key_prefix: str | None
    serializer: Any
    results: ResultStore
    timezone: str
    queue_class: str | type
    worker_class: str | type
    job_class: str | type
    scheduler_class: str | type
    scheduler_queue: str
    scheduler_interval: float
    functions_class: str | type
    name: str


@dataclass(frozen=True, slots=True)
class Settings:
    """The attributes of an ``RQ`` at one moment."""

    redis_url: Any
    default_queue: str
    default_timeout: Duration
    default_result_ttl: Duration
    is_async: bool
    queues: Sequence[str]
    connections: Mapping[str, Any]
    connection_class: str | type
    key_prefix: str | None
    serializer: Any
    results: ResultStore
    timezone: str
    queue_class: str | type
    worker_class: str | type
    job_class: str | type
    scheduler_class: str | type
    scheduler_queue: str
    scheduler_interval: float
    functions_class: str | type
    name: str
    not_configured: str
    """What is said where an address is needed and there is none."""


_THEIRS = {
    "rq.Queue": "aiorq2.queue.Queue",
    "rq.queue.Queue": "aiorq2.queue.Queue",
    "rq.Worker": "aiorq2.worker.Worker",
    "rq.SimpleWorker": "aiorq2.worker.Worker",
    "rq.worker.Worker": "aiorq2.worker.Worker",
    "rq.worker.SimpleWorker": "aiorq2.worker.Worker",
    "rq.job.Job": "aiorq2.job.Job",
    "flask_rq2.job.FlaskJob": "aiorq2.job.Job",
    "flask_rq2.functions.JobFunctions": "aiorq2.functions.JobFunctions",
    "flask_rq2.scheduler.FlaskScheduler": "aiorq2.scheduler.Scheduler",
    "rq_scheduler.Scheduler": "aiorq2.scheduler.Scheduler",
    "rq_scheduler.scheduler.Scheduler": "aiorq2.scheduler.Scheduler",
}
"""The classes that Flask-RQ2's documentation names, and what they are here: nobody has to change a configuration for them."""


def load_class(given: str | type, base: type[T], what: str) -> type[T]:
    """Return a class, by itself or by its dotted name.

    Args:
        given: what was configured.
        base: what it has to be, or to be derived from.
        what: the name of the setting.

    Raises:
        ClassNotFound: there is no such class.
        InvalidOption: it is something else.
    """
    found = _imported(given, what) if isinstance(given, str) else given
    if not isinstance(found, type) or not issubclass(found, base):
        ours = f"{base.__module__}.{base.__qualname__}"
        raise InvalidOption(
            f"{what}={given!r}: {ours} or a class that is derived from it is needed"
        )
    return found


def _imported(path: str, what: str) -> Any:
    module, _, name = _THEIRS.get(path, path).rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ClassNotFound(f"{what}={path!r}: {error}") from error
