"""``redis://``, ``rediss://``, ``unix://``: one method per verb, each one script.

Connections are kept per event loop (redis-py's cannot be shared between loops), and per purpose within it, so that a blocking
read or a large enqueue never stands in a heartbeat's way.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.connection import AbstractConnection

from aiorq2.backends import scripts, settling, wire
from aiorq2.backends.base import (
    Claim,
    Claimed,
    ClaimRequest,
    Ended,
    Extended,
    Observed,
    Reaped,
    Seat,
    Tally,
)
from aiorq2.backends.clients import Clients, close_sync_client
from aiorq2.backends.coalesce import Coalescer
from aiorq2.backends.durable import DurableCalls, Send, added_durably, strictest
from aiorq2.backends.exchange import Exchange
from aiorq2.backends.keys import Keys
from aiorq2.backends.line import Command, Line
from aiorq2.backends.listener import Listener
from aiorq2.backends.replies import named, naming, raise_for
from aiorq2.backends.waiting import News, Waiting
from aiorq2.errors import (
    AiorqError,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    InvalidOption,
)
from aiorq2.options import DEFAULT_FAILURE_TTL, JobSpec
from aiorq2.outcome import GivenBack, Outcome
from aiorq2.states import JobStatus, Reply, Verb
from aiorq2.timing import Clock, to_iso

log = logging.getLogger("aiorq2.backend")

MAX_BATCH = 256
"""How many runs one pipeline settles, or one heartbeat call extends."""
MAX_READS = 10_000
"""How many small reading commands share a pipeline: a page costs one, however many queues and workers it shows."""
SHORTEST_S = 1.0
"""What a silent Redis is given at the least, however short the leases are."""
TOKEN = 24
"""How many characters of an execution id are those of its claim."""
LOST_CLAIM_PAUSE_S = 0.1
"""How long a worker waits before it claims again: a Redis that answers, but is read-only, would keep it busy."""


class Home:
    """The connections of one event loop."""

    def __init__(self, backend: RedisBackend) -> None:
        self._connect = backend.connection
        self._timeouts = backend.timeout, backend.connect_timeout
        self.client: AsyncRedis | None = None
        self.sync_client: Redis | None = None
        self._backend = backend
        self._has_more = False
        self._releasing: asyncio.Task[None] | None = None
        self._lines: list[Line] = []
        self._idle: defaultdict[str, list[Line]] = defaultdict(list)
        calls, reads = self._line(), self._line()
        send, patience = backend.exchange.send, backend.exchange.retry_for
        self.calls = Coalescer(
            lambda commands, left: send(calls, commands, retry_for=left), patience=patience
        )
        self.reads = Coalescer(
            lambda commands, left: send(reads, commands, retry_for=left),
            most=MAX_READS,
            patience=patience,
        )
        self.durable = DurableCalls(self._durable_line, backend.keys.fence())
        self.listener = Listener(self._connect, *self._timeouts)
        self.waiting = Waiting(self.listener, backend.observe, backend.keys.inbox(uuid4().hex))

    @contextmanager
    def lend(self, purpose: str) -> Iterator[Line]:
        """Lend a line that nobody else uses meanwhile; there are as many as were needed at the same time, not one per worker."""
        idle = self._idle[purpose]
        line = idle.pop() if idle else self._line()
        try:
            yield line
        finally:
            idle.append(line)

    def _line(self) -> Line:
        line = Line(self._connect, *self._timeouts)
        self._lines.append(line)
        return line

    def _durable_line(self) -> Send:
        line = self._line()
        return lambda commands, patience: self._backend.exchange.send(
            line, commands, is_whole=True, patience=patience
        )

    def release_soon(self) -> None:
        """Have the dependents freed that are left; nobody waits for it."""
        self._has_more = True
        if self._releasing is None or self._releasing.done():
            self._releasing = asyncio.get_running_loop().create_task(
                self._release(), context=contextvars.Context()
            )

    async def released(self) -> bool:
        """Wait until that is done; returns whether there was anything to wait for."""
        if self._releasing is None:
            return False
        await asyncio.wait({self._releasing})
        self._releasing = None
        return True

    async def _release(self) -> None:
        try:
            while self._has_more:
                self._has_more = False
                await self._backend.release()
        except AiorqError as error:
            log.debug("freeing dependents: %s", error)  # a reaper goes on with it

    async def close(self) -> None:
        """Close everything."""
        if self._releasing is not None:
            self._releasing.cancel()
            await asyncio.wait({self._releasing})
        if self.client is not None:
            await self.client.aclose(close_connection_pool=True)
        if self.sync_client is not None:
            close_sync_client(self.sync_client)
        await self.waiting.close()
        await self.calls.close()
        await self.reads.close()
        await self.durable.close()
        await self.listener.close()
        for line in self._lines:
            await line.close()


class RedisBackend:
    """The verbs on a Redis server.

    Args:
        connection: makes an unconnected connection; see ``connect``.
        location: what errors call the server; without a password.
        key_prefix: what every key begins with.
        retry_for: seconds for which a call is repeated while Redis is away; None for ever.
        timeout: seconds after which a silent Redis counts as away.
        connect_timeout: seconds in which a connection is to be made; by default the same.
        url: what another process can connect with, where there is such a thing; it may hold a password and is not shown.
        clock: what tells the time in place of Redis and of this machine.
    """

    has_replicas = True
    """Whether an enqueue can wait for some."""

    def __init__(
        self,
        connection: Callable[[], AbstractConnection],
        *,
        location: str,
        key_prefix: str = "rq",
        retry_for: float | None = 5.0,
        timeout: float = 5.0,
        connect_timeout: float | None = None,
        url: str | None = None,
        clients: Clients | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.connection = connection
        self.clock = clock
        self.url = url
        self._clients = clients
        self.location = location
        self.key_prefix = key_prefix
        self.exchange = Exchange(location, retry_for, given_clock=clock is not None)
        self.timeout = timeout
        self.connect_timeout = timeout if connect_timeout is None else connect_timeout
        self.keys = Keys(key_prefix)
        self._claiming: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
        """By worker, the beginnings of the executions of claims that are under way; heartbeats read it from their threads."""
        self._homes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Home] = (
            weakref.WeakKeyDictionary()
        )

    def client(self) -> AsyncRedis:
        """Return an asynchronous client for user code, on connections of its own; the same one in each loop."""
        home = self.home
        if home.client is None:
            home.client = self.new_client()
        return home.client

    def new_client(self) -> AsyncRedis:
        """Return another asynchronous client, which is the caller's to close."""
        if self._clients is None:
            raise BackendRefused(f"{self.location}: this backend has no client to give")
        return self._clients.asynchronous()

    def sync_client(self) -> Redis:
        """Return a synchronous client for user code in threads; the same one for all that the running loop starts."""
        home = self.home
        if home.sync_client is None:
            home.sync_client = self.new_sync_client()
        return home.sync_client

    def new_sync_client(self) -> Redis:
        """Return a synchronous client that belongs to the caller; no loop is needed.

        Raises:
            BackendRefused: this backend has none to give.
        """
        if self._clients is None:
            raise BackendRefused(f"{self.location}: this backend has no client to give")
        made: Redis = self._clients.synchronous()
        return made

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.location} {self.key_prefix}>"

    @property
    def home(self) -> Home:
        """The connections of the running loop."""
        loop = asyncio.get_running_loop()
        home = self._homes.get(loop)
        if home is None:
            home = self._homes[loop] = Home(self)
        return home

    def patient(self, lease: float) -> RedisBackend:
        """Return a backend on the same server that waits for Redis for ever: a worker's.

        Args:
            lease: seconds within which each of its connections notices that its peer has gone silent.
        """
        return type(self)(
            self.connection,
            location=self.location,
            key_prefix=self.key_prefix,
            retry_for=None,
            timeout=self._bearable_silence(lease),
            connect_timeout=self.connect_timeout,
            url=self.url,
            clients=self._clients,
            clock=self.clock,
        )

    def _bearable_silence(self, lease: float) -> float:
        return min(self.timeout, max(lease / 3, SHORTEST_S))

    def time(self) -> float:
        """Return the present, in seconds since the epoch, by the injected clock, else by this machine's.

        Scripts ask Redis; this is for what people read.
        """
        return time.time() if self.clock is None else self.clock.time()

    async def close(self) -> None:
        """Close the connections of the running loop."""
        home = self._homes.pop(asyncio.get_running_loop(), None)
        if home is not None:
            await home.close()

    # -- verbs -----------------------------------------------------------------------------------------------------------

    async def add(self, specs: Sequence[JobSpec], *, replace: bool = True) -> list[JobStatus]:
        """Add jobs and return the status that each got. The first refusal is raised; the others are added all the same.

        Raises:
            DuplicateJobError: ``unique`` and the id is taken.
            InvalidJobOperation: a job with this id is running, or one of its parents waits for it.
            NotDurable: a job has fewer replicas than it asks for (``spec.durable``); all are enqueued.

        Redis: 1 pipeline, shared with concurrent calls, ``add.lua`` per job.
        """
        commands = [self._command("add", *wire.spec_arguments(spec, replace)) for spec in specs]
        if durable := strictest(specs):
            if not self.has_replicas:
                raise InvalidOption(f"durable: {self.location} has no replicas; leave it out")
            return added_durably(specs, await self.home.durable.call_many(commands, durable))
        if len(commands) == 1:
            try:
                reply = await self.home.calls.call(commands[0])
            except BackendError as error:
                raise named(error, Verb.ADD, specs[0].id) from error
            raise_for(Verb.ADD, specs[0].id, reply)
            return [JobStatus(reply[1].decode())]
        replies = await self.home.calls.call_many(commands)
        for spec, reply in zip(specs, replies, strict=True):
            if isinstance(reply, BaseException):
                with naming(Verb.ADD, spec.id):
                    raise reply
            raise_for(Verb.ADD, spec.id, reply)
        return [JobStatus(reply[1].decode()) for reply in replies]

    async def reschedule(self, job_id: str, due_at: float) -> None:
        """Give a scheduled job another time (seconds since the epoch). Redis: 1 call.

        Raises:
            NoSuchJobError: there is none.
            InvalidJobOperation: it is not scheduled.
        """
        with naming(Verb.RESCHEDULE, job_id):
            reply = await self._call("reschedule", id=job_id, at=repr(due_at))
        raise_for(Verb.RESCHEDULE, job_id, reply)

    async def promote(self, queue: str, *, limit: int = 100) -> tuple[int, float | None]:
        """Move due jobs of a queue into it. Returns how many, and the next due time (epoch seconds). Redis: 1 call."""
        reply = await self._call("promote", queue=queue, limit=limit, now_iso=to_iso(self.time()))
        return int(reply[1]), float(reply[2]) if reply[2] else None

    async def claim(self, seat: Seat, request: ClaimRequest) -> Claimed:
        """Start jobs for a worker. Redis: 1 call, whatever the number of jobs and queues."""
        return await self.settle(seat, (), request)

    async def settle(
        self,
        seat: Seat,
        ended: Sequence[tuple[Claim, Outcome]],
        request: ClaimRequest | None = None,
    ) -> Claimed:
        """End runs and, in the same pipeline, start up to ``request.count`` more.

        When the connection breaks, the settles are repeated; the claim is not: what it may have started is given back.

        Redis: 1 pipeline, one script per 64 plain successes, one for each other outcome, and one ``claim.lua``.
        """
        with self.home.lend("settle") as line:
            return await self._settle(line, seat, ended, request)

    async def _settle(
        self,
        line: Line,
        seat: Seat,
        ended: Sequence[tuple[Claim, Outcome]],
        request: ClaimRequest | None,
    ) -> Claimed:
        ends = settling.ends_of(seat, ended, self._command)
        if request is None:
            replies = await self.exchange.send(line, [one.command for one in ends])
            self._go_on_soon(replies)
            return Claimed(refused=settling.refused(ends, replies))
        token = uuid4().hex[:TOKEN]
        self._claiming[seat.worker] |= {token}
        try:
            return await self._settle_and_claim(line, seat, ends, request, token)
        finally:
            self._claiming[seat.worker] -= {token}

    async def _settle_and_claim(
        self,
        line: Line,
        seat: Seat,
        ends: Sequence[settling.Ends],
        request: ClaimRequest,
        token: str,
    ) -> Claimed:
        started_at = self.time()
        claim_command = self._command(
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
        reloads = self.exchange.reloads
        try:
            replies = await self.exchange.send(line, [*commands, claim_command], retry_for=0)
        except BackendUnavailable:
            recovered = await self.exchange.send(line, commands)
            await self._give_back_unseen(seat, line, token)
            await asyncio.sleep(LOST_CLAIM_PAUSE_S)
            # Nobody knows what waits: without another claim a marker would be lost, and a burst would end too early.
            return Claimed(has_more=True, refused=settling.refused(ends, recovered))
        claimed = replies.pop()
        self._go_on_soon(replies)
        outcome = self._claimed(seat, started_at, claimed, settling.refused(ends, replies))
        return outcome if reloads == self.exchange.reloads else replace(outcome, has_more=True)

    async def extend(self, seat: Seat, claims: Sequence[Claim], tally: Tally) -> Extended:
        """Move the leases of a worker's runs on, also of those of a claim whose answer is still on its way.

        Redis: 1 pipeline, one call per 256 runs.
        """
        claiming = self._claiming[seat.worker]
        named: dict[str, scripts.Arg] = {
            "worker": seat.worker,
            "instance": seat.instance,
            "lease": repr(seat.lease),
            "ttl": max(int(seat.lease * 2), 1),
            "now_iso": to_iso(self.time()),
            "suspended": int(tally.is_suspended),
            "successes": tally.successes,
            "failures": tally.failures,
            "working_time": f"{tally.working_time_s:.6f}",
            "claiming": " ".join(claiming),
        }
        commands = [
            self._command(
                "extend",
                named,
                [part for one in batch for part in (one.job_id, one.execution_id, one.origin)],
            )
            for batch in _batches(claims)
        ]
        with self.home.lend("extend") as line:
            replies = await self.exchange.send(line, commands, retry_for=0)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
            raise_for(Verb.EXTEND, seat.worker, reply)
        claiming |= self._claiming[seat.worker]
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

    async def reap(self, queue: str, *, max_deaths: int, limit: int = 100) -> Reaped:
        """Free the jobs of a queue whose lease is over, at most ``limit``. Redis: 1 call on a connection of its own.

        It is not repeated: sent again when Redis is back, it would find leases over whose owners had no way to extend them.
        """
        now = self.time()
        text = f"AbandonedJobError: the worker that ran this job died or lost its connection (noticed at {to_iso(now)})"
        command = self._command(
            "reap",
            {
                "queue": queue,
                "limit": limit,
                "max_deaths": max_deaths,
                "now_iso": to_iso(now),
                "ttl": DEFAULT_FAILURE_TTL,
            },
            wire.abandoned_entry(now, text),
        )
        with self.home.lend("reap") as line:
            reply = (await self.exchange.send(line, [command], retry_for=0))[0]
        if isinstance(reply, BaseException):
            raise reply
        next_in = float(reply[1]) if reply[1] else None
        return Reaped(
            tuple(one.decode("utf-8", "replace") for one in reply[2]),
            tuple(one.decode("utf-8", "replace") for one in reply[3]),
            next_in,
            releases=bool(reply[4]),
        )

    async def release(self) -> None:
        """Free the dependents that an earlier script has left, a slice at a time. Redis: 1 call per 100 of them."""
        while (await self._call("release", now_iso=to_iso(self.time())))[1]:
            pass

    async def released(self) -> bool:
        """Wait until the dependents of what was settled here are free; returns whether there were any."""
        return await self.home.released()

    def _go_on_soon(self, replies: Sequence[Any]) -> None:
        if any(_has_more(reply) for reply in replies):
            self.home.release_soon()

    async def cancel(self, job_id: str, *, enqueue_dependents: bool = False) -> str | None:
        """Cancel a job; if it runs, have its worker stop it and return the worker's name.

        Args:
            enqueue_dependents: it counts as done for those that wait for it.

        Raises:
            NoSuchJobError: there is none.
            InvalidJobOperation: it has ended.

        Redis: 1 call, and 1 per 100 dependents after the first 100.
        """
        return await self._cancel(Verb.CANCEL, job_id, int(enqueue_dependents), 0)

    async def stop(self, job_id: str) -> str | None:
        """Have the worker of a running job stop it, and return the worker's name. Redis: 1 call.

        Raises:
            NoSuchJobError: there is none.
            InvalidJobOperation: it is not running.
        """
        return await self._cancel(Verb.STOP, job_id, 0, 1)

    async def _cancel(
        self, verb: Verb, job_id: str, enqueue_dependents: int, running_only: int
    ) -> str | None:
        with naming(verb, job_id):
            reply = await self._call(
                "cancel",
                id=job_id,
                token=uuid4().hex,
                now_iso=to_iso(self.time()),
                enqueue_dependents=enqueue_dependents,
                running_only=running_only,
            )
        raise_for(verb, job_id, reply)
        if _has_more(reply):
            await self.release()
        return reply[1].decode() if reply[0] == b"STOPPING" else None

    async def requeue(
        self, job_id: str, *, at_front: bool = False, among: Sequence[JobStatus] = ()
    ) -> None:
        """Put a job that has ended back into its queue. Redis: 1 call.

        Args:
            among: the statuses from which alone it is to be moved; all that have ended if none is given.

        Raises:
            NoSuchJobError: there is none.
            InvalidJobOperation: it has not ended, or is in none of these statuses.
        """
        with naming(Verb.REQUEUE, job_id):
            reply = await self._call(
                "requeue",
                id=job_id,
                token=uuid4().hex,
                now_iso=to_iso(self.time()),
                at_front=int(at_front),
                among=f" {' '.join(among)} " if among else "",
            )
        raise_for(Verb.REQUEUE, job_id, reply)

    async def delete(self, job_id: str) -> None:
        """Delete a job and its results. Redis: 1 call.

        Raises:
            NoSuchJobError: there is none.
            InvalidJobOperation: it is running.
        """
        with naming(Verb.DELETE, job_id):
            reply = await self._call(
                "delete", id=job_id, token=uuid4().hex, now_iso=to_iso(self.time())
            )
        raise_for(Verb.DELETE, job_id, reply)
        if _has_more(reply):
            await self.release()

    # -- workers ---------------------------------------------------------------------------------------------------------

    async def register(
        self,
        seat: Seat,
        queues: Sequence[str],
        fields: Mapping[str, str | int],
        *,
        replaces: str = "",
    ) -> Mapping[str, bytes] | None:
        """Announce a worker. Returns None, or what is known of the living worker that has the name. Redis: 1 call."""
        flat = [part for pair in fields.items() for part in pair]
        reply = await self._call(
            "register",
            [*queues, *flat],
            worker=seat.worker,
            instance=seat.instance,
            replaces=replaces,
            ttl=max(int(seat.lease * 2), 1),
            queue_count=len(queues),
        )
        return wire.fields_of(reply[1]) if reply[0] == b"NAME_TAKEN" else None

    async def unregister(self, seat: Seat, queues: Sequence[str]) -> None:
        """Take a worker off the list. Redis: 1 call."""
        await self._call(
            "unregister",
            queues,
            worker=seat.worker,
            instance=seat.instance,
            now_iso=to_iso(self.time()),
        )

    async def wait(self, seat: Seat, queues: Sequence[str], timeout: float) -> bool:
        """Sleep until one of the queues has something to claim, ``ring`` is called, or ``timeout`` seconds are over.

        Returns whether it was woken. Redis: 1 blocking call on a connection of its own.
        """
        wakes = [self.keys.wake(queue) for queue in queues]
        command = ["BZPOPMIN", *wakes, self.keys.doorbell(seat.worker), f"{max(timeout, 0.01):.3f}"]
        try:
            with self.home.lend("wait") as line:
                reply = (await line.run([command], patience=timeout))[0]
        except Exception as error:
            raise self.exchange.final(error) from error
        if isinstance(reply, BaseException):
            raise self.exchange.final(reply)
        return reply is not None

    async def ring(self, seat: Seat) -> None:
        """End the ``wait`` of a worker. Redis: 1 call."""
        key = self.keys.doorbell(seat.worker)
        await self.home.calls.call_many([["ZADD", key, 0, "1"], ["EXPIRE", key, 60]])

    async def command(self, worker: str, message: str) -> int:
        """Publish a command to a worker; returns how many heard it. Redis: 1 call."""
        return int(await self.home.calls.call(["PUBLISH", self.keys.commands(worker), message]))

    async def subscribe(self, channel: str, receive: Callable[[bytes | None], None]) -> None:
        """Call ``receive`` for every message on a channel. Redis: 1 connection per process, 1 message per channel."""
        await self.home.listener.subscribe(channel, receive)

    async def unsubscribe(self, channel: str) -> None:
        """End a subscription."""
        await self.home.listener.unsubscribe(channel)

    # -- waiting ---------------------------------------------------------------------------------------------------------

    async def ended(self, job_id: str, timeout: float | None) -> Ended | Observed:
        """Wait until a job has ended: what was pushed, or the record as it was read. See ``Waiting``."""
        return await self.home.waiting.ended(job_id, timeout)

    def follow(self, job_id: str) -> AsyncIterator[News]:
        """Yield what is heard of a job until it has ended. See ``Waiting``."""
        return self.home.waiting.follow(job_id)

    async def observe(self, job_id: str, inbox: str = "") -> Observed:
        """Read a job, and leave word where its end is to be told. Redis: 1 call."""
        reply = await self._call("observe", id=job_id, inbox=inbox)
        if reply[0] != b"OK":
            return Observed(None)
        entries = reply[2]
        entry = (entries[0][0].decode(), wire.fields_of(entries[0][1])) if entries else None
        return Observed(wire.record_of(job_id, reply[1]), entry)

    # -- calls -----------------------------------------------------------------------------------------------------------

    async def run(self, *commands: Command) -> list[Any]:
        """Run plain commands in one pipeline; the first error is raised. For the read side."""
        replies = await self.home.calls.call_many(commands)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return replies

    async def call(
        self, script: str, rest: Sequence[scripts.Arg] = (), **named: scripts.Arg
    ) -> Any:
        """Run one script by name. For the parts of the package that have scripts of their own."""
        return await self._call(script, rest, **named)

    def _command(
        self, name: str, named: Mapping[str, scripts.Arg], rest: Sequence[scripts.Arg] = ()
    ) -> Command:
        script = scripts.load(name, given_clock=self.clock is not None)
        command = ["EVALSHA", script.sha, 1, self.key_prefix, *script.arguments(named, rest)]
        return [*command, repr(self.time())] if script.takes_now else command

    async def _call(self, name: str, rest: Sequence[scripts.Arg] = (), **named: scripts.Arg) -> Any:
        return await self.home.calls.call(self._command(name, named, rest))

    def _settle_command(self, seat: Seat, claim: Claim, outcome: Outcome) -> Command:
        verb, named, entry = wire.settle_call(seat, claim, outcome)
        return self._command(verb, named, entry)

    def _claimed(
        self, seat: Seat, started_at: float, reply: Any, refused: tuple[tuple[Claim, Reply], ...]
    ) -> Claimed:
        if isinstance(reply, BaseException):
            log.error("claiming failed: %s", reply)
            return Claimed(refused=refused)
        if reply[0] == b"SUSPENDED":
            return Claimed(is_suspended=True, refused=refused)
        return Claimed(
            claims=tuple(_readable(seat, started_at, reply[6:])),
            has_more=bool(reply[1]),
            next_due_in=float(reply[2]) if reply[2] else None,
            is_watching=bool(reply[3]),
            has_ticks=bool(reply[4]),
            has_stood_back=bool(reply[5]),
            refused=refused,
        )

    async def _give_back_unseen(self, seat: Seat, line: Line, token: str) -> None:
        """Give back what a claim has started whose reply never came."""
        members = (
            await self.exchange.send(line, [["SMEMBERS", self.keys.worker_executions(seat.worker)]])
        )[0]
        runs = [wire.run_of(member) for member in members]
        unseen = [run for run in runs if run[1].startswith(token)]
        # The last one first: each goes to the front.
        await self._give_back(line, seat, sorted(unseen, key=lambda run: run[1], reverse=True))

    async def give_back(self, seat: Seat, runs: Sequence[tuple[str, str]]) -> None:
        """Give back runs of which only the job and the execution are known; those that have lost their lease are forgotten.

        Redis: 2 pipelines.
        """
        with self.home.lend("settle") as line:
            await self._give_back(line, seat, runs)

    async def _give_back(self, line: Line, seat: Seat, runs: Sequence[tuple[str, str]]) -> None:
        records = await self.exchange.send(
            line, [["HGETALL", self.keys.job(job_id)] for job_id, _ in runs]
        )
        now = self.time()
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
        commands = [self._settle_command(seat, claim, outcome) for claim, outcome in ended]
        if runs:
            members = [f"{job_id}:{execution_id}" for job_id, execution_id in runs]
            commands.append(["SREM", self.keys.worker_executions(seat.worker), *members])
        await self.exchange.send(line, commands)


def _has_more(reply: Any) -> bool:
    """Whether the script with this reply has left dependents to be freed."""
    return isinstance(reply, list) and reply[1:2] == [1]


def _readable(seat: Seat, started_at: float, jobs: Sequence[Any]) -> Iterator[Claim]:
    """Yield the claims whose names are text.

    The others no client has enqueued, and they fail when their lease has ended often enough.
    """
    for raw in jobs:
        try:
            yield wire.claim_of(seat, started_at, raw)
        except UnicodeDecodeError:
            log.error("job %r cannot be run: its id or its queue is not text", raw[0])


def _batches(claims: Sequence[Claim]) -> list[Sequence[Claim]]:
    return [claims[start : start + MAX_BATCH] for start in range(0, len(claims), MAX_BATCH)] or [()]
