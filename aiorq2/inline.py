"""Run a job at once, in the task that enqueues it (``is_async=False``): the same scripts, executor and results."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from aiorq2.allowlist import AllowList
from aiorq2.backends.base import Claim, ClaimRequest, JobRecord, Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.executor import Executor
from aiorq2.options import JobSpec
from aiorq2.outcome import Outcome, Retried
from aiorq2.run import Run
from aiorq2.serializers import Serializer

LEASE_MARGIN_S = 60
"""How much longer than its timeout the lease of an inline run is; it has no heartbeat (RQ's SimpleWorker does the same)."""
FOREVER_S = 86_400


async def run_inline(backend: RedisBackend, spec: JobSpec, serializer: Serializer) -> None:
    """Add a job and run it here. Retries follow at once, without their delay.

    Redis: 1 pipeline to add and start it, 1 call to settle it.
    """
    token = uuid4().hex
    timeout = spec.timeout if spec.timeout > 0 else FOREVER_S
    seat = Seat(f"inline-{token}", token, lease=timeout + LEASE_MARGIN_S)
    lane = f"inline-{token}"
    await backend.add([replace(spec, lane=lane)])
    claimed = await backend.claim(seat, ClaimRequest(1, (lane,), promote=0))
    for claim in claimed.claims:
        outcome = await _run_out(Executor(backend, serializer, AllowList(trust_all=True)), claim)
        await backend.settle(seat, [(claim, outcome)])


async def _run_out(executor: Executor, claim: Claim) -> Outcome:
    while True:
        run = Run(claim)
        outcome = await executor.run(run)
        if not isinstance(outcome, Retried):
            return outcome
        claim = replace(claim, record=_after(claim.record, outcome))


def _after(record: JobRecord, retried: Retried) -> JobRecord:
    """Return the record as a retry leaves it."""
    left = {"retries_left": retried.retries_left, "number_of_retries": retried.number_of_retries}
    told = {name: str(value).encode() for name, value in left.items() if value is not None}
    return JobRecord(record.id, {**record.fields, **told})
