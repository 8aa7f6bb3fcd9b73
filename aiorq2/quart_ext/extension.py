"""``RQ`` for Quart: configured by the app, opened and closed with it, its jobs in the app's context."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar, Unpack

from quart import Quart, Response, current_app, has_app_context

from aiorq2 import hub
from aiorq2.backends import url_in_environment
from aiorq2.backends.addresses import DEFAULT_URL
from aiorq2.connections import DEFAULT
from aiorq2.errors import BackendError, InvalidOption, NotConfigured
from aiorq2.executor import JobContext
from aiorq2.hub import Around, State
from aiorq2.quart_ext.cli import add_commands
from aiorq2.quart_ext.config import KEYS, AppConfig, read_config
from aiorq2.quart_ext.embedded import EmbeddedWorker, check_options
from aiorq2.quart_ext.job import QuartJob
from aiorq2.quart_ext.running import carried, context_of
from aiorq2.quart_ext.streams import stream
from aiorq2.settings import Configurable, HubOptions, load_class
from aiorq2.sharded import ShardedWorker
from aiorq2.timing import Duration
from aiorq2.worker import Worker

log = logging.getLogger("aiorq2.quart")

W = TypeVar("W")

EXTENSION = "rq2"
"""The name in ``app.extensions``; Flask-RQ2's."""

_CONFIGURED = ("connections", *(attribute for attribute, _ in KEYS.values()))


@dataclass
class AppState:
    """What an ``RQ`` has for one application."""

    config: AppConfig
    state: State = field(default_factory=State)
    embedded: dict[asyncio.AbstractEventLoop, EmbeddedWorker] = field(default_factory=dict)


class Configured:
    """An attribute that is, in this order: what was set on the object, what the app's configuration says, the class's default."""

    def __init__(self, name: str, default: Any) -> None:
        self.name = name
        self.default = default

    def __get__(self, rq: RQ | None, owner: type) -> Any:
        if rq is None:
            return self.default
        if self.name in rq.__dict__:
            return rq.__dict__[self.name]
        return rq.app_settings().get(self.name, self.default)

    def __set__(self, rq: RQ, value: Any) -> None:
        rq.__dict__[self.name] = value


class RQ(hub.RQ):
    """Jobs, queues, workers and schedulers of a Quart application. The names, the configuration and the defaults are Flask-RQ2's.

    Args:
        app: the application; or call ``init_app`` later, for several if need be.
        default_timeout: seconds that a run may take.
        is_async: False runs jobs at once, where they are enqueued.
        options: as for ``aiorq2.RQ``; they beat the configuration.

    >>> rq = RQ(app)
    >>> @rq.job
    ... async def add(x, y):
    ...     return x + y
    >>> @app.get("/")
    ... async def index():
    ...     return (await add.queue(1, 2)).id
    """

    job_class: str | type = QuartJob
    not_configured = "RQ is not ready yet to connect to Redis. Was it initialized with a Quart app? RQ(app), or rq.init_app(app)"

    def __init__(  # type: ignore[misc]  # two of the options may also be given without a keyword, as in Flask-RQ2
        self,
        app: Quart | None = None,
        default_timeout: Duration | None = None,
        is_async: bool | None = None,
        **options: Unpack[HubOptions],
    ) -> None:
        if app is not None and not isinstance(app, Quart):
            raise InvalidOption(
                f"RQ(app): a Quart application is needed, not {type(app).__name__}"
                " (for other programs there is aiorq2.RQ(url))"
            )
        self._apps: weakref.WeakKeyDictionary[Quart, AppState] = weakref.WeakKeyDictionary()
        self._serving: weakref.WeakSet[Quart] = weakref.WeakSet()
        self._pinned: Quart | None = None
        super().__init__(None, **options)
        self._set({"default_timeout": default_timeout, "is_async": is_async})
        self._serves_apps = True
        """Whether workers of this process may live inside of the app: not those of ``quart rq worker``, which start the app."""
        if app is not None:
            self.init_app(app)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _configure(cls)

    def init_app(self, app: Quart) -> Self:
        """Serve an application: read its configuration, open and close with it, add ``quart rq`` to its commands.

        Raises:
            InvalidOption: a key of the configuration cannot be meant (its name is in the message), or the app has an ``RQ``.
        """
        if app.extensions.get(EXTENSION, self) is not self:
            raise InvalidOption("init_app: this application has an RQ already")
        is_known = app in self._apps
        self._apps[app] = AppState(self._read(app.config))
        if is_known:
            return self
        app.extensions[EXTENSION] = self

        @app.before_serving
        async def open_rq() -> None:
            await self._open(app)

        @app.after_serving
        async def close_rq() -> None:
            await self._shut(app)

        self.init_cli(app)
        return self

    def _read(self, config: Mapping[str, Any]) -> AppConfig:
        found = read_config(config, type(self).connections)
        if isinstance(found.embedded_worker, Mapping):
            said = {"worker_class": type(self).worker_class, **found.settings, **self.__dict__}
            worker_class = load_class(said["worker_class"], Worker, "worker_class")
            check_options(found.embedded_worker, worker_class)
        return found

    def init_cli(self, app: Quart) -> None:
        """Add ``quart rq …`` to the commands of the application, as ``init_app`` does."""
        add_commands(app.cli, self, self.pin)

    # -- which application -----------------------------------------------------------------------------------------------

    @property
    def app(self) -> Quart:
        """The application that is meant here and now: that of the app context, or the only one that serves, or the only one.

        Raises:
            NotConfigured: there is none, or there are several.
        """
        if self._pinned is not None:
            return self._pinned
        if has_app_context():
            app = current_app._get_current_object()  # type: ignore[attr-defined]
            if app in self._apps:
                return app  # type: ignore[no-any-return]
        for apps in (self._serving, self._apps):
            if len(apps) == 1:
                return next(iter(apps))
        if not self._apps:
            raise NotConfigured(self.not_configured)
        raise NotConfigured(
            f"RQ serves {len(self._apps)} applications: say which one with `async with app.app_context():`"
        )

    def pin(self, app: Quart) -> None:
        """Serve this application and no other in this process: a command's."""
        self._pinned = app

    def _app_state(self) -> AppState:
        return self._apps[self.app]

    def app_settings(self) -> Mapping[str, Any]:
        """Return what the configuration of the application says, by the names of attributes; nothing if there is none."""
        apps = self.__dict__.get("_apps")
        if not apps:
            return {}
        found = self._app_state().config.settings
        if "redis_url" in found or self._says_where(found):
            return found
        return {"redis_url": DEFAULT_URL, **found}

    def _says_where(self, found: Mapping[str, Any]) -> bool:
        """Whether the class, a connection of the name, or the environment says where Redis is: the usual place beats none."""
        connections = self.__dict__.get("connections", found["connections"])
        is_named = type(self).redis_url is not None or DEFAULT in connections
        return is_named or url_in_environment() is not None

    def state(self) -> State:
        """Return what has been made so far for the application."""
        return self._app_state().state

    def job_context(self) -> JobContext | None:
        """Return what the application's jobs are called in."""
        app = self.app
        return context_of(app, self._apps[app].config)

    def class_of_functions(self) -> str | type:
        """Return the class that jobs get their methods of. A function belongs to no application: where several could be meant, as
        when the second of a factory imports a module, it is that of the ``RQ``."""
        try:
            return self.functions_class
        except NotConfigured:
            return type(self).functions_class

    def carry(self) -> dict[str, Any]:
        """Return the headers of the request that go along with a job."""
        return carried(self._app_state().config)

    # -- with the application --------------------------------------------------------------------------------------------

    async def _open(self, app: Quart) -> None:
        async with app.app_context():
            try:
                await self.state().connections.open(self.settings())
            except BackendError as error:
                log.warning("%s; going on, it may come back", error)
        self._serving.add(app)
        state = self._apps[app]
        if self._serves_apps and self._is_embedded(app):
            options = state.config.embedded_worker
            worker = EmbeddedWorker(self, app, options if isinstance(options, Mapping) else {})
            state.embedded[asyncio.get_running_loop()] = worker
            worker.start()

    async def _shut(self, app: Quart) -> None:
        worker = self._apps[app].embedded.pop(asyncio.get_running_loop(), None)
        try:
            if worker is not None:
                await worker.stop()
            async with app.app_context():
                await self.close()
        finally:
            self._serving.discard(app)

    def _is_embedded(self, app: Quart) -> bool:
        wanted = self._apps[app].config.embedded_worker
        if wanted is not None:
            return bool(wanted) or isinstance(wanted, Mapping)
        home = self._apps[app].state.connections.home(self.settings())
        return self.is_async and home.location.startswith("memory://")

    @asynccontextmanager
    async def surround(self, worker: Worker | ShardedWorker) -> AsyncIterator[None]:
        """Start the application and stop it, in a process that is there for its jobs; then what hooks there are."""
        app = self.app
        if not self._serves_apps:
            await app.startup()
        try:
            async with super().surround(worker):
                yield
        finally:
            if not self._serves_apps:
                await app.shutdown()

    def bound(self, lifespan: Around[W]) -> Around[W]:
        """Have it in the context of the application that is meant now: there may be several."""
        app = self.app

        @asynccontextmanager
        async def within(worker: W) -> AsyncIterator[None]:
            async with app.app_context(), lifespan(worker):
                yield

        return within

    def serve_jobs_only(self) -> None:
        """Become the ``RQ`` of a process that runs jobs: workers start the application and stop it, none lives inside of it."""
        self._serves_apps = False

    async def stream(self, job_id: str, connection: str | None = None) -> Response:
        """Follow a job from a page: ``return await rq.stream(job_id)`` in a route sends server-sent events, and in a websocket
        the same as JSON messages, until the job has ended. Each is ``{"status": …, "done": 0.4, "text": …}``.

        An id without a job is answered with 404. Redis: as ``job.follow()``; where there are shards, 1 call to each before.
        """
        queue, shards = self.get_queue(connection=connection), self.get_shards(connection)
        backend = queue.backend if shards is None else await shards.find(job_id)
        return await stream(backend, job_id, queue.serializer)


_NOTHING = object()


def _configure(cls: type[RQ]) -> None:
    """Have the attributes that an app can configure read its configuration, also those that a subclass gives a default."""
    for name in _CONFIGURED:
        given = cls.__dict__.get(name, getattr(Configurable, name) if cls is RQ else _NOTHING)
        if given is not _NOTHING and not isinstance(given, Configured):
            setattr(cls, name, Configured(name, given))


_configure(RQ)
