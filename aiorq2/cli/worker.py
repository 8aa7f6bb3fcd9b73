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
from aiorq2.cli import logs
from aiorq2.cli.app import URL_GIVEN, given_options, is_url_given, load_app
from aiorq2.cli.options import Connection
from aiorq2.cli.worker_options import worker_options
from aiorq2.errors import AiorqError, InvalidOption
from aiorq2.hub import RQ
from aiorq2.worker import Worker

LEAVE_AFTER_S = 5.0
"""How long the interpreter may take to shut down once the worker has stopped."""

_WORKER_OPTIONS = (
    "name",
    "concurrency",
    "sync_concurrency",
    "lease",
    "grace",
    "serializer",
    "allow",
    "dequeue_strategy",
    "strict",
)
"""Those that are called the same here and there."""
_NOT_FOR_CHILDREN = {"url", "name", "processes", "reload", "supervised"}


@click.command()
@worker_options
@click.pass_context
def worker(context: click.Context, /, connection: Connection, **settings: Any) -> None:
    """Run the jobs of QUEUES, the first one first; `default` if none is named.

    SIGTERM or Ctrl-C: jobs get their grace, what is left is given back. Again: at once.
    """
    label = f"{settings['name'] or os.getpid()}" if settings["supervised"] else ""
    logs.configure(
        "warning" if settings["quiet"] else settings["log_level"],
        settings["log_format"],
        label=label,
    )
    is_pool = (settings["processes"] > 1 or settings["reload"]) and not settings["supervised"]
    context.exit(
        _supervise(context, connection, settings)
        if is_pool
        else _serve(context, connection, settings)
    )


def _supervise(context: click.Context, connection: Connection, settings: dict[str, Any]) -> int:
    connection.open()  # a wrong URL is better said once than by every process
    program = [sys.executable, "-m", "aiorq2"]
    program += ["--verbose"] if context.find_root().params["verbose"] else []
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
    work = (
        _work_for_app(load_app(settings["app"], context, connection), context, settings, leash)
        if settings["app"]
        else _work_alone(connection, settings, leash)
    )
    runner = asyncio.Runner(loop_factory=_loop_factory())
    try:
        stuck = runner.run(work)
        if stuck:
            logging.getLogger("aiorq2.worker").warning(
                "%d threads did not end; leaving them behind", stuck
            )
            _leave()
        _leave_soon()
    finally:
        runner.close()
    return 0


async def _work_alone(
    connection: Connection, settings: dict[str, Any], leash: pool.Leash | None
) -> int:
    backend = connection.open()
    try:
        worker = Worker(
            settings["queues"] or "default",
            backend,
            handle_signals=leash is None,
            **_options(settings),
        )
        return await _work(worker, settings, leash)
    finally:
        await backend.close()


async def _work_for_app(
    rq: RQ, context: click.Context, settings: dict[str, Any], leash: pool.Leash | None
) -> int:
    try:
        worker = rq.get_worker(
            *settings["queues"],
            handle_signals=leash is None,
            **_options(given_options(context, settings)),
        )
        return await _work(worker, settings, leash)
    finally:
        await rq.close()


async def _work(worker: Worker, settings: dict[str, Any], leash: pool.Leash | None) -> int:
    if leash is not None:
        leash.follow(worker.request_stop)
    await worker.work(
        settings["burst"],
        settings["max_jobs"],
        settings["max_idle_time"],
        settings["with_scheduler"],
    )
    return worker.stuck_threads


def _options(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the options of ``Worker`` that are among the settings of the command."""
    options = {name: settings[name] for name in _WORKER_OPTIONS if name in settings}
    if "results_ttl" in settings:
        options["default_result_ttl"] = int(settings["results_ttl"])
    return options


def _prepare_imports(folders: Sequence[str], modules: Sequence[str]) -> None:
    """Make the current folder and others importable, as ``python -m`` does, and import what jobs need beforehand."""
    sys.path[:0] = [os.getcwd(), *(os.path.abspath(folder) for folder in folders)]
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise InvalidOption(f"--import {module}: {error}") from error
        except (Exception, SystemExit) as error:
            raise AiorqError(
                f"--import {module}: it raised {type(error).__name__}: {error}"
            ) from error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, where it is installed."""
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(
            "uvloop"
        ).new_event_loop
    except ImportError:
        return None
    return factory


def _leave() -> None:
    """End the process now, whatever its threads do."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _leave_soon() -> None:
    """See to it that a thread that somebody's code has left behind does not keep the process alive for ever."""
    timer = threading.Timer(LEAVE_AFTER_S, _leave)
    timer.daemon = True
    timer.start()
