"""Jobs that ask rq who they are, and a run of them, with whatever rq is there."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, cast

import rq
import rq.job
import rq.version

from aiorq2 import Queue, Worker
from aiorq2.backends import connect
from aiorq2.backends.redis import RedisBackend


def ask(note: str) -> list[str]:
    """Leave a note in the meta that rq's job has, and return what rq says of the job."""
    job = cast("Any", rq.get_current_job())
    kind: Any = rq.job.Job
    assert isinstance(job, kind)
    job.meta["note"] = note
    job.save_meta()
    status = job.get_status()
    return [job.id, str(getattr(status, "value", status)), job.worker_name, *job.args]


async def ask_async(note: str) -> list[str]:
    """The same, in turns with others on the loop."""
    await asyncio.sleep(0.02)
    answer = ask(note)
    await asyncio.sleep(0.02)
    assert cast("Any", rq.get_current_job()).id == answer[0]
    return answer


def ask_in_a_queue_that_runs_at_once(note: str) -> list[Any]:
    """Run another job here by rq's own means, and return what either is told."""
    outer = cast("Any", rq.get_current_job())
    queue = rq.Queue("inline", connection=outer.connection, is_async=False)
    inner = queue.enqueue(ask_id)
    return [outer.id, inner.id, inner.return_value(), cast("Any", rq.get_current_job()).id]


def ask_id() -> str:
    """Return the id that rq tells."""
    return str(cast("Any", rq.get_current_job()).id)


async def ask_everywhere(backend: RedisBackend) -> list[dict[str, Any]]:
    """Ask on the loop, twice at the same time, in a thread and in a process; return what came of it, job by job."""
    queue = Queue("q", backend)
    jobs = [
        await queue.enqueue(ask_async, "one"),
        await queue.enqueue(ask_async, "two"),
        await queue.enqueue(ask_async, "in a thread", offload="thread"),
        await queue.enqueue(ask, "thread"),
        await queue.enqueue(ask, "process", offload="process"),
        await queue.enqueue(ask_async, "in a process", offload="process"),
    ]
    nested = await queue.enqueue(ask_in_a_queue_that_runs_at_once, "nested")
    await Worker("q", backend, name="asked").work(burst=True)
    outer, inner, told, outer_again = await nested.wait(timeout=5)
    assert (outer, told, outer_again) == (nested.id, inner, nested.id)
    return [
        {"id": job.id, "told": await job.wait(timeout=5), "meta": await job.get_meta()}
        for job in jobs
    ]


def main() -> None:
    """Ask on the Redis that the first argument of the program names; print rq's version and the answers."""

    async def run() -> list[dict[str, Any]]:
        backend = connect(sys.argv[1])
        try:
            return await ask_everywhere(backend)
        finally:
            await backend.close()

    answers = asyncio.run(run())
    sys.stdout.write(json.dumps([rq.version.VERSION, answers]))
