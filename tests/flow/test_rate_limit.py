"""At most so many jobs of a key are queued or running at once."""

from __future__ import annotations

import pytest

from aiorq2 import InvalidOption, Job, Queue, RateLimit
from aiorq2.backends.base import ClaimRequest, Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.outcome import Failed, Finished, Outcome, Retried
from aiorq2.rate_limit import RateLimitRegistry
from aiorq2.upkeep import Reaper, Sweeper
from tests.flow.at_work import at_work, drain, let_expire, make_due, stored
from tests.support import jobs
from tests.support.eventually import eventually, gates

LIMIT = RateLimit("r", 1)
SEAT = Seat("w", "i", lease=15)
NOW = 1_700_000_000.0


async def enqueue(
    queue: Queue, count: int, limit: RateLimit = LIMIT, **options: object
) -> list[Job]:
    """Enqueue jobs with a rate limit."""
    return [await queue.enqueue(jobs.nothing, rate_limit=limit, **options) for _ in range(count)]


async def statuses(given: list[Job]) -> list[str]:
    """Return the statuses as they are now."""
    return [str(await job.get_status()) for job in given]


async def test_who_finds_no_place_waits_in_line(backend: RedisBackend) -> None:
    """The first two are queued, the others wait, and get in one by one, in order."""
    queue = Queue("q", backend)
    given = await enqueue(queue, 5, RateLimit("r", 2))
    assert [job.status for job in given] == ["queued"] * 2 + ["rate_limited"] * 3
    assert await queue.count() == 2

    await drain(backend)

    assert await statuses(given) == ["finished"] * 5
    started = [job.started_at for job in given]
    assert started == sorted(one for one in started if one is not None)
    assert not [name for name in await stored(backend) if name.startswith("rl")]


async def test_no_more_than_so_many_run_at_once_whatever_their_queues(
    backend: RedisBackend,
) -> None:
    """The limit is the key's, not the queue's or the worker's."""
    limit = RateLimit("r", 2)
    given = [
        await Queue(name, backend).enqueue(jobs.wait_gate, name, rate_limit=limit)
        for name in ("a", "b", "c", "d")
    ]

    async with at_work(backend, ["a", "b", "c", "d"]):
        await eventually(lambda: gates["b"].arrivals == 1)
        assert await statuses(given) == ["started", "started", "rate_limited", "rate_limited"]
        for name in ("a", "b", "c", "d"):
            gates[name].open()
        for job in given:
            await job.wait(timeout=5)


async def test_keys_do_not_share_their_places(backend: RedisBackend) -> None:
    """One key is full, the other is not."""
    queue = Queue("q", backend)
    await enqueue(queue, 2, RateLimit("a", 1))

    (other,) = await enqueue(queue, 1, RateLimit("b", 1))

    assert other.status == "queued"


async def test_latest_word_on_the_concurrency_counts(backend: RedisBackend) -> None:
    """A larger one lets those in who wait."""
    queue = Queue("q", backend)
    given = await enqueue(queue, 3, RateLimit("r", 1))

    given += await enqueue(queue, 1, RateLimit("r", 3))

    assert await statuses(given) == ["queued", "queued", "queued", "rate_limited"]


async def test_urgent_job_goes_to_the_front_of_its_queue(backend: RedisBackend) -> None:
    """``at_front`` holds when it gets in."""
    queue = Queue("q", backend)
    first, back = await enqueue(queue, 2)
    (front,) = await enqueue(queue, 1, RateLimit("r", 3), at_front=True)

    assert (await queue.get_job_ids())[0] == front.id
    assert set(await queue.get_job_ids()) == {first.id, back.id, front.id}


@pytest.mark.parametrize("way", ["finish", "fail", "cancel", "delete", "empty", "retry later"])
async def test_place_is_left_in_every_way(backend: RedisBackend, way: str) -> None:
    """Whatever takes a job out of its queue for long lets the next one in."""
    queue = Queue("q", backend)
    holder = (await enqueue(queue, 1, result_ttl=0, failure_ttl=0))[0]
    (waiting,) = await enqueue(Queue("other", backend), 1)
    outcomes: dict[str, Outcome] = {
        "finish": Finished(NOW, None),
        "fail": Failed(NOW, "ValueError", "boom"),
        "retry later": Retried(NOW, "ValueError", "boom", delay=60, at_front=False),
    }

    if way in outcomes:
        (claim,) = (await backend.claim(SEAT, ClaimRequest(1, ("q",)))).claims
        await backend.settle(SEAT, [(claim, outcomes[way])])
    elif way == "empty":
        await queue.empty()
    else:
        await getattr(holder, way)()

    assert await waiting.get_status() == "queued"


async def test_retry_at_once_keeps_its_place(backend: RedisBackend) -> None:
    """It is queued again; who waits goes on waiting."""
    queue = Queue("q", backend)
    _, waiting = await enqueue(queue, 2)

    (claim,) = (await backend.claim(SEAT, ClaimRequest(1, ("q",)))).claims
    again = Retried(NOW, "ValueError", "boom", delay=0, at_front=False)
    await backend.settle(SEAT, [(claim, again)])

    assert await waiting.get_status() == "rate_limited"


async def test_job_that_comes_back_lines_up_again(backend: RedisBackend) -> None:
    """Scheduled, retried later or requeued: its concurrency is its own, though nobody else has the key any more."""
    queue, limit = Queue("q", backend), RateLimit("r", 2)
    failed = [await queue.enqueue(jobs.fail, rate_limit=limit) for _ in range(3)]
    await drain(backend)
    for job in failed:
        await job.requeue()
    assert await statuses(failed) == ["queued", "queued", "rate_limited"]

    scheduled = await queue.enqueue_in(60, jobs.nothing, rate_limit=limit)
    await make_due(backend)
    await backend.promote("q")

    assert await scheduled.get_status() == "rate_limited"
    await drain(backend)
    assert await scheduled.get_status() == "finished"


async def test_rate_limited_job_whose_worker_died_does_not_block_itself(
    backend: RedisBackend,
) -> None:
    """While it waits for its retry it holds no place, so that it gets one when the time comes."""
    queue = Queue("q", backend)
    job = (await enqueue(queue, 1))[0]
    (claim,) = (await backend.claim(SEAT, ClaimRequest(1, ("q",)))).claims
    await backend.run(
        ["HDEL", backend.keys.job(job.id), "aio_token"],  # as if rq had enqueued it
        ["HSET", backend.keys.job(job.id), "retries_left", 1, "retry_intervals", "[60]"],
        ["ZADD", backend.keys.wip("q"), "XX", 1, f"{job.id}:{claim.execution_id}"],
    )

    await Reaper(backend, ["q"], max_deaths=3, is_trusted=lambda: True)._pass()
    assert await job.get_status() == "scheduled"
    await make_due(backend)
    await backend.promote("q")

    assert await job.get_status() == "queued"


async def test_dependent_lines_up_when_its_parent_has_finished(backend: RedisBackend) -> None:
    """First the parents, then the limit, as in RQ."""
    queue = Queue("q", backend)
    (holder,) = await enqueue(Queue("other", backend), 1)
    parent = await queue.enqueue(jobs.nothing)
    child = await queue.enqueue(jobs.nothing, depends_on=parent, rate_limit=LIMIT)
    assert child.status == "deferred"

    await drain(backend)
    assert await child.get_status() == "rate_limited"

    await holder.cancel()
    assert await child.get_status() == "queued"


async def test_sweeper_frees_the_place_of_a_job_that_expired(backend: RedisBackend) -> None:
    """A job past its ``ttl`` tells nobody; without a sweep the limit would be used up for ever."""
    queue = Queue("q", backend)
    (gone,) = await enqueue(queue, 1, ttl=60)
    (waiting,) = await enqueue(queue, 1)
    await let_expire(backend, backend.keys.job(gone.id))

    await Sweeper(backend, ["q"]).sweep()

    assert await waiting.get_status() == "queued"


async def test_jobs_that_vanished_from_the_line_are_passed_over(backend: RedisBackend) -> None:
    """Deleted or expired while they waited."""
    queue = Queue("q", backend)
    holder, deleted, expired, waiting = await enqueue(queue, 4, ttl=60)
    await deleted.delete()
    await let_expire(backend, backend.keys.job(expired.id))

    await holder.cancel()

    assert await waiting.get_status() == "queued"


async def test_cancel_while_waiting_in_line(backend: RedisBackend) -> None:
    """It leaves the line."""
    queue = Queue("q", backend)
    _, waiting = await enqueue(queue, 2)

    await waiting.cancel()
    await drain(backend)

    assert await waiting.get_status() == "canceled"


async def test_emptying_a_queue_leaves_those_in_line_alone(backend: RedisBackend) -> None:
    """They did not wait in the queue; as places become free, they get in."""
    queue = Queue("q", backend)
    _, waiting, last = await enqueue(queue, 3)

    assert await queue.empty() == 1

    assert await statuses([waiting, last]) == ["queued", "rate_limited"]


async def test_limits_that_cannot_be_meant_are_refused(backend: RedisBackend) -> None:
    """A key, and at least one place; not where jobs run at once anyway."""
    bad = [("", 1), ("x", 0), ("x", True), ("x\n", 1), ("x" * 300, 1), (3, 1), ("x", 2**63)]
    for key, concurrency in bad:
        with pytest.raises(InvalidOption):
            RateLimit(key, concurrency)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="is_async=False"):
        await Queue("q", backend, is_async=False).enqueue(jobs.nothing, rate_limit=LIMIT)
    with pytest.raises(InvalidOption, match="rate_limit must be"):
        await Queue("q", backend).enqueue(jobs.nothing, rate_limit="r")


async def test_rate_limit_can_be_looked_at(backend: RedisBackend) -> None:
    """Who is in and who waits, under RQ's names; a limit that is not in use any more is not listed."""
    queue = Queue("q", backend)
    first, second = [
        await queue.enqueue(jobs.nothing, rate_limit=RateLimit("api", 1)) for _ in range(2)
    ]

    (limit,) = await RateLimitRegistry.all(backend)

    assert (limit.key, await limit.concurrency()) == ("api", 1)
    assert await limit.get_allowed_job_ids() == [first.id]
    assert await limit.get_rate_limited_job_ids() == [second.id]
    assert await limit.get_allowed_job_count() == await limit.get_rate_limited_job_count() == 1
    assert limit.config_key == f"{backend.key_prefix}:rl:api"
    assert limit.allowed_key == f"{limit.config_key}:allowed"
    assert limit.rate_limited_key == f"{limit.config_key}:rate_limited"
    found = RateLimitRegistry.from_job(second)
    assert found is not None
    assert found.key == "api"
    assert await limit.cleanup() == 0
    await drain(backend)
    assert await RateLimitRegistry.all(backend) == []
    assert await limit.concurrency() is None
    assert RateLimitRegistry.from_job(await queue.enqueue(jobs.nothing)) is None
    await queue.empty()
