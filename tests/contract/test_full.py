"""Redis has no memory left: nothing is enqueued by halves, and everything that frees memory still works."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from aiorq2.backends.base import Observed
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendFull
from aiorq2.states import JobStatus, Verb
from tests.contract import cron_stage, stage
from tests.contract.stage import QUEUE, SEAT, TALLY, Staged, in_status, opened
from tests.contract.test_adding_many import plain
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.redis

S = JobStatus


@pytest.fixture(scope="module")
def own_server() -> Iterator[RedisServer]:
    """A Redis for the tests of this file."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def tight(own_server: RedisServer, key_prefix: str) -> AsyncIterator[RedisBackend]:
    """A backend on a Redis that the test may fill."""
    async with opened(own_server.url, key_prefix=key_prefix) as backend:
        yield backend
        own_server.config("maxmemory", 0)


def _fill(server: RedisServer) -> None:
    server.config("maxmemory", 1)


GROWING: dict[str, tuple[JobStatus | None, Callable[[RedisBackend, Staged], Awaitable[Any]]]] = {
    "add": (None, lambda backend, _: stage.add(backend)),
    "add many": (None, lambda backend, _: backend.add([plain(), plain()])),
    "add scheduled": (
        None,
        lambda backend, _: stage.add(backend, status=S.SCHEDULED, due_in=60),
    ),
    "replace": (S.QUEUED, lambda backend, job: stage.add(backend, job.id)),
    "requeue": (S.FAILED, lambda backend, job: backend.requeue(job.id)),
    "save cron": (None, lambda backend, _: cron_stage.entry(backend)),
}


@pytest.mark.parametrize("name", GROWING)
async def test_what_enqueues_is_refused_whole(
    own_server: RedisServer, tight: RedisBackend, name: str
) -> None:
    """An enqueue on a full Redis raises at once, says that nothing was enqueued, and that is true."""
    status, act = GROWING[name]
    job = await in_status(tight, status)
    before = await stage.everything(tight)
    _fill(own_server)

    with pytest.raises(BackendFull, match="nothing was enqueued") as raised:
        await act(tight, job)

    assert f"{own_server.host}:{own_server.port}" in str(raised.value)
    assert await stage.everything(tight) == before


@pytest.mark.parametrize("overlap", ["allow", "replace"])
async def test_tick_is_refused_whole_and_made_later(
    own_server: RedisServer, tight: RedisBackend, overlap: str
) -> None:
    """A recurring entry whose tick finds Redis full is due until there is room."""
    await cron_stage.entry(tight, overlap=overlap)
    await cron_stage.tick(tight, next_tick=cron_stage.PAST + 60)
    before = await stage.everything(tight)
    _fill(own_server)

    with pytest.raises(BackendFull):
        await cron_stage.tick(tight)
    assert await stage.everything(tight) == before

    own_server.config("maxmemory", 0)
    assert len(await cron_stage.tick(tight)) == 1


async def _claim(backend: RedisBackend, _: Staged) -> None:
    assert len(await stage.claim(backend)) == 1


async def _extend(backend: RedisBackend, job: Staged) -> None:
    assert (await backend.extend(SEAT, [job.claim], TALLY)).lost == frozenset()


async def _reap(backend: RedisBackend, job: Staged) -> None:
    assert (await backend.reap(QUEUE, max_deaths=3)).requeued == (job.id,)


async def _promote(backend: RedisBackend, _: Staged) -> None:
    assert (await backend.promote(QUEUE))[0] == 1


async def _cancel_running(backend: RedisBackend, job: Staged) -> None:
    assert await backend.cancel(job.id) == SEAT.worker
    assert (await backend.extend(SEAT, [job.claim], TALLY)).stopping == {job.claim.execution_id}


def _settles(verb: Verb) -> Callable[[RedisBackend, Staged], Awaitable[Any]]:
    async def act(backend: RedisBackend, job: Staged) -> None:
        assert (await stage.settle(backend, job.claim, stage.OUTCOMES[verb])).refused == ()

    return act


GOING_ON: dict[
    str, tuple[JobStatus, Callable[[RedisBackend, Staged], Awaitable[Any]], JobStatus | None]
] = {
    "claim": (S.QUEUED, _claim, S.STARTED),
    "extend": (S.STARTED, _extend, S.STARTED),
    "finish": (S.STARTED, _settles(Verb.FINISH), S.FINISHED),
    "fail": (S.STARTED, _settles(Verb.FAIL), S.FAILED),
    "stop": (S.STARTED, _settles(Verb.STOP), S.STOPPED),
    "retry": (S.STARTED, _settles(Verb.RETRY), S.QUEUED),
    "give_back": (S.STARTED, _settles(Verb.GIVE_BACK), S.QUEUED),
    "reap": (S.STARTED, _reap, S.QUEUED),
    "promote": (S.SCHEDULED, _promote, S.QUEUED),
    "cancel": (S.QUEUED, lambda backend, job: backend.cancel(job.id), S.CANCELED),
    "cancel running": (S.STARTED, _cancel_running, S.STARTED),
    "delete": (S.FINISHED, lambda backend, job: backend.delete(job.id), None),
}


@pytest.mark.parametrize("name", GOING_ON)
async def test_what_is_under_way_goes_on(
    own_server: RedisServer, tight: RedisBackend, name: str
) -> None:
    """Jobs that are in Redis can be started, kept, ended, cancelled and deleted when it is full."""
    before, act, after = GOING_ON[name]
    job = await in_status(tight, before)
    if name == "reap":
        await stage.end_lease(tight, job.claim)
    if before is S.SCHEDULED:
        await stage.make_due(tight, job.id)
    _fill(own_server)

    await act(tight, job)

    assert await stage.status_of(tight, job.id) == after


async def test_settle_and_claim_go_on(own_server: RedisServer, tight: RedisBackend) -> None:
    """A worker works off what is queued on a full Redis."""
    await stage.add(tight, *[f"job{n}" for n in range(10)])
    _fill(own_server)

    claims = await stage.claim(tight, count=5)
    outcomes = [(one, stage.OUTCOMES[Verb.FINISH]) for one in claims]
    answer = await tight.settle(SEAT, outcomes, stage.request(10))

    assert answer.refused == ()
    assert len(answer.claims) == 5


async def test_idle_worker_goes_on(own_server: RedisServer, tight: RedisBackend) -> None:
    """A worker that finds nothing on a full Redis comes and goes, and hears its own bell or sleeps on."""
    await tight.register(SEAT, [QUEUE], {"birth": "now"})
    _fill(own_server)

    claimed = await tight.claim(SEAT, stage.request(5))
    await tight.ring(SEAT)
    await tight.extend(SEAT, [], TALLY)
    await tight.unregister(SEAT, [QUEUE])

    assert claimed.claims == ()


async def test_job_can_be_waited_for(own_server: RedisServer, tight: RedisBackend) -> None:
    """A full Redis keeps no note of who waits; the end is found by looking."""
    claimed = await stage.start(tight)
    _fill(own_server)
    assert (await tight.observe(claimed.job_id, "inbox")).record is not None

    await stage.settle(tight, claimed, stage.OUTCOMES[Verb.FINISH])

    assert isinstance(await tight.ended(claimed.job_id, 5), Observed)
