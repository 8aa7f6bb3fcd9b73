"""What follows when the end of a job has been written: webhooks, and the failure callback of a job that died with its worker."""

from __future__ import annotations

import asyncio
import contextvars
import logging

from aiorq2.allowlist import AllowList
from aiorq2.backends import inspect
from aiorq2.backends.base import Claim
from aiorq2.backends.redis import RedisBackend
from aiorq2.callbacks import Callbacks
from aiorq2.errors import AbandonedJobError
from aiorq2.job import Job, current_job
from aiorq2.outcome import Failed, Finished, Outcome
from aiorq2.serializers import Serializer
from aiorq2.states import JobStatus
from aiorq2.webhooks import End, Webhooks

log = logging.getLogger("aiorq2.worker")


class Aftermath:
    """Does what the end of a job entails, beside the worker's loop; nothing that goes wrong here has an effect on a job."""

    def __init__(
        self,
        backend: RedisBackend,
        serializer: Serializer,
        allow: AllowList,
        job_class: type[Job] = Job,
    ) -> None:
        self._backend = backend
        self._serializer = serializer
        self._job_class = job_class
        self._callbacks = Callbacks(backend, allow)
        self._webhooks = Webhooks()
        self._tasks: set[asyncio.Task[None]] = set()

    def settled(self, claim: Claim, outcome: Outcome) -> None:
        """Take note that the outcome of a run has been written."""
        if "webhooks" not in claim.record.fields:
            return
        match outcome:
            case Finished(ended_at=ended_at):
                self._webhooks.send(End(claim.record, "finished", ended_at))
            case Failed(ended_at=ended_at, exc_info=exc_info, is_exhausted=is_exhausted):
                exc_info = "" if is_exhausted else exc_info  # as in RQ
                self._webhooks.send(End(claim.record, "failed", ended_at, exc_info))

    def abandoned(self, job_id: str) -> None:
        """Take note that a job has failed since its worker died."""
        task = asyncio.get_running_loop().create_task(
            self._abandoned(job_id), context=contextvars.Context()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, within: float) -> None:
        """Give up the callbacks, and wait so many seconds for the webhooks."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._webhooks.close(within)

    async def _abandoned(self, job_id: str) -> None:
        (record,) = await inspect.records(self._backend, [job_id])
        if record is None or record.status is not JobStatus.FAILED:
            return
        error = AbandonedJobError(f"job {job_id!r}: the worker that ran it died")
        text = f"{type(error).__name__}: {error}"
        self._webhooks.send(End(record, "failed", self._backend.time(), text))
        job = self._job_class(record, self._backend, self._serializer)
        current_job.set(job)
        try:
            await self._callbacks.call("failure", job, type(error), error, None)
        except Exception:
            log.exception("job %s: its callback raised", job_id)
