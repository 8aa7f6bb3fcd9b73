"""The page for those who come from RQ says of every public name of the installed rq what has become of it, and tells the truth."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from functools import cache
from typing import Any

import pytest

from aiorq2 import InvalidOption, Queue, Worker
from aiorq2.registry import FailedJobRegistry
from tests.interop.coming_from_rq import VERDICTS, Row, found, rows, unwrapped
from tests.interop.rq_names import Name, keywords, names

EVERYWHERE = {"connection", "pipeline", "job_class", "queue_class", "death_penalty_class"}
"""RQ's arguments of which the page says once, before the tables, what has become of them."""


@cache
def _rows() -> dict[tuple[str, str], Row]:
    return {(row.module, row.label): row for row in rows()}


@cache
def _names() -> dict[tuple[str, str], Name]:
    return {(name.module, name.label): name for name in names()}


def test_every_public_name_of_rq_has_a_row() -> None:
    """Found by looking at the installed rq, so that none is forgotten."""
    missing = [str(name) for key, name in _names().items() if key not in _rows()]

    assert not missing, f"{len(missing)} have none: {', '.join(missing[:40])}"


def test_every_row_is_about_a_public_name_of_rq() -> None:
    """What rq does not have (any more) is not told of, and nothing is told twice."""
    unknown = [str(row) for key, row in _rows().items() if key not in _names()]
    twice = [
        key
        for key, count in Counter((row.module, row.label) for row in rows()).items()
        if count > 1
    ]

    assert not unknown
    assert not twice


def test_no_cell_is_empty() -> None:
    """Each row has three: rq's name, one of four verdicts, and what stands in its place, or the reason why nothing does."""
    bad = [
        str(row)
        for row in rows()
        if row.cells != 3
        or row.verdict not in VERDICTS
        or not row.how
        or (row.verdict == "left out") == bool(row.counterpart)
    ]

    assert not bad


def test_every_name_of_ours_exists() -> None:
    """The page names nothing that cannot be imported, called or typed."""
    wrong = []
    for row in rows():
        try:
            found(row.counterpart or "aiorq2")
        except LookupError as error:
            wrong.append(f"{row}: {error}")

    assert not wrong


def test_async_means_a_coroutine_function_and_same_means_none() -> None:
    """``await`` stands where the page says ``async``, and nowhere else."""
    wrong = [
        f"{row} is {row.verdict}"
        for row in rows()
        if row.verdict in ("same", "async")
        and _is_awaited(found(row.counterpart or "")) != (row.verdict == "async")
    ]

    assert not wrong


def test_same_and_async_take_what_rq_takes() -> None:
    """An argument of RQ's that ours does not take is named in the row, or in the list before the tables."""
    wrong = []
    for key, row in _rows().items():
        if row.verdict in ("same", "async") and key in _names():
            missing = (
                _parameters(_names()[key].thing)
                - _parameters(found(row.counterpart or ""))
                - EVERYWHERE
                - row.words
            )
            if missing and not _takes_any(found(row.counterpart or "")):
                wrong.append(f"{row}: {', '.join(sorted(missing))}")

    assert not wrong


@pytest.mark.parametrize(
    ("module", "label", "ours"),
    [
        ("rq.queue", "Queue", Queue),
        ("rq.worker.base", "BaseWorker", Worker),
        ("rq.registry", "BaseRegistry", FailedJobRegistry),
    ],
)
def test_keyword_that_is_left_out_is_refused_with_a_sentence(
    module: str, label: str, ours: Any
) -> None:
    """One that says what to use in its place, or why there is no need of it: all of which the page says so, and no others."""
    keyword = re.compile(rf"{label}\((\w+)=\)")
    matches = {row: keyword.fullmatch(row.label) for row in rows() if row.module == module}
    left_out = {match[1] for row, match in matches.items() if match and row.verdict == "left out"}

    for name in left_out:
        with pytest.raises(InvalidOption, match=rf"\({name}=…\) is left out: .{{20,}}"):
            ours("q", **{name: None})

    assert left_out == {
        match[1] for row, match in matches.items() if match and row.how.startswith("refused")
    }


def _is_awaited(thing: Any) -> bool:
    return inspect.iscoroutinefunction(unwrapped(thing))


def _parameters(thing: Any) -> set[str]:
    function = unwrapped(thing)
    return set(keywords(function)) if inspect.isfunction(function) else set()


def _takes_any(thing: Any) -> bool:
    function = unwrapped(thing)
    return inspect.isfunction(function) and inspect.getfullargspec(function).varkw is not None
