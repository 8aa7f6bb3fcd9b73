"""What a worker does beside running jobs: it keeps its leases alive, and frees those of the dead."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from aiorq2.backends import sweeping
from aiorq2.backends.base import Claim, Extended, Seat, Tally
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import AiorqError, WorkerNameTaken

log = logging.getLogger("aiorq2.worker")

MARGIN = 0.05
"""The part of a lease before its end at which a worker without Redis gives its jobs up."""
LOOP_LIMIT_S = 120.0
"""An event loop that has not answered for so long loses its leases on purpose: it is not coming back."""


def _note(duty: str, error: Exception) -> None:
    """Log what went wrong with a duty, which goes on: Redis that is away is nothing new, the rest is a bug."""
    if isinstance(error, AiorqError | TimeoutError):
        log.debug("%s: %s", duty, str(error) or "no answer")
    else:
        log.error("%s failed: %s; going on", duty, type(error).__name__, exc_info=error)


class Heartbeat(threading.Thread):
    """Move the leases of a worker's runs on, from a thread with a loop and a connection of its own: a job that blocks the event
    loop costs its neighbours nothing. It also asks the loop whether it is alive, and says what it is stuck in when it is not.

    Args:
        claims: returns what runs at the moment; called in this thread.
        tally: returns the counters; called in this thread.
        on_extended: told, on the loop, what a heartbeat brought back.
        on_cut_off: told, on the loop, that no lease can be trusted any more: Redis was out of reach for a whole one.
        on_name_taken: told, on the loop, that another worker has this one's name; no heartbeat follows.
    """

    def __init__(
        self,
        backend: RedisBackend,
        seat: Seat,
        *,
        claims: Callable[[], Sequence[Claim]],
        tally: Callable[[], Tally],
        on_extended: Callable[[Extended], None],
        on_cut_off: Callable[[], None],
        on_name_taken: Callable[[WorkerNameTaken], None],
    ) -> None:
        super().__init__(name=f"aiorq2-heartbeat-{seat.worker}", daemon=True)
        self._backend = backend
        self._seat = seat
        self._claims = claims
        self._tally = tally
        self._on_extended = on_extended
        self._on_cut_off = on_cut_off
        self._on_name_taken = on_name_taken
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._ending = threading.Event()
        self._beating: asyncio.Task[None] | None = None
        self._extended_at = time.monotonic()
        self._answered_at = time.monotonic()
        self._asked_at: float | None = None
        self._is_stuck = False
        self.unbroken_since: float | None = None
        """Since when every heartbeat has arrived (monotonic seconds); None: since the start."""

    def kept_until(self, since: float) -> float:
        """Return until when leases that began after ``since`` are ours (both monotonic seconds): for most of a lease, or as far as
        heartbeats have moved them on, if every one has arrived. That is over when this process was frozen. From any thread."""
        is_unbroken = self.unbroken_since is None or self.unbroken_since < since
        latest = max(since, self._extended_at) if is_unbroken else since
        return latest + self._seat.lease * (1 - MARGIN)

    async def end(self, within: float) -> None:
        """Stop, without waiting for an answer that may never come, and wait so many seconds for the thread to be gone."""
        self._ending.set()
        if self._beating is not None:
            with suppress(RuntimeError):  # its loop has just been closed
                self._beating.get_loop().call_soon_threadsafe(self._beating.cancel)
        deadline = time.monotonic() + within
        # Nobody joins it in a thread of ``asyncio.to_thread``: jobs may hold them all.
        while self.is_alive() and time.monotonic() < deadline:  # noqa: ASYNC110  no event tells
            await asyncio.sleep(0.01)

    def run(self) -> None:
        """Beat every quarter of a lease until told to end."""
        with suppress(asyncio.CancelledError):
            asyncio.run(self._beat_until_ended())

    async def _beat_until_ended(self) -> None:
        self._beating = asyncio.current_task()
        interval = self._seat.lease / 4
        try:
            while not self._ending.is_set():
                self._watch_loop()
                began = time.monotonic()
                if await self._beat():
                    # Over a slow line the next is due at once: runs have been claimed meanwhile.
                    await asyncio.sleep(max(began + interval - time.monotonic(), interval / 8))
                else:
                    await self._wait_to_try_again(min(0.5, interval / 2))
        finally:
            await self._backend.close()

    @property
    def _left_s(self) -> float:
        """How long the leases can be trusted if no heartbeat arrives; runs that are cut then have ended when others begin."""
        return self._extended_at + self._seat.lease * (1 - MARGIN) - time.monotonic()

    async def _wait_to_try_again(self, pause: float) -> None:
        """Wait before the next try, and give the leases up on the moment."""
        left_s = self._left_s
        if left_s > 0:
            pause = min(pause, left_s)
        else:
            self._tell(self._on_cut_off)
        await asyncio.sleep(pause)
        if left_s > 0 >= self._left_s:
            self._tell(self._on_cut_off)

    async def _beat(self) -> bool:
        """Extend once; returns whether it arrived.

        It takes what the line takes to connect and to be answered, as long as there are leases to keep: where that is most of
        one, a heartbeat that was cut off earlier would connect anew each time and never arrive.
        """
        if self._is_stuck and time.monotonic() - self._answered_at > LOOP_LIMIT_S:
            return False  # let the leases go
        sent_at, left_s = time.monotonic(), self._left_s
        claims = self._claims()
        try:
            async with asyncio.timeout(left_s if left_s > 0 else None):
                extended = await self._backend.extend(self._seat, claims, self._tally())
        except WorkerNameTaken as error:
            self._ending.set()  # no lease can be kept under this name any more
            self._tell(self._on_name_taken, error)
            return False
        except Exception as error:  # noqa: BLE001  no duty dies of anything
            _note("the heartbeat", error)
            self.unbroken_since = time.monotonic()
            return False
        if time.monotonic() - self._extended_at > self._seat.lease:
            self.unbroken_since = (
                time.monotonic()
            )  # this process was frozen: the others may have been as well
        self._extended_at = sent_at  # Redis counts from a moment after that
        known = {claim.execution_id for claim in claims}
        unknown = {one: job for one, job in extended.standing.items() if one not in known}
        self._tell(self._on_extended, replace(extended, standing=unknown))
        return True

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        with suppress(RuntimeError):  # the loop has just been closed
            self._loop.call_soon_threadsafe(callback, *args)

    # -- the watchdog ----------------------------------------------------------------------------------------------------

    def _watch_loop(self) -> None:
        now = time.monotonic()
        if self._asked_at is not None and now - self._asked_at > max(1.0, self._seat.lease / 8):
            if not self._is_stuck:
                self._is_stuck = True
                self._report(now - self._asked_at)
            return
        if self._asked_at is None:
            self._asked_at = now
            self._tell(self._answer)

    def _answer(self) -> None:
        if self._is_stuck:
            log.warning("the event loop of %s answers again", self._seat.worker)
        self._answered_at = time.monotonic()
        self._asked_at = None
        self._is_stuck = False

    def _report(self, blocked_s: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        stack = [] if frame is None else traceback.format_stack(frame, limit=25)
        running = ", ".join(claim.job_id for claim in self._claims()[:20])
        log.warning(
            "the event loop of %s has not answered for %.1f s; running: %s; it is in (innermost first):\n%s",
            self._seat.worker,
            blocked_s,
            running or "nothing",
            "".join(reversed(stack)),  # of a long line, the end is cut off
        )


class Reaper:
    """Free the jobs of dead workers: in every worker, without a leader, in bounded atomic passes (``reap.lua``).

    A pass is due when the next lease ends, at the latest every few seconds. Nothing is freed until this worker's own heartbeats
    have arrived for a whole lease: after an outage the others' come back first.

    Args:
        is_trusted: whether heartbeats have arrived for long enough.
        lease: seconds; the leases of the others are taken to be as long as one's own.
        on_failed: told which jobs have failed by it.
    """

    LONGEST_S = 7.0

    def __init__(
        self,
        backend: RedisBackend,
        queues: Sequence[str],
        *,
        max_deaths: int,
        is_trusted: Callable[[], bool],
        lease: float = LONGEST_S,
        on_failed: Callable[[str], None] = lambda job_id: None,
    ) -> None:
        self._backend = backend
        self._queues = queues
        self._max_deaths = max_deaths
        self._is_trusted = is_trusted
        self._on_failed = on_failed
        self._longest_s = min(self.LONGEST_S, lease)

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            pause = 0.5
            if self._is_trusted():
                try:
                    pause = await self._pass()
                except Exception as error:  # noqa: BLE001  no duty dies of anything
                    _note("reaping", error)
            await asyncio.sleep(pause + random.uniform(0, 0.2))

    async def _pass(self) -> float:
        next_in = self._longest_s
        passes = [self._backend.reap(queue, max_deaths=self._max_deaths) for queue in self._queues]
        for queue, reaped in zip(self._queues, await asyncio.gather(*passes), strict=True):
            for job_id in reaped.requeued:
                log.warning(
                    "job %s of queue %s: its worker died; it is queued again, at the front",
                    job_id,
                    queue,
                )
            for job_id in reaped.failed:
                log.error(
                    "job %s of queue %s: its worker died once too often; it has failed",
                    job_id,
                    queue,
                )
                self._on_failed(job_id)
            if reaped.releases:
                await self._backend.release()
            if reaped.next_in is not None:
                next_in = min(next_in, reaped.next_in)
        return max(next_in, 0.05)


class Sweeper:
    """See now and then to what nobody waits for: jobs whose time in the registries is over, workers that are gone, places in rate
    limits whose jobs are gone, groups of which none is left, jobs whose parents are done and that were not told, and those that an
    rq worker took and died."""

    INTERVAL_S = 60.0
    READY_S = 10.0
    """How long rq gets to put a job into its queue whose parents are done."""
    TAKEN_S = 60.0
    """How long an rq worker gets to start a job that it has taken; rq's own upkeep waits as long."""

    def __init__(self, backend: RedisBackend, queues: Sequence[str]) -> None:
        self._backend = backend
        self._queues = queues

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(self.INTERVAL_S * random.uniform(0.5, 1.5))
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001  no duty dies of anything
                _note("sweeping", error)

    async def sweep(self) -> int:
        """Sweep once and return how many entries were removed. Redis: 4 calls per queue, and 1 per 500 entries."""
        removed = 0
        for queue in self._queues:
            removed += await sweeping.sweep(self._backend, queue)
            await sweeping.sweep_ready(self._backend, queue, age_s=self.READY_S)
            await sweeping.sweep_deferred(self._backend, queue)
            moved = await sweeping.sweep_intermediate(self._backend, queue, age_s=self.TAKEN_S)
            if moved:
                log.warning(
                    "queue %s: an rq worker died before it started %d jobs; they are queued again, at the front",
                    queue,
                    moved,
                )
        await sweeping.sweep_rates(self._backend)
        await sweeping.sweep_groups(self._backend)
        return removed
