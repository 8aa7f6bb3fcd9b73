"""The arithmetic of ``benchmarks/``: what is read off a table has been computed by this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import again, page, picture
from benchmarks.figures import Comparison, Row, quantile, quotient
from benchmarks.measure import chosen_of
from benchmarks.report import Entry, Report
from benchmarks.scale import SCALES
from benchmarks.table import FIGURES, lines_of
from benchmarks.targets import targets
from benchmarks.workloads import workloads


def row(*values: float | None, name: str = "jobs_per_s") -> Row:
    return Row(tuple(None if value is None else {name: value} for value in values))


def drain(**rows: Row) -> Comparison:
    return Comparison("drain", "Drain", "jobs_per_s", ("redis_us",), "more", rows)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [
        ([5.0], 0.99, 5.0),
        (list(range(1, 101)), 0.99, 99),
        (list(range(100, 0, -1)), 0.5, 50),
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_quantile_is_the_value_that_a_part_does_not_exceed(
    values: Sequence[float], part: float, expected: float
) -> None:
    """A p99 is a value that was measured, not one in between."""
    assert quantile(values, part) == expected


def test_quotient_is_above_one_for_the_better() -> None:
    """More jobs a second, or fewer milliseconds."""
    assert quotient(200, 100, "more") == 2
    assert quotient(5, 10, "less") == 2


def test_quotient_of_nothing_is_unknown() -> None:
    """Nobody is infinitely better than a zero."""
    assert quotient(1, 0, "more") is None
    assert quotient(0, 1, "less") is None
    assert quotient(10, -1, "less") is None


def test_ratio_is_the_median_of_the_rounds_that_both_have() -> None:
    """Each round is compared with itself, so that a busy round of the machine does not count against one of them."""
    found = drain(aiorq2=row(100, None, 10, 300), saq=row(50, 50, 10, 100))

    assert found.ratio("aiorq2", "saq") == 2
    assert found.ratio("aiorq2", "arq") is None
    assert found.ratio("aiorq2", None) is None


def test_best_is_neither_ours_nor_a_floor() -> None:
    """The fastest peer is a peer, by its median, and has figures."""
    found = drain(
        aiorq2=row(900), floor=row(2000), saq=row(10, 80, 90), arq=row(70), rq=Row(cannot="no")
    )

    assert found.best() == "saq"
    assert found.best(leaving_out=("saq",)) == "arq"
    assert drain(aiorq2=row(1)).best() is None


def test_ranked_puts_the_best_first_and_failures_last() -> None:
    """Whichever way is better."""
    rows = {"a": row(1), "b": row(None), "c": row(3), "d": row(2)}

    assert drain(**rows).ranked() == ["c", "d", "a", "b"]
    assert Comparison("x", "X", "jobs_per_s", (), "less", rows).ranked() == ["a", "d", "c", "b"]


def test_table_shows_median_minimum_maximum_and_ratio() -> None:
    """One line for each queue, and in it what the title line says."""
    found = drain(
        saq=Row(({"jobs_per_s": 100.0, "redis_us": 30.0},)),
        aiorq2=Row(
            (
                {"jobs_per_s": 1000.0, "redis_us": 20.0},
                {"jobs_per_s": 3000.0, "redis_us": 40.0},
                {"jobs_per_s": 2000.0, "redis_us": 10.0},
            )
        ),
    )

    titles, rule, ours, theirs = lines_of(found)

    assert cells(titles)[:6] == ["queue", "rounds", "jobs/s, median", "min", "max", "× saq"]
    assert len(cells(rule)) == len(cells(titles))
    assert cells(ours) == ["aiorq2", "3", "2,000", "1,000", "3,000", "10.00", "20"]
    assert cells(theirs) == ["saq", "1", "100", "100", "100", "1.00", "30"]


def test_table_says_why_there_is_no_figure() -> None:
    """What a peer cannot do, and what went wrong, stands in its cell."""
    lines = lines_of(drain(rq=Row(cannot="no threads"), arq=Row((None,), ("it | broke",))))

    assert [cells(line)[:3] for line in lines[2:]] == [
        ["rq", "", "cannot: no threads"],
        ["arq", "0", "failed: it / broke"],
    ]
    assert len({len(cells(line)) for line in lines}) == 1


def test_every_figure_of_every_workload_has_a_title() -> None:
    """A table never shows the name of a variable."""
    for scale in SCALES.values():
        for workload in workloads(scale).values():
            assert {workload.headline, *workload.beside} <= set(FIGURES)


def test_only_takes_patterns_and_refuses_what_matches_nothing() -> None:
    """A slip of the pen does not measure nothing."""
    known = workloads(SCALES["full"])

    assert list(chosen_of(known, ["drain*"])) == ["drain", "drain-2", "drain-4", "drain+2ms"]
    with pytest.raises(ValueError, match="'drian' is none of enqueue-one"):
        chosen_of(known, ["drian"])


def test_targets_compare_with_the_peers_that_they_name() -> None:
    """Python peers, the one in Rust, and the floor are told apart; sync peers do not count among the async ones."""
    found = drain(aiorq2=row(700), ardiq=row(400), saq=row(100), celery=row(500), floor=row(1000))

    told = {(one.wanted, one.reached, one.is_met) for one in targets({"drain": found})}

    assert told == {
        ("≥ 5 × saq", "7.00 ×", True),
        ("≥ 1.5 × ardiq", "1.75 ×", True),
        ("≥ 0.6 × floor", "0.70 ×", True),
    }


def test_targets_of_a_backlog_ask_for_the_same_speed_at_every_length() -> None:
    """15 % between the slowest and the fastest are all right, more are not."""
    sizes = {"backlog-1k": 100.0, "backlog-10k": 110.0, "backlog-100k": 120.0}
    found = {name: drain(aiorq2=row(speed)) for name, speed in sizes.items()}

    missed = targets(found)
    met = targets({name: found[name] for name in list(found)[:2]})

    assert [(one.reached, one.is_met) for one in missed] == [("within 20%", False)]
    assert [(one.reached, one.is_met) for one in met] == [("within 10%", True)]


def report(comparison: Comparison) -> Report:
    facts = {"date": "today", "python": "Python 3.13", "machine": "<one & only>"}
    entry = Entry("aiorq2", {"aiorq2": "1.0"}, 256, ("uvloop: it is faster",))
    return Report(facts, (entry,), {comparison.name: comparison})


def test_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Nothing is lost between the run and the picture."""
    written = report(drain(aiorq2=row(3, None), rq=Row(failures=("so",), cannot="x")))

    written.write(tmp_path / "run.json")

    assert Report.read(tmp_path / "run.json") == written


def test_reports_are_joined_by_workload() -> None:
    """Rounds follow on each other, also of who took part in one only; facts in which they differ are both told."""
    one = report(drain(aiorq2=row(3), rq=row(1)))
    idle = Comparison("idle", "Idle", "worker_percent", (), "less", {"aiorq2": row(1)})
    other = report(drain(aiorq2=row(4, 6), saq=row(2, 1)))
    other = replace(
        other,
        facts={**other.facts, "date": "later"},
        comparisons={**other.comparisons, "idle": idle},
    )

    both = one.joined(other)

    assert list(both.comparisons) == ["drain", "idle"]
    assert both.comparisons["drain"] == drain(
        aiorq2=row(3, 4, 6), rq=row(1, None, None), saq=row(None, 2, 1)
    )
    assert both.comparisons["drain"].ratio("aiorq2", "saq") == 4
    assert both.facts == {**one.facts, "date": "today; later"}
    assert both.entries == one.entries


def test_rounds_of_another_size_are_not_joined() -> None:
    """What was measured of more jobs or fewer is something else: the first one's stands."""
    small = report(replace(drain(aiorq2=row(9)), title="Drain 10"))

    assert report(drain(aiorq2=row(3))).joined(small).comparisons["drain"] == drain(aiorq2=row(3))


def test_picture_is_well_formed_and_its_bars_are_to_scale() -> None:
    """Half as fast is half as long; what is no peer is not in it."""
    found = drain(aiorq2=row(400), saq=row(200), floor=row(900))

    tree = ElementTree.fromstring(picture.svg({"drain": found}, "on <one & only> machine"))

    name = "{http://www.w3.org/2000/svg}"
    bars = [float(bar.get("width", 0)) for bar in tree.iter(f"{name}rect")][1:]
    texts = [text.text for text in tree.iter(f"{name}text")]
    assert len(bars) == 2
    assert bars[0] == pytest.approx(2 * bars[1], abs=0.2)
    assert texts == [
        picture.PANELS["drain"], "aiorq2", "400", "saq", "200", "on <one & only> machine",
    ]  # fmt: skip


def test_page_is_written_between_its_marks(tmp_path: Path) -> None:
    """What people wrote around the figures stays; writing twice changes nothing."""
    path = tmp_path / "benchmarks.md"
    path.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")

    page.write(report(drain(aiorq2=row(400))), path)
    once = path.read_text()
    page.write(report(drain(aiorq2=row(400))), path)

    assert path.read_text() == once
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    assert "| aiorq2 | 1 | 400 | 400 | 400 |" in once
    assert path.with_suffix(".svg").read_text().startswith("<svg ")


def test_page_tells_the_facts_of_several_runs_in_short(tmp_path: Path) -> None:
    """The first and the last date, the least and the largest load, each command once; what must not differ is told in full."""
    one = report(drain(aiorq2=row(1)))
    runs = [
        replace(one, facts={**one.facts, "date": date, "command": command, "load at start": load})
        for date, command, load in (
            ("2026-01-02", 'make bench ARGS="--json a.json"', "9.5"),
            ("2026-01-03", 'make bench ARGS="--json b.json"', "10.5"),
            ("2026-01-01", 'make bench ARGS="--only drain --json c.json"', "1.0"),
        )
    ]
    other = replace(runs[2], facts={**runs[2].facts, "python": "Python 3.14"})

    lines = page.lines_of(runs[0].joined(runs[1]).joined(other), runs[1])

    assert lines[:7] == [
        "- date: 2026-01-01 to 2026-01-03",
        "- python: Python 3.13; Python 3.14",
        "- machine: <one & only>",
        "- command:",
        '  - make bench ARGS=""',
        '  - make bench ARGS="--only drain"',
        "- load at start: 1.0 to 10.5",
    ]
    assert page.lines_of(runs[0])[3] == '- command: make bench ARGS="--json a.json"'


def test_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    """The figures never replace a page by accident."""
    path = tmp_path / "other.md"
    path.write_text("precious\n")

    with pytest.raises(ValueError, match="has no lines"):
        page.write(report(drain(aiorq2=row(400))), path)

    assert path.read_text() == "precious\n"
    assert not path.with_suffix(".svg").exists()


def test_two_runs_are_compared_against_the_best_peer_of_the_first() -> None:
    """What only one of them has is left out; the closest come first."""
    first, second = report(drain()), report(drain())
    first.comparisons["drain"] = drain(aiorq2=row(300), saq=row(100), arq=row(50))
    second.comparisons["drain"] = drain(aiorq2=row(230), saq=row(100), arq=row(200))
    first.comparisons["more"] = replace(first.comparisons["drain"], name="more")
    second.comparisons["more"] = drain(aiorq2=row(330), saq=row(100))
    first.comparisons["once"] = first.comparisons["drain"]

    found = {one.workload: one for one in again.pairs(first, second)}

    assert found.keys() == {"drain", "more"}
    assert (found["drain"].peer, found["drain"].first, found["drain"].second) == ("saq", 3, 2.3)
    assert (found["drain"].is_close, found["more"].is_close) == (False, True)
    lines = again.lines_of(first, second)
    assert "The ratios of 1 of 2 workloads are within 15% of each other." in lines
    assert cells(lines[-2]) == ["more", "saq", "3.00 ×", "3.30 ×", "10%"]
    assert cells(lines[-1]) == ["drain", "saq", "3.00 ×", "2.30 ×", "30%"]


def test_nothing_is_said_of_runs_that_have_nothing_in_common() -> None:
    """Nor of a peer that failed."""
    first, second = report(drain()), report(drain())
    second.comparisons.clear()

    assert again.lines_of(first, second) == []
