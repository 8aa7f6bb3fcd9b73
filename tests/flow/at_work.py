"""Workers for the tests of this folder: until nothing is left, or beside the test until it lets go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.shards import Shards
from aiorq2.sharded import ShardedWorker
from aiorq2.worker import Worker
from tests.support import topologies
from tests.support.eventually import eventually

_HOW = {"max_jobs", "max_idle_time", "with_scheduler"}


async def drain(backend: RedisBackend, queues: str | Sequence[str] = "q", **options: Any) -> bool:
    """Run a worker until nothing is left to do now; return whether it ran anything. Options are the worker's or ``work``'s."""
    how = {name: options.pop(name) for name in _HOW & options.keys()}
    return bool(await worker_on(backend, queues, how, **options).work(burst=True, **how))


def worker_on(
    backend: RedisBackend, queues: str | Sequence[str], how: Mapping[str, Any], **options: Any
) -> Any:
    """Return a worker, or where the tests of this run stand on shards, one that serves shards; it can do the same but count."""
    if topologies.current == "shards" and not {"max_jobs", "max_idle_time"} & how.keys():
        return ShardedWorker(queues, Shards([backend]), **options)
    return Worker(queues, backend, **options)


@asynccontextmanager
async def at_work(
    backend: RedisBackend, queues: str | Sequence[str] = "q", **options: Any
) -> AsyncIterator[Worker]:
    """Have a worker at work beside the test; at the end it is told to stop, and its jobs get 5 seconds."""
    how = {name: options.pop(name) for name in _HOW & options.keys()}
    worker = worker_on(backend, queues, how, **{"grace": 5, "handle_signals": False, **options})
    working = asyncio.create_task(worker.work(**how))
    try:
        await eventually(lambda: is_registered(worker, backend))
        yield worker.workers[0] if isinstance(worker, ShardedWorker) else worker
    finally:
        worker.request_stop()
        async with asyncio.timeout(15):
            await working


async def is_registered(worker: Worker, backend: RedisBackend) -> bool:
    """Return whether a worker has announced itself."""
    return worker.name in [one.name for one in await Worker.all(backend)]


async def stored(backend: RedisBackend) -> list[str]:
    """Return the names of all keys under the backend's prefix, without the prefix, sorted."""
    (keys,) = await backend.run(["KEYS", f"{backend.key_prefix}:*"])
    return sorted(key.decode().removeprefix(f"{backend.key_prefix}:") for key in keys)


async def let_expire(backend: RedisBackend, key: str) -> None:
    """Let the time to live of a key be over."""
    ttl, _ = await backend.run(["PTTL", key], ["PEXPIRE", key, 0])
    assert ttl > 0, f"{key} has no time to live"


async def make_due(backend: RedisBackend, queue: str = "q") -> None:
    """Let the delay of everything that is scheduled on a queue be over."""
    key = backend.keys.scheduled(queue)
    (ids,) = await backend.run(["ZRANGE", key, 0, -1])
    for one in ids:
        await backend.run(["ZADD", key, "XX", 1, one])
