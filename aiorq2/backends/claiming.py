"""The runs of a worker: started when others have ended, kept, and given back when it never heard that they were started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import urandom
from typing import Any

from aiorq2.backends import releasing, scripts, settling, wire
from aiorq2.backends.base import Claim, Claimed, ClaimRequest, Extended, Seat, Tally
from aiorq2.backends.line import Line
from aiorq2.backends.replies import raise_for
from aiorq2.backends.server import Server
from aiorq2.errors import BackendUnavailable
from aiorq2.outcome import GivenBack, Outcome
from aiorq2.states import Reply, Verb
from aiorq2.timing import to_iso

log = logging.getLogger("aiorq2.backend")


MAX_BATCH = 256
"""How many runs one call of a heartbeat extends."""
TOKEN = 24
"""How many characters of an execution id are those of its claim."""
LOST_CLAIM_PAUSE_S = 0.1
"""How long a worker waits before it claims again: a Redis that answers, but is read-only, would keep it busy."""


async def settle(
    server: Server,
    line: Line,
    seat: Seat,
    ended: Sequence[tuple[Claim, Outcome]],
    request: ClaimRequest | None,
) -> Claimed:
    """End runs and start others. When the connection breaks, what a claim may have started is given back. Redis: 1 pipeline."""
    ends = settling.ends_of(seat, ended, server._command)
    if request is None:
        replies = await server.exchange.send(line, [one.command for one in ends])
        _go_on_soon(server, replies)
        return Claimed(refused=settling.refused(ends, replies))
    token = urandom(TOKEN // 2).hex()
    server.claiming[seat.worker] |= {token}
    try:
        return await _settle_and_claim(server, line, seat, ends, request, token)
    finally:
        server.claiming[seat.worker] -= {token}


async def extend(
    server: Server, line: Line, seat: Seat, claims: Sequence[Claim], tally: Tally
) -> Extended:
    """Move the leases of a worker's runs on. Redis: 1 pipeline, one call per 256 runs; it is not repeated."""
    claiming = server.claiming[seat.worker]
    named: dict[str, scripts.Arg] = {
        "worker": seat.worker,
        "instance": seat.instance,
        "lease": repr(seat.lease),
        "ttl": max(int(seat.lease * 2), 1),
        "now_iso": to_iso(server.time()),
        "suspended": int(tally.is_suspended),
        "successes": tally.successes,
        "failures": tally.failures,
        "working_time": f"{tally.working_time_s:.6f}",
        "claiming": " ".join(claiming),
    }
    commands = [
        server._command(
            "extend",
            named,
            [part for one in batch for part in (one.job_id, one.execution_id, one.origin)],
        )
        for batch in _batches(claims)
    ]
    replies = await server.exchange.send(line, commands, retry_for=0)
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
        raise_for(Verb.EXTEND, seat.worker, reply)
    claiming |= server.claiming[seat.worker]
    standing = {
        execution_id: job_id
        for job_id, execution_id in map(wire.run_of, replies[-1][4])
        if execution_id[:TOKEN] not in claiming
    }
    return Extended(
        lost=frozenset(one.decode() for reply in replies for one in reply[2]),
        stopping=frozenset(one.decode() for reply in replies for one in reply[3]),
        standing=standing,
        is_registered=bool(replies[-1][1]),
    )


async def give_back(
    server: Server, line: Line, seat: Seat, runs: Sequence[tuple[str, str]]
) -> None:
    """Give back runs of which only the job and the execution are known. Redis: 2 pipelines."""
    records = await server.exchange.send(
        line, [["HGETALL", server.keys.job(job_id)] for job_id, _ in runs]
    )
    now = server.time()
    ended = []
    for (job_id, execution_id), flat in zip(runs, records, strict=True):
        if flat and not isinstance(flat, BaseException):
            record = wire.record_of(job_id, flat)
            ended.append(
                (
                    Claim(job_id, execution_id, record.origin, seat.worker, now, record),
                    GivenBack(now),
                )
            )
    commands = [server._command(*wire.settle_call(seat, *one)) for one in ended]
    if runs:
        members = [f"{job_id}:{execution_id}" for job_id, execution_id in runs]
        commands.append(["SREM", server.keys.worker_executions(seat.worker), *members])
    await server.exchange.send(line, commands)


async def _settle_and_claim(
    server: Server,
    line: Line,
    seat: Seat,
    ends: Sequence[settling.Ends],
    request: ClaimRequest,
    token: str,
) -> Claimed:
    started_at = server.time()
    claim_command = server._command(
        "claim",
        {
            "worker": seat.worker,
            "instance": seat.instance,
            "execution": token,
            "count": request.count,
            "share": request.share or request.count,
            "lease": repr(seat.lease),
            "now_iso": to_iso(started_at),
            "promote": request.promote,
            "watch_ms": int(request.watch_s * 1000),
            "last_chance": request.last_chance,
            "is_empty": int(request.is_empty),
        },
        request.queues,
    )
    commands = [one.command for one in ends]
    reloads = server.exchange.reloads
    try:
        replies = await server.exchange.send(line, [*commands, claim_command], retry_for=0)
    except BackendUnavailable:
        recovered = await server.exchange.send(line, commands)
        await _give_back_unseen(server, line, seat, token)
        await asyncio.sleep(LOST_CLAIM_PAUSE_S)
        # Nobody knows what waits: without another claim a marker would be lost, and a burst would end too early.
        return Claimed(has_more=True, refused=settling.refused(ends, recovered))
    claimed = replies.pop()
    _go_on_soon(server, replies)
    outcome = _claimed(seat, started_at, claimed, settling.refused(ends, replies))
    return outcome if reloads == server.exchange.reloads else replace(outcome, has_more=True)


def _go_on_soon(server: Server, replies: Sequence[Any]) -> None:
    if any(releasing.has_more(reply) for reply in replies):
        server.home.releasing.go_on()


def _claimed(
    seat: Seat, started_at: float, reply: Any, refused: tuple[tuple[Claim, Reply], ...]
) -> Claimed:
    if isinstance(reply, BaseException):
        log.error("claiming failed: %s", reply)
        return Claimed(refused=refused)
    if reply[0] == b"SUSPENDED":
        return Claimed(is_suspended=True, refused=refused)
    return Claimed(
        claims=tuple(_readable(seat, started_at, reply[7:])),
        has_more=bool(reply[1]),
        next_due_in=float(reply[2]) if reply[2] else None,
        is_watching=bool(reply[3]),
        has_ticks=bool(reply[4]),
        has_stood_back=bool(reply[5]),
        crowd=int(reply[6]),
        refused=refused,
    )


def _readable(seat: Seat, started_at: float, jobs: Sequence[Any]) -> Iterator[Claim]:
    """Yield the claims whose names are text.

    The others no client has enqueued, and they fail when their lease has ended often enough.
    """
    for raw in jobs:
        try:
            yield wire.claim_of(seat, started_at, raw)
        except UnicodeDecodeError:
            log.error("job %r cannot be run: its id or its queue is not text", raw[0])


async def _give_back_unseen(server: Server, line: Line, seat: Seat, token: str) -> None:
    """Give back what a claim has started whose reply never came."""
    members = (
        await server.exchange.send(line, [["SMEMBERS", server.keys.worker_executions(seat.worker)]])
    )[0]
    runs = [wire.run_of(member) for member in members]
    unseen = [run for run in runs if run[1].startswith(token)]
    # The last one first: each goes to the front.
    await give_back(server, line, seat, sorted(unseen, key=lambda run: run[1], reverse=True))


def _batches(claims: Sequence[Claim]) -> list[Sequence[Claim]]:
    return [claims[start : start + MAX_BATCH] for start in range(0, len(claims), MAX_BATCH)] or [()]
