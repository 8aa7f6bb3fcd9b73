"""Which jobs share a call, and what each caller is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aiorq2.backends import adding, scripts
from aiorq2.backends.adding import Adding, Addition
from aiorq2.backends.line import Command
from aiorq2.errors import BackendUnavailable
from aiorq2.options import JobSpec
from tests.contract.stage import job_spec
from tests.contract.test_adding_many import plain


def command(name: str, named: dict[str, Any], rest: Sequence[Any] = ()) -> Command:
    """Return a command with the name of its script."""
    return [name, *scripts.load(name).arguments(named, rest)]


class Redis:
    """Takes pipelines and answers as it was told."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.pipelines: list[list[str]] = []
        self.patience: list[float | None] = []
        self.takes_s = 0.0
        self.away_from: int | None = None

    async def send(self, commands: Sequence[Command], patience: float | None) -> list[Any]:
        self.pipelines.append([str(one[0]) for one in commands])
        self.patience.append(patience)
        if self.away_from is not None and len(self.pipelines) > self.away_from:
            raise BackendUnavailable("away")
        await asyncio.sleep(self.takes_s)
        return [self.answers.pop(0) for _ in commands]


async def add(redis: Redis, specs: Sequence[JobSpec]) -> list[Any]:
    """Add jobs as those who call at the same time do."""
    return await Adding(command, redis.send).send([Addition(spec) for spec in specs], None)


ADDED = [b"OK", b"queued"]


async def test_a_call_takes_so_many_jobs() -> None:
    """No script adds more than ``MOST`` jobs, nor begins with another one when it has enough bytes."""
    redis = Redis(*[[b"OK", []]] * 9)
    heavy = [replace(plain(), data=b"x" * (adding.MOST_BYTES // 2)) for _ in range(5)]

    assert await add(redis, [plain() for _ in range(2 * adding.MOST + 1)]) == [ADDED] * 129
    assert await add(redis, heavy) == [ADDED] * 5

    assert redis.pipelines == [["add_many"] * 3] * 2


async def test_only_neighbours_that_are_alike_share_one() -> None:
    """What stands between them keeps its place."""
    redis = Redis(*[[b"OK", []]] * 2, [b"DUPLICATE", b"queued"], [b"OK", []])

    answers = await add(
        redis, [plain(), plain(), plain(result_ttl=5), job_spec("x"), plain(result_ttl=5)]
    )

    assert redis.pipelines == [["add_many", "add_many", "add", "add_many"]]
    assert answers == [ADDED] * 3 + [[b"DUPLICATE", b"queued"], ADDED]


async def test_those_that_are_known_are_asked_for_one_by_one() -> None:
    """The second pipeline carries them alone, and each answer finds its caller."""
    known = [[b"OK", [1]], [b"OK", []], [b"OK", [0]], [b"OK", b"finished"], [b"OK", b"started"]]
    redis = Redis(*known)

    answers = await add(
        redis, [plain(), plain(), plain(result_ttl=5), plain(result_ttl=6), plain(result_ttl=6)]
    )

    assert redis.pipelines == [["add_many"] * 3, ["add"] * 2]
    assert answers == [ADDED, [b"OK", b"finished"], ADDED, [b"OK", b"started"], ADDED]


async def test_an_error_is_that_of_all_who_shared_the_call() -> None:
    """The others do not hear of it."""
    error = ValueError()
    redis = Redis(error, [b"OK", []])

    answers = await add(redis, [plain(), plain(), plain(result_ttl=5)])

    assert answers == [error, error, ADDED]


async def test_who_has_an_answer_keeps_it() -> None:
    """Redis goes away before those that are known were asked for again: only they hear of it."""
    redis = Redis([b"OK", [1]])
    redis.away_from = 1

    answers = await add(redis, [plain(), plain(), plain()])

    assert answers[::2] == [ADDED, ADDED]
    assert isinstance(answers[1], BackendUnavailable)


async def test_nobody_waits_twice_as_long_as_he_would() -> None:
    """The second pipeline has what the first has left."""
    redis = Redis([b"OK", [0]], ADDED)
    redis.takes_s = 0.1

    await Adding(command, redis.send).send([Addition(plain())], 5.0)

    first, second = redis.patience
    assert first == 5.0
    assert second is not None
    assert second < 4.95
