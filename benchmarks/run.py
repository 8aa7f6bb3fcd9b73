"""Measure aiorq2 beside other queues, in one run on one machine: ``make bench``, or ``make bench ARGS="--peers saq,streaq"``.

Only the ratios mean something, and only those within one run: every peer has its own environment, its own best reasonable
settings (each explained in its module), the same Python, the same Redis; the peers take turns, and the turns are repeated.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from environments import ROOT, Environment, NotInstalled, find_python, prepare
from peers import NAMES
from workloads import WORKLOADS, Failed, Sample, Setting

sys.path.insert(0, str(ROOT))

from tests.support.redis_server import RedisServer, RedisServerError

OURS = "aiorq2"
KNOWN = (*NAMES, "floor")


@dataclass(frozen=True)
class Entrant:
    """A peer with a number of jobs that its worker runs at once."""

    label: str
    environment: Environment
    concurrency: int


Samples = dict[str, list[Sample | None]]
"""By the entrant's label, one for each round; None where it failed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    options = parse_arguments(arguments)
    entrants = install(options.peers, options.python)
    if not entrants:
        return 1
    try:
        with RedisServer() as server, tempfile.TemporaryDirectory() as folder:
            describe(entrants, server)
            results = measure(entrants, server, Path(folder), options)
    except RedisServerError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    for workload, samples in results.items():
        print(f"\n### {WORKLOADS[workload].title}\n")
        print("\n".join(table(samples)))
    print(f"\nload average at the end: {load()}")
    return int(any(None in samples for each in results.values() for samples in each.values()))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    option = parser.add_argument
    option(
        "--peers",
        type=chosen(KNOWN),
        default=[*NAMES],
        metavar="A,B@N",
        help=f"of {', '.join(KNOWN)}; @N: running N jobs at once, rather than what it is quickest with",
    )
    option("--workloads", type=chosen(WORKLOADS), default=[*WORKLOADS], help="drain,enqueue")
    option(
        "--jobs", type=int, default=20_000, help="how many to drain; slow peers get a part (20000)"
    )
    option("--rounds", type=int, default=3, help="how often everything is repeated (3)")
    option("--python", help="the interpreter for all peers; default: one that ardiq runs on, too")
    option("--time-limit", type=float, default=120, help="seconds for one measurement (120)")
    return parser.parse_args(arguments)


def chosen(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return how an option reads some of the ``known`` names."""

    def read(text: str) -> list[str]:
        given = text.split(",")
        if unknown := [one for one in given if one.partition("@")[0] not in known]:
            raise argparse.ArgumentTypeError(f"{unknown} are none of {', '.join(known)}")
        return given

    return read


def install(labels: Sequence[str], python: str | None) -> list[Entrant]:
    """Return the peers that can be measured here, and say why the others cannot."""
    python = python or find_python()
    entrants = []
    for label in labels:
        name, _, number = label.partition("@")
        try:
            environment = prepare(name, python)
        except NotInstalled as reason:
            print(f"bench: {reason}", file=sys.stderr)
            continue
        entrants.append(Entrant(label, environment, int(number or environment.peer.CONCURRENCY)))
    return entrants


def describe(entrants: Sequence[Entrant], server: RedisServer) -> None:
    """Print what is measured on what."""
    command = [str(entrants[0].environment.python), "-V"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    with server.client() as client:
        redis = client.info("server")["redis_version"]
    print(
        f"{version}, Redis {redis}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    )
    print(f"load average at the start: {load()}\n")
    for one in entrants:
        libraries = ", ".join(map(" ".join, one.environment.versions.items()))
        print(f"- {one.label}: {libraries}; {one.concurrency} jobs at once")
    sys.stdout.flush()


def measure(
    entrants: Sequence[Entrant], server: RedisServer, folder: Path, options: argparse.Namespace
) -> dict[str, Samples]:
    """Let the peers take turns, so that a busy moment of the machine meets all of them."""
    results: dict[str, Samples] = {name: defaultdict(list) for name in options.workloads}
    for turn in range(1, options.rounds + 1):
        for workload in options.workloads:
            for one in entrants:
                sample = measure_one(workload, one, server, folder, options)
                results[workload][one.label].append(sample)
                told = f"{sample.jobs_per_s:.0f} jobs/s" if sample else "failed"
                print(f"round {turn}, {workload}, {one.label}: {told}", file=sys.stderr)
    return results


def measure_one(
    workload: str, one: Entrant, server: RedisServer, folder: Path, options: argparse.Namespace
) -> Sample | None:
    """Measure one peer once; None, and a sentence, where that failed."""
    with server.client() as client:
        client.flushall()
        setting = Setting(
            one.environment,
            client,
            server.url,
            folder,
            jobs=max(100, int(options.jobs * WORKLOADS[workload].part(one.environment.peer))),
            concurrency=one.concurrency,
            time_limit_s=options.time_limit,
        )
        try:
            return WORKLOADS[workload].measure(setting)
        except (Failed, subprocess.TimeoutExpired) as error:
            print(f"bench: {one.label}, {workload}: {error}", file=sys.stderr)
            log = folder / "worker.log"
            if log.exists():
                sys.stderr.write(log.read_text(errors="replace")[-2000:])
            return None


def table(samples: Samples) -> list[str]:
    """Return the lines of a Markdown table, the quickest peer first."""
    titles = ["queue", "jobs/s, median", "min", "max", "aiorq2 is faster by", "commands/job"]
    titles += ["reads/job", "Redis CPU µs/job", "client CPU µs/job"]
    lines = [f"| {' | '.join(titles)} |", "| --- |" + " ---: |" * (len(titles) - 1)]
    rows = []
    for name, taken in samples.items():
        good = [sample for sample in taken if sample is not None]
        if not good:
            rows.append((0.0, f"| {name} | failed |" + " |" * (len(titles) - 2)))
            continue
        speeds = [sample.jobs_per_s for sample in good]
        client = [sample.client_us for sample in good if sample.client_us is not None]
        cells = [
            name,
            *(f"{speed:,.0f}" for speed in (median(speeds), min(speeds), max(speeds))),
            ratio(samples, name),
            f"{median(sample.commands for sample in good):.1f}",
            f"{median(sample.reads for sample in good):.2f}",
            f"{median(sample.redis_us for sample in good):.0f}",
            f"{median(client):.0f}" if client else "?",
        ]
        rows.append((median(speeds), f"| {' | '.join(cells)} |"))
    return lines + [row for _, row in sorted(rows, reverse=True)]


def ratio(samples: Samples, name: str) -> str:
    """Return how many times as fast as a peer aiorq2 is: the median of the rounds."""
    ours = next((label for label in samples if label.partition("@")[0] == OURS), name)
    pairs = zip(samples[ours], samples[name], strict=True)
    ratios = [our.jobs_per_s / one.jobs_per_s for our, one in pairs if our and one]
    return f"{median(ratios):.2f} ×" if ratios and name != ours else ""


def load() -> str:
    """Return how busy the machine is: the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
