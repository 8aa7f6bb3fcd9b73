"""Idle workers sleep in one blocking call and are woken one by one: no polling, no herd."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from aiorq2.backends.base import Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.states import JobStatus, Verb
from tests.contract import stage
from tests.contract.stage import OTHER_SEAT, QUEUE, SEAT, in_status
from tests.support.eventually import eventually

NOBODY = 0.05
"""Seconds of a wait that nothing ends."""


async def _is_woken(
    backend: RedisBackend, seat: Seat = SEAT, queues: Sequence[str] = (QUEUE,)
) -> bool:
    return await backend.wait(seat, queues, NOBODY)


async def _marked(backend: RedisBackend, queue: str = QUEUE) -> bool:
    return await stage.exists(backend, backend.keys.wake(queue))


async def _sleeping(
    backend: RedisBackend, seat: Seat = SEAT, queues: Sequence[str] = (QUEUE,)
) -> asyncio.Task[bool]:
    """Return a wait that has reached Redis and sleeps there."""
    waiting = asyncio.create_task(backend.wait(seat, queues, 5))
    if backend.location.startswith("memory"):
        await asyncio.sleep(0.02)
    else:
        await eventually(lambda: _is_blocked(backend))
    return waiting


async def _is_blocked(backend: RedisBackend) -> bool:
    """Whether a client of this event loop blocks; this test is the only one on the server."""
    (info,) = await backend.run(["INFO", "clients"])
    return b"blocked_clients:0" not in info


WAKING = {
    "add": JobStatus.QUEUED,
    Verb.RETRY: JobStatus.STARTED,
    Verb.GIVE_BACK: JobStatus.STARTED,
    Verb.REAP: JobStatus.STARTED,
    Verb.REQUEUE: JobStatus.FAILED,
    Verb.PROMOTE: JobStatus.SCHEDULED,
}


@pytest.mark.parametrize("verb", WAKING)
async def test_whatever_queues_a_job_leaves_a_marker(backend: RedisBackend, verb: str) -> None:
    """A job that comes into a queue, by whatever verb, ends one wait at once, and no second one."""
    job = await in_status(backend, WAKING[verb])
    if verb != "add":
        while await _is_woken(backend):  # what the staging has left
            pass
    match verb:
        case Verb.RETRY | Verb.GIVE_BACK:
            await stage.settle(backend, job.claim, stage.OUTCOMES[Verb(verb)])
        case Verb.REAP:
            await stage.end_lease(backend, job.claim)
            await backend.reap(QUEUE, max_deaths=3)
        case Verb.REQUEUE:
            await backend.requeue(job.id)
        case Verb.PROMOTE:
            await stage.make_due(backend, job.id)
            await backend.promote(QUEUE)

    assert await backend.wait(SEAT, [QUEUE], 5)
    assert not await _is_woken(backend)


async def test_wait_that_nothing_ends_is_over_in_time(backend: RedisBackend) -> None:
    """A wait lasts as long as was asked for, and says that nobody woke it."""
    took = []
    for _ in range(3):
        started = time.monotonic()

        assert not await backend.wait(SEAT, [QUEUE, "other"], 0.1)
        took.append(time.monotonic() - started)

    assert 0.09 <= min(took) < 1


async def test_sleeping_worker_is_woken_by_an_add(backend: RedisBackend) -> None:
    """A worker that sleeps in Redis is woken in the moment in which a job is added."""
    waiting = await _sleeping(backend)
    started = time.monotonic()

    await stage.add(backend)

    assert await waiting
    assert time.monotonic() - started < 4  # the wait itself is over after five


async def test_sleeping_worker_is_woken_by_any_of_its_queues(backend: RedisBackend) -> None:
    """One blocking call serves all queues of a worker, and no other one's."""
    waiting = await _sleeping(backend, queues=["a", "b", "c"])

    await stage.add(backend, queue="foreign")
    assert not waiting.done()
    await stage.add(backend, queue="c")

    assert await waiting


async def test_many_jobs_leave_one_marker(backend: RedisBackend) -> None:
    """A hundred jobs wake one worker; it is that worker's claim that wakes the next one."""
    await backend.add([stage.job_spec() for _ in range(100)])

    assert await _is_woken(backend)
    assert not await _is_woken(backend)


async def test_claim_that_leaves_jobs_behind_wakes_one_more(backend: RedisBackend) -> None:
    """Workers wake one after the other for as long as there are jobs, and no longer."""
    await stage.add(backend, "a", "b")

    assert await _is_woken(backend)
    assert len(await stage.claim(backend)) == 1
    assert await _is_woken(backend, OTHER_SEAT)
    assert not await _is_woken(backend)
    assert len(await stage.claim(backend, seat=OTHER_SEAT)) == 1
    assert not await _is_woken(backend)


async def test_claim_of_the_last_job_takes_the_marker_away(backend: RedisBackend) -> None:
    """Who comes by and takes everything leaves nobody to be woken for nothing."""
    await stage.add(backend, "a", "b")

    await stage.claim(backend, count=2)

    assert not await _marked(backend)


async def test_claim_without_free_slots_passes_the_marker_on(backend: RedisBackend) -> None:
    """A worker that was woken and cannot take anything wakes another one instead."""
    await stage.add(backend)
    await _is_woken(backend)

    await backend.claim(SEAT, stage.request(0))

    assert await _is_woken(backend, OTHER_SEAT)


async def test_claim_marks_every_queue_that_it_leaves_jobs_in(backend: RedisBackend) -> None:
    """Jobs in a queue that a claim did not come to wake workers as well."""
    await stage.add(backend, "a1", "a2", queue="a")
    await stage.add(backend, "b1", queue="b")
    await backend.wait(SEAT, ["a"], 1)
    await backend.wait(SEAT, ["b"], 1)

    await backend.claim(SEAT, stage.request(1, ["a", "b"]))

    assert await _marked(backend, "a")
    assert await _marked(backend, "b")


async def test_ring_ends_the_wait_of_its_worker_only(backend: RedisBackend) -> None:
    """A worker can wake itself (a slot came free, it is to stop) without waking any other."""
    mine = await _sleeping(backend)
    others = asyncio.create_task(backend.wait(OTHER_SEAT, [QUEUE], 0.2))

    await backend.ring(SEAT)

    assert await mine
    assert not await others


async def test_ring_before_the_wait_is_not_lost(backend: RedisBackend) -> None:
    """A worker that is rung while it is on its way to sleep does not fall asleep; twice is once."""
    await backend.ring(SEAT)
    await backend.ring(SEAT)

    assert await _is_woken(backend)
    assert not await _is_woken(backend)
    assert not await stage.exists(backend, backend.keys.doorbell(SEAT.worker))


async def test_unheard_ring_does_not_stay(backend: RedisBackend) -> None:
    """The bell of a worker that is gone is not kept."""
    await backend.ring(SEAT)

    assert 50 < await stage.ttl(backend, backend.keys.doorbell(SEAT.worker)) <= 60


async def test_idle_claim_tells_when_the_next_job_is_due(backend: RedisBackend) -> None:
    """A worker that finds nothing is told how long it may sleep."""
    await stage.add(backend, status=JobStatus.SCHEDULED, due_in=60, queue="a")
    await stage.add(backend, status=JobStatus.SCHEDULED, due_in=30, queue="b")

    claimed = await backend.claim(SEAT, stage.request(1, ["a", "b"]))

    assert claimed.next_due_in is not None
    assert 25 < claimed.next_due_in <= 30
    assert claimed.is_watching


async def test_only_one_of_two_idle_workers_watches(backend: RedisBackend) -> None:
    """One idle worker watches the next due time; the others may sleep on."""
    await stage.add(backend, status=JobStatus.SCHEDULED, due_in=60)

    first = await backend.claim(SEAT, stage.request(1))
    second = await backend.claim(OTHER_SEAT, stage.request(1))
    again = await backend.claim(SEAT, stage.request(1))

    assert (first.is_watching, second.is_watching, again.is_watching) == (True, False, True)
    assert second.next_due_in is None
    assert again.next_due_in is not None


async def test_who_does_not_watch_is_told_how_many_share_that(backend: RedisBackend) -> None:
    """Of several queues that others watch, the one with the fewest workers counts; whoever watches one is told nothing."""
    queues = [QUEUE, "other"]
    await backend.register(SEAT, queues, {"birth": "now"})
    await backend.register(OTHER_SEAT, queues, {"birth": "now"})
    third = Seat("w3", "instance3", lease=15)
    await backend.register(third, [QUEUE], {"birth": "now"})

    first = await backend.claim(SEAT, stage.request(1, queues))
    second = await backend.claim(OTHER_SEAT, stage.request(1, queues))
    last = await backend.claim(third, stage.request(1))

    assert [claimed.is_watching for claimed in (first, second, last)] == [True, False, False]
    assert [claimed.crowd for claimed in (first, second, last)] == [0, 2, 3]


async def test_a_list_of_workers_that_is_none_does_not_stop_a_claim(backend: RedisBackend) -> None:
    """What something else has put in its place fails no claim."""
    await backend.claim(OTHER_SEAT, stage.request(1))
    await stage.send(backend, ["SET", backend.keys.queue_workers(QUEUE), "nonsense"])

    assert (await backend.claim(SEAT, stage.request(1))).crowd == 0
    await stage.send(backend, ["DEL", backend.keys.queue_workers(QUEUE)])


async def test_watch_of_a_worker_that_is_gone_passes_on(backend: RedisBackend) -> None:
    """The watch is a short lease: another worker takes it when its holder is not heard of again."""
    await stage.add(backend, status=JobStatus.SCHEDULED, due_in=60)
    await backend.claim(SEAT, stage.request(1, watch_s=0.05))

    async def other_watches() -> bool:
        return (await backend.claim(OTHER_SEAT, stage.request(1))).is_watching

    await eventually(other_watches)


async def test_watch_of_a_worker_that_leaves_passes_on_at_once(backend: RedisBackend) -> None:
    """A worker that stops in good order does not leave its queues unwatched."""
    await backend.register(SEAT, [QUEUE], {"birth": "now"})
    await backend.claim(SEAT, stage.request(1))

    await backend.unregister(SEAT, [QUEUE])

    assert (await backend.claim(OTHER_SEAT, stage.request(1))).is_watching


async def test_earlier_job_wakes_a_worker_to_watch(backend: RedisBackend) -> None:
    """A job that is due before all others ends a wait, and whoever wakes watches the new time."""
    await stage.add(backend, status=JobStatus.SCHEDULED, due_in=60)
    await backend.claim(SEAT, stage.request(1))
    waiting = await _sleeping(backend, OTHER_SEAT)

    await stage.add(backend, status=JobStatus.SCHEDULED, due_in=30)

    assert await waiting
    watching = await backend.claim(OTHER_SEAT, stage.request(1))
    assert watching.is_watching
    assert watching.next_due_in is not None
    assert watching.next_due_in <= 30


async def test_later_job_wakes_nobody(backend: RedisBackend) -> None:
    """A job that is due after others changes nothing for those who sleep."""
    await stage.add(backend, status=JobStatus.SCHEDULED, due_in=30)
    await backend.claim(SEAT, stage.request(1))

    await stage.add(backend, status=JobStatus.SCHEDULED, due_in=60)

    assert not await _is_woken(backend)
    assert not (await backend.claim(OTHER_SEAT, stage.request(1))).is_watching


async def test_first_delayed_retry_wakes_a_worker_to_watch(backend: RedisBackend) -> None:
    """A retry with a delay is watched like any other job with a due time."""
    claimed = await stage.start(backend)
    await backend.claim(SEAT, stage.request(1))
    assert not await _is_woken(backend)

    await stage.settle(backend, claimed, stage.LATER)

    assert await _is_woken(backend)


async def test_scheduled_job_starts_on_its_time(backend: RedisBackend) -> None:
    """A worker that sleeps for as long as it is told starts a job when it is due, and not before."""
    await stage.add(backend, status=JobStatus.SCHEDULED, due_in=3)
    idle = await backend.claim(SEAT, stage.request(1))
    assert idle.next_due_in is not None
    assert 0 < idle.next_due_in <= 3
    await backend.wait(SEAT, [QUEUE], 0.01)  # the marker that the add has left

    assert await stage.claim(backend) == []
    await backend.wait(SEAT, [QUEUE], idle.next_due_in)
    claimed = await eventually(lambda: stage.claim(backend), timeout=10, interval=0.005)

    assert len(claimed) == 1


async def test_cancelled_wait_leaves_a_usable_connection(backend: RedisBackend) -> None:
    """A wait that is cancelled does not leave its reply for the next one."""
    waiting = await _sleeping(backend)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert not await _is_woken(backend)
    await stage.add(backend, "a", "b")
    await stage.claim(backend)
    assert await backend.wait(SEAT, [QUEUE], 5)


async def test_cancelled_wait_takes_no_marker(redis_backend: RedisBackend) -> None:
    """What is added after a wait was cancelled wakes the next one. (In memory the cancelled one may take it with it.)"""
    waiting = await _sleeping(redis_backend)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await eventually(lambda: _is_free(redis_backend))

    await stage.add(redis_backend)

    assert await _is_woken(redis_backend)


async def _is_free(backend: RedisBackend) -> bool:
    return not await _is_blocked(backend)
