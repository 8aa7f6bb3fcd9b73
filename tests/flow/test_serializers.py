"""What travels: the three serializers from enqueue to result, and what happens where the two sides disagree."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from aiorq2 import Job, JobStatus, Queue, signed
from aiorq2.backends.redis import RedisBackend
from tests.flow.at_work import drain
from tests.support import jobs

RICH: dict[str, Any] = {
    "when": datetime(2026, 3, 1, 12, 30, 1, 5, tzinfo=UTC),
    "id": UUID(int=7),
    "price": Decimal("10.20"),
    "raw": b"\x00\xff",
    "tags": {"a", "b"},
    "big": 1e100,
    "": None,
}


@pytest.mark.parametrize(
    "serializer", ["json", "pickle", signed("secret"), signed("secret", "pickle")]
)
async def test_values_arrive_and_come_back(backend: RedisBackend, serializer: Any) -> None:
    """Dates, UUIDs, decimals, bytes and sets survive the way there and back."""
    queue = Queue("q", backend, serializer=serializer)
    job = await queue.enqueue(jobs.echo, RICH, meta=RICH)

    await drain(backend, serializer=serializer)

    assert await job.wait(5) == RICH
    assert (await Job.fetch(job.id, backend, serializer)).meta == RICH


async def test_payload_in_another_serializer_fails_and_is_kept(backend: RedisBackend) -> None:
    """A pickle queue and a JSON worker: the job has failed, the error names both, and the payload is still there."""
    job = await Queue("q", backend, serializer="pickle").enqueue(jobs.add, 1, 2)

    await drain(backend)

    await job.refresh()
    assert job.status is JobStatus.FAILED
    assert "json" in (job.exc_info or "")
    assert "pickle" in (job.exc_info or "")
    assert job.args == (1, 2)


async def test_payload_signed_with_another_key_is_refused(backend: RedisBackend) -> None:
    """A worker with the wrong key runs nothing; one that still knows the old key does."""
    first = await Queue("q", backend, serializer=signed("old")).enqueue(jobs.record, "signed")
    await drain(backend, serializer=signed("new"))
    await first.refresh()
    assert first.status is JobStatus.FAILED
    assert jobs.recorded == []

    second = await Queue("q", backend, serializer=signed("old")).enqueue(jobs.record, "signed")
    await drain(backend, serializer=signed("new", fallbacks=["old"]))
    assert await second.is_finished()


async def test_payload_of_another_job_is_refused(backend: RedisBackend) -> None:
    """A signature holds for one job: its payload does nothing under another id."""
    queue = Queue("q", backend, serializer=signed("secret"))
    good = await queue.enqueue(jobs.record, "good")
    other = await queue.enqueue(jobs.add, 1, 2)
    await backend.run(["HSET", backend.keys.job(other.id), "data", good.data])

    await drain(backend, serializer=signed("secret"))

    assert await good.is_finished()
    assert await other.is_failed()
    assert jobs.recorded == ["good"]
