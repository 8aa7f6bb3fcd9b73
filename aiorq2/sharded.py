"""One worker for the queues of several shards: a ``Worker`` for each of them, that share their slots fairly; and one scheduler."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from secrets import token_hex
from typing import Any

from aiorq2.backends.shards import Shards
from aiorq2.errors import InvalidOption
from aiorq2.lifespan import Lifespan
from aiorq2.options import as_names
from aiorq2.pump import Strategy
from aiorq2.scheduler import Scheduler
from aiorq2.signals import stopping_on_signals
from aiorq2.slots import Slots
from aiorq2.timing import Duration
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
        worker_class: what serves each shard: ``Worker``, or a class that is derived from it.
        shard_lifespan: as ``lifespan``, for each of those workers.
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
        worker_class: type[Worker] = Worker,
        shard_lifespan: Callable[[Worker], AbstractAsyncContextManager[object]] | None = None,
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
            worker_class(
                own,
                backend,
                name=self.name,
                concurrency=concurrency,
                sync_concurrency=sync_concurrency,
                handle_signals=False,
                lifespan=shard_lifespan,
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

    async def work(
        self,
        burst: bool = False,
        max_jobs: None = None,
        max_idle_time: None = None,
        with_scheduler: bool = True,
        dequeue_strategy: Strategy | None = None,
    ) -> bool:
        """Run jobs until told to stop, and return whether any was run; as ``Worker.work``.

        What one shard raises (a name that is taken, a password) ends the work on the others as well.

        Args:
            burst: return when nothing is left to do now, in any shard.
            max_jobs, max_idle_time: not there: no shard knows of the others' jobs.
            with_scheduler: move scheduled jobs into their queues when they are due, and make the runs of recurring entries.
            dequeue_strategy: as for the constructor, in its place; it holds within a shard.

        Raises:
            InvalidOption: ``max_jobs`` or ``max_idle_time`` was given; and as ``Worker.work``.
        """
        if max_jobs is not None or max_idle_time is not None:
            raise InvalidOption(
                "max_jobs and max_idle_time: not for a worker of several shards; none of them knows of the others' jobs"
            )
        looking = asyncio.create_task(self._tell_of_strays())
        how = {
            "burst": burst,
            "with_scheduler": with_scheduler,
            "dequeue_strategy": dequeue_strategy,
        }
        slots = self._make_slots()
        for worker in self.workers:
            worker.share(slots)
        self._stops = 0
        has_run_jobs = False
        wanted = False if burst and self._handle_signals is None else self._handle_signals
        with stopping_on_signals(self.request_stop, wanted):
            try:
                await self._lifespan.begin()
                while await self._work_once(burst, how):
                    has_run_jobs = True
                    if not burst or self._stops:
                        break  # else: what was run may have enqueued jobs in a shard that had nothing left
            finally:
                await cut_short(looking)
                await self._lifespan.end(is_hasty=self._stops > 1)
        return has_run_jobs

    def request_stop(self) -> None:
        """Stop, as ``Worker.request_stop``; told again, at once."""
        self._stops += 1
        for worker in self.workers:
            worker.request_stop()

    async def _tell_of_strays(self) -> None:
        """Log where jobs wait that were enqueued when there were fewer shards."""
        for queue, prefix in (await self.shards.strays(self.queues)).items():
            log.warning(
                "worker %s: queue %r has jobs in %s, and lives in %s, as there are %d shards; nobody looks there",
                self.name, queue, prefix, self.shards.of(queue).key_prefix, len(self.shards),
            )  # fmt: skip

    async def _work_once(self, burst: bool, how: Mapping[str, Any]) -> bool:
        loop = asyncio.get_running_loop()
        working = [loop.create_task(self._have_work(worker, how)) for worker in self.workers]
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

    async def _have_work(self, worker: Worker, how: Mapping[str, Any]) -> bool:
        """Have one of them work, unless a stop came before it could be told."""
        return False if self._stops else await worker.work(**how)


async def cut_short(task: asyncio.Task[None]) -> None:
    """Cancel what nobody needs any more, and wait for its end."""
    task.cancel()
    await asyncio.wait([task])


class ShardedScheduler:
    """Look after what is due in several shards, as ``Scheduler.run()`` does in one; those that are away keep no other from it.

    Args:
        shards: where the queues live.
        schedulers: one for each shard; default: ``Scheduler(backend=…)``.
        interval: as for ``Scheduler``, where none are given.
        handle_signals: as for ``Scheduler``.

    >>> await ShardedScheduler(connect("redis+cluster://a,b,c", shards=16)).run()
    """

    def __init__(
        self,
        shards: Shards,
        schedulers: Sequence[Scheduler] | None = None,
        *,
        interval: Duration = 60,
        handle_signals: bool | None = None,
    ) -> None:
        self.shards = shards
        self.schedulers = tuple(
            schedulers
            or [Scheduler(backend=one, interval=interval, handle_signals=False) for one in shards]
        )
        self._handle_signals = handle_signals

    async def run(self, burst: bool = False, queues: Sequence[str] = ()) -> None:
        """Carry out what is due, of all queues or some, until told to stop; as ``Scheduler.run``. What one shard raises ends it.

        Redis: about 2 calls a second and shard.
        """
        parted = self.shards.parted(as_names(queues, "queue"))
        meant = [one for one in self.schedulers if not queues or one.backend in parted]
        with stopping_on_signals(self.request_stop, False if burst else self._handle_signals):
            running = [
                asyncio.ensure_future(one.run(burst, parted.get(one.backend, ()))) for one in meant
            ]
            try:
                await asyncio.gather(*running)
            finally:
                self.request_stop()
                await asyncio.wait(running)

    def request_stop(self) -> None:
        """Have ``run`` return."""
        for one in self.schedulers:
            one.request_stop()
