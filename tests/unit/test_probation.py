"""A job on its last chance runs alone: which claims a worker begins, and for how many it asks."""

from __future__ import annotations

import pytest

from aiorq2.backends.base import Claim, JobRecord
from aiorq2.probation import Probation

PATIENCE_S = 15.0


def _claim(name: str, deaths: int | None = None) -> Claim:
    fields = {} if deaths is None else {"aio_deaths": str(deaths).encode()}
    return Claim(name, f"e-{name}", "q", "w", 0.0, JobRecord(name, fields))


PLAIN, ONCE, TWICE, OTHER = _claim("a"), _claim("b", 1), _claim("c", 2), _claim("d", 2)


@pytest.fixture
def probation() -> Probation:
    """That of a worker with the default of three deaths."""
    return Probation(3, PATIENCE_S)


def test_probation_concerns_nobody_else(probation: Probation) -> None:
    """Jobs that did not die, or died once, begin beside each other, and the worker asks for as many as it can."""
    assert probation.sort([PLAIN, ONCE], False, 0.0) == ([PLAIN, ONCE], ())
    assert probation.limit(20, {}, False, 0.0) == 20
    assert probation.until({}) is None


def test_probation_waits_for_an_empty_worker(probation: Probation) -> None:
    """The one on its last chance goes back; the worker asks for nothing until it is empty, then for one."""
    assert probation.sort([PLAIN, TWICE, OTHER], True, 0.0) == ([PLAIN], [TWICE, OTHER])
    assert probation.limit(20, {"e-a": 1}, False, 1.0) == 0
    assert probation.until({"e-a": 1}) == PATIENCE_S
    assert probation.limit(20, {}, True, 2.0) == 1


def test_probation_is_spent_alone(probation: Probation) -> None:
    """Nothing is claimed beside it; when it has ended, all is as before."""
    probation.sort([PLAIN, TWICE], True, 0.0)

    assert probation.sort([TWICE], True, 2.0) == ([TWICE], ())
    assert probation.limit(20, {"e-c": 1}, False, 3.0) == 0
    assert probation.until({"e-c": 1}) == 2.0 + PATIENCE_S
    assert probation.limit(20, {}, True, 4.0) == 20


def test_probation_that_somebody_else_took_is_over(probation: Probation) -> None:
    """An empty worker that gets something else begins it and goes on."""
    probation.sort([PLAIN, TWICE], True, 0.0)

    assert probation.sort([PLAIN], True, 2.0) == ([PLAIN], ())
    assert probation.limit(20, {"e-a": 1}, False, 3.0) == 20

    probation.sort([PLAIN, TWICE], True, 4.0)
    assert probation.sort([], True, 5.0) == ([], ())
    assert probation.limit(20, {}, True, 6.0) == 20


def test_probation_has_an_end(probation: Probation) -> None:
    """A worker that does not get empty in its patience takes it beside others; one that goes on for long gets company."""
    probation.sort([PLAIN, TWICE], True, 0.0)

    assert probation.limit(20, {"e-a": 1}, False, PATIENCE_S) == 20
    assert probation.sort([TWICE], False, PATIENCE_S) == ([TWICE], ())

    late = 100.0
    assert probation.sort([TWICE], True, late) == ([TWICE], ())
    assert probation.limit(20, {"e-c": 1}, False, late + PATIENCE_S) == 20


@pytest.mark.parametrize(("max_deaths", "suspect"), [(1, ONCE), (2, ONCE), (3, TWICE)])
def test_probation_is_the_last_run_before_the_end(max_deaths: int, suspect: Claim) -> None:
    """However many deaths there may be; a job that has not died is never on probation."""
    probation = Probation(max_deaths, PATIENCE_S)

    assert probation.sort([PLAIN, suspect], True, 0.0) == ([PLAIN], [suspect])
