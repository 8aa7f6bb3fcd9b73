"""The checker itself: it is content with what may be, and finds every fault that is planted, on paper and in real workers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from aiorq2.errors import BackendUnavailable
from tests.faults.checker import Evidence, Plan, Refusal, extra_runs, violations
from tests.faults.figures import Report
from tests.faults.ledger import Run
from tests.faults.site import Site
from tests.faults.storm import Storm, Weather

FINE = Evidence(
    plans={
        "a": Plan(2),
        "b": Plan(raises=2, fails=True),
        "c": Plan(6, raises=1, due_at=0.9),
        "d": Plan(8, repeats=1, after=("c",)),
        "e": Plan(10),
    },
    runs=[
        Run("a", "w1", 1.0),  # killed
        Run("a", "w2", 4.0, 4.1, "end", id="a2"),
        Run("b", "w2", 1.0, 1.1, "raise"),
        Run("b", "w2", 1.2, 1.3, "raise"),
        Run("c", "w1", 1.0, 1.1, "raise"),
        Run("c", "w2", 1.2, 1.3, "end"),
        Run("d", "w2", 1.4, 1.5, "end"),
        Run("d", "w2", 1.6, 1.7, "end"),
        Run("e", "w3", 1.0, 9.0, "end", id="e1"),  # frozen, and late
        Run("e", "w2", 3.0, 3.1, "end", id="e2"),
    ],
    outcomes={
        "a": ("finished", 2, None),
        "b": ("failed", None, "ValueError"),
        "c": ("finished", 6, None),
        "d": ("finished", 8, None),
        "e": ("finished", 10, None),
    },
    unsure={"u": Plan(1)},
    deaths={"w1": 2.0},
    lost={"w3": [0.5, 2.5]},
    winners={"a": "a2", "e": "e2"},
    in_flight=Counter(["a", "e"]),
    ended_at={"a": 4.5, "b": 1.5, "c": 1.5, "d": 1.8, "e": 3.2},
    refusals=[
        Refusal(BackendUnavailable("job 'u': Redis at h:1/0 cannot be reached"), "u", 5.1, 5)
    ],
    ticks={"12:00": 1},
)


def _with_run(*runs: Run, **changes: Any) -> Evidence:
    return replace(FINE, runs=[*FINE.runs, *runs], **changes)


def _with_outcome(job_id: str, *outcome: Any, **changes: Any) -> Evidence:
    return replace(FINE, outcomes={**FINE.outcomes, job_id: outcome}, **changes)


def _with_refusal(error: Exception, took_s: float = 1.0) -> Evidence:
    return replace(FINE, refusals=[Refusal(error, "u", took_s, 5)])


def test_checker_is_content_with_what_may_be() -> None:
    """A run that was killed, or lost its lease, and was repeated, a failure, a retry and a repetition are as they should be; so is
    a job that died three times, and one that ran though its enqueueing raised."""
    dead = Evidence(
        plans={"a": Plan(2)},
        runs=[Run("a", f"w{n}", float(n)) for n in (1, 2, 3)],
        outcomes={"a": ("failed", None, "AbandonedJobError: …")},
        deaths={"w1": 1.5, "w2": 2.5, "w3": 3.5},
        in_flight=Counter({"a": 3}),
    )

    child = replace(  # its parent, thawed, goes on after the third loss of its lease
        dead,
        plans={**dead.plans, "b": Plan(4, after=("a",))},
        runs=[*dead.runs[:2], Run("a", "w3", 3.0, 5.0, "end"), Run("b", "w4", 4.0, 4.1, "end")],
        outcomes={**dead.outcomes, "b": ("finished", 4, None)},
    )

    assert violations(FINE) == []
    assert violations(_with_run(Run("u", "w2", 1.0, 1.1, "end"))) == []
    assert violations(dead) == []
    assert violations(child) == []
    assert extra_runs(FINE) == {"a": 1, "e": 1}


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        (_with_outcome("a", "queued", None, None), "I1 I2 I5: a: lost or wrong"),
        (replace(FINE, outcomes={"b": FINE.outcomes["b"]}), "I1 I2 I5: a: lost"),
        (_with_outcome("c", "finished", 7, None), "I1 I2 I5: c: lost or wrong"),
        (_with_outcome("c", "failed", None, "x"), "I1 I2 I5: c: lost or wrong"),
        (_with_outcome("b", "finished", None, None), "I1 I2 I5: b: lost or wrong"),
        (replace(FINE, runs=[run for run in FINE.runs if run.worker == "w1"]), "I1 I2 I5: a: lost"),
        (_with_outcome("c", "failed", None, "AbandonedJobError"), "abandoned after 0 kills"),
        (replace(FINE, in_flight=Counter("a")), "I4: e: 1 runs too many"),
        (_with_run(Run("c", "w2", 1.4, 1.45, "end")), "I4: c: 1 runs too many"),
        (_with_run(Run("u", "w2", 1, 2, "end"), Run("u", "w2", 3, 4, "end")), "I4: u: 1 runs"),
        (_with_run(Run("d", "w2", 1.75, 1.8, "end")), "I4: d: 1 runs too many"),
        (replace(FINE, lost={}), "I3: e:"),
        (replace(FINE, lost={"w3": [3.5]}), "overlap"),
        (replace(FINE, deaths={}), "I3: a:"),
        (replace(FINE, winners={"e": "e1"}), "I3: e: the result of run e1"),
        (_with_run(Run("x", "w2", 1.6, 1.7, "end")), "I1: x: nobody knows"),
        (
            replace(FINE, plans={**FINE.plans, "c": Plan(6, 1, due_at=1.05)}),
            "I1: c: started 0.050 s",
        ),
        (replace(FINE, plans={**FINE.plans, "c": Plan(6, 1, after=("a",))}), "before a had ended"),
        (replace(FINE, ended_at={"c": 1.15}), "I5: c: it was run after it had ended"),
        (replace(FINE, changes=["a: finished became queued"]), "I5: a: finished became"),
        (replace(FINE, exits=["w2"]), "I6: worker w2"),
        (_with_refusal(BackendUnavailable("job 'u': away"), 5.5), "I8: u: told after 5.50 s"),
        (_with_refusal(BackendUnavailable("Redis is away")), "I8: u: the error does not name"),
        (_with_refusal(ConnectionError("job u")), "I8: u: ConnectionError is none of our errors"),
        (_with_refusal(BackendUnavailable("job u, s3cret")), "I8: u: the password"),
        (replace(FINE, ticks={"12:00": 1, "12:01": 0}), "I9: 12:01: enqueued 0 times"),
        (replace(FINE, ticks={"12:00": 2}), "I9: 12:00: enqueued 2 times"),
        (replace(FINE, leaks=["job:x has no TTL"]), "I10: job:x"),
    ],
)
def test_checker_catches_a_fault_on_paper(evidence: Evidence, told: str) -> None:
    """Each is reported, with the number of the invariant."""
    assert any(told in one for one in violations(evidence)), violations(evidence)


STORMY = Weather(
    jobs=250,
    seconds=5,
    kill_every=0,
    reset_every=0,
    freeze_every=1.2,
    lease=1.0,
    longest_s=2.5,
    patience_s=4,
)
"""Whoever was frozen for three leases finds heirs that are still at work."""
CALM = replace(STORMY, freeze_every=0)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("mutant", "weather", "told"),
    [
        ("no fencing", STORMY, {"I3"}),
        pytest.param("no lease", CALM, {"I3", "I4"}, marks=pytest.mark.faults_all),
        pytest.param("settles twice", CALM, {"I5"}, marks=pytest.mark.faults_all),
        ("forgets a job", CALM, {"I1 I2 I5"}),
    ],
)
async def test_checker_catches_a_broken_worker(
    site: Site, report: Report, mutant: str, weather: Weather, told: set[str]
) -> None:
    """Workers that do not look whether they own a job, take no lease, settle twice or forget: the storm finds them out."""
    program = ("-m", "tests.faults.mutants", mutant)
    evidence = await Storm(site, replace(weather, program=program), seed=1).rage()

    found = violations(evidence)
    numbers = Counter(one.partition(":")[0] for one in found)
    report(f"{mutant}: {dict(numbers)}; {found[:1]}"[:300])
    assert told <= set(numbers), found[:5]
