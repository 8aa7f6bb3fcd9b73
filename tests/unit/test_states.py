"""The state machine as a table, and what is drawn from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import rq

from aiorq2.backends import scripts
from aiorq2.states import TERMINAL, TRANSITIONS, JobStatus, Reply, Verb, main, render_docs

DOCS = Path(__file__).parents[2] / "docs" / "states.md"


def test_statuses_are_rqs() -> None:
    """Any other value makes a reader of rq's raise."""
    assert {one.value for one in JobStatus} == {one.value for one in rq.job.JobStatus}


def test_every_verb_is_a_row_and_a_script() -> None:
    """One word for the row, the Lua file and the method."""
    assert set(TRANSITIONS) == set(Verb)
    assert {verb.value for verb in Verb} <= set(scripts.all_names())


def test_terminal_statuses_are_left_only_by_somebody_who_asks() -> None:
    """By a requeue, a delete or a new job of the same id."""
    leaving = {verb for verb, row in TRANSITIONS.items() if TERMINAL & set(row.sources)}

    assert leaving == {Verb.REQUEUE, Verb.DELETE}
    assert all(one.is_terminal == (one in TERMINAL) for one in JobStatus)


def test_started_is_entered_by_claim_alone() -> None:
    """So whoever is started has a lease."""
    entering = {verb for verb, row in TRANSITIONS.items() if JobStatus.STARTED in row.targets}

    assert entering == {Verb.CLAIM, Verb.EXTEND}


def test_whatever_can_be_entered_can_be_left() -> None:
    """There is no status in which a job is stuck for ever."""
    entered = {status for row in TRANSITIONS.values() for status in row.targets}
    left = {status for row in TRANSITIONS.values() for status in row.sources}

    assert entered <= left


def test_every_status_that_is_used_is_reached_from_add() -> None:
    """And a finished job has been queued and started."""
    reached = set(TRANSITIONS[Verb.ADD].targets)
    while True:
        more = {
            target
            for row in TRANSITIONS.values()
            if reached & set(row.sources)
            for target in row.targets
        }
        if more <= reached:
            break
        reached |= more

    unused = {JobStatus.CREATED, JobStatus.READY_TO_ENQUEUE}
    assert reached == set(JobStatus) - unused


def test_docs_name_everything() -> None:
    """Each verb, each status that is used, each reply."""
    docs = render_docs()

    for verb in Verb:
        assert f"| {verb.value.replace('_', ' ')} |" in docs
    for reply in Reply:
        assert f"`{reply.value}`" in docs
    assert "queued --> started: claim" in docs


def test_docs_are_fresh() -> None:
    """``make fmt`` writes them."""
    assert main(["--check", str(DOCS)]) == 0


def test_docs_are_written_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stale and missing ones are told apart from fresh ones by the exit status."""
    page = tmp_path / "states.md"

    assert main(["--check", str(page)]) == 1
    assert "make fmt" in capsys.readouterr().err
    assert main(["--write", str(page)]) == 0
    assert main(["--check", str(page)]) == 0
    page.write_text("stale")
    assert main(["--check", str(page)]) == 1
    assert main([]) == 2
