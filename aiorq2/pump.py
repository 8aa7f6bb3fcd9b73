"""The heart of a worker: settle what has ended and claim what fits, in one pipeline, while the next batch gathers."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

from aiorq2.backends.base import Claim, Claimed, ClaimRequest, Extended, Seat, Tally
from aiorq2.backends.redis import RedisBackend
from aiorq2.callables import is_coroutine_callable
from aiorq2.errors import AiorqError, BackendUnavailable
from aiorq2.executor import Executor
from aiorq2.failure import failure_of
from aiorq2.job import current_job
from aiorq2.outcome import Failed, Finished, GivenBack, Outcome, Retried, Stopped
from aiorq2.probation import Probation
from aiorq2.run import Reason, Run
from aiorq2.slots import Slots
from aiorq2.ticking import Ticker

log = logging.getLogger("aiorq2.worker")

Strategy = Literal["default", "round_robin", "random"]
ExceptionHandler = Callable[..., Any]

MAX_BATCH = 256
MAX_TURNS = 2
"""How many pipelines may be in flight: while Redis works on one half of the slots, the loop runs the other."""
CANCEL_GRACE_S = 2.0
"""How long a job that was told to end may take; after that its slot is written off."""
POLL_S = 1.0
"""How soon a job that plain rq has pushed is seen, by the one idle worker that watches the queue."""
SLEEP_S = 0.9
"""How long the other idle workers sleep: with the lease of the watch, how soon one of them takes over from one that was killed."""
BELL_S = 10.0
"""How long one blocking read lasts; looking by the clock goes on meanwhile."""
UNANSWERED_S = 1.0
"""After so long without an answer, the slots of a claim are free for the other shards of the worker."""
HANDLER_LIMIT_S = 60.0
"""How long an exception handler may take."""


@dataclass(frozen=True, slots=True)
class Appetite:
    """What a worker claims, in which order, and when it has had enough."""

    queues: tuple[str, ...]
    concurrency: int
    strategy: Strategy = "default"
    promote: int = 100
    burst: bool = False
    max_jobs: int | None = None
    max_idle_s: float | None = None


class Pump:
    """Claims, starts and settles the jobs of one worker.

    A run takes a slot until its coroutine or thread has really ended, and its lease is kept until its outcome is settled: the two
    are counted apart (``_runs`` and ``_leases``).
    """

    def __init__(
        self,
        backend: RedisBackend,
        seat: Seat,
        executor: Executor,
        handlers: Sequence[ExceptionHandler],
        appetite: Appetite,
        on_settled: Callable[[Claim, Outcome], None] = lambda claim, outcome: None,
        ticker: Ticker | None = None,
        slots: Slots | None = None,
        *,
        max_deaths: int = 3,
    ) -> None:
        self.appetite = appetite
        self._slots = slots or Slots(appetite.concurrency, 1)
        self._slots.join(self)
        self._probation = Probation(max_deaths)
        self._on_settled = on_settled
        self._ticker = ticker
        self.is_stopping = False
        self.has_run_jobs = False
        self._backend = backend
        self._seat = seat
        self._executor = executor
        self._handlers = handlers
        self._loop = asyncio.get_running_loop()
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leases: dict[str, Claim] = {}
        self._ended: list[tuple[Claim, Outcome]] = []
        self._stir = asyncio.Event()
        self._is_hungry = True
        self._has_backlog = False
        self._is_woken = False
        self._bell: asyncio.Task[bool] | None = None
        self._look_at = self._loop.time() + POLL_S
        self._paused_until = 0.0
        self._jobs_left = appetite.max_jobs
        self._turns: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._claiming = 0
        self._claimed_at = 0.0
        self._number = self._unseen = 0
        self._order = list(appetite.queues)
        self._idle_since = self._loop.time()
        self._strays: dict[str, str] = {}
        self._suspects: dict[str, str] = {}
        self._handling = 0
        self._successes = self._failures = 0
        self._working_time_s = 0.0

    # -- what others may know --------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """How many slots are taken."""
        return len(self._runs)

    @property
    def taken(self) -> int:
        """How many slots are taken, or may be by what is being claimed."""
        return len(self._runs) + (0 if self._is_unanswered else self._claiming)

    @property
    def is_hungry(self) -> bool:
        """Whether there may be jobs that could be claimed."""
        return (self._is_hungry or self._is_woken) and not self._is_unanswered

    @property
    def _is_unanswered(self) -> bool:
        """Whether Redis has not answered for so long that others need not wait for what it may give."""
        return self._claiming > 0 and self._loop.time() - self._claimed_at > UNANSWERED_S

    def stir(self) -> None:
        """Look again what there is to do."""
        self._stir.set()

    @property
    def unsettled(self) -> int:
        """How many leases are held."""
        return len(self._leases)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs (but what was written off) and nothing is to be settled or handled."""
        return not self._leases and not self._ended and not self._handling

    @property
    def slots_lost(self) -> int:
        """How many slots are taken by jobs that were told to end and go on."""
        return sum(run.is_settled for run in self._runs.values()) - self._handling

    @property
    def tally(self) -> Tally:
        """The counters, as RQ's worker hash has them."""
        is_suspended = self._paused_until > self._loop.time()
        return Tally(is_suspended, self._successes, self._failures, self._working_time_s)

    def leases(self) -> list[Claim]:
        """Return the runs whose leases are to be kept; called from the heartbeat's thread."""
        return list(self._leases.values())

    # -- being told ------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Claim nothing more; ``run`` returns when what runs has ended."""
        self.is_stopping = True
        self._stir.set()

    def interrupt_all(self, reason: Reason) -> None:
        """Tell everything that runs to end."""
        for run in list(self._runs.values()):
            run.interrupt(reason)

    def stop_job(self, job_id: str) -> None:
        """Tell the runs of a job to end."""
        for run in list(self._runs.values()):
            if run.claim.job_id == job_id:
                run.interrupt(Reason.STOP)

    def stop_execution(self, execution_id: str) -> None:
        """Tell one run to end."""
        if execution_id in self._runs:
            self._runs[execution_id].interrupt(Reason.STOP)

    def on_extended(self, extended: Extended) -> None:
        """Act on what a heartbeat brought back."""
        for execution_id in extended.lost:
            if execution_id in self._runs:
                self._runs[execution_id].interrupt(Reason.LEASE_LOST)
        for execution_id in extended.stopping:
            self.stop_execution(execution_id)
        unknown = {
            one: job_id for one, job_id in extended.standing.items() if one not in self._leases
        }
        # Unknown twice in a row: a heartbeat's news may be older than what has just begun or ended here.
        strays = {one: job_id for one, job_id in unknown.items() if one in self._suspects}
        self._suspects = unknown
        if strays:
            self._strays = strays
            self._stir.set()

    def on_cut_off(self) -> None:
        """Redis was out of reach for a whole lease: others may have taken over everything that runs here."""
        if any(not run.is_interrupted for run in self._runs.values()):
            log.error(
                "worker %s: Redis was out of reach for a whole lease; its %d jobs are cancelled",
                self._seat.worker,
                self.running,
            )
        self.interrupt_all(Reason.LEASE_LOST)

    # -- the loop --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Go on until stopped, or until the appetite is satisfied."""
        try:
            while not await self._is_done():
                if self._failure is not None:
                    raise self._failure
                if self._strays:
                    await self._return_strays()
                wanted = self._wanted()
                if self._may_turn(wanted):
                    self._begin_turn(wanted)
                else:
                    await self._sleep(wanted)
        finally:
            for turn in self._turns:
                turn.cancel()

    async def close(self) -> int:
        """End what is left, and return how many runs cannot be ended: their threads and coroutines outlive the worker."""
        self._slots.leave(self)
        await self._silence_bell()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=0.2)
        stuck = {id: run for id, run in self._runs.items() if run.is_in_thread}
        for task in self._tasks.values():
            task.cancel()  # ends the wait for a thread, but not the thread
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=0.2)
        for run in (stuck | self._runs).values():
            log.error("job %s: it does not end", run.claim.job_id)
        return len(stuck | self._runs)

    async def _is_done(self) -> bool:
        if self._turns or not self.is_idle:
            return False
        if self.is_stopping or self._jobs_left == 0:
            return True
        if self.appetite.burst and not self._is_hungry:
            self._is_hungry = await self._backend.released()  # those that waited may be next
            if self._ticker is not None:
                self._is_hungry |= await self._ticker.has_ticked()
        if self.appetite.burst and (
            not self._is_hungry or self.slots_lost >= self.appetite.concurrency
        ):
            return True
        longest = self.appetite.max_idle_s
        return (
            longest is not None
            and not self._is_hungry
            and self._loop.time() - self._idle_since >= longest
        )

    def _wanted(self) -> int:
        if self.is_stopping or self._paused_until > self._loop.time():
            return 0
        free = self._slots.free_for(self)
        wanted = free if self._jobs_left is None else min(free, self._jobs_left)
        return self._probation.limit(wanted, self._runs, self._is_empty, self._loop.time())

    @property
    def _is_empty(self) -> bool:
        """Whether nothing runs and nothing is being claimed."""
        return not self._runs and not self._claiming

    def _may_turn(self, wanted: int) -> bool:
        """Whether there is something to settle or to claim; beside a turn in flight, only if it is worth a pipeline of its own."""
        if not self._turns:
            return bool(self._ended or self._is_woken or (wanted and self._is_hungry))
        worth = max(len(self._ended), wanted if self._has_backlog else 0)
        is_crowded = self.is_stopping or len(self._turns) >= MAX_TURNS
        return not is_crowded and worth >= max(1, self.appetite.concurrency // 4)

    def _begin_turn(self, wanted: int) -> None:
        """Settle what has ended and claim as much as fits, in a pipeline of its own."""
        batch, self._ended = self._ended[:MAX_BATCH], self._ended[MAX_BATCH:]
        request = None
        self._number += 1
        if self._is_woken or wanted:
            half = -(-self.appetite.concurrency // MAX_TURNS)
            request = self._request(min(wanted, half, MAX_BATCH))
            self._is_woken = False
            self._claiming += request.count
            self._claimed_at = self._loop.time()
            if self._jobs_left is not None:
                self._jobs_left -= request.count
        else:
            self._is_hungry, self._unseen = True, self._number  # what it sets free, no claim sees
        turn = self._loop.create_task(
            self._turn(self._number, batch, request), context=contextvars.Context()
        )
        self._turns.add(turn)
        turn.add_done_callback(self._end_turn)

    def _end_turn(self, turn: asyncio.Task[None]) -> None:
        self._turns.discard(turn)
        self._stir.set()
        self._slots.stir_others(self)
        if not turn.cancelled() and turn.exception() is not None:
            self._failure = turn.exception()

    async def _turn(
        self, number: int, batch: Sequence[tuple[Claim, Outcome]], request: ClaimRequest | None
    ) -> None:
        """Settle and claim once."""
        claimed = await self._backend.settle(self._seat, batch, request)
        refused = {claim.execution_id for claim, _ in claimed.refused}
        for claim, outcome in batch:
            self._leases.pop(claim.execution_id, None)
            if claim.execution_id not in refused:
                self._on_settled(claim, outcome)
        for claim, reply in claimed.refused:
            log.warning("job %s: the outcome of its run was not accepted (%s)", claim.job_id, reply)
        if request is not None:
            self._digest(number, request, claimed)
        if self.is_idle:
            self._idle_since = (
                max(self._idle_since, self._loop.time()) if batch else self._idle_since
            )

    def _request(self, wanted: int) -> ClaimRequest:
        if self.appetite.strategy == "random":
            random.shuffle(self._order)
        share = 0 if self.appetite.strategy == "default" else ceil(wanted / len(self._order))
        return ClaimRequest(
            wanted,
            tuple(self._order),
            share=share,
            promote=self.appetite.promote,
            last_chance=self._probation.last_chance(self._loop.time()),
            is_empty=self._is_empty,
        )

    def _digest(self, number: int, request: ClaimRequest, claimed: Claimed) -> None:
        self._claiming -= request.count
        self._has_backlog = claimed.has_more
        if self.appetite.strategy == "round_robin":
            self._take_turns(claimed.claims)
        self._is_hungry = claimed.has_more or self._unseen > number
        if claimed.has_ticks and self._ticker is not None:
            self._ticker.wake()
        next_look_s = SLEEP_S * random.uniform(0.85, 1)
        if claimed.is_watching:
            due = POLL_S if claimed.next_due_in is None else max(claimed.next_due_in, 0.001)
            next_look_s = min(POLL_S, due)
        if claimed.is_suspended:
            self._is_hungry = False
            next_look_s = POLL_S
            self._paused_until = self._loop.time() + POLL_S
        self._look_at = self._loop.time() + next_look_s
        self._probation.note(request, claimed, self._loop.time())
        begun = () if self.is_stopping else claimed.claims
        if self._jobs_left is not None:
            self._jobs_left += request.count - len(begun)
        if self.is_stopping:
            self._decline(claimed.claims)
        for claim in begun:
            self._begin(claim)

    def _take_turns(self, claims: Sequence[Claim]) -> None:
        """Begin the next time with the queue after the one that gave the last job."""
        if claims and claims[-1].origin in self._order:
            turn = self._order.index(claims[-1].origin) + 1
            self._order = self._order[turn:] + self._order[:turn]

    def _decline(self, claims: Sequence[Claim]) -> None:
        """Give back what was claimed and is not begun; the last one first, since each goes to the front."""
        for claim in reversed(claims):
            self._leases[claim.execution_id] = claim
            self._ended.append((claim, GivenBack(self._backend.time())))

    async def _sleep(self, wanted: int) -> None:
        """Wait until something has ended, arrived or become due."""
        if wanted and self._bell is None and not self._turns and not self.appetite.burst:
            self._bell = self._loop.create_task(self._listen(), context=contextvars.Context())
            self._bell.add_done_callback(lambda _: self._stir.set())
        self._stir.clear()
        if self._bell is not None and self._bell.done():
            self._stir.set()
        try:
            async with asyncio.timeout_at(self._waking_time(wanted)):
                await self._stir.wait()
        except TimeoutError:
            if not self._turns and self._loop.time() >= self._look_at:
                self._is_hungry = True
                self._is_woken = self._is_woken or not wanted  # what is due waits for no slot
        if self._bell is not None and self._bell.done():
            if self._bell.result():
                self._is_hungry = self._is_woken = True
            self._bell = None

    def _waking_time(self, wanted: int) -> float | None:
        """Return when to go on though nothing has stirred, by the loop's clock; None for never."""
        moments = []
        is_looking = wanted > 0 or self._paused_until > self._loop.time()
        is_promoting = self.appetite.promote > 0 and not self.is_stopping
        if (is_looking or is_promoting) and not self._turns and not self.appetite.burst:
            # By our own clock: Redis ends a blocking read up to 0.1 s late.
            moments.append(self._look_at)
        if (until := self._probation.until(self._runs)) is not None:
            moments.append(until)
        if self.appetite.max_idle_s is not None and self.is_idle:
            moments.append(self._idle_since + self.appetite.max_idle_s)
        return min(moments, default=None)

    async def _listen(self) -> bool:
        """Return whether there may be something to claim."""
        try:
            timeout = min(BELL_S, self._seat.lease / 3)  # its end is a sign of life
            return await self._backend.wait(self._seat, self.appetite.queues, timeout)
        except AiorqError as error:
            log.debug("waiting for jobs: %s", error)
        except Exception:
            log.exception("waiting for jobs")
        await asyncio.sleep(0.2)
        return True  # a marker may have been taken and lost on its way

    async def _silence_bell(self) -> None:
        """End the blocking read: by ringing, so that it takes no marker with it; by force if Redis does not answer."""
        bell = self._bell
        if bell is None or bell.done():
            return
        try:
            async with asyncio.timeout(0.2):
                await self._backend.ring(self._seat)
                await asyncio.wait({bell})
        except (TimeoutError, AiorqError):
            bell.cancel()
            await asyncio.wait({bell})

    async def _return_strays(self) -> None:
        """Give back what stands under this worker's name and is not here: started by a claim whose reply never came."""
        strays = {
            one: job_id
            for one, job_id in self._strays.items()
            if one not in self._leases and one not in self._runs
        }
        self._strays = {}
        if strays:
            log.warning(
                "worker %s: giving back %d jobs that it was given and never heard of",
                self._seat.worker,
                len(strays),
            )
            try:
                await self._backend.give_back(
                    self._seat, [(job_id, one) for one, job_id in strays.items()]
                )
            except BackendUnavailable as error:
                log.debug("%s", error)  # the next heartbeat names them again

    # -- one run ---------------------------------------------------------------------------------------------------------

    def _begin(self, claim: Claim) -> None:
        run = Run(claim)
        run.on_interrupt = self._allow_for_end
        self.has_run_jobs = True
        self._leases[claim.execution_id] = claim
        self._runs[claim.execution_id] = run
        run.task = self._loop.create_task(self._perform(run), context=contextvars.Context())
        self._tasks[claim.execution_id] = run.task

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
            self._emit(run, Failed(self._backend.time(), failure.error, failure.exc_info))
        finally:
            self._runs.pop(execution_id, None)
            self._tasks.pop(execution_id, None)
            self._stir.set()
            self._slots.stir_others(self)

    def _allow_for_end(self, run: Run) -> None:
        self._loop.call_later(CANCEL_GRACE_S, self._abandon, run)

    def abandon_all(self) -> None:
        """Write off what was told to end and has not: the worker is about to go."""
        for run in list(self._runs.values()):
            if run.is_interrupted:
                self._abandon(run)

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
        self._ended.append((run.claim, outcome))
        self._idle_since = self._loop.time()
        took = self._idle_since - run.started_at
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
