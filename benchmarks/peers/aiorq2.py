"""aiorq2 as it is in this checkout."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import Producer, Setup, Task, chunks, run
from .tally import ASYNC

PACKAGES = (f"--editable={Path(__file__).parents[2]}[uvloop]",)
LIBRARY = "aiorq2"
PYTHON = (3, 11)
IS_ASYNC = True
SHARE = 1.0
CONCURRENCY = 256
CHUNK = 500
CHOICES = (
    "256 jobs at once: the largest batch that it claims; a tenth faster than its default of 100",
    "uvloop, as its command line uses it where it is installed; hiredis comes with it",
    "everything else as it is by default: JSON, leases, heartbeat, results kept in the job",
)
LACKS: dict[str, str] = {}


def stored(redis: Any, total: int) -> int:
    return int(redis.zcard("rq:finished:default"))


def waiting(redis: Any) -> int:
    return int(redis.llen("rq:queue:default"))


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    from aiorq2 import Job, Queue, connect

    backend = connect(url)
    queue = Queue(backend=backend)

    async def one(task: Task, number: int) -> Job:
        return await queue.enqueue(ASYNC[task], number)

    async def many(task: Task, numbers: Sequence[int]) -> list[str]:
        prepared = [queue.prepare_data(ASYNC[task], [number]) for number in numbers]
        return [job.id for job in await queue.enqueue_many(prepared)]

    async def at(numbers: Sequence[int], moments: Sequence[float]) -> list[str]:
        ids: list[str] = []
        for part in chunks(list(zip(numbers, moments, strict=True)), CHUNK):
            calls = [
                queue.enqueue_at(datetime.fromtimestamp(moment, UTC), ASYNC["noop"], number)
                for number, moment in part
            ]
            ids += [job.id for job in await asyncio.gather(*calls)]
        return ids

    async def wait(job: Job) -> Any:
        return await job.wait(10)

    yield Producer(one, many, wait, at)
    await backend.close()


def work(url: str, setup: Setup) -> None:
    from aiorq2 import Worker, connect

    async def main() -> None:
        backend = connect(url)
        await Worker("default", backend, concurrency=setup.concurrency).work()
        await backend.close()

    run(main())


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    from aiorq2 import Job, connect

    backend = connect(url)
    found: list[Any] = []
    for part in chunks(ids, CHUNK):
        jobs = await Job.fetch_many(part, backend)
        found += await asyncio.gather(*[job.return_value() for job in jobs if job is not None])
    await backend.close()
    return found
