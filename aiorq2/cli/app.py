"""``--app module:rq``: a command that goes by what an application has configured and declared."""

from __future__ import annotations

import inspect
from dataclasses import replace
from types import ModuleType
from typing import Any

import click
from click.core import ParameterSource

from aiorq2.cli.options import Connection, Home, option, point, rq_of
from aiorq2.cli.targets import find_modules_in, import_for
from aiorq2.errors import InvalidOption
from aiorq2.hub import RQ
from aiorq2.queue import Queue
from aiorq2.serializers import resolve

app_option = option(
    "-A", "--app", metavar="MODULE[:NAME]",
    help="An RQ, or a Quart app: its Redis, queues, handlers, hooks and cron entries. NAME is optional if there is one.",
)  # fmt: skip


def load_app(path: str, context: click.Context, connection: Connection) -> RQ:
    """Return the ``RQ`` of an application; an address that was given for this command stands above its own.

    Raises:
        InvalidOption: there is no such module or object, or it is no ``RQ``.
        AiorqError: the module cannot be imported.
    """
    module_name, _, name = path.partition(":")
    if not module_name or module_name.endswith(".py") or "/" in module_name:
        raise InvalidOption(f"--app {path}: the dotted name of a module is needed: 'myapp.jobs:rq'")
    rq = _found(import_for(module_name, f"--app {path}"), name, path)
    point(rq, context, connection)
    return rq


def application(path: str | None, context: click.Context, connection: Connection) -> RQ | None:
    """Return the ``RQ`` that a command goes by: that of ``--app``, or of the application whose command it is; None for neither."""
    if path is not None:
        return load_app(path, context, connection)
    return rq_of(context)


def connected(path: str | None, context: click.Context, connection: Connection) -> Connection:
    """Return the connection of the application that a command goes by; what was given where there is none."""
    if path is not None:
        find_modules_in()
    return replace(connection, rq=application(path, context, connection))


def with_defaults(asked: dict[str, Any], rq: RQ | None) -> dict[str, Any]:
    """Return the options of a job; what nobody gave is the application's to say, as it is for jobs that its code enqueues."""
    usual: dict[str, Any] = {"queue": "default"}
    if rq is not None:
        own = rq.settings()
        usual = {
            "queue": own.default_queue,
            "timeout": own.default_timeout,
            "result_ttl": own.default_result_ttl,
            "timezone": own.timezone,
        }
    return asked | {name: value for name, value in usual.items() if asked.get(name, value) is None}


def queue_of(connection: Connection, name: str, home: Home, serializer: Any) -> Queue:
    """Return the queue of this name, the application's where a command goes by one; ``serializer`` if one was given."""
    if connection.rq is None:
        return Queue(name, home, serializer=serializer)
    queue = connection.rq.get_queue(name)
    if serializer:
        queue = queue.named(name)  # a copy: the application's is not for this command to change
        queue.serializer = resolve(serializer)
    return queue


def given_options(context: click.Context, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that somebody has set; what has its default is the application's to say."""
    return {
        name: value
        for name, value in settings.items()
        if context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
    }


def _found(module: ModuleType, name: str, path: str) -> RQ:
    if not name:
        return _only(module, path)
    found: Any = module
    for part in name.removesuffix("()").split("."):
        found = getattr(found, part, None)
    if inspect.isfunction(found) and (name.endswith("()") or name in _FACTORIES):
        found = found()
    app, found = found, _rq_of_app(found)
    if isinstance(found, RQ) and found is not app:
        found.pin(app)  # it holds its applications weakly, and nobody else has this one
    if not isinstance(found, RQ):
        what = "there is no such thing" if found is None else f"that is a {type(found).__name__}"
        raise InvalidOption(f"--app {path}: {what}; an aiorq2.RQ is needed")
    return found


_FACTORIES = ("create_app", "make_app")
"""Functions that are called without being asked: the names that Quart and Flask know."""


def _rq_of_app(found: Any) -> Any:
    """Return the ``RQ`` of a framework's application, if it is one that has one; else what was found."""
    extensions = getattr(found, "extensions", None)
    return extensions.get("rq2", found) if isinstance(extensions, dict) else found


def _only(module: ModuleType, path: str) -> RQ:
    found = {name: value for name, value in vars(module).items() if isinstance(value, RQ)}
    if len(set(map(id, found.values()))) != 1:
        several = ", ".join(f"{path}:{name}" for name in found) or "none"
        raise InvalidOption(f"--app {path}: one RQ is needed in this module; there is {several}")
    return next(iter(found.values()))
