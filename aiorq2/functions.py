"""What the function of a job can do beside being called, ``queue``, ``schedule`` and ``cron``, and its options by default."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, Unpack, overload

from aiorq2.call_check import CallCheck
from aiorq2.cron_jobs import CronJob
from aiorq2.cron_spec import CronSpec
from aiorq2.errors import InvalidOption
from aiorq2.job import Job
from aiorq2.job_options import (
    ANY,
    CRON,
    JOB,
    TAKEN_BY,
    AnyOptions,
    checked_options,
    cron_options,
    enqueue_options,
    lasting,
    refuse_for_recurring,
    scheduler_options,
    split_options,
)
from aiorq2.terms import Repeat, as_repeat
from aiorq2.timing import Duration

if TYPE_CHECKING:
    from aiorq2.queue import Queue
    from aiorq2.scheduler import Scheduler
    from aiorq2.settings import Settings

V = TypeVar("V")


class Hub(Protocol):
    """What is needed of an ``RQ``."""

    def settings(self) -> Settings: ...
    def get_queue(self, name: str | None = None, connection: str | None = None) -> Queue: ...
    def get_scheduler(
        self,
        interval: Duration | None = None,
        queue: str | None = None,
        connection: str | None = None,
    ) -> Scheduler: ...


class Default(Generic[V]):
    """A default of one job that can be read and set at any time; None is "nothing said"."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, helper: None, owner: type) -> Self: ...
    @overload
    def __get__(self, helper: JobFunctions, owner: type) -> V | None: ...
    def __get__(self, helper: JobFunctions | None, owner: type) -> Any:
        return self if helper is None else helper.defaults.get(self._name)

    def __set__(self, helper: JobFunctions, value: V | None) -> None:
        helper.defaults[self._name] = lasting(value)


class JobFunctions:
    """The methods that a job's function has got, and its options: Flask-RQ2's ``add.helper``.

    An option of a call beats what was set here, which beats what the decorator said; then come ``rq.default_queue``,
    ``rq.default_timeout`` and ``rq.default_result_ttl``, as they are at the moment of the call.

    >>> add.helper.timeout = 60
    """

    functions: tuple[str, ...] = ("queue", "schedule", "cron", "options")
    """What of this the function gets."""

    ttl = Default[Duration]()
    failure_ttl = Default[Duration]()
    depends_on = Default[Any]()
    at_front = Default[bool]()
    meta = Default[dict[str, Any]]()
    description = Default[str]()
    connection = Default[str]()
    job_id = Default[str]()
    retry = Default[Any]()
    repeat = Default[Any]()
    on_success = Default[Any]()
    on_failure = Default[Any]()
    on_stopped = Default[Any]()
    unique = Default[Any]()
    rate_limit = Default[Any]()
    webhooks = Default[Any]()
    offload = Default[Any]()
    redeliver = Default[bool]()
    durable = Default[Any]()
    on_parent_failure = Default[Any]()

    def __init__(self, rq: Hub, wrapped: Callable[..., Any], options: Mapping[str, Any]) -> None:
        self.rq = rq
        self.wrapped = wrapped
        self.defaults: dict[str, Any] = dict(checked_options(options, JOB))
        if self.defaults.get("repeat") is not None:  # of each job, after its success
            self.defaults["repeat"] = as_repeat(self.defaults["repeat"])
        self._check = CallCheck(wrapped)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def name(self) -> str:
        """The dotted name of the function."""
        return self._check.name

    @property
    def queue_name(self) -> str:
        """The queue that calls go to."""
        return self.defaults.get("queue") or self.rq.settings().default_queue

    @queue_name.setter
    def queue_name(self, name: str | None) -> None:
        self.defaults["queue"] = name

    @property
    def timeout(self) -> Duration:
        """How long a run may take."""
        return _or(self.defaults.get("timeout"), self.rq.settings().default_timeout)

    @timeout.setter
    def timeout(self, timeout: Duration | None) -> None:
        self.defaults["timeout"] = timeout

    @property
    def result_ttl(self) -> Duration:
        """How long results are kept; 0 is not at all."""
        return _or(self.defaults.get("result_ttl"), self.rq.settings().default_result_ttl)

    @result_ttl.setter
    def result_ttl(self, result_ttl: Duration | None) -> None:
        self.defaults["result_ttl"] = result_ttl

    # -- what the function gets ------------------------------------------------------------------------------------------

    async def queue(self, /, *args: Any, **kwargs: Any) -> Job:
        """Enqueue a call of the function. Keywords that are options (Flask-RQ2's, and ours) say how; the rest is the function's.

        Raises:
            InvalidArguments: they do not fit the function, or look like an option and are none.
            InvalidOption, SerializationError …: as ``Queue.enqueue``.

        Redis: 1 call, shared with concurrent callers.
        """
        return await Preset(self, {}).enqueue(*self._split("queue", args, kwargs))

    async def schedule(
        self, when: datetime | Duration, /, *args: Any, **kwargs: Any
    ) -> Job | CronJob:
        """Enqueue a call at a point in time (a naive ``datetime`` is UTC) or after a ``timedelta`` (or seconds); options as for
        ``queue``. With ``repeat=n`` it is enqueued n more times, each ``interval`` after the one before (by default the
        ``timedelta``); with ``interval`` alone, for ever. What recurs is a ``CronJob``, whose id is ``job_id``.

        Raises:
            InvalidOption: ``repeat`` with a ``datetime`` and no ``interval``; and as ``queue``.

        Redis: 1 call; 3 for what recurs.
        """
        return await Preset(self, {}).enqueue_later(when, *self._split("schedule", args, kwargs))

    async def cron(self, pattern: str, name: str, /, *args: Any, **kwargs: Any) -> CronJob:
        """Enqueue a call whenever the pattern says so: ``"0 0 12 * * ?"`` is every day at noon, UTC. Declared again under the
        same name, the entry is replaced. Options as for ``queue``, as far as they make sense for what recurs; ``repeat=n`` is n
        runs in all.

        Raises:
            InvalidCronPattern: the pattern cannot be meant; and as ``queue``.

        Redis: 3 calls.
        """
        return await Preset(self, {}).enqueue_often(
            pattern, name, *self._split("cron", args, kwargs)
        )

    def options(self, **options: Unpack[AnyOptions]) -> Preset:
        """Return a copy of the job with these options, whose keywords are all the job's own: for arguments that are called like
        an option, and for type checkers."""
        return self.preset(options)

    def preset(self, options: Mapping[str, Any]) -> Preset:
        """Return the function with options that a call of it goes with."""
        return Preset(self, checked_options(options))

    def check_call(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Collection[str]
    ) -> None:
        """Refuse arguments that the function does not take."""
        self._check.fits(args, kwargs, options)

    def _split(
        self, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        options, own = split_options(kwargs, TAKEN_BY[verb])
        self._check.resembles_no_option(own, verb, TAKEN_BY[verb])
        return args, own, options


class Preset:
    """A job's function with some options; what ``add.options(…)`` returns."""

    def __init__(self, helper: JobFunctions, options: Mapping[str, Any]) -> None:
        self._helper = helper
        self._options = dict(options)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in sorted(self._options.items()))
        return f"<{self._helper.name} with {shown}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, here and now."""
        return self._helper.wrapped(*args, **kwargs)

    async def queue(self, /, *args: Any, **kwargs: Any) -> Job:
        """As ``add.queue``."""
        return await self.enqueue(args, kwargs, {})

    async def schedule(
        self, when: datetime | Duration, /, *args: Any, **kwargs: Any
    ) -> Job | CronJob:
        """As ``add.schedule``."""
        return await self.enqueue_later(when, args, kwargs, {})

    async def cron(self, pattern: str, name: str, /, *args: Any, **kwargs: Any) -> CronJob:
        """As ``add.cron``."""
        return await self.enqueue_often(pattern, name, args, kwargs, {})

    def options(self, **options: Unpack[AnyOptions]) -> Preset:
        """Return a copy with further options."""
        return self._helper.preset({**self._options, **options})

    # -- with everything apart -------------------------------------------------------------------------------------------

    async def enqueue(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]
    ) -> Job:
        """Enqueue a call."""
        options = self._all("queue", args, kwargs, options)
        return await self._queue(options).enqueue_call(
            self._helper.wrapped, args, kwargs, **enqueue_options(options)
        )

    async def enqueue_later(
        self,
        when: datetime | Duration,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Mapping[str, Any],
    ) -> Job | CronJob:
        """Enqueue a call at its time, once or several times."""
        options = self._all("schedule", args, kwargs, options)
        told = scheduler_options(options)
        if isinstance(told.get("repeat"), Repeat):  # RQ's: after each success, a job of its own
            return await self._enqueue_at(when, args, kwargs, options)
        if told.keys() & {"repeat", "interval"}:
            refuse_for_recurring(options)
            told.pop("durable", None)  # none of it, then
        made: Job | CronJob = await self._scheduler(options).schedule(
            when, self._helper.wrapped, args, kwargs, **told
        )
        return made

    async def enqueue_often(
        self,
        pattern: str,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Mapping[str, Any],
    ) -> CronJob:
        """Enqueue a call whenever a pattern says so."""
        options = self._all("cron", args, kwargs, options)
        zone = self._helper.rq.settings().timezone
        return await self._scheduler(options).cron(
            pattern, self._helper.wrapped, args, kwargs, name=name, **cron_options(options, zone)
        )

    def cron_spec(
        self,
        pattern: str,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> CronSpec:
        """Return the recurring entry that a call of ``cron`` with these arguments makes."""
        options = self._all("cron", args, kwargs, checked_options(options, CRON))
        told = cron_options(options, self._helper.rq.settings().timezone)
        return CronSpec.of(
            name,
            self._helper.wrapped,
            args,
            kwargs,
            pattern=pattern,
            queue=options["queue"],
            **told,
        )

    async def _enqueue_at(
        self,
        when: datetime | Duration,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Mapping[str, Any],
    ) -> Job:
        call = {"args": args, "kwargs": kwargs, **enqueue_options(options)}
        queue = self._queue(options)
        if isinstance(when, datetime):
            return await queue.enqueue_at(when, self._helper.wrapped, **call)
        return await queue.enqueue_in(when, self._helper.wrapped, **call)

    def _scheduler(self, options: Mapping[str, Any]) -> Scheduler:
        return self._helper.rq.get_scheduler(
            queue=options["queue"], connection=options["connection"]
        )

    def _queue(self, options: Mapping[str, Any]) -> Queue:
        return self._helper.rq.get_queue(options["queue"], options["connection"])

    def _all(
        self,
        verb: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return every option of this call, the most particular word on each."""
        stray = self._options.keys() - TAKEN_BY[verb]
        if stray:
            raise InvalidOption(f"{self._helper.name}: {verb} has no option {sorted(stray)[0]!r}")
        self._helper.check_call(args, kwargs, options)
        helper, settings = self._helper, self._helper.rq.settings()
        told = {**dict.fromkeys(ANY), **helper.defaults, **self._options, **options}
        if verb == "cron":
            refuse_for_recurring(told)
        told["queue"] = told["queue"] or settings.default_queue
        told["timeout"] = _or(told["timeout"], settings.default_timeout)
        told["result_ttl"] = _or(told["result_ttl"], settings.default_result_ttl)
        return told


def _or(value: Duration | None, default: Duration) -> Duration:
    return default if value is None else value
