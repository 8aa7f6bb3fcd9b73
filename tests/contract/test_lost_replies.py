"""On a real network: the command ran, its reply never came, and nobody notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiorq2.backends import scripts
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendUnavailable
from aiorq2.states import JobStatus, Verb
from tests.contract import stage
from tests.contract.stage import QUEUE, SEAT, TALLY, Staged, in_status
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually


def _sha(verb: str) -> bytes:
    return scripts.load(verb).sha.encode()


async def test_add_whose_reply_is_lost_adds_one_job(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """The add ran, its reply was dropped, it was sent again: there is one job, and the caller sees nothing of it."""
    lost = chaos_proxy.drop_next_reply(_sha("add"))

    (job_id,) = await stage.add(shaky)

    assert lost.is_set()
    assert await stage.queued(shaky) == [job_id]


async def test_unique_add_whose_reply_is_lost_is_no_duplicate_of_itself(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """The second copy of a unique add does not take the first one's job for another's."""
    lost = chaos_proxy.drop_next_reply(_sha("add"))

    await stage.add(shaky, "x", unique=True)

    assert lost.is_set()
    assert await stage.queued(shaky) == ["x"]


async def test_reply_that_is_cut_in_the_middle_is_asked_for_again(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Half a reply is never taken for a whole one, nor is its other half for the next reply."""
    cut = chaos_proxy.truncate_next_reply(_sha("add"), keep=3)

    (job_id,) = await stage.add(shaky)

    assert cut.is_set()
    assert await stage.queued(shaky) == [job_id]


async def test_claim_whose_reply_is_lost_gives_back(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """The claim started jobs and its reply was dropped: they are put back, in order, with no attempt burnt."""
    await stage.add(shaky, "a", "b", "c")
    lost = chaos_proxy.drop_next_reply(_sha("claim"))

    claimed = await stage.claim(shaky, count=2)

    assert lost.is_set()
    assert claimed == []
    assert await stage.queued(shaky) == ["a", "b", "c"]
    assert [one.attempt for one in await stage.claim(shaky, count=3)] == [1, 1, 1]


async def test_claim_on_a_broken_connection_is_to_be_repeated(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """A claim is not sent twice; when its connection breaks it comes back empty and says that there may be more."""
    await stage.add(shaky, "a")
    await shaky.claim(SEAT, stage.request(0))
    chaos_proxy.reset_all()

    first = await shaky.claim(SEAT, stage.request(1))
    second = await shaky.claim(SEAT, stage.request(1))

    assert (first.claims, first.has_more) == ((), True)
    assert [one.job_id for one in second.claims] == ["a"]


async def test_settle_whose_reply_is_lost_settles_once(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Runs that ended in a pipeline whose replies were dropped have ended, once; what it claimed is given back."""
    first = await stage.start(shaky, "first")
    await stage.add(shaky, "second")
    lost = chaos_proxy.drop_next_reply(_sha("finish_many"))

    answer = await shaky.settle(SEAT, [(first, stage.OUTCOMES[Verb.FINISH])], stage.request(1))

    assert lost.is_set()
    assert (answer.claims, answer.refused) == ((), ())
    assert await stage.status_of(shaky, "first") == "finished"
    assert await stage.queued(shaky) == ["second"]


async def test_heartbeat_whose_reply_is_lost_is_an_error_at_once(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """A worker must know how old its leases are: a heartbeat is not repeated in silence."""
    claimed = await stage.start(shaky)
    await shaky.extend(SEAT, [claimed], TALLY)
    lost = chaos_proxy.drop_next_reply(_sha("extend"))

    with pytest.raises(BackendUnavailable):
        await shaky.extend(SEAT, [claimed], TALLY)

    assert lost.is_set()
    assert (await shaky.extend(SEAT, [claimed], TALLY)).lost == frozenset()


async def _reap(backend: RedisBackend, job: Staged) -> None:
    await stage.end_lease(backend, job.claim)
    with pytest.raises(BackendUnavailable):  # the reaper itself looks again
        await backend.reap(QUEUE, max_deaths=3)
    await backend.reap(QUEUE, max_deaths=3)


LOST: dict[str, tuple[JobStatus, Callable[[RedisBackend, Staged], Awaitable[Any]], str]] = {
    "cancel": (JobStatus.QUEUED, lambda backend, job: backend.cancel(job.id), "canceled:q"),
    "requeue": (JobStatus.FAILED, lambda backend, job: backend.requeue(job.id), "queue:q"),
    "delete": (JobStatus.QUEUED, lambda backend, job: backend.delete(job.id), ""),
    "reap": (JobStatus.STARTED, _reap, "queue:q"),
    "promote": (JobStatus.SCHEDULED, lambda backend, _: backend.promote(QUEUE), "queue:q"),
    "retry": (
        JobStatus.STARTED,
        lambda backend, job: stage.settle(backend, job.claim, stage.OUTCOMES[Verb.RETRY]),
        "queue:q",
    ),
}


@pytest.mark.parametrize("verb", LOST)
async def test_verb_whose_reply_is_lost_happens_once(
    shaky: RedisBackend, chaos_proxy: ChaosProxy, verb: str
) -> None:
    """Whatever was asked for has happened once, and the caller sees no error."""
    status, act, place = LOST[verb]
    job = await in_status(shaky, status)
    if status is JobStatus.SCHEDULED:
        await stage.make_due(shaky, job.id)
    lost = chaos_proxy.drop_next_reply(_sha(verb))

    await act(shaky, job)

    assert lost.is_set()
    assert await stage.places(shaky, job.id) == ([place] if place else [])


async def test_nothing_is_lost_or_doubled_on_a_bad_network(
    shaky: RedisBackend, chaos_proxy: ChaosProxy, key_prefix: str
) -> None:
    """A fifth of all replies are dropped: each of 40 jobs is added, claimed and finished once."""
    chaos_proxy.drop_replies(0.2, seed=7)
    ids = [f"job{n:02}" for n in range(40)]
    finished: list[str] = []

    async with stage.opened(chaos_proxy.url, key_prefix=key_prefix, retry_for=None) as patient:
        for job_id in ids:
            await stage.add(patient, job_id)

        async def all_are_finished() -> bool:
            claims = await stage.claim(patient, count=5)
            outcomes = [(one, stage.OUTCOMES[Verb.FINISH]) for one in claims]
            assert (await patient.settle(SEAT, outcomes)).refused == ()
            finished.extend(one.job_id for one in claims)
            return len(finished) >= len(ids)

        await eventually(all_are_finished, timeout=30)

    assert sorted(finished) == ids
    assert chaos_proxy.replies_lost > 5
    chaos_proxy.heal()


async def test_fragmented_replies_are_put_together(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """A network that delivers byte by byte is slow, not wrong."""
    chaos_proxy.chunk(1)

    claimed = await stage.start(shaky)
    settled = await stage.settle(shaky, claimed, stage.OUTCOMES[Verb.FINISH])

    assert settled.refused == ()
    chaos_proxy.heal()
