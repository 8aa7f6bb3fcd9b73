"""The page about the doctor has a row for each kind of finding, in the doctor's own words."""

from __future__ import annotations

from pathlib import Path

from aiorq2.doctor import KINDS, Kind

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"


def row(kind: Kind) -> str:
    """Return the row of the page's table for a kind of finding."""
    remedy = f"`--fix` {kind.mending}" if kind.mending else f"to do: {kind.advice}"
    return f"| `{kind.name}` | {kind.means} | {remedy} |"


def test_page_has_a_row_for_every_kind() -> None:
    """In the order in which they are reported."""
    lines = [
        line
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `") and "--" not in line[:6]
    ]

    assert lines == [row(kind) for kind in KINDS.values()]


def test_every_kind_says_what_follows_and_what_to_do() -> None:
    """Either it is mended, or a person is told what to do; never both, never nothing."""
    for kind in KINDS.values():
        assert kind.sentence, kind.name
        assert kind.means, kind.name
        assert bool(kind.mending) != bool(kind.advice), kind.name
