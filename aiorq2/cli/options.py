"""Options that several commands share, and how an option gets its environment variable."""

from __future__ import annotations

import asyncio
import functools
import os
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from aiorq2.backends import connect
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.shards import MOST, Shards
from aiorq2.errors import InvalidOption
from aiorq2.hub import RQ
from aiorq2.options import checked_name
from aiorq2.timing import seconds

T = TypeVar("T")
B = TypeVar("B", contravariant=True)
Home = RedisBackend | Shards
Work = Callable[[B], Coroutine[Any, Any, T]]
F = TypeVar("F", bound=Callable[..., Any])


def option(*declarations: str, also: tuple[str, ...] = (), **attributes: Any) -> Callable[[F], F]:
    """Declare an option that the variable ``AIORQ2_<NAME>`` sets as well, and those of ``also`` after it."""
    long = next(one for one in declarations if one.startswith("--"))
    name = long.partition("/")[0].removeprefix("--").replace("-", "_").upper()
    attributes.setdefault("show_envvar", True)
    return click.option(*declarations, envvar=[f"AIORQ2_{name}", *also], **attributes)


Callback = Callable[[click.Context, click.Parameter, Any], Any]


def duration(minimum: float = 0, *, infinite: bool = False) -> Callback:
    """Return the callback of an option that takes seconds, or text such as ``1h30m``; -1 for no limit if ``infinite``."""

    def checked(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(checked(context, parameter, one) for one in value)
        with _as_usage_error():
            return (
                None
                if value is None
                else seconds(value, name="duration", minimum=minimum, infinite=infinite)
            )

    return checked


def queue_name(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Check one or several names of queues; the callback of the options and arguments that take them."""
    if isinstance(value, tuple):
        return tuple(dict.fromkeys(queue_name(context, parameter, one) for one in value))
    with _as_usage_error():
        if value is not None and "://" in value:
            raise InvalidOption("a URL is no name of a queue; it is given with --url")
        return None if value is None else checked_name(value, "queue")


def queues_argument(command: F) -> F:
    """Give a command the argument ``[QUEUES]...``, or ``AIORQ2_QUEUES`` with spaces between the names; an application's commands go
    by its own queues if none is named."""
    return click.argument("queues", nargs=-1, callback=_queues, envvar="AIORQ2_QUEUES")(command)


def _queues(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    rq = rq_of(context)
    if rq is not None and not value and not context.params.get("every"):
        return tuple(rq.settings().queues)
    return queue_name(context, parameter, value)


URL_GIVEN = "AIORQ2_URL_GIVEN"
"""The variable that tells a process of a pool: the URL in its environment is one of the pool's command line."""

RQ_KEY = "aiorq2.rq"
PROGRAM_KEY = "aiorq2.program"
"""Where the context of a command holds the ``RQ`` of the application whose command it is, and how its program is started."""


def rq_of(context: click.Context) -> RQ | None:
    """Return the ``RQ`` of the application whose command this is; None for ``aiorq2``'s own commands."""
    found: RQ | None = context.meta.get(RQ_KEY)
    return found


def program_name() -> str:
    """Return what the running command is a command of, as a user calls it: ``aiorq2``, or ``quart rq``."""
    context = click.get_current_context(silent=True)
    is_of_an_app = context is not None and PROGRAM_KEY in context.meta
    return "quart rq" if is_of_an_app else "aiorq2"


@contextmanager
def _as_usage_error() -> Iterator[None]:
    try:
        yield
    except InvalidOption as error:
        raise click.BadParameter(str(error)) from None


@dataclass(frozen=True)
class Connection:
    """Where Redis is, as the user said; ``run`` is the way from a command into the library."""

    url: str | None = field(repr=False)
    key_prefix: str | None
    shards: int | None = None
    rq: RQ | None = field(default=None, repr=False)
    """The application whose command it is; it has been told of what was given."""

    def serializer(self, given: Any) -> Any:
        """Return the serializer that was given, or the application's, or the default."""
        return given or (self.rq.settings().serializer if self.rq is not None else None) or "json"

    def home(self) -> Home:
        """Return the backend, or the shards; nothing is sent yet.

        Raises:
            InvalidOption: the URL, the prefix or the number cannot be meant; nothing of the URL is in the message.
        """
        if self.rq is not None:
            return self.rq.get_shards() or self.rq.get_backend()
        try:
            if self.shards is None:
                return connect(self.url, key_prefix=self.key_prefix)
            return connect(self.url, key_prefix=self.key_prefix, shards=self.shards)
        except InvalidOption as error:
            parts = [part for part in re.split(r"[^\w.-]+", self.url or "")[1:] if len(part) > 2]
            message = functools.reduce(
                lambda text, part: text.replace(f"'{part}'", "'…'"), parts, str(error)
            )
            raise InvalidOption(message) from None

    def run(self, work: Work[RedisBackend, T], *, queue: str | None = None) -> T:
        """Return what ``work(backend)`` returns, in an event loop of its own.

        Args:
            queue: whose backend is meant, where there are shards.

        Raises:
            InvalidOption: there are shards, and no queue says which one is meant.
        """
        return self.run_at(lambda home: work(_one_of(home, queue)))

    def run_each(self, work: Work[RedisBackend, T]) -> list[T]:
        """Return what ``work(backend)`` returns for each shard, one after another; for the only backend where there are none."""

        async def each(home: Home) -> list[T]:
            return [await work(one) for one in parts_of(home)]

        return self.run_at(each)

    def run_at(self, work: Work[Home, T]) -> T:
        """Return what ``work`` returns for the backend, or for the shards."""
        return asyncio.run(self._worked(work))

    async def _worked(self, work: Work[Home, T]) -> T:
        home = self.home()
        try:
            return await work(home)
        finally:
            await home.close()


def parts_of(home: Home) -> list[RedisBackend]:
    """Return all shards, or the only backend."""
    return list(home) if isinstance(home, Shards) else [home]


async def home_of_job(home: Home, job_id: str) -> RedisBackend:
    """Return the shard that has a job, any if none has it. Redis: 1 call per shard, none where there are none."""
    if isinstance(home, Shards):
        return await home.find(job_id) or next(iter(home))
    return home


def _one_of(home: Home, queue: str | None) -> RedisBackend:
    if not isinstance(home, Shards):
        return home
    if queue is None:
        prefix = next(iter(home)).key_prefix
        raise InvalidOption(
            f"this is for one shard, not for {len(home)}: give --key-prefix {prefix!r} and the like in place of --shards"
        )
    return home.of(queue)


def point(rq: RQ, context: click.Context, connection: Connection) -> None:
    """Have an ``RQ`` use the address that was given for this command, if one was."""
    if is_url_given(context):
        rq.redis_url = connection.url
        rq.connection_class = RQ.connection_class
    is_prefix_given = context.get_parameter_source("key_prefix") is ParameterSource.COMMANDLINE
    has_its_own = rq.key_prefix is not None or isinstance(rq.redis_url, RedisBackend | Shards)
    if is_prefix_given or not has_its_own:
        rq.key_prefix = connection.key_prefix
    if context.get_parameter_source("shards") is ParameterSource.COMMANDLINE:
        rq.shards = connection.shards
    elif is_prefix_given:  # that of one shard
        rq.shards = None


def is_url_given(context: click.Context) -> bool:
    """Whether the command line says where Redis is, that of this process or that of the pool which it belongs to. What the
    environment says is for the application to heed: enqueueing, it reads the same variables."""
    is_here = context.get_parameter_source("url") is ParameterSource.COMMANDLINE
    return is_here or bool(os.environ.get(URL_GIVEN))


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--url``, ``--key-prefix`` and ``--shards``, which it gets as a ``Connection``."""

    @option(
        "-u", "--url", also=("RQ_REDIS_URL", "REDIS_URL"), metavar="URL",
        help="Where Redis is: redis://, rediss://, unix://, redis+sentinel://h1,h2,h3/mymaster or redis+cluster://h1,h2,h3. "
        "Default: redis://localhost:6379/0",
    )  # fmt: skip
    @option(
        "--key-prefix", also=("RQ_KEY_PREFIX",), metavar="TEXT",
        help="What every key in Redis begins with. Default: rq, in a cluster {rq}",
    )  # fmt: skip
    @option(
        "--shards", type=click.IntRange(1, MOST), metavar="N",
        help="Over how many namespaces queues are spread. Everybody has to say the same. Default: they are not.",
    )  # fmt: skip
    @functools.wraps(command)
    def connected(
        *args: Any, url: str | None, key_prefix: str | None, shards: int | None, **kwargs: Any
    ) -> Any:
        context = click.get_current_context()
        rq = rq_of(context)
        connection = Connection(url, key_prefix, shards, rq)
        if rq is not None:
            point(rq, context, connection)
        return command(*args, connection=connection, **kwargs)

    return connected
