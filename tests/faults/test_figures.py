"""The table of the figures: the worst and the median of what was measured, and a word where nothing was."""

from __future__ import annotations

from pathlib import Path

from tests.faults.figures import DEMANDS, note, table


def test_figures_become_a_table(tmp_path: Path) -> None:
    """Numbers by the worst and the median, sentences one beneath the other, from several files; every demand has a row."""
    first, second = tmp_path / "a", tmp_path / "b"
    for value in (0.2, 0.9, 0.3):
        note(str(first), "rerun", value)
    note(str(first), "idle_stop", 0.31)
    for seed in (1, 2):
        note(str(second), "storm", f"seed {seed}: violations 0")

    rows = dict(line.rsplit(" | ", 1) for line in table([first, second]).splitlines()[2:])

    measured = {name: rows[f"| {what} | {demand}"] for name, (what, demand) in DEMANDS.items()}
    assert measured["rerun"] == "0.9 (the worst of 3; median 0.3) |"
    assert measured["idle_stop"] == "0.31 |"
    assert measured["storm"] == "seed 1: violations 0<br>seed 2: violations 0 |"
    assert measured["soak"] == "not measured this time |"
