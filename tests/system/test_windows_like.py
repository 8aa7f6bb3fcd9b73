"""Where there are no signal handlers of the loop, and no fork: as on Windows, as far as that can be seen elsewhere."""

from __future__ import annotations

import asyncio
import signal

import pytest

from aiorq2 import Queue, connect
from aiorq2.registry import FinishedJobRegistry
from tests.support.eventually import eventually
from tests.support.processes import PythonProcess

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_worker_needs_no_signal_handlers_of_the_loop(
    redis_url: str, key_prefix: str, number: signal.Signals
) -> None:
    """It runs jobs of every kind, in a burst in a thread and then in the main thread, until a signal ends it in order."""
    backend = connect(redis_url, key_prefix=key_prefix)
    finished = FinishedJobRegistry(queue=Queue("default", backend))
    with PythonProcess(["-m", "tests.system.windows_like", redis_url, key_prefix]) as process:

        async def all_finished() -> bool:
            return await finished.get_job_count() == 6

        await eventually(all_finished, timeout=60)
        process.send_signal(number)
        status = await asyncio.to_thread(process.wait, 30)
        told = process.output()

    assert status == 0, told
    assert told.count("the worker has returned") == 2, told
    assert "stopping; 0 jobs are running" in told
    assert "Traceback" not in told
    for job in await finished.get_jobs():
        await job.delete()
    await backend.close()
