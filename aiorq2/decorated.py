"""What ``@rq.job`` returns, for type checkers: the function that it was given, with ``queue``, ``schedule`` and ``cron``.

Python cannot say "these parameters and those keywords besides". So a call without options is checked against the function's own
parameters; as soon as an option is among the keywords, that option is checked and the arguments are not. Where both matter,
``add.options(queue="high").queue(1, 2)`` checks both.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    overload,
)

from aiorq2.cron_jobs import CronJob
from aiorq2.job import Job
from aiorq2.job_options import AnyOptions
from aiorq2.options import Offload, Retry
from aiorq2.terms import Callback, Durable, OnParentFailure, RateLimit, Repeat, Webhook
from aiorq2.timing import Duration

if TYPE_CHECKING:
    from aiorq2.functions import JobFunctions

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Once = TypeVar("Once", covariant=True)
Recurring = TypeVar("Recurring", covariant=True)

When = datetime | Duration
"""A point in time (a naive one is UTC), or how long from now."""
_Call = Callable[..., Any] | str


class Enqueuing(Protocol[P, Once, Recurring]):
    """Parameters ``P``, or options and any arguments; with ``repeat`` or ``interval``, what comes back may be another thing."""

    # fmt: off
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, repeat: Repeat | int, **more: Any) -> Coroutine[Any, Any, Recurring]: ...
    @overload
    def __call__(self, *args: Any, interval: Duration, **more: Any) -> Coroutine[Any, Any, Recurring]: ...
    @overload
    def __call__(self, *args: Any, queue: str | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, timeout: Duration | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, result_ttl: Duration | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, ttl: Duration | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, failure_ttl: Duration | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, depends_on: Any, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, job_id: str | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, at_front: bool, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, meta: dict[str, Any] | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, description: str | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, retry: Retry | int | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, on_success: Callback | _Call | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, on_failure: Callback | _Call | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, on_stopped: Callback | _Call | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, unique: bool | Literal["return"], **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, rate_limit: RateLimit | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, webhooks: Webhook | Iterable[Webhook] | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, offload: Offload | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, redeliver: bool, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, durable: Durable | int | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, on_parent_failure: OnParentFailure, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, connection: str | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, timezone: str | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(
        self, *args: Any, dialect: Literal["auto", "crontab", "quartz", "seconds-last"], **more: Any
    ) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, catch_up: Literal["skip", "last", "all"], **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, grace: Duration, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(
        self, *args: Any, overlap: Literal["allow", "skip", "queue", "replace"], **more: Any
    ) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, jitter: Duration, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, start: datetime | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    @overload
    def __call__(self, *args: Any, end: datetime | None, **more: Any) -> Coroutine[Any, Any, Once]: ...
    # fmt: on


class JobCall(Protocol[P, R_co]):
    """What ``add.options(…)`` returns: every keyword of its methods is the job's own."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    async def queue(self, *args: P.args, **kwargs: P.kwargs) -> Job: ...
    async def schedule(self, when: When, /, *args: P.args, **kwargs: P.kwargs) -> Job | CronJob: ...
    async def cron(
        self, pattern: str, name: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> CronJob: ...
    def options(self, **options: Unpack[AnyOptions]) -> JobCall[P, R_co]: ...


class JobFunction(Protocol[P, R_co]):
    """A function that ``@rq.job`` has made a job: still the same function, and callable as before."""

    __name__: str
    __qualname__: str
    helper: JobFunctions

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @property
    def queue(self) -> Enqueuing[P, Job, Job]:
        """Enqueue a call: ``await add.queue(1, 2, queue="high", timeout=60)``."""
        ...

    @property
    def schedule(self) -> Enqueuing[Concatenate[When, P], Job, CronJob]:
        """Enqueue a call later: ``await add.schedule(timedelta(days=14), 1, 2, repeat=1)``."""
        ...

    @property
    def cron(self) -> Enqueuing[Concatenate[str, str, P], CronJob, CronJob]:
        """Enqueue a call again and again: ``await add.cron("0 0 12 * * ?", "add-one-two", 1, 2)``."""
        ...

    def options(self, **options: Unpack[AnyOptions]) -> JobCall[P, R_co]:
        """Return a copy with these options, whose keywords are all the job's own."""
        ...


class Decorator(Protocol):
    """What ``rq.job("low", …)`` returns."""

    def __call__(self, func: Callable[P, R], /) -> JobFunction[P, R]: ...
