"""Jobs by the thousand: requeue, delete or cancel those that match, a bounded step at a time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from aiorq2.backends import inspect, wire
from aiorq2.backends.base import JobRecord
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import AiorqError, BackendError, InvalidOption
from aiorq2.options import as_names
from aiorq2.payloads import function_name
from aiorq2.states import JobStatus
from aiorq2.timing import Duration, seconds

AT_ONCE = 100
"""About how many jobs one step looks at."""

_STATUSES: Mapping[str, Sequence[JobStatus]] = {
    "failed": (JobStatus.FAILED, JobStatus.STOPPED),
    "finished": (JobStatus.FINISHED,),
    "canceled": (JobStatus.CANCELED,),
    "scheduled": (JobStatus.SCHEDULED,),
    "deferred": (JobStatus.DEFERRED,),
    "queued": (JobStatus.QUEUED,),
}
_CLASS = re.compile(r"([A-Za-z_][\w.]*)(?::|$)")

Act = Callable[[str], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is. ``seen`` of about ``total`` jobs were looked at, ``gone`` of them are not there any more, ``matched`` fit,
    ``done`` were changed; the others of those were ``refused``, since somebody else was faster."""

    total: int
    seen: int = 0
    gone: int = 0
    matched: int = 0
    done: int = 0
    refused: int = 0
    job_ids: tuple[str, ...] = ()
    """Those that this step has changed, or would have changed."""


class Selection:
    """The jobs of some queues that match; what they match is looked at when it is their turn.

    Args:
        queues: their queues; default all.
        among: ``"failed"`` (and stopped), ``"finished"``, ``"canceled"``, ``"scheduled"``, ``"deferred"`` or ``"queued"``.
        func: the dotted name of the function, or a pattern with ``*``.
        error: the class of the exception, with its module or without it, or a pattern; of failed jobs only.
        older_than: seconds (or a duration) that must have passed since it ended, or, if it has not, since it was enqueued.

    Jobs that end while a change is under way are left alone, so that one that fails again is not requeued again.

    >>> timeouts = Selection(backend, ["mail"], error="TimeoutError", older_than="1h")
    >>> async for step in timeouts.requeue():
    ...     print(f"{step.done} of {step.total}")
    """

    def __init__(
        self,
        backend: RedisBackend,
        queues: str | Iterable[str] | None = None,
        *,
        among: str = "failed",
        func: str | None = None,
        error: str | None = None,
        older_than: Duration | None = None,
    ) -> None:
        if among not in _STATUSES:
            raise InvalidOption(f"among={among!r}: one of {', '.join(_STATUSES)} is needed")
        if error is not None and among != "failed":
            raise InvalidOption("error: only failed jobs have one")
        self._backend = backend
        self._queues = None if queues is None else as_names(queues, "queue")
        self._among = among
        self._func = func
        self._error = error
        self._age_s = 0 if older_than is None else seconds(older_than, name="older_than")

    def requeue(self, *, at_front: bool = False, dry_run: bool = False) -> AsyncIterator[Step]:
        """Put them back into their queues. Yields after each step; ``dry_run`` changes nothing.

        Redis: 2 pipelines per step of about 100 jobs, 3 where the error matters.
        """
        backend, statuses = self._backend, _STATUSES[self._among]
        return self._apply(
            lambda one: backend.requeue(one, at_front=at_front, among=statuses), dry_run
        )

    def delete(self, *, dry_run: bool = False) -> AsyncIterator[Step]:
        """Delete them, with their results; as ``requeue``."""
        backend, statuses = self._backend, _STATUSES[self._among]
        return self._apply(lambda one: backend.delete(one, among=statuses), dry_run)

    def cancel(
        self, *, enqueue_dependents: bool = False, dry_run: bool = False
    ) -> AsyncIterator[Step]:
        """Cancel them; as ``requeue``.

        Raises:
            InvalidOption: they have ended.
        """
        if self._among not in ("queued", "scheduled", "deferred"):
            raise InvalidOption(f"cancel: {self._among} jobs have ended")
        backend = self._backend
        return self._apply(
            lambda one: backend.cancel(one, enqueue_dependents=enqueue_dependents), dry_run
        )

    async def total(self) -> int:
        """Return how many there are to look at. Redis: 1 pipeline."""
        counts = await inspect.queue_counts(self._backend, await self._names())
        return sum(getattr(one, self._among) for one in counts)

    # -- one step after another ------------------------------------------------------------------------------------------

    async def _apply(self, act: Act, dry_run: bool) -> AsyncIterator[Step]:
        before = self._backend.time()
        step = Step(await self.total())
        for queue in await self._names():
            async for ids in self._pages(queue):
                records = await inspect.records(self._backend, ids)
                matching = await self._matching(records, before - self._age_s)
                done, refused = (
                    (0, 0) if dry_run else await _done(act(job_id) for job_id in matching)
                )
                step = Step(
                    max(step.total, step.seen + len(ids)),
                    step.seen + len(ids),
                    step.gone + records.count(None),
                    step.matched + len(matching),
                    step.done + done,
                    step.refused + refused,
                    tuple(matching),
                )
                yield step

    async def _names(self) -> Sequence[str]:
        if self._queues is not None:
            return self._queues
        return await inspect.queue_names(self._backend)

    async def _pages(self, queue: str) -> AsyncIterator[list[str]]:
        """Yield the ids in a registry, or in the queue; they may leave it meanwhile."""
        if self._among == "queued":
            waiting = await inspect.queued_ids(self._backend, queue)
            for start in range(0, len(waiting), AT_ONCE):
                yield waiting[start : start + AT_ONCE]
            return
        cursor = -1
        while cursor:
            cursor, found = await inspect.registry_scan(
                self._backend, self._among, queue, max(cursor, 0), AT_ONCE
            )
            ids = list(dict.fromkeys(found))
            for start in range(0, len(ids), AT_ONCE):
                yield ids[start : start + AT_ONCE]

    async def _matching(self, records: Sequence[JobRecord | None], before: float) -> list[str]:
        fitting = [one for one in records if one is not None and self._fits(one, before)]
        if self._error is None:
            return [one.id for one in fitting]
        entries = await inspect.latest_entries(self._backend, [one.id for one in fitting])
        return [job_id for job_id, (_, entry) in entries.items() if self._is_error(entry)]

    def _fits(self, record: JobRecord, before: float) -> bool:
        if record.status not in _STATUSES[self._among]:
            return False
        since = record.time("ended_at") or record.time("enqueued_at") or record.time("created_at")
        if since is not None and since.timestamp() > before:
            return False
        return self._func is None or fnmatchcase(_function_of(record), self._func)

    def _is_error(self, entry: Mapping[str, bytes]) -> bool:
        name = error_of(entry)
        bare = name.rpartition(".")[2]
        return fnmatchcase(name, self._error or "*") or fnmatchcase(bare, self._error or "*")


def error_of(entry: Mapping[str, bytes]) -> str:
    """Return the class of the exception that a result entry tells of; without its module where rq's worker wrote it."""
    told = entry.get("aio_error")
    if told:
        return told.decode("utf-8", "replace")
    lines = wire.unpack_text(entry.get("exc_string", b"")).splitlines()
    names = (_CLASS.match(line) for line in reversed(lines))
    return next((name[1] for name in names if name is not None), "")


def _function_of(record: JobRecord) -> str:
    name = function_name(record.fields.get("data", b""))
    return name if name is not None else (record.text("description") or "").partition("(")[0]


async def _done(acts: Iterable[Awaitable[object]]) -> tuple[int, int]:
    """Carry out the acts in one pipeline; returns how many were, and how many were refused."""
    outcomes: list[Any] = await asyncio.gather(*acts, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not _is_refusal(outcome):
            raise outcome
    refused = sum(isinstance(outcome, AiorqError) for outcome in outcomes)
    return len(outcomes) - refused, refused


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, AiorqError) and not isinstance(error, BackendError)
