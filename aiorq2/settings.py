"""What an ``RQ`` is set to, as one value; and the classes that some of it names."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from typing import Any, ClassVar, TypedDict, TypeVar

from aiorq2.errors import ClassNotFound, InvalidOption
from aiorq2.options import DEFAULT_RESULT_TTL, DEFAULT_TIMEOUT, ResultStore
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
    shards: int | None
    serializer: Any
    results: ResultStore
    timezone: str
    queue_class: str | type
    worker_class: str | type
    job_class: str | type
    scheduler_class: str | type
    scheduler_queue: str
    scheduler_interval: Duration
    functions_class: str | type
    name: str
    version: float | None


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
    shards: int | None
    serializer: Any
    results: ResultStore
    timezone: str
    queue_class: str | type
    worker_class: str | type
    job_class: str | type
    scheduler_class: str | type
    scheduler_queue: str
    scheduler_interval: Duration
    functions_class: str | type
    name: str
    not_configured: str
    """What is said where an address is needed and there is none."""


class Configurable:
    """What an ``RQ`` can be told: the names and defaults are Flask-RQ2's, as far as it has them.

    Every setting is an attribute, of a subclass or of the object, and is read when it is needed.
    """

    redis_url: Any = None
    """Where Redis is."""
    connection_class: str | type = "redis.asyncio.Redis"
    """The class of the client: Redis, or one of fakeredis', which means an in-memory Redis."""
    connections: Mapping[str, Any] = {}
    """Further connections by name: a URL, or its parts as a dict."""
    key_prefix: str | None = None
    """What every key in Redis begins with."""
    shards: int | None = None
    """Over how many namespaces the queues of ``redis_url`` are spread; None: one, that of ``key_prefix``."""
    default_queue: str = "default"
    """The queue of jobs that name none."""
    default_timeout: Duration = DEFAULT_TIMEOUT
    """Seconds (or a duration) that a run may take."""
    default_result_ttl: Duration = DEFAULT_RESULT_TTL
    """Seconds (or a duration) for which results are kept; -1 for ever."""
    is_async: bool = True
    """False: jobs run at once, where they are enqueued."""
    queues: Sequence[str] = ("default",)
    """The queues of workers that name none."""
    serializer: Any = None
    """How arguments and results become bytes; as for ``Queue``."""
    results: ResultStore = "hash"
    """Where results are kept; as for ``Queue``."""
    timezone: str = "UTC"
    """The zone of naive datetimes, and of cron patterns that name none."""
    queue_class: str | type = "aiorq2.queue.Queue"
    worker_class: str | type = "aiorq2.worker.Worker"
    job_class: str | type = "aiorq2.job.Job"
    functions_class: str | type = "aiorq2.functions.JobFunctions"
    scheduler_class: str | type = "aiorq2.scheduler.Scheduler"
    scheduler_queue: str = "default"
    """The queue of a scheduler that names none."""
    scheduler_interval: Duration = 60
    """Seconds between two looks of a scheduler."""
    name: str = ""
    """Whose the cron entries are that are declared here; by default the module in which the ``RQ`` is made."""
    version: float | None = None
    """Of the code that declares them, a number that grows: where a newer one has spoken, an older one changes nothing."""

    not_configured: ClassVar[str] = (
        "RQ is not ready yet to connect to Redis: give RQ(url=…), set rq.redis_url, or one of AIORQ2_URL, RQ_REDIS_URL and"
        " REDIS_URL in the environment"
    )
    """What is said where an address is needed and there is none."""

    def settings(self) -> Settings:
        """Return the settings as they are now."""
        return Settings(*_read(self))

    def _set(self, options: Mapping[str, Any]) -> None:
        """Set the attributes that were given by keyword; None leaves one as it is."""
        for name, value in options.items():
            if name == "async":
                warnings.warn(
                    "RQ(async=…) is deprecated, for it is a keyword of Python; use is_async=…",
                    DeprecationWarning,
                    stacklevel=3,
                )
                name = "is_async"
            if name not in HubOptions.__optional_keys__:
                known = ", ".join(sorted(HubOptions.__optional_keys__))
                raise InvalidOption(f"RQ has no option {name!r}; there are {known}")
            if value is not None:
                setattr(self, name, value)


_read = attrgetter(*Settings.__dataclass_fields__)

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
