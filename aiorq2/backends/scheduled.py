"""What is scheduled, over all queues: jobs that wait for their time, and recurring entries."""

from __future__ import annotations

from typing import Literal, NamedTuple

from aiorq2.backends import inspect
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.scripts import Arg

Kind = Literal["job", "cron"]


class Scheduled(NamedTuple):
    """One thing that is scheduled, and when it is due (seconds since the epoch)."""

    due: float
    name: str
    kind: Kind


async def scheduled(
    backend: RedisBackend, until: float | None = None, most: int | None = None
) -> list[Scheduled]:
    """Return what is due until a time, or ever, the earliest first; ``most`` at the most. Redis: 1 call and 1 pipeline."""
    last: str | float = "+inf" if until is None else repr(until)
    limit: list[Arg] = [] if most is None else ["LIMIT", 0, most]
    keys = await _keys(backend)
    replies = await backend.run(
        *[["ZRANGEBYSCORE", key, "-inf", last, "WITHSCORES", *limit] for key, _ in keys]
    )
    found: list[Scheduled] = []
    for (_, kind), flat in zip(keys, replies, strict=True):
        pairs = iter(flat)
        found += [
            Scheduled(float(score), name.decode("utf-8", "replace"), kind)
            for name, score in zip(pairs, pairs, strict=True)
        ]
    return sorted(found)[:most]


async def count(backend: RedisBackend, until: float | None = None) -> int:
    """Return how much is due until a time, or ever. Redis: 1 call and 1 pipeline."""
    last: str | float = "+inf" if until is None else repr(until)
    keys = await _keys(backend)
    return sum(await backend.run(*[["ZCOUNT", key, "-inf", last] for key, _ in keys]))


async def _keys(backend: RedisBackend) -> list[tuple[str, Kind]]:
    keys: list[tuple[str, Kind]] = []
    for queue in await inspect.queue_names(backend):
        keys += [(backend.keys.scheduled(queue), "job"), (backend.keys.crons(queue), "cron")]
    return keys
