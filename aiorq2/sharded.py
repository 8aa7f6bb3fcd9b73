"""One worker for the queues of several shards: a ``Worker`` for each of them, that share their slots fairly."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from secrets import token_hex
from typing import Any

from aiorq2.backends.shards import Shards
from aiorq2.errors import InvalidOption
from aiorq2.lifespan import Lifespan
from aiorq2.options import as_names
from aiorq2.signals import stopping_on_signals
from aiorq2.slots import Slots
from aiorq2.worker import Worker

log = logging.getLogger("aiorq2.worker")


class ShardedWorker:
    """Run the jobs of queues that live in several shards, on the running event loop.

    To each shard it is a worker of its own, under the same name, with a heartbeat and connections of its own: a shard that cannot
    be reached keeps no other from going on. Slots are shared: whichever shard has jobs may take them all; when several have, each
    gets its share as slots get free. The order of ``queues`` holds within a shard.

    Args:
        queues: names (or ``Queue`` objects), the most important first.
        shards: where they live.
        concurrency: how many jobs run at once, in all; at least one for each shard.
        sync_concurrency: how many of them may be plain functions.
        handle_signals, lifespan: as for ``Worker``.
        options: whatever else ``Worker`` takes.

    >>> await ShardedWorker(["mail", "reports"], connect("redis+cluster://a,b,c", shards=16)).work()
    """

    def __init__(
        self,
        queues: str | Iterable[Any],
        shards: Shards,
        *,
        name: str | None = None,
        concurrency: int = 100,
        sync_concurrency: int = 32,
        handle_signals: bool | None = None,
        lifespan: Callable[[ShardedWorker], AbstractAsyncContextManager[object]] | None = None,
        **options: Any,
    ) -> None:
        one = isinstance(queues, str) or hasattr(queues, "name")
        given: list[Any] = [queues] if one else list(queues)
        self.queues = as_names([getattr(queue, "name", queue) for queue in given], "queue")
        if not self.queues:
            raise InvalidOption("ShardedWorker: at least one queue is needed")
        parted = shards.parted(self.queues)
        if concurrency < len(parted):
            raise InvalidOption(
                f"ShardedWorker: concurrency={concurrency} is too little for queues in {len(parted)} shards: each needs a slot"
            )
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{token_hex(4)}"
        self.shards = shards
        self.workers = tuple(
            Worker(
                own,
                backend,
                name=self.name,
                concurrency=concurrency,
                sync_concurrency=sync_concurrency,
                handle_signals=False,
                **options,
            )
            for backend, own in parted.items()
        )
        self._make_slots: Callable[[], Slots] = lambda: Slots(concurrency, sync_concurrency)
        self._handle_signals = handle_signals
        self._lifespan = Lifespan(None if lifespan is None else lambda: lifespan(self))
        self._stops = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {', '.join(self.queues)}>"

    @property
    def stuck_threads(self) -> int:
        """How many threads and coroutines had not ended when ``work`` did; as ``Worker.stuck_threads``."""
        return sum(worker.stuck_threads for worker in self.workers)

    @property
    def slots_lost(self) -> int:
        """How many slots are taken by jobs that were told to end and go on."""
        return sum(worker.slots_lost for worker in self.workers)

    async def work(self, burst: bool = False, with_scheduler: bool = True) -> bool:
        """Run jobs until told to stop, and return whether any was run; as ``Worker.work``.

        What one shard raises (a name that is taken, a password) ends the work on the others as well.

        Args:
            burst: return when nothing is left to do now, in any shard.
            with_scheduler: move scheduled jobs into their queues when they are due, and make the runs of recurring entries.
        """
        slots = self._make_slots()
        for worker in self.workers:
            worker.share(slots)
        self._stops = 0
        has_run_jobs = False
        wanted = False if burst and self._handle_signals is None else self._handle_signals
        with stopping_on_signals(self.request_stop, wanted):
            try:
                await self._lifespan.begin()
                while await self._work_once(burst, with_scheduler):
                    has_run_jobs = True
                    if not burst or self._stops:
                        break  # else: what was run may have enqueued jobs in a shard that had nothing left
            finally:
                await self._lifespan.end(is_hasty=self._stops > 1)
        return has_run_jobs

    def request_stop(self) -> None:
        """Stop, as ``Worker.request_stop``; told again, at once."""
        self._stops += 1
        for worker in self.workers:
            worker.request_stop()

    async def _work_once(self, burst: bool, with_scheduler: bool) -> bool:
        loop = asyncio.get_running_loop()
        working = [
            loop.create_task(worker.work(burst=burst, with_scheduler=with_scheduler))
            for worker in self.workers
        ]
        try:
            first = asyncio.ALL_COMPLETED if burst else asyncio.FIRST_COMPLETED
            _, left = await asyncio.wait(working, return_when=first)
            if left and not self._stops:
                self.request_stop()  # one was told to shut down, or has failed
            if left:
                await asyncio.wait(left)
        except asyncio.CancelledError:
            for task in working:
                task.cancel()
            await asyncio.wait(working)
            raise
        failures = [task.exception() for task in working if task.exception() is not None]
        if failures and failures[0] is not None:
            raise failures[0]
        return any(task.result() for task in working)
