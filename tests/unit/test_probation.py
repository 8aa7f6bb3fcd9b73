"""A job on its last chance runs alone: for how many jobs a worker asks. Who gets which is in ``contract/test_last_chance.py``."""

from __future__ import annotations

import pytest

from aiorq2.backends.base import Claim, Claimed, ClaimRequest, JobRecord
from aiorq2.probation import Probation

PATIENCE_S = 15.0
STOOD_BACK = Claimed(has_stood_back=True)


def _claim(name: str, deaths: int | None = None) -> Claim:
    fields = {} if deaths is None else {"aio_deaths": str(deaths).encode()}
    return Claim(name, f"e-{name}", "q", "w", 0.0, JobRecord(name, fields))


PLAIN, TWICE = _claim("a"), _claim("c", 2)


def _asked(probation: Probation, now: float, *, count: int = 1, is_empty: bool) -> ClaimRequest:
    chance = probation.last_chance(now)
    return ClaimRequest(count, ("q",), last_chance=chance, is_empty=is_empty)


@pytest.fixture
def probation() -> Probation:
    """That of a worker with the default of three deaths."""
    return Probation(3, PATIENCE_S)


def test_probation_concerns_nobody_else(probation: Probation) -> None:
    """A worker that is given other jobs asks for as many as it can."""
    probation.note(_asked(probation, 0.0, is_empty=True), Claimed((PLAIN,)), 0.0)

    assert probation.limit(20, {"e-a": 1}, False, 0.0) == 20
    assert probation.until({"e-a": 1}) is None
    assert probation.last_chance(0.0) == 2


def test_probation_waits_for_an_empty_worker(probation: Probation) -> None:
    """It asks for nothing until it is empty, then for one; claims that were under way, or wanted nothing, do not change that."""
    probation.note(_asked(probation, 0.0, is_empty=False), STOOD_BACK, 0.0)
    probation.note(_asked(probation, 0.0, is_empty=False), Claimed((PLAIN,)), 0.5)
    probation.note(_asked(probation, 0.0, count=0, is_empty=True), Claimed(), 0.6)

    assert probation.limit(20, {"e-a": 1}, False, 1.0) == 0
    assert probation.until({"e-a": 1}) == PATIENCE_S
    assert probation.limit(20, {}, True, 2.0) == 1


def test_probation_is_spent_alone(probation: Probation) -> None:
    """Nothing is claimed beside it; when it has ended, all is as before."""
    probation.note(_asked(probation, 0.0, is_empty=False), STOOD_BACK, 0.0)

    probation.note(_asked(probation, 2.0, is_empty=True), Claimed((TWICE,)), 2.0)
    assert probation.limit(20, {"e-c": 1}, False, 3.0) == 0
    assert probation.until({"e-c": 1}) == 2.0 + PATIENCE_S
    assert probation.limit(20, {}, True, 4.0) == 20


@pytest.mark.parametrize("claims", [(PLAIN,), ()])
def test_probation_that_somebody_else_took_is_over(
    probation: Probation, claims: tuple[Claim, ...]
) -> None:
    """An empty worker that gets something else, or nothing, goes on."""
    probation.note(_asked(probation, 0.0, is_empty=False), STOOD_BACK, 0.0)

    probation.note(_asked(probation, 2.0, is_empty=True), Claimed(claims), 2.0)

    assert probation.limit(20, {"e-a": 1}, False, 3.0) == 20


def test_probation_has_an_end(probation: Probation) -> None:
    """A worker that does not get empty in its patience takes it beside others; one that goes on for long gets company."""
    probation.note(_asked(probation, 0.0, is_empty=False), STOOD_BACK, 0.0)

    assert probation.limit(20, {"e-a": 1}, False, PATIENCE_S) == 20
    assert probation.last_chance(PATIENCE_S) == 0
    probation.note(_asked(probation, PATIENCE_S, is_empty=False), Claimed((TWICE,)), PATIENCE_S)
    assert probation.limit(20, {"e-c": 1}, False, PATIENCE_S) == 20

    late = 100.0
    assert probation.last_chance(late) == 2
    probation.note(_asked(probation, late, is_empty=True), Claimed((TWICE,)), late)
    assert probation.limit(20, {"e-c": 1}, False, late + 1) == 0
    assert probation.limit(20, {"e-c": 1}, False, late + PATIENCE_S) == 20


@pytest.mark.parametrize(("max_deaths", "last"), [(1, 1), (2, 1), (3, 2), (9, 8)])
def test_probation_is_the_last_run_before_the_end(max_deaths: int, last: int) -> None:
    """However many deaths there may be; a job that has not died is never on probation."""
    assert Probation(max_deaths, PATIENCE_S).last_chance(0.0) == last


def test_probation_is_for_who_has_stood_back(probation: Probation) -> None:
    """An empty worker that has not may ask for more before it is answered: it gets no job on its last chance."""
    assert not probation.is_ready(True)

    probation.note(_asked(probation, 0.0, is_empty=False), STOOD_BACK, 0.0)

    assert (probation.is_ready(False), probation.is_ready(True)) == (False, True)
