"""Thousands of jobs while workers are killed, connections cut and Redis restarted: none is lost, and no run is unexplained."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tests.faults import settings
from tests.faults.checker import Evidence, abandoned, extra_runs, violations
from tests.faults.figures import Report
from tests.faults.site import Site
from tests.faults.storm import Storm, Weather

pytestmark = pytest.mark.slow

DEMANDED = Weather(jobs=10_000, seconds=67, longest_s=0.5)
SMALL = Weather(jobs=1_200, seconds=10)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", settings.seeds(full=10))
async def test_storm_of_kills_and_resets(site: Site, report: Report, seed: int) -> None:
    """Jobs of every kind, a random worker killed every second, every connection reset every two seconds: every job ends as planned,
    and only runs that were in flight at a kill are repeated."""
    evidence, text = await _rage(site, settings.size(SMALL, DEMANDED), seed)

    report(text)
    report.figure("storm", _figure(evidence, seed), seed=seed)
    assert violations(evidence) == []
    assert sum(extra_runs(evidence).values()) <= evidence.in_flight.total()


@pytest.mark.faults_all
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", settings.seeds())
async def test_storm_while_redis_is_restarted(site: Site, report: Report, seed: int) -> None:
    """The same with three crashes of Redis in it; what was acknowledged is on disk."""
    weather = Weather(
        jobs=settings.size(800, 4_000), seconds=settings.size(9, 30), restarts=3, lease=5
    )
    evidence, text = await _rage(site, weather, seed)

    report(text)
    assert violations(evidence) == []


@pytest.mark.faults_all
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", settings.seeds())
async def test_storm_of_freezes(site: Site, report: Report, seed: int) -> None:
    """Workers are frozen for three leases instead, and come back: what was taken over from them stays with their heirs."""
    weather = Weather(
        jobs=settings.size(600, 3_000), seconds=settings.size(8, 30),
        kill_every=0, freeze_every=2, reset_every=0, lease=4, longest_s=1.0,
    )  # fmt: skip
    evidence, text = await _rage(site, weather, seed)

    report(text)
    assert evidence.lost
    assert violations(evidence) == []


@pytest.mark.faults_all
@pytest.mark.timeout(400)
async def test_storm_of_orderly_stops(site: Site, report: Report) -> None:
    """One worker after the other is told to stop, and replaced: each ends with status 0, no run is cut, none is repeated."""
    seconds = settings.size(10, 30)
    weather = Weather(jobs=60 * seconds, seconds=seconds, kill_every=0, reset_every=0, stop_every=2)
    storm = Storm(site, weather, settings.FIRST_SEED)
    evidence, text = await _told(storm)

    report(text)
    assert violations(evidence) == []
    assert set(storm.statuses) == {0}
    assert {run.how for run in evidence.runs} == {"end", "raise"}
    assert extra_runs(evidence) == {}


def _figure(evidence: Evidence, seed: int) -> str:
    repeated, in_flight = sum(extra_runs(evidence).values()), evidence.in_flight.total()
    return (
        f"seed {seed}: {len(evidence.plans)} jobs, {len(evidence.deaths)} kills, violations {len(violations(evidence))};"
        f" {repeated} re-runs, {in_flight} in flight; {len(abandoned(evidence))} killed three times, and so failed"
    )


async def _rage(site: Site, weather: Weather, seed: int) -> tuple[Evidence, str]:
    return await _told(Storm(site, weather, seed))


async def _told(storm: Storm) -> tuple[Evidence, str]:
    weather = storm.weather
    began = time.monotonic()
    evidence = await storm.rage()
    told = Counter(run.how or "no end" for run in evidence.runs)
    extra = sum(extra_runs(evidence).values())
    return evidence, (
        f"seed {storm.seed}: {weather.jobs} jobs in {time.monotonic() - began:.0f} s, {len(evidence.runs)} runs {dict(told)};"
        f" {len(evidence.deaths)} kills with {evidence.in_flight.total()} runs in flight, {extra} runs repeated,"
        f" {len(abandoned(evidence))} abandoned, {len(evidence.refusals)} enqueues refused; {len(violations(evidence))} violations"
    )
