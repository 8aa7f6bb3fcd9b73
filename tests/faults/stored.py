"""What is stored under a prefix, read back in the terms of the model; and time, made to pass for all of it."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiorq2.backends.redis import RedisBackend
from tests.faults.model import Model
from tests.faults.model.values import FOREVER, Job

GRAIN_S = 60.0
"""Moments are compared by the minute: that much a history may take."""

SHIFT = """
local by = tonumber(ARGV[1])
for _, key in ipairs(redis.call('KEYS', KEYS[1] .. ':*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 then
    if left <= by * 1000 then redis.call('DEL', key) else redis.call('PEXPIRE', key, left - by * 1000) end
  end
  local name = string.sub(key, #KEYS[1] + 2)
  if redis.call('TYPE', key)['ok'] == 'zset' and not string.find(name, '^aio:') then
    local found = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #found, 2 do
      local score = tonumber(found[i + 1])
      if score and score > 0 and score < math.huge then
        redis.call('ZADD', key, string.format('%.6f', score - by), found[i])
      end
    end
  end
end
return 1
"""
"""Moves every moment that is stored under a prefix into the past, which is what a clock does that jumps; atomic."""

DUMP = """
local READ = {hash = {'HGETALL'}, list = {'LRANGE', 0, -1}, set = {'SMEMBERS'}, zset = {'ZRANGE', 0, -1, 'WITHSCORES'},
  stream = {'XREVRANGE', '+', '-', 'COUNT', 1}, string = {'GET'}}
local found = {}
for _, key in ipairs(redis.call('KEYS', KEYS[1] .. ':*')) do
  local read = READ[redis.call('TYPE', key)['ok']]
  if read then
    found[#found + 1] = {key, redis.call('PTTL', key), redis.call(read[1], key, unpack(read, 2))}
  end
end
return {redis.call('TIME'), found}
"""
"""Reads all that is stored under a prefix in one trip: after each call of each history that is what takes the time."""


async def pass_time(backend: RedisBackend, seconds: float) -> None:
    """Let so many seconds go by for all that is stored; a negative number sets the clock back."""
    await backend.run(["EVAL", SHIFT, 1, backend.key_prefix, repr(seconds)])


class Left:
    """So many seconds from now, give or take what a slow machine needs for a history; for ever, or never."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Left):
            return NotImplemented
        return self.seconds == other.seconds or abs(self.seconds - other.seconds) < GRAIN_S

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"{self.seconds:.0f} s"


Registry = dict[str, Left]


@dataclass
class Stored:
    """Jobs, queues, registries and rate limits, as plain values that can be compared."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    queues: dict[str, list[str]] = field(default_factory=dict)
    scheduled: dict[str, Registry] = field(default_factory=dict)
    deferred: dict[str, set[str]] = field(default_factory=dict)
    leases: dict[str, Registry] = field(default_factory=dict)
    finished: dict[str, Registry] = field(default_factory=dict)
    failed: dict[str, Registry] = field(default_factory=dict)
    canceled: dict[str, set[str]] = field(default_factory=dict)
    rates: dict[str, tuple[int, set[str], list[str]]] = field(default_factory=dict)
    groups: dict[str, set[str]] = field(default_factory=dict)
    releasing: dict[str, str] = field(default_factory=dict)
    """The jobs of which those that wait for them are still to be freed, and where that stopped."""

    @classmethod
    def of_model(cls, model: Model) -> Stored:
        """Return what the model holds."""

        def registry(moments: Mapping[Any, float]) -> Registry:
            return {
                getattr(one, "member", one): Left(at if at < 0 else at - model.now)
                for one, at in moments.items()
            }

        stored = cls(
            jobs={job_id: _facts_of_model(job, model.now) for job_id, job in model.jobs.items()},
            queues=dict(model.queues),
            rates={
                key: (rate.concurrency, rate.allowed, sorted(rate.waiting, key=lambda one: (rate.waiting[one], one)))
                for key, rate in model.rates.items()
            },
            groups={name: ids for name, ids in model.groups.items() if ids},
        )  # fmt: skip
        for queue in model.queues:
            stored.scheduled[queue] = registry(model.scheduled[queue])
            stored.leases[queue] = registry(model.leases[queue])
            stored.finished[queue] = registry(model.finished[queue])
            stored.failed[queue] = registry(model.failed[queue])
            stored.deferred[queue] = model.deferred[queue]
            stored.canceled[queue] = model.canceled[queue]
        return stored


def _facts_of_model(job: Job, now: float) -> dict[str, Any]:
    return {
        "status": job.status,
        "left": Left(job.expires_at - now),
        "attempt": job.attempt,
        "deaths": job.deaths,
        "cancel": job.cancel,
        "retries_left": job.retries_left,
        "repeats_left": job.repeats_left,
        "queue": job.terms.queue,
        "result": job.result if job.status == "finished" else None,
    }


async def read(backend: RedisBackend, queues: Iterable[str]) -> Stored:
    """Return what a backend holds."""
    reader = _Reader(backend)
    await reader.load()
    stored = Stored(jobs=reader.jobs(), rates=reader.rates(), groups=reader.groups())
    stored.releasing = reader.hash("aio:releasing")
    for queue in queues:
        stored.queues[queue] = reader.texts(f"queue:{queue}")
        stored.scheduled[queue] = reader.registry(f"scheduled:{queue}")
        stored.leases[queue] = reader.registry(f"wip:{queue}")
        stored.finished[queue] = reader.registry(f"finished:{queue}")
        stored.failed[queue] = reader.registry(f"failed:{queue}")
        stored.deferred[queue] = set(reader.registry(f"deferred:{queue}"))
        stored.canceled[queue] = set(reader.registry(f"canceled:{queue}"))
    return stored


def misplaced(stored: Stored) -> list[str]:
    """Return a sentence for every job that nobody would find where its status says, or that two runs own."""
    found = []
    for job_id, facts in stored.jobs.items():
        queue, status = facts["queue"], facts["status"]
        leases = [one for one in stored.leases[queue] if one.partition(":")[0] == job_id]
        places = {
            "queued": stored.queues[queue],
            "scheduled": stored.scheduled[queue],
            "deferred": stored.deferred[queue],
            "started": {job_id: leases} if leases else {},
            "finished": stored.finished[queue],
            "failed": stored.failed[queue],
            "stopped": stored.failed[queue],
            "canceled": stored.canceled[queue],
            "rate_limited": {one for _, _, waiting in stored.rates.values() for one in waiting},
        }
        if job_id not in places[status]:
            found.append(f"{job_id} is {status} and not there")
        if len(leases) != (status == "started"):
            found.append(f"{job_id} is {status} and has the leases {leases}")
    return found


class _Reader:
    """All that lies under a prefix, read once."""

    def __init__(self, backend: RedisBackend) -> None:
        self._backend = backend
        self._values: dict[str, Any] = {}
        self._left: dict[str, float] = {}
        self._now = 0.0

    async def load(self) -> None:
        prefix = self._backend.key_prefix
        ((clock, found),) = await self._backend.run(["EVAL", DUMP, 1, prefix])
        self._now = int(clock[0]) + int(clock[1]) / 1e6
        for key, left, value in found:
            name = key.decode().removeprefix(f"{prefix}:")
            self._values[name] = value
            self._left[name] = left / 1000 if left >= 0 else FOREVER

    def texts(self, name: str) -> list[str]:
        return [one.decode() for one in self._values.get(name, ())]

    def registry(self, name: str) -> Registry:
        pairs = iter(self.texts(name))
        scores = {one: float(score) for one, score in zip(pairs, pairs, strict=True)}
        return {one: Left(at if at < 0 else at - self._now) for one, at in scores.items()}

    def jobs(self) -> dict[str, dict[str, Any]]:
        names = [name for name in self._values if re.fullmatch("job:[^:]+", name)]
        return {name.removeprefix("job:"): self._facts(name) for name in names}

    def _facts(self, name: str) -> dict[str, Any]:
        fields = self.hash(name)
        return {
            "status": fields.get("status"),
            "left": Left(self._left[name]),
            "attempt": int(fields.get("aio_attempt", 0)),
            "deaths": int(fields.get("aio_deaths", 0)),
            "cancel": int(fields.get("aio_cancel", 0)),
            "retries_left": int(fields.get("retries_left", 0)),
            "repeats_left": int(fields.get("repeats_left", 0)),
            "queue": fields.get("origin"),
            "result": self._result(name, fields) if fields.get("status") == "finished" else None,
        }

    def _result(self, name: str, fields: Mapping[str, str]) -> str | None:
        """Return the result from the hash, or from the latest entry of the stream."""
        entries = self._values.get(name.replace("job:", "results:"), ())
        if "result" in fields or not entries:
            return fields.get("result")
        pairs = iter(entries[0][1])
        entry = dict(zip(pairs, pairs, strict=True))
        return b64decode(entry.get(b"return_value", b"")).decode()

    def hash(self, name: str) -> dict[str, str]:
        pairs = iter(self._values.get(name, ()))
        return {
            one.decode(): value.decode(errors="replace")
            for one, value in zip(pairs, pairs, strict=True)
        }

    def groups(self) -> dict[str, set[str]]:
        """The groups that have members; their names may stay for a while without."""
        names = self.texts("groups")
        found = {name: set(self.texts(f"group:{name}")) for name in names}
        return {name: ids for name, ids in found.items() if ids}

    def rates(self) -> dict[str, tuple[int, set[str], list[str]]]:
        return {
            key: (
                int(self.hash(f"rl:{key}")["concurrency"]),
                set(self.registry(f"rl:{key}:allowed")),
                list(self.registry(f"rl:{key}:rate_limited")),
            )
            for key in self.texts("rl-keys")
        }
