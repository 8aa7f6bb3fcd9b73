"""Wait for jobs to end: one inbox per process, and a slow look beneath it for what no message tells."""

from __future__ import annotations

import asyncio
import contextvars
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable

from aiorq2.backends.base import Ended, Observed, Progressed
from aiorq2.backends.listener import Listener
from aiorq2.errors import BackendError

News = Ended | Observed | Progressed
MAX_NEWS = 16
"""How much is kept for a follower that is slow to listen."""
LOOK_S = 1.0
"""How often jobs that are waited for are read again: messages get lost, and rq's workers send none."""


class Waiting:
    """The waits of one process.

    Args:
        listener: carries the inbox.
        observe: reads a job and, unless it has ended, leaves the inbox with it.
        inbox: the channel at which this process is told.
    """

    def __init__(
        self, listener: Listener, observe: Callable[[str, str], Awaitable[Observed]], inbox: str
    ) -> None:
        self._listener = listener
        self._observe = observe
        self._inbox = inbox
        self._futures: dict[str, set[asyncio.Future[Ended | Observed]]] = defaultdict(set)
        self._followers: dict[str, set[asyncio.Queue[News]]] = defaultdict(set)
        self._is_open = False
        self._looking: asyncio.Task[None] | None = None

    async def ended(self, job_id: str, timeout: float | None) -> Ended | Observed:
        """Return what was pushed when the job ended, or the record of a job that had ended or is gone.

        Raises:
            TimeoutError: it has not ended in ``timeout`` seconds.

        Redis: 1 call, and 1 subscription per process; 1 call a second per job that is waited for.
        """
        async with asyncio.timeout(timeout):
            await self._open()
            future: asyncio.Future[Ended | Observed] = asyncio.get_running_loop().create_future()
            self._futures[job_id].add(future)
            try:
                observed = await self._observe(job_id, self._inbox)
                if has_ended(observed):
                    return observed
                return await future
            finally:
                self._futures[job_id].discard(future)
                if not self._futures[job_id]:
                    del self._futures[job_id]

    async def follow(self, job_id: str) -> AsyncIterator[News]:
        """Yield what is heard of a job, beginning with how it is now, until it has ended or is gone.

        Redis: 1 call, and 1 subscription per process; 1 call a second per job that is followed.
        """
        await self._open()
        news: asyncio.Queue[News] = asyncio.Queue(MAX_NEWS)
        self._followers[job_id].add(news)
        try:
            latest: News = await self._observe(job_id, self._inbox)
            while True:
                yield latest
                if isinstance(latest, Ended) or (
                    isinstance(latest, Observed) and has_ended(latest)
                ):
                    return
                latest = await news.get()
        finally:
            self._followers[job_id].discard(news)
            if not self._followers[job_id]:
                del self._followers[job_id]

    async def close(self) -> None:
        """End all waits."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
            self._looking = None
        for futures in list(self._futures.values()):
            for future in futures:
                future.cancel()

    async def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            await self._listener.subscribe(self._inbox, self._receive)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(
                self._look(), context=contextvars.Context()
            )

    def _receive(self, message: bytes | None) -> None:
        if message is None:
            return  # reconnected: the next look, within a second, finds what was missed
        head, _, value = message.partition(b"\n")
        job_id, _, status = head.decode().partition(" ")
        if status == "progress":
            self._inform(job_id, Progressed(job_id, value))
        else:
            self._tell(job_id, Ended(job_id, status, value))

    def _inform(self, job_id: str, news: News) -> None:
        for follower in self._followers.get(job_id, ()):
            if follower.full():  # too slow for it: the latest counts
                follower.get_nowait()
            follower.put_nowait(news)

    def _tell(self, job_id: str, news: Ended | Observed) -> None:
        self._inform(job_id, news)
        for future in self._futures.get(job_id, ()):
            if not future.done():
                future.set_result(news)

    async def _look(self) -> None:
        while self._futures or self._followers:
            await asyncio.sleep(LOOK_S)
            jobs = {*self._futures, *self._followers}
            await asyncio.gather(*[self._look_at(job_id) for job_id in jobs])

    async def _look_at(self, job_id: str) -> None:
        try:
            observed = await self._observe(job_id, self._inbox)
        except BackendError:
            return
        if has_ended(observed):
            self._tell(job_id, observed)
        else:
            self._inform(job_id, observed)


def has_ended(observed: Observed) -> bool:
    """Whether nothing more will happen to the job: it is terminal, or gone."""
    return observed.record is None or observed.record.status.is_terminal
