"""What the calls of a history are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from aiorq2.backends.base import Claim, Seat
from aiorq2.outcome import Failed, Finished, GivenBack, Outcome, Retried, Stopped
from aiorq2.retrying import next_repeat
from tests.faults.model.values import LEASE_S, Terms

QUEUES = ("q1", "q2")
IDS = st.sampled_from("abcde")
ENTRIES = st.sampled_from("xy")
ANY = st.sampled_from([*"abcdeabcde", "x 1", "x 2", "y 1"])
"""A job of a given id, or the latest but one … that a recurring entry has made."""
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
    repeat_interval=st.sampled_from([0, 300]),
    retries=st.sampled_from([0, 0, 2]),
    retry_interval=st.sampled_from([0, 300]),
    ttl=st.sampled_from([None, None, None, 3000]),
    result_ttl=st.sampled_from([None, 0, -1, 700]),
    failure_ttl=st.sampled_from([None, 0, -1, 700]),
    redeliver=st.booleans(),
    group=st.sampled_from([None, None, "g", "h"]),
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
TEMPLATES = st.builds(
    Terms,
    queue=st.sampled_from(QUEUES),
    at_front=st.booleans(),
    rate=st.sampled_from([None, None, ("r", 1)]),
    retries=st.sampled_from([0, 2]),
    ttl=st.sampled_from([None, None, 3000]),
    result_ttl=st.sampled_from([None, 0, 700]),
    failure_ttl=st.sampled_from([None, 0, 700]),
    redeliver=st.booleans(),
)
"""What a recurring entry makes."""
