"""The command line: ``aiorq2 worker``, ``info``, ``enqueue`` and so on; each command is one call into the library.

Exit status: 0 all is well, 1 it failed, 2 wrong usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from typing import NoReturn

from aiorq2.cli.check import check
from aiorq2.cli.cron import cron
from aiorq2.cli.cron_write import add, import_, sync
from aiorq2.cli.doctor import doctor
from aiorq2.cli.info import info
from aiorq2.cli.jobs import cancel, enqueue
from aiorq2.cli.program import commands
from aiorq2.cli.queues import empty, resume, suspend
from aiorq2.cli.requeue import requeue
from aiorq2.cli.scheduler import scheduler
from aiorq2.cli.worker import worker

__all__ = ["commands", "main"]

for command in (
    worker, scheduler, cron, info, check, enqueue, cancel, requeue, empty, suspend, resume, doctor,
):  # fmt: skip
    commands.add_command(command)
for command in (add, sync, import_):
    cron.add_command(command)


def main() -> NoReturn:
    """Run the command line of this process."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal that lacks a character is no reason to fail
    logging.getLogger("aiorq2").addHandler(
        logging.NullHandler()
    )  # only workers log; commands say one thing
    warnings.formatwarning = _one_line_warning
    commands.main(prog_name="aiorq2")


def _open_what_is_closed() -> None:
    """Have something behind the three standard descriptors: a connection that got one of them would end uvloop's process."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free


def _one_line_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    return f"aiorq2: {message}\n"
