"""The runs of one worker: begun, told to end, written off, and how each of them ended."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable, Container, Sequence
from typing import Any

from aiorq2.backends.base import Claim, Extended, Seat, Tally
from aiorq2.callables import is_coroutine_callable
from aiorq2.executor import Executor
from aiorq2.failure import failure_of
from aiorq2.job import current_job
from aiorq2.outcome import Failed, Finished, GivenBack, Outcome, Retried, Stopped
from aiorq2.run import Reason, Run

log = logging.getLogger("aiorq2.worker")

ExceptionHandler = Callable[..., Any]

CANCEL_GRACE_S = 2.0
"""How long a job that was told to end may take; after that its slot is written off."""
HANDLER_LIMIT_S = 60.0
"""How long an exception handler may take."""


class Runs:
    """What one worker has claimed and not yet settled.

    A run takes a slot until its coroutine or thread has really ended, and its lease is kept until its outcome is settled: the two
    are counted apart (``running`` and ``leases``).

    Args:
        stir: set when there is something to settle or to give back, and when a slot is free.
        on_free: called when a slot is free.
        on_settled: called when an outcome is written.
        time: tells the present, in seconds since the epoch.
    """

    def __init__(
        self,
        seat: Seat,
        executor: Executor,
        handlers: Sequence[ExceptionHandler],
        *,
        stir: asyncio.Event,
        on_free: Callable[[], None],
        on_settled: Callable[[Claim, Outcome], None],
        time: Callable[[], float],
    ) -> None:
        self._seat = seat
        self._executor = executor
        self._handlers = handlers
        self._stir = stir
        self._on_free = on_free
        self._on_settled = on_settled
        self._time = time
        self._loop = asyncio.get_running_loop()
        self.running: dict[str, Run] = {}
        """What takes a slot, by execution."""
        self.ended: list[tuple[Claim, Outcome]] = []
        """What is to be settled."""
        self.strays: dict[str, str] = {}
        """What stands under the worker's name and is not here: executions, with their jobs."""
        self.has_run_jobs = False
        self.idle_since = self._loop.time()
        """When something ended the last time."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leases: dict[str, Claim] = {}
        self._suspects: dict[str, str] = {}
        self._handling = 0
        self._successes = self._failures = 0
        self._working_time_s = 0.0

    # -- what others may know ----------------------------------------------------------------------------------------------

    @property
    def unsettled(self) -> int:
        """How many leases are held."""
        return len(self._leases)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs (but what was written off) and nothing is to be settled or handled."""
        return not self._leases and not self.ended and not self._handling

    @property
    def slots_lost(self) -> int:
        """How many slots are taken by jobs that were told to end and go on."""
        return sum(run.is_settled for run in self.running.values()) - self._handling

    def tally(self, is_suspended: bool) -> Tally:
        """Return the counters, as RQ's worker hash has them."""
        return Tally(is_suspended, self._successes, self._failures, self._working_time_s)

    def leases(self) -> list[Claim]:
        """Return the runs whose leases are to be kept; called from the heartbeat's thread."""
        return list(self._leases.values())

    # -- being told --------------------------------------------------------------------------------------------------------

    def interrupt_all(self, reason: Reason) -> None:
        """Tell everything that runs to end."""
        for run in list(self.running.values()):
            run.interrupt(reason)

    def stop_job(self, job_id: str) -> None:
        """Tell the runs of a job to end."""
        for run in list(self.running.values()):
            if run.claim.job_id == job_id:
                run.interrupt(Reason.STOP)

    def stop_execution(self, execution_id: str) -> None:
        """Tell one run to end."""
        if execution_id in self.running:
            self.running[execution_id].interrupt(Reason.STOP)

    def on_extended(self, extended: Extended) -> None:
        """Act on what a heartbeat brought back."""
        for execution_id in extended.lost:
            if execution_id in self.running:
                self.running[execution_id].interrupt(Reason.LEASE_LOST)
        for execution_id in extended.stopping:
            self.stop_execution(execution_id)
        unknown = {
            one: job_id for one, job_id in extended.standing.items() if one not in self._leases
        }
        # Unknown twice in a row: a heartbeat's news may be older than what has just begun or ended here.
        strays = {one: job_id for one, job_id in unknown.items() if one in self._suspects}
        self._suspects = unknown
        if strays:
            self.strays = strays
            self._stir.set()

    def on_cut_off(self) -> None:
        """Redis was out of reach for a whole lease: others may have taken over everything that runs here."""
        if any(not (run.is_interrupted or run.has_ended) for run in self.running.values()):
            log.error(
                "worker %s: Redis was out of reach for a whole lease; its %d jobs are cancelled",
                self._seat.worker,
                len(self.running),
            )
        self.interrupt_all(Reason.LEASE_LOST)

    def abandon_all(self) -> None:
        """Write off what was told to end and has not: the worker is about to go. Whose code has ended is settled as it did."""
        for run in list(self.running.values()):
            if run.has_ended:
                run.interrupt(Reason.SHUTDOWN)  # its callbacks, that began since all were told
            elif run.is_interrupted:
                self._abandon(run)

    # -- claimed and settled -----------------------------------------------------------------------------------------------

    def begin(self, claim: Claim, kept_until: Callable[[], float]) -> None:
        """Run a job, in a task of its own; ``kept_until`` returns until when its lease is ours (monotonic seconds)."""
        run = Run(claim, kept_until)
        run.on_interrupt = self._allow_for_end
        self.has_run_jobs = True
        self._leases[claim.execution_id] = claim
        self.running[claim.execution_id] = run
        run.task = self._loop.create_task(self._perform(run), context=contextvars.Context())
        self._tasks[claim.execution_id] = run.task

    def decline(self, claims: Sequence[Claim]) -> None:
        """Give back what was claimed and is not begun; the last one first, since each goes to the front."""
        for claim in reversed(claims):
            self._leases[claim.execution_id] = claim
            self.ended.append((claim, GivenBack(self._time())))

    def take_ended(self, most: int) -> list[tuple[Claim, Outcome]]:
        """Return what is to be settled, so many at the most; it is the caller's from now on."""
        batch, self.ended = self.ended[:most], self.ended[most:]
        return batch

    def settled(self, batch: Sequence[tuple[Claim, Outcome]], refused: Container[str]) -> None:
        """Let go of what was settled; ``refused`` are the executions whose outcome was not accepted."""
        for claim, outcome in batch:
            self._leases.pop(claim.execution_id, None)
            if claim.execution_id not in refused:
                self._tell_settled(claim, outcome)

    def _tell_settled(self, claim: Claim, outcome: Outcome) -> None:
        try:
            self._on_settled(claim, outcome)
        except Exception:  # what one job holds is no matter of the others'
            log.exception("job %s: what follows from its end failed", claim.job_id)

    def take_strays(self) -> list[tuple[str, str]]:
        """Return what is to be given back, as jobs with their executions; it is the caller's from now on."""
        strays, self.strays = self.strays, {}
        return [
            (job_id, one)
            for one, job_id in strays.items()
            if one not in self._leases and one not in self.running
        ]

    async def close(self) -> int:
        """End what is left, and return how many runs cannot be ended: their threads and coroutines outlive the worker."""
        self.interrupt_all(Reason.SHUTDOWN)  # nobody has, where the worker has failed
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=0.2)
        stuck = {id: run for id, run in self.running.items() if run.is_in_thread}
        for task in self._tasks.values():
            task.cancel()  # ends the wait for a thread, but not the thread
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=0.2)
        for run in (stuck | self.running).values():
            log.error("job %s: it does not end", run.claim.job_id)
        return len(stuck | self.running)

    # -- one run -----------------------------------------------------------------------------------------------------------

    async def _perform(self, run: Run) -> None:
        execution_id = run.claim.execution_id
        try:
            outcome = await self._executor.run(run)
            self._emit(run, outcome)
            if run.error is not None and self._handlers:
                await self._handle(run, run.error)
        except BaseException as error:
            log.exception("job %s: the worker failed to run it", run.claim.job_id)
            failure = failure_of(error)
            self._emit(run, Failed(self._time(), failure.error, failure.exc_info))
        finally:
            self.running.pop(execution_id, None)
            self._tasks.pop(execution_id, None)
            self._stir.set()
            self._on_free()

    def _allow_for_end(self, run: Run) -> None:
        self._loop.call_later(CANCEL_GRACE_S, self._abandon, run)

    def _abandon(self, run: Run) -> None:
        if not run.is_settled and not run.has_ended:
            log.error(
                "job %s: it was told to end and goes on; its slot is lost until it does",
                run.claim.job_id,
            )
            self._emit(run, self._executor.abandoned(run))

    def _emit(self, run: Run, outcome: Outcome) -> None:
        """Hand over how a run ended; only the first word counts."""
        if run.is_settled:
            return
        run.is_settled = True
        self.ended.append((run.claim, outcome))
        self.idle_since = self._loop.time()
        took = self.idle_since - run.started_at
        self._working_time_s += took
        match outcome:
            case Finished():
                self._successes += 1
                log.info("job %s: finished in %.3f s", run.claim.job_id, took)
            case GivenBack():
                log.info(
                    "job %s: given back after %.3f s (%s)",
                    run.claim.job_id,
                    took,
                    run.reason and run.reason.value,
                )
            case Stopped():
                self._failures += 1
                log.info("job %s: stopped after %.3f s", run.claim.job_id, took)
            case Retried(error=error, delay=delay):
                self._failures += 1
                log.warning(
                    "job %s: %s after %.3f s; again in %.1f s", run.claim.job_id, error, took, delay
                )
            case Failed(error=error):
                self._failures += 1
                log.error("job %s: failed with %s after %.3f s", run.claim.job_id, error, took)
        self._stir.set()

    async def _handle(self, run: Run, error: BaseException) -> None:
        self._handling += 1
        try:
            for handler in self._handlers:
                if not await self._is_passed_on(handler, run.claim.job_id, error):
                    break
        finally:
            self._handling -= 1

    async def _is_passed_on(
        self, handler: ExceptionHandler, job_id: str, error: BaseException
    ) -> bool:
        """Call an exception handler, and return whether the next one is to be called."""
        arguments = (current_job.get(), type(error), error, error.__traceback__)
        try:
            async with asyncio.timeout(HANDLER_LIMIT_S):
                if is_coroutine_callable(handler):
                    answer = await handler(*arguments)
                else:
                    answer = await asyncio.to_thread(handler, *arguments)
                    answer = await answer if inspect.isawaitable(answer) else answer
        except Exception:
            log.exception("job %s: an exception handler raised", job_id)
            return True
        return answer is None or bool(answer)
