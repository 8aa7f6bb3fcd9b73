"""Let the peers take turns, so that a busy moment of the machine meets all of them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.environments import HERE, ROOT, Environment
from benchmarks.figures import Comparison, Row
from benchmarks.scale import Scale
from benchmarks.setting import Failed, Sample, Setting, Unable
from benchmarks.workloads import Workload

sys.path.insert(0, str(ROOT))

from tests.support.redis_server import RedisServer

COMPLAINT_CHARACTERS = 1500


@dataclass(frozen=True)
class Entrant:
    """A peer with a number of jobs that its worker runs at once."""

    label: str
    environment: Environment
    concurrency: int

    def cannot(self, workload: str) -> str:
        """Return why it cannot do a workload; empty if it can."""
        lacks = self.environment.peer.LACKS
        return next((why for pattern, why in lacks.items() if fnmatch(workload, pattern)), "")


@dataclass
class Taken:
    """What has been measured of one entrant in one workload."""

    samples: list[Sample | None] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    cannot: str = ""

    def row(self) -> Row:
        """Return it as it goes into a table."""
        return Row(tuple(self.samples), tuple(self.failures), self.cannot)


@dataclass(frozen=True)
class Measuring:
    """One run of everything."""

    entrants: Sequence[Entrant]
    chosen: dict[str, Workload]
    scale: Scale
    server: RedisServer
    time_limit_s: float

    def run(self, rounds: int) -> dict[str, Comparison]:
        """Measure all workloads with all entrants, so many times; Ctrl-C or SIGTERM ends it, and what there is counts."""
        taken = {name: {one.label: Taken() for one in self.entrants} for name in self.chosen}
        with suppress(KeyboardInterrupt):
            for turn in range(1, rounds + 1):
                for name in self.chosen:
                    for one in self.entrants:
                        self._once(turn, name, one, taken[name][one.label])
        return {
            name: _comparison(name, self.chosen[name], rows)
            for name, rows in taken.items()
            if any(row.samples for row in rows.values())
        }

    def _once(self, turn: int, name: str, one: Entrant, taken: Taken) -> None:
        if why := one.cannot(name):
            taken.cannot = why
            return
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="aiorq2-bench-") as folder:
            try:
                sample: Sample | None = self._measured(self.chosen[name], one, Path(folder))
            except Unable as why_not:
                taken.cannot = str(why_not)
                return
            except (Failed, subprocess.TimeoutExpired) as error:
                sample = None
                taken.failures.append(str(error))
                _complain(f"bench: {one.label}, {name}: {error}", Path(folder))
        taken.samples.append(sample)
        headline = self.chosen[name].headline
        told = f"{headline} {sample[headline]:,.2f}" if sample else "failed"
        took = f"({time.monotonic() - begun:.1f} s)"
        print(f"round {turn}, {name}, {one.label}: {told} {took}", file=sys.stderr, flush=True)

    def _measured(self, workload: Workload, one: Entrant, folder: Path) -> Sample:
        with self.server.client() as redis, self._way(workload.round_trip_s) as url:
            redis.flushall()
            setting = Setting(
                one.environment,
                redis,
                url,
                folder,
                self.scale,
                workload.concurrency or one.concurrency,
                self.time_limit_s,
            )
            return workload.measure(setting)

    @contextmanager
    def _way(self, round_trip_s: float) -> Iterator[str]:
        """Yield the URL of a way to Redis on which a round trip takes so much longer."""
        if not round_trip_s:
            yield self.server.url
            return
        command = [sys.executable, str(HERE / "latency.py"), self.server.host]
        with subprocess.Popen(
            [*command, str(self.server.port), str(round_trip_s)], stdout=subprocess.PIPE, text=True
        ) as proxy:
            try:
                assert proxy.stdout is not None
                yield f"redis://{self.server.host}:{int(proxy.stdout.readline())}/0"
            finally:
                proxy.kill()


def _comparison(name: str, workload: Workload, rows: dict[str, Taken]) -> Comparison:
    return Comparison(
        name,
        workload.title,
        workload.headline,
        workload.beside,
        workload.is_better,
        {label: taken.row() for label, taken in rows.items() if taken.samples or taken.cannot},
    )


def _complain(what: str, folder: Path) -> None:
    """Say what went wrong, and what the peer's processes said last."""
    print(what, file=sys.stderr)
    for log in sorted(folder.glob("*.log")):
        if text := log.read_text(errors="replace").strip():
            print(f"{log.name}: …{text[-COMPLAINT_CHARACTERS:]}", file=sys.stderr)


def chosen_of(known: dict[str, Workload], patterns: Sequence[str]) -> dict[str, Workload]:
    """Return the workloads whose names match.

    Raises:
        ValueError: a pattern matches none; the message is a sentence.
    """
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in known):
            raise ValueError(f"{pattern!r} is none of {', '.join(known)}")
    return {
        name: workload
        for name, workload in known.items()
        if any(fnmatch(name, pattern) for pattern in patterns)
    }
