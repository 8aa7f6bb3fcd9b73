"""A reply may be lost after the command ran, so every command may be sent twice: the second time it says OK and changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiorq2.backends import wire
from aiorq2.backends.base import Seat, Tally
from aiorq2.backends.line import Command
from aiorq2.backends.redis import RedisBackend
from aiorq2.options import JobSpec
from aiorq2.outcome import Finished
from aiorq2.states import JobStatus, Verb
from aiorq2.terms import RateLimit
from tests.contract import stage
from tests.contract.stage import QUEUE, SEAT, TALLY, in_status, send
from tests.support.lost_reply import lose_next_reply

NOW = "2024-05-01T12:00:00.000000Z"


def _add(backend: RedisBackend, spec: JobSpec) -> Command:
    return backend._command("add", *wire.spec_arguments(spec, replace=True))


def _cancel(backend: RedisBackend, job_id: str) -> Command:
    named: dict[str, Any] = {"id": job_id, "token": "t", "now_iso": NOW}
    return backend._command("cancel", {**named, "enqueue_dependents": 0, "running_only": 0})


def _requeue(backend: RedisBackend, job_id: str) -> Command:
    named: dict[str, Any] = {"id": job_id, "token": "t", "now_iso": NOW}
    return backend._command("requeue", {**named, "at_front": 0, "among": ""})


def _delete(backend: RedisBackend, job_id: str) -> Command:
    return backend._command("delete", {"id": job_id, "token": "t", "now_iso": NOW, "among": ""})


def _register(backend: RedisBackend) -> Command:
    named: dict[str, Any] = {
        "worker": "w1",
        "instance": "i1",
        "replaces": "",
        "ttl": 30,
        "queue_count": 1,
    }
    return backend._command("register", named, [QUEUE, "birth", NOW, "state", "started"])


def _unregister(backend: RedisBackend) -> Command:
    return backend._command(
        "unregister", {"worker": "w1", "instance": "i1", "now_iso": NOW}, [QUEUE]
    )


async def _settling(backend: RedisBackend, verb: Verb) -> Command:
    job = await in_status(backend, JobStatus.STARTED)
    return backend._command(*wire.settle_call(SEAT, job.claim, stage.OUTCOMES[verb]))


async def _retrying_later(backend: RedisBackend) -> Command:
    job = await in_status(backend, JobStatus.STARTED)
    return backend._command(*wire.settle_call(SEAT, job.claim, stage.LATER))


async def _adding(backend: RedisBackend, **options: Any) -> Command:
    return _add(backend, stage.job_spec(**options))


async def _adding_dependent(backend: RedisBackend) -> Command:
    (parent,) = await stage.add(backend)
    return _add(backend, stage.job_spec(depends_on=parent))


async def _repeating(backend: RedisBackend) -> Command:
    job = await in_status(backend, JobStatus.STARTED)
    return backend._command(
        *wire.settle_call(SEAT, job.claim, Finished(1_700_000_000.0, b"42", 60.0))
    )


async def _registering(backend: RedisBackend) -> Command:
    return _register(backend)


async def _unregistering(backend: RedisBackend) -> Command:
    await send(backend, _register(backend))
    return _unregister(backend)


def _of(status: JobStatus, make: Callable[[RedisBackend, str], Command]) -> Any:
    async def prepare(backend: RedisBackend) -> Command:
        return make(backend, (await in_status(backend, status)).id)

    return prepare


def _settles(verb: Verb) -> Any:
    return lambda backend: _settling(backend, verb)


COMMANDS: dict[str, Callable[[RedisBackend], Awaitable[Command]]] = {
    "add": _adding,
    "add unique": lambda backend: _adding(backend, unique=True),
    "add at front": lambda backend: _adding(backend, at_front=True),
    "add scheduled": lambda backend: _adding(backend, status=JobStatus.SCHEDULED, due_in=60),
    "add deferred": _adding_dependent,
    "add with a rate limit": lambda backend: _adding(backend, rate_limit=RateLimit("r", 1)),
    **{str(verb): _settles(verb) for verb in stage.OUTCOMES},
    "retry later": _retrying_later,
    "finish and repeat": _repeating,
    "reschedule": _of(
        JobStatus.SCHEDULED,
        lambda backend, job_id: backend._command("reschedule", {"id": job_id, "at": 4e9}),
    ),
    "cancel": _of(JobStatus.QUEUED, _cancel),
    "requeue": _of(JobStatus.FAILED, _requeue),
    "delete": _of(JobStatus.FINISHED, _delete),
    "register": _registering,
    "unregister": _unregistering,
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_command_sent_twice_does_what_it_does_once(backend: RedisBackend, name: str) -> None:
    """The second copy of a command finds that it has been carried out, says OK, and changes not a byte."""
    command = await COMMANDS[name](backend)
    first = await send(backend, command)
    once = await stage.everything(backend)

    second = await send(backend, command)

    assert (first[0], second[0]) == (b"OK", b"OK")
    assert await stage.everything(backend) == once


async def test_promotion_sent_twice_moves_once(backend: RedisBackend) -> None:
    """A due job is in its queue once, however often it is promoted."""
    job = await in_status(backend, JobStatus.SCHEDULED)
    await stage.make_due(backend, job.id)

    first = await backend.promote(QUEUE)
    second = await backend.promote(QUEUE)

    assert (first[0], second[0]) == (1, 0)
    assert await stage.queued(backend) == [job.id]


async def test_reaping_sent_twice_counts_one_death(backend: RedisBackend) -> None:
    """A dead lease is one death, however many reapers look."""
    claimed = await stage.start(backend)
    await stage.end_lease(backend, claimed)

    await backend.reap(QUEUE, max_deaths=3)
    await backend.reap(QUEUE, max_deaths=3)

    assert (await stage.fields(backend, claimed.job_id))["aio_deaths"] == "1"
    assert await stage.queued(backend) == [claimed.job_id]


async def test_heartbeat_sent_twice_is_one_heartbeat(backend: RedisBackend) -> None:
    """Counters are totals: a heartbeat that is repeated counts nothing twice."""
    await send(backend, _register(backend))
    claimed = await stage.start(backend)
    seat = Seat("w1", "i1", lease=15)
    tally = Tally(successes=3, failures=1, working_time_s=2.5)

    await backend.extend(seat, [claimed], tally)
    extended = await backend.extend(seat, [claimed], tally)

    assert extended.lost == frozenset()
    (counted,) = await backend.run(
        ["HMGET", backend.keys.worker("w1"), "successful_job_count", "failed_job_count"]
    )
    assert counted == [b"3", b"1"]
    await backend.unregister(seat, [QUEUE])


AFTER_ADD: dict[str, tuple[dict[str, Any], Callable[[RedisBackend, str], Awaitable[Any]]]] = {
    "ran and was kept": ({}, lambda backend, _: _run_next(backend)),
    "ran and was deleted": ({"result_ttl": 0}, lambda backend, _: _run_next(backend)),
    "was deleted": ({}, lambda backend, job_id: backend.delete(job_id)),
    "was cancelled": ({}, lambda backend, job_id: backend.cancel(job_id)),
}


async def _run_next(backend: RedisBackend) -> None:
    await stage.settle(backend, await stage.claim_one(backend), stage.OUTCOMES[Verb.FINISH])


@pytest.mark.parametrize("name", AFTER_ADD)
async def test_add_sent_again_after_the_job_ended_adds_nothing(
    backend: RedisBackend, name: str
) -> None:
    """One enqueue is one job, even if its reply is lost for so long that the job has ended and gone meanwhile."""
    options, meanwhile = AFTER_ADD[name]
    spec = stage.job_spec(**options)
    await send(backend, _add(backend, spec))
    await meanwhile(backend, spec.id)
    ended = await stage.everything(backend)

    reply = await send(backend, _add(backend, spec))

    assert reply[0] == b"OK"
    assert await stage.everything(backend) == ended


async def test_add_with_the_same_id_but_another_call_is_another_job(backend: RedisBackend) -> None:
    """Only the repetition of the very same call is recognised, not a second call with the same id."""
    (job_id,) = await stage.add(backend, result_ttl=0)
    await _run_next(backend)

    await stage.add(backend, job_id)

    assert await stage.queued(backend) == [job_id]


async def test_cancel_sent_again_after_the_run_was_stopped_is_fine(backend: RedisBackend) -> None:
    """Who cancels a running job and loses the reply is not told that there was nothing to cancel."""
    claimed = await stage.start(backend)
    first = await send(backend, _cancel(backend, claimed.job_id))
    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.STOP])
    stopped = await stage.everything(backend)

    second = await send(backend, _cancel(backend, claimed.job_id))

    assert (first[0], second[0]) == (b"STOPPING", b"OK")
    assert await stage.everything(backend) == stopped


async def test_cancel_of_a_running_job_sent_twice_says_the_same_twice(
    backend: RedisBackend,
) -> None:
    """While the job runs, the second copy names the worker as the first one did."""
    claimed = await stage.start(backend)

    first = await send(backend, _cancel(backend, claimed.job_id))
    once = await stage.everything(backend)
    second = await send(backend, _cancel(backend, claimed.job_id))

    assert first == second == [b"STOPPING", SEAT.worker.encode()]
    assert await stage.everything(backend) == once


@pytest.mark.parametrize("result_ttl", [500, 0])
async def test_requeue_sent_again_after_the_job_ran_requeues_nothing(
    backend: RedisBackend, result_ttl: int
) -> None:
    """One requeue is one more run, even if its reply is lost until that run is over and the job gone."""
    job = await in_status(backend, JobStatus.FAILED, result_ttl=result_ttl)
    await send(backend, _requeue(backend, job.id))
    await _run_next(backend)
    ended = await stage.everything(backend)

    reply = await send(backend, _requeue(backend, job.id))

    assert reply[0] == b"OK"
    assert await stage.everything(backend) == ended


async def test_finish_of_a_job_that_is_not_kept_sent_twice_finds_it_gone(
    backend: RedisBackend,
) -> None:
    """With ``result_ttl=0`` the first copy deletes the job; the second says that it is gone and brings nothing back."""
    claimed = await stage.start(backend, result_ttl=0)
    command = backend._command(*wire.settle_call(SEAT, claimed, stage.OUTCOMES[Verb.FINISH]))
    await send(backend, command)
    once = await stage.everything(backend)

    reply = await send(backend, command)

    assert reply[0] == b"GONE"
    assert await stage.everything(backend) == once


async def test_claim_whose_reply_is_lost_is_given_back(backend: RedisBackend) -> None:
    """What a claim started whose reply never came is put back at the front, with no attempt burnt."""
    ids = await stage.add(backend, "a", "b", "c")

    with lose_next_reply():
        claimed = await stage.claim(backend, count=2)

    assert claimed == []
    assert await stage.queued(backend) == ids
    assert (await stage.fields(backend, "a"))["aio_attempt"] == "0"
    assert [one.attempt for one in await stage.claim(backend, count=3)] == [1, 1, 1]


async def test_settle_and_claim_whose_replies_are_lost_settle_once_and_give_back(
    backend: RedisBackend,
) -> None:
    """Of a pipeline whose replies are lost, what was settled stays settled, and what was claimed is given back."""
    first = await stage.start(backend, "first")
    await stage.add(backend, "second")
    outcome = Finished(1_700_000_000.0, b"1")

    with lose_next_reply():
        answer = await backend.settle(SEAT, [(first, outcome)], stage.request(1))

    assert (answer.claims, answer.refused) == ((), ())
    assert await stage.status_of(backend, "first") == "finished"
    assert await stage.queued(backend) == ["second"]


async def test_claim_whose_reply_is_lost_leaves_the_runs_it_knows(backend: RedisBackend) -> None:
    """Only what the lost claim started is given back; the worker's other runs go on."""
    known = await stage.start(backend, "known")
    await stage.add(backend, "unseen")

    with lose_next_reply():
        await stage.claim(backend)

    assert await stage.places(backend, "known") == ["wip:q"]
    assert (await backend.extend(SEAT, [known], TALLY)).lost == frozenset()
