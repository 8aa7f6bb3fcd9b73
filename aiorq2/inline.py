"""Run a job at once, for the one who enqueues it (``is_async=False``): the same scripts, executor and results."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

from aiorq2.allowlist import AllowList
from aiorq2.backends.base import Claim, ClaimRequest, JobRecord, Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.executor import Executor, JobContext
from aiorq2.job import Job
from aiorq2.options import JobSpec
from aiorq2.outcome import Outcome, Retried
from aiorq2.run import Reason, Run
from aiorq2.serializers import Serializer

LEASE_MARGIN_S = 60
"""How much longer than its timeout the lease of an inline run is; it has no heartbeat (RQ's SimpleWorker does the same)."""
FOREVER_S = 86_400
STOP_S = 2.5
"""How long a caller who is cancelled waits for the job to end."""


async def run_inline(
    backend: RedisBackend,
    spec: JobSpec,
    serializer: Serializer,
    job_class: type[Job] = Job,
    job_context: JobContext | None = None,
) -> None:
    """Add a job and run it here, in a task of its own, so that a timeout or the end of the job is not one of the caller's.

    The job sees the caller's context. Retries follow at once, without their delay. Cancelling the caller stops the job. While
    workers are suspended the job waits in its queue, as every job does.

    Redis: 1 call to add it, 1 to start it, 1 to settle it.
    """
    inline = _Inline(
        backend,
        spec,
        Executor(
            backend,
            serializer,
            AllowList(trust_all=True),
            job_class=job_class,
            job_context=job_context,
        ),
    )
    performing = asyncio.create_task(inline.perform())
    try:
        await asyncio.shield(performing)
    except asyncio.CancelledError:
        inline.stop()
        await asyncio.wait({performing}, timeout=STOP_S)
        raise


class _Inline:
    def __init__(self, backend: RedisBackend, spec: JobSpec, executor: Executor) -> None:
        self._backend = backend
        self._spec = spec
        self._executor = executor
        self._run: Run | None = None
        self._is_stopped = False

    def stop(self) -> None:
        self._is_stopped = True
        if self._run is not None:
            self._run.interrupt(Reason.STOP)

    async def perform(self) -> None:
        token = uuid4().hex
        timeout = self._spec.timeout if self._spec.timeout > 0 else FOREVER_S
        seat = Seat(f"inline-{token}", token, lease=timeout + LEASE_MARGIN_S)
        await self._backend.add([replace(self._spec, lane=seat.worker)])
        claimed = await self._backend.claim(seat, ClaimRequest(1, (seat.worker,), promote=0))
        for claim in claimed.claims:
            await self._backend.settle(seat, [(claim, await self._run_out(claim))])
        if not claimed.claims:
            await self._leave_it_to_workers(seat.worker)

    async def _run_out(self, claim: Claim) -> Outcome:
        while True:
            self._run = Run(claim)
            if self._is_stopped:
                self._run.interrupt(Reason.STOP)
            outcome = await self._executor.run(self._run)
            if not isinstance(outcome, Retried):
                return outcome
            claim = replace(claim, record=_after(claim.record, outcome))

    async def _leave_it_to_workers(self, lane: str) -> None:
        """Workers are suspended, or the connection broke and the job may be back in its queue already."""
        keys, queue = self._backend.keys, self._spec.origin
        await self._backend.run(
            ["RPOPLPUSH", keys.queue(lane), keys.queue(queue)],
            ["DEL", keys.wake(lane)],
            ["ZADD", keys.wake(queue), 0, "1"],
        )


def _after(record: JobRecord, retried: Retried) -> JobRecord:
    """Return the record as a retry leaves it."""
    left = {"retries_left": retried.retries_left, "number_of_retries": retried.number_of_retries}
    told = {name: str(value).encode() for name, value in left.items() if value is not None}
    return JobRecord(record.id, {**record.fields, **told})
