"""Workers die: their jobs go back to the front, the third death of a job is one too many, and RQ's jobs follow RQ's rule."""

from __future__ import annotations

from typing import Any

import pytest

from aiorq2.backends import wire
from aiorq2.backends.base import Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.states import JobStatus, Verb
from tests.contract import stage
from tests.contract.stage import OTHER_SEAT, QUEUE, SEAT, TALLY
from tests.support.eventually import eventually


async def _die(
    backend: RedisBackend, max_deaths: int = 3
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Start the next job, let its worker die, and return what the reaper requeued and failed."""
    await stage.end_lease(backend, await stage.claim_one(backend))
    reaped = await backend.reap(QUEUE, max_deaths=max_deaths)
    return reaped.requeued, reaped.failed


async def test_job_of_a_dead_worker_goes_to_the_front(backend: RedisBackend) -> None:
    """A job whose lease is over is the next one to start, and looks as if nobody had it."""
    await stage.add(backend, "x", "y")

    requeued, failed = await _die(backend)

    assert (requeued, failed) == (("x",), ())
    assert await stage.queued(backend) == ["x", "y"]
    fields = await stage.fields(backend, "x")
    assert (fields["status"], fields["worker_name"], fields["started_at"]) == ("queued", "", "")
    assert await stage.entries(backend, "x") == []


async def test_third_death_of_a_job_fails_it(backend: RedisBackend) -> None:
    """A job that kills its workers is redelivered twice; then it is failed, with an entry that says why."""
    await stage.add(backend, "x")

    ends = [await _die(backend) for _ in range(3)]

    assert ends == [(("x",), ()), (("x",), ()), ((), ("x",))]
    assert await stage.places(backend, "x") == ["failed:q"]
    (entry,) = await stage.entries(backend, "x")
    assert entry["type"] == str(wire.ENTRY_FAILED)
    assert "AbandonedJobError" in wire.unpack_text(entry["exc_string"].encode())
    fields = await stage.fields(backend, "x")
    assert (fields["status"], fields["aio_deaths"]) == ("failed", "3")
    assert fields["ended_at"].endswith("Z")


async def test_requeue_forgets_the_deaths(backend: RedisBackend) -> None:
    """A person who requeues an abandoned job gives it all its lives again."""
    await stage.add(backend, "x")
    for _ in range(3):
        await _die(backend)

    await backend.requeue("x")

    assert await _die(backend) == (("x",), ())


async def test_deaths_and_exceptions_are_counted_apart(backend: RedisBackend) -> None:
    """A retry after an exception burns no life, and a death burns no retry."""
    await stage.add(backend, "x", retry=5)
    await _die(backend)

    await stage.settle(backend, await stage.claim_one(backend), stage.OUTCOMES[Verb.RETRY])
    await _die(backend)

    fields = await stage.fields(backend, "x")
    assert (fields["aio_deaths"], fields["retries_left"]) == ("2", "5")


async def test_job_that_may_not_be_redelivered_fails_at_once(backend: RedisBackend) -> None:
    """``redeliver=False``: dead is failed, as in RQ."""
    await stage.add(backend, "x", redeliver=False)

    assert await _die(backend) == ((), ("x",))


RQ_RULES: list[tuple[dict[str, Any], str, str | None]] = [
    ({}, "failed", None),
    ({"retries_left": 0}, "failed", "0"),
    ({"retries_left": 2}, "queued", "1"),
    ({"retries_left": 1, "retry_intervals": "[0]"}, "queued", "0"),
    ({"retries_left": 2, "retry_intervals": "[60, 600]"}, "scheduled", "1"),
]


@pytest.mark.parametrize(("options", "status", "left"), RQ_RULES)
async def test_job_of_rq_follows_the_rule_of_rq(
    backend: RedisBackend, options: dict[str, Any], status: str, left: str | None
) -> None:
    """A job that rq enqueued is repeated if it has retries left, after their interval, else it fails."""
    await stage.plant(backend, "x", **options)

    await _die(backend)

    fields = await stage.fields(backend, "x")
    assert (fields["status"], fields.get("retries_left")) == (status, left)


@pytest.mark.parametrize(
    ("left", "intervals", "delay"),
    [(3, "[10, 20, 30]", 10), (2, "[10, 20, 30]", 20), (1, "[10, 20, 30]", 30), (3, "[10]", 10)],
)
async def test_intervals_are_counted_as_rq_counts_them(
    backend: RedisBackend, left: int, intervals: str, delay: int
) -> None:
    """The list of intervals is aligned with the last retry; before its beginning its first one is used."""
    await stage.plant(backend, "x", retries_left=left, retry_intervals=intervals)

    await _die(backend)

    (due,) = await backend.run(["ZSCORE", backend.keys.scheduled(QUEUE), "x"])
    (now,) = await backend.run(["TIME"])
    assert delay - 2 <= float(due) - int(now[0]) <= delay + 1


@pytest.mark.parametrize("policy", ["wait", "cancel"])
async def test_retry_after_a_death_does_not_wait_for_parents_again(
    backend: RedisBackend, policy: str
) -> None:
    """A job that has begun once was free to: what has become of its parents since is no matter when its worker dies."""
    await stage.plant(
        backend, "parent", JobStatus.CANCELED
    )  # such that those who wait for it are enqueued
    await stage.plant(
        backend, "x", retries_left=1, retry_intervals="[60]", dependency_ids='["parent"]', aio_on_parent_failure=policy,
    )  # fmt: skip
    await _die(backend)
    assert await stage.status_of(backend, "x") == "scheduled"

    await stage.make_due(backend, "x")
    await backend.call("promote", queue=QUEUE, limit=10, now_iso="2030-01-01T00:00:00.000000Z")

    assert await stage.status_of(backend, "x") == "queued"
    assert await stage.queued(backend) == ["x"]


async def test_running_job_that_was_cancelled_is_stopped_when_its_worker_dies(
    backend: RedisBackend,
) -> None:
    """A cancelled job is not run again because the worker that was to stop it has died."""
    claimed = await stage.start(backend, "x")
    await backend.cancel("x")
    await stage.end_lease(backend, claimed)

    reaped = await backend.reap(QUEUE, max_deaths=3)

    assert (reaped.requeued, reaped.failed) == ((), ("x",))
    assert await stage.status_of(backend, "x") == "stopped"
    assert await stage.places(backend, "x") == ["failed:q"]


async def test_reap_is_bounded_and_says_that_there_is_more(backend: RedisBackend) -> None:
    """One pass frees at most ``limit`` jobs and says that the next one is to come at once."""
    await backend.add([stage.job_spec(f"job{n}") for n in range(5)])
    for claimed in await stage.claim(backend, count=5):
        await stage.end_lease(backend, claimed)

    first = await backend.reap(QUEUE, max_deaths=3, limit=3)
    second = await backend.reap(QUEUE, max_deaths=3, limit=3)

    assert (len(first.requeued), len(second.requeued)) == (3, 2)
    assert first.next_in is not None
    assert first.next_in <= 0
    assert second.next_in is None


async def test_reap_says_when_the_next_lease_ends(backend: RedisBackend) -> None:
    """A pass that finds nothing says how long there is nothing to find."""
    await stage.start(backend)

    reaped = await backend.reap(QUEUE, max_deaths=3)

    assert reaped.next_in is not None
    assert SEAT.lease - 5 < reaped.next_in <= SEAT.lease


@pytest.mark.leaks_allowed("the test itself writes a lease without a job")
async def test_lease_that_never_ends_is_never_reaped(backend: RedisBackend) -> None:
    """rq gives leases without end to jobs without time-out; they are left alone."""
    await backend.run(["ZADD", backend.keys.wip(QUEUE), "+inf", f"x:{'e' * 32}"])

    reaped = await backend.reap(QUEUE, max_deaths=3)

    assert reaped.requeued == ()
    assert reaped.next_in in (None, float("inf"))


async def test_reap_takes_the_dead_and_leaves_the_living(backend: RedisBackend) -> None:
    """In one queue, only the runs whose lease is over are freed; the others go on undisturbed."""
    await stage.add(backend, "dead", "alive")
    dead, alive = await stage.claim(backend, count=2)
    await stage.end_lease(backend, dead)

    reaped = await backend.reap(QUEUE, max_deaths=3)

    assert reaped.requeued == ("dead",)
    assert (await backend.extend(SEAT, [alive], TALLY)).lost == frozenset()
    assert await stage.status_of(backend, "alive") == "started"


async def test_reap_touches_one_queue_only(backend: RedisBackend) -> None:
    """The dead of another queue are its own reapers' affair."""
    await stage.add(backend, "x", queue="other")
    (claimed,) = (await backend.claim(SEAT, stage.request(1, ["other"]))).claims
    await stage.end_lease(backend, claimed)

    assert (await backend.reap(QUEUE, max_deaths=3)).requeued == ()
    assert (await backend.reap("other", max_deaths=3)).requeued == ("x",)


@pytest.mark.parametrize(("left", "expected"), [(899, ()), (890, ("x",))])
async def test_queue_that_rq_is_cleaning_is_left_to_it(
    backend: RedisBackend, left: int, expected: tuple[str, ...]
) -> None:
    """While rq's maintenance has just taken its lock we do not reap beside it; a lock that was forgotten hinders nobody."""
    await stage.end_lease(backend, await stage.start(backend, "x"))
    await backend.run(["SET", backend.keys.cleaning(QUEUE), 1, "EX", left])

    assert (await backend.reap(QUEUE, max_deaths=3)).requeued == expected
    await backend.reap(QUEUE, max_deaths=3)
    await backend.run(["DEL", backend.keys.cleaning(QUEUE)])
    await backend.reap(QUEUE, max_deaths=3)
    assert await stage.queued(backend) == ["x"]


async def test_reap_forgets_that_rq_has_seen_the_job(backend: RedisBackend) -> None:
    """rq's note that a job looked stuck is removed, else rq would fail the job when it is taken next."""
    key = backend.keys.first_seen(QUEUE, "x")
    await backend.run(["SET", key, "1.5", "EX", 60])
    await stage.end_lease(backend, await stage.start(backend, "x"))

    await backend.reap(QUEUE, max_deaths=3)

    assert not await stage.exists(backend, key)


async def test_reaped_run_is_off_the_list_of_its_worker(backend: RedisBackend) -> None:
    """The dead worker's own records of the run are gone; those of its other runs stay."""
    await stage.add(backend, "x", "y")
    x, y = await stage.claim(backend, count=2)
    await stage.end_lease(backend, x)

    await backend.reap(QUEUE, max_deaths=3)

    assert await stage.traces_of_run(backend, x) == []
    extended = await backend.extend(SEAT, [y], TALLY)
    assert extended.standing == {y.execution_id: "y"}


async def test_job_is_free_one_lease_after_its_worker_has_died(backend: RedisBackend) -> None:
    """Without tricks: a short lease, no heartbeat, and another worker has the job when it is over."""
    await stage.add(backend, "x")
    await stage.claim_one(backend, Seat("w3", "i3", lease=0.2))

    async def reaped() -> bool:
        return bool((await backend.reap(QUEUE, max_deaths=3)).requeued)

    await eventually(reaped, timeout=3)
    assert (await stage.claim_one(backend, OTHER_SEAT)).job_id == "x"
