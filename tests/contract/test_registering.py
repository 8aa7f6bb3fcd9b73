"""Workers announce themselves as rq's do: a name belongs to one living worker, and what is gone is cleared away."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from aiorq2.backends.base import Seat, Tally
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import WorkerNameTaken
from aiorq2.outcome import Finished
from aiorq2.states import Verb
from tests.contract import stage
from tests.contract.stage import QUEUE, SEAT, TALLY
from tests.support.chaos_proxy import ChaosProxy

FIELDS: dict[str, str | int] = {
    "birth": "2024-05-01T12:00:00.000000Z",
    "pid": 42,
    "state": "started",
}
RIVAL = Seat(SEAT.worker, "another instance", lease=15)


async def _worker(backend: RedisBackend) -> dict[str, str]:
    (flat,) = await backend.run(["HGETALL", backend.keys.worker(SEAT.worker)])
    pairs = iter(part.decode() for part in flat)
    return dict(zip(pairs, pairs, strict=True))


async def _listed(backend: RedisBackend, queue: str | None = None) -> list[str]:
    key = backend.keys.queue_workers(queue) if queue else backend.keys.workers()
    (members,) = await backend.run(["SMEMBERS", key])
    return [member.decode().removeprefix(f"{backend.key_prefix}:") for member in members]


async def test_registered_worker_is_where_rq_looks(backend: RedisBackend) -> None:
    """A worker has its hash, with a time-out, and is in the set of all workers and in those of its queues."""
    known = await backend.register(SEAT, [QUEUE, "other"], FIELDS)

    assert known is None
    fields = await _worker(backend)
    assert fields == {"aio_instance": SEAT.instance, **{k: str(v) for k, v in FIELDS.items()}}
    assert 0 < await stage.ttl(backend, backend.keys.worker(SEAT.worker)) <= 2 * SEAT.lease
    for queue in (None, QUEUE, "other"):
        assert await _listed(backend, queue) == ["worker:w1"]
    await backend.unregister(SEAT, [QUEUE, "other"])


async def test_name_of_a_living_worker_is_taken(backend: RedisBackend) -> None:
    """A second worker of the same name is told what is known of the first, and changes nothing."""
    await backend.register(SEAT, [QUEUE], FIELDS)
    before = await stage.everything(backend)

    known = await backend.register(RIVAL, ["other"], {"birth": "now"})

    assert known is not None
    assert (known["aio_instance"], known["pid"]) == (SEAT.instance.encode(), b"42")
    assert await stage.everything(backend) == before
    await backend.unregister(SEAT, [QUEUE])


async def test_name_of_a_living_rq_worker_is_taken(backend: RedisBackend) -> None:
    """A worker of rq's has no instance; its name is taken all the same."""
    await backend.run(
        ["HSET", backend.keys.worker(SEAT.worker), "birth", "then", "pid", 1],
        ["EXPIRE", backend.keys.worker(SEAT.worker), 60],
    )

    known = await backend.register(SEAT, [QUEUE], FIELDS)

    assert known is not None
    assert known["pid"] == b"1"


async def test_name_can_be_taken_over_from_the_instance_that_is_named(
    backend: RedisBackend,
) -> None:
    """A worker that knows its predecessor to be dead (a restart) takes over the name at once, from nobody else."""
    await backend.register(SEAT, [QUEUE], FIELDS)

    wrong = await backend.register(RIVAL, [QUEUE], FIELDS, replaces="somebody")
    right = await backend.register(RIVAL, [QUEUE], FIELDS, replaces=SEAT.instance)

    assert (wrong is None, right is None) == (False, True)
    assert (await _worker(backend))["aio_instance"] == RIVAL.instance
    await backend.unregister(RIVAL, [QUEUE])


async def test_name_of_a_worker_that_has_left_is_free(backend: RedisBackend) -> None:
    """After a worker has left, its hash stays for a minute with the time of its death, and its name is free."""
    await backend.register(SEAT, [QUEUE], FIELDS)
    await backend.unregister(SEAT, [QUEUE])

    fields = await _worker(backend)
    assert fields["death"].endswith("Z")
    assert 58 <= await stage.ttl(backend, backend.keys.worker(SEAT.worker)) <= 60
    assert await _listed(backend) == await _listed(backend, QUEUE) == []
    assert await backend.register(RIVAL, [QUEUE], FIELDS) is None
    assert "death" not in await _worker(backend)
    await backend.unregister(RIVAL, [QUEUE])


async def test_leaving_worker_leaves_neither_runs_nor_bell(backend: RedisBackend) -> None:
    """What was kept for a worker alone goes with it."""
    await backend.register(SEAT, [QUEUE], FIELDS)
    await stage.start(backend)
    await backend.ring(SEAT)

    await backend.unregister(SEAT, [QUEUE])

    assert not await stage.exists(backend, backend.keys.worker_executions(SEAT.worker))
    assert not await stage.exists(backend, backend.keys.doorbell(SEAT.worker))


async def test_runs_of_a_dead_namesake_are_not_inherited(backend: RedisBackend) -> None:
    """A new worker of an old name is not told of the old one's runs: their leases have to end, nobody gives them back."""
    claimed = await stage.start(backend)

    await backend.register(RIVAL, [QUEUE], FIELDS)

    assert (await backend.extend(RIVAL, [], Tally())).standing == {}
    assert await stage.places(backend, claimed.job_id) == ["wip:q"]
    await backend.unregister(RIVAL, [QUEUE])


async def test_register_again_keeps_the_runs(backend: RedisBackend) -> None:
    """A worker that registers once more (it was frozen, and forgotten) keeps what it runs."""
    await backend.register(SEAT, [QUEUE], FIELDS)
    claimed = await stage.start(backend)

    await backend.register(SEAT, [QUEUE], FIELDS)

    assert (await backend.extend(SEAT, [claimed], Tally())).standing == {
        claimed.execution_id: claimed.job_id
    }
    await backend.unregister(SEAT, [QUEUE])


async def test_claim_says_at_once_whether_the_worker_is_busy(backend: RedisBackend) -> None:
    """Who lists workers need not wait for a heartbeat; of another worker of this name, or of none, nothing is said."""
    await backend.register(SEAT, [QUEUE], FIELDS)
    await stage.add(backend, "j1")

    claimed = await stage.claim_one(backend)
    assert (await _worker(backend))["state"] == "busy"
    await backend.claim(RIVAL, stage.request())
    assert (await _worker(backend))["state"] == "busy"
    await stage.settle(backend, claimed, Finished(7.0, None))
    await stage.claim(backend)
    assert (await _worker(backend))["state"] == "idle"

    await backend.unregister(SEAT, [QUEUE])
    await backend.run(["DEL", backend.keys.worker(SEAT.worker)])
    await stage.claim(backend)
    assert await _worker(backend) == {}


async def test_leaving_worker_takes_nothing_from_its_successor(backend: RedisBackend) -> None:
    """A worker that was replaced and then leaves does not take the name off the list."""
    await backend.register(SEAT, [QUEUE], FIELDS)
    await backend.register(RIVAL, [QUEUE], FIELDS, replaces=SEAT.instance)
    before = await stage.everything(backend)

    await backend.unregister(SEAT, [QUEUE])

    assert await stage.everything(backend) == before
    await backend.unregister(RIVAL, [QUEUE])


async def test_heartbeat_writes_the_counters_and_prolongs_the_worker(backend: RedisBackend) -> None:
    """State, counters and the time of the heartbeat stand in the worker's hash, in RQ's fields."""
    await backend.register(SEAT, [QUEUE], FIELDS)
    await backend.run(["EXPIRE", backend.keys.worker(SEAT.worker), 5])

    extended = await backend.extend(SEAT, [], Tally(True, 3, 1, 2.5))

    assert extended.is_registered
    fields = await _worker(backend)
    assert fields["state"] == "suspended"
    assert (fields["successful_job_count"], fields["failed_job_count"]) == ("3", "1")
    assert float(fields["total_working_time"]) == 2.5
    assert fields["last_heartbeat"].endswith("Z")
    assert await stage.ttl(backend, backend.keys.worker(SEAT.worker)) > 5
    await backend.unregister(SEAT, [QUEUE])


@pytest.mark.parametrize("meanwhile", ["nothing", "expiry"])
async def test_heartbeat_keeps_what_rq_reads_of_a_run(
    backend: RedisBackend, meanwhile: str
) -> None:
    """The execution, the job's executions and the worker's live as long as the lease, and come back if they have expired."""
    claimed = await stage.start(backend)
    execution = backend.keys.execution(claimed.job_id, claimed.execution_id)
    executions = backend.keys.executions(claimed.job_id)
    keys = [execution, executions, backend.keys.worker_executions(SEAT.worker)]
    if meanwhile == "nothing":
        for key in keys:
            await backend.run(["EXPIRE", key, 5])
        await backend.run(["HSET", execution, "last_heartbeat", "1.5", "created_at", "1.5"])
        await backend.run(["ZADD", executions, "XX", 1, claimed.execution_id])
    else:
        await backend.run(["DEL", execution, executions])

    await backend.extend(SEAT, [claimed], Tally())

    for key, least in zip(keys, (SEAT.lease, SEAT.lease + 60, SEAT.lease + 60), strict=True):
        assert least - 2 <= await stage.ttl(backend, key) <= least
    (flat,) = await backend.run(["HGETALL", execution])
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    assert fields.keys() == {b"id", b"job_id", b"created_at", b"last_heartbeat", b"worker_name"}
    assert (fields[b"created_at"] == b"1.5") == (meanwhile == "nothing")
    assert float(fields[b"last_heartbeat"]) > 1e9
    (score,) = await backend.run(["ZSCORE", executions, claimed.execution_id])
    assert float(score) == pytest.approx(
        float(fields[b"last_heartbeat"]) + SEAT.lease + 60, abs=0.01
    )


async def test_heartbeat_of_a_worker_that_is_forgotten_says_so(backend: RedisBackend) -> None:
    """A worker whose hash has expired (it was frozen) is told, so that it can register again; none is made by halves."""
    claimed = await stage.start(backend)

    extended = await backend.extend(SEAT, [claimed], Tally())

    assert not extended.is_registered
    assert extended.lost == frozenset()
    assert await _worker(backend) == {}


async def test_heartbeat_under_the_name_of_another_is_an_error(backend: RedisBackend) -> None:
    """A worker whose name was taken over learns it by its heartbeat, which changes nothing."""
    await backend.register(SEAT, [QUEUE], FIELDS)
    before = await stage.everything(backend)

    with pytest.raises(WorkerNameTaken, match=SEAT.worker):
        await backend.extend(RIVAL, [], Tally())

    assert await stage.everything(backend) == before
    await backend.unregister(SEAT, [QUEUE])


async def test_heartbeat_names_every_run_of_the_worker(backend: RedisBackend) -> None:
    """What stands under a worker's name is told, also what it does not know of."""
    await stage.add(backend, "known", "unseen")
    known, unseen = await stage.claim(backend, count=2)

    extended = await backend.extend(SEAT, [known], Tally())

    assert extended.standing == {known.execution_id: "known", unseen.execution_id: "unseen"}


@pytest.mark.redis
async def test_heartbeat_keeps_what_a_claim_has_started_that_is_not_answered_yet(
    shaky: RedisBackend, redis_backend: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """While an answer is on its way for longer than a lease, since it is large and the line slow, its jobs are nobody else's."""
    await redis_backend.add([replace(stage.job_spec("large"), data=b"x" * 200_000)])
    seat = Seat("w1", "i1", lease=3)
    await shaky.claim(seat, stage.request(0))
    await shaky.extend(seat, [], TALLY)
    chaos_proxy.throttle(50_000)  # four seconds for the answer
    claiming = asyncio.create_task(shaky.claim(seat, stage.request(1)))

    while not claiming.done():
        assert (await shaky.extend(seat, [], TALLY)).standing == {}
        assert (await redis_backend.reap(QUEUE, max_deaths=3)).requeued == ()
        await asyncio.sleep(0.1)

    chaos_proxy.heal()
    (claimed,) = (await claiming).claims
    assert (await shaky.extend(seat, [claimed], TALLY)).lost == frozenset()
    await stage.settle(shaky, claimed, stage.OUTCOMES[Verb.FINISH], seat)
    assert await stage.status_of(redis_backend, "large") == "finished"


async def test_unseen_runs_can_be_given_back(backend: RedisBackend) -> None:
    """Of runs of which only job and execution are known, those that are still held go back; the others are left alone."""
    await stage.add(backend, "held", "ended")
    held, ended = await stage.claim(backend, count=2)
    await stage.settle(backend, ended, stage.OUTCOMES[Verb.FINISH])
    runs = [(one.job_id, one.execution_id) for one in (held, ended)]

    await backend.give_back(SEAT, [*runs, ("nobody", "e" * 32)])

    assert await stage.queued(backend) == ["held"]
    assert await stage.status_of(backend, "ended") == "finished"


async def test_many_leases_are_extended_at_once(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat carries any number of runs, so many a call, and puts the answers together."""
    monkeypatch.setattr("aiorq2.backends.claiming.MAX_BATCH", 2)
    await stage.add(backend, *"abcdefg")
    claims = await stage.claim(backend, count=7)
    for job_id in ("b", "c"):
        await backend.cancel(job_id)
    for claimed in (claims[0], claims[6]):
        await stage.end_lease(backend, claimed)
    await backend.reap(QUEUE, max_deaths=3)

    extended = await backend.extend(SEAT, claims, Tally())

    assert extended.stopping == {claims[1].execution_id, claims[2].execution_id}
    assert extended.lost == {claims[0].execution_id, claims[6].execution_id}
    assert set(extended.standing.values()) == set("bcdef")


@pytest.mark.leaks_allowed("the test itself leaves workers on the list")
async def test_sweep_clears_workers_that_are_gone(backend: RedisBackend) -> None:
    """Workers that died without a word are taken off the lists once their hash has expired."""
    await backend.register(SEAT, [QUEUE], FIELDS)
    gone = backend.keys.worker("gone")
    await backend.run(
        ["SADD", backend.keys.workers(), gone], ["SADD", backend.keys.queue_workers(QUEUE), gone]
    )

    await backend.call("sweep", queue=QUEUE, limit=100, before="")

    assert await _listed(backend) == await _listed(backend, QUEUE) == ["worker:w1"]
