"""No peer: aiorq2's scripts, driven by a bare loop that claims, runs nothing and settles."""

from __future__ import annotations

import asyncio
import time

from . import Setup, run, tally
from .aiorq2 import (
    CONCURRENCY,
    IS_ASYNC,
    LIBRARY,
    PACKAGES,
    PYTHON,
    SHARE,
    producer,
    results,
    stored,
    waiting,
)

__all__ = [
    "CHOICES",
    "CONCURRENCY",
    "IS_ASYNC",
    "LACKS",
    "LIBRARY",
    "PACKAGES",
    "PYTHON",
    "SHARE",
    "producer",
    "results",
    "stored",
    "waiting",
    "work",
]

CHOICES = ("a bare loop over aiorq2's scripts: decodes, runs and watches nothing",)
LACKS = {"[!d]*": "only a drain", "due-*": "only a drain", "drain-*": "one process"}


def work(url: str, setup: Setup) -> None:
    from aiorq2 import connect
    from aiorq2.backends.base import ClaimRequest, Seat
    from aiorq2.outcome import Finished

    async def main() -> None:
        backend, board, number = connect(url), tally.board(), 0
        seat = Seat("floor", "floor", lease=60.0)
        request = ClaimRequest(setup.concurrency, ("default",))
        ended = []
        while True:
            claimed = await backend.settle(seat, ended, request)
            ended = []
            for claim in claimed.claims:
                board.mark(number)  # one worker gets the jobs in their order, so nothing is decoded
                ended.append((claim, Finished(time.time(), b"%d" % number)))
                number += 1
            if not ended:
                await asyncio.sleep(0.1)  # all is done: until somebody ends us

    run(main())
