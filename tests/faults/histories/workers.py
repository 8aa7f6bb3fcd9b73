"""What workers do: they claim, extend and end runs."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import rule

from aiorq2.backends.base import Claim, Claimed, ClaimRequest, Seat, Tally
from aiorq2.outcome import Failed, Finished, GivenBack, Outcome, Retried, Stopped
from tests.faults.histories.draws import ENDING, ENDINGS, QUEUES, SEATS, Ending
from tests.faults.histories.stage import Stage
from tests.faults.model.values import Lease


class OnRuns(Stage):
    """The verbs of workers."""

    @rule(
        seat=st.sampled_from(SEATS),
        count=st.integers(1, 3),
        promote=st.booleans(),
        lost=st.booleans(),
        share=st.sampled_from([0, 0, 1]),
    )
    def claim(self, seat: Seat, count: int, promote: bool, lost: bool, share: int = 0) -> None:
        """Claim some jobs; should the reply get lost, what was started is given back at once."""
        queues = QUEUES if seat is SEATS[0] else QUEUES[::-1]
        request = ClaimRequest(count, queues, share, promote=100 if promote else 0)
        with self.call(lost) as was_lost:
            claimed = self.run(self.backend.claim(seat, request))
        self._claimed(seat, request, claimed, was_lost)
        self.settled()

    def _claimed(
        self, seat: Seat, request: ClaimRequest, claimed: Claimed, was_lost: list[bool]
    ) -> None:
        token = claimed.claims[0].execution_id[:24] if claimed.claims else "none"
        leases = self.model.claim(
            request.queues, request.count, request.promote, token, request.share
        )
        if was_lost:
            for lease in reversed(leases):
                self.model.tick()
                self.model.give_back(lease, ())
            leases = []
        assert [Lease(one.job_id, one.execution_id) for one in claimed.claims] == leases
        assert all(one.attempt == self.model.jobs[one.job_id].attempt for one in claimed.claims)
        self.claims += claimed.claims
        self.live[seat.worker] += claimed.claims

    @rule(seat=st.sampled_from(SEATS), endings=ENDINGS, lost=st.booleans())
    def turn(self, seat: Seat, endings: list[Ending], lost: bool) -> None:
        """End several runs and claim more in one pipeline, as a busy worker does."""
        held = [one for one in self._held() if one.worker == seat.worker]
        ended = [(one, ending.of(one)) for one, ending in zip(held, endings, strict=False)]
        children = {one.job_id: self.children(one.job_id) for one, _ in ended}
        request = ClaimRequest(2, QUEUES)
        with self.call(lost) as was_lost:
            claimed = self.run(self.backend.settle(seat, ended, request))
        for claim, outcome in ended:
            assert self._settle(claim, outcome, children[claim.job_id]) == "OK"
        refused = []
        for claim, outcome in ended if was_lost else []:
            word = self._settle(claim, outcome, ())
            refused += [word] if word != "OK" else []
        assert [word.value for _, word in claimed.refused] == refused
        self._claimed(seat, request, claimed, was_lost)
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


def _lease(claim: Claim) -> Lease:
    return Lease(claim.job_id, claim.execution_id)
