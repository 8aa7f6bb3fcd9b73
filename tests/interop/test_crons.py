"""Recurring entries are ours; the jobs that they make are anybody's."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pytest

from aiorq2 import CronJob, Scheduler
from aiorq2.backends.redis import RedisBackend
from tests.interop.functions import CALLABLES
from tests.interop.sides import Ours, Theirs

Overlap = Literal["allow", "queue"]


async def _tick(backend: RedisBackend, cron: CronJob, runs: int) -> list[str]:
    """Have an entry be due ``runs`` times, and return the ids of its jobs, the first one first."""
    scheduler = Scheduler("q", backend=backend)
    for _ in range(runs):
        await cron.refresh()
        assert cron.created_at is not None
        await cron.move(cron.created_at - timedelta(seconds=5 - cron.runs))
        await scheduler.run(burst=True)
    return [job.id for job in reversed(await cron.get_jobs())]


@pytest.mark.parametrize("overlap", ["allow", "queue"])
async def test_jobs_of_an_entry_run_on_either_side(
    redis_backend: RedisBackend, ours: Ours, theirs: Theirs, overlap: Overlap
) -> None:
    """rq's worker runs them; with ``overlap="queue"`` it lets the next one go when one has ended, whichever way."""
    cron = await Scheduler("q", backend=redis_backend).cron(
        "0 0 1 1 *", CALLABLES["add"], (1, 2), name="x", overlap=overlap
    )

    ids = await _tick(redis_backend, cron, 3)
    while await theirs.work():
        pass

    assert len(ids) == 3
    for one in ids:
        assert await theirs.status(one) == await ours.status(one) == "finished"
        assert (await theirs.facts(one)).return_value == (await ours.facts(one)).return_value == 3
    await cron.cancel()


async def test_entries_do_not_disturb_rq(
    redis_backend: RedisBackend, ours: Ours, theirs: Theirs
) -> None:
    """rq sees the queue, its jobs and nothing else; its scheduler leaves entries alone."""
    cron = await Scheduler("q", backend=redis_backend).cron(
        "0 0 1 1 *", CALLABLES["add"], (1, 2), name="x"
    )
    (job_id,) = await _tick(redis_backend, cron, 1)

    await theirs.schedule()

    assert await theirs.ids("queued") == await ours.ids("queued") == [job_id]
    assert await theirs.ids("scheduled") == []
    await cron.refresh()
    assert (cron.state, cron.runs) == ("active", 1)
    await cron.cancel()
