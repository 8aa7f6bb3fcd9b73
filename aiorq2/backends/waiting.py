"""Wait for jobs to end: one inbox per process, and a slow look beneath it for what no message tells."""

from __future__ import annotations

import asyncio
import contextvars
from collections import defaultdict
from collections.abc import Awaitable, Callable

from aiorq2.backends.base import Ended, Observed
from aiorq2.backends.listener import Listener
from aiorq2.errors import BackendError

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
        self._tell(job_id, Ended(job_id, status, value))

    def _tell(self, job_id: str, news: Ended | Observed) -> None:
        for future in self._futures.get(job_id, ()):
            if not future.done():
                future.set_result(news)

    async def _look(self) -> None:
        while self._futures:
            await asyncio.sleep(LOOK_S)
            await asyncio.gather(*[self._look_at(job_id) for job_id in list(self._futures)])

    async def _look_at(self, job_id: str) -> None:
        try:
            observed = await self._observe(job_id, self._inbox)
        except BackendError:
            return
        if has_ended(observed):
            self._tell(job_id, observed)


def has_ended(observed: Observed) -> bool:
    """Whether nothing more will happen to the job: it is terminal, or gone."""
    return observed.record is None or observed.record.status.is_terminal
