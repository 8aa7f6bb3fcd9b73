"""What ends has an end: after the jobs and their TTLs, the keys are those that were there before."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from aiorq2 import JobStatus, Queue, Retry, Worker
from aiorq2.backends.redis import RedisBackend
from aiorq2.upkeep import Sweeper
from tests.support import jobs
from tests.support.eventually import eventually

SHORT: dict[str, Any] = {"result_ttl": 1, "failure_ttl": 1}
CONSTANT = {"queues"}
"""What may stay when nothing is left to do: the set of the queues' names."""


async def _keys(backend: RedisBackend) -> set[str]:
    cursor, found = b"0", set()
    while True:
        (cursor, page), *_ = await backend.run(
            ["SCAN", cursor, "MATCH", f"{backend.key_prefix}:*", "COUNT", 500]
        )
        found |= {key.decode().removeprefix(f"{backend.key_prefix}:") for key in page}
        if cursor == b"0":
            return found


async def test_nothing_is_left_of_jobs_that_are_over(backend: RedisBackend) -> None:
    """Finished, failed, retried, stopped, cancelled, deleted and expired jobs leave no key behind."""
    queue = Queue("q", backend)
    worker = Worker("q", backend, lease=2)
    working = asyncio.create_task(worker.work())
    ended = [
        *[await queue.enqueue(jobs.add, n, 1, **SHORT) for n in range(20)],
        *[await queue.enqueue(jobs.add_sync, n, 1, **SHORT) for n in range(5)],
        *[await queue.enqueue(jobs.fail, "boom", retry=Retry(1), **SHORT) for _ in range(5)],
        await queue.enqueue(jobs.add, 1, 1, result_ttl=0),
    ]
    stopped = await queue.enqueue(jobs.slow, 60, **SHORT)
    await eventually(stopped.is_started)
    await stopped.cancel()
    for job in ended[:-1]:
        await eventually(partial(_has_ended, job))
    await eventually(lambda: _has_ended(stopped))
    worker.request_stop()
    await working
    cancelled = await queue.enqueue(jobs.add, 1, 1, failure_ttl=1)
    await cancelled.cancel()
    deleted = await queue.enqueue(jobs.add, 1, 1)
    await deleted.delete()
    expiring = await queue.enqueue(jobs.add, 1, 1, ttl=1)

    async def has_expired() -> bool:
        return not await type(expiring).exists(expiring.id, backend)

    await eventually(has_expired)

    await Worker("q", backend, lease=2).work(burst=True)  # drops the id of the one that has expired

    async def is_clean() -> bool:
        await Sweeper(backend, ["q"]).sweep()
        left = {key for key in await _keys(backend) if not key.startswith("aio:replay:")}
        return not {key for key in left if not key.startswith(("worker:", "aio:watch:"))} - CONSTANT

    await eventually(is_clean, timeout=15, interval=0.3)
    timed = [key for key in await _keys(backend) if key not in CONSTANT]
    ttls = (
        await backend.run(*[["TTL", f"{backend.key_prefix}:{key}"] for key in timed])
        if timed
        else []
    )
    assert all(ttl != -1 for ttl in ttls), dict(zip(timed, ttls, strict=True))


async def _has_ended(job: Any) -> bool:
    """Whether the job is over; one that is gone was over before."""
    if not await type(job).exists(job.id, job._backend):
        return True
    return (await job.get_status()) in (JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED)
