"""The heart of a worker: settle what has ended and claim what fits, in one pipeline, while the next batch gathers."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, inf
from typing import Literal

from aiorq2.backends.base import Claim, Claimed, ClaimRequest, Seat, Tally
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import AiorqError, BackendUnavailable
from aiorq2.executor import Executor
from aiorq2.outcome import Outcome
from aiorq2.probation import Probation
from aiorq2.runs import ExceptionHandler, Runs
from aiorq2.slots import Slots
from aiorq2.ticking import Ticker

log = logging.getLogger("aiorq2.worker")

Strategy = Literal["default", "round_robin", "random"]

MAX_BATCH = 256
MAX_TURNS = 2
"""How many pipelines may be in flight: while Redis works on one half of the slots, the loop runs the other."""
POLL_S = 1.0
"""How soon a job that plain rq has pushed is seen, by the one idle worker that watches the queue."""
SLEEP_S = 0.9
"""How long the other idle workers sleep: with the lease of the watch, how soon one of them takes over from one that was killed."""
CROWD = 8
"""So many workers of a queue look after ``SLEEP_S`` each. Where there are more, each sleeps longer: together they look as often."""
MAX_SLEEP_S = 15.0
"""The longest, for when most of a fleet were killed at once: as long as the lease, after which their jobs are started again."""
BELL_S = 10.0
"""How long one blocking read lasts; looking by the clock goes on meanwhile."""
UNANSWERED_S = 1.0
"""After so long without an answer, the slots of a claim are free for the other shards of the worker."""


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
    """Claims, starts and settles the jobs of one worker."""

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
        self._ticker = ticker
        self.is_stopping = False
        self._backend = backend
        self._seat = seat
        self._loop = asyncio.get_running_loop()
        self._stir = asyncio.Event()
        self.runs = Runs(
            seat,
            executor,
            handlers,
            stir=self._stir,
            on_free=partial(self._slots.stir_others, self),
            on_settled=on_settled,
            time=backend.time,
        )
        self.kept_until: Callable[[float], float] = lambda since: inf
        """Until when leases that began after a time are ours; both monotonic seconds."""
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

    # -- told and asked ----------------------------------------------------------------------------------------------------

    @property
    def taken(self) -> int:
        """How many slots are taken, or may be by what is being claimed."""
        return len(self.runs.running) + (0 if self._is_unanswered else self._claiming)

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
    def tally(self) -> Tally:
        """The counters, as RQ's worker hash has them."""
        return self.runs.tally(self._paused_until > self._loop.time())

    def stop(self) -> None:
        """Claim nothing more; ``run`` returns when what runs has ended."""
        self.is_stopping = True
        self._stir.set()

    # -- the loop --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Go on until stopped, or until the appetite is satisfied."""
        try:
            while not await self._is_done():
                if self._failure is not None:
                    raise self._failure
                if self.runs.strays:
                    await self._return_strays()
                wanted = self._wanted()
                if self._may_turn(wanted):
                    self._begin_turn(wanted)
                    await asyncio.sleep(0)  # it goes out before anything else is looked at
                else:
                    await self._sleep(wanted)
        finally:
            for turn in self._turns:
                turn.cancel()

    async def close(self) -> int:
        """End what is left, and return how many runs cannot be ended: their threads and coroutines outlive the worker."""
        self._slots.leave(self)
        await self._silence_bell()
        return await self.runs.close()

    async def _is_done(self) -> bool:
        if self._turns or not self.runs.is_idle:
            return False
        if self.is_stopping or self._jobs_left == 0:
            return True
        if self.appetite.burst and not self._is_hungry:
            self._is_hungry = await self._backend.released()  # those that waited may be next
            if self._ticker is not None:
                self._is_hungry |= await self._ticker.has_ticked()
        if self.appetite.burst and (
            not self._is_hungry or self.runs.slots_lost >= self.appetite.concurrency
        ):
            return True
        longest = self.appetite.max_idle_s
        return (
            longest is not None
            and not self._is_hungry
            and self._loop.time() - self.runs.idle_since >= longest
        )

    def _wanted(self) -> int:
        if self._is_resting:
            return 0
        free = self._slots.free_for(self)
        wanted = free if self._jobs_left is None else min(free, self._jobs_left)
        return self._probation.limit(wanted, self.runs.running, self._is_empty, self._loop.time())

    @property
    def _is_resting(self) -> bool:
        """Whether no job may be asked for: it is stopping, or suspended."""
        return self.is_stopping or self._paused_until > self._loop.time()

    @property
    def _is_empty(self) -> bool:
        """Whether nothing runs and nothing is being claimed."""
        return not self.runs.running and not self._claiming

    def _may_turn(self, wanted: int) -> bool:
        """Whether there is something to settle or to claim; beside a turn in flight, only if it is worth a pipeline of its own."""
        if not self._turns:
            return bool(self.runs.ended or self._is_woken or (wanted and self._is_hungry))
        worth = max(len(self.runs.ended), wanted if self._has_backlog else 0)
        is_crowded = self.is_stopping or len(self._turns) >= MAX_TURNS
        return not is_crowded and worth >= max(1, self.appetite.concurrency // 4)

    def _begin_turn(self, wanted: int) -> None:
        """Settle what has ended and claim as much as fits, in a pipeline of its own."""
        batch = self.runs.take_ended(MAX_BATCH)
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
        asked_at = time.monotonic()
        claimed = await self._backend.settle(self._seat, batch, request)
        refused = {claim.execution_id for claim, _ in claimed.refused}
        self.runs.settled(batch, refused)
        for claim, reply in claimed.refused:
            log.warning("job %s: the outcome of its run was not accepted (%s)", claim.job_id, reply)
        if request is not None:
            self._digest(number, request, claimed, asked_at)
        if batch and self.runs.is_idle:
            self.runs.idle_since = self._loop.time()

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
            is_empty=self._probation.is_ready(self._is_empty),
        )

    def _digest(
        self, number: int, request: ClaimRequest, claimed: Claimed, asked_at: float
    ) -> None:
        self._claiming -= request.count
        self._has_backlog = claimed.has_more
        if self.appetite.strategy == "round_robin":
            self._take_turns(claimed.claims)
        self._is_hungry = claimed.has_more or self._unseen > number
        if claimed.has_ticks and self._ticker is not None:
            self._ticker.wake()
        next_look_s = sleep_s(claimed.crowd)
        if claimed.is_watching:
            due = POLL_S if claimed.next_due_in is None else max(claimed.next_due_in, 0.001)
            next_look_s = min(POLL_S, due)
        if claimed.is_suspended:
            self._is_hungry = False
            next_look_s = POLL_S
            self._paused_until = self._loop.time() + POLL_S
        self._look_at = self._loop.time() + next_look_s
        self._probation.note(request, claimed, self._loop.time())
        kept_until = partial(self.kept_until, asked_at)
        is_late = bool(claimed.claims) and time.monotonic() >= kept_until()
        begun = () if self.is_stopping or is_late else claimed.claims
        if self._jobs_left is not None:
            self._jobs_left += request.count - len(begun)
        if is_late:
            log.warning("%d jobs were claimed a lease ago and not begun", len(claimed.claims))
            self._is_hungry = True
        if not begun:
            self.runs.decline(claimed.claims)
        for claim in begun:
            self.runs.begin(claim, kept_until)

    def _take_turns(self, claims: Sequence[Claim]) -> None:
        """Begin the next time with the queue after the one that gave the last job."""
        if claims and claims[-1].origin in self._order:
            turn = self._order.index(claims[-1].origin) + 1
            self._order = self._order[turn:] + self._order[:turn]

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
        until = self._probation.until(self.runs.running)
        if until is not None and not self._is_resting:  # at rest, nobody notices that it is over
            moments.append(until)
        if self.appetite.max_idle_s is not None and self.runs.is_idle:
            moments.append(self.runs.idle_since + self.appetite.max_idle_s)
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
        strays = self.runs.take_strays()
        if strays:
            log.warning(
                "worker %s: giving back %d jobs that it was given and never heard of",
                self._seat.worker,
                len(strays),
            )
            try:
                await self._backend.give_back(self._seat, strays)
            except BackendUnavailable as error:
                log.debug("%s", error)  # the next heartbeat names them again


def sleep_s(crowd: int) -> float:
    """Return how long one of so many workers sleeps, at random, so that they do not all look at once."""
    spare = min((crowd - CROWD) / CROWD, MAX_SLEEP_S - SLEEP_S)
    return SLEEP_S * random.uniform(0.85, 1) + random.uniform(0, max(spare, 0))
