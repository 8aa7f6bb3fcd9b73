"""A job that blocks the event loop costs its neighbours nothing but time."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults import functions
from tests.faults.checker import overlaps
from tests.faults.figures import Report
from tests.faults.site import Site

pytestmark = pytest.mark.slow

LEASE_S = 5.0
"""Long enough for another worker to start, and to take jobs, while the loop is blocked."""


async def test_block_of_two_leases_repeats_nothing(site: Site, report: Report) -> None:
    """The heartbeat goes on: nobody takes over the blocked worker's jobs, and its log names the culprit."""
    blocked = await site.worker(lease=LEASE_S)
    neighbours = [
        await site.queue.enqueue(function, site.ledger, 1, 1.0)
        for function in (functions.work, functions.work_sync)
        for _ in range(3)
    ]
    await site.started(*neighbours)
    culprit = await site.queue.enqueue(functions.block_loop, site.ledger, 2 * LEASE_S)
    await site.started(culprit)
    other = await site.worker(lease=LEASE_S)
    elsewhere = [await site.queue.enqueue(functions.work, site.ledger, 2) for _ in range(5)]

    assert [await job.wait(20) for job in elsewhere] == [4] * 5
    assert {run.pid for job in elsewhere for run in site.runs_of(job)} == {other.pid}
    assert await culprit.wait(30) == 2 * LEASE_S
    assert [await job.wait(20) for job in neighbours] == [2] * 6
    runs = Counter(run.job_id for run in site.runs())
    report.figure(
        "blocked", f"duplicates {runs.total() - len(runs)}, overlaps {len(overlaps(site.runs()))}"
    )
    assert set(runs.values()) == {1}
    assert {run.how for run in site.runs()} == {"end"}
    assert "has not answered for" in blocked.output()
    assert "in block_loop" in blocked.output()
    assert "answers again" in blocked.output()
    assert "its worker died" not in other.output()
