"""``RQ``: jobs, queues, workers and schedulers of one program in one place. It needs no framework; frameworks derive from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack, overload

from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.shards import Shards
from aiorq2.backends.shared import SharedClient
from aiorq2.connections import DEFAULT, Connections
from aiorq2.cron_sync import Synced
from aiorq2.declared import Declarations, DeclaredCron, maker
from aiorq2.decorated import Decorator, JobFunction
from aiorq2.decorating import decorate
from aiorq2.errors import InvalidOption
from aiorq2.executor import JobContext
from aiorq2.functions import JobFunctions
from aiorq2.hooks import Hooks
from aiorq2.job import Job
from aiorq2.job_options import CRON, JOB, AnyOptions, MoreOptions, checked_options
from aiorq2.queue import Queue
from aiorq2.runs import ExceptionHandler
from aiorq2.scheduler import Scheduler
from aiorq2.settings import Configurable, HubOptions, Settings, load_class
from aiorq2.sharded import ShardedScheduler, ShardedWorker
from aiorq2.timing import Duration
from aiorq2.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
W = TypeVar("W")
Around = Callable[[W], AbstractAsyncContextManager[None]]
"""What is done around the work of a worker."""


@dataclass(frozen=True)
class State:
    """What an ``RQ`` has made so far for one configuration; whoever serves several applications has one for each."""

    connections: Connections = field(default_factory=Connections)
    queues: dict[tuple[str, str | None], tuple[Settings, Queue]] = field(default_factory=dict)


class RQ(Configurable):
    """Jobs, queues, workers and schedulers of one program. The names and defaults are Flask-RQ2's.

    Every setting is an attribute: of a subclass, of the object, or given here by keyword. They are read when they are needed,
    so that they may be set at any time. Making an ``RQ`` touches no network, and there can be several.

    Args:
        url: where Redis is: ``redis://…``, ``memory://name``, a ``redis.asyncio.Redis`` or what ``connect()`` returned.
        options: any of the attributes of ``Configurable``.

    >>> rq = RQ("redis://localhost:6379/0")
    >>> @rq.job("low", timeout=60)
    ... def add(x: int, y: int) -> int:
    ...     return x + y
    >>> job = await add.queue(1, 2)
    """

    def __init__(self, url: Any = None, **options: Unpack[HubOptions]) -> None:
        if url is not None:
            self.redis_url = url
        self._set(options)
        self.name = self.name or maker()
        self.jobs: dict[str, Callable[..., Any]] = {}
        """The functions that are jobs here, by their dotted names."""
        self.exception_handlers: list[ExceptionHandler] = []
        """What workers call for every run that fails."""
        self._functions: dict[str, JobFunctions] = {}
        self._declarations = Declarations()
        self._hooks = Hooks()
        self._state = State()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} with {len(self.jobs)} jobs>"

    # -- what a subclass for a framework replaces, beside ``settings`` ---------------------------------------------------

    def state(self) -> State:
        """Return what has been made so far."""
        return self._state

    def job_context(self) -> JobContext | None:
        """Return what jobs are called in, as ``Worker`` takes it; None for nothing."""
        return None

    def class_of_functions(self) -> str | type:
        """Return the class of the methods that a function gets which becomes a job now."""
        return self.functions_class

    def carry(self) -> dict[str, Any]:
        """Return what goes into the meta of a job that is enqueued now."""
        return {}

    @asynccontextmanager
    async def surround(self, worker: Worker | ShardedWorker) -> AsyncIterator[None]:
        """Do what is to be done around the work of a worker."""
        async with self._hooks.around(worker):
            if isinstance(worker, Worker):
                await self._sync_where(worker.backend, worker.working_backend)
            yield

    def bound(self, lifespan: Around[W]) -> Around[W]:
        """Return what is to be done around the work of a worker that is made now; nothing of this context is seen then."""
        return lifespan

    @asynccontextmanager
    async def _synced_shard(self, worker: Worker) -> AsyncIterator[None]:
        """Do what is to be done for each shard that a worker serves: one that is away is waited for, and not by the others."""
        await self._sync_where(worker.backend, worker.working_backend)
        yield

    def pin(self, app: Any) -> None:
        """Be told which of a framework's applications this process is for."""

    def serve_jobs_only(self) -> None:
        """Be told that this process is there for its jobs, not for what else the program does."""

    # -- connections -----------------------------------------------------------------------------------------------------

    @property
    def backend(self) -> RedisBackend:
        """Where jobs live. Nothing is sent by asking.

        Raises:
            NotConfigured: nobody has said where Redis is.
            InvalidOption: there are several shards: see ``get_shards``.
        """
        return self.get_backend()

    @property
    def connection(self) -> SharedClient:
        """A ``redis.asyncio.Redis`` for commands of one's own. ``async with rq.connection:`` closes nothing at its end. Under
        sentinels it follows the master; in a cluster it reaches the node that has the keys of this ``RQ``.

        Raises:
            NotConfigured: nobody has said where Redis is.
            InvalidOption: there are several shards: see ``get_shards``.
        """
        return self.get_connection()

    def get_backend(self, connection: str | None = None) -> RedisBackend:
        """Return the backend of a connection."""
        return self.state().connections.backend(self.settings(), connection)

    def get_connection(self, connection: str | None = None) -> SharedClient:
        """Return a client for a connection."""
        return self.state().connections.client(self.settings(), connection)

    def get_shards(self, connection: str | None = None) -> Shards | None:
        """Return the shards of a connection, None if it leads to one backend."""
        home = self._home(connection)
        return home if isinstance(home, Shards) else None

    def _home(self, connection: str | None) -> RedisBackend | Shards:
        return self.state().connections.home(self.settings(), connection)

    async def __aenter__(self) -> Self:
        """See to it that Redis answers. Redis: 1 call per connection."""
        await self.state().connections.open(self.settings())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections of the running loop; the next use opens them again."""
        await self.state().connections.close()

    # -- jobs ------------------------------------------------------------------------------------------------------------

    @overload
    def job(self, func: Callable[P, R], /) -> JobFunction[P, R]: ...
    @overload
    def job(
        self,
        queue: str | None = None,
        /,
        timeout: Duration | None = None,
        result_ttl: Duration | None = None,
        ttl: Duration | None = None,
        depends_on: Any = None,
        at_front: bool | None = None,
        meta: dict[str, Any] | None = None,
        description: str | None = None,
        **options: Unpack[MoreOptions],
    ) -> Decorator: ...
    def job(
        self,
        func_or_queue: Any = None,
        /,
        timeout: Duration | None = None,
        result_ttl: Duration | None = None,
        ttl: Duration | None = None,
        depends_on: Any = None,
        at_front: bool | None = None,
        meta: dict[str, Any] | None = None,
        description: str | None = None,
        **options: Any,
    ) -> Any:
        """Make a function a job: ``@rq.job``, ``@rq.job()``, ``@rq.job("low", timeout=60)``.

        The function stays the very same object and can be called as before; it gets ``queue``, ``schedule``, ``cron``,
        ``options`` and ``helper``.

        Raises:
            InvalidFunction: it is no function, or needs an instance to be called.
            InvalidOption: an option that is none, or cannot be meant.
        """
        told = {
            "timeout": timeout,
            "result_ttl": result_ttl,
            "ttl": ttl,
            "depends_on": depends_on,
            "at_front": at_front,
            "meta": meta,
            "description": description,
            **options,
        }
        if func_or_queue is None or isinstance(func_or_queue, str):
            if func_or_queue and "queue" in options:
                raise InvalidOption(f"job({func_or_queue!r}, queue=…): name one queue")
            if func_or_queue:
                told["queue"] = func_or_queue
            kept = checked_options(told, JOB)
            return lambda func: self._job_of(func, kept)
        return self._job_of(func_or_queue, told)

    def _job_of(self, given: Any, options: Mapping[str, Any]) -> Any:
        self._made_job(given, options)
        return given

    def _made_job(self, given: Any, options: Mapping[str, Any]) -> JobFunctions:
        functions_class = load_class(self.class_of_functions(), JobFunctions, "functions_class")
        helper = decorate(given, lambda func: functions_class(self, func, options))
        self.jobs[helper.name] = helper.wrapped
        self._functions[helper.name] = helper
        return helper

    def _helper_of(self, given: Any) -> JobFunctions:
        """Return the methods that a function has here; if it has none, it becomes a job."""
        func = getattr(given, "__func__", given)  # of a static method
        known = next((one for one in self._functions.values() if one.wrapped is func), None)
        return known or self._made_job(given, {})

    def cron(
        self,
        pattern: str,
        name: str | None = None,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[AnyOptions],
    ) -> Decorator:
        """Have a function called whenever the pattern says so: ``@rq.cron("0 0 12 * * ?")``. It becomes a job if it is none yet.

        The entries are written when a worker or a scheduler of this ``RQ`` starts, and those that are declared no more are removed.

        Args:
            name: of the entry; by default the dotted name of the function.
            args: what the function is called with.
            kwargs: what it is called with besides.
            options: of the job, and of a recurring entry.

        Raises:
            InvalidCronPattern: the pattern cannot be meant.
            InvalidOption: something else cannot, or the name is taken.
        """

        kept = checked_options(options, CRON)

        def declare(given: Any) -> Any:
            helper = self._helper_of(given)
            entry = DeclaredCron(
                name or helper.name,
                pattern,
                helper.wrapped,
                tuple(args),
                dict(kwargs or {}),
                kept,
            )
            self._declarations.add(entry, helper)
            return given

        return declare

    @property
    def crons(self) -> Mapping[str, DeclaredCron]:
        """The entries that are declared here, by name."""
        return MappingProxyType(self._declarations.entries)

    def exception_handler(self, handler: F) -> F:
        """Have workers call a function for every run that fails: ``handler(job, exc_type, exc, traceback)``, plain or a
        coroutine function."""
        self.exception_handlers.append(handler)
        return handler

    def on_startup(self, hook: F) -> F:
        """Have workers call a function, plain or a coroutine function, before their first job. It may take the worker. If it
        raises, the worker does not start."""
        self._hooks.on_startup(hook)
        return hook

    def on_shutdown(self, hook: F) -> F:
        """Have workers call a function, plain or a coroutine function, after their last job. It may take the worker."""
        self._hooks.on_shutdown(hook)
        return hook

    def lifespan(self, make: F) -> F:
        """Have workers open what an ``async def`` function with one ``yield`` opens, or an asynchronous context manager that a
        function returns, before their first job, and close it after the last. It may take the worker."""
        self._hooks.lifespan(make)
        return make

    # -- queues, workers, schedulers -------------------------------------------------------------------------------------

    def get_queue(self, name: str | None = None, connection: str | None = None) -> Queue:
        """Return the queue of this name, or the default one; for the same name, the same object."""
        settings, state = self.settings(), self.state()
        key = name or settings.default_queue, None if connection == DEFAULT else connection
        known = state.queues.get(key)
        home = state.connections.home(settings, connection)
        backend = home.of(key[0]) if isinstance(home, Shards) else home
        if known is not None and known[0] == settings and known[1].backend is backend:
            return known[1]
        queue = load_class(settings.queue_class, Queue, "queue_class")(
            key[0],
            home,
            default_timeout=settings.default_timeout,
            is_async=settings.is_async,
            serializer=settings.serializer,
            results=settings.results,
            timezone=settings.timezone,
            job_class=load_class(settings.job_class, Job, "job_class"),
            job_context=self.job_context(),
            carry=None if type(self).carry is RQ.carry else self.carry,
        )
        state.queues[key] = settings, queue
        return queue

    def get_worker(
        self, *queues: str, connection: str | None = None, **options: Any
    ) -> Worker | ShardedWorker:
        """Return a worker for these queues, or for ``rq.queues``; where they live in shards, one that serves all of these.
        ``options`` as for ``Worker``."""
        if "queues" in options:
            raise InvalidOption("get_worker(queues=…): list the names: get_worker('high', 'low')")
        settings, home = self.settings(), self._home(connection)
        worker_class = load_class(settings.worker_class, Worker, "worker_class")
        told = {
            "default_result_ttl": settings.default_result_ttl,
            "exception_handlers": list(self.exception_handlers),
            "serializer": settings.serializer,
            "job_class": load_class(settings.job_class, Job, "job_class"),
            "job_context": self.job_context(),
            "lifespan": self.bound(self.surround),
        }
        names = queues or settings.queues
        if isinstance(home, Shards):
            each = self.bound(self._synced_shard)
            sharded = {"worker_class": worker_class, "shard_lifespan": each}
            return ShardedWorker(names, home, **{**told, **sharded, **options})
        return worker_class(names, home, **{**told, **options})

    def get_scheduler(
        self,
        interval: Duration | None = None,
        queue: str | None = None,
        connection: str | None = None,
    ) -> Scheduler:
        """Return a scheduler for this queue, or for ``rq.scheduler_queue``, that looks every ``interval`` seconds, or every
        ``rq.scheduler_interval``. Of several shards, it is for the one in which the queue lives; ``get_schedulers`` is for all."""
        return self._prepared_scheduler(interval, queue, connection)

    def get_schedulers(
        self, interval: Duration | None = None, connection: str | None = None
    ) -> ShardedScheduler:
        """Return what looks after all shards of a connection, as ``get_scheduler`` does after one.

        Raises:
            InvalidOption: there is only one backend.
        """
        shards = self.get_shards(connection)
        if shards is None:
            raise InvalidOption("get_schedulers: there are no shards; use get_scheduler")
        each = [
            self._prepared_scheduler(interval, None, connection, backend, handle_signals=False)
            for backend in shards
        ]
        return ShardedScheduler(shards, each)

    def _prepared_scheduler(
        self,
        interval: Duration | None,
        queue: str | None,
        connection: str | None,
        backend: RedisBackend | None = None,
        **options: Any,
    ) -> Scheduler:
        async def prepare(way: RedisBackend) -> None:
            await self._sync_where(scheduler.backend, way)

        scheduler = self._scheduler(
            interval, queue, connection, backend, prepare=prepare, **options
        )
        return scheduler

    def _scheduler(
        self,
        interval: Duration | None,
        queue: str | None,
        connection: str | None,
        backend: RedisBackend | None = None,
        **options: Any,
    ) -> Scheduler:
        settings = self.settings()
        return load_class(settings.scheduler_class, Scheduler, "scheduler_class")(
            self.get_queue(queue or settings.scheduler_queue, connection),
            settings.scheduler_interval if interval is None else interval,
            backend,
            **options,
        )

    async def sync_crons(
        self,
        connection: str | None = None,
        backend: RedisBackend | None = None,
        *,
        dry_run: bool = False,
    ) -> Synced:
        """Have Redis hold the cron entries that are declared here, and none that were declared here once and are no more; what a
        worker and a scheduler do when they start.

        An entry whose module this process has not imported is not taken for one that is gone: the module is imported for it.

        Args:
            connection: the Redis that is meant.
            backend: what it is reached with, by default that of the connection.
            dry_run: write nothing, and return what would be done.

        Raises:
            InvalidJobOperation: another program declares an entry of this name.

        Redis: as ``Scheduler.sync``, and 1 call and 1 pipeline per 200 entries; where there are shards, for each of them.
        """
        shards = self.get_shards(connection) if backend is None else None
        done = [
            await self._declarations.sync(
                self._scheduler(None, None, connection, one),
                self._functions,
                connection or DEFAULT,
                source=self.name,
                version=self.version,
                dry_run=dry_run,
            )
            for one in shards or [backend]
        ]
        return Synced.of(done)

    async def _sync_where(self, meant: RedisBackend, way: RedisBackend) -> None:
        """Sync the cron entries of the connections that lead to a backend, by way of another one that leads there."""
        for name in dict.fromkeys([DEFAULT, *self.settings().connections]):
            home = self._home(name)
            if meant in (home if isinstance(home, Shards) else [home]):
                await self.sync_crons(name, way)
