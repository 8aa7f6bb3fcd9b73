"""Tell all workers to start no job, and to go on. The module and the functions have RQ's names."""

from __future__ import annotations

from aiorq2.backends.inspect import is_suspended
from aiorq2.backends.redis import RedisBackend
from aiorq2.timing import Duration, seconds

__all__ = ["is_suspended", "resume", "suspend"]


async def suspend(backend: RedisBackend, ttl: Duration | None = None) -> None:
    """Have workers, rq's too, start no job until ``resume`` is called; jobs that run go on.

    Args:
        ttl: seconds (or a duration, at least one second) after which workers go on by themselves; None for never.

    Raises:
        InvalidOption: a ``ttl`` that cannot be meant.

    Redis: 1 call.
    """
    lifetime: list[str | int] = (
        [] if ttl is None else ["EX", round(seconds(ttl, name="ttl", minimum=1))]
    )
    await backend.run(["SET", backend.keys.suspended(), 1, *lifetime])


async def resume(backend: RedisBackend) -> bool:
    """Let workers start jobs again. Returns whether they were suspended. Redis: 1 call."""
    return bool((await backend.run(["DEL", backend.keys.suspended()]))[0])
