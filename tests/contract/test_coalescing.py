"""Calls from many tasks travel together, and each gets what is its own."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import pytest

from aiorq2.backends.base import Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import DuplicateJobError, InvalidOption
from aiorq2.states import JobStatus, Verb
from tests.contract import stage
from tests.contract.stage import QUEUE, SEAT, TALLY, in_status
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually


async def test_concurrent_adds_share_one_connection_and_few_writes(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """64 tasks that add at the same time use one connection and a handful of pipelines."""
    await stage.add(shaky)
    before = chaos_proxy.traffic

    await asyncio.gather(*[stage.add(shaky) for _ in range(64)])

    used = chaos_proxy.traffic - before
    assert used.commands == 64
    assert used.connections == 0
    assert used.round_trips <= 4
    assert len(await stage.queued(shaky)) == 65


async def test_adds_in_one_call_share_few_writes(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """A thousand jobs in one call are a handful of pipelines."""
    await stage.add(shaky)
    before = chaos_proxy.traffic

    await shaky.add([stage.job_spec() for _ in range(1000)])

    used = chaos_proxy.traffic - before
    assert used.commands == 1000
    assert used.round_trips <= 8
    assert len(await stage.queued(shaky)) == 1001


async def test_adds_of_one_task_keep_their_order(backend: RedisBackend) -> None:
    """Jobs of one call, and of calls one after the other, are queued in that order."""
    ids = [f"job{n}" for n in range(400)]

    await backend.add([stage.job_spec(job_id) for job_id in ids[:380]])
    for job_id in ids[380:]:
        await stage.add(backend, job_id)

    assert await stage.queued(backend) == ids


async def test_refused_add_does_not_hold_up_the_others(backend: RedisBackend) -> None:
    """Of several jobs in one call the first refusal is raised; the others are added all the same."""
    await stage.add(backend, "b")
    specs = [stage.job_spec(job_id, unique=True) for job_id in ("a", "b", "c")]

    with pytest.raises(DuplicateJobError, match="'b'"):
        await backend.add(specs)

    assert await stage.queued(backend) == ["b", "a", "c"]


async def test_cancelled_caller_harms_no_other(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Of many callers whose calls travel together some are cancelled; the others get their own replies."""
    chaos_proxy.stall()
    adding = [asyncio.create_task(stage.add(shaky, f"job{n}")) for n in range(64)]
    await asyncio.sleep(0.01)
    for task in adding[::2]:
        task.cancel()
    chaos_proxy.resume()

    results = await asyncio.gather(*adding, return_exceptions=True)

    assert results[1::2] == [[f"job{n}"] for n in range(1, 64, 2)]
    assert all(isinstance(one, asyncio.CancelledError) for one in results[::2])
    queued = await stage.queued(shaky)
    assert {f"job{n}" for n in range(1, 64, 2)} <= set(queued)


async def test_cancelled_claim_leaves_no_reply_for_the_next(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """A claim that is cancelled while its reply is on its way does not shift the replies after it."""
    await stage.add(shaky, "a", "b")
    chaos_proxy.delay(0.05)
    for _ in range(5):
        claiming = asyncio.create_task(stage.claim(shaky))
        await asyncio.sleep(0.01)
        claiming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming

    chaos_proxy.heal()
    extended = await shaky.extend(SEAT, [], TALLY)
    await shaky.give_back(SEAT, [(job, run) for run, job in extended.standing.items()])
    claimed = await stage.claim(shaky, count=2)

    assert sorted(one.job_id for one in claimed) == ["a", "b"]


async def test_workers_of_one_process_do_not_mix(backend: RedisBackend) -> None:
    """Settling, claiming and heartbeats of several workers on one backend each get their own replies."""
    await backend.add([stage.job_spec(f"job{n}") for n in range(40)])

    async def work(seat: Seat) -> list[str]:
        ids = []
        while claims := await stage.claim(backend, count=2, seat=seat):
            extended = await backend.extend(seat, claims, TALLY)
            assert extended.lost == frozenset()
            outcomes = [(one, stage.OUTCOMES[Verb.FINISH]) for one in claims]
            assert (await backend.settle(seat, outcomes)).refused == ()
            ids += [one.job_id for one in claims]
        return ids

    done = await asyncio.gather(*[work(Seat(f"w{n}", f"i{n}", lease=15)) for n in range(4)])

    assert sorted(itertools.chain(*done)) == sorted(f"job{n}" for n in range(40))


async def test_calls_of_one_worker_at_the_same_time_do_not_mix(backend: RedisBackend) -> None:
    """Claims, settles, heartbeats and reaps of one worker from several tasks each get their own replies."""
    await backend.add([stage.job_spec(f"job{n}") for n in range(40)])

    async def work() -> list[str]:
        ids = []
        while claims := await stage.claim(backend, count=2):
            assert (await backend.extend(SEAT, claims, TALLY)).lost == frozenset()
            assert (await backend.reap(QUEUE, max_deaths=3)).requeued == ()
            outcomes = [(one, stage.OUTCOMES[Verb.FINISH]) for one in claims]
            assert (await backend.settle(SEAT, outcomes)).refused == ()
            ids += [one.job_id for one in claims]
        return ids

    async with asyncio.timeout(30):
        done = await asyncio.gather(*[work() for _ in range(4)])

    assert sorted(itertools.chain(*done)) == sorted(f"job{n}" for n in range(40))


async def test_workers_that_come_and_go_leave_no_connections(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Ten short-lived workers, one after the other, use the same few connections."""
    for n in range(10):
        seat = Seat(f"w{n}", f"i{n}", lease=15)
        await stage.add(shaky)
        claimed = await stage.claim_one(shaky, seat)
        await shaky.extend(seat, [claimed], TALLY)
        await shaky.wait(seat, [QUEUE], 0.01)
        await stage.settle(shaky, claimed, stage.OUTCOMES[Verb.FINISH], seat)

    assert chaos_proxy.open_connections <= 4


async def test_error_of_one_call_is_not_the_others(backend: RedisBackend) -> None:
    """Of calls that travel together each gets its own error."""
    job = await in_status(backend, JobStatus.FINISHED)

    outcomes = await asyncio.gather(
        backend.requeue("nobody"),
        backend.requeue(job.id),
        backend.run(["NOSUCHCOMMAND"]),
        backend.run(["ECHO", "hello"]),
        return_exceptions=True,
    )

    names = [type(one).__name__ for one in outcomes]
    assert names == ["NoSuchJobError", "NoneType", "BackendRefused", "list"]


@pytest.mark.parametrize("odd", [None, UUID(int=7), ["a"], "half \ud800 a pair"], ids=ascii)
async def test_what_cannot_be_sent_is_an_error_of_its_caller_alone(
    backend: RedisBackend, odd: Any
) -> None:
    """An error of ours; the jobs that share its pipeline are added."""
    told = await asyncio.gather(
        stage.add(backend, "a"),
        backend.observe(odd),
        stage.add(backend, "b"),
        backend.run(["ECHO", odd]),
        return_exceptions=True,
    )

    assert [type(one) for one in told] == [list, InvalidOption, list, InvalidOption]
    assert await stage.queued(backend) == ["a", "b"]
    with pytest.raises(InvalidOption, match="cannot be sent to Redis"):
        await backend.observe(odd)


async def test_lone_caller_that_is_cancelled_leaves_the_next_alone(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Its reply is taken for nobody else's, and those who came meanwhile get theirs."""
    await stage.add(shaky)
    chaos_proxy.stall()
    alone = asyncio.create_task(stage.add(shaky))
    await asyncio.sleep(0.01)
    meanwhile = [asyncio.create_task(shaky.run(["ECHO", str(n)])) for n in range(3)]
    await asyncio.sleep(0.01)

    alone.cancel()
    chaos_proxy.resume()
    replies = await asyncio.gather(*meanwhile)

    assert replies == [[b"0"], [b"1"], [b"2"]]
    assert await shaky.run(["ECHO", "after"]) == [b"after"]
    assert alone.cancelled()


async def test_closing_ends_a_lone_call_and_not_its_caller(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """The call ends as cancelled; the task that made it was not cancelled, and may go on."""
    await stage.add(shaky)
    chaos_proxy.delay(5)

    async def call() -> int:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(asyncio.CancelledError):
            await stage.add(shaky)
        return task.cancelling()

    calling = asyncio.create_task(call())
    await asyncio.sleep(0.02)
    await shaky.close()

    assert await calling == 0


async def test_connection_keeps_no_context_of_a_caller(backend: RedisBackend) -> None:
    """What a request's context holds is not held by the connection that the request happened to open."""
    holding: ContextVar[object] = ContextVar("holding")

    async def call() -> weakref.ref[_Held]:
        held = _Held()
        holding.set(held)
        await stage.add(backend)
        return weakref.ref(held)

    held = await asyncio.create_task(call())

    def is_let_go() -> bool:
        gc.collect()
        return held() is None

    await eventually(
        is_let_go, timeout=10
    )  # the loop lets the task go as well, and time-outs that are over


class _Held:
    """Something that a context holds."""
