"""What a job of an application runs in: its app context, what came along with the request, and the signals."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from quart import g, has_request_context, has_websocket_context, request, websocket

from aiorq2.errors import DeserializationError, NotConfigured
from aiorq2.executor import JobContext
from aiorq2.quart_ext.config import AppConfig
from aiorq2.quart_ext.signals import job_failed, job_finished, job_started, send

if TYPE_CHECKING:
    from quart import Quart

    from aiorq2.job import Job

META_KEY = "request_headers"
"""Where the headers stand in the meta of a job."""


def context_of(app: Quart, config: AppConfig) -> JobContext:
    """Return what jobs of an application are called in.

    It holds the application weakly, for queues have it, and are kept as long as their application is. Where that is gone,
    entering it raises ``NotConfigured``.
    """
    with_request = config.test_request_context
    found = weakref.ref(app)

    @asynccontextmanager
    async def surroundings(job: Job) -> AsyncIterator[None]:
        app = found()
        if app is None:
            raise NotConfigured(f"job {job.id!r}: cannot run, its Quart app is gone; keep the app")
        async with app.test_request_context("/") if with_request else app.app_context():
            g.request_headers = _headers_of(job)
            await send(job_started, app, job=job)
            try:
                yield
            except BaseException as error:
                await send(job_failed, app, job=job, error=error)
                raise
            await send(job_finished, app, job=job)

    return surroundings


def carried(config: AppConfig) -> dict[str, Any]:
    """Return what goes into the meta of a job that is enqueued now: the headers of the request in which that is."""
    if has_request_context():
        headers = request.headers
    elif has_websocket_context():
        headers = websocket.headers
    else:
        return {}
    found = {name: headers[name] for name in config.headers if name in headers}
    return {META_KEY: found} if found else {}


def _headers_of(job: Job) -> dict[str, str]:
    try:
        found = job.meta.get(META_KEY)
    except (DeserializationError, AttributeError):  # somebody else's; the job may not need it
        return {}
    return found if isinstance(found, dict) else {}
