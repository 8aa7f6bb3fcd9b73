"""Enqueue jobs of every kind at an even rate, and see how long some of them take."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from aiorq2 import Job, JobStatus, Queue, RateLimit, Repeat, Retry
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import AiorqError, NoSuchJobError
from tests.soak import jobs
from tests.soak.tally import Tally

TTL_S = 10
"""How long anything is kept after its end."""
KEPT: Mapping[str, Any] = {"result_ttl": TTL_S, "failure_ttl": TTL_S}
STEP_S = 0.02
LONGEST_S = 0.05
WAITED_EVERY = 20

Add = Callable[[], Awaitable[Job]]


class Load:
    """Enqueues ``rate`` jobs a second, number by number; the id of a job is its number."""

    def __init__(
        self, backend: RedisBackend, tally: Tally, ledger: str, rate: float, seed: int
    ) -> None:
        self.queue = Queue("soak", backend)
        self.processes = Queue("process", backend)
        self.tally = tally
        self.ledger = ledger
        self.rate = rate
        self.dice = random.Random(seed)
        self.enqueued = 0
        self.next = 0
        self.latencies_ms: list[float] = []
        self.wrong: list[str] = []
        self.beside: set[asyncio.Task[None]] = set()
        self.last: Job | None = None

    async def run(self, seconds: float) -> None:
        """Go on for so long; what could not be enqueued in time is made up for, as far as that can be done."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            due = min(int(passed * self.rate), self.tally.size)
            batch = range(self.next, min(due, self.next + int(self.rate)))
            self.next = batch.stop
            await asyncio.gather(*[self._one(number) for number in batch])
            await asyncio.sleep(STEP_S)

    async def settled(self) -> None:
        """Wait for those that look after single jobs."""
        if self.beside:
            await asyncio.wait(self.beside, timeout=60)

    async def _one(self, number: int) -> None:
        code, add, then = self._job(number)
        began = time.monotonic()
        try:
            job = await add()
        except AiorqError as error:
            self.wrong.append(f"job {number}: {error}")
            return
        self.tally.plans[number] = code
        self.enqueued += 1
        if number % 100 > 30:  # a plain one
            self.last = job
        if then is not None:
            self._beside(then(job))
        elif number % WAITED_EVERY == 0:
            self._beside(self._time(job, number, began))

    def _beside(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.beside.add(task)
        task.add_done_callback(self.beside.discard)

    def _job(self, number: int) -> tuple[int, Add, Callable[[Job], Awaitable[None]] | None]:
        """Return the plan of the job with this number, how it is enqueued, and what is done with it afterwards."""
        queue, kept = self.queue, {"job_id": str(number), **KEPT}
        seconds = self.dice.uniform(0, LONGEST_S)
        work = (jobs.work if number % 5 else jobs.work_sync, self.ledger, number, seconds)
        match number % 100:
            case 11:
                retry = Retry(1, interval=number % 200 // 100)
                return (
                    2,
                    partial(
                        queue.enqueue, jobs.fail_once, self.ledger, number, retry=retry, **kept
                    ),
                    None,
                )
            case 12:
                return 3, partial(queue.enqueue, jobs.fail, self.ledger, number, **kept), None
            case 13:
                return 1, partial(queue.enqueue_in, self.dice.uniform(1, 5), *work, **kept), None
            case 14:
                return 4, partial(queue.enqueue_in, 60, *work, **kept), self._cancel
            case 16:
                return (
                    5,
                    partial(queue.enqueue, jobs.linger, self.ledger, number, **kept),
                    self._stop,
                )
            case 17:
                return 6, partial(queue.enqueue, *work, repeat=Repeat(1, interval=1), **kept), None
            case 18:
                limit = RateLimit("narrow", 5)
                return 1, partial(queue.enqueue, *work, rate_limit=limit, **kept), None
            case 19 if self.last is not None:
                add = partial(
                    queue.enqueue, *work, depends_on=self.last, on_parent_failure="run", **kept
                )
                return 1, add, None
            case 21:
                return 1, partial(queue.enqueue, *work, **{**kept, "result_ttl": 0}), None
            case 22 if number % 400 == 22:
                work = (jobs.work_sync, self.ledger, number, seconds)
                add = partial(self.processes.enqueue, *work, offload="process", **kept)
                return 1, add, None
            case 23:
                return 1, partial(queue.enqueue, *work, at_front=True, **kept), None
        return 1, partial(queue.enqueue, *work, **kept), None

    async def _time(self, job: Job, number: int, began: float) -> None:
        """See how long it takes from the call that enqueues it until the result is here."""
        try:
            result = await job.wait(60)
        except (AiorqError, TimeoutError) as error:
            self.wrong.append(f"job {number}: waiting: {error!r}")
            return
        self.latencies_ms.append((time.monotonic() - began) * 1000)
        if result != 2 * number:
            self.wrong.append(f"job {number}: its result is {result!r}")

    async def _cancel(self, job: Job) -> None:
        """Cancel it before it is due."""
        await asyncio.sleep(self.dice.uniform(0, 2))
        await self._ends_as(job, JobStatus.CANCELED)

    async def _stop(self, job: Job) -> None:
        """Cancel it while it runs, most of the time."""
        await asyncio.sleep(self.dice.uniform(0, 1))
        await self._ends_as(job, JobStatus.CANCELED, JobStatus.STOPPED)

    async def _ends_as(self, job: Job, *statuses: JobStatus) -> None:
        try:
            await job.cancel()
            deadline = time.monotonic() + 30
            while (status := await job.get_status()) not in statuses:
                if time.monotonic() > deadline:
                    self.wrong.append(f"job {job.id}: cancelled, and is {status}")
                    return
                await asyncio.sleep(0.2)
        except NoSuchJobError:
            return  # it ended so long ago that it is forgotten
        except AiorqError as error:
            self.wrong.append(f"job {job.id}: cancelling: {error}")
