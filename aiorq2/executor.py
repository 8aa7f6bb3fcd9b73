"""Run one claim and say how it ended. No Redis in here."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import math
import pickle
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from typing import Any, TypeVar

import anyio
import anyio.from_thread
import anyio.to_process
import anyio.to_thread

from aiorq2 import bridge
from aiorq2.allowlist import AllowList
from aiorq2.backends.base import Claim, JobRecord
from aiorq2.backends.redis import RedisBackend
from aiorq2.callables import is_coroutine_callable
from aiorq2.callbacks import Callbacks
from aiorq2.errors import (
    AbandonedJobError,
    DeserializationError,
    FunctionNotAllowed,
    JobFailed,
    JobTimeoutException,
    PayloadTooLarge,
    ResultNotSerializable,
    ResultTooLarge,
    SerializationError,
    UncancellableJobError,
    UnknownFunction,
)
from aiorq2.failure import Failure, failure_of
from aiorq2.job import Job, current_job
from aiorq2.loops import loop_bridge
from aiorq2.offload import Parcel, run_parcel, warm_up
from aiorq2.options import Offload
from aiorq2.outcome import Failed, Finished, GivenBack, Outcome, Retried, Stopped
from aiorq2.payloads import PAYLOAD_LIMIT, Call, encode_value
from aiorq2.payloads import decode_call as decode
from aiorq2.retrying import Asked, as_asked, next_repeat, retry_after_failure, retry_as_asked
from aiorq2.run import Limits, Reason, Run
from aiorq2.serializers import Serializer
from aiorq2.slots import Slots
from aiorq2.states import JobStatus
from aiorq2.timing import to_iso

log = logging.getLogger("aiorq2.worker")
T = TypeVar("T")

JobContext = Callable[[Job], AbstractAsyncContextManager[object]]
"""Returns what a job's function is called in: a coroutine function in the same task, a plain one in a thread that starts with its
context variables, one in a process not at all. An exception of the job passes through it."""

STOPPED_TEXT = "Job stopped by user, work-horse terminated."
"""RQ's words; its users grep for them."""


class Executor:
    """Runs claims: coroutine functions on the loop, plain ones in threads, either in a process where the job asks for it.

    Args:
        backend: what ``get_current_job()`` hands to jobs; here, only its clock is used.
        serializer: reads payloads and writes results.
        allow: what may run.
        slots: how many threads, and how many processes, run at once.
        offload: what a plain function runs in where the job does not say: a thread or a process.
        result_limit: bytes that a result may take.
        job_class: what ``get_current_job()`` hands to jobs.
        job_context: what each job's function is called in.
    """

    def __init__(
        self,
        backend: RedisBackend,
        serializer: Serializer,
        allow: AllowList,
        *,
        slots: Slots | None = None,
        offload: Offload = "thread",
        result_limit: int = PAYLOAD_LIMIT,
        job_class: type[Job] = Job,
        job_context: JobContext | None = None,
    ) -> None:
        self._backend = backend
        self._serializer = serializer
        self._allow = allow
        self._callbacks = Callbacks(backend, allow)
        self._result_limit = result_limit
        self._job_class = job_class
        self._job_context = job_context
        self._portable_serializer = serializer if _is_portable(serializer) else None
        self._offload = offload.encode()
        slots = slots or Slots(1, 1)
        self._threads, self._processes = slots.threads, slots.processes
        self._limits = Limits()

    async def run(self, run: Run) -> Outcome:
        """Run a claim to its end, whatever that is; raises nothing that user code can cause."""
        claim = run.claim
        record = _as_started(claim)
        job = self._job_class(record, self._backend, self._serializer)
        job.control = run
        current_job.set(job)
        try:
            call = decode(self._serializer, job.data, context=claim.record.context)
            func = self._allow.resolve_allowed(call.func_name, call.instance)
        except (DeserializationError, UnknownFunction, FunctionNotAllowed) as error:
            return self._failed(run, error, may_retry=isinstance(error, UnknownFunction))
        counterpart = bridge.enter(record, self._serializer, self._backend.sync_client)
        job.counterpart = None if record.is_ours else counterpart
        failure: BaseException | None = None
        value: Any = None
        try:
            if self._job_context is None:
                value = await self._invoke(run, func, call)
            else:
                value = await self._invoke_within(self._job_context(job), run, func, call)
        except BaseException as raised:  # noqa: BLE001  the one place where user code may raise anything
            failure = raised
        finally:
            run.end_timer()
        outcome = self._outcome(run, value, failure)
        run.has_ended = True
        if not claim.record.has_callbacks:
            return outcome
        return await self._after(run, job, outcome, value)

    async def _after(self, run: Run, job: Job, outcome: Outcome, value: Any) -> Outcome:
        """Call back, in RQ's order and with RQ's effect: a success whose callback raises is a failure, and a failure's callback
        that raises takes the failure's place. Only then is the outcome written."""
        run.callbacks_cut = cut = asyncio.get_running_loop().create_future()
        if isinstance(outcome, Finished):
            try:
                job.see_status(JobStatus.FINISHED)
                await self._callbacks.call("success", job, value, cut=cut)
            except Exception as error:  # noqa: BLE001  user code
                outcome = self._failed(run, error)
        if isinstance(outcome, Failed | Retried) and run.error is not None:
            try:
                job.see_status(JobStatus.FAILED)
                failure = run.error
                await self._callbacks.call(
                    "failure", job, type(failure), failure, failure.__traceback__, cut=cut
                )
            except Exception as error:  # noqa: BLE001  user code
                outcome = self._failed(run, error)
        if isinstance(outcome, Stopped):
            try:
                job.see_status(JobStatus.STOPPED)
                await self._callbacks.call("stopped", job, cut=cut)
            except Exception:
                log.exception("job %s: its callback raised", job.id)
        return outcome

    def abandoned(self, run: Run) -> Outcome:
        """Return the outcome of a run that was told to end and did not."""
        text = f"{UncancellableJobError.__name__}: told to end ({_why(run)}), the job went on; its slot is lost until it ends"
        if run.reason in (Reason.LEASE_LOST, Reason.SHUTDOWN):
            return GivenBack(self._backend.time())
        if run.reason is Reason.STOP:
            return Stopped(self._backend.time(), f"{STOPPED_TEXT}\n{text}")
        return Failed(
            self._backend.time(),
            f"{UncancellableJobError.__module__}.{UncancellableJobError.__name__}",
            text,
        )

    # -- invoking --------------------------------------------------------------------------------------------------------

    async def _invoke(self, run: Run, func: Callable[..., Any], call: Call) -> Any:
        run.check_beginning()
        offload = run.claim.record.fields.get("aio_offload")
        if offload == b"process":
            return await self._in_process(run, call)
        if is_coroutine_callable(func):
            if offload == b"thread":
                in_thread = functools.partial(run.run_coroutine, func, call, self._backend.close)
                return await self._in_thread(run, in_thread)
            return await self._in_task(run, func(*call.args, **call.kwargs))
        if (offload or self._offload) == b"process":
            return await self._in_process(run, call)
        value = await self._in_thread(run, functools.partial(func, *call.args, **call.kwargs))
        return await self._in_task(run, value) if inspect.isawaitable(value) else value

    async def _invoke_within(
        self,
        context: AbstractAsyncContextManager[object],
        run: Run,
        func: Callable[..., Any],
        call: Call,
    ) -> Any:
        """Invoke it within a context, which an interruption reaches as well."""
        run.in_task()
        value: Any = None
        async with context:
            try:
                value = await self._invoke(run, func, call)
            finally:
                run.in_task()
        return value

    async def _in_task(self, run: Run, awaitable: Any) -> Any:
        run.in_task()
        run.start_timer(self._limits)
        return await awaitable

    async def _in_thread(self, run: Run, func: Callable[[], Any]) -> Any:
        loop_bridge.set(anyio.from_thread.run)
        with anyio.CancelScope() as scope:
            run.in_scope(scope)
            async with self._threads:
                run.start_timer(self._limits)
                value, error = await anyio.to_thread.run_sync(
                    run.call_in_thread, func, limiter=_unlimited()
                )
            if error is not None:
                raise error
            return value
        raise asyncio.CancelledError

    async def _in_process(self, run: Run, call: Call) -> Any:
        claim = run.claim
        parcel = Parcel(
            job_id=claim.job_id,
            fields=_as_started(claim).fields,
            call=call,
            serializer=self._portable_serializer,
            url=self._backend.url,
            key_prefix=self._backend.key_prefix,
            job_class=self._job_class,
        )
        with anyio.CancelScope() as scope:
            run.in_scope(scope)
            async with self._processes:
                # The job's time runs from its start, not from that of a process; anyio forgets one that is cancelled as it starts.
                with anyio.CancelScope(shield=True):
                    await _in_pool(warm_up)
                run.start_timer(self._limits)
                while True:
                    run.check_beginning()
                    begin_by = run.kept_until()
                    back = await _in_pool(run_parcel, replace(parcel, begin_by=begin_by))
                    if not back.is_late:  # else it may be the import that took so long
                        break
            if back.asked is not None:
                return back.asked
            if back.failure is not None:
                raise _FailedElsewhere(back.failure, back.may_retry)
            return pickle.loads(back.value)
        raise asyncio.CancelledError

    # -- judging ---------------------------------------------------------------------------------------------------------

    def _outcome(self, run: Run, value: Any, error: BaseException | None) -> Outcome:
        match run.reason:
            case Reason.TIMEOUT:
                timeout = run.claim.record.real("aio_timeout") or run.claim.record.number("timeout")
                overdue = bridge.also_rqs(JobTimeoutException)(
                    f"Task exceeded maximum timeout value ({timeout} seconds)"
                )
                where = None if error is None else error.__traceback__
                return self._failed(run, overdue.with_traceback(where))
            case Reason.STOP:
                return Stopped(self._backend.time(), STOPPED_TEXT)
            case Reason.LEASE_LOST | Reason.SHUTDOWN if error is not None:
                return GivenBack(self._backend.time())
        if isinstance(error, asyncio.CancelledError) and _is_cancelled_from_outside():
            return GivenBack(self._backend.time())
        asked = as_asked(error if error is not None else value)
        if asked is not None:
            return self._as_asked(run, asked)
        if isinstance(error, _FailedElsewhere):
            failed = JobFailed(run.claim.job_id, error.failure.exc_info)
            return self._failed(run, failed, error.failure, may_retry=error.may_retry)
        if error is not None:
            return self._failed(run, error)
        return self._finished(run, value)

    def _as_asked(self, run: Run, asked: Asked) -> Outcome:
        outcome = retry_as_asked(run.claim, asked, self._backend.time())
        if not outcome.is_known_to_rq:
            return outcome
        with suppress(SerializationError):  # JSON has no word for it
            raw = encode_value(
                self._serializer, asked.given, what="result", context=run.claim.job_id
            )
            return replace(outcome, value=raw)
        return outcome

    def _finished(self, run: Run, value: Any) -> Outcome:
        delay, intervals = next_repeat(run.claim.record)
        if value is None:
            return Finished(self._backend.time(), None, delay, intervals)
        try:
            raw = encode_value(
                self._serializer,
                value,
                what="result",
                limit=self._result_limit,
                context=run.claim.job_id,
            )
        except PayloadTooLarge as error:
            return self._failed(run, ResultTooLarge(str(error)), may_retry=False)
        except SerializationError as error:
            if inspect.iscoroutine(value):
                value.close()  # nobody will await it
            return self._failed(run, ResultNotSerializable(str(error)), may_retry=False)
        return Finished(self._backend.time(), raw, delay, intervals)

    def _failed(
        self,
        run: Run,
        error: BaseException,
        failure: Failure | None = None,
        *,
        may_retry: bool = True,
    ) -> Outcome:
        run.error = error
        failure = failure or failure_of(error)
        retried: Retried | None = (
            retry_after_failure(run.claim, failure, self._backend.time()) if may_retry else None
        )
        return retried or Failed(self._backend.time(), failure.error, failure.exc_info)


class _FailedElsewhere(Exception):
    """A failure that came back from a process."""

    def __init__(self, failure: Failure, may_retry: bool) -> None:
        super().__init__(failure.error)
        self.failure = failure
        self.may_retry = may_retry


async def _in_pool(func: Callable[..., T], *args: Any) -> T:
    """Call ``func`` in a process, which is killed when this is cancelled."""
    try:
        return await anyio.to_process.run_sync(func, *args, cancellable=True, limiter=_unlimited())
    except anyio.BrokenWorkerProcess as error:
        how = str(error) or "it was killed, crashed or called os._exit"
        raise AbandonedJobError(f"Work-horse terminated unexpectedly: {how}") from error


def _is_portable(serializer: Serializer) -> bool:
    try:
        pickle.dumps(serializer)
    except Exception:  # noqa: BLE001  somebody else's object
        return False
    return True


def _as_started(claim: Claim) -> JobRecord:
    """Return the record as the claim has left it: what the job sees of itself."""
    now = {
        "status": b"started",
        "started_at": to_iso(claim.started_at).encode(),
        "ended_at": b"",
        "worker_name": claim.worker.encode(),
        "aio_attempt": b"%d" % claim.attempt,
    }
    return JobRecord(claim.job_id, {**claim.record.fields, **now})


def _unlimited() -> anyio.CapacityLimiter:
    """A limiter that is none: the executor counts for itself, so that a job's time runs from its start, not from its queueing."""
    return anyio.CapacityLimiter(math.inf)


def _why(run: Run) -> str:
    return run.reason.value if run.reason is not None else "unknown"


def _is_cancelled_from_outside() -> bool:
    """Whether somebody else cancels this task (the loop is closing), rather than the job having raised CancelledError itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
