"""What nobody waits for: registries are trimmed, and what a process has left half done is found. Every call is bounded."""

from __future__ import annotations

from aiorq2.backends.line import Command
from aiorq2.backends.redis import RedisBackend
from aiorq2.timing import to_iso

SLICE = 500
"""How many entries one call looks at."""


async def sweep(backend: RedisBackend, queue: str, *, before: float | None = None) -> int:
    """Drop finished and failed jobs whose time is over, and canceled ones and workers that are gone, from the lists of a queue.

    Args:
        before: the time up to which it is over, seconds since the epoch; by default now, by Redis' clock.

    Returns how many jobs. Redis: 1 call per 500 of them.
    """
    removed = 0
    while True:
        upto = "" if before is None else repr(before)
        reply = await backend.call("sweep", queue=queue, limit=SLICE, before=upto)
        removed += int(reply[1])
        if reply[1] < SLICE:
            return removed


async def sweep_deferred(backend: RedisBackend, queue: str, *, limit: int = 100) -> None:
    """Ask the parents of some deferred jobs again; each call looks at others. Redis: 1 call, and 1 per 100 dependents of theirs."""
    reply = await backend.call(
        "sweep_deferred", queue=queue, limit=limit, now_iso=to_iso(backend.time())
    )
    if reply[1]:
        await backend.release()


async def sweep_ready(backend: RedisBackend, queue: str, *, age_s: float = 0) -> int:
    """Enqueue the jobs that rq has left between deferred and queued for ``age_s`` seconds. Returns how many.

    Redis: 1 call per 500 of them.
    """
    moved = 0
    while True:
        reply = await backend.call(
            "sweep_ready", queue=queue, limit=SLICE, age=repr(age_s), now_iso=to_iso(backend.time())
        )
        moved += int(reply[1])
        if reply[1] < SLICE:
            return moved


async def sweep_intermediate(backend: RedisBackend, queue: str, *, age_s: float) -> int:
    """Put jobs back that an rq worker took ``age_s`` seconds ago and never started, as far as an earlier call has seen them there.

    Returns how many. Redis: 1 call, which looks at 500 of them.
    """
    reply = await backend.call("sweep_intermediate", queue=queue, limit=SLICE, age=repr(age_s))
    return int(reply[1])


async def sweep_rates(backend: RedisBackend) -> int:
    """Free the places in rate limits whose jobs neither wait nor run; returns how many. Redis: 1 call per some ten limits."""
    freed, cursor = 0, b"0"
    while True:
        reply = await backend.call(
            "sweep_rates", cursor=cursor, limit=SLICE, now_iso=to_iso(backend.time())
        )
        freed += int(reply[1])
        cursor = reply[2]
        if cursor == b"0":
            return freed


async def sweep_groups(backend: RedisBackend, *, limit: int = 20) -> int:
    """Forget groups of which no job is left; each call looks at some others, ``limit`` at the most. Returns how many members went.

    Redis: 1 call, 2 pipelines for all of them, and 1 call per 500 members that are gone.
    """
    keys = backend.keys
    (groups,) = await backend.run(["SRANDMEMBER", keys.groups(), limit])
    if not groups:
        return 0
    names = [one.decode("utf-8", "replace") for one in groups]
    sampling: list[Command] = [["SRANDMEMBER", keys.group(one), 10] for one in names]
    samples = await backend.run(*sampling)
    ids = [[keys.job(one.decode("utf-8", "replace")) for one in sample] for sample in samples]
    alive = await backend.run(*[["EXISTS", keys.prefix, *sample] for sample in ids])
    left = [name for name, count in zip(names, alive, strict=True) if not count]
    return sum([await clean_group(backend, name) for name in left])


async def clean_group(backend: RedisBackend, group: str) -> int:
    """Take the jobs that are gone out of a group, and forget it if none is left; returns how many.

    Redis: 1 call per 500 members.
    """
    removed, cursor = 0, b"0"
    while True:
        reply = await backend.call("clean_group", group=group, cursor=cursor, limit=SLICE)
        removed += int(reply[1])
        cursor = reply[2]
        if cursor == b"0":
            return removed


async def compact(backend: RedisBackend, queue: str) -> int:
    """Take ids without a job, and repetitions, out of a queue; returns how many. Redis: 1 call per 10 000 ids, atomic each."""
    removed, offset = 0, 0
    while offset >= 0:
        reply = await backend.call("compact", queue=queue, offset=offset, limit=10_000)
        removed += int(reply[1])
        offset = int(reply[2])
    return removed
