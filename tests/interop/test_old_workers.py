"""Workers of rq before 2.0 beside ours: they are warned of, and for a reason."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.interop.peer import Peer, RqProcess, python_of
from tests.interop.sides import Ours, Theirs
from tests.support.eventually import eventually

WARNING = "shared with workers of rq before 2.0"


async def warnings_at_start(ours: Ours, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what a worker of ours says of others when it starts."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="aiorq2"):
        await ours.work()
    return [one.getMessage() for one in caplog.records if WARNING in one.getMessage()]


@pytest.mark.slow
async def test_real_rq_1_16_is_warned_of(
    ours: Ours, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, which names the worker and its version; none when that has ended."""
    with RqProcess(python_of("1.16"), redis_url, "worker", "--name", "veteran", "q") as process:
        await eventually(lambda: number_of_workers(ours, 1), timeout=20)

        (told,) = await warnings_at_start(ours, caplog)
        assert "veteran: rq 1.16" in told
        process.terminate()
        assert process.wait(20) == 0
    assert await warnings_at_start(ours, caplog) == []


@pytest.mark.since("2.6")
async def test_newer_rq_is_not_warned_of(
    ours: Ours, peer: Peer, redis_client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 2.0 and newer, and of our own, there is nothing to say."""
    await ours.backend.run(
        ["HSET", "rq:worker:w", "birth", "2026-01-01T00:00:00.000000Z", "version", peer.version],
        ["EXPIRE", "rq:worker:w", 60],
        ["SADD", "rq:workers", "rq:worker:w"],
    )

    assert await warnings_at_start(ours, caplog) == []


async def test_planted_old_worker_is_warned_of(
    ours: Ours, caplog: pytest.LogCaptureFixture
) -> None:
    """What counts is the version that a living worker has announced."""
    await ours.backend.run(
        ["HSET", "rq:worker:w", "birth", "2022-01-01T00:00:00.000000Z", "version", "1.11.1"],
        ["EXPIRE", "rq:worker:w", 60],
        ["SADD", "rq:workers", "rq:worker:w"],
    )

    (told,) = await warnings_at_start(ours, caplog)
    assert "w: rq 1.11.1" in told
    await ours.backend.run(["HSET", "rq:worker:w", "death", "2022-01-01T00:00:00.000000Z"])
    assert await warnings_at_start(ours, caplog) == []


@pytest.mark.leaks_allowed("rq 1.16 loses the job, which is what the test shows")
async def test_upkeep_of_an_abandoned_job(ours: Ours, theirs: Theirs, redis_client: Any) -> None:
    """What a worker leaves that died: rq's upkeep lets it fail since 2.0, before that it drops it: started, and in no list."""
    id = await ours.enqueue("add", 1, 2)
    execution = "e" * 32
    redis_client.delete("rq:queue:q")
    redis_client.hset(f"rq:job:{id}", mapping={"status": "started", "worker_name": "dead"})
    redis_client.zadd("rq:wip:q", {f"{id}:{execution}": 1})

    await theirs.peer("maintain")

    is_old = theirs.peer.version == "1.16"
    assert await ours.status(id) == ("started" if is_old else "failed")
    assert await ours.ids("failed") == ([] if is_old else [id])
    assert redis_client.zcard("rq:wip:q") == 0


async def number_of_workers(ours: Ours, number: int) -> bool:
    """Return whether so many workers are listed."""
    return len(await ours.workers()) == number
