"""A worker may die at any call to Redis that it awaits: before Redis has seen it, or when it is done and the reply on its way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import settings
from tests.faults.checker import violations
from tests.faults.every_call import Life, Point, points_of
from tests.faults.figures import Report
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow

AT_ONCE = 3
SMALL = 10


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis for many lives."""
    with RedisServer(appendonly="always") as server:
        yield server


@pytest.mark.timeout(1800)
async def test_kill_at_every_call(server: RedisServer, tmp_path: Path, report: Report) -> None:
    """One life is watched; then, at every kind of call that was seen, a worker is killed, and another one goes on. Nothing is lost,
    no job is run again that was not running, no tick comes twice or not at all."""
    watched = Life(server, tmp_path / "watched", "watched")
    assert violations(await watched.go_through(None)) == []
    points = points_of(watched.recorded)
    chosen = points
    if not settings.IS_FULL:
        chosen = random.Random(settings.FIRST_SEED).sample(points, SMALL)
    turns = asyncio.Semaphore(AT_ONCE)
    missed: list[Point] = []
    found: list[str] = []

    async def die_at(number: int, point: Point) -> None:
        async with turns:
            for attempt in "abcd":
                name = f"{number}{attempt}"
                server.command("SCRIPT", "FLUSH")
                life = Life(server, tmp_path / name, name)
                wrong = violations(await life.go_through(point))
                found.extend(f"{point}: {one}" for one in wrong)
                if life.was_reached:
                    return
            missed.append(point)

    async with asyncio.TaskGroup() as group:
        for number, point in enumerate(chosen):
            group.create_task(die_at(number, point))

    kinds = {point.kind for point in points}
    text = f"{len(points)} points at {len(kinds)} kinds of calls; {len(chosen) - len(missed)} of {len(chosen)} tried and survived"
    report(text + (f"; not met again: {', '.join(map(str, missed))}" if missed else ""))
    report.figure("points", text)
    assert found == []
    assert len(missed) <= len(chosen) / 4
