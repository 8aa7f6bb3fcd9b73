"""``aiorq2 worker``: one process, or several under a ``WorkerPool``."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from aiorq2 import pool
from aiorq2.backends.shards import Shards
from aiorq2.callables import resolve
from aiorq2.cli import logs
from aiorq2.cli.app import application, given_options
from aiorq2.cli.failures import exit_status, sentence
from aiorq2.cli.options import PROGRAM_KEY, URL_GIVEN, Connection, is_url_given
from aiorq2.cli.sentry import reporter
from aiorq2.cli.targets import find_modules_in, import_for
from aiorq2.cli.worker_options import worker_options
from aiorq2.errors import InvalidOption, UnknownFunction
from aiorq2.hub import RQ
from aiorq2.sharded import ShardedWorker
from aiorq2.worker import Worker

THREADS_END_S = 1.0
"""How long threads that jobs have begun and left (``asyncio.to_thread``) may go on once the worker has stopped."""
LEAVE_AFTER_S = 5.0
"""How long the interpreter may take to shut down once the worker has stopped."""

_WORKER_OPTIONS = (
    "name",
    "concurrency",
    "sync_concurrency",
    "offload",
    "lease",
    "grace",
    "serializer",
    "allow",
    "dequeue_strategy",
    "strict",
)
"""Those that are called the same here and there."""
_NOT_FOR_CHILDREN = {"url", "name", "processes", "reload", "supervised", "pid"}


@click.command()
@worker_options
@click.pass_context
def worker(context: click.Context, /, connection: Connection, **settings: Any) -> None:
    """Run the jobs of QUEUES, the first one first; `default` if none is named.

    SIGTERM or Ctrl-C: jobs get their grace, what is left is given back. Again: at once.
    """
    label = f"{settings['name'] or os.getpid()}" if settings["supervised"] else ""
    logs.configure(
        _level(settings),
        settings["log_format"],
        label=label,
    )
    if settings["pid"] and not settings["supervised"]:  # in the environment, a pool's see it, too
        Path(settings["pid"]).write_text(f"{os.getpid()}\n")
    is_pool = (settings["processes"] > 1 or settings["reload"]) and not settings["supervised"]
    context.exit(
        _supervise(context, connection, settings)
        if is_pool
        else _serve(context, connection, settings)
    )


def _level(settings: dict[str, Any]) -> str:
    if settings["quiet"] and settings["verbose"]:
        raise click.UsageError("--quiet and --verbose exclude one another")
    return (
        "warning"
        if settings["quiet"]
        else "debug"
        if settings["verbose"]
        else settings["log_level"]
    )


def _supervise(context: click.Context, connection: Connection, settings: dict[str, Any]) -> int:
    connection.home()  # a wrong URL is better said once than by every process
    program = context.meta.get(PROGRAM_KEY) or [sys.executable, "-m", "aiorq2"]
    group = context.parent or context
    program = [*program, *(["--verbose"] if group.params.get("verbose") else [])]
    again = _arguments_again(context)
    return pool.WorkerPool(
        [[*program, "worker", "--supervised", *name, *again] for name in _names(settings)],
        environment={**os.environ, **_url_again(context, connection)},
        is_finite=settings["burst"] or settings["max_idle_time"] is not None,
        grace=settings["grace"],
        watch=Path.cwd() if settings["reload"] else None,
    ).run()


def _url_again(context: click.Context, connection: Connection) -> dict[str, str]:
    """Return how the processes learn the URL: not by their command lines, for it may hold a password."""
    if connection.url is None:
        return {}
    return {"AIORQ2_URL": connection.url, **({URL_GIVEN: "1"} if is_url_given(context) else {})}


def _names(settings: dict[str, Any]) -> list[list[str]]:
    name = settings["name"]
    return [
        [] if name is None else ["--name", f"{name}-{n + 1}"] for n in range(settings["processes"])
    ]


def _arguments_again(context: click.Context) -> list[str]:
    """Return the command line for a process of the pool; what came from the environment reaches it there, and so does the URL."""
    options: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if is_given and name not in _NOT_FOR_CHILDREN and isinstance(parameter, click.Option):
            options += _as_given(parameter, context.params[name])
    queues = context.params["queues"]
    return [*options, "--", *queues] if queues else options


def _as_given(parameter: click.Option, value: Any) -> list[str]:
    if parameter.is_flag:
        return [max(parameter.opts if value else parameter.secondary_opts, key=len)]
    values = value if parameter.multiple else [value]
    return [part for one in values for part in (max(parameter.opts, key=len), str(one))]


def _serve(context: click.Context, connection: Connection, settings: dict[str, Any]) -> int:
    """Run one worker in this process."""
    leash = pool.Leash(settings["grace"]) if settings["supervised"] else None
    _prepare_imports(settings["path"], settings["imports"])
    rq = application(settings["app"] or None, context, connection)
    if rq is None:
        if settings["connection_name"]:
            raise click.UsageError("--connection names one of an application: --app is needed")
        work = _work_alone(connection, settings, leash)
    else:
        rq.serve_jobs_only()
        work = _work_for_app(rq, context, settings, leash)
    runner = asyncio.Runner(loop_factory=_loop_factory())
    try:
        stuck = runner.run(work)
        _leave_soon()
        if stuck or runner.run(_has_stuck_threads()):
            logging.getLogger("aiorq2.worker").warning("threads did not end; leaving them behind")
            _leave()
    except Exception as error:
        _leave_soon(exit_status(error))
        if runner.run(_has_stuck_threads()):  # for which whoever closes the loop waits
            log = logging.getLogger("aiorq2.worker")
            log.error("%s; threads did not end, leaving them behind", sentence(error))
            _leave(exit_status(error))
        raise
    finally:
        runner.close()
    return 0


async def _work_alone(
    connection: Connection, settings: dict[str, Any], leash: pool.Leash | None
) -> int:
    home = connection.home()
    try:
        options = {"handle_signals": leash is None, **_options(settings, ())}
        names = settings["queues"] or "default"
        worker = (
            ShardedWorker(names, home, **options)
            if isinstance(home, Shards)
            else Worker(names, home, **options)
        )
        return await _work(worker, settings, leash)
    finally:
        await home.close()


def _handler(name: str) -> Callable[..., Any]:
    try:
        return resolve(name)
    except UnknownFunction as error:
        raise InvalidOption(f"--exception-handler {name}: {error}") from error


async def _work_for_app(
    rq: RQ, context: click.Context, settings: dict[str, Any], leash: pool.Leash | None
) -> int:
    try:
        worker = rq.get_worker(
            *settings["queues"],
            connection=settings["connection_name"],
            handle_signals=leash is None,
            **_options(given_options(context, settings), rq.exception_handlers),
        )
        return await _work(worker, settings, leash)
    finally:
        await rq.close()


async def _work(
    worker: Worker | ShardedWorker, settings: dict[str, Any], leash: pool.Leash | None
) -> int:
    if leash is not None:
        leash.follow(worker.request_stop)
    await worker.work(
        settings["burst"],
        settings["max_jobs"],
        settings["max_idle_time"],
        settings["with_scheduler"],
    )
    return worker.stuck_threads


def _options(settings: dict[str, Any], handlers: Sequence[Any]) -> dict[str, Any]:
    """Return the options of ``Worker`` that the settings say; handlers named there stand in place of ``handlers``."""
    options = {name: settings[name] for name in _WORKER_OPTIONS if name in settings}
    if "results_ttl" in settings:
        options["default_result_ttl"] = int(settings["results_ttl"])
    if settings.get("exception_handler"):
        handlers = [_handler(name) for name in settings["exception_handler"]]
    if settings.get("sentry_dsn"):
        handlers = [*handlers, reporter(settings["sentry_dsn"])]
    options["exception_handlers"] = list(handlers)
    return options


def _prepare_imports(folders: Sequence[str], modules: Sequence[str]) -> None:
    """Import what jobs need beforehand."""
    find_modules_in(folders)
    for module in modules:
        import_for(module, f"--import {module}")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, where it is installed."""
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(
            "uvloop"
        ).new_event_loop
    except ImportError:
        return None
    return factory


async def _has_stuck_threads() -> bool:
    """End the loop's pool of threads, and return whether some of them go on; whoever closes the loop waits for them."""
    ending = asyncio.create_task(asyncio.get_running_loop().shutdown_default_executor())
    # No ``asyncio.timeout``: cancelled, it would wait for them as well.
    _, left = await asyncio.wait({ending}, timeout=THREADS_END_S)
    return bool(left)


def _leave(status: int = 0) -> None:
    """End the process now, whatever its threads do."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _leave_soon(status: int = 0) -> None:
    """See to it that a thread that somebody's code has left behind does not keep the process alive for ever."""
    timer = threading.Timer(LEAVE_AFTER_S, _leave, [status])
    timer.daemon = True
    timer.start()
