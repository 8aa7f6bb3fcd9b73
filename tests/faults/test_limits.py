"""A process that runs out of something: memory, file descriptors, its connections. The job fails; the worker does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from aiorq2 import JobStatus
from tests.faults import functions
from tests.faults.site import Site, open_gate
from tests.support.eventually import eventually

pytestmark = pytest.mark.slow

MB = 1024 * 1024


def _limited(limit: str, value: int) -> Sequence[str]:
    """Return the program of a worker that has a limit on something (a name of the module ``resource``)."""
    launch = "import os, resource, sys;"
    launch += f"resource.setrlimit(resource.{limit}, ({value}, {value}));"
    launch += "os.execv(sys.executable, [sys.executable, '-m', 'aiorq2', *sys.argv[1:]])"
    return ("-c", launch)


@pytest.mark.parametrize("offload", [None, "process"])
async def test_memory_that_runs_out_fails_the_job(site: Site, offload: str | None) -> None:
    """A job that wants more than there is gets a MemoryError, as any other exception; its neighbours and the worker go on."""
    worker = await site.worker(program=_limited("RLIMIT_AS", 1500 * MB), lease=4)
    neighbour = await site.queue.enqueue(functions.work, site.ledger, 1, 2.0)
    await site.started(neighbour)

    greedy = [
        await site.queue.enqueue(functions.hoard, site.ledger, 3000 * MB, offload=offload)
        for _ in range(3)
    ]

    for job in greedy:
        await site.has_status(job, JobStatus.FAILED)
        assert "MemoryError" in str(job.exc_info)
    after = await site.queue.enqueue(functions.work_sync, site.ledger, 21)
    assert [await neighbour.wait(20), await after.wait(20)] == [2, 42]
    assert worker.is_running


async def test_file_descriptors_that_run_out_fail_what_needs_one(site: Site) -> None:
    """A job has taken all there are: others that need one fail with their own error, what needs none runs, and when they are given
    back everything is as before, though connections were lost meanwhile."""
    worker = await site.worker(program=_limited("RLIMIT_NOFILE", 64), lease=15)
    hog = await site.queue.enqueue(functions.open_all_files, site.ledger, site.gate())
    await site.started(hog)

    failing = await site.queue.enqueue(functions.open_one_file, site.ledger)
    plain = await site.queue.enqueue(functions.compute, 20)
    await site.has_status(failing, JobStatus.FAILED)
    assert "Too many open files" in str(failing.exc_info)
    assert await plain.wait(20) == 40
    site.proxy.reset_all()
    await asyncio.sleep(1)
    open_gate(site.gate())

    assert await hog.wait(20) > 10
    after = await site.queue.enqueue(functions.work, site.ledger, 21)
    assert await after.wait(20) == 42
    assert worker.is_running


async def test_job_that_closes_the_connections_of_its_worker(site: Site) -> None:
    """Descriptors 0 to 2 and every socket are closed under the worker's feet: it connects again and goes on."""
    worker = await site.worker(lease=4)
    neighbour = await site.queue.enqueue(functions.work, site.ledger, 1, 1.5)
    await site.started(neighbour)

    vandal = await site.queue.enqueue(functions.close_everything)

    assert await vandal.wait(20) > 0
    after = await site.queue.enqueue(functions.work, site.ledger, 21)
    assert [await neighbour.wait(20), await after.wait(20)] == [2, 42]
    await eventually(lambda: worker.is_running, timeout=1)
    assert len(site.runs()) == 2
