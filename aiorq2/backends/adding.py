"""Jobs on their way into Redis: those that stand side by side and only want to run share calls, all others have their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiorq2.backends import scripts, wire
from aiorq2.backends.coalesce import SHORTEST_S
from aiorq2.backends.line import Command
from aiorq2.errors import BackendError
from aiorq2.options import JobSpec
from aiorq2.quick import quick_dataclass
from aiorq2.states import JobStatus

MOST = 64
"""How many jobs one call adds at the most: Redis does nothing else meanwhile."""
MOST_BYTES = 256 * 1024
"""After so many bytes of payloads, the next job begins another call."""

_ADDED = [b"OK", JobStatus.QUEUED.value.encode()]
"""What ``add.lua`` answers of a job that waits for its turn."""


@quick_dataclass()
class Addition:
    """A job to be added. ``replace``: also over one of its id that does not run."""

    spec: JobSpec
    replace: bool = True

    def command(self, command: Callable[..., Command]) -> Command:
        """Return the call that adds it alone."""
        return command("add", *wire.spec_arguments(self.spec, self.replace))


Call = Command | Addition


@dataclass(slots=True)
class _Several:
    """Jobs that share a call of ``add_many.lua``."""

    lane: tuple[str, str | None]
    shared: tuple[scripts.Arg, ...]
    own: list[scripts.Arg] = field(default_factory=list)
    jobs: list[Addition] = field(default_factory=list)
    room: int = MOST_BYTES

    def takes(self, spec: JobSpec, shared: tuple[scripts.Arg, ...]) -> bool:
        """Whether one more job has the same in common with the others, and fits in."""
        return (
            self.shared == shared
            and self.lane == (spec.origin, spec.lane)
            and self.room > 0
            and len(self.jobs) < MOST
        )


class Adding:
    """Send calls of which some are additions.

    Args:
        command: makes a command of the name of a script, its named arguments and the others.
        send: sends a pipeline and returns a reply or an exception for each of its commands.
    """

    def __init__(
        self,
        command: Callable[..., Command],
        send: Callable[[Sequence[Command], float | None], Awaitable[list[Any]]],
    ) -> None:
        self._command = command
        self._send = send

    async def send(self, calls: Sequence[Call], patience: float | None) -> list[Any]:
        """Send a pipeline; each addition is answered as by ``add.lua``.

        Redis: 1 pipeline; another one where a job is known already, as after a lost reply.
        """
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        parts = list(self._parts(calls))
        replies = await self._send([self._of(part) for part in parts], patience)
        answers: list[Any] = []
        known: list[tuple[int, Addition]] = []
        for part, reply in zip(parts, replies, strict=True):
            if not isinstance(part, _Several):
                answers.append(reply)
            elif isinstance(reply, BaseException):
                answers += [reply] * len(part.jobs)
            else:
                known += [(len(answers) + place, part.jobs[place]) for place in reply[1]]
                answers += [_ADDED] * len(part.jobs)
        if known:
            if patience is not None:
                patience = max(SHORTEST_S, patience - (loop.time() - begun_at))
            again = await self._once_more([one for _, one in known], patience)
            for (place, _), reply in zip(known, again, strict=True):
                answers[place] = reply
        return answers

    async def _once_more(self, jobs: Sequence[Addition], patience: float | None) -> list[Any]:
        """Add each alone; what goes wrong with that is no matter of the others, who have their answers."""
        try:
            return await self._send([one.command(self._command) for one in jobs], patience)
        except BackendError as error:
            return [error] * len(jobs)

    def _parts(self, calls: Sequence[Call]) -> Iterator[Call | _Several]:
        several: _Several | None = None
        for one in calls:
            found = wire.plain_fields(one.spec) if isinstance(one, Addition) else None
            if not isinstance(one, Addition) or found is None:
                if several is not None:
                    yield several
                    several = None
                yield one
                continue
            own, shared = found
            if several is None or not several.takes(one.spec, shared):
                if several is not None:
                    yield several
                several = _Several((one.spec.origin, one.spec.lane), shared)
            several.own += own
            several.jobs.append(one)
            several.room -= len(one.spec.data)
        if several is not None:
            yield several

    def _of(self, part: Call | _Several) -> Command:
        if isinstance(part, Addition):
            return part.command(self._command)
        if not isinstance(part, _Several):
            return part
        queue, lane = part.lane
        named = {"queue": queue, "lane": lane or queue, "shared_count": len(part.shared)}
        return self._command("add_many", named, [*part.shared, *part.own])
