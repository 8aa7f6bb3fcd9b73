"""A run as Markdown: printed, or put into a page between two marks, with a picture beside it."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import again, picture
from benchmarks.report import BETWEEN, Report, between
from benchmarks.table import lines_of as table
from benchmarks.targets import targets

BEGIN = "<!-- figures: written by `make bench`, do not edit -->"
END = "<!-- end of figures -->"


def lines_of(report: Report, second: Report | None = None) -> list[str]:
    """Return the whole run: the head, what is to be reached, how a second run differs, a table for each workload, who took part."""
    lines = [line for fact in report.facts.items() for line in _told(*fact)]
    if reached := targets(report.comparisons):
        lines += ["", "### What is to be reached", ""]
        lines += ["| work | wanted | reached | |", "| --- | --- | ---: | --- |"]
        for one in reached:
            met = "met" if one.is_met else "**missed**"
            lines.append(f"| {one.work} | {one.wanted} | {one.reached} | {met} |")
    if second is not None:
        lines += again.lines_of(report, second)
    for comparison in report.comparisons.values():
        lines += ["", f"### `{comparison.name}`: {comparison.title}", "", *table(comparison)]
    lines += ["", "### How each is set up, and why", ""]
    for entry in report.entries:
        libraries = ", ".join(map(" ".join, entry.versions.items()))
        lines.append(f"- **{entry.label}** ({libraries}; {entry.concurrency} jobs at once)")
        lines += [f"  - {choice}" for choice in entry.choices]
    return lines


def _told(name: str, value: str) -> list[str]:
    """Return a fact; of several runs each command once, and when, how often and under which load the first and the last was."""
    several = value.split(BETWEEN)
    if name == "command" and len(several) > 1:
        commands = dict.fromkeys(re.sub(r' ?--json [^ "]+', "", one) for one in several)
        return [f"- {name}:", *(f"  - {one}" for one in commands)]
    if name in ("date", "rounds") or name.startswith("load"):
        value = between(value)
    return [f"- {name}: {value}"]


def parts_of(path: Path) -> tuple[str, str]:
    """Return what stands before the marks of a page, and after them.

    Raises:
        ValueError: it has no such marks.
        OSError: it cannot be read.
    """
    head, begin, rest = path.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no lines {BEGIN} and {END}")
    return head, tail


def write(report: Report, path: Path, second: Report | None = None) -> None:
    """Put the run between the marks of the page, and the picture into a file of the same name.

    Raises:
        ValueError: the page has no such marks, or the run has nothing for a picture; nothing is written.
    """
    head, tail = parts_of(path)
    told = [report.facts[name] for name in ("date", "python", "machine")]
    caption = ", ".join(fact.partition(BETWEEN)[0] for fact in told)  # of several runs, the first
    drawn = picture.svg(report.comparisons, caption)
    inside = "\n".join(["", "", *lines_of(report, second), "", ""])
    path.write_text(f"{head}{BEGIN}{inside}{END}{tail}")
    path.with_suffix(".svg").write_text(drawn)
