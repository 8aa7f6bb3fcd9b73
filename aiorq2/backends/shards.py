"""Queues spread over several namespaces, and so over the nodes of a cluster or over several servers.

Which queue lives in which shard follows from its name and the number of shards, and from nothing else. A shard is a backend like
any other; what belongs together (a queue, its registries, its jobs) is in one of them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256

from aiorq2.backends import inspect
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import InvalidOption
from aiorq2.options import EnqueueOptions

MOST = 1024
RATE_HOME_S = 7 * 86_400
"""How long a rate limit stays in its shard after its last use, in seconds."""


class Shards:
    """A number of backends, each a namespace of its own; made by ``connect(…, shards=n)``.

    >>> shards = connect("redis+cluster://a,b,c", shards=16)
    >>> await Queue("mail", shards).enqueue(send, 1)
    >>> await ShardedWorker(["mail", "reports"], shards).work()
    """

    def __init__(self, backends: Sequence[RedisBackend], key_prefix: str | None = None) -> None:
        self.backends = tuple(backends)
        self.key_prefix = key_prefix
        """What the prefixes of all of them are made of, where that is known."""

    def __repr__(self) -> str:
        first = self.backends[0]
        return f"<{type(self).__name__} {len(self)} x {first.location} {first.key_prefix} …>"

    def __len__(self) -> int:
        return len(self.backends)

    def __iter__(self) -> Iterator[RedisBackend]:
        return iter(self.backends)

    @property
    def location(self) -> str:
        """Where the shards are, without passwords."""
        return ", ".join(dict.fromkeys(one.location for one in self.backends))

    def of(self, queue: str) -> RedisBackend:
        """Return the shard in which a queue lives. With one shard more, one queue in so many moves, and none among the others."""
        return self.backends[shard_of(queue, len(self))]

    def parted(self, queues: Sequence[str]) -> dict[RedisBackend, list[str]]:
        """Return the shards in which these queues live, each with its queues in the order given."""
        found: dict[RedisBackend, list[str]] = {}
        for queue in queues:
            found.setdefault(self.of(queue), []).append(queue)
        return found

    async def find(self, job_id: str) -> RedisBackend | None:
        """Return the shard that has a job, None if none has. Redis: 1 call per shard, all at once."""
        return (await self.find_many([job_id]))[0]

    async def find_many(self, job_ids: Sequence[str]) -> list[RedisBackend | None]:
        """Return for each job the shard that has it, the first one if several have a job of this id. Redis: 1 pipeline per 500
        jobs and shard, all shards at once."""
        seen = await asyncio.gather(*[inspect.statuses(one, job_ids) for one in self.backends])
        return [
            next(
                (
                    backend
                    for backend, status in zip(self.backends, statuses, strict=True)
                    if status is not None
                ),
                None,
            )
            for statuses in zip(*seen, strict=True)
        ]

    async def strays(self, queues: Sequence[str]) -> dict[str, str]:
        """Return the queues that have jobs waiting in a shard that is not theirs, with its key prefix: there were fewer shards when
        these were enqueued. Shards that are away are left out. Redis: 1 pipeline per shard, all at once."""
        seen = await asyncio.gather(
            *[one.run(*[["LLEN", one.keys.queue(name)] for name in queues]) for one in self],
            return_exceptions=True,
        )
        return {
            name: one.key_prefix
            for one, lengths in zip(self, seen, strict=True)
            if not isinstance(lengths, BaseException)
            for name, length in zip(queues, lengths, strict=True)
            if length and self.of(name) is not one
        }

    async def close(self) -> None:
        """Close the connections of the running loop."""
        await asyncio.gather(*[one.close() for one in self.backends])

    # -- what does not work across shards --------------------------------------------------------------------------------

    async def refuse_across(self, backend: RedisBackend, options: Sequence[EnqueueOptions]) -> None:
        """Return if jobs on their way into a shard, which have these options, have to do with nothing that lives in another.

        Raises:
            InvalidOption: a job waits for one in another shard, or shares a rate limit with jobs of another.

        Redis: none for jobs without ``depends_on`` and ``rate_limit``; else 1 call per shard, and 1 per rate limit.
        """
        parents = [id for one in options if one.depends_on for id in one.depends_on.ids]
        if parents:
            await self._refuse_parents_elsewhere(backend, list(dict.fromkeys(parents)))
        rates = {one.rate_limit.key for one in options if one.rate_limit}
        for rate in sorted(rates):
            await self._refuse_rate_elsewhere(backend, rate)

    async def _refuse_parents_elsewhere(
        self, backend: RedisBackend, parents: Sequence[str]
    ) -> None:
        here = await inspect.statuses(backend, parents)
        missing = [one for one, status in zip(parents, here, strict=True) if status is None]
        if not missing:
            return
        for parent, home in zip(missing, await self.find_many(missing), strict=True):
            if home is not None and home is not backend:
                raise InvalidOption(
                    f"depends_on: job {parent!r} lives in shard {home.key_prefix}, and a job in shard {backend.key_prefix}"
                    " cannot wait for it; give both queues of one shard, or enqueue it when the other has ended"
                )

    async def _refuse_rate_elsewhere(self, backend: RedisBackend, rate: str) -> None:
        """Whoever uses a rate limit first says in which shard its jobs are counted."""
        first = self.backends[0]
        key = first.keys.rate_home(rate)
        _, home, _ = await first.run(
            ["SET", key, backend.key_prefix, "NX", "EX", RATE_HOME_S],
            ["GET", key],
            ["EXPIRE", key, RATE_HOME_S],
        )
        if home is not None and home.decode() != backend.key_prefix:
            raise InvalidOption(
                f"rate_limit: {rate!r} counts the jobs of shard {home.decode()}, and a job in shard {backend.key_prefix}"
                " would not be counted with them; give both queues of one shard, or another key"
            )


def shard_of(queue: str, count: int) -> int:
    """Return the number of the shard in which a queue lives, of ``count``: that which draws the highest lot."""

    def lot(number: int) -> bytes:
        return sha256(f"{number}:{queue}".encode()).digest()

    return max(range(count), key=lot)


def prefix_of(key_prefix: str, number: int) -> str:
    """Return the key prefix of a shard: ``{rq0}``, ``{rq1}`` … for ``rq`` and for ``{rq}``."""
    numbered, count = re.subn(r"(\{[^}]+)\}", rf"\g<1>{number}}}", key_prefix, count=1)
    return numbered if count else f"{{{key_prefix}{number}}}"


def checked_count(shards: object) -> int:
    """Return the number of shards if it can be one.

    Raises:
        InvalidOption: it cannot.
    """
    if isinstance(shards, bool) or not isinstance(shards, int) or not 1 <= shards <= MOST:
        raise InvalidOption(f"shards={shards!r:.60}: a whole number from 1 to {MOST} is needed")
    return shards
