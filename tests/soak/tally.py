"""What became of the jobs of a soak, counted while it goes on: a byte or two for each job, not an object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """How often a job of a kind starts, and how often it ends by returning, if no worker dies."""

    starts: int = 1
    ends: int = 1
    may_not_start: bool = False
    """It is cancelled, wherever that meets it."""


PLANS: Mapping[int, Plan] = {
    1: Plan(),
    2: Plan(starts=2),  # one retry
    3: Plan(ends=0),  # fails
    4: Plan(starts=0, ends=0),  # cancelled before it is due
    5: Plan(ends=0, may_not_start=True),  # cancelled while it runs
    6: Plan(starts=2, ends=2),  # repeated
}
"""By the code that stands for a plan; 0 is a job that was not enqueued, or of which nobody knows whether it was."""


@dataclass
class Tally:
    """Codes of the plans of all jobs by their number, and how often each was started and has ended."""

    size: int
    plans: bytearray = field(init=False)
    starts: bytearray = field(init=False)
    ends: bytearray = field(init=False)
    ended_by: Counter[int] = field(default_factory=Counter)
    """How many runs each process has ended."""
    ticks: Counter[int] = field(default_factory=Counter)
    in_flight: Counter[int] = field(default_factory=Counter)
    """At how many kills a job was running."""
    ticks_in_flight: int = 0

    def __post_init__(self) -> None:
        self.plans, self.starts, self.ends = (bytearray(self.size) for _ in range(3))
        self._read_up_to = 0
        self._rest = b""

    def read(self, ledger: Path) -> None:
        """Take in what has been appended since the last time."""
        if not ledger.exists():
            return
        with ledger.open("rb") as file:
            file.seek(self._read_up_to)
            text = file.read()
        self._read_up_to += len(text)
        *lines, self._rest = (self._rest + text).split(b"\n")
        for line in lines:
            what, subject, pid = line.split(b" ")
            self._take(what, int(subject), int(pid))

    def _take(self, what: bytes, number: int, pid: int) -> None:
        if what == b"t":
            self.ticks[number] += 1
        elif what == b"s":
            self.starts[number] = min(255, self.starts[number] + 1)
        else:
            self.ends[number] = min(255, self.ends[number] + 1)
            self.ended_by[pid] += 1

    @property
    def planned(self) -> int:
        """How many jobs were acknowledged."""
        return self.size - self.plans.count(0)

    def unfinished(self) -> list[int]:
        """Return the jobs that have not started, or not returned, as often as planned."""
        return [number for number, code in enumerate(self.plans) if code and self._lacks(number)]

    def _lacks(self, number: int) -> bool:
        plan = PLANS[self.plans[number]]
        few_starts = self.starts[number] < plan.starts and not plan.may_not_start
        return few_starts or self.ends[number] < plan.ends

    def unexplained(self) -> list[int]:
        """Return the jobs with more runs than planned, beyond those in flight at kills, and those cancelled that ran on."""
        return [number for number, code in enumerate(self.plans) if code and self._exceeds(number)]

    def _exceeds(self, number: int) -> bool:
        plan, kills = PLANS[self.plans[number]], self.in_flight[number]
        too_often = max(self.starts[number] - plan.starts, self.ends[number] - plan.ends)
        return too_often > kills or (plan.may_not_start and self.ends[number] > 0)

    def repeated(self) -> int:
        """Return how many runs there were beyond those planned."""
        return sum(
            max(0, self.starts[number] - PLANS[code].starts)
            for number, code in enumerate(self.plans)
            if code
        )

    def odd_ticks(self) -> list[str]:
        """Return which seconds between the first and the last tick were missed, or ticked more often than kills explain."""
        if not self.ticks:
            return ["no tick at all"]
        seconds = range(min(self.ticks), max(self.ticks) + 1)
        missed = [f"tick {one} was missed" for one in seconds if not self.ticks[one]]
        twice = sum(count - 1 for count in self.ticks.values() if count > 1)
        return missed + ([f"{twice} ticks too many"] if twice > self.ticks_in_flight else [])
