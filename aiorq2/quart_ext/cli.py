"""``quart rq …``: the commands of ``aiorq2``, on the application's Redis, queues and settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click
from quart import Quart
from quart.cli import ScriptInfo

from aiorq2.hub import RQ


class Commands(click.Group):
    """The commands of ``aiorq2``, imported when one of them is asked for: a server has no use for them."""

    def __init__(self, rq: RQ, pin: Callable[[Quart], None]) -> None:
        super().__init__(
            "rq",
            help="Jobs of this application: run them, look at them, schedule them.",
            params=[
                click.Option(
                    ["-v", "--verbose"], is_flag=True, help="Show the traceback of what goes wrong."
                )
            ],
            callback=_nothing,
            no_args_is_help=True,
        )
        self._rq = rq
        self._pin = pin

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return _commands().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one of them."""
        return _commands().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command for the application that ``quart --app`` names."""
        from aiorq2.cli.options import PROGRAM_KEY, RQ_KEY
        from aiorq2.cli.program import told

        info = ctx.ensure_object(ScriptInfo)
        self._pin(info.load_app())
        ctx.meta[RQ_KEY] = self._rq
        app = ["--app", info.app_import_path] if info.app_import_path else []
        ctx.meta[PROGRAM_KEY] = [sys.executable, "-m", "quart", *app, "rq"]
        return told(ctx, lambda: super(Commands, self).invoke(ctx))


def _nothing(verbose: bool) -> None:
    """The options of the group are read by ``invoke``."""


def _commands() -> click.Group:
    from aiorq2.cli import commands

    return commands


def add_commands(group: click.Group, rq: RQ, pin: Callable[[Quart], None]) -> None:
    """Add ``rq`` to the commands of an application; ``pin`` is told which one ``quart --app`` has loaded."""
    group.add_command(Commands(rq, pin))
