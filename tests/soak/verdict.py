"""Hold what was sampled during a soak against its bounds: a sentence for everything that grows, slows down, is lost or doubled."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from tests.soak.tally import Tally

RSS_MB_PER_MILLION = 1.0
"""The growth that is demanded not to be exceeded, per million jobs that a process has run …"""
NOISE_MB = 2.0
"""… and how much of it says nothing: memory is taken from the system in steps of about that size."""
WARM_UP, WARM_UP_S = 0.2, 30.0
"""The part of a soak that is not looked at, and how long it is at least."""
RATE = 0.95
"""The part of the demanded rate that has to be held."""


@dataclass(frozen=True)
class Process:
    """What was seen of a process: memory in MB, open files, threads, and how many jobs it has run so far."""

    pid: int
    rss_mb: float
    files: int
    threads: int
    jobs: int


@dataclass(frozen=True)
class Sample:
    """What was seen at a moment: seconds since the start, jobs acknowledged so far, what Redis held, how long jobs took (ms)."""

    at: float
    enqueued: int
    keys: int
    redis_mb: float
    queued: int
    p50_ms: float
    p99_ms: float
    workers: Mapping[str, Process]
    processes: Mapping[str, Process]
    """Beside the workers: Redis, and the producer."""


@dataclass(frozen=True)
class Soak:
    """All that a verdict is given on. ``left`` is what was in Redis in the end and should not; ``wrong`` went wrong on the way."""

    rate: float
    samples: Sequence[Sample]
    tally: Tally
    left: Sequence[str] = ()
    wrong: Sequence[str] = ()


def slope(points: Sequence[tuple[float, float]], most: int = 200) -> float:
    """Return by how much y grows with x: the median over all pairs of points, which a few outliers cannot move."""
    points = points[:: max(1, len(points) // most)]
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x2 > x1]
    return statistics.median(slopes) if slopes else 0.0


def steady_workers(samples: Sequence[Sample]) -> list[str]:
    """Return the workers that were there from the first sample to the last."""
    return sorted(
        name for name in samples[0].workers if all(name in one.workers for one in samples)
    )


def warm(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return the samples after the warm-up; the last two if there is nothing after it."""
    over = max(samples[-1].at * WARM_UP, WARM_UP_S)
    return [one for one in samples if one.at >= over] or samples[-2:]


def growth(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    """Return the growth of a worker's memory after the warm-up: MB per million jobs of its own, and MB over all of them."""
    seen = [one.workers[name] for one in warm(samples)]
    per_job = slope([(one.jobs, one.rss_mb) for one in seen])
    return per_job * 1e6, per_job * (seen[-1].jobs - seen[0].jobs)


def thirds(samples: Sequence[Sample], value: Callable[[Sample], float]) -> tuple[float, float]:
    """Return the median of a value in the first and in the last third after the warm-up."""
    seen = [value(one) for one in warm(samples)]
    third = max(1, len(seen) // 3)
    return statistics.median(seen[:third]), statistics.median(seen[-third:])


def violations(soak: Soak) -> list[str]:
    """Return what must not be; nothing if all is well."""
    return [
        *soak.wrong,
        *_counts(soak.tally),
        *_memory(soak.samples),
        *_flatness(soak.samples),
        *_rate(soak),
        *[f"left in Redis: {one}" for one in soak.left],
    ]


def _counts(tally: Tally) -> list[str]:
    found = []
    if lost := tally.unfinished():
        found.append(f"{len(lost)} jobs lost or stuck: {lost[:10]}")
    if doubled := tally.unexplained():
        found.append(f"{len(doubled)} jobs with unexplained runs: {doubled[:10]}")
    return found + tally.odd_ticks()[:10]


def _memory(samples: Sequence[Sample]) -> list[str]:
    found = []
    for name in steady_workers(samples):
        per_million, in_all = growth(samples, name)
        if per_million > RSS_MB_PER_MILLION and in_all > NOISE_MB:
            found.append(
                f"{name}: its memory grows by {per_million:.1f} MB per million jobs ({in_all:.1f} MB so far)"
            )
        for what in ("files", "threads"):
            first, last = thirds(samples, lambda one, n=name, w=what: getattr(one.workers[n], w))  # type: ignore[misc]
            if last > 1.2 * first + 4:
                found.append(f"{name}: {what} grow from {first:.0f} to {last:.0f}")
    return found


_FLAT: Mapping[str, tuple[Callable[[Sample], float], float, float]] = {
    "keys in Redis": (lambda one: one.keys, 1.1, 200),
    "memory of Redis (MB)": (lambda one: one.redis_mb, 1.1, 2),
    "queued jobs": (lambda one: one.queued, 1.5, 200),
    "median latency (ms)": (lambda one: one.p50_ms, 1.5, 30),
    "p99 of latency (ms)": (lambda one: one.p99_ms, 1.5, 200),
}
"""What has to stay as it is: how it is read, by which factor and by how much more the last third may exceed the first.
Latencies have room, since other programs share the machine."""


def _flatness(samples: Sequence[Sample]) -> list[str]:
    found = []
    for what, (value, factor, more) in _FLAT.items():
        first, last = thirds(samples, value)
        if last > factor * first + more:
            found.append(f"{what}: from {first:.0f} to {last:.0f}")
    return found


def _rate(soak: Soak) -> list[str]:
    held = rate_held(soak.samples)
    if held < RATE * soak.rate:
        return [f"{held:.0f} jobs/s were enqueued, not {soak.rate:.0f}"]
    return []


def rate_held(samples: Sequence[Sample]) -> float:
    """Return how many jobs were enqueued a second."""
    first, last = samples[0], samples[-1]
    return (last.enqueued - first.enqueued) / max(1e-9, last.at - first.at)
