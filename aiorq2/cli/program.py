"""The command group: its global options, and how each of its commands ends."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from aiorq2 import __version__
from aiorq2.cli.failures import EXIT_INTERRUPTED, exit_status, sentence, usage_sentence
from aiorq2.cli.options import option
from aiorq2.cli.plain_text import without_passwords


class _Reported(click.exceptions.Exit):
    """An exception that has been told the user."""


class Program(click.Group):
    """A group whose commands end with 0, or with one sentence on stderr and 1, 2 or 130."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run the command line and exit."""
        try:
            status = super().main(args, *rest, **{**extra, "standalone_mode": False})
        except click.Abort:
            status = EXIT_INTERRUPTED
        except click.ClickException as error:
            _say(usage_sentence(error))
            status = error.exit_code
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an exception becomes a sentence, with the traceback before it if ``--verbose`` was given."""
        return told(ctx, lambda: super(Program, self).invoke(ctx))


def told(ctx: click.Context, invoke: Callable[[], Any]) -> Any:
    """Return what ``invoke()`` returns; its exceptions become sentences and an exit status."""
    try:
        return invoke()
    except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
        raise
    except Exception as error:
        if ctx.params["verbose"]:
            click.echo(without_passwords(traceback.format_exc()), err=True, nl=False)
        _say(sentence(error))
        raise _Reported(exit_status(error)) from error


def _say(text: str) -> None:
    click.echo(f"aiorq2: {text}", err=True)


@click.group(
    cls=Program,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit status: 0 all is well; 1 it failed; 2 wrong usage or configuration; 130 interrupted by Ctrl-C.",
)
@option("-v", "--verbose", is_flag=True, help="Show the traceback of what goes wrong.")
@click.version_option(__version__, prog_name="aiorq2")
@click.pass_context
def commands(context: click.Context, verbose: bool) -> None:
    """An asyncio job queue on RQ's Redis data."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
