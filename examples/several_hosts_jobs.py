"""What the hosts of ``several_hosts.py`` run: a job that notes down where it is and how it ends."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from aiorq2 import get_current_job


async def visit(diary: str, seconds: float) -> str:
    """Stay on this host for a while, and return its name."""
    job = get_current_job()
    assert job is not None
    host = os.environ["AIORQ2_HOST"]

    def write(what: str) -> None:
        with Path(diary).open("a") as file:  # a line in a local file
            file.write(f"{what} {job.id} {host} {time.monotonic():.3f}\n")

    write("start")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        write("cut")
        raise
    write("end")
    return host
