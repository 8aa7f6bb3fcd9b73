"""What goes wrong becomes one sentence on stderr and an exit status; a traceback only where it was asked for."""

from __future__ import annotations

import click

from aiorq2.cli.plain_text import one_line
from aiorq2.errors import AiorqError, BackendRefused, InvalidOption, JobFailed

EXIT_FAILURE = 1
"""It was tried and did not work: Redis is away, the job failed, there is no such job."""
EXIT_USAGE = 2
"""It cannot work as it was asked for: usage, configuration, Redis refuses us."""
EXIT_INTERRUPTED = 130


def sentence(error: BaseException) -> str:
    """Return what an exception says as one line, without secrets; a bug is called one."""
    text = str(
        error.args[0] if isinstance(error, JobFailed) else error
    )  # what follows there is a traceback
    text = " ".join(text.split()) or type(error).__name__
    if isinstance(error, AiorqError | OSError | click.ClickException):
        return one_line(text)
    return one_line(f"unexpected {type(error).__name__}: {text}; -v before the command shows where")


def usage_sentence(error: click.ClickException) -> str:
    """Return what is wrong with the command line, and where to read more."""
    message = one_line(" ".join(error.format_message().split()))
    context = getattr(error, "ctx", None)
    return (
        f"{message.rstrip('.')}; see '{context.command_path} --help'"
        if context is not None
        else message
    )


def exit_status(error: BaseException) -> int:
    """Return the exit status for an exception."""
    if isinstance(error, click.ClickException):
        return error.exit_code
    return EXIT_USAGE if isinstance(error, InvalidOption | BackendRefused) else EXIT_FAILURE
