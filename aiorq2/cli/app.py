"""``--app module:rq``: a command that goes by what an application has configured and declared."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

import click
from click.core import ParameterSource

from aiorq2.cli.options import Connection, option
from aiorq2.errors import AiorqError, InvalidOption
from aiorq2.hub import RQ

URL_GIVEN = "AIORQ2_URL_GIVEN"
"""The variable that tells a process of a pool: the URL in its environment is one of the pool's command line."""

app_option = option(
    "-A", "--app", metavar="MODULE[:NAME]",
    help="The RQ of an application: its Redis, queues, handlers, hooks and cron entries. NAME is optional if it has one.",
)  # fmt: skip


def load_app(path: str, context: click.Context, connection: Connection) -> RQ:
    """Return the ``RQ`` of an application; an address that was given for this command stands above its own.

    Raises:
        InvalidOption: there is no such module or object, or it is no ``RQ``.
        AiorqError: the module cannot be imported.
    """
    module_name, _, name = path.partition(":")
    rq = _found(_imported(module_name, path), name, path)
    if is_url_given(context):
        rq.redis_url = connection.url
        rq.connection_class = RQ.connection_class
    is_prefix_given = context.get_parameter_source("key_prefix") is ParameterSource.COMMANDLINE
    if is_prefix_given or rq.key_prefix is None:
        rq.key_prefix = connection.key_prefix
    return rq


def is_url_given(context: click.Context) -> bool:
    """Whether the command line says where Redis is, that of this process or that of the pool which it belongs to. What the
    environment says is for the application to heed: enqueueing, it reads the same variables."""
    is_here = context.get_parameter_source("url") is ParameterSource.COMMANDLINE
    return is_here or bool(os.environ.get(URL_GIVEN))


def given_options(context: click.Context, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that somebody has set; what has its default is the application's to say."""
    return {
        name: value
        for name, value in settings.items()
        if context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
    }


def _imported(module_name: str, path: str) -> ModuleType:
    if not module_name or module_name.endswith(".py") or "/" in module_name:
        raise InvalidOption(f"--app {path}: the dotted name of a module is needed: 'myapp.jobs:rq'")
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InvalidOption(f"--app {path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise AiorqError(f"--app {path}: it raised {type(error).__name__}: {error}") from error


def _found(module: ModuleType, name: str, path: str) -> RQ:
    if not name:
        return _only(module, path)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, RQ):
        what = "there is no such thing" if found is None else f"that is a {type(found).__name__}"
        raise InvalidOption(f"--app {path}: {what}; an aiorq2.RQ is needed")
    return found


def _only(module: ModuleType, path: str) -> RQ:
    found = {name: value for name, value in vars(module).items() if isinstance(value, RQ)}
    if len(set(map(id, found.values()))) != 1:
        several = ", ".join(f"{path}:{name}" for name in found) or "none"
        raise InvalidOption(f"--app {path}: one RQ is needed in this module; there is {several}")
    return next(iter(found.values()))
