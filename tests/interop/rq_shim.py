"""A pytest plugin for a run of rq's own tests: ``work()`` of rq's workers is aiorq2's, and Redis is where ``RQ_SUITE_PORT`` says.

It runs in the process of rq's tests, whose package is called ``tests`` as well: nothing of ours but aiorq2 may be imported here.
``RQ_SUITE_REPORT`` is the file that becomes a JSON object, test id → outcome; ``RQ_SUITE_AT_WORK`` gets a line per worker
that was at work, from forked processes too. With ``RQ_SUITE_WORKER=rq`` rq's workers are left as they are. The tests wait
``RQ_SUITE_PATIENCE`` times as long as they say, for machines that are slow at the moment.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import redis
import rq
import rq.worker
import rq.worker.worker_classes
from rq.defaults import RQ_KEY_PREFIX
from rq.job import Job

import aiorq2
from aiorq2.backends import connect

_RQ_PORT = 6379
_PORT = int(os.environ["RQ_SUITE_PORT"])
_RQ_LEASE_MARGIN_S = 60
_WORKERS = ("Worker", "SimpleWorker", "SpawnWorker")


def _redirect() -> None:
    """Let whoever connects to the port of rq's tests connect to ours."""
    connects: Any = redis.Connection.__init__

    @functools.wraps(connects)
    def redirected(self: Any, *args: Any, **kwargs: Any) -> None:
        connects(self, *args, **kwargs)
        self.port = _PORT if int(self.port) == _RQ_PORT else self.port

    redis.Connection.__init__ = redirected  # type: ignore[method-assign]


def _stretch_waits() -> None:
    """Let the tests, and the jobs in them, wait longer for what we do; we do not."""
    patience = float(os.environ.get("RQ_SUITE_PATIENCE", "1"))
    sleep, join = time.sleep, BaseProcess.join

    def longer(seconds: float) -> float:
        caller = sys._getframe(2).f_globals.get("__name__", "")
        return seconds * patience if caller.startswith("tests.") else seconds

    def patient_sleep(seconds: float) -> None:
        sleep(longer(seconds))

    def patient_join(self: BaseProcess, timeout: float | None = None) -> None:
        join(self, None if timeout is None else longer(timeout))

    time.sleep = patient_sleep  # type: ignore[assignment]
    BaseProcess.join = patient_join  # type: ignore[method-assign]


def _replace_workers() -> None:
    for name in _WORKERS:
        kind = getattr(rq, name)
        shim = type(name, (_AtWork, kind), {"__module__": kind.__module__})
        for module in (rq, rq.worker, rq.worker.worker_classes):
            setattr(module, name, shim)


class _AtWork:
    """rq's constructor, introspection and commands; what takes jobs from Redis and runs them is aiorq2's worker, one at a time."""

    def work(
        self: Any,
        burst: bool = False,
        logging_level: Any = None,
        date_format: Any = None,
        log_format: Any = None,
        max_jobs: int | None = None,
        max_idle_time: int | None = None,
        with_scheduler: bool = False,
        dequeue_strategy: Any = "default",
    ) -> bool:
        """Run jobs as rq's ``work`` does, and return whether any was run."""
        with Path(os.environ["RQ_SUITE_AT_WORK"]).open("a") as note:
            note.write(os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0] + "\n")
        working: Callable[[], Coroutine[Any, Any, bool]] = functools.partial(
            self._work, burst, max_jobs, max_idle_time, with_scheduler, dequeue_strategy
        )
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(working())
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(asyncio.run, working()).result()

    async def _work(
        self: Any,
        burst: bool,
        max_jobs: int | None,
        max_idle_time: int | None,
        with_scheduler: bool,
        strategy: Any,
    ) -> bool:
        database = self.connection.connection_pool.connection_kwargs["db"]
        backend = connect(f"redis://localhost:{_PORT}/{database}", key_prefix=RQ_KEY_PREFIX)
        worker = aiorq2.Worker(
            self.queue_names(),
            backend,
            name=self.name,
            concurrency=1,
            lease=self.job_monitoring_interval + _RQ_LEASE_MARGIN_S,
            handle_signals=True,
            default_result_ttl=self.default_result_ttl,
            exception_handlers=[self._as_rq_calls(handler) for handler in self._exc_handlers],
            serializer=self.serializer,
            allow=["*"],
            dequeue_strategy=getattr(strategy, "value", strategy) or "default",
        )
        try:
            return await worker.work(burst, max_jobs, max_idle_time, with_scheduler)
        finally:
            await backend.close()

    def _as_rq_calls(self: Any, handler: Any) -> Any:
        """Return a handler that is given rq's job; an aiorq2 worker gives its handlers its own."""

        def handle(job: aiorq2.Job, *exc_info: Any) -> Any:
            found = Job.fetch(job.id, connection=self.connection, serializer=self.serializer)
            return handler(found, *exc_info)

        return handle


_outcomes: dict[str, str] = {}


@pytest.hookimpl
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how a test ended; a failure of one of its parts is one of the test."""
    tells = report.when == "call" or not report.passed
    if tells and _outcomes.get(report.nodeid) != "failed":
        _outcomes[report.nodeid] = report.outcome


@pytest.hookimpl
def pytest_sessionfinish() -> None:
    """Write the report."""
    Path(os.environ["RQ_SUITE_REPORT"]).write_text(json.dumps(_outcomes))


_redirect()
_stretch_waits()
if os.environ.get("RQ_SUITE_WORKER") != "rq":
    _replace_workers()
