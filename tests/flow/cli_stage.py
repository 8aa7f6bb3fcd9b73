"""A command line on the test's Redis, and the library beside it to arrange and to look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from aiorq2.backends import connect
from aiorq2.backends.redis import RedisBackend
from aiorq2.cli import commands
from aiorq2.job import Job
from aiorq2.queue import Queue
from tests.support.processes import WorkerProcess

UNKNOWN_ID = "00000000-no-such-job"


class Stage:
    """Where a test of the command line plays; ``env`` are the settings that its commands and workers get."""

    def __init__(self, url: str, key_prefix: str) -> None:
        self.url = url
        self.key_prefix = key_prefix
        self.env = {"AIORQ2_URL": url, "AIORQ2_KEY_PREFIX": key_prefix}

    def run(
        self, *args: str, stdin: str | None = None, env: dict[str, str] | None = None
    ) -> Result:
        """Run one command in this process."""
        return CliRunner().invoke(
            commands, list(args), input=stdin, env={**self.env, **(env or {})}
        )

    def burst(self, *args: str, cwd: Path | None = None) -> tuple[int, str]:
        """Run a worker process until nothing is left; return its exit status and what it said."""
        with WorkerProcess(["--burst", *args], env=self.env, cwd=cwd) as process:
            return process.wait(30), process.output()

    def library(self, work: Callable[[RedisBackend], Coroutine[Any, Any, Any]]) -> Any:
        """Return what ``work(backend)`` returns."""
        return asyncio.run(self._worked(work))

    async def _worked(self, work: Callable[[RedisBackend], Coroutine[Any, Any, Any]]) -> Any:
        backend = connect(self.url, key_prefix=self.key_prefix)
        try:
            return await work(backend)
        finally:
            await backend.close()

    def enqueue(self, *functions: Any, queue: str = "q", args: tuple[Any, ...] = ()) -> list[Job]:
        """Enqueue functions."""

        async def work(backend: RedisBackend) -> list[Job]:
            return [await Queue(queue, backend).enqueue(function, *args) for function in functions]

        return list(self.library(work))

    def fetch(self, job_id: str) -> Job:
        """Return a job as it is now."""
        job: Job = self.library(lambda backend: Job.fetch(job_id, backend))
        return job

    def wait_for_status(self, job_id: str, status: str, timeout: float = 10.0) -> None:
        """Block until a job has this status."""
        deadline = time.monotonic() + timeout
        while (found := self.fetch(job_id).status) != status:
            assert time.monotonic() < deadline, f"job {job_id} is still {found}, not {status}"
            time.sleep(0.02)


def is_one_sentence(result: Result, status: int) -> bool:
    """Whether a command has failed as it should: a status, a line on stderr, no traceback."""
    lines = result.stderr.splitlines()
    return result.exit_code == status and len(lines) == 1 and lines[0].startswith("aiorq2: ")
