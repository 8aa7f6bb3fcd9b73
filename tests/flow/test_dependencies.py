"""Jobs that wait for others: when they start, what they see of them, and what becomes of them when one ends badly."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiorq2 import (
    Dependency,
    InvalidJobOperation,
    InvalidOption,
    Job,
    JobCancelled,
    Queue,
    get_current_job,
)
from aiorq2.backends import sweeping, wire
from aiorq2.backends.base import ClaimRequest, Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.outcome import Failed, Finished, Outcome
from aiorq2.registry import DeferredJobRegistry
from aiorq2.upkeep import Reaper, Sweeper
from tests.flow.at_work import at_work, drain, let_expire, stored
from tests.support import jobs
from tests.support.eventually import eventually, gates

SEAT = Seat("w", "i", lease=15)
DONE = Finished(1_700_000_000.0, None)
BAD = Failed(1_700_000_000.0, "builtins.ValueError", "ValueError: boom")


async def sum_of_parents() -> int:
    """Return the sum of what the jobs returned for which this one waited."""
    job = get_current_job()
    assert job is not None
    return sum([parent.result for parent in await job.fetch_dependencies()])


def size_of(backend: RedisBackend, full: int) -> int:
    """Return a size that is no burden: in memory, every command takes a hundred times longer."""
    return full if backend.location.startswith("127") else max(full // 10, 30)


async def end_next(backend: RedisBackend, outcome: Outcome = DONE, count: int = 1) -> None:
    """Take the next jobs and end them, without the continuation that a worker would see to."""
    claimed = await backend.claim(SEAT, ClaimRequest(count, ("q",)))
    await backend.settle(SEAT, [(claim, outcome) for claim in claimed.claims])
    await backend.released()


async def statuses(*given: Job) -> list[str]:
    """Return the statuses as they are now."""
    return [str(await job.get_status()) for job in given]


# -- when it starts ----------------------------------------------------------------------------------


async def test_job_starts_when_its_parent_has_finished(backend: RedisBackend) -> None:
    """Until then it is deferred, in no queue, and knows what it waits for."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.record, "parent")
    child = await queue.enqueue(jobs.record, "child", depends_on=parent)

    assert (child.status, child.dependency_ids) == ("deferred", [parent.id])
    assert await queue.get_job_ids() == [parent.id]
    assert await parent.dependent_ids() == [child.id]
    assert await DeferredJobRegistry("q", backend).get_job_ids() == [child.id]

    await drain(backend)
    assert jobs.recorded == ["parent", "child"]
    assert await statuses(parent, child) == ["finished", "finished"]
    assert await parent.dependent_ids() == []


async def test_job_sees_what_its_parents_returned(backend: RedisBackend) -> None:
    """The results travel through ``fetch_dependencies()``."""
    queue = Queue("q", backend)
    parents = [await queue.enqueue(jobs.add, number, 0) for number in (1, 2, 3)]

    child = await queue.enqueue(sum_of_parents, depends_on=parents)

    await drain(backend)
    assert await child.wait(timeout=5) == 6
    first = await child.dependency()
    assert first is not None
    assert (first.id, first.result) == (parents[0].id, 1)


@pytest.mark.parametrize("form", ["job", "id", "list", "Dependency", "mixed"])
async def test_dependencies_are_given_in_many_forms(backend: RedisBackend, form: str) -> None:
    """A job, an id, a list of them, ``Dependency``, or all of these at once."""
    queue = Queue("q", backend)
    a, b = await queue.enqueue(jobs.nothing), await queue.enqueue(jobs.nothing)
    given: dict[str, Any] = {
        "job": a,
        "id": a.id,
        "list": [a, b.id],
        "Dependency": Dependency([a, b]),
        "mixed": [Dependency(a), b],
    }

    child = await queue.enqueue(jobs.nothing, depends_on=given[form])

    assert child.dependency_ids == ([a.id] if form in ("job", "id") else [a.id, b.id])
    assert child.status == "deferred"


async def test_job_whose_parents_have_finished_starts_at_once(backend: RedisBackend) -> None:
    """So does one whose parent is gone: what does not exist any more counts as done, as in RQ."""
    queue = Queue("q", backend)
    finished = await queue.enqueue(jobs.nothing)
    kept_for_no_time = await queue.enqueue(jobs.nothing, result_ttl=0)
    await drain(backend)

    child = await queue.enqueue(jobs.nothing, depends_on=[finished, kept_for_no_time, "never-was"])

    assert child.status == "queued"


async def test_job_whose_parent_is_not_kept_starts(backend: RedisBackend) -> None:
    """A parent with ``result_ttl=0`` vanishes as it finishes, and frees its dependents all the same."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.nothing, result_ttl=0)
    child = await queue.enqueue(jobs.record, "child", depends_on=parent)

    await drain(backend)

    assert await child.get_status() == "finished"
    assert not await Job.exists(parent.id, backend)


async def test_dependent_may_live_on_another_queue(backend: RedisBackend) -> None:
    """A worker that listens there is woken when the parent has finished."""
    parent_queue, child_queue = Queue("q", backend), Queue("other", backend)
    parent = await parent_queue.enqueue(jobs.wait_gate, "g")
    child = await child_queue.enqueue(jobs.record, "child", depends_on=parent)

    async with at_work(backend, "q"), at_work(backend, "other"):
        await eventually(parent.is_started)
        gates["g"].open()
        await child.wait(timeout=5)

    assert jobs.recorded == ["child"]


async def test_dependent_goes_to_the_front_if_asked_to(backend: RedisBackend) -> None:
    """With ``Dependency(enqueue_at_front=True)``, or ``at_front=True`` beside ``depends_on``."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.nothing)
    others = [await queue.enqueue(jobs.nothing) for _ in range(2)]
    one = await queue.enqueue(jobs.nothing, depends_on=Dependency(parent, enqueue_at_front=True))
    two = await queue.enqueue(jobs.nothing, depends_on=parent, at_front=True)

    await end_next(backend)

    ids = await queue.get_job_ids()
    assert set(ids[:2]) == {one.id, two.id}
    assert ids[2:] == [job.id for job in others]


async def test_parent_that_is_retried_has_not_ended(backend: RedisBackend) -> None:
    """The child waits for the attempt that counts."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.fails_times, "k", 2, retry=3)
    child = await queue.enqueue(sum_of_parents, depends_on=parent)

    await drain(backend)

    assert await child.wait(timeout=5) == 3


async def test_parent_that_repeats_frees_its_dependents_once(backend: RedisBackend) -> None:
    """After its first run, as in RQ."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.record, "parent", repeat=2)
    await queue.enqueue(jobs.record, "child", depends_on=parent)

    await drain(backend, concurrency=1)

    assert sorted(jobs.recorded) == ["child", "parent", "parent", "parent"]


async def test_job_cannot_wait_for_itself(backend: RedisBackend) -> None:
    """Nor for nothing, or for what is no job."""
    queue = Queue("q", backend)

    with pytest.raises(InvalidOption, match="cannot depend on itself"):
        await queue.enqueue(jobs.nothing, job_id="x", depends_on=["a", "x"])
    with pytest.raises(InvalidOption, match="at least one job"):
        Dependency([])
    with pytest.raises(InvalidOption, match="neither a job nor the id of one"):
        await queue.enqueue(jobs.nothing, depends_on=[3])
    with pytest.raises(InvalidOption, match="on_parent_failure='explode'"):
        await queue.enqueue(jobs.nothing, depends_on="a", on_parent_failure="explode")


async def test_circle_is_refused_where_it_closes(backend: RedisBackend) -> None:
    """A job may not replace one for which its own parents wait, be it through others: none of them would ever run."""
    queue = Queue("q", backend)
    await queue.enqueue(jobs.nothing, job_id="a")
    await queue.enqueue(jobs.nothing, job_id="b", depends_on="a")
    await queue.enqueue(jobs.nothing, job_id="free")
    await queue.enqueue_in(60, jobs.nothing, job_id="c", depends_on=["free", "b"])
    before = await stored(backend)

    with pytest.raises(
        InvalidJobOperation, match="'a': cannot add, it would wait for 'c', which waits for it"
    ):
        await queue.enqueue(jobs.nothing, job_id="a", depends_on=["free", "c"])

    assert await stored(backend) == before


async def test_circle_that_does_not_wait_is_none(backend: RedisBackend) -> None:
    """One whose job has ended, or is cancelled for a parent that ended badly, keeps nobody waiting."""
    queue = Queue("q", backend)
    await queue.enqueue(jobs.nothing, job_id="a")
    child = await queue.enqueue(jobs.nothing, job_id="b", depends_on="a")
    await drain(backend)

    again = await queue.enqueue(jobs.nothing, job_id="a", depends_on="b")
    await drain(backend)

    assert await statuses(again, child) == ["finished", "finished"]


async def test_circle_of_a_parent_that_has_expired_is_seen(backend: RedisBackend) -> None:
    """A job that comes again, for which others wait already, may not wait for them; several are enqueued, but for this one."""
    queue = Queue("q", backend)
    old = await queue.enqueue(jobs.fail, job_id="a", ttl=60)
    await queue.enqueue(jobs.nothing, job_id="b", depends_on="a")
    await backend.run(["DEL", backend.keys.job(old.id)])

    with pytest.raises(InvalidJobOperation, match="it would wait for 'b'"):
        await queue.enqueue_many(
            [
                queue.prepare_data(jobs.nothing, job_id="a", depends_on="b"),
                queue.prepare_data(jobs.nothing, job_id="other"),
            ]
        )

    assert not await Job.exists("a", backend)
    assert await Job.exists("other", backend)


async def test_circle_that_nobody_has_seen_is_cut_by_a_person(backend: RedisBackend) -> None:
    """One parent was not there yet when the scheduled job came; both wait until one of them is cancelled or enqueued anew."""
    queue = Queue("q", backend)
    for cut in ("cancel", "enqueue"):
        first = await queue.enqueue_in(60, jobs.nothing, job_id=f"{cut}-1", depends_on=f"{cut}-2")
        second = await queue.enqueue(jobs.nothing, job_id=f"{cut}-2", depends_on=first)
        await backend.reschedule(first.id, 1.0)
        await drain(backend)
        assert await statuses(first, second) == ["deferred", "deferred"]

        if cut == "cancel":
            await second.cancel(enqueue_dependents=True)
        else:
            await queue.enqueue(jobs.nothing, job_id=second.id)
        await drain(backend)

        assert await statuses(first) == ["finished"]


# -- shapes ------------------------------------------------------------------------------------------


async def test_diamond(backend: RedisBackend) -> None:
    """The bottom starts once, when both sides have finished."""
    queue = Queue("q", backend)
    top = await queue.enqueue(jobs.record, "top")
    left = await queue.enqueue(jobs.record, "left", depends_on=top)
    right = await queue.enqueue(jobs.record, "right", depends_on=top)
    await queue.enqueue(jobs.record, "bottom", depends_on=[left, right])

    await drain(backend)

    assert jobs.recorded[0] == "top"
    assert sorted(jobs.recorded[1:3]) == ["left", "right"]
    assert jobs.recorded[3:] == ["bottom"]


async def test_a_thousand_wait_for_one(backend: RedisBackend) -> None:
    """They are freed in slices, in the background, and a burst ends only when all of them have run."""
    queue, size = Queue("q", backend), size_of(backend, 1000) + 150
    parent = await queue.enqueue(jobs.nothing)
    datas = [Queue.prepare_data(jobs.record, (str(n),), depends_on=parent) for n in range(size)]
    await queue.enqueue_many(datas)
    assert len(await parent.dependent_ids()) == size

    await drain(backend)

    assert sorted(jobs.recorded, key=int) == [str(n) for n in range(size)]
    assert not [name for name in await stored(backend) if "releasing" in name]


async def test_one_waits_for_a_thousand(backend: RedisBackend) -> None:
    """It starts once, after the last of them."""
    queue, size = Queue("q", backend), size_of(backend, 1000)
    parents = await queue.enqueue_many(
        [Queue.prepare_data(jobs.record, (str(n),)) for n in range(size)]
    )
    await queue.enqueue(jobs.record, "last", depends_on=parents)

    await drain(backend)

    assert len(jobs.recorded) == size + 1
    assert jobs.recorded[-1] == "last"


async def test_all_wait_for_all(backend: RedisBackend) -> None:
    """A layer of jobs that each wait for the whole layer above."""
    queue, size = Queue("q", backend), size_of(backend, 120)
    above = await queue.enqueue_many([Queue.prepare_data(jobs.nothing) for _ in range(size)])
    await queue.enqueue_many(
        [Queue.prepare_data(jobs.record, (str(n),), depends_on=above) for n in range(size)]
    )

    await drain(backend)

    assert sorted(jobs.recorded, key=int) == [str(n) for n in range(size)]


async def test_chain_of_a_thousand(backend: RedisBackend) -> None:
    """Each starts when the one before has finished."""
    queue, size = Queue("q", backend), size_of(backend, 1000)
    job = await queue.enqueue(jobs.record, "0")
    for number in range(1, size):
        job = await queue.enqueue(jobs.record, str(number), depends_on=job)

    await drain(backend)

    assert jobs.recorded == [str(n) for n in range(size)]


# -- when a parent ends badly ------------------------------------------------------------------------


async def test_dependent_of_a_failed_job_waits_and_says_why(backend: RedisBackend) -> None:
    """As in RQ; it starts once the parent was requeued and has finished."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.fails_times, "k", 1)
    child = await queue.enqueue(jobs.record, "child", depends_on=parent)

    await drain(backend)
    assert await child.get_status() == "deferred"
    assert await child.blocked_by() == [parent]

    await parent.requeue()
    await drain(backend)
    assert jobs.recorded == ["child"]


async def test_dependent_that_allows_failure_starts(backend: RedisBackend) -> None:
    """With ``Dependency(allow_failure=True)`` a failed parent counts as done; one that is stopped or cancelled does not."""
    queue = Queue("q", backend)
    failing = await queue.enqueue(jobs.fail)
    cancelled = await queue.enqueue(jobs.nothing)
    one = await queue.enqueue(jobs.nothing, depends_on=Dependency(failing, allow_failure=True))
    two = await queue.enqueue(
        jobs.nothing, depends_on=Dependency([failing, cancelled], allow_failure=True)
    )
    await cancelled.cancel()

    await drain(backend)

    assert await statuses(one, two) == ["finished", "deferred"]
    assert await two.blocked_by() == [cancelled]


@pytest.mark.parametrize("end", ["failed", "failed and not kept", "stopped", "cancelled"])
async def test_policy_run_starts_whatever_became_of_the_parent(
    backend: RedisBackend, end: str
) -> None:
    """``on_parent_failure="run"``: failed, stopped or cancelled, it is over."""
    queue = Queue("q", backend)
    child = await _end_parent(backend, queue, end, on_parent_failure="run")

    await drain(backend)

    assert await child.get_status() == "finished"


@pytest.mark.parametrize("end", ["failed", "failed and not kept", "stopped", "cancelled"])
async def test_policy_cancel_cancels_down_the_whole_line(backend: RedisBackend, end: str) -> None:
    """``on_parent_failure="cancel"``: who waits for it is told, and those that wait for the child are asked in turn."""
    queue = Queue("q", backend)
    child = await _end_parent(backend, queue, end, on_parent_failure="cancel")

    await eventually(child.is_canceled)
    with pytest.raises(JobCancelled):
        await child.wait(timeout=5)
    assert await drain(backend) is False


@pytest.mark.parametrize("end", ["failed", "failed and not kept", "stopped", "cancelled"])
async def test_policy_wait_waits(backend: RedisBackend, end: str) -> None:
    """RQ's, and the default: also when the failed parent is not kept at all."""
    queue = Queue("q", backend)
    child = await _end_parent(backend, queue, end)

    assert await drain(backend) is False
    assert await child.get_status() == "deferred"


async def _end_parent(backend: RedisBackend, queue: Queue, end: str, **options: Any) -> Job:
    parent = await queue.enqueue(jobs.nothing, failure_ttl=0 if end.endswith("kept") else None)
    child = await queue.enqueue(jobs.nothing, depends_on=parent, **options)
    if end == "cancelled":
        await parent.cancel()
    elif end == "stopped":
        async with at_work(backend, "idle"):
            claimed = await backend.claim(SEAT, ClaimRequest(1, ("q",)))
            await parent.cancel()
            await backend.settle(SEAT, [(claimed.claims[0], BAD)])
            await backend.released()
    else:
        await end_next(backend, BAD)
    return child


async def test_cancelling_spreads_down_a_long_chain(backend: RedisBackend) -> None:
    """One step of a script for each, however deep."""
    queue, size = Queue("q", backend), size_of(backend, 1000)
    first = await queue.enqueue(jobs.fail)
    chain = [first]
    for _ in range(size):
        chain.append(
            await queue.enqueue(jobs.nothing, depends_on=chain[-1], on_parent_failure="cancel")
        )

    await drain(backend)
    await eventually(chain[-1].is_canceled)

    found = await Job.fetch_many([job.id for job in chain[1:]], backend)
    assert {job.status for job in found if job is not None} == {"canceled"}


async def test_policies_hold_for_parents_that_had_ended_before(backend: RedisBackend) -> None:
    """An enqueue after the failure is treated as one before it."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.fail)
    await drain(backend)
    waiting = await queue.enqueue(jobs.nothing)

    children = [
        await queue.enqueue(jobs.nothing, depends_on=[waiting, parent], on_parent_failure=policy)
        for policy in ("wait", "cancel", "run")
    ]

    assert [job.status for job in children] == ["deferred", "canceled", "deferred"]
    await drain(backend)
    assert await statuses(*children) == ["deferred", "canceled", "finished"]


# -- cancelling and deleting -------------------------------------------------------------------------


async def test_cancel_can_free_the_dependents(backend: RedisBackend) -> None:
    """``enqueue_dependents=True``: for them the cancelled job counts as done."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.nothing)
    children = [await queue.enqueue(jobs.nothing, depends_on=parent) for _ in range(150)]

    await parent.cancel(enqueue_dependents=True)

    assert set(await queue.get_job_ids()) == {job.id for job in children}


@pytest.mark.parametrize("policy", ["wait", "cancel"])
@pytest.mark.parametrize("is_deleted", [False, True], ids=["kept", "deleted"])
async def test_cancelled_parent_that_counts_as_done_does_so_to_the_end(
    backend: RedisBackend, policy: Any, is_deleted: bool
) -> None:
    """Also for a job that waits for another as well, and when the cancelled one is deleted meanwhile. (rq's jobs wait for ever.)"""
    queue = Queue("q", backend)
    cancelled = await queue.enqueue(jobs.nothing)
    other = await queue.enqueue(jobs.nothing)
    child = await queue.enqueue(
        jobs.nothing, depends_on=[cancelled, other], on_parent_failure=policy
    )

    await cancelled.cancel(enqueue_dependents=True)
    if is_deleted:
        await cancelled.delete()
    assert await statuses(child) == ["deferred"]
    await sweeping.sweep_deferred(backend, "q")
    assert await statuses(child) == ["deferred"]
    await drain(backend)

    assert await statuses(child) == ["finished"]


async def test_parent_that_fails_in_its_second_run_does_not_count_as_done(
    backend: RedisBackend,
) -> None:
    """It had finished, and was requeued while the job still waited for another."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.nothing)
    other = await queue.enqueue_in(60, jobs.nothing)
    child = await queue.enqueue(jobs.nothing, depends_on=[parent, other])
    await drain(backend)
    await parent.requeue()
    await end_next(backend, BAD)

    await backend.reschedule(other.id, 1.0)
    await drain(backend)

    assert await statuses(parent, other, child) == ["failed", "finished", "deferred"]


async def test_cancel_of_a_running_job_can_free_the_dependents(backend: RedisBackend) -> None:
    """They start when its worker has stopped it."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.wait_gate, "g")
    child = await queue.enqueue(jobs.record, "child", depends_on=parent)

    async with at_work(backend):
        await eventually(parent.is_started)
        await parent.cancel(enqueue_dependents=True)
        await child.wait(timeout=5)

    assert await parent.get_status() == "stopped"


async def test_cancelled_dependent_can_be_taken_off_its_parents(backend: RedisBackend) -> None:
    """With ``remove_from_dependencies``; without it the parent finds out in the end, and nothing starts."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.nothing)
    one, two = [await queue.enqueue(jobs.nothing, depends_on=parent) for _ in range(2)]

    await one.cancel(remove_from_dependencies=True)
    await two.cancel()

    assert await parent.dependent_ids() == [two.id]
    await drain(backend)
    assert await statuses(one, two) == ["canceled", "canceled"]


async def test_delete_leaves_the_dependents_waiting(backend: RedisBackend) -> None:
    """As in RQ, a dependent stays deferred; one that runs, or is cancelled, whatever happens, does so."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.nothing)
    waits, runs, ends = [
        await queue.enqueue(jobs.nothing, depends_on=parent, on_parent_failure=policy)
        for policy in ("wait", "run", "cancel")
    ]

    await parent.delete()

    assert await statuses(waits, runs, ends) == ["deferred", "queued", "canceled"]
    assert not [name for name in await stored(backend) if parent.id in name]


async def test_delete_can_take_the_dependents_with_it(backend: RedisBackend) -> None:
    """All of them, those that wait for these as well, each once."""
    queue, size = Queue("q", backend), size_of(backend, 1000)
    top = await queue.enqueue(jobs.nothing)
    left, right = [await queue.enqueue(jobs.nothing, depends_on=top) for _ in range(2)]
    job = await queue.enqueue(jobs.nothing, depends_on=[left, right])
    for _ in range(size):
        job = await queue.enqueue(jobs.nothing, depends_on=job)
    other = await queue.enqueue(jobs.nothing)

    await top.delete(delete_dependents=True)

    assert [name for name in await stored(backend) if name.startswith("job:")] == [
        f"job:{other.id}"
    ]
    assert await DeferredJobRegistry("q", backend).count() == 0


async def test_job_that_replaces_one_is_waited_for(backend: RedisBackend) -> None:
    """Who waited for the first one waits for the second."""
    queue = Queue("q", backend)
    await queue.enqueue(jobs.fail, job_id="x")
    child = await queue.enqueue(jobs.record, "child", depends_on="x")
    await drain(backend)

    await queue.enqueue(jobs.nothing, job_id="x")
    await drain(backend)

    assert await child.get_status() == "finished"


# -- when a process dies in between -----------------------------------------------------------------


async def test_reaper_goes_on_where_a_release_was_cut_short(backend: RedisBackend) -> None:
    """The worker that had settled the parent died after the first slice: what remains is noted, and freed by another."""
    queue, size = Queue("q", backend), 700
    parent = await queue.enqueue(jobs.nothing)
    await queue.enqueue_many(
        [Queue.prepare_data(jobs.nothing, depends_on=parent) for _ in range(size)]
    )
    (claim,) = (await backend.claim(SEAT, ClaimRequest(1, ("q",)))).claims
    await backend.exchange.send(
        backend.home.lend("test").__enter__(),
        [backend._command(*wire.settle_call(SEAT, claim, DONE))],
    )
    assert 0 < await queue.count() < size
    await let_expire(backend, backend.keys.job(parent.id))

    reaper = Reaper(backend, ["q"], max_deaths=3, is_trusted=lambda: True)
    await reaper._pass()

    assert await queue.count() == size
    assert not [name for name in await stored(backend) if parent.id in name]


async def test_dependents_of_a_job_that_died_with_its_worker(backend: RedisBackend) -> None:
    """A job that failed since its worker died is a failed parent like any other."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.nothing)
    waits, allows, ends = [
        await queue.enqueue(
            jobs.nothing, depends_on=Dependency(parent, allow_failure=allowed), **more
        )
        for allowed, more in (
            (False, {}),
            (True, {}),
            (False, {"on_parent_failure": "cancel"}),
        )
    ]
    (claim,) = (await backend.claim(SEAT, ClaimRequest(1, ("q",)))).claims
    member = f"{claim.job_id}:{claim.execution_id}"
    await backend.run(["ZADD", backend.keys.wip("q"), "XX", 1, member])

    await Reaper(backend, ["q"], max_deaths=1, is_trusted=lambda: True)._pass()

    assert await statuses(parent, waits, allows, ends) == [
        "failed",
        "deferred",
        "queued",
        "canceled",
    ]


async def test_sweeper_frees_who_was_not_told(backend: RedisBackend) -> None:
    """rq frees the dependents of a failed job in a second step: should it die before, a sweep finds them."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.nothing)
    told = await queue.enqueue(jobs.nothing, depends_on=Dependency(parent, allow_failure=True))
    blocked = await queue.enqueue(jobs.nothing, depends_on=parent)
    await backend.run(
        ["HSET", backend.keys.job(parent.id), "status", "failed"],
        ["LREM", backend.keys.queue("q"), 0, parent.id],
        ["EXPIRE", backend.keys.job(parent.id), 60],
        ["ZADD", backend.keys.failed("q"), 9e9, parent.id],
        ["DEL", backend.keys.dependents(parent.id)],
    )

    await Sweeper(backend, ["q"]).sweep()

    assert await statuses(told, blocked) == ["queued", "deferred"]


async def test_parent_that_expires_before_it_ran(backend: RedisBackend) -> None:
    """Nobody is told; a sweep finds who runs or ends whatever happens, and leaves alone who needs the parent."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.nothing, ttl=60)
    waits, runs, ends = [
        await queue.enqueue(jobs.nothing, depends_on=parent, on_parent_failure=policy)
        for policy in ("wait", "run", "cancel")
    ]
    await let_expire(backend, backend.keys.job(parent.id))

    await Sweeper(backend, ["q"]).sweep()

    assert await statuses(waits, runs, ends) == ["deferred", "queued", "canceled"]
    await drain(backend)


async def test_dependents_outlive_the_ttl_of_a_parent_that_runs(backend: RedisBackend) -> None:
    """``ttl`` is for waiting: once the parent runs, neither it nor those that wait for it are forgotten."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.nothing, ttl=60)
    child = await queue.enqueue(jobs.nothing, depends_on=parent)

    (claim,) = (await backend.claim(SEAT, ClaimRequest(1, ("q",)))).claims

    (ttl,) = await backend.run(["TTL", backend.keys.dependents(parent.id)])
    assert ttl == -1
    await backend.settle(SEAT, [(claim, DONE)])
    assert await child.get_status() == "queued"


async def test_concurrent_ends_free_a_child_once(backend: RedisBackend) -> None:
    """Many parents that end at the same moment, in different workers."""
    queue = Queue("q", backend)
    parents = await queue.enqueue_many([Queue.prepare_data(jobs.nothing) for _ in range(20)])
    child = await queue.enqueue(jobs.nothing, depends_on=parents)
    claims = (await backend.claim(SEAT, ClaimRequest(20, ("q",)))).claims

    await asyncio.gather(*(backend.settle(SEAT, [(claim, DONE)]) for claim in claims))

    assert await queue.get_job_ids() == [child.id]


async def test_parent_that_never_was_leaves_nothing_behind(backend: RedisBackend) -> None:
    """Who waits for a job that does not exist (and for one that does) is noted for a day at most; it counts as done."""
    queue = Queue("q", backend)
    parent = await queue.enqueue(jobs.nothing)
    child = await queue.enqueue(jobs.record, "k", depends_on=["never-was", parent])
    assert await child.is_deferred()

    (ttl,) = await backend.run(["TTL", backend.keys.dependents("never-was")])
    assert 0 < ttl <= 86_400
    await drain(backend)
    assert await child.wait(timeout=5) == "k"


async def test_replaced_parent_with_a_ttl_leaves_no_key_for_ever(backend: RedisBackend) -> None:
    """Who waits for it goes on being known for a while after its time is over, and no longer; without a ``ttl``, as long as it."""
    queue = Queue("q", backend)
    await queue.enqueue(jobs.add, 1, 2, job_id="parent")
    await queue.enqueue(jobs.add, 3, 4, job_id="child", depends_on="parent")
    key = backend.keys.dependents("parent")

    await queue.enqueue(jobs.add, 5, 6, job_id="parent", ttl=3000)
    (bounded,) = await backend.run(["TTL", key])
    await queue.enqueue(jobs.add, 7, 8, job_id="parent")
    (unbounded,) = await backend.run(["TTL", key])

    assert 3000 < bounded <= 3000 + 86400
    assert unbounded == -1
    await drain(backend)
    assert await (await Job.fetch("child", backend)).get_status() == "finished"
