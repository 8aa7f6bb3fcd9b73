"""See to the recurring entries that are due: in every worker, and in ``Scheduler.run()``."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

import anyio
import anyio.to_thread

from aiorq2.backends import crons
from aiorq2.backends.crons import CronRecord, DueCrons, Tick
from aiorq2.backends.redis import RedisBackend
from aiorq2.cron_spec import tick_id
from aiorq2.errors import BackendError, BackendUnavailable
from aiorq2.rhythm import plan

log = logging.getLogger("aiorq2.scheduler")

PAUSE_S = 0.02
"""How long at least lies between two looks that nobody has asked for by hand."""
TRIES = 3
"""How often the same tick is decided upon: a decision that took too long is made anew, but not for ever."""
PLAN_S = 1.0
"""How long decisions are collected before they are written: Redis does not take those that are 5 seconds old."""
TROUBLE_S = 1.0
"""How long, after one that has failed."""


class Ticker:
    """Make the runs of what is due, and say when it is due next. Any number of processes may: each tick makes one run.

    Only this process knows cron patterns; Redis knows what is pending, and accepts a decision only about what it was made for.

    Args:
        instance: what this process is known by.
        queues: those whose entries it sees to.
    """

    def __init__(self, backend: RedisBackend, instance: str, queues: Sequence[str]) -> None:
        self._backend = backend
        self._instance = instance
        self._queues = queues
        self._woken = asyncio.Event()
        self._lock = asyncio.Lock()
        self._made = self._told = 0

    def wake(self) -> None:
        """Have ``run`` look at once."""
        self._woken.set()

    async def run(self) -> None:
        """Look whenever woken, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            pause = TROUBLE_S
            try:
                await self.tick(self._queues)
                pause = PAUSE_S
            except BackendUnavailable as error:
                log.debug("ticking: %s", error)
            except Exception:
                log.exception("ticking failed; going on")
            await asyncio.sleep(pause)

    async def has_ticked(self) -> bool:
        """Look if that was asked for, and return whether there are new runs; for a worker that stops when nothing is left."""
        if self._woken.is_set():
            self._woken.clear()
            try:
                await self.tick(self._queues)
            except BackendUnavailable:
                raise
            except Exception:
                log.exception("ticking failed; going on")
        async with self._lock:  # ``run`` may be at it
            has_made, self._told = self._made > self._told, self._made
            return has_made

    async def tick(self, queues: Sequence[str]) -> tuple[int, float | None]:
        """Make the runs of all entries of these queues that are due.

        Returns how many there are, and in how many seconds the next entry is due.

        Redis: 1 call; 1 pipeline and 1 call more for every 100 entries that are, or for as many as take a second to decide about.
        """
        async with self._lock:
            before = self._made
            seen: Counter[tuple[str, ...]] = Counter()
            while True:
                found = await crons.due(self._backend, self._instance, queues)
                if not found.records:
                    left = None if found.next_due is None else max(found.next_due - found.now, 0)
                    return self._made - before, left
                ticks = await self._decided(found)
                seen.update(
                    (one.record.name, one.record.revision, str(one.record.due)) for one in ticks
                )
                if max(seen.values()) > TRIES:
                    raise BackendError(f"cron {ticks[0].record.name!r}: it stays due")
                await self._write(ticks)

    async def _decided(self, found: DueCrons) -> list[Tick]:
        """Decide about what is due, in its order; about as much as can be written before it is stale, one at the least."""
        began, ticks = self._backend.time(), list[Tick]()
        for record in found.records:
            ticks.append(await self._tick(record, found.now))
            if self._backend.time() - began > PLAN_S:
                break
        return ticks

    async def _write(self, ticks: Sequence[Tick]) -> None:
        """Make the runs. An entry that is refused is put off: it would be due all the time, and keep others waiting."""
        refused: list[Tick] = []
        for one, made in zip(ticks, await crons.tick(self._backend, ticks), strict=True):
            if isinstance(made, BackendError):
                log.error("cron %s cannot run: %s; again in a minute", one.record.name, made)
                refused.append(_put_off(one.record, one.seen_at, made))
            else:
                self._made += len(made or ())
                _report(one, made)
        if refused:
            await crons.tick(self._backend, refused)

    async def _tick(self, record: CronRecord, now: float) -> Tick:
        pending = record.tick
        try:
            rhythm, policies = record.rhythm, record.policies
            if pending is None:
                raise ValueError("it does not say what is pending")
            if now - pending > policies.grace:  # perhaps long to be counted
                # In a thread of its own: jobs may hold all those of ``asyncio.to_thread``, and nothing else ticks meanwhile.
                made = await anyio.to_thread.run_sync(
                    plan, rhythm, policies, pending, now,
                    abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1),
                )  # fmt: skip
            else:
                made = plan(rhythm, policies, pending, now)
        except Exception as error:  # noqa: BLE001  whatever it is: an entry must not stop the others
            log.error("cron %s cannot be looked at: %s; again in a minute", record.name, error)
            return _put_off(record, now, error)
        runs = tuple((tick, tick_id(record.template.id, tick)) for tick in made.ticks)
        following = None if made.next is None else rhythm.due(made.next)
        if made.has_missed:
            log.warning(
                "cron %s: ticks since %s were missed", record.name, crons.moment_of(pending)
            )
        return Tick(record, now, runs, made.next, following)


def _put_off(record: CronRecord, now: float, error: Exception) -> Tick:
    later = now + crons.LATER_S
    text = f"{type(error).__name__}: {error}"
    return Tick(record, now, (), record.tick or later, later, text)


def _report(tick: Tick, ids: list[str] | None) -> None:
    for job_id in ids or ():
        log.info("cron %s: enqueued job %s", tick.record.name, job_id)
