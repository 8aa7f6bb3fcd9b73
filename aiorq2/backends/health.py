"""What a worker wants to know of a Redis before it trusts it with jobs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from aiorq2.backends import inspect
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendError, BackendRefused

log = logging.getLogger("aiorq2.backend")

OLDEST = (6, 2)
OLDEST_RQ = (2, 0)
"""The first rq whose upkeep knows that a run is named by its job and its execution."""


async def check_server(backend: RedisBackend, *, strict: bool) -> None:
    """Return if Redis can be worked with; warn where it may lose jobs.

    Raises:
        BackendRefused: it is older than 6.2, or it evicts keys and ``strict`` is set.

    Redis: 1 call.
    """
    facts = await server_facts(backend)
    found = facts.get("redis_version", "")
    if found and version_of(found) < OLDEST:
        raise BackendRefused(f"Redis at {backend.location} is {found}; aiorq2 needs 6.2 or newer")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        text = f"Redis at {backend.location} has maxmemory-policy {policy}: when its memory is full it drops jobs; set noeviction"
        if strict:
            raise BackendRefused(text)
        log.warning("%s (or start with --strict to refuse)", text)
    if facts.get("aof_enabled") == "0":
        log.info(
            "Redis at %s keeps no append-only file: a crash of it can lose jobs (see docs/guarantees.md)",
            backend.location,
        )


async def warn_of_old_workers(backend: RedisBackend) -> None:
    """Log one warning if workers of rq before 2.0 are alive on this Redis: their upkeep drops the jobs of dead workers.

    Redis: 2 calls.
    """
    old = old_workers(await inspect.workers(backend))
    if old:
        log.warning(
            "Redis at %s is shared with workers of rq before 2.0 (%s): when one of them looks after a queue, it drops jobs whose "
            "worker died, ours included, instead of letting them fail; upgrade rq to 2.0 or newer (see docs/guarantees.md)",
            backend.location,
            ", ".join(f"{worker.name}: rq {worker.version}" for worker in old[:10]),
        )


def old_workers(workers: Iterable[inspect.WorkerRecord]) -> list[inspect.WorkerRecord]:
    """Return those among them that are of an rq before 2.0; one that does not say which it is counts as new."""
    return [
        worker
        for worker in workers
        if not worker.is_ours and (0,) < version_of(worker.version) < OLDEST_RQ
    ]


async def reap_after(backend: RedisBackend, lease: float) -> float:
    """Return from when on (monotonic seconds) leases may be judged: when Redis has just started, heartbeats come back first.

    Redis: 1 call.
    """
    uptime = (await server_facts(backend)).get("uptime_in_seconds")
    young = uptime is not None and int(uptime) < lease
    return time.monotonic() + (lease if young else 0)


async def server_facts(backend: RedisBackend) -> dict[str, str]:
    """Return what ``INFO`` says, empty where it is not to be had. Redis: 1 call."""
    try:
        reply = (await backend.run(["INFO"]))[0]
    except BackendError as error:
        log.debug(
            "INFO is not to be had: %s", error
        )  # fakeredis, or a managed Redis that forbids it
        return {}
    lines = reply.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def version_of(text: str) -> tuple[int, ...]:
    """Return major and minor version, empty where the text has none."""
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
