"""Bring a job into any status the way it gets there in life, and read back everything that is stored."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from aiorq2.backends import connect
from aiorq2.backends.base import Claim, Claimed, ClaimRequest, JobRecord, Seat, Tally
from aiorq2.backends.line import Command
from aiorq2.backends.redis import RedisBackend
from aiorq2.options import EnqueueOptions, JobSpec
from aiorq2.outcome import Failed, Finished, GivenBack, Outcome, Retried, Stopped
from aiorq2.states import JobStatus, Verb
from aiorq2.terms import RateLimit
from aiorq2.timing import to_iso

QUEUE = "q"
SEAT = Seat("w1", "instance1", lease=15)
OTHER_SEAT = Seat("w2", "instance2", lease=15)
TALLY = Tally()

PLACES = {
    None: [],
    JobStatus.CREATED: [],
    JobStatus.QUEUED: ["queue:q"],
    JobStatus.STARTED: ["wip:q"],
    JobStatus.FINISHED: ["finished:q"],
    JobStatus.FAILED: ["failed:q"],
    JobStatus.STOPPED: ["failed:q"],
    JobStatus.CANCELED: ["canceled:q"],
    JobStatus.SCHEDULED: ["scheduled:q"],
    JobStatus.DEFERRED: ["deferred:q"],
    JobStatus.READY_TO_ENQUEUE: ["ready:q"],
    JobStatus.RATE_LIMITED: ["rl:{id}:rate_limited"],
}
"""Where the id of a job belongs, by its status (None: there is no job): the names of keys, without the prefix.

(Its rate limit, where it has one, bears its id.)
"""

ELSEWHERE = "elsewhere"
"""The queue of the jobs that others wait for."""

OUTCOMES: dict[Verb, Outcome] = {
    Verb.FINISH: Finished(1_700_000_000.0, b"42"),
    Verb.FAIL: Failed(1_700_000_000.0, "builtins.ValueError", "ValueError: boom"),
    Verb.STOP: Stopped(1_700_000_000.0, "JobCancelled: told to"),
    Verb.RETRY: Retried(
        1_700_000_000.0, "builtins.ValueError", "ValueError: boom", 0, at_front=False
    ),
    Verb.GIVE_BACK: GivenBack(1_700_000_000.0),
}
"""One outcome for every verb that ends a run."""

LATER = Retried(1_700_000_000.0, "builtins.ValueError", "ValueError: boom", 60, at_front=False)
"""A retry with a delay."""


def job_spec(
    job_id: str | None = None,
    *,
    queue: str = QUEUE,
    status: JobStatus = JobStatus.QUEUED,
    due_in: float | None = None,
    results: Any = "hash",
    token: str | None = None,
    **options: Any,
) -> JobSpec:
    """Return a job on its way into Redis; ``options`` are those of ``enqueue``."""
    job_id = job_id or f"job-{uuid4().hex[:8]}"
    return JobSpec(
        id=job_id,
        func_name="tests.support.jobs.nothing",
        origin=queue,
        data=b"payload",
        options=EnqueueOptions.checked(job_id=job_id, **options),
        description="nothing()",
        timeout=180,
        created_at=to_iso(time.time()),
        token=token or uuid4().hex,
        results=results,
        status=status,
        due_in=due_in,
    )


def request(
    count: int = 1, queues: Iterable[str] = (QUEUE,), *, promote: int = 100, watch_s: float = 3.0
) -> ClaimRequest:
    """Return what a worker asks for."""
    return ClaimRequest(count, tuple(queues), promote=promote, watch_s=watch_s)


@asynccontextmanager
async def opened(source: Any, **options: Any) -> AsyncIterator[RedisBackend]:
    """Connect a further backend, and close it."""
    backend = connect(source, **options)
    try:
        yield backend
    finally:
        await backend.close()


async def send(backend: RedisBackend, command: Command) -> Any:
    """Send a command as the backend does and return its reply."""
    with backend.home.lend("test") as line:
        (reply,) = await backend.exchange.send(line, [command])
    return reply


async def add(backend: RedisBackend, *ids: str, **options: Any) -> list[str]:
    """Add jobs, one with a made-up id if none is given; return their ids."""
    specs = [job_spec(job_id, **options) for job_id in ids or (None,)]
    await backend.add(specs)
    return [spec.id for spec in specs]


async def claim(backend: RedisBackend, count: int = 1, seat: Seat = SEAT) -> list[Claim]:
    """Start up to ``count`` jobs of the queue."""
    return list((await backend.claim(seat, request(count))).claims)


async def claim_one(backend: RedisBackend, seat: Seat = SEAT) -> Claim:
    """Start the next job of the queue, which must be there."""
    (claimed,) = await claim(backend, seat=seat)
    return claimed


async def start(backend: RedisBackend, job_id: str | None = None, **options: Any) -> Claim:
    """Add a job and start it."""
    spec = job_spec(job_id, **options)
    await backend.add([spec])
    claimed = await claim_one(backend)
    assert claimed.job_id == spec.id
    return claimed


async def settle(
    backend: RedisBackend, claimed: Claim, outcome: Outcome, seat: Seat = SEAT
) -> Claimed:
    """End one run."""
    return await backend.settle(seat, [(claimed, outcome)])


@dataclass(frozen=True)
class Staged:
    """A job in a status; the claim is that of the run that holds the lease, else of a run that nobody knows."""

    id: str
    claim: Claim


async def in_status(backend: RedisBackend, status: JobStatus | None, **options: Any) -> Staged:
    """Bring a new job into ``status`` and return it; None: nothing but an id."""
    spec = job_spec(**options)
    stranger = Claim(spec.id, "f" * 32, QUEUE, SEAT.worker, time.time(), JobRecord(spec.id, {}))
    match status:
        case None:
            pass
        case JobStatus.DEFERRED:
            await add(backend, f"{spec.id}-parent", queue=ELSEWHERE)
            await backend.add([job_spec(spec.id, depends_on=f"{spec.id}-parent", **options)])
        case JobStatus.RATE_LIMITED:
            await hold(backend, spec.id)
            await backend.add([job_spec(spec.id, rate_limit=RateLimit(spec.id, 1), **options)])
        case JobStatus.QUEUED:
            await backend.add([spec])
        case JobStatus.SCHEDULED:
            await backend.add([replace(spec, status=JobStatus.SCHEDULED, due_in=3600)])
        case JobStatus.CANCELED:
            await backend.add([spec])
            await backend.cancel(spec.id)
        case JobStatus.STARTED | JobStatus.FINISHED | JobStatus.FAILED | JobStatus.STOPPED:
            await backend.add([spec])
            claimed = await claim_one(backend)
            if status is JobStatus.STARTED:
                return Staged(spec.id, claimed)
            await settle(backend, claimed, _ENDS[status])
        case _:
            await plant(backend, spec.id, status)
    return Staged(spec.id, stranger)


async def hold(backend: RedisBackend, rate: str) -> None:
    """Have a job take the only place of a rate limit."""
    await add(backend, f"{rate}-holder", queue=ELSEWHERE, rate_limit=RateLimit(rate, 1))


async def limit(backend: RedisBackend, job_id: str) -> None:
    """Give a job a rate limit whose only place is taken."""
    await hold(backend, job_id)
    key = backend.keys.job(job_id)
    await backend.run(["HSET", key, "rate_limit_key", job_id, "rate_limit_concurrency", 1])


async def finish_elsewhere(backend: RedisBackend) -> None:
    """Run the next of the jobs that others wait for."""
    (claimed,) = (await backend.claim(SEAT, request(queues=[ELSEWHERE]))).claims
    await settle(backend, claimed, OUTCOMES[Verb.FINISH])
    await backend.released()


_ENDS = {
    JobStatus.FINISHED: OUTCOMES[Verb.FINISH],
    JobStatus.FAILED: OUTCOMES[Verb.FAIL],
    JobStatus.STOPPED: OUTCOMES[Verb.STOP],
}


async def plant(
    backend: RedisBackend,
    job_id: str,
    status: JobStatus = JobStatus.QUEUED,
    **fields: str | int | bytes,
) -> None:
    """Write a job as rq does: no field of ours, the id where its status puts it."""
    now = to_iso(time.time())
    pairs = {
        "created_at": now,
        "data": b"payload",
        "origin": QUEUE,
        "status": status.value,
        "enqueued_at": now,
        "timeout": 180,
        **fields,
    }
    commands: list[list[Any]] = [["HSET", backend.keys.job(job_id), *_flat(pairs)]]
    if status is JobStatus.QUEUED:
        commands.append(["RPUSH", backend.keys.queue(QUEUE), job_id])
    elif place := PLACES[status]:
        key = f"{backend.key_prefix}:{place[0].format(id=job_id)}"
        commands.append(["ZADD", key, int(time.time()), job_id])
    await backend.run(*commands)


def _flat(pairs: Mapping[str, Any]) -> list[Any]:
    return [part for pair in pairs.items() for part in pair]


async def end_lease(backend: RedisBackend, claimed: Claim) -> None:
    """Make a lease one that ended long ago: what time does to a worker that has died."""
    member = f"{claimed.job_id}:{claimed.execution_id}"
    await backend.run(["ZADD", backend.keys.wip(claimed.origin), "XX", 1, member])


async def make_due(backend: RedisBackend, job_id: str, queue: str = QUEUE) -> None:
    """Make a scheduled job due now."""
    await backend.run(["ZADD", backend.keys.scheduled(queue), "XX", 1, job_id])


async def fields(backend: RedisBackend, job_id: str) -> dict[str, str]:
    """Return the job's hash as text; empty: there is none."""
    flat = (await backend.run(["HGETALL", backend.keys.job(job_id)]))[0]
    pairs = iter(part.decode() for part in flat)
    return dict(zip(pairs, pairs, strict=True))


async def status_of(backend: RedisBackend, job_id: str) -> str | None:
    """Return the status as it is stored, None where there is no job."""
    return (await fields(backend, job_id)).get("status")


async def queued(backend: RedisBackend, queue: str = QUEUE) -> list[str]:
    """Return the ids in a queue, the next one first."""
    (ids,) = await backend.run(["LRANGE", backend.keys.queue(queue), 0, -1])
    return [one.decode() for one in ids]


async def entries(backend: RedisBackend, job_id: str) -> list[dict[str, str]]:
    """Return the job's result entries, the oldest first."""
    (found,) = await backend.run(["XRANGE", backend.keys.results(job_id), "-", "+"])
    read = []
    for _, flat in found:
        pairs = iter(part.decode() for part in flat)
        read.append(dict(zip(pairs, pairs, strict=True)))
    return read


async def ttl(backend: RedisBackend, key: str) -> int:
    """Return the seconds that a key has left: -1 it stays, -2 there is none."""
    return int((await backend.run(["TTL", key]))[0])


async def exists(backend: RedisBackend, key: str) -> bool:
    """Return whether there is something under a key."""
    return bool((await backend.run(["EXISTS", key]))[0])


Stored = tuple[str, bool, Any]
_READ = {
    b"hash": lambda key: ["HGETALL", key],
    b"list": lambda key: ["LRANGE", key, 0, -1],
    b"set": lambda key: ["SMEMBERS", key],
    b"zset": lambda key: ["ZRANGE", key, 0, -1, "WITHSCORES"],
    b"string": lambda key: ["GET", key],
    b"stream": lambda key: ["XRANGE", key, "-", "+"],
}


async def everything(backend: RedisBackend, *, but: Iterable[str] = ()) -> dict[str, Stored]:
    """Return all that is stored under the prefix: name → (type, whether it has a TTL, content).

    ``but`` are beginnings of names, without the prefix, that are left out.
    """
    (found,) = await backend.run(["KEYS", f"{backend.key_prefix}:*"])
    keys = sorted(found)
    kinds = await backend.run(*[["TYPE", key] for key in keys])
    ttls = await backend.run(*[["TTL", key] for key in keys])
    values = await backend.run(*[_READ[kind](key) for key, kind in zip(keys, kinds, strict=True)])
    skip = len(backend.key_prefix) + 1
    stored = {
        key[skip:].decode(errors="replace"): (kind.decode(), left >= 0, _ordered(kind, value))
        for key, kind, left, value in zip(keys, kinds, ttls, values, strict=True)
    }
    left_out = tuple(but)
    return {name: one for name, one in stored.items() if not name.startswith(left_out)}


def _ordered(kind: bytes, value: Any) -> Any:
    if kind == b"hash":
        pairs = iter(value)
        return dict(zip(pairs, pairs, strict=True))
    return sorted(value) if kind == b"set" else value


async def places(backend: RedisBackend, job_id: str) -> list[str]:
    """Return the names of the lists and registries in which the job stands, once for every time it stands there."""
    found = []
    for name, (kind, _, content) in (await everything(backend)).items():
        is_place = kind in ("list", "zset") and not name.endswith(":allowed")
        if is_place and not name.startswith(("executions:", "aio:")):
            members = content[::2] if kind == "zset" else content
            found += [name for member in members if member.decode().partition(":")[0] == job_id]
    return found


async def traces_of_run(backend: RedisBackend, claimed: Claim) -> list[str]:
    """Return the names of keys that know of a run."""
    stored = await everything(backend, but=("job:", "results:"))
    return [name for name, one in stored.items() if claimed.execution_id in f"{name} {one}"]


def of_job(claimed: Claim, job_id: str) -> Claim:
    """Return a claim that says it is of another job."""
    return replace(claimed, job_id=job_id)
