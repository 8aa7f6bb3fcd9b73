"""``redis://``, ``rediss://``, ``unix://``: one method per verb, each one script."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from aiorq2.backends import claiming, wire
from aiorq2.backends.adding import Addition
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
from aiorq2.backends.durable import Acknowledged, all_added, status_added, strictest
from aiorq2.backends.releasing import has_more
from aiorq2.backends.replies import named, naming, raise_for
from aiorq2.backends.server import Server
from aiorq2.backends.waiting import News
from aiorq2.errors import AiorqError, BackendError, InvalidOption
from aiorq2.options import DEFAULT_FAILURE_TTL, JobSpec
from aiorq2.outcome import Outcome
from aiorq2.states import JobStatus, Verb
from aiorq2.timing import to_iso


class RedisBackend(Server):
    """The verbs on a Redis server; what makes one is said at ``Server``."""

    async def add(self, specs: Sequence[JobSpec], *, replace: bool = True) -> list[JobStatus]:
        """Add jobs and return the status that each got. The first refusal is raised, with the others as its notes; what was not
        refused is added all the same.

        Raises:
            DuplicateJobError: ``unique`` and the id is taken.
            InvalidJobOperation: a job with this id is running, or one of its parents waits for it.
            NotDurable: a job has fewer replicas than it asks for (``spec.durable``); all are enqueued.

        Redis: 1 pipeline, shared with concurrent calls: ``add_many.lua`` per 64 jobs that only want to run, ``add.lua`` for each
        other one.
        """
        if len(specs) != 1 or specs[0].durable:
            return all_added(await self.add_each(specs, replace=replace))
        try:
            reply = await self.home.calls.call(Addition(specs[0], replace))
        except BackendError as error:
            raise named(error, Verb.ADD, specs[0].id) from error
        return [status_added(specs[0], reply)]

    async def add_each(
        self, specs: Sequence[JobSpec], *, replace: bool = True
    ) -> list[JobStatus | Exception]:
        """As ``add``, but why a job was refused is returned in its place."""
        jobs = [Addition(spec, replace) for spec in specs]
        durable = strictest(specs)
        if durable is None:
            replies = await self.home.calls.call_many(jobs)
            return [_outcome(spec, reply) for spec, reply in zip(specs, replies, strict=True)]
        if not self.has_replicas:
            raise InvalidOption(f"durable: {self.location} has no replicas; leave it out")
        commands = [one.command(self._command) for one in jobs]
        known = await self.home.durable.call_many(commands, durable)
        return [
            _outcome(spec, one.reply, one.replicas)
            if isinstance(one, Acknowledged)
            else _outcome(spec, one)
            for spec, one in zip(specs, known, strict=True)
        ]

    async def reschedule(self, job_id: str, due_at: float) -> None:
        """Give a scheduled job another time (seconds since the epoch). Redis: 1 call.

        Raises:
            NoSuchJobError: there is none.
            InvalidJobOperation: it is not scheduled.
        """
        with naming(Verb.RESCHEDULE, job_id):
            reply = await self.call("reschedule", id=job_id, at=repr(due_at))
        raise_for(Verb.RESCHEDULE, job_id, reply)

    async def promote(self, queue: str, *, limit: int = 100) -> tuple[int, float | None]:
        """Move due jobs of a queue into it. Returns how many, and the next due time (epoch seconds). Redis: 1 call."""
        reply = await self.call("promote", queue=queue, limit=limit, now_iso=to_iso(self.time()))
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
            return await claiming.settle(self, line, seat, ended, request)

    async def extend(self, seat: Seat, claims: Sequence[Claim], tally: Tally) -> Extended:
        """Move the leases of a worker's runs on, also of those of a claim whose answer is still on its way.

        Redis: 1 pipeline, one call per 256 runs.
        """
        with self.home.lend("extend") as line:
            return await claiming.extend(self, line, seat, claims, tally)

    async def give_back(self, seat: Seat, runs: Sequence[tuple[str, str]]) -> None:
        """Give back runs of which only the job and the execution are known; those that have lost their lease are forgotten.

        Redis: 2 pipelines.
        """
        with self.home.lend("settle") as line:
            await claiming.give_back(self, line, seat, runs)

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

    async def released(self) -> bool:
        """Wait until the dependents of what was settled here are free; returns whether there were any."""
        return await self.home.releasing.done()

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
            reply = await self.call(
                "cancel",
                id=job_id,
                token=uuid4().hex,
                now_iso=to_iso(self.time()),
                enqueue_dependents=enqueue_dependents,
                running_only=running_only,
            )
        raise_for(verb, job_id, reply)
        if has_more(reply):
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
            reply = await self.call(
                "requeue",
                id=job_id,
                token=uuid4().hex,
                now_iso=to_iso(self.time()),
                at_front=int(at_front),
                among=_spaced(among),
            )
        raise_for(Verb.REQUEUE, job_id, reply)

    async def delete(self, job_id: str, *, among: Sequence[JobStatus] = ()) -> None:
        """Delete a job and its results. Redis: 1 call.

        Args:
            among: the statuses in which alone it is to be deleted; all but ``started`` if none is given.

        Raises:
            NoSuchJobError: there is none.
            InvalidJobOperation: it is running, or in none of these statuses.
        """
        with naming(Verb.DELETE, job_id):
            reply = await self.call(
                "delete",
                id=job_id,
                token=uuid4().hex,
                now_iso=to_iso(self.time()),
                among=_spaced(among),
            )
        raise_for(Verb.DELETE, job_id, reply)
        if has_more(reply):
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
        reply = await self.call(
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
        await self.call(
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


def _spaced(statuses: Sequence[JobStatus]) -> str:
    return f" {' '.join(statuses)} " if statuses else ""


def _outcome(spec: JobSpec, reply: Any, replicas: int = 0) -> JobStatus | Exception:
    """Return what came of adding a job, or why it was refused."""
    if isinstance(reply, BackendError):
        error = named(reply, Verb.ADD, spec.id)
        error.__cause__ = reply
        return error
    if isinstance(reply, Exception):
        return reply
    try:
        return status_added(spec, reply, replicas)
    except AiorqError as refusal:
        return refusal
