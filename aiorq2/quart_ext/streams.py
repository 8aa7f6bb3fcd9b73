"""Follow a job from a page, by server-sent events or a websocket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from quart import Response, abort, has_websocket_context, make_response, websocket

from aiorq2.errors import NoSuchJobError
from aiorq2.job import Job
from aiorq2.queue import Queue

MAX_STREAMS = 100
"""How many jobs one process lets pages follow at once."""

_open = 0


async def stream(queue: Queue, job_id: str) -> Response:
    """Answer with what is heard of a job until it has ended."""
    try:
        job = await Job.fetch(job_id, queue.backend, queue.serializer)
    except NoSuchJobError:
        abort(404)
    if _open >= MAX_STREAMS:
        abort(503)
    if has_websocket_context():
        async for message in _messages(job):
            await websocket.send(message)
        await websocket.close(1000)
        return Response("")
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    headers["X-Accel-Buffering"] = "no"  # of a proxy such as nginx
    response = await make_response(_events(job), headers)
    assert isinstance(response, Response)
    response.timeout = None
    return response


async def _events(job: Job) -> AsyncIterator[str]:
    async for message in _messages(job):
        yield f"data: {message}\n\n"
    yield "event: end\ndata: {}\n\n"


async def _messages(job: Job) -> AsyncIterator[str]:
    global _open
    _open += 1
    try:
        async for progress in job.follow():
            yield json.dumps(progress.as_dict())
    except NoSuchJobError:
        yield json.dumps({"status": "deleted", "done": None, "text": ""})
    finally:
        _open -= 1
