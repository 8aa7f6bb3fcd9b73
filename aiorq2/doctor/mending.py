"""Mend what can be mended: check and write are one script, and no job is deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import uuid4

from aiorq2.backends import inspect, sweeping
from aiorq2.backends.redis import RedisBackend
from aiorq2.doctor.findings import Finding
from aiorq2.doctor.lifetimes import family_of
from aiorq2.errors import InvalidJobOperation
from aiorq2.registry import MAX_DEATHS
from aiorq2.timing import to_iso

AT_ONCE = 20
"""How many ids one script takes out of a list, which it looks through for each."""
DAY_S = 86_400

Mending = Callable[[RedisBackend, Finding], Awaitable[int]]


async def mend(backend: RedisBackend, finding: Finding) -> int:
    """Mend what was found, as far as it is still so, and return how much was mended.

    Raises:
        InvalidJobOperation: this is not for a program to mend.

    Redis: 1 call per job or key, or 1 per 20 or 500 of them.
    """
    mending = _MENDINGS.get(finding.kind)
    if mending is None:
        raise InvalidJobOperation(f"{finding.kind}: only a person can mend this")
    return await mending(backend, finding)


async def _relist(backend: RedisBackend, finding: Finding) -> int:
    placed = 0
    for job_id in finding.names:
        reply = await backend.call(
            "relist", id=job_id, execution=uuid4().hex, now_iso=to_iso(backend.time())
        )
        placed += int(reply[1]) if reply[0] == b"OK" else 0
    if finding.detail == "started":
        await _reap(backend, finding)
    if finding.detail == "deferred":
        await sweeping.sweep_deferred(backend, finding.where, limit=max(len(finding.names), 100))
    return placed


async def _reap(backend: RedisBackend, finding: Finding) -> int:
    freed = 0
    while True:
        reaped = await backend.reap(finding.where, max_deaths=MAX_DEATHS)
        freed += len(reaped.requeued) + len(reaped.failed)
        if reaped.releases:
            await backend.release()
        if reaped.next_in is None or reaped.next_in > 0:
            return freed


async def _unstick(backend: RedisBackend, finding: Finding) -> int:
    placed = 0
    key = backend.keys.intermediate(finding.where)
    for job_id in finding.names:
        reply = await backend.call(
            "relist", id=job_id, execution=uuid4().hex, now_iso=to_iso(backend.time())
        )
        if reply[0] == b"GONE":
            (removed,) = await backend.run(["LREM", key, 0, job_id])
            placed += int(removed > 0)
        else:
            placed += int(reply[1]) if reply[0] == b"OK" else 0
    return placed


async def _compact(backend: RedisBackend, finding: Finding) -> int:
    return await sweeping.compact(backend, finding.where)


async def _unlist(backend: RedisBackend, finding: Finding) -> int:
    return await _each_chunk(
        finding.names,
        lambda ids: backend.call("unlist", ids, queue=finding.where),
    )


async def _forget(backend: RedisBackend, finding: Finding) -> int:
    return await _each_chunk(
        finding.names,
        lambda members: backend.call(
            "forget_gone", members, registry=finding.detail, queue=finding.where
        ),
    )


async def _each_chunk(
    names: Sequence[str], call: Callable[[Sequence[str]], Awaitable[Sequence[object]]]
) -> int:
    done = 0
    for start in range(0, len(names), AT_ONCE):
        reply = await call(names[start : start + AT_ONCE])
        done += int(str(reply[1]))
    return done


async def _give_day(backend: RedisBackend, finding: Finding) -> int:
    given = 0
    for job_id in finding.names:
        reply = await backend.call("give_ttl", key=f"job:{job_id}", job="", ttl=DAY_S)
        given += int(reply[1])
    return given


async def _give_ttl(backend: RedisBackend, finding: Finding) -> int:
    given = 0
    for name in finding.names:
        family = family_of(name)
        if family is None:  # a job
            reply = await backend.call("expire_ended", id=name)
        else:
            reply = await backend.call("give_ttl", key=name, job=family[1], ttl=DAY_S)
        given += int(reply[1])
    return given


async def _list(backend: RedisBackend, finding: Finding) -> int:
    keys = backend.keys
    (added,) = await backend.run(["SADD", keys.queues(), keys.queue(finding.where)])
    return int(added)


async def _sweep_ready(backend: RedisBackend, finding: Finding) -> int:
    return await sweeping.sweep_ready(backend, finding.where, age_s=1)


async def _sweep_rates(backend: RedisBackend, finding: Finding) -> int:
    return await sweeping.sweep_rates(backend)


async def _clean_group(backend: RedisBackend, finding: Finding) -> int:
    return await sweeping.clean_group(backend, finding.where)


async def _forget_worker(backend: RedisBackend, finding: Finding) -> int:
    queues = await inspect.queue_names(backend)
    reply = await backend.call("forget_worker", queues, worker=finding.where)
    return int(reply[1])


async def _unlock(backend: RedisBackend, finding: Finding) -> int:
    reply = await backend.call("unlock", queue=finding.where, holder=finding.detail)
    return int(reply[1])


_MENDINGS: Mapping[str, Mending] = {
    "lost-job": _relist,
    "stuck-in-intermediate": _unstick,
    "dead-lease": _reap,
    "id-without-job": _compact,
    "repeated-id": _compact,
    "ended-but-queued": _unlist,
    "member-without-job": _forget,
    "no-payload": _give_day,
    "no-ttl": _give_ttl,
    "unlisted-queue": _list,
    "left-ready": _sweep_ready,
    "stuck-slot": _sweep_rates,
    "empty-group": _clean_group,
    "dead-worker": _forget_worker,
    "stale-lock": _unlock,
}
