"""For test suites of applications: run what waits, say what must have been enqueued, let time pass.

Jobs are looked for where a ``Queue``, an ``RQ`` or a backend leads. The fixtures are in ``aiorq2.pytest_plugin``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from aiorq2.backends import inspect
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.shards import Shards
from aiorq2.callables import name_of
from aiorq2.errors import InvalidOption
from aiorq2.hub import RQ
from aiorq2.job import Job
from aiorq2.queue import Queue
from aiorq2.registry import DeferredJobRegistry, ScheduledJobRegistry
from aiorq2.scheduler import Scheduler
from aiorq2.sharded import ShardedWorker
from aiorq2.timing import Duration, ManualClock, seconds
from aiorq2.worker import Worker

Source = Queue | RQ | RedisBackend

SHOWN = 20
"""How many jobs the message of a failed assertion lists."""
LOOK_EVERY_S = 0.02


async def drain(source: Source, *queues: str) -> bool:
    """Run a worker until no job waits any more; return whether it ran any.

    Jobs that fail raise nothing here: look at ``job.exc_info``, or ``await job.wait()``.

    Args:
        source: a queue; or an ``RQ`` or a backend, of which all queues are meant unless some are named.
    """
    has_run = False
    while names := await _names(source, queues):
        if not await _worker(source, names).work(burst=True):
            break
        has_run = True
    return has_run


async def assert_enqueued(
    func: Callable[..., Any] | str,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    queue: str | None = None,
    within: Duration = 0,
    source: Source | None = None,
) -> Job:
    """Return the job that waits for ``func`` to be called: queued, scheduled, or deferred until others have ended.

    Args:
        args: what it is called with; None for anything.
        kwargs: what it is called with besides, all of it; None for anything.
        queue: the name of its queue; None for any.
        within: how long to wait for it.
        source: where to look; by default where the ``RQ`` enqueues that ``func`` is a job of.

    Raises:
        AssertionError: there is none; what waits is in the message.
    """
    told = _Wanted(func, args, kwargs, queue, source)
    deadline = asyncio.get_running_loop().time() + seconds(within, name="within")
    while True:
        waiting = await _waiting(told.source, queue)
        for job in waiting:
            if told.is_met_by(job):
                return job
        if asyncio.get_running_loop().time() >= deadline:
            raise AssertionError(f"{told} is not enqueued; there {_listed(waiting)}")
        await asyncio.sleep(LOOK_EVERY_S)


async def refute_enqueued(
    func: Callable[..., Any] | str,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    queue: str | None = None,
    within: Duration = 0,
    source: Source | None = None,
) -> None:
    """See to it that no such job waits, nor comes ``within`` that time; arguments as for ``assert_enqueued``.

    Raises:
        AssertionError: there is one.
    """
    try:
        job = await assert_enqueued(
            func, args=args, kwargs=kwargs, queue=queue, within=within, source=source
        )
    except AssertionError:
        return
    raise AssertionError(f"{job} is enqueued, on queue {job.origin!r}")


async def time_travel(source: Source, delta: timedelta | float) -> None:
    """Move the clock, and put what is due then into its queues: scheduled jobs, and the runs of recurring entries.

    A long journey over several runs of an entry makes one run, or as many as its ``catch_up`` says; travel in steps to have
    them all.

    Raises:
        InvalidOption: the backend does not live by a ``ManualClock``: ``connect(url, clock=ManualClock(…))``.
    """
    clocks = {id(one.clock): one.clock for one in _backends(source)}
    for clock in clocks.values():
        if not isinstance(clock, ManualClock):
            raise InvalidOption(
                "time_travel: the backend needs a clock: connect(url, clock=ManualClock(…))"
            )
        clock.travel(delta)
    for backend in _backends(source):
        await Scheduler(backend=backend).run(burst=True)


class _Wanted:
    """What kind of job is looked for."""

    def __init__(
        self,
        func: Callable[..., Any] | str,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        queue: str | None,
        source: Source | None,
    ) -> None:
        self._name = name_of(func).name
        self._args = None if args is None else tuple(args)
        self._kwargs = None if kwargs is None else dict(kwargs)
        self._queue = queue
        helper = getattr(func, "helper", None)
        found = source if source is not None else getattr(helper, "rq", None)
        if not isinstance(found, Source):
            raise InvalidOption(f"{self._name} is a job of no RQ: say where to look with source=…")
        self.source: Source = found

    def __str__(self) -> str:
        args = "…" if self._args is None else ", ".join(map(repr, self._args))
        kwargs = "" if self._kwargs is None else f", **{self._kwargs!r}"
        where = "" if self._queue is None else f" on queue {self._queue!r}"
        return f"{self._name}({args}{kwargs}){where}"

    def is_met_by(self, job: Job) -> bool:
        return (
            job.func_name == self._name
            and self._args in (None, tuple(job.args))
            and self._kwargs in (None, job.kwargs)
        )


def _listed(waiting: Sequence[Job]) -> str:
    if not waiting:
        return "is no job that waits"
    lines = [f"  {job.origin}: {job.description} ({job.status})" for job in waiting[:SHOWN]]
    more = [f"  and {len(waiting) - SHOWN} more"] if len(waiting) > SHOWN else []
    return "\n".join(["wait:", *lines, *more])


async def _waiting(source: Source, queue: str | None) -> list[Job]:
    """Return the jobs that wait, by queue."""
    found: list[Job] = []
    serializer = _serializer(source)
    for name in await _names(source, () if queue is None else (queue,)):
        here = Queue(name, _home(source), serializer=serializer)
        ids = await inspect.queued_ids(here.backend, name, 0, -1)
        found += [one for one in await Job.fetch_many(ids, here.backend, here.serializer) if one]
        for registry in (ScheduledJobRegistry, DeferredJobRegistry):
            found += await registry(queue=here).get_jobs()
    return found


def _home(source: Source) -> RedisBackend | Shards:
    if isinstance(source, RQ):
        return source.get_shards() or source.backend
    return source if isinstance(source, RedisBackend) else source.backend


def _backends(source: Source) -> list[RedisBackend]:
    home = _home(source)
    return list(home) if isinstance(home, Shards) else [home]


def _serializer(source: Source) -> Any:
    if isinstance(source, RQ):
        return source.settings().serializer
    return source.serializer if isinstance(source, Queue) else None


async def _names(source: Source, queues: Sequence[str]) -> list[str]:
    if queues:
        return list(queues)
    if isinstance(source, Queue):
        return [source.name]
    return [name for one in _backends(source) for name in await inspect.queue_names(one)]


def _worker(source: Source, names: Sequence[str]) -> Worker | ShardedWorker:
    if isinstance(source, RQ):
        return source.get_worker(*names, handle_signals=False)
    if isinstance(source, Queue):
        return Worker(
            names,
            source.backend,
            serializer=source.serializer,
            job_class=source.job_class,
            job_context=source.job_context,
            handle_signals=False,
        )
    return Worker(names, source, handle_signals=False)
