"""An application with jobs, as users write one; the tests serve it, and start it in processes of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from typing import Any

from quart import Quart, ResponseReturnValue, current_app, g, has_request_context, request

from aiorq2 import get_current_job
from aiorq2.quart_ext import RQ

rq = RQ()

made: list[str] = []
"""The applications that this process has made."""


@rq.job
async def where() -> list[Any]:
    """Say in whose context it runs."""
    return [current_app.config["NAME"], has_request_context(), dict(g.request_headers)]


@rq.job("low", timeout=60)
def where_in_a_thread() -> str:
    """The same in a thread."""
    time.sleep(0.01)
    return str(current_app.config["NAME"])


@rq.job
async def path_of_the_request() -> str:
    """Say for which path it believes to run."""
    return request.path


@rq.job
async def steps() -> str:
    """Say how far it is."""
    job = get_current_job()
    assert job is not None
    await job.progress(0.5, "<b>half</b>")
    return "done"


@rq.job
async def census() -> list[Any]:
    """Count the applications of this process, and the workers inside of them; and say what the application has been through."""
    return [len(made), len(rq._app_state().embedded), current_app.config["NAME"]]


@rq.job
async def take_long(seconds: float) -> float:
    """Sleep."""
    await asyncio.sleep(seconds)
    return seconds


def say_so(job: Any, kind: Any, error: BaseException, traceback: Any) -> None:
    """Print what a run has raised."""
    sys.stdout.write(f"told of {error}\n")


@rq.job
async def fail() -> None:
    """Raise."""
    logging.getLogger(__name__).debug("about to")
    raise ValueError("no")


def create_app(**config: Any) -> Quart:
    """Return an application on the Redis that the environment names, unless the configuration names one."""
    app = Quart(__name__)
    app.config.update({"NAME": os.environ.get("NAME", "an app"), **config})
    if "EMBEDDED" in os.environ:
        app.config["RQ_EMBEDDED_WORKER"] = {"grace": float(os.environ.get("GRACE", "10"))}
    if "OTHER_URL" in os.environ:
        app.config["RQ_OTHER_URL"] = os.environ["OTHER_URL"]
    if "DEFAULTS" in os.environ:
        app.config.update(
            RQ_DEFAULT_QUEUE="low", RQ_DEFAULT_TIMEOUT=3600, RQ_TIMEZONE="Europe/Berlin"
        )
    made.append(app.name)
    rq.init_app(app)

    @app.before_serving
    async def begin() -> None:
        app.config["NAME"] += " that serves"

    @app.after_serving
    async def end() -> None:
        sys.stdout.write("the app has ended\n")

    @app.get("/enqueue")
    async def enqueue() -> ResponseReturnValue:
        return {"id": (await where.queue()).id}

    @app.get("/enqueue/<float:seconds>/after/<float:pause>")
    async def enqueue_after(seconds: float, pause: float) -> ResponseReturnValue:
        sys.stdout.write(f"a request pauses for {pause} s\n")
        await asyncio.sleep(pause)
        return {"id": (await take_long.queue(seconds)).id}

    @app.get("/burst")
    async def burst() -> ResponseReturnValue:
        return {"worked": await rq.get_worker("low").work(True)}

    @app.get("/follow/<job_id>")
    async def follow(job_id: str) -> ResponseReturnValue:
        return await rq.stream(job_id)

    @app.websocket("/follow/<job_id>/ws")
    async def follow_by_websocket(job_id: str) -> None:
        await rq.stream(job_id)

    return app
