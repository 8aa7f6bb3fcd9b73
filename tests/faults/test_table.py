"""The table of the faults, ``docs/faults.md``: every row is there, and every test that it names."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "faults.md"
ROWS = {
    "P": 16,
    "N": 16,
    "R": 23,
    "S": 9,
    "C": 11,
    "J": 22,
    "A": 11,
    "B": 10,
    "H": 14,
    "X": 5,
    "Z": 6,
}
"""How many rows of each kind there are; they are numbered from 1."""
ROW = re.compile(r"^\| (?P<id>[A-Z]\d+) \| (?P<what>.+) \| (?P<shown_by>.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(?P<file>\w+/\w+)::(?P<name>\w+)`")


@cache
def _rows() -> dict[str, str]:
    """Return what each row is shown by."""
    found = [(one["id"], one["shown_by"]) for one in ROW.finditer(DOCUMENT.read_text())]
    assert len(dict(found)) == len(found), "a row stands there twice"
    return dict(found)


def _named(row: str) -> list[tuple[str, str]]:
    return [(one["file"], one["name"]) for one in TEST.finditer(_rows()[row])]


def test_table_has_every_row() -> None:
    """In the order of their numbers, and none besides."""
    expected = [f"{kind}{number}" for kind, count in ROWS.items() for number in range(1, count + 1)]

    assert sorted(_rows()) == sorted(expected)


@pytest.mark.parametrize("row", sorted(_rows()))
def test_row_names_a_test_that_exists_or_says_why_not(row: str) -> None:
    """By file and function; a row without a test has a reason in the place of it."""
    named = _named(row)

    if not named:
        assert re.fullmatch(r"none: .{10,}", _rows()[row])
    for file, name in named:
        path = TESTS / f"{file}.py"
        assert path.exists(), f"{row}: there is no {file}.py"
        assert re.search(rf"^(async )?def {name}\(", path.read_text(), re.MULTILINE), (
            f"{row}: {name}"
        )


def test_table_knows_every_test_of_a_fault() -> None:
    """Every test of real processes in ``tests/faults/`` stands in some row: nothing is tested that the table does not tell of."""
    named = {one for row in _rows() for one in _named(row)}
    tools = {"test_checker", "test_figures", "test_model", "test_table"}
    missing = []
    for path in sorted((TESTS / "faults").glob("test_*.py")):
        if path.stem not in tools:
            tests = re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE)
            missing += [
                f"{path.stem}::{one}" for one in tests if (f"faults/{path.stem}", one) not in named
            ]

    assert missing == []
