"""One history of all verbs, on a backend and on the model beside it: after every call the two must be equal.

Any reply may get lost after the command ran. Time is made to pass by moving everything that is stored: see ``pass_time``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
)

from aiorq2.backends import connect, sweeping
from aiorq2.backends.base import Claim, ClaimRequest, Seat, Tally
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import DuplicateJobError, InvalidJobOperation, NoSuchJobError
from aiorq2.outcome import Failed, Finished, GivenBack, Outcome, Retried, Stopped
from aiorq2.retrying import next_repeat
from aiorq2.states import JobStatus
from aiorq2.terms import Dependency, RateLimit, Repeat
from tests.contract import stage
from tests.faults.model import LEASE_S, MAX_DEATHS, TERMINAL, Lease, Model, Terms
from tests.faults.stored import Stored, pass_time, read
from tests.support.keys import leaks
from tests.support.lost_reply import lose_next_reply

QUEUES = ("q1", "q2")
IDS = st.sampled_from("abcde")
SEATS = [Seat(name, name, lease=LEASE_S) for name in ("w1", "w2")]
MOMENT = 1_700_000_000.0

TERMS = st.builds(
    Terms,
    queue=st.sampled_from(QUEUES),
    delay=st.sampled_from([None, None, None, 0.0, 300.0, 5000.0]),
    at_front=st.booleans(),
    unique=st.booleans(),
    parents=st.lists(IDS, max_size=3, unique=True).map(tuple),
    policy=st.sampled_from(["wait", "cancel", "failure", "run"]),
    rate=st.sampled_from([None, None, ("r", 1), ("r", 2), ("s", 1)]),
    repeats=st.sampled_from([0, 0, 1]),
    retries=st.sampled_from([0, 0, 2]),
    ttl=st.sampled_from([None, None, None, 3000]),
    result_ttl=st.sampled_from([None, 0, -1, 700]),
    failure_ttl=st.sampled_from([None, 0, -1, 700]),
    redeliver=st.booleans(),
)
SIMPLE = st.builds(
    Terms, queue=st.sampled_from(QUEUES), rate=st.sampled_from([None, None, ("r", 1)])
)


@dataclass(frozen=True)
class Ending:
    """How a run is to end."""

    how: str
    delay: float
    at_front: bool

    def of(self, claim: Claim) -> Outcome:
        """Return the outcome of one run."""
        match self.how:
            case "finish":
                repeat_delay, intervals = next_repeat(claim.record)
                return Finished(MOMENT, claim.execution_id.encode(), repeat_delay, intervals)
            case "fail":
                return Failed(MOMENT, "builtins.ValueError", "boom")
            case "stop":
                return Stopped(MOMENT, "told to")
            case "retry":
                left = max((claim.record.number("retries_left") or 0) - 1, 0)
                error = "builtins.ValueError"
                return Retried(MOMENT, error, "boom", self.delay, self.at_front, left)
            case _:
                return GivenBack(MOMENT)


HOWS = ["finish", "finish", "finish", "fail", "stop", "retry", "retry", "give back"]
ENDING = st.builds(Ending, st.sampled_from(HOWS), st.sampled_from([0.0, 300.0]), st.booleans())
ENDINGS = st.lists(ENDING, min_size=1, max_size=4)


class Histories(RuleBasedStateMachine):
    """One history; ``url`` and ``steps`` are set by the tests."""

    url: ClassVar[str] = ""
    count: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).count += 1
        self.loop = asyncio.new_event_loop()
        self.model = Model(QUEUES)
        self.claims: list[Claim] = []
        self.stale = {"nobody"}
        """Beginnings of sentences about ids that were still in some list, their jobs expired, when they were given again."""
        self.live: dict[str, list[Claim]] = {seat.worker: [] for seat in SEATS}
        self.backend = self.loop.run_until_complete(self._connect())

    async def _connect(self) -> RedisBackend:
        backend = connect(self.url, key_prefix=f"t{uuid4().hex[:12]}")
        backend.release = _nothing  # type: ignore[method-assign]  # a slice at a time, here: see `settled`
        return backend

    def teardown(self) -> None:
        """See whether anything is left behind that workers do not sweep up."""
        try:
            for queue in QUEUES:
                self.sweep(queue)
            found = leaks(self.run(self._client()), self.backend.key_prefix)
            assert [one for one in found if not one.startswith(tuple(self.stale))] == []
        finally:
            self.run(self._close())
            self.loop.close()

    async def _client(self) -> Any:
        return self.backend.sync_client()

    async def _close(self) -> None:
        (keys,) = await self.backend.run(["KEYS", f"{self.backend.key_prefix}:*"])
        if keys:
            await self.backend.run(["DEL", *keys])
        await self.backend.close()

    # -- the rules -------------------------------------------------------------------------------------------------------

    @initialize(terms=st.lists(SIMPLE, min_size=1, max_size=3))
    def begin(self, terms: list[Terms]) -> None:
        """Begin with some jobs, so that more histories have something to be about."""
        for job_id, each in zip("abc", terms, strict=False):
            self.add(job_id, each, lost=False)

    @rule(job_id=IDS, terms=TERMS, lost=st.booleans())
    def add(self, job_id: str, terms: Terms, lost: bool) -> None:
        """Add a job, new or in the place of another."""
        if self._is_odd(job_id, terms):
            return
        if job_id in self.model.expired:
            self.stale.add(f"job {job_id} is ")
        with self.call(lost):
            got = self.run(self._add(job_id, terms))
        assert got == self.model.add(job_id, terms)
        self.settled()

    @rule(job_id=IDS, terms=TERMS, first=st.integers(0, 5))
    def add_child(self, job_id: str, terms: Terms, first: int) -> None:
        """Add a job that waits for others that have not ended yet."""
        going = [one for one, job in sorted(self.model.jobs.items()) if job.status not in TERMINAL]
        parents = [one for one in going[first:] + going[:first] if one != job_id][:2]
        self.add(job_id, replace(terms, parents=tuple(parents), delay=None), lost=False)

    def _is_odd(self, job_id: str, terms: Terms) -> bool:
        """Whether this is left to other tests: circles, and ids that were forgotten while others wait for them."""
        if job_id in terms.parents:
            return True
        is_gone = job_id not in self.model.jobs
        if self.model.children_of(job_id) and (is_gone or terms.parents):
            return True
        return any(parent in self.model.expired for parent in terms.parents)

    @rule(job_id=IDS, enqueue_dependents=st.booleans(), only=st.booleans(), lost=st.booleans())
    def cancel(self, job_id: str, enqueue_dependents: bool, only: bool, lost: bool) -> None:
        """Cancel a job, or stop it if it runs."""
        children = self.children(job_id)
        act = (
            self.backend.stop(job_id)
            if only
            else self.backend.cancel(job_id, enqueue_dependents=enqueue_dependents)
        )
        with self.call(lost):
            got = self.run(_word(act))
        expected = self.model.cancel(
            job_id, children, enqueue_dependents=enqueue_dependents and not only, running_only=only
        )
        assert got == ("OK" if expected == "STOPPING" else expected)
        self.settled()

    @rule(job_id=IDS, at_front=st.booleans(), lost=st.booleans())
    def requeue(self, job_id: str, at_front: bool, lost: bool) -> None:
        """Put a job that has ended back."""
        with self.call(lost):
            got = self.run(_word(self.backend.requeue(job_id, at_front=at_front)))
        assert got == self.model.requeue(job_id, at_front=at_front)
        self.settled()

    @rule(job_id=IDS, lost=st.booleans())
    def delete(self, job_id: str, lost: bool) -> None:
        """Delete a job."""
        children = self.children(job_id)
        with self.call(lost):
            got = self.run(_word(self.backend.delete(job_id)))
        assert got == self.model.delete(job_id, children)
        self.settled()

    @rule(job_id=IDS, delay=st.sampled_from([-10.0, 300.0, 5000.0]), lost=st.booleans())
    def reschedule(self, job_id: str, delay: float, lost: bool) -> None:
        """Give a scheduled job another time."""
        with self.call(lost):
            got = self.run(_word(self.backend.reschedule(job_id, time.time() + delay)))
        assert got == self.model.reschedule(job_id, delay)
        self.settled()

    @rule(seat=st.sampled_from(SEATS), count=st.integers(1, 3), promote=st.booleans(), lost=st.booleans())  # fmt: skip
    def claim(self, seat: Seat, count: int, promote: bool, lost: bool) -> None:
        """Claim some jobs; should the reply get lost, what was started is given back at once."""
        queues = QUEUES if seat is SEATS[0] else QUEUES[::-1]
        request = ClaimRequest(count, queues, promote=100 if promote else 0)
        with self.call(lost) as was_lost:
            claimed = self.run(self.backend.claim(seat, request))
        token = claimed.claims[0].execution_id[:24] if claimed.claims else "none"
        leases = self.model.claim(queues, count, request.promote, token)
        if was_lost:
            for lease in reversed(leases):
                self.model.tick()
                self.model.give_back(lease, ())
            leases = []
        assert [Lease(one.job_id, one.execution_id) for one in claimed.claims] == leases
        assert all(one.attempt == self.model.jobs[one.job_id].attempt for one in claimed.claims)
        self.claims += claimed.claims
        self.live[seat.worker] += claimed.claims
        self.settled()

    @rule(seat=st.sampled_from(SEATS), endings=ENDINGS, lost=st.booleans())
    def work(self, seat: Seat, endings: list[Ending], lost: bool) -> None:
        """Claim and end what was claimed first, several times."""
        for ending in endings:
            self.claim(seat, 2, promote=True, lost=False)
            if held := self._held():
                self._end(held[0], ending.of(held[0]), lost)

    @rule(seat=st.sampled_from(SEATS), endings=ENDINGS)
    def work_on(self, seat: Seat, endings: list[Ending]) -> None:
        """More of it: most histories should have some."""
        self.work(seat, endings, lost=False)

    @rule(choice=st.integers(0, 100), is_live=st.booleans(), ending=ENDING, lost=st.booleans())
    def settle(self, choice: int, is_live: bool, ending: Ending, lost: bool) -> None:
        """End a run: one that owns its job, or any that there ever was, as a worker does that comes too late."""
        held = self._held()
        claims = held if is_live and held else self.claims
        if not claims:
            return
        claim = claims[choice % len(claims)]
        self._end(claim, ending.of(claim), lost)

    def _held(self) -> list[Claim]:
        held = {lease for leases in self.model.leases.values() for lease in leases}
        return [one for one in self.claims if _lease(one) in held]

    def _end(self, claim: Claim, outcome: Outcome, lost: bool) -> None:
        children = self.children(claim.job_id)
        seat = next(seat for seat in SEATS if seat.worker == claim.worker)
        with self.call(lost) as was_lost:
            settled = self.run(self.backend.settle(seat, [(claim, outcome)]))
        got = settled.refused[0][1].value if settled.refused else "OK"
        expected = self._settle(claim, outcome, children)
        if was_lost:
            expected = self._settle(claim, outcome, children)  # it remembers, or finds the job gone
        assert got == expected
        self.settled()

    def _settle(self, claim: Claim, outcome: Outcome, children: Sequence[str]) -> str:
        lease, model = _lease(claim), self.model
        match outcome:
            case Finished(value=value):
                return model.finish(lease, (value or b"").decode(), outcome.repeat_delay, children)
            case Failed():
                return model.fail(lease, "failed", children)
            case Stopped():
                return model.fail(lease, "stopped", children)
            case Retried():
                left = outcome.retries_left or 0
                return model.retry(
                    lease, outcome.delay, at_front=outcome.at_front, retries_left=left, children=children
                )  # fmt: skip
            case GivenBack():
                return model.give_back(lease, children)

    @rule(seat=st.sampled_from(SEATS))
    def extend(self, seat: Seat) -> None:
        """The heartbeat: of all runs that a worker has had and does not know to be over."""
        claims = self.live[seat.worker]
        self.model.tick()
        extended = self.run(self.backend.extend(seat, claims, Tally()))
        expected = self.model.extend(map(_lease, claims))
        assert (extended.lost, extended.stopping) == expected
        self.live[seat.worker] = [one for one in claims if one.execution_id not in extended.lost]
        self.settled()

    @rule(seconds=st.sampled_from([100.0, 600.0, 1200.0, 4000.0]), queue=st.sampled_from(QUEUES))
    def advance(self, seconds: float, queue: str) -> None:
        """Let time go by, and free what dead workers have left."""
        self.run(pass_time(self.backend, seconds))
        self.model.advance(seconds)
        self.settled()
        reaped = self.run(self.backend.reap(queue, max_deaths=MAX_DEATHS))
        requeued, failed = self.model.reap(queue)
        assert (list(reaped.requeued), list(reaped.failed)) == (requeued, failed)
        self.settled()

    @rule(queue=st.sampled_from(QUEUES), limit=st.sampled_from([1, 100]), lost=st.booleans())
    def keep_up(self, queue: str, limit: int, lost: bool) -> None:
        """Move what is due, and clean up, as every worker does now and then."""
        with self.call(lost) as was_lost:
            moved, _ = self.run(self.backend.promote(queue, limit=limit))
        expected = self.model.promote(queue, limit)
        if was_lost:  # it is promoted a second time
            self.model.tick()
            expected = self.model.promote(queue, limit)
        assert moved == expected
        self.settled()
        self.sweep(queue)

    def sweep(self, queue: str) -> None:
        """Clean up."""
        self.run(sweeping.sweep(self.backend, queue))
        self.model.sweep(queue)
        (order,) = self.run(self.backend.run(["ZRANGE", self.backend.keys.deferred(queue), 0, -1]))
        self.run(sweeping.sweep_deferred(self.backend, queue))
        self.model.sweep_deferred(queue, [one.decode() for one in order])
        self.model.tick()
        self.run(sweeping.sweep_rates(self.backend))
        self.model.sweep_rates()
        self.settled()

    # -- how they are carried out ----------------------------------------------------------------------------------------

    def run(self, work: Awaitable[Any]) -> Any:
        """Do some work on the loop of this history."""

        async def main() -> Any:
            return await work

        return self.loop.run_until_complete(main())

    @contextmanager
    def call(self, lost: bool) -> Iterator[list[bool]]:
        """Begin a call, whose reply may get lost; what is yielded is not empty once it was."""
        self.model.tick()
        if lost:
            with lose_next_reply() as happened:
                yield happened
        else:
            yield []

    def children(self, job_id: str) -> list[str]:
        """Return who is noted as waiting for a job, in the order in which Redis goes through them."""
        key = self.backend.keys.dependents(job_id)
        ((_, found),) = self.run(self.backend.run(["SSCAN", key, 0, "COUNT", 100]))
        return [one.decode() for one in found]

    def settled(self) -> None:
        """Free those that wait, a slice at a time, until nothing is left to free; then the two must be equal."""
        key = self.backend.keys.releasing()
        while noted := _pairs(self.run(self.backend.run(["HGETALL", key]))[0]):
            order = {parent: self.children(parent) for parent in noted}
            self.model.tick()
            self.run(self.backend.call("release", now_iso="2024-05-01T12:00:00.000000Z"))
            left = _pairs(self.run(self.backend.run(["HGETALL", key]))[0])
            for parent in noted.keys() - left.keys():
                how = noted[parent].partition(" ")[0]
                assert self.model.releasing.get(parent, how) == how
                self.model.free(parent, how, order[parent])
        assert self.model.releasing == {}
        self.model.tick()
        stored, expected = self.run(read(self.backend, QUEUES)), Stored.of_model(self.model)
        for name, value in vars(expected).items():
            assert (name, getattr(stored, name)) == (name, value)

    async def _add(self, job_id: str, terms: Terms) -> str:
        parents = terms.parents and Dependency(
            list(terms.parents), allow_failure=terms.policy == "failure"
        )
        policy: Any = "wait" if terms.policy == "failure" else terms.policy
        spec = stage.job_spec(
            job_id,
            queue=terms.queue,
            status=JobStatus.QUEUED if terms.delay is None else JobStatus.SCHEDULED,
            due_in=terms.delay,
            at_front=terms.at_front,
            unique=terms.unique,
            depends_on=parents or None,
            on_parent_failure=policy,
            rate_limit=terms.rate and RateLimit(*terms.rate),
            repeat=Repeat(terms.repeats) if terms.repeats else None,
            retry=terms.retries or None,
            ttl=terms.ttl,
            result_ttl=terms.result_ttl,
            failure_ttl=terms.failure_ttl,
            redeliver=terms.redeliver,
        )
        try:
            await self.backend.add([spec])
        except DuplicateJobError:
            return "DUPLICATE"
        except InvalidJobOperation:
            return "WRONG_STATUS"
        return "OK"


async def _nothing() -> None: ...


async def _word(act: Awaitable[Any]) -> str:
    try:
        await act
    except NoSuchJobError:
        return "GONE"
    except InvalidJobOperation:
        return "WRONG_STATUS"
    return "OK"


def _lease(claim: Claim) -> Lease:
    return Lease(claim.job_id, claim.execution_id)


def _pairs(flat: Sequence[bytes]) -> dict[str, str]:
    texts = iter([part.decode() for part in flat])
    return dict(zip(texts, texts, strict=True))
