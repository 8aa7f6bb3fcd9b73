"""Jobs that only want to run are added by one script for many: as if each had been added alone, whole or not at all, and once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from aiorq2 import Callback
from aiorq2.backends import wire
from aiorq2.backends.base import ClaimRequest
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendError, DuplicateJobError
from aiorq2.options import NO_OPTIONS, EnqueueOptions, JobSpec, Retry
from aiorq2.outcome import Finished
from aiorq2.states import JobStatus
from tests.contract import stage
from tests.contract.stage import QUEUE, SEAT


def plain(**options: Any) -> JobSpec:
    """Return a job that only wants to run."""
    asked = EnqueueOptions.checked(**options) if options else NO_OPTIONS
    return replace(stage.job_spec(str(uuid4())), options=asked)


def alone(backend: RedisBackend, spec: JobSpec) -> Any:
    """Return the command that adds a job by itself."""
    return backend._command("add", *wire.spec_arguments(spec, replace=True))


async def everything(backend: RedisBackend) -> dict[bytes, Any]:
    """Return all keys with what lies there; the times of the markers apart."""
    found = {}
    for key in sorted((await backend.run(["KEYS", f"{backend.key_prefix}:*"]))[0]):
        (kind,) = await backend.run(["TYPE", key])
        read: dict[bytes, list[Any]] = {
            b"hash": ["HGETALL", key],
            b"list": ["LRANGE", key, 0, -1],
            b"set": ["SMEMBERS", key],
            b"zset": ["ZRANGE", key, 0, -1, "WITHSCORES"],
        }
        (found[key],) = await backend.run(read[kind])
        if kind == b"hash":
            pairs = iter(found[key])
            found[key] = dict(zip(pairs, pairs, strict=True))
    return found


PLAIN: dict[str, dict[str, Any]] = {
    "without options": {},
    "a timeout": {"job_timeout": 1.5},
    "kept for": {"result_ttl": 60, "failure_ttl": 70},
    "a retry": {"retry": Retry(3, interval=[1, 2], jitter=0.5)},
    "a callback": {"on_success": Callback("tests.support.jobs.nothing")},
    "another place": {"offload": "process", "redeliver": False},
    "a description": {"description": "for people"},
}


@pytest.mark.parametrize("options", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("changes", [{}, {"results": "stream"}, {"meta": b"{}"}], ids=str)
async def test_nothing_else_is_stored(
    backend: RedisBackend, options: dict[str, Any], changes: dict[str, Any]
) -> None:
    """The keys and fields are those that ``add.lua`` writes."""
    spec = replace(plain(**options), **changes)
    assert wire.plain_fields(spec) is not None
    assert await backend.add([spec]) == [JobStatus.QUEUED]
    together = await everything(backend)
    await backend.run(["DEL", *together])

    await stage.send(backend, alone(backend, spec))

    assert await everything(backend) == together


SPECIAL: list[dict[str, Any]] = [
    {"job_id": "given"},
    {"at_front": True},
    {"ttl": 60},
    {"depends_on": "parent"},
]


@pytest.mark.parametrize("options", SPECIAL, ids=str)
def test_what_wants_more_is_added_alone(options: dict[str, Any]) -> None:
    """``add.lua`` looks at these options; the other script does not."""
    assert wire.plain_fields(plain(**options)) is None


def test_what_is_not_for_the_queue_is_added_alone() -> None:
    """So are a job for later, and one of a group."""
    assert wire.plain_fields(replace(plain(), status=JobStatus.SCHEDULED, due_in=9.0)) is None
    assert wire.plain_fields(replace(plain(), group="g")) is None


def test_what_must_not_exist_is_added_alone() -> None:
    """A job that ``create_job`` made has an id of its own, and may be enqueued as unique."""
    made = plain()
    assert wire.plain_fields(replace(made, options=replace(made.options, unique=True))) is None


async def test_the_order_is_that_of_the_call(backend: RedisBackend) -> None:
    """Jobs keep their order over several scripts of both kinds."""
    ordinary = [plain() for _ in range(150)]
    special = [stage.job_spec(f"special-{number}") for number in range(3)]
    short = [plain(job_timeout=1) for _ in range(3)]
    specs = [*ordinary[:70], special[0], short[0], *ordinary[70:], *special[1:], *short[1:]]

    assert await backend.add(specs) == [JobStatus.QUEUED] * len(specs)

    assert await stage.queued(backend) == [spec.id for spec in specs]


async def test_each_goes_where_it_belongs(backend: RedisBackend) -> None:
    """Neighbours of other queues, and those that their caller runs himself, do not mix."""
    here, there = plain(), replace(plain(), origin="other")
    mine = replace(plain(), lane="worker-1")

    await backend.add([here, there, mine])

    assert await stage.queued(backend) == [here.id]
    assert await stage.queued(backend, "other") == [there.id]
    assert await stage.queued(backend, "worker-1") == [mine.id]
    keys = backend.keys
    origin, queues = await backend.run(
        ["HGET", keys.job(mine.id), "origin"], ["SMEMBERS", keys.queues()]
    )
    assert origin == QUEUE.encode()
    assert {*queues} == {keys.queue(QUEUE).encode(), keys.queue("other").encode()}


async def test_it_wakes_a_worker(backend: RedisBackend) -> None:
    """Who waits for a job of the queue is told."""
    waiting = asyncio.create_task(backend.wait(SEAT, [QUEUE], timeout=10))
    await asyncio.sleep(0.05)

    await backend.add([plain(), plain()])

    assert await waiting


async def test_a_second_time_changes_nothing(backend: RedisBackend) -> None:
    """After a lost reply all is sent again, those that waited meanwhile with it: each stands once in the queue."""
    specs = [plain() for _ in range(5)]
    await backend.add(specs[1:3])

    assert await backend.add(specs) == [JobStatus.QUEUED] * 5
    before = await everything(backend)
    assert await backend.add(specs) == [JobStatus.QUEUED] * 5

    assert sorted(await stage.queued(backend)) == sorted(spec.id for spec in specs)
    assert await everything(backend) == before


async def test_one_that_has_run_is_not_run_again(backend: RedisBackend) -> None:
    """A repeated call does not bring back a job that ended meanwhile, though nothing of it was kept."""
    gone, kept, new = plain(result_ttl=0), plain(), plain()
    await backend.add([gone, kept])
    claims = (await backend.claim(SEAT, ClaimRequest(2, (QUEUE,)))).claims
    await backend.settle(SEAT, [(claim, Finished(1_700_000_000.0, None)) for claim in claims])

    statuses = await backend.add([gone, kept, new])

    assert statuses[1:] == [JobStatus.FINISHED, JobStatus.QUEUED]
    assert await stage.queued(backend) == [new.id]
    assert await backend.run(["EXISTS", backend.keys.job(gone.id)]) == [0]


async def test_who_is_refused_keeps_nobody_out(backend: RedisBackend) -> None:
    """Of many callers at once, one is told that its id is taken; the others' jobs are there."""
    await stage.add(backend, "taken")
    specs = [plain() for _ in range(40)]
    specs.insert(20, stage.job_spec("taken", unique=True))

    answers = await asyncio.gather(*[backend.add([spec]) for spec in specs], return_exceptions=True)

    assert isinstance(answers.pop(20), DuplicateJobError)
    assert answers == [[JobStatus.QUEUED]] * 40
    assert await stage.queued(backend) == ["taken", *(s.id for s in specs if s.id != "taken")]


@pytest.mark.leaks_allowed("the test itself writes what should not be there")
async def test_a_spoiled_queue_leaves_no_halves(backend: RedisBackend) -> None:
    """Where something else lies in the place of a queue, no job of the call is left behind, and those for others are added."""
    await backend.run(["SET", backend.keys.queue("spoiled"), "a string"])
    lost = [replace(plain(), origin="spoiled") for _ in range(3)]
    fine = plain()

    with pytest.raises(BackendError):
        await backend.add([*lost, fine])

    assert await backend.run(["EXISTS", *[backend.keys.job(one.id) for one in lost]]) == [0]
    assert await stage.queued(backend) == [fine.id]
