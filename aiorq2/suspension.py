"""Tell all workers to start no job, and to go on. The module and the functions have RQ's names."""

from __future__ import annotations

from aiorq2.backends import inspect
from aiorq2.backends.kept import Source, backend_of
from aiorq2.timing import Duration, seconds


async def is_suspended(backend: Source | None = None, *, connection: Source | None = None) -> bool:
    """Return whether workers have been told to start no job. Redis: 1 call."""
    return await inspect.is_suspended(backend_of(backend, connection))


async def suspend(
    backend: Source | None = None, ttl: Duration | None = None, *, connection: Source | None = None
) -> None:
    """Have workers, rq's too, start no job until ``resume`` is called; jobs that run go on.

    Args:
        backend: or RQ's ``connection``, here and below: where workers are; default ``connect()``.
        ttl: seconds (or a duration, at least one second) after which workers go on by themselves; None for never.

    Raises:
        InvalidOption: a ``ttl`` that cannot be meant.

    Redis: 1 call.
    """
    lifetime: list[str | int] = (
        [] if ttl is None else ["EX", round(seconds(ttl, name="ttl", minimum=1))]
    )
    found = backend_of(backend, connection)
    await found.run(["SET", found.keys.suspended(), 1, *lifetime])


async def resume(backend: Source | None = None, *, connection: Source | None = None) -> bool:
    """Let workers start jobs again. Returns whether they were suspended. Redis: 1 call."""
    found = backend_of(backend, connection)
    return bool((await found.run(["DEL", found.keys.suspended()]))[0])
