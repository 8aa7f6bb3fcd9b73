"""Which workers on a Redis are too old to be trusted with the jobs of the dead."""

from __future__ import annotations

import pytest

from aiorq2.backends.health import old_workers
from aiorq2.backends.inspect import WorkerRecord


def worker(version: str, *, is_ours: bool = False) -> WorkerRecord:
    """Return what is known of a worker of that version."""
    return WorkerRecord(
        name="w",
        key="rq:worker:w",
        hostname="h",
        ip_address="",
        pid=1,
        version=version,
        python_version="",
        state="idle",
        queues=("q",),
        birth_date=None,
        last_heartbeat=None,
        successful_job_count=0,
        failed_job_count=0,
        total_working_time=0.0,
        executions=(),
        is_ours=is_ours,
    )


@pytest.mark.parametrize(
    ("version", "is_old"),
    [
        ("0.13", True),
        ("1.16.2", True),
        ("1.99", True),
        ("2.0", False),
        ("2.0.0b1", False),
        ("2.6.1", False),
        ("3.0.0", False),
        ("10.1", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_workers_of_rq_before_2_are_old(version: str, is_old: bool) -> None:
    """The version is what the worker has announced; one that cannot be read is no reason to warn."""
    assert bool(old_workers([worker("3.0"), worker(version)])) == is_old


def test_workers_of_ours_are_never_old() -> None:
    """Our own version numbers are lower than RQ's."""
    assert old_workers([worker("0.1.0", is_ours=True)]) == []
