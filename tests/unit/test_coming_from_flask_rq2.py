"""The tables for those who come from Flask-RQ2: no row is missing, and every test that they name is there."""

from __future__ import annotations

import re

import pytest

from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "coming-from-flask-rq2.md").read_text()
SECTIONS = dict(re.findall(r"## (.*?)\n(.*?)(?=\n## |\Z)", PAGE, re.DOTALL))


def _rows(section: str) -> dict[str, str]:
    cells = [line.strip("| ").split(" | ") for line in SECTIONS[section].splitlines()[3:]]
    return {row[0]: row[2] for row in cells if len(row) == 3}


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("The walkthrough", [str(number) for number in range(1, 70)]),
        ("What it has", ["2.1", "2.2", "2.3", "2.4"]),
        ("What its tests show", [str(number) for number in range(1, 47)]),
    ],
)
def test_no_row_is_missing(section: str, expected: list[str]) -> None:
    """Each works and names a test, or differs and says why."""
    rows = _rows(section)

    assert list(rows) == expected
    for number, answer in rows.items():
        names_a_test = re.match(r"works.*::test_", answer)
        says_why = re.match(r"differs, .*because ", answer)
        assert names_a_test or says_why, f"{number}: {answer}"


def test_every_named_test_is_there() -> None:
    """In the file that is named."""
    named = set(re.findall(r"(\w+/test_\w+\.py)::(test_\w+)", PAGE))

    assert len(named) > 40
    for path, name in named:
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(), f"{path}::{name}"
