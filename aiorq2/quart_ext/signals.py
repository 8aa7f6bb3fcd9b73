"""Signals of blinker's that an application is sent about its jobs: the sender is the app, the job comes as ``job=``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from blinker import NamedSignal, Namespace

if TYPE_CHECKING:
    from quart import Quart

log = logging.getLogger("aiorq2.quart")

_namespace = Namespace()

job_started = _namespace.signal("rq-job-started")
"""A job is about to be called."""
job_finished = _namespace.signal("rq-job-finished")
"""A job has returned."""
job_failed = _namespace.signal("rq-job-failed")
"""A job has raised; the exception comes as ``error=``. It may be run again."""


async def send(signal: NamedSignal, app: Quart, **told: Any) -> None:
    """Tell the receivers, plain functions and coroutine functions; one that raises is logged, and harms no job."""
    if not signal.receivers:
        return
    for receiver in list(signal.receivers_for(app)):
        try:
            await app.ensure_async(receiver)(app, **told)
        except Exception:
            log.exception("a receiver of %s raised", signal.name)
