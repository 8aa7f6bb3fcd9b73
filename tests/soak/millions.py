"""``python -m tests.soak.millions [--jobs 5000000]``: one worker runs jobs that do nothing, as fast as it can.

How its memory grows, and what is left in Redis, is the verdict: a soak of half an hour runs too few jobs for the first to be told.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from aiorq2 import Queue, connect
from aiorq2.backends.redis import RedisBackend
from tests.faults.site import memory_mb
from tests.soak import jobs, verdict
from tests.soak.__main__ import GONE_S, SWEPT_S, say
from tests.support.eventually import eventually
from tests.support.keys import leaks
from tests.support.processes import WorkerProcess
from tests.support.redis_server import RedisServer

SLICE = 500
MOST_QUEUED = 20_000
KEPT_S = 5
"""How long a finished job is kept."""


async def _finished(backend: RedisBackend, worker: str) -> tuple[int, int]:
    """Return how many jobs the worker says that it has run, and how many of them failed."""
    counts = await backend.run(
        ["HMGET", backend.keys.worker(worker), "successful_job_count", "failed_job_count"]
    )
    done, failed = (int(one or 0) for one in counts[0])
    return done, failed


async def _produce(queue: Queue, count: int) -> None:
    """Enqueue so many jobs, never many more than the worker has taken."""
    for start in range(0, count, SLICE):
        data = [
            Queue.prepare_data(jobs.nothing, (number,), {}, result_ttl=KEPT_S)
            for number in range(start, min(start + SLICE, count))
        ]
        await queue.enqueue_many(data)
        while start % (10 * SLICE) == 0 and await queue.count() > MOST_QUEUED:
            await asyncio.sleep(0.05)


async def _look(
    backend: RedisBackend, worker: WorkerProcess, count: int, producing: asyncio.Task[None]
) -> list[tuple[int, float]]:
    """Return the worker's memory (MB) by the number of jobs it has run, once a few seconds until all are done."""
    seen: list[tuple[int, float]] = []
    while not seen or seen[-1][0] < count:
        if producing.done():
            await producing
        await asyncio.sleep(5)
        done, failed = await _finished(backend, str(worker.name))
        assert not failed, f"{failed} jobs failed"
        seen.append((done, round(memory_mb(worker.pid), 2)))
        if len(seen) % 6 == 0:
            say(f"{done} jobs, {seen[-1][1]} MB")
    return seen


def _left(server: RedisServer) -> list[str]:
    with server.client() as client:
        names: Any = client.keys("*")
        ending = [name.decode() for name in names if int(str(client.ttl(name))) >= 0]
        return [*leaks(client, "rq"), *ending]


async def run(server: RedisServer, count: int) -> dict[str, Any]:
    """Go through it and return what was seen."""
    backend = connect(server.url)
    queue = Queue("soak", backend)
    began = time.monotonic()
    with WorkerProcess(
        ["--concurrency", "256", "--log-level", "error", "soak"],
        name="steady",
        env={"AIORQ2_URL": server.url},
    ) as worker:
        producing = asyncio.create_task(_produce(queue, count))
        seen = await _look(backend, worker, count, producing)
        await producing
        seconds = time.monotonic() - began
        done, _ = await _finished(backend, "steady")
        say("all has ended; waiting for what is kept to be forgotten and swept")
        await asyncio.sleep(KEPT_S + SWEPT_S)
        worker.terminate()
        await asyncio.to_thread(worker.wait, 30)
    try:
        await eventually(lambda: not _left(server), timeout=GONE_S, interval=1)
    except AssertionError:
        say("something is left")
    await backend.close()
    warm = [one for one in seen if one[0] >= count * verdict.WARM_UP]
    return {
        "jobs": count,
        "run": done,
        "per second": round(count / seconds),
        "MB at the start, after the warm-up, at the end": [seen[0][1], warm[0][1], seen[-1][1]],
        "MB per million": round(verdict.slope(warm) * 1e6, 2),
        "left": _left(server)[:20],
    }


def main() -> int:
    """Run; returns 1 if memory grows, a job was not run once, or anything is left."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.millions", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5_000_000)
    parser.add_argument("--out", type=Path, default=Path("build/soak"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with RedisServer() as server:
        figures = asyncio.run(run(server, options.jobs))
    say(json.dumps(figures, indent=2))
    first, warm, last = figures["MB at the start, after the warm-up, at the end"]
    told = (
        f"{figures['run']} jobs that do nothing, one worker, {figures['per second']}/s: MB per million"
        f" {figures['MB per million']} ({first} MB at the start, {warm} after a fifth, {last} at the end);"
        f" keys left {len(figures['left'])}"
    )
    (options.out / "millions.jsonl").write_text(json.dumps({"name": "soak", "value": told}) + "\n")
    is_well = (
        figures["run"] == options.jobs
        and not figures["left"]
        and figures["MB per million"] <= verdict.RSS_MB_PER_MILLION
    )
    say("all is well" if is_well else "NOT WELL")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
