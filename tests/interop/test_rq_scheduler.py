"""With the real rq-scheduler package: what it has scheduled is taken over and runs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aiorq2 import Job, Scheduler, Worker
from aiorq2.backends.redis import RedisBackend
from aiorq2.migration import SCHEDULED_JOBS, import_rq_scheduler

pytestmark = pytest.mark.slow

PACKAGES = ["rq-scheduler==0.14.*", "crontab", "python-dateutil", "six"]
SCHEDULE = """
import sys
from datetime import datetime, timedelta
from redis import Redis
from rq_scheduler import Scheduler
from tests.support import jobs

scheduler = Scheduler("q", connection=Redis.from_url(sys.argv[1]))
soon = datetime.utcnow() + timedelta(seconds=1)
scheduler.enqueue_at(soon, jobs.add_sync, 1, 2, job_id="once", meta={"mine": 1})
scheduler.schedule(soon, jobs.add_sync, args=[3, 4], interval=1, repeat=2, id="every")
scheduler.cron(sys.argv[2], jobs.add_sync, args=[5], kwargs={"y": 6}, id="cron-noon", timeout=55)
"""


@pytest.fixture
def rq_scheduler(tmp_path: Path) -> str:
    """Install the package beside our environment's rq, and return where it lies."""
    folder = str(tmp_path / "packages")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"]
    subprocess.run([*command, "--target", folder, *PACKAGES], check=True, timeout=100)
    return folder


@pytest.mark.leaks_allowed("rq-scheduler never deletes what recurs, nor do we delete what is its")
async def test_jobs_of_the_real_package_are_taken_over(
    redis_backend: RedisBackend, redis_url: str, rq_scheduler: str
) -> None:
    """One that runs once, an interval and a cron pattern; the package finds nothing left to do then."""
    day = (datetime.now(UTC) + timedelta(days=10)).day
    pattern = f"0 12 {day} * *"  # not while this test runs
    environment = {"PYTHONPATH": f"{rq_scheduler}:{Path.cwd()}", "PATH": ""}
    command = [sys.executable, "-W", "ignore", "-c", SCHEDULE, redis_url, pattern]
    await asyncio.to_thread(subprocess.run, command, check=True, env=environment, timeout=60)

    found = await import_rq_scheduler(redis_backend, serializer="pickle")

    assert {one.id: (one.kind, one.refusal) for one in found} == {
        "once": ("once", ""),
        "every": ("interval", ""),
        "cron-noon": ("cron", ""),
    }
    scheduler = Scheduler("q", backend=redis_backend, serializer="pickle")
    every, noon = [await scheduler.get_cron_job(name) for name in ("every", "noon")]
    assert (noon.pattern, noon.args, noon.kwargs, noon.timeout) == (
        pattern,
        (5,),
        {"y": 6},
        55,
    )
    await Worker("q", redis_backend, serializer="pickle", handle_signals=False).work(max_jobs=3)
    once = await Job.fetch("once", redis_backend, "pickle")
    assert (once.result, once.meta) == (3, {"mine": 1})
    assert [job.result for job in await every.get_jobs()] == [7, 7]
    assert await redis_backend.run(["EXISTS", SCHEDULED_JOBS]) == [0]
