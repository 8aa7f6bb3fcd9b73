"""Jobs and those that wait for them, however deep and wide."""

from __future__ import annotations

import asyncio

from aiorq2.backends import inspect
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import AiorqError, InvalidJobOperation, NoSuchJobError

AT_ONCE = 100
"""How many jobs one pipeline deletes."""


async def descendants(backend: RedisBackend, job_id: str) -> list[str]:
    """Return the ids of all that wait for a job, for those, and so on; each once, and after one that it waits for.

    Redis: 1 pipeline per generation and 500 jobs.
    """
    found: dict[str, None] = {job_id: None}
    generation = [job_id]
    while generation:
        waiting = await inspect.dependent_ids(backend, generation)
        generation = [one for one in dict.fromkeys(waiting) if one not in found]
        found.update(dict.fromkeys(generation))
    return list(found)[1:]


async def delete_dependents(backend: RedisBackend, job_id: str) -> None:
    """Delete all that wait for a job, the last ones first; one of them that runs is left alone."""
    ids = await descendants(backend, job_id)
    for end in range(len(ids), 0, -AT_ONCE):
        chunk = ids[max(end - AT_ONCE, 0) : end]
        outcomes = await asyncio.gather(
            *(backend.delete(one) for one in reversed(chunk)), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not _is_fine(outcome):
                raise outcome
        deleted = [
            one
            for one, outcome in zip(reversed(chunk), outcomes, strict=True)
            if not isinstance(outcome, InvalidJobOperation)
        ]
        await backend.run(["SREM", backend.keys.dependents(job_id), "", *deleted])


def _is_fine(error: BaseException) -> bool:
    return isinstance(error, AiorqError) and isinstance(error, NoSuchJobError | InvalidJobOperation)
