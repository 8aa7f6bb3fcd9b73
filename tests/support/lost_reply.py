"""Have a script run and its reply be lost, without a network: for any backend, in memory too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from aiorq2.backends.line import Command, Line


@contextmanager
def lose_next_reply() -> Iterator[list[bool]]:
    """Lose the replies to the next pipeline of scripts that is sent inside; what is yielded is not empty once that has happened."""
    happened: list[bool] = []
    run = Line.run

    async def run_and_lose(line: Line, commands: Sequence[Command], **limits: Any) -> list[Any]:
        replies = await run(line, commands, **limits)
        is_missing = any(isinstance(one, Exception) for one in replies)  # scripts are being loaded
        if happened or commands[0][0] != "EVALSHA" or is_missing:
            return replies
        happened.append(True)
        raise RedisConnectionError("the reply was lost")

    Line.run = run_and_lose  # type: ignore[assignment, method-assign]
    try:
        yield happened
    finally:
        Line.run = run  # type: ignore[method-assign]
