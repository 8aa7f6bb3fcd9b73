"""The read side: what lies in Redis, as frozen values. Nothing here changes anything, and nothing is unpickled.

What is gone, and what somebody else put under a name of ours, is left out rather than raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiorq2.backends.base import JobRecord
from aiorq2.backends.keys import Keys
from aiorq2.backends.line import Command
from aiorq2.backends.redis import RedisBackend
from aiorq2.backends.wire import fields_of, record_of
from aiorq2.backends.workers import WorkerRecord as WorkerRecord
from aiorq2.backends.workers import commands_for, job_of, together, workers_of
from aiorq2.errors import BackendError, InvalidOption
from aiorq2.states import JobStatus

CHUNK = 500
"""How many job hashes one pipeline reads."""

REGISTRIES: Mapping[str, Callable[[Keys, str], str]] = {
    "started": Keys.wip,
    "finished": Keys.finished,
    "failed": Keys.failed,
    "deferred": Keys.deferred,
    "scheduled": Keys.scheduled,
    "canceled": Keys.canceled,
}
"""The key of each registry of a queue; all are sorted sets."""
_ALL: Mapping[str, Callable[[Keys, str], str]] = {**REGISTRIES, "ready": Keys.ready}  # rq's


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many jobs a queue and each of its registries hold; what has expired counts until a worker sweeps it up."""

    name: str
    queued: int
    started: int
    finished: int
    failed: int
    deferred: int
    scheduled: int
    canceled: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What ``aiorq2 info`` and a dashboard's first page show."""

    queues: tuple[QueueCounts, ...]
    workers: tuple[WorkerRecord, ...]
    is_suspended: bool


# -- queues and workers ------------------------------------------------------------------------------


async def queue_names(backend: RedisBackend) -> list[str]:
    """Return the names of all queues that ever had a job, sorted. Redis: 1 call."""
    (members,) = await _read(backend, [["SMEMBERS", backend.keys.queues()]])
    return _names(backend.keys.queue(""), members)


async def queue_counts(backend: RedisBackend, names: Sequence[str]) -> list[QueueCounts]:
    """Return the counts of the queues, in the order of ``names``. Redis: 1 pipeline."""
    return _counts(names, await _read(backend, _count_commands(backend.keys, names)))


async def workers(backend: RedisBackend, queue: str | None = None) -> list[WorkerRecord]:
    """Return the living workers, those of one queue if it is given, by name. Redis: 2 pipelines."""
    keys = backend.keys
    (members,) = await _read(
        backend, [["SMEMBERS", keys.queue_workers(queue) if queue else keys.workers()]]
    )
    names = _names(keys.worker(""), members)
    return workers_of(keys, names, await _read(backend, commands_for(keys, names)))


async def worker(backend: RedisBackend, name: str) -> WorkerRecord | None:
    """Return the worker of this name, also if it has just ended; None if there is none. Redis: 1 pipeline."""
    replies = await _read(backend, commands_for(backend.keys, [name]))
    return next(iter(workers_of(backend.keys, [name], replies, dead=True)), None)


async def snapshot(backend: RedisBackend, queues: Sequence[str] | None = None) -> Snapshot:
    """Return counts and workers of all queues, or of those given. Redis: 2 pipelines, the second 7 commands a queue, 2 a worker."""
    keys = backend.keys
    known, members, suspended = await _read(
        backend,
        [["SMEMBERS", keys.queues()], ["SMEMBERS", keys.workers()], ["EXISTS", keys.suspended()]],
    )
    names = _names(keys.queue(""), known) if queues is None else list(queues)
    worker_names = _names(keys.worker(""), members)
    counting = _count_commands(keys, names)
    replies = await _read(backend, [*counting, *commands_for(keys, worker_names)])
    alive = workers_of(keys, worker_names, replies[len(counting) :])
    return Snapshot(
        queues=tuple(_counts(names, replies[: len(counting)])),
        workers=tuple(one for one in alive if queues is None or set(one.queues) & set(names)),
        is_suspended=bool(suspended),
    )


def merged(parts: Sequence[Snapshot]) -> Snapshot:
    """Return what was seen in several shards as one: a worker that serves several is one of them."""
    workers: dict[str, WorkerRecord] = {}
    for one in (worker for part in parts for worker in part.workers):
        known = workers.get(one.name)
        workers[one.name] = one if known is None else together(known, one)
    return Snapshot(
        queues=tuple(
            sorted((one for part in parts for one in part.queues), key=lambda one: one.name)
        ),
        workers=tuple(workers[name] for name in sorted(workers)),
        is_suspended=any(part.is_suspended for part in parts),
    )


async def is_suspended(backend: RedisBackend) -> bool:
    """Return whether workers have been told to start no job. Redis: 1 call."""
    return bool((await backend.run(["EXISTS", backend.keys.suspended()]))[0])


# -- jobs --------------------------------------------------------------------------------------------


async def records(backend: RedisBackend, ids: Sequence[str]) -> list[JobRecord | None]:
    """Return the jobs, None in the place of each that is gone. Redis: 1 pipeline per 500 jobs."""
    replies = await _read_each(backend, ids, lambda one: ["HGETALL", backend.keys.job(one)])
    return [record_of(one, flat) if flat else None for one, flat in zip(ids, replies, strict=True)]


async def statuses(backend: RedisBackend, ids: Sequence[str]) -> list[JobStatus | None]:
    """Return the statuses of the jobs, None in the place of each that is gone. Redis: 1 pipeline per 500 jobs."""
    replies = await _read_each(backend, ids, lambda one: ["HGET", backend.keys.job(one), "status"])
    return [
        None if status is None else JobRecord(one, {"status": status}).status
        for one, status in zip(ids, replies, strict=True)
    ]


async def dependent_ids(backend: RedisBackend, ids: Sequence[str]) -> list[str]:
    """Return the ids of all that wait for one of these jobs. Redis: 1 pipeline per 500 jobs."""
    replies = await _read_each(backend, ids, lambda one: ["SMEMBERS", backend.keys.dependents(one)])
    return [_text(member) for members in replies for member in sorted(members or ())]


async def queued_ids(
    backend: RedisBackend, queue: str, offset: int = 0, length: int = -1
) -> list[str]:
    """Return a page of the ids that wait in a queue, the next one first; a length of -1 means all. Redis: 1 call."""
    if length == 0:
        return []
    (reply,) = await _read(
        backend, [["LRANGE", backend.keys.queue(queue), offset, _last(offset, length)]]
    )
    return [_text(one) for one in reply or ()]


async def position(backend: RedisBackend, queue: str, job_id: str) -> int | None:
    """Return the place of a job in its queue, 0 being the next; None when it is not in it. Redis: 1 call."""
    (reply,) = await _read(backend, [["LPOS", backend.keys.queue(queue), job_id]])
    return None if reply is None else int(reply)


async def registry_entries(
    backend: RedisBackend,
    registry: str,
    queue: str,
    offset: int = 0,
    length: int = -1,
    *,
    desc: bool = False,
) -> list[tuple[str, float]]:
    """Return a page of a registry: members (``<job>:<execution>`` in ``started``, else job ids) and scores. Redis: 1 call.

    Args:
        registry: a name of ``REGISTRIES``.
        length: how many; -1 for all.
        desc: the highest score first.
    """
    if length == 0:
        return []
    last = _last(offset, length)
    return await registry_range(backend, registry, queue, offset, last, desc=desc)


async def registry_range(
    backend: RedisBackend, registry: str, queue: str, first: int, last: int, *, desc: bool = False
) -> list[tuple[str, float]]:
    """Return the entries from one rank to another, both included, negative ones counted from the end. Redis: 1 call."""
    key = registry_key(backend.keys, registry, queue)
    command = ["ZREVRANGE" if desc else "ZRANGE", key, first, last, "WITHSCORES"]
    return _entries((await _read(backend, [command]))[0])


async def registry_until(
    backend: RedisBackend, registry: str, queue: str, score: float, count: int = -1
) -> list[str]:
    """Return the members with a score from 0 to ``score``, the lowest first, ``count`` at the most. Redis: 1 call."""
    key = registry_key(backend.keys, registry, queue)
    command: Command = ["ZRANGEBYSCORE", key, 0, repr(score), "LIMIT", 0, count]
    return [_text(one) for one in (await _read(backend, [command]))[0] or ()]


async def registry_score(
    backend: RedisBackend, registry: str, queue: str, member: str
) -> float | None:
    """Return the score of a member, None if it is none. Redis: 1 call."""
    key = registry_key(backend.keys, registry, queue)
    (reply,) = await _read(backend, [["ZSCORE", key, member]])
    return None if reply is None else float(reply)


async def registry_scan(
    backend: RedisBackend, registry: str, queue: str, cursor: int, count: int
) -> tuple[int, list[str]]:
    """Return the next cursor (0 after the last) and about ``count`` members; none is missed that stays meanwhile. Redis: 1 call."""
    key = registry_key(backend.keys, registry, queue)
    (reply,) = await _read(backend, [["ZSCAN", key, cursor, "COUNT", count]])
    next_cursor, flat = reply or (0, ())
    return int(next_cursor), [member for member, _ in _entries(flat)]


async def registry_ids(
    backend: RedisBackend,
    registry: str,
    queue: str,
    offset: int = 0,
    length: int = -1,
    *,
    desc: bool = False,
) -> list[str]:
    """Return a page of the job ids in a registry; as ``registry_entries``. Redis: 1 call."""
    entries = await registry_entries(backend, registry, queue, offset, length, desc=desc)
    return [job_in(registry, member) for member, _ in entries]


def job_in(registry: str, member: str) -> str:
    """Return the job of a member of a registry: in ``started`` members are runs, in the others ids of jobs, colons included."""
    return job_of(member) if registry == "started" else member


async def registry_count(backend: RedisBackend, registry: str, queue: str) -> int:
    """Return how many entries a registry has. Redis: 1 call."""
    (reply,) = await _read(backend, [["ZCARD", registry_key(backend.keys, registry, queue)]])
    return int(reply or 0)


async def result_entries(
    backend: RedisBackend, job_id: str, count: int = 10
) -> list[tuple[str, Mapping[str, bytes]]]:
    """Return the entries of a job's result stream, the newest first, each with its id. Redis: 1 call."""
    (reply,) = await _read(
        backend, [["XREVRANGE", backend.keys.results(job_id), "+", "-", "COUNT", count]]
    )
    return [(_text(entry_id), fields_of(flat)) for entry_id, flat in reply or ()]


async def latest_entries(
    backend: RedisBackend, job_ids: Sequence[str]
) -> dict[str, tuple[str, Mapping[str, bytes]]]:
    """Return the newest entry of each of these jobs' result streams that has one. Redis: 1 pipeline."""
    commands: list[Command] = [
        ["XREVRANGE", backend.keys.results(job_id), "+", "-", "COUNT", 1] for job_id in job_ids
    ]
    replies = await _read(backend, commands)
    return {
        job_id: (_text(reply[0][0]), fields_of(reply[0][1]))
        for job_id, reply in zip(job_ids, replies, strict=True)
        if reply
    }


# -- commands and replies ----------------------------------------------------------------------------


async def _read(backend: RedisBackend, commands: Sequence[Command]) -> list[Any]:
    """Run reading commands in one pipeline; a key of the wrong type reads as None."""
    replies = await backend.home.reads.call_many(commands)
    for reply in replies:
        if isinstance(reply, BaseException) and not _is_wrong_type(reply):
            raise reply
    return [None if isinstance(reply, BaseException) else reply for reply in replies]


async def _read_each(
    backend: RedisBackend, ids: Sequence[str], command: Callable[[str], Command]
) -> list[Any]:
    """Run one reading command per job. Redis: 1 pipeline per 500 jobs."""
    replies: list[Any] = []
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        replies += await _read(backend, [command(one) for one in chunk])
    return replies


def _is_wrong_type(error: BaseException) -> bool:
    return type(error) is BackendError and "WRONGTYPE" in str(error)


def _count_commands(keys: Keys, names: Sequence[str]) -> list[Command]:
    return [
        command
        for name in names
        for command in (
            ["LLEN", keys.queue(name)],
            *(["ZCARD", key(keys, name)] for key in REGISTRIES.values()),
        )
    ]


def _counts(names: Sequence[str], replies: Sequence[Any]) -> list[QueueCounts]:
    width = len(REGISTRIES) + 1
    rows = [replies[start : start + width] for start in range(0, len(replies), width)]
    return [
        QueueCounts(name, *(int(reply or 0) for reply in row))
        for name, row in zip(names, rows, strict=True)
    ]


def registry_key(keys: Keys, registry: str, queue: str) -> str:
    if registry not in _ALL:
        raise InvalidOption(f"registry {registry[:60]!r}: one of {', '.join(_ALL)} is needed")
    return _ALL[registry](keys, queue)


def _entries(flat: Sequence[bytes] | None) -> list[tuple[str, float]]:
    parts = iter(flat or ())
    return [(_text(member), float(score)) for member, score in zip(parts, parts, strict=True)]


def _names(prefix: str, members: Iterable[bytes] | None) -> list[str]:
    """Return the names in a set of keys, sorted; members that are no such keys are left out."""
    texts = (_text(member) for member in members or ())
    return sorted(
        text.removeprefix(prefix) for text in texts if text.startswith(prefix) and text != prefix
    )


def _last(offset: int, length: int) -> int:
    return -1 if length < 0 else offset + length - 1


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
