"""The ends of runs as commands, and what their replies say: plain successes share calls, everything else has its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiorq2.backends import scripts, wire
from aiorq2.backends.base import Claim, Seat
from aiorq2.backends.line import Command
from aiorq2.failure import failure_of
from aiorq2.outcome import Failed, Outcome
from aiorq2.states import Reply, Verb

log = logging.getLogger("aiorq2.backend")

MOST = 64
"""How many runs one call ends at the most: Redis does nothing else meanwhile."""

Ended = tuple[Claim, Outcome]


@dataclass(frozen=True, slots=True)
class Ends:
    """A command, and the runs that it ends."""

    command: Command
    runs: Sequence[Ended]


def ends_of(seat: Seat, ended: Sequence[Ended], command: Callable[..., Command]) -> list[Ends]:
    """Return what ends these runs.

    Args:
        command: makes a command of the name of a script, its named arguments and the others.
    """
    plain: list[Ended] = []
    fields: list[list[scripts.Arg]] = []
    alone: list[Ends] = []
    for one in ended:
        found = _end_of(seat, *one)
        if isinstance(found, list):
            plain.append(one)
            fields.append(found)
        else:
            alone.append(Ends(command(*found), (one,)))
    together = [
        Ends(
            command(
                "finish_many",
                {"worker": seat.worker},
                [part for run in fields[start : start + MOST] for part in run],
            ),
            plain[start : start + MOST],
        )
        for start in range(0, len(plain), MOST)
    ]
    return together + alone


def _end_of(
    seat: Seat, claim: Claim, outcome: Outcome
) -> list[scripts.Arg] | tuple[Verb, dict[str, scripts.Arg], list[scripts.Arg]]:
    """Return the arguments of a plain success, or the verb of another end with its own. A run whose end cannot be written, be it
    for what its job holds, has failed with the reason: it keeps no other from being settled."""
    try:
        return wire.plain_end(seat, claim, outcome) or wire.settle_call(seat, claim, outcome)
    except Exception as error:
        log.exception("job %s: the end of its run cannot be written; it has failed", claim.job_id)
        failure = failure_of(error)
        failed = Failed(outcome.ended_at, failure.error, failure.exc_info)
        return wire.settle_call(seat, claim, failed)


def refused(ends: Sequence[Ends], replies: Sequence[Any]) -> tuple[tuple[Claim, Reply], ...]:
    """Return the runs whose ends were not accepted, with the reply; what went wrong otherwise is logged."""
    found: list[tuple[Claim, Reply]] = []
    for one, reply in zip(ends, replies, strict=True):
        if isinstance(reply, BaseException):
            for claim, _ in one.runs:
                log.error("job %s could not be settled: %s", claim.job_id, reply)
        elif reply[0] != b"OK":
            found.append((one.runs[0][0], Reply(reply[0].decode())))
        elif len(reply) > 2:
            found += [
                (one.runs[place][0], Reply(word.decode()))
                for place, word, _ in reply[2]
                if word != b"OK"
            ]
    return tuple(found)
