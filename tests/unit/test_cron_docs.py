"""docs/cron.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aiorq2.cron import CronPattern
from aiorq2.errors import InvalidCronPattern

PAGE = (Path(__file__).parents[2] / "docs" / "cron.md").read_text()
WORDS = re.findall(r"^\| `([^`]+)` \| ((?:At|Every) .*) \|$", PAGE, re.MULTILINE)
REFUSED = re.findall(r"^cron pattern '([^']+)'.*$", PAGE, re.MULTILINE)


def test_there_is_something_to_check() -> None:
    """The page has its tables."""
    assert len(WORDS) >= 15
    assert len(REFUSED) >= 4


@pytest.mark.parametrize(("text", "words"), WORDS)
def test_words_in_the_docs_are_those_of_the_pattern(text: str, words: str) -> None:
    """The table of examples shows what ``describe()`` returns."""
    assert CronPattern.parse(text).describe() == words


@pytest.mark.parametrize("text", REFUSED)
def test_refusals_in_the_docs_are_real(text: str) -> None:
    """The messages that the page shows are the messages that a user gets."""
    with pytest.raises(InvalidCronPattern) as refusal:
        CronPattern.parse(text)

    assert str(refusal.value) in PAGE.splitlines()
