"""The leak checker finds what was planted, and nothing else."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
import redis

from tests.support.keys import delete_all, leaks


@pytest.fixture
def planted() -> Any:
    """A client of an empty fakeredis, in which keys are planted."""
    return fakeredis.FakeStrictRedis(server=fakeredis.FakeServer())


def test_leaks_accepts_what_may_stay(planted: Any, key_prefix: str) -> None:
    """Registries, jobs that wait or run where they should, kept results: no complaint. Other prefixes are not looked at."""
    p = key_prefix
    planted.sadd(f"{p}:queues", f"{p}:queue:q:1")
    planted.rpush(f"{p}:queue:q:1", "waits")
    planted.zadd(f"{p}:aio:wake:q:1", {"1": 0})
    planted.zadd(f"{p}:finished:q:1", {"done": 1})
    planted.zadd(f"{p}:wip:q:1", {"runs:e1": 1})
    planted.zadd(f"{p}:scheduled:q:1", {"later": 1, "expired": 2})
    planted.hset(f"{p}:job:waits", mapping={"status": "queued", "ttl": "60"})
    planted.expire(f"{p}:job:waits", 60)
    planted.hset(f"{p}:job:later", mapping={"status": "scheduled"})
    planted.hset(f"{p}:job:runs", mapping={"status": "started"})
    planted.hset(f"{p}:execution:runs:e1", mapping={"id": "e1"})
    planted.sadd(f"{p}:job:runs:dependents", "later")
    planted.xadd(f"{p}:results:runs", {"type": "2"})
    planted.hset(f"{p}:job:done", mapping={"status": "finished", "result_ttl": "-1"})
    planted.set(f"{p}:aio:replay:x", 1, ex=60)
    planted.set(f"{p}:suspended", 1, ex=60)
    planted.set(f"{p}x:junk", 1)

    assert leaks(planted, p) == []

    delete_all(planted, p)
    assert planted.keys() == [f"{p}x:junk".encode()]


@pytest.mark.parametrize(
    ("name", "fields", "complaint"),
    [
        ("job:x", {"status": "finished"}, "job:x is finished and has no TTL"),
        ("job:x", {"status": "failed", "result_ttl": "-1"}, "job:x is failed and has no TTL"),
        ("job:x", {"status": "queued"}, "job x is queued and 0 times in a queue"),
        ("job:x", {"status": "scheduled"}, "job x is scheduled and 0 times in a registry"),
        ("job:x", {"status": "started"}, "job x is started and has 0 leases"),
        ("execution:x:e", {"id": "e"}, "execution:x:e has no TTL"),
        ("worker:w", {"pid": "1"}, "worker:w has no TTL"),
        ("aio:junk", {"a": "b"}, "aio:junk has no TTL"),
        ("junk", {"a": "b"}, "junk has no TTL"),
        ("queue:q", {"a": "b"}, "queue:q is a hash and should be a list"),
    ],
)
def test_leaks_finds(
    planted: Any, key_prefix: str, name: str, fields: dict[str, str], complaint: str
) -> None:
    """One planted hash, one complaint."""
    planted.hset(f"{key_prefix}:{name}", mapping=fields)

    (found,) = leaks(planted, key_prefix)

    assert found.startswith(complaint)


def test_leaks_finds_what_does_not_fit_together(planted: Any, key_prefix: str) -> None:
    """Twice in a queue, in the wrong place, leases without a run, results without a job, TTLs where none may be."""
    p = key_prefix
    planted.rpush(f"{p}:queue:q", "twice", "twice", "done")
    planted.hset(f"{p}:job:twice", mapping={"status": "queued"})
    planted.expire(f"{p}:job:twice", 60)
    planted.hset(f"{p}:job:done", mapping={"status": "finished"})
    planted.expire(f"{p}:job:done", 60)
    planted.zadd(f"{p}:wip:q", {"gone:e": 1, "done:e": 1, "runs:e": 1, "runs:f": 1})
    planted.hset(f"{p}:job:runs", mapping={"status": "started"})
    planted.expire(f"{p}:job:runs", 60)
    planted.expire(f"{p}:wip:q", 60)
    planted.xadd(f"{p}:results:gone", {"type": "1"})
    planted.zadd(f"{p}:aio:wake:q", {"1": 0, "2": 0})
    planted.set(f"{p}:queue:q:intermediate:first_seen:done", 1)
    planted.persist(f"{p}:queue:q:intermediate:first_seen:done")
    planted.set(f"{p}:queue:q:intermediate:first_seen:gone", 1)

    assert sorted(leaks(planted, p)) == sorted(
        [
            "job twice is queued and 2 times in a queue",
            "job:twice is queued and has a TTL that nobody asked for",
            "job done is finished and in a queue",
            "job done is finished and has a lease in wip",
            "job gone is gone and has a lease in wip",
            "job runs is started and has 2 leases in wip",
            "job:runs is started and has a TTL: it could vanish under its run",
            "wip:q has a TTL and would vanish with what is in it",
            "results:gone has no TTL and no job that it goes with",
            "aio:wake:q has 2 markers",
            "queue:q:intermediate:first_seen:gone has no TTL and no job that it goes with",
        ]
    )


@pytest.mark.leaks_allowed("what is tested here is that the fixture looks")
def test_leaks_are_found_on_the_real_redis_too(redis_client: redis.Redis, key_prefix: str) -> None:
    """The same complaints, from the server that the tests run on."""
    redis_client.set(f"{key_prefix}:junk", 1)

    assert leaks(redis_client, key_prefix) == ["junk has no TTL and no job that it goes with"]
