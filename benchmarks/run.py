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
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from environments import ROOT, Environment, NotInstalled, find_python, prepare
from peers import NAMES
from workloads import WORKLOADS, Failed, Sample, Setting

sys.path.insert(0, str(ROOT))

from tests.support.redis_server import RedisServer, RedisServerError

OURS = "aiorq2"
TITLES = {
    "drain": "Drain no-ops: one worker process, from the first job's start to the last stored result",
    "enqueue": "Enqueue one at a time: one process, each awaited before the next",
}
Samples = dict[str, list[Sample | None]]
"""By name of the peer, one for each round; None where it failed."""


def main() -> int:
    """Measure and print; returns the exit status."""
    options = parse_arguments()
    environments = install(options.peers, options.python)
    if not environments:
        return 1
    try:
        with RedisServer() as server, tempfile.TemporaryDirectory() as folder:
            describe(environments, server, options)
            results = measure(environments, server, Path(folder), options)
    except RedisServerError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    for workload, samples in results.items():
        print(f"\n### {TITLES[workload]}\n")
        print("\n".join(table(samples)))
    print(f"\nload average at the end: {load()}")
    return int(any(None in samples for each in results.values() for samples in each.values()))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    option = parser.add_argument
    option("--peers", type=chosen(NAMES), default=NAMES, help=f"of {','.join(NAMES)}")
    option("--workloads", type=chosen(WORKLOADS), default=[*WORKLOADS], help="drain,enqueue")
    option("--jobs", type=int, default=20_000, help="how many; slow peers get a part (20000)")
    option("--rounds", type=int, default=3, help="how often everything is repeated (3)")
    option(
        "--concurrency", type=int, help="the same for all workers, not what each is quickest with"
    )
    option("--python", default=find_python(), help="the interpreter for all peers")
    option("--time-limit", type=float, default=120, help="seconds for one measurement (120)")
    return parser.parse_args()


def chosen(known: Sequence[str] | dict[str, object]) -> Callable[[str], list[str]]:
    """Return how an option reads some of the ``known`` names."""

    def read(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{sorted(unknown)} are none of {', '.join(known)}")
        return names

    return read


def install(names: Sequence[str], python: str) -> list[Environment]:
    """Return the environments of the peers that can be measured here, and say why the others cannot."""
    environments = []
    for name in names:
        try:
            environments.append(prepare(name, python))
        except NotInstalled as reason:
            print(f"bench: {reason}", file=sys.stderr)
    return environments


def describe(
    environments: Sequence[Environment], server: RedisServer, options: argparse.Namespace
) -> None:
    """Print what is measured on what."""
    version = subprocess.run(
        [str(environments[0].python), "-V"], capture_output=True, text=True, check=True
    ).stdout.strip()
    with server.client() as client:
        redis = client.info("server")["redis_version"]
    print(
        f"{version}, Redis {redis}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    )
    print(f"load average at the start: {load()}")
    for environment in environments:
        libraries = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
        at_once = options.concurrency or environment.peer.CONCURRENCY
        print(f"- {libraries}; concurrency {at_once}")
    sys.stdout.flush()


def measure(
    environments: Sequence[Environment],
    server: RedisServer,
    folder: Path,
    options: argparse.Namespace,
) -> dict[str, Samples]:
    """Let the peers take turns, so that a busy moment of the machine meets all of them."""
    results: dict[str, Samples] = {name: defaultdict(list) for name in options.workloads}
    for turn in range(options.rounds):
        for workload in options.workloads:
            for environment in environments:
                sample = measure_one(workload, environment, server, folder, options)
                results[workload][environment.name].append(sample)
                told = f"{sample.jobs_per_s:.0f} jobs/s" if sample else "failed"
                print(
                    f"round {turn + 1}, {workload}, {environment.name}: {told}",
                    file=sys.stderr,
                )
    return results


def measure_one(
    workload: str,
    environment: Environment,
    server: RedisServer,
    folder: Path,
    options: argparse.Namespace,
) -> Sample | None:
    """Measure one peer once; None, and a sentence, where that failed."""
    with server.client() as client:
        client.flushall()
        setting = Setting(
            environment,
            client,
            server.url,
            folder,
            jobs=max(100, int(options.jobs * environment.peer.SHARE)),
            concurrency=options.concurrency or environment.peer.CONCURRENCY,
            time_limit_s=options.time_limit,
        )
        try:
            return WORKLOADS[workload](setting)
        except (Failed, subprocess.TimeoutExpired) as error:
            print(f"bench: {environment.name}, {workload}: {error}", file=sys.stderr)
            log = folder / "worker.log"
            if log.exists():
                sys.stderr.write(log.read_text(errors="replace")[-2000:])
            return None


def table(samples: Samples) -> list[str]:
    """Return the lines of a Markdown table, the quickest peer first."""
    titles = ("queue", "jobs/s, median", "min", "max", "aiorq2 is faster by", "commands/job")
    titles += ("reads/job", "Redis CPU µs/job", "client CPU µs/job")
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
    pairs = zip(samples.get(OURS, ()), samples[name], strict=False)
    ratios = [ours.jobs_per_s / one.jobs_per_s for ours, one in pairs if ours and one]
    return f"{median(ratios):.2f} ×" if ratios and name != OURS else ""


def load() -> str:
    """Return how busy the machine is: the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
