"""Follow a job from a page, by server-sent events or a websocket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from quart import Response, abort, has_websocket_context, make_response, websocket

from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import NoSuchJobError
from aiorq2.job import Job
from aiorq2.serializers import Serializer

MAX_STREAMS = 100
"""How many jobs one process lets pages follow at once."""

_open = 0


async def stream(backend: RedisBackend | None, job_id: str, serializer: Serializer) -> Response:
    """Answer with what is heard of a job until it has ended; without a backend, there is none."""
    if backend is None:
        abort(404)
    try:
        job = await Job.fetch(job_id, backend, serializer)
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
