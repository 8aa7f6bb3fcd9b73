"""``python -m benchmarks``: measure, print Markdown, keep the figures as JSON, write them into a page."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

from benchmarks import __doc__ as about
from benchmarks import page
from benchmarks.environments import NotInstalled, find_python, in_place, prepare
from benchmarks.figures import name_of
from benchmarks.machine import facts, load
from benchmarks.measure import Entrant, Measuring, chosen_of
from benchmarks.peers import FLOORS, NAMES
from benchmarks.report import Entry, Report
from benchmarks.scale import SCALES
from benchmarks.workloads import workloads
from tests.support.redis_server import RedisServer, RedisServerError

EVERYBODY = (*NAMES, *FLOORS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    options = parse_arguments(arguments)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)  # also where a shell has them ignored
    try:
        if options.write:
            page.parts_of(
                options.write
            )  # hours later would be late to hear that it cannot be written
        report = joined(options.read) if options.read else measured(options)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            report.write(options.json)
        second = joined(options.again) if options.again else None
        print("\n".join(page.lines_of(report, second)))
        if options.write:
            page.write(report, options.write, second)
    except (RedisServerError, ValueError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    rows = [row for each in report.comparisons.values() for row in each.rows.values()]
    return int(not rows or any(row.failures for row in rows))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks",
        description=(about or "").strip(),
        epilog=f"Workloads: {', '.join(workloads(SCALES['full']))}.",
    )
    option = parser.add_argument
    option(
        "--only",
        type=lambda text: text.split(","),
        default=["*"],
        metavar="NAME,NAME",
        help="workloads, also as patterns: drain*,enqueue-one",
    )
    option(
        "--peers",
        type=_peers,
        default=list(EVERYBODY),
        metavar="A,B@N",
        help=f"of {', '.join(EVERYBODY)}; @N: running N jobs at once, rather than what it is quickest with",
    )
    option("--scale", choices=SCALES, default="small", help="how much is measured (small)")
    option("--rounds", type=int, help="how often all is repeated (small: 1, full: 3)")
    option("--json", type=Path, metavar="FILE", help="keep all figures there")
    option(
        "--read",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="measure nothing, take such figures; the rounds of several are put together",
    )
    option(
        "--again",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="figures of a second run, to say how far apart the two are",
    )
    option(
        "--write",
        type=Path,
        metavar="PAGE",
        help="put them into this page, and a picture beside it",
    )
    option("--python", help="the interpreter for all peers; default: one that ardiq runs on, too")
    option("--in-place", action="store_true", help="make no environments: this interpreter has all")
    option("--time-limit", type=float, default=300, help="seconds for one step (300)")
    return parser.parse_args(arguments)


def _peers(text: str) -> list[str]:
    given = text.split(",")
    if unknown := [label for label in given if name_of(label) not in EVERYBODY]:
        raise argparse.ArgumentTypeError(f"{unknown} are none of {', '.join(EVERYBODY)}")
    return given


def joined(paths: Sequence[Path]) -> Report:
    """Return earlier runs as one."""
    first, *others = map(Report.read, paths)
    return reduce(Report.joined, others, first)


def measured(options: argparse.Namespace) -> Report:
    """Measure what the options say.

    Raises:
        ValueError: none of the peers can be installed, or there is no such workload.
        RedisServerError: there is no Redis.
    """
    scale = SCALES[options.scale]
    chosen = chosen_of(workloads(scale), options.only)
    entrants = install(options.peers, options.python, options.in_place)
    rounds = options.rounds or scale.rounds
    with RedisServer() as server:
        with server.client() as client:
            version = str(client.info("server")["redis_version"])  # type: ignore[index]
        command = f'`make bench ARGS="{shlex.join(sys.argv[1:])}"`'
        head = facts(entrants[0].environment.python, version, command, rounds)
        entries = [
            Entry(
                one.label, one.environment.versions, one.concurrency, one.environment.peer.CHOICES
            )
            for one in entrants
        ]
        measuring = Measuring(entrants, chosen, scale, server, options.time_limit)
        report = Report(head, tuple(entries), measuring.run(rounds))
    return replace(report, facts={**head, "load average at the end": load()})


def install(labels: Sequence[str], python: str | None, is_in_place: bool) -> list[Entrant]:
    """Return the peers that can be measured here, and say why the others cannot.

    Raises:
        ValueError: none can.
    """
    python = python or find_python()
    entrants = []
    for label in labels:
        try:
            name = name_of(label)
            environment = in_place(name) if is_in_place else prepare(name, python)
        except NotInstalled as reason:
            print(f"bench: {reason}", file=sys.stderr)
            continue
        _, _, number = label.partition("@")
        entrants.append(Entrant(label, environment, int(number or environment.peer.CONCURRENCY)))
    if not entrants:
        raise ValueError("there is nobody to measure")
    return entrants


if __name__ == "__main__":
    sys.exit(main())
