"""The verdict on a soak: it is content with a flat one, and finds what grows, slows down, is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.soak import verdict
from tests.soak.tally import Tally
from tests.soak.verdict import Process, Sample, Soak, violations

RATE = 500.0
COUNT = 120


def _sample(number: int) -> Sample:
    """A sample of a soak in which nothing grows: every 15 s, 500 jobs a second, half of them in one worker; a little noise."""
    noise = (number * 7) % 5 / 10
    at = 15.0 * number
    worker = Process(1, 44 + noise, 12, 40, int(at * RATE / 2))
    newcomer = Process(100 + number, 40 + noise, 12, 5, 300)
    return Sample(
        at, int(at * RATE), 6400 + number % 7, 14 + noise, 0, 30 + noise, 90 + 10 * noise,
        {"steady-1": worker, f"churning-{number}": newcomer}, {},
    )  # fmt: skip


SAMPLES = [_sample(number) for number in range(COUNT)]


def _tally() -> Tally:
    """One job of each plan, as it should be; the second was running at a kill and was run again."""
    tally = Tally(8)
    tally.plans[:] = bytes([1, 1, 2, 3, 4, 5, 6, 0])
    tally.starts[:] = bytes([1, 2, 2, 1, 0, 1, 2, 0])
    tally.ends[:] = bytes([1, 1, 1, 0, 0, 0, 2, 0])
    tally.in_flight[1] = 1
    tally.ticks.update(range(100, 110))
    return tally


def _grown(name: str, by: Callable[[Sample], float]) -> list[Sample]:
    """The samples with something added to one of their values, more and more."""

    def grown(one: Sample) -> Sample:
        value: Any = getattr(one, name) + by(one)
        return replace(one, **{name: value})

    return [grown(one) for one in SAMPLES]


def _worker_grown(name: str, by: Callable[[Sample], float]) -> list[Sample]:
    """The same, of what the worker uses."""

    def grown(one: Sample) -> Sample:
        worker = one.workers["steady-1"]
        value: Any = getattr(worker, name) + by(one)
        if name != "rss_mb":
            value = int(value)
        return replace(one, workers={**one.workers, "steady-1": replace(worker, **{name: value})})

    return [grown(one) for one in SAMPLES]


def test_verdict_is_content_with_a_flat_soak() -> None:
    """Noise, a run that a kill explains, workers that come and go, and memory that is taken once in the beginning are no faults."""
    settling = _worker_grown("rss_mb", lambda one: -8.0 if one.at < 200 else 0.0)

    assert violations(Soak(RATE, SAMPLES, _tally())) == []
    assert violations(Soak(RATE, settling, _tally())) == []
    assert verdict.steady_workers(SAMPLES) == ["steady-1"]


def test_slope_is_that_of_the_line_whatever_the_outliers() -> None:
    """A tenth of the points far off does not move it."""
    points = [(float(x), 3.0 * x + (1000 if x % 10 == 0 else 0)) for x in range(100)]

    assert verdict.slope(points) == pytest.approx(3.0, abs=0.2)
    assert verdict.slope([(1.0, 5.0)]) == 0.0


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        # 100 bytes a job are 100 MB per million: 45 MB in the 450 000 jobs of this worker
        (
            _worker_grown("rss_mb", lambda one: one.at * RATE / 2 * 100 / 1e6),
            "steady-1: its memory",
        ),
        (_worker_grown("rss_mb", lambda one: one.at * RATE / 2 * 6 / 1e6), "steady-1: its memory"),
        (_worker_grown("files", lambda one: one.at / 60), "steady-1: files grow"),
        (_worker_grown("threads", lambda one: one.at / 60), "steady-1: threads grow"),
        (_grown("keys", lambda one: int(one.at)), "keys in Redis"),
        (_grown("redis_mb", lambda one: one.at / 200), "memory of Redis"),
        (_grown("queued", lambda one: int(one.at)), "queued jobs"),
        (_grown("p50_ms", lambda one: one.at / 10), "median latency"),
        (_grown("p99_ms", lambda one: one.at), "p99 of latency"),
        (_grown("enqueued", lambda one: -one.enqueued // 10), "450 jobs/s were enqueued, not 500"),
    ],
)
def test_verdict_finds_what_grows(samples: list[Sample], told: str) -> None:
    """A leak of a few bytes a job, a file a minute, a key a second, a queue, a delay: each is said, and nothing else."""
    (found,) = violations(Soak(RATE, samples, _tally()))

    assert told in found


def _lose(tally: Tally) -> None:
    tally.ends[0] = 0


def _never_start(tally: Tally) -> None:
    tally.starts[0] = tally.ends[0] = 0


def _double(tally: Tally) -> None:
    tally.starts[0] = tally.ends[0] = 2


def _double_beyond_the_kill(tally: Tally) -> None:
    tally.starts[1] = 3


def _run_the_cancelled(tally: Tally) -> None:
    tally.starts[4] = 1


def _finish_the_stopped(tally: Tally) -> None:
    tally.ends[5] = 1


def _miss_a_tick(tally: Tally) -> None:
    del tally.ticks[105]


def _tick_twice(tally: Tally) -> None:
    tally.ticks[105] = 2


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (_lose, "1 jobs lost or stuck: [0]"),
        (_never_start, "1 jobs lost or stuck: [0]"),
        (_double, "1 jobs with unexplained runs: [0]"),
        (_double_beyond_the_kill, "1 jobs with unexplained runs: [1]"),
        (_run_the_cancelled, "1 jobs with unexplained runs: [4]"),
        (_finish_the_stopped, "1 jobs with unexplained runs: [5]"),
        (_miss_a_tick, "tick 105 was missed"),
        (_tick_twice, "1 ticks too many"),
        (lambda tally: tally.ticks.clear(), "no tick at all"),
    ],
)
def test_verdict_finds_what_is_lost_or_doubled(fault: Callable[[Tally], None], told: str) -> None:
    """With the number of the job."""
    tally = _tally()
    fault(tally)

    assert violations(Soak(RATE, SAMPLES, tally)) == [told]


def test_verdict_tells_what_was_left_and_what_went_wrong() -> None:
    """Both are passed on."""
    found = violations(Soak(RATE, SAMPLES, _tally(), left=["job:1"], wrong=["steady-1 ended"]))

    assert found == ["steady-1 ended", "left in Redis: job:1"]


def test_tally_reads_what_is_appended(tmp_path: Path) -> None:
    """Line by line, also where a line is only half there; who ended how many runs is counted as well."""
    ledger, tally = tmp_path / "ledger", Tally(3)
    tally.plans[:] = bytes([1, 1, 1])
    tally.read(ledger)
    ledger.write_text("s 1 77\ne 1 77\ns 2 7")
    tally.read(ledger)
    with ledger.open("a") as file:
        file.write("8\ne 2 78\nt 1700000000 78\n")
    tally.read(ledger)

    assert list(tally.starts) == [0, 1, 1]
    assert list(tally.ends) == [0, 1, 1]
    assert tally.ended_by == {77: 1, 78: 1}
    assert tally.ticks == {1700000000: 1}
    assert (tally.planned, tally.unfinished(), tally.unexplained()) == (3, [0], [])
