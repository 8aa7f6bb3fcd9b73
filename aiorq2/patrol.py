"""Look after what is due in all queues: what ``Scheduler.run()`` does."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha1
from secrets import token_hex

from aiorq2.backends import crons, inspect
from aiorq2.backends.health import check_server
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import AiorqError, BackendError, BackendRefused, BackendUnavailable
from aiorq2.ticking import Ticker

log = logging.getLogger("aiorq2.scheduler")

PROMOTE = 100
"""How many due jobs of a queue one call moves."""
SLICES = 10
"""How many such calls there are in a row, before other queues have their turn."""
LEAD_S = 1.2
"""How long one of several schedulers leads without being heard of."""
LOOK_S = 0.6
"""How often it is heard of, and the others ask whether it still is."""
STOP_S = 0.5
"""How long it waits for Redis when it is told to stop."""
REFUSED_S = 30.0
"""How long it waits when Redis refuses it."""
RETRY_S = 1.0
"""How soon it looks again when something has failed; then after twice that, and so on, up to the interval."""
RQ_LOOK_S = 1.0
"""How soon a queue is looked at again that rq's scheduler is in charge of."""

Prepare = Callable[[RedisBackend], Awaitable[object]]
Act = Callable[[], Awaitable[tuple[int, float | None]]]


class Patrol:
    """Move due jobs into their queues and make the runs of recurring entries, whenever something is due.

    Of several, one leads and the others wait until it is gone: that saves Redis work, and nothing depends on it.

    Args:
        interval: the longest time between two looks, in seconds: what rq schedules is announced by nobody.
        queues: those that it looks after; all there are if none is named.
        prepare: awaited before the first look.
    """

    def __init__(
        self,
        backend: RedisBackend,
        interval: float,
        queues: Sequence[str] = (),
        prepare: Prepare | None = None,
    ) -> None:
        self._backend = backend
        self._prepare = prepare
        self._interval = interval
        self._queues = sorted(queues)
        self._group = _digest(self._queues) if queues else "all"
        self._instance = token_hex(8)
        self._ticker = Ticker(backend, self._instance, ())
        self._stir = asyncio.Event()
        self._stopped = asyncio.Event()
        self._look_at = 0.0
        self._retry_s = RETRY_S
        self._failing: set[str] = set()
        self._of_entries: set[str] = set()
        self._ask_at = 0.0

    def stop(self) -> None:
        """Have ``run`` return."""
        self._stopped.set()
        self._stir.set()

    async def sweep(self) -> int:
        """See to everything that is due now; returns how many jobs that put into queues. Redis: as ``run``, and 1 pipeline."""
        await self._begin()
        total = 0
        while True:
            moved, left = await self._pass()
            total += moved
            if left is None or left > 0:
                return total

    async def run(self) -> None:
        """Go on until stopped.

        Raises:
            BackendRefused: Redis does not want us; only at the start.

        Redis: about 2 calls a second; for what is due, 1 call per 100 jobs and 1 pipeline per 100 entries; for all queues,
        once per interval 1 pipeline per 200 entries.
        """
        working = asyncio.create_task(self._work())
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({working}, timeout=STOP_S)
        finally:
            for task in (working, stopped):
                task.cancel()  # Redis may be away
            await asyncio.wait({working, stopped})
            await self._leave()
        if not working.cancelled():
            working.result()

    async def _work(self) -> None:
        await check_server(self._backend, strict=False)
        await self._begin()
        await self._backend.subscribe(self._backend.keys.due_news(), self._on_news)
        log.info("scheduling for %s", ", ".join(self._queues) or "all queues")
        while not self._stopped.is_set():
            await self._turn()

    async def _begin(self) -> None:
        if self._prepare is not None:
            await self._prepare(self._backend)

    async def _leave(self) -> None:
        with suppress(AiorqError, TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._backend.unsubscribe(self._backend.keys.due_news())
                await self._lead(0)
        log.info("the scheduler has stopped")

    async def _lead(self, lead_s: float) -> bool:
        reply = await self._backend.call(
            "lead", group=self._group, instance=self._instance, lead_ms=int(lead_s * 1000)
        )
        return bool(reply[1])

    def _on_news(self, _: bytes | None) -> None:
        self._look_at = 0
        self._stir.set()

    async def _turn(self) -> None:
        """Look if it is time to, and sleep until it is again."""
        loop = asyncio.get_running_loop()
        pause = LOOK_S * random.uniform(0.8, 1)
        self._stir.clear()
        try:
            leads = await self._lead(LEAD_S)
            if not leads:
                self._look_at = 0  # to begin with when it is ours
            elif loop.time() >= self._look_at:
                await self._look()
            if leads:
                pause = min(pause, self._look_at - loop.time())
        except BackendUnavailable as error:
            log.debug("scheduling: %s", error)
        except BackendRefused as error:  # rights may come back
            log.error("scheduling: %s", error)
            pause = REFUSED_S
        except Exception:
            log.exception("scheduling failed; going on")
        await self._sleep(pause)

    async def _look(self) -> None:
        """See to what is due, and say when to look again: when the next thing is due, and soon if something has failed."""
        loop = asyncio.get_running_loop()
        self._look_at = loop.time() + self._interval  # news that come meanwhile set it to zero
        left: float | None = None
        is_sound = False
        try:
            _, left = await self._pass()
            is_sound = not self._failing
        finally:
            retry_in = self._interval if is_sound else self._retry_s
            self._retry_s = RETRY_S if is_sound else min(self._retry_s * 2, self._interval)
            soonest = retry_in if left is None else min(left, retry_in)
            self._look_at = min(self._look_at, loop.time() + soonest)

    async def _sleep(self, pause: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(pause, 0.001)):
                await self._stir.wait()

    async def _pass(self) -> tuple[int, float | None]:
        """See to what is due; returns how many jobs that put into queues, and in how many seconds the next thing is due."""
        queues = self._queues or await self._all_queues()
        if not queues:
            return 0, None
        made, tick_in = await self._alone("tick", partial(self._ticker.tick, queues))
        waits = [] if tick_in is None else [tick_in]
        for queue in queues:
            promote = partial(self._promote, queue)
            moved, due_in = await self._alone(f"promote in queue {queue!r}", promote)
            made += moved
            waits += [] if due_in is None else [due_in]
        return made, min(waits, default=None)

    async def _alone(self, verb: str, act: Act) -> tuple[int, float | None]:
        """Do one thing of a pass. An error of its own does not stop the others, and is told once until it is over."""
        try:
            found = await act()
        except BackendError as error:
            if type(error) is not BackendError:
                raise  # Redis is away, full or refuses: it would be the same for the others
            if verb not in self._failing:
                log.error("cannot %s: %s; going on with the rest", verb, error)
            self._failing.add(verb)
            return 0, None
        self._failing.discard(verb)
        return found

    async def _all_queues(self) -> list[str]:
        """Return the names of all queues; those of entries too, once per interval: rq takes one off the list that it deletes."""
        now = asyncio.get_running_loop().time()
        if now >= self._ask_at:
            self._of_entries = await crons.queues(self._backend)
            self._ask_at = now + self._interval
        return sorted({*await inspect.queue_names(self._backend), *self._of_entries})

    async def _promote(self, queue: str) -> tuple[int, float | None]:
        total = 0
        for _ in range(SLICES):
            moved, next_due = await self._backend.promote(queue, limit=PROMOTE)
            total += moved
            if moved < PROMOTE:
                break
        else:
            return total, 0
        if next_due is None:
            return total, None
        left = next_due - await crons.now(self._backend)
        return total, left if left > 0 else RQ_LOOK_S


def _digest(names: Sequence[str]) -> str:
    return sha1("\n".join(names).encode(), usedforsecurity=False).hexdigest()[:12]
