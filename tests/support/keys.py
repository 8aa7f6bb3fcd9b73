"""After a test: does Redis hold a key that could outlive its job, or a job that nobody would ever find?

The key names are spelled here once more on purpose: the test of a layout must not be made of the code that writes it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import redis

_NO_TTL = -1
_EXPIRED = -2

_TYPES = {
    "queues": "set",
    "queue": "list",
    "wip": "zset",
    "finished": "zset",
    "failed": "zset",
    "deferred": "zset",
    "scheduled": "zset",
    "canceled": "zset",
    "ready": "zset",
    "workers": "set",
    "suspended": "string",
    "groups": "set",
    "rl-keys": "set",
    "aio:wake": "zset",
    "aio:crons": "zset",
    "aio:cron-sources": "hash",
}
"""The keys that may stay for ever, there being one of each, or one per queue (``queue:<q>``)."""

_CONSTANT = re.compile(rf"(?P<kind>{'|'.join(_TYPES)})(:.+)?")
_FIRST_SEEN = re.compile(r"queue:.+:intermediate:first_seen:[^:]+")
_JOB = re.compile(r"job:(?P<id>[^:]+)")
_CRON = re.compile(r"aio:(?P<part>cron|cron-job|cron-runs):(?P<name>.+)")
_KEPT_FOR = {"finished": "result_ttl", "failed": "failure_ttl", "stopped": "failure_ttl"}
_READ: dict[str, tuple[str | int, ...]] = {
    "list": ("LRANGE", 0, -1),
    "zset": ("ZRANGE", 0, -1),
    "set": ("SMEMBERS",),
    "hash": ("HGETALL",),
}
_UNSTARTED = ("queued", "scheduled", "deferred")


def leaks(client: redis.Redis, prefix: str) -> list[str]:
    """Return one sentence for everything under ``prefix`` that should not be there; none is what a test wants.

    ``client`` is a blocking client, also of fakeredis, with or without ``decode_responses``. Nobody should be writing meanwhile.
    """
    keyspace = _Keyspace(client, prefix)
    checks = (
        keyspace.lifetimes(),
        keyspace.unstarted_jobs(),
        keyspace.runs(),
        keyspace.markers(),
        keyspace.entries(),
    )
    return [sentence for check in checks for sentence in check]


def delete_all(client: redis.Redis, prefix: str) -> None:
    """Delete every key under ``prefix``."""
    pipeline = client.pipeline(transaction=False)
    for key in _scan(client, prefix):
        pipeline.delete(key)
    pipeline.execute()


class _Keyspace:
    """What is stored under a prefix, read once; names are without the prefix."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.types: dict[str, str] = {}
        self.ttls: dict[str, int] = {}
        self.jobs: dict[str, dict[str, str]] = {}
        self.crons: dict[str, dict[str, str]] = {}
        self.members: defaultdict[str, list[str]] = defaultdict(list)
        keys = sorted(_scan(client, prefix))
        pipeline: Any = client.pipeline(transaction=False)
        for key in keys:
            pipeline.type(key).ttl(key)
        facts = pipeline.execute()
        for key, kind, ttl in zip(keys, facts[::2], facts[1::2], strict=True):
            if ttl != _EXPIRED:
                name = key.removeprefix(f"{prefix}:")
                self.types[name], self.ttls[name] = _text(kind), ttl
        self._read_contents(client, prefix)

    def lifetimes(self) -> Iterator[str]:
        """Whether every key has a TTL, a job that it goes with, or a right to stay."""
        for name, kind in self.types.items():
            if constant := _constant_kind(name):
                yield from self._constant(name, kind, _TYPES[constant])
            elif match := _JOB.fullmatch(name):
                yield from self._job(match["id"])
            elif self.ttls[name] == _NO_TTL and not self._has_living_owner(name):
                yield f"{name} has no TTL and no job that it goes with"

    def unstarted_jobs(self) -> Iterator[str]:
        """Whether a job that has not started is where its status says, and only there."""
        for status in _UNSTARTED:
            places = self._places("queue" if status == "queued" else status)
            for id in self._ids_with(status):
                if places[id] != 1:
                    yield f"job {id} is {status} and {places[id]} times in a {_place(status)}"
            for id in places:
                if id in self.jobs and self._status(id) != status:
                    yield f"job {id} is {self._status(id)} and in a {_place(status)}"

    def runs(self) -> Iterator[str]:
        """Whether the started jobs are those that have a lease."""
        leased = Counter(member.partition(":")[0] for member in self._members_of("wip"))
        for id in self._ids_with("started"):
            if leased[id] != 1:
                yield f"job {id} is started and has {leased[id]} leases in wip"
        for id in leased:
            if self._status(id) != "started":
                yield f"job {id} is {self._status(id)} and has a lease in wip"

    def markers(self) -> Iterator[str]:
        """Whether no queue has more than one wake-up marker."""
        for name, members in self.members.items():
            if name.startswith("aio:wake:") and len(members) > 1:
                yield f"{name} has {len(members)} markers"

    def entries(self) -> Iterator[str]:
        """Whether a recurring entry is where its state says, and only there."""
        for name, fields in self.crons.items():
            due = self.members[f"aio:crons:{fields.get('queue')}"]
            if (name in due) != (fields.get("state") == "active"):
                yield f"entry {name} is {fields.get('state')} and {'' if name in due else 'not '}among the due"
            if name not in self.members["aio:crons"]:
                yield f"entry {name} is on no list"

    def _read_contents(self, client: redis.Redis, prefix: str) -> None:
        readable = [name for name, kind in self.types.items() if kind in _READ]
        pipeline = client.pipeline(transaction=False)
        for name in readable:
            verb, *args = _READ[self.types[name]]
            pipeline.execute_command(verb, f"{prefix}:{name}", *args)
        for name, content in zip(readable, pipeline.execute(), strict=True):
            if self.types[name] != "hash":
                self.members[name] = [_text(member) for member in content]
            elif match := _JOB.fullmatch(name) or _CRON.fullmatch(name):
                fields = {_text(field): _text(value) for field, value in content.items()}
                if "id" in match.groupdict():
                    self.jobs[match["id"]] = fields
                elif match["part"] == "cron":
                    self.crons[match["name"]] = fields

    def _constant(self, name: str, kind: str, expected: str) -> Iterator[str]:
        if kind != expected:
            yield f"{name} is a {kind} and should be a {expected}"
        if self.ttls[name] != _NO_TTL and name != "suspended":
            yield f"{name} has a TTL and would vanish with what is in it"

    def _job(self, id: str) -> Iterator[str]:
        name, has_ttl = f"job:{id}", self.ttls[f"job:{id}"] != _NO_TTL
        if id not in self.jobs:
            yield f"{name} is a {self.types[name]} and should be a hash"
            return
        status = self._status(id)
        if option := _KEPT_FOR.get(status):
            if not has_ttl and self.jobs[id].get(option) != "-1":
                yield f"{name} is {status} and has no TTL"
        elif has_ttl and status == "started":
            yield f"{name} is started and has a TTL: it could vanish under its run"
        elif has_ttl and status in _UNSTARTED and not self.jobs[id].get("ttl"):
            yield f"{name} is {status} and has a TTL that nobody asked for"

    def _has_living_owner(self, name: str) -> bool:
        if name.startswith("worker:"):
            return False
        if match := _CRON.fullmatch(name):
            return match["name"] in self.crons
        if name.startswith("rl:"):  # as long as a job has a place or waits for one
            base = re.sub(r":(allowed|rate_limited)$", "", name)
            parts = self.members[f"{base}:allowed"] + self.members[f"{base}:rate_limited"]
        else:
            parts = self.members[name] if name.startswith("group:") else name.split(":")
        return not self.jobs.keys().isdisjoint(parts)

    def _status(self, id: str) -> str:
        return self.jobs[id].get("status", "without status") if id in self.jobs else "gone"

    def _ids_with(self, status: str) -> Iterable[str]:
        return (id for id, fields in self.jobs.items() if fields.get("status") == status)

    def _places(self, kind: str) -> Counter[str]:
        return Counter(self._members_of(kind))

    def _members_of(self, kind: str) -> Iterable[str]:
        for name, members in self.members.items():
            if _constant_kind(name) == kind:
                yield from members


def _constant_kind(name: str) -> str | None:
    match = _CONSTANT.fullmatch(name)
    return match["kind"] if match and not _FIRST_SEEN.fullmatch(name) else None


def _place(status: str) -> str:
    return "queue" if status == "queued" else f"registry of {status} jobs"


def _scan(client: Any, prefix: str) -> set[str]:
    pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", prefix) + ":*"
    return {_text(key) for key in client.scan_iter(pattern, count=1000)}


def _text(value: bytes | str) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value
