"""Enqueue a job in two seconds and one at a given time, and say their ids: a producer whose clock may be wrong."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime

from aiorq2 import Queue, connect
from tests.faults import functions


async def main(ledger: str, moment: str) -> None:
    """Do it, on the Redis that the environment names."""
    backend = connect()
    queue = Queue("q", backend)
    first = await queue.enqueue_in(2, functions.work, ledger, 1)
    second = await queue.enqueue_at(datetime.fromisoformat(moment), functions.work, ledger, 2)
    await backend.close()
    sys.stdout.write(f"{first.id} {second.id}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[-2:]))
