"""Reading all that there is, a small step at a time, so that a Redis with a million jobs is not held up. Nothing is changed.

A key of the wrong type reads as empty.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from aiorq2.backends.base import JobRecord
from aiorq2.backends.line import Command
from aiorq2.backends.redis import RedisBackend

STEP = 1000
"""About how many keys, or entries, one call reads."""
MOST = 3000
"""How many commands a pipeline has at the most."""
OVERLAP = 100
"""How many entries of a list two pages share: so many may leave it in between without one being passed over."""

FOR_EVER, GONE = -1, -2
"""What stands in the place of a time to live."""

_FIELDS = (
    "status",
    "origin",
    "created_at",
    "enqueued_at",
    "started_at",
    "rate_limit_key",
    "failure_ttl",
    "result_ttl",
)


@dataclass(frozen=True, slots=True)
class JobFacts:
    """The little that must be known of a job to say whether it is where it should be."""

    record: JobRecord
    ttl_ms: int
    """Milliseconds for which it is still kept; -1 for ever."""
    data_bytes: int


async def total(backend: RedisBackend) -> int:
    """Return how many keys the database has, whoever wrote them. Redis: 1 call."""
    (count,) = await backend.run(["DBSIZE"])
    return int(count)


async def clock(backend: RedisBackend) -> float:
    """Return the time by which scripts judge, seconds since the epoch: Redis', or the injected clock's. Redis: 1 call."""
    if backend.clock is not None:
        return backend.time()
    (reply,) = await backend.run(["TIME"])
    return int(reply[0]) + int(reply[1]) / 1e6


async def key_names(backend: RedisBackend) -> AsyncIterator[list[str]]:
    """Yield the names of all keys under the prefix, without it; one may come twice.

    Redis: 1 call per some 1000 keys of the database.
    """
    prefix = f"{backend.key_prefix}:"
    pattern = "".join(f"\\{char}" if char in "*?[]\\^" else char for char in prefix) + "*"
    cursor = b"0"
    while True:
        ((cursor, keys),) = await backend.run(["SCAN", cursor, "MATCH", pattern, "COUNT", STEP])
        yield [text_of(key).removeprefix(prefix) for key in keys]
        if cursor == b"0":
            return


async def facts(backend: RedisBackend, ids: Sequence[str]) -> list[JobFacts | None]:
    """Return what is known of these jobs, None in the place of each that is gone, or is no job. Redis: 1 pipeline."""
    key = backend.keys.job
    commands: list[Command] = [
        command
        for one in ids
        for command in (
            ["HMGET", key(one), *_FIELDS],
            ["PTTL", key(one)],
            ["HSTRLEN", key(one), "data"],
        )
    ]
    replies = await read(backend, commands)
    return [_facts_of(one, *replies[3 * place : 3 * place + 3]) for place, one in enumerate(ids)]


def _facts_of(
    job_id: str, values: Sequence[bytes | None] | None, ttl_ms: int, data_bytes: int | None
) -> JobFacts | None:
    if values is None or ttl_ms == GONE:
        return None
    named = zip(_FIELDS, values, strict=True)
    fields = {name: value for name, value in named if value is not None}
    return JobFacts(JobRecord(job_id, fields), ttl_ms, data_bytes or 0)


async def list_pages(backend: RedisBackend, key: str) -> AsyncIterator[list[str]]:
    """Yield the entries of a list, its end first, page by page. None is passed over that stays: what is pushed meanwhile moves the
    others away from the end, and what is popped from the beginning moves none.

    Redis: 1 call per page.
    """
    end, before = -1, list[str]()
    while True:
        (reply,) = await read(backend, [["LRANGE", key, end - STEP + 1, end]])
        page = [text_of(one) for one in reply or ()]
        yield page[: len(page) - _overlap(before, page)]
        if len(page) < STEP:
            return
        end, before = end - STEP + OVERLAP, page


def _overlap(before: Sequence[str], page: Sequence[str]) -> int:
    """Return how many entries at the end of a page stood at the beginning of the one before."""
    if not page or page[-1] not in before:
        return 0
    count = before.index(page[-1]) + 1
    return count if list(page[-count:]) == list(before[:count]) else 0


async def set_pages(backend: RedisBackend, key: str) -> AsyncIterator[list[str]]:
    """Yield the members of a set, page by page; one may come twice. Redis: 1 call per page."""
    cursor = b"0"
    while True:
        (reply,) = await read(backend, [["SSCAN", key, cursor, "COUNT", STEP]])
        cursor, members = reply or (b"0", ())
        yield [text_of(one) for one in members]
        if cursor == b"0":
            return


async def sorted_set_pages(
    backend: RedisBackend, key: str
) -> AsyncIterator[list[tuple[str, float]]]:
    """Yield the members of a sorted set with their scores, page by page; one may come twice. Redis: 1 call per page."""
    cursor = b"0"
    while True:
        (reply,) = await read(backend, [["ZSCAN", key, cursor, "COUNT", STEP]])
        cursor, flat = reply or (b"0", ())
        parts = iter(flat)
        yield [(text_of(member), float(score)) for member, score in zip(parts, parts, strict=True)]
        if cursor == b"0":
            return


async def times_to_live(backend: RedisBackend, names: Sequence[str]) -> list[int]:
    """Return the milliseconds that keys, named without the prefix, have to live: -1 for ever, -2 gone. Redis: 1 pipeline."""
    replies = await read(backend, [["PTTL", f"{backend.key_prefix}:{name}"] for name in names])
    return [int(reply) for reply in replies]


async def read(backend: RedisBackend, commands: Sequence[Command]) -> list[Any]:
    """Return the replies to reading commands, on a connection of their own; None for a key of the wrong type.

    Redis: 1 pipeline per some 1000 of them.
    """
    replies: list[Any] = []
    with backend.home.lend("browse") as line:
        for start in range(0, len(commands), MOST):
            replies += await backend.exchange.send(line, commands[start : start + MOST])
    for reply in replies:
        if isinstance(reply, BaseException) and "WRONGTYPE" not in str(reply):
            raise reply
    return [None if isinstance(reply, BaseException) else reply for reply in replies]


def text_of(raw: bytes) -> str:
    """Return a name from Redis as text."""
    return raw.decode("utf-8", "replace")
