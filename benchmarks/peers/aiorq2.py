"""aiorq2 as it is in this checkout."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from peers import Producer
from peers.tally import noop

PACKAGES = (
    f"--editable={Path(__file__).parents[2]}[uvloop]",
)  # uvloop: as the CLI does; redis-py's hiredis comes with it
PYTHON = (3, 11)
SHARE = 1.0
CONCURRENCY = 256  # the largest batch that it claims; a tenth faster than its default of 100


def stored(redis: Any, total: int) -> int:
    return int(redis.zcard("rq:finished:default"))


def waiting(redis: Any) -> int:
    return int(redis.llen("rq:queue:default"))


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    from aiorq2 import Queue, connect

    backend = connect(url)
    queue = Queue(backend=backend)

    async def one(number: int) -> str:
        return (await queue.enqueue(noop, number)).id

    async def many(numbers: Sequence[int]) -> list[str]:
        jobs = await queue.enqueue_many([queue.prepare_data(noop, [number]) for number in numbers])
        return [job.id for job in jobs]

    yield Producer(one, many)
    await backend.close()


def work(url: str, concurrency: int) -> None:
    import uvloop

    from aiorq2 import Worker, connect

    async def run() -> None:
        backend = connect(url)
        await Worker("default", backend, concurrency=concurrency).work()
        await backend.close()

    uvloop.run(run())


async def results(url: str, ids: Sequence[str]) -> list[Any]:
    from aiorq2 import Job, connect

    backend = connect(url)
    jobs = await Job.fetch_many(ids, backend)
    found = await asyncio.gather(*[job.return_value() for job in jobs if job is not None])
    await backend.close()
    return found
