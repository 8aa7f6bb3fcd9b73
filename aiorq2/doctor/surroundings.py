"""What is beside the jobs: workers, schedulers, suspension, and Redis itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiorq2.backends import browse, inspect
from aiorq2.backends.browse import FOR_EVER
from aiorq2.backends.health import OLDEST, server_facts, version_of
from aiorq2.backends.keys import Keys
from aiorq2.backends.line import Command
from aiorq2.doctor.findings import Gathering
from aiorq2.doctor.suspects import Suspects
from aiorq2.doctor.tour import Tour

LATE_S = 60
"""How long what is due, or ready, may wait for somebody to move it."""
MOST = 1000
"""How many late jobs of a queue are looked at."""


async def look_at_redis(tour: Tour, gathering: Gathering) -> None:
    """Note how Redis is set, where it tells; and whether workers are suspended. Redis: 1 call, 1 pipeline."""
    facts = await server_facts(tour.backend)
    version = facts.get("redis_version", "")
    if version and version_of(version) < OLDEST:
        gathering.add("redis-too-old", detail=version)
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        gathering.add("redis-evicts", detail=policy)
    if facts.get("aof_enabled") == "0":
        gathering.add("redis-forgets")
    (suspended,) = await browse.times_to_live(tour.backend, ["suspended"])
    if suspended == FOR_EVER:
        gathering.add("suspended")


async def look_at_workers(
    tour: Tour, queues: Sequence[str], suspects: Suspects, gathering: Gathering
) -> None:
    """Note workers that are on a list and gone, and versions that do not go together. Redis: 1 call per list, 2 pipelines."""
    prefix = tour.keys.worker("")
    listed: set[str] = set()
    for key in (tour.keys.workers(), *map(tour.keys.queue_workers, queues)):
        async for members in browse.set_pages(tour.backend, key):
            listed.update(one.removeprefix(prefix) for one in members)
    for name in await missing_workers(tour, sorted(listed)):
        suspects.add("dead-worker", name, name)
    _tell_versions(await inspect.workers(tour.backend), gathering)


async def missing_workers(tour: Tour, names: Sequence[str]) -> list[str]:
    """Return those of some workers that are gone. Redis: 1 pipeline."""
    replies = await browse.read(tour.backend, [["EXISTS", tour.keys.worker(one)] for one in names])
    return [one for one, exists in zip(names, replies, strict=True) if not exists]


def _tell_versions(workers: Sequence[inspect.WorkerRecord], gathering: Gathering) -> None:
    versions = {f"aiorq2 {one.version}" for one in workers if one.is_ours}
    versions |= {f"rq {one.version}" for one in workers if not one.is_ours and one.version}
    for one in workers:
        is_rq = not one.is_ours and bool(version_of(one.version))
        if is_rq and version_of(one.version) < (2, 0) and len(versions) > 1:
            gathering.add("old-rq", one.name, detail=one.version)
    for library in ("rq ", "aiorq2 "):
        several = sorted(version for version in versions if version.startswith(library))
        if len(several) > 1:
            gathering.add("version-mix", detail=", ".join(several))


@dataclass(frozen=True, slots=True)
class Lock:
    """The lock of an rq scheduler on a queue."""

    holder: str
    is_stale: bool


async def look_at_schedules(tour: Tour, queues: Sequence[str], suspects: Suspects) -> None:
    """Note locks of schedulers that are gone, and jobs that nobody moves though their time has come. Redis: 6 pipelines."""
    for queue, lock in zip(queues, await locks(tour, queues), strict=True):
        if lock is not None and lock.is_stale:
            suspects.add("stale-lock", queue, queue, detail=lock.holder)
    late = f"{await browse.clock(tour.backend) - LATE_S:.6f}"
    for kind, key in late_keys(tour.keys).items():
        commands: list[Command] = [
            ["ZRANGEBYSCORE", key(queue), "-inf", late, "LIMIT", 0, MOST] for queue in queues
        ]
        for queue, ids in zip(queues, await browse.read(tour.backend, commands), strict=True):
            for one in ids or ():
                suspects.add(kind, queue, browse.text_of(one), detail=f"{LATE_S} s")


def late_keys(keys: Keys) -> dict[str, Callable[[str], str]]:
    """Return the sorted sets of queues in which nothing should stay once its time has come, by what it is if it does."""
    return {"overdue": keys.scheduled, "overdue-cron": keys.crons, "left-ready": keys.ready}


async def locks(tour: Tour, queues: Sequence[str]) -> list[Lock | None]:
    """Return who has locked the schedules of these queues, and whether he is gone. Redis: 2 pipelines."""
    keys = tour.keys
    asked: list[Command] = [
        command
        for queue in queues
        for command in (
            ["GET", keys.scheduler_lock(queue)],
            ["PTTL", keys.scheduler_lock(queue)],
        )
    ]
    replies = await browse.read(tour.backend, asked)
    holders = [browse.text_of(one) if one else "" for one in replies[::2]]
    alive = await browse.read(tour.backend, [["EXISTS", keys.scheduler(one)] for one in holders])
    found = zip(holders, replies[1::2], alive, strict=True)
    return [
        Lock(holder, life == FOR_EVER or not (exists or holder.isdigit())) if holder else None
        for holder, life, exists in found
    ]
