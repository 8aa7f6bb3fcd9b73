"""Enqueue and wait until replicas have it: ``WAIT`` behind the scripts of all who enqueue at the moment, in their pipeline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from math import frexp
from typing import Any, TypeVar

from aiorq2.backends.coalesce import Coalescer
from aiorq2.backends.line import Command
from aiorq2.backends.replies import raise_for
from aiorq2.errors import NotDurable
from aiorq2.options import JobSpec
from aiorq2.states import JobStatus, Verb
from aiorq2.terms import Durable

T = TypeVar("T")

FENCE_S = 60
MOST_NOTES = 20
"""How many further refusals an error names."""

Send = Callable[[Sequence[Command], float], Awaitable[list[Any]]]
"""Sends a pipeline, again as a whole where need be, with so many seconds of patience."""


Timed = tuple[Command, float]
"""A command, and for how many seconds its caller waits for replicas."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A reply, and how many replicas had what led to it."""

    reply: Any
    replicas: int


class DurableCalls:
    """Calls that end when replicas have what they wrote.

    Those who ask for as many replicas and about as much time share pipelines on a line of their own, so that nobody else waits with
    them: there are a few lines, however many time-outs, and the longest time-out on a line is less than twice the shortest. Who is
    alone on its line waits for its own time at the most; who is not, for the longest of those in its pipeline, after that for the
    longest in the pipeline before it.

    Args:
        line: makes what sends pipelines over a line of its own.
        fence: the key that is written before each wait. Redis waits for what *this connection* has written, and a call that is
            repeated after its reply was lost writes nothing.
    """

    def __init__(self, line: Callable[[], Send], fence: str) -> None:
        self._line = line
        self._fence = fence
        self._coalescers: dict[tuple[int, int], Coalescer[Timed]] = {}

    async def call_many(
        self, commands: Sequence[Command], durable: Durable
    ) -> list[Acknowledged | BaseException]:
        """Send commands and wait for the replicas; error replies are returned, not raised."""
        timeout_s = durable.timeout_s
        shared_by = durable.replicas, frexp(timeout_s)[1]
        coalescer = self._coalescers.get(shared_by)
        if coalescer is None:
            send = partial(self._send, self._line(), durable.replicas)
            coalescer = Coalescer(lambda timed, _: send(timed))
            self._coalescers[shared_by] = coalescer
        return await coalescer.call_many([(command, timeout_s) for command in commands])

    async def close(self) -> None:
        """Cancel what is in flight."""
        for coalescer in self._coalescers.values():
            await coalescer.close()

    async def _send(
        self, send: Send, replicas_wanted: int, timed: Sequence[Timed]
    ) -> list[Acknowledged | BaseException]:
        timeout_s = max(seconds for _, seconds in timed)
        behind: list[Command] = [
            ["SET", self._fence, 1, "EX", FENCE_S],
            ["WAIT", replicas_wanted, max(int(timeout_s * 1000), 1)],
        ]
        commands = [command for command, _ in timed]
        *replies, fenced, count = await send([*commands, *behind], timeout_s)
        if isinstance(count, BaseException):
            return [count] * len(commands)
        replicas = 0 if isinstance(fenced, BaseException) else int(count)  # Redis is full
        return [
            one if isinstance(one, BaseException) else Acknowledged(one, replicas)
            for one in replies
        ]


def strictest(specs: Iterable[JobSpec]) -> Durable | None:
    """Return what satisfies each of these jobs, None if none asks for replicas."""
    wishes = [spec.durable for spec in specs if spec.durable and spec.durable.replicas]
    if not wishes:
        return None
    return Durable(max(one.replicas for one in wishes), max(one.timeout_s for one in wishes))


def status_added(spec: JobSpec, reply: Any, replicas: int = 0) -> JobStatus:
    """Return the status that a job got by ``add.lua``.

    Raises:
        NotDurable: fewer ``replicas`` have it than it asks for; else what ``raise_for`` makes of the refusal.
    """
    wanted = spec.durable.replicas if spec.durable else 0
    is_handed_back = (
        spec.options.unique == "return"
    )  # then it is about the job that was there before
    if replicas < wanted and (reply[0] == b"OK" or is_handed_back):
        raise NotDurable((spec.id,), wanted, replicas)
    raise_for(Verb.ADD, spec.id, reply)
    return JobStatus(reply[1].decode())


def all_added(outcomes: Sequence[T | BaseException]) -> list[T]:
    """Return what became of jobs if all were added; raise the first refusal, with the others as notes, or else that some have too
    few replicas."""
    short = [one for one in outcomes if isinstance(one, NotDurable)]
    errors = (one for one in outcomes if isinstance(one, BaseException))
    refused = [one for one in errors if not isinstance(one, NotDurable)]
    for other in refused[1 : 1 + MOST_NOTES]:
        refused[0].add_note(str(other))
    if refused:
        raise refused[0]
    if short:
        raise NotDurable(
            tuple(job_id for one in short for job_id in one.job_ids),
            max(one.wanted for one in short),
            min(one.acknowledged for one in short),
        )
    return [one for one in outcomes if not isinstance(one, BaseException)]


def token_of(job_id: str, queue: str, data: bytes) -> str:
    """Return a token that the same call has again, so that its repetition is recognised as long as the job is kept."""
    return sha256(b"\0".join((job_id.encode(), queue.encode(), data))).hexdigest()[:16]
