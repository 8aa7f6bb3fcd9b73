"""A worker on what Windows has: a loop without signal handlers, no fork, fewer signals. Started by the test."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from typing import Any, NoReturn

for module, name in ((os, "fork"), (os, "killpg"), (signal, "SIGHUP")):
    delattr(module, name)

from aiorq2 import Queue, Worker, connect  # noqa: E402
from tests.support import jobs  # noqa: E402


class WindowsLikeLoop(asyncio.SelectorEventLoop):
    """Refuses what the loop of Windows refuses."""

    def add_signal_handler(self, *_: Any) -> NoReturn:  # type: ignore[override]
        """Refuse."""
        raise NotImplementedError

    remove_signal_handler = add_signal_handler  # type: ignore[assignment]


async def _work(url: str, prefix: str, burst: bool) -> None:
    backend = connect(url, key_prefix=prefix)
    queue = Queue("default", backend)
    for offload in (None, "thread", "process"):
        await queue.enqueue(jobs.add, 1, 2, offload=offload)
    await Worker(["default"], backend).work(burst=burst)
    sys.stdout.write("the worker has returned\n")
    await backend.close()


def _run(burst: bool) -> None:
    with asyncio.Runner(loop_factory=WindowsLikeLoop) as runner:
        runner.run(_work(sys.argv[1], sys.argv[2], burst))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    thread = threading.Thread(target=_run, args=(True,))
    thread.start()
    thread.join()
    _run(False)
