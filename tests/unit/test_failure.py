"""Exceptions as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aiorq2.failure import MAX_TEXT, failure_of


class Own(ValueError):
    """An exception with bases."""


def caught(func: Callable[..., Any], *args: Any) -> BaseException:
    """Return what ``func`` raises."""
    try:
        func(*args)
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError("it did not raise")


def throw(error: BaseException) -> None:
    """Raise it."""
    raise error


def test_failure_names_the_class_and_its_bases() -> None:
    """Dotted, the most special one first."""
    failure = failure_of(Own("x"))

    assert failure.error == f"{__name__}.Own"
    assert failure.bases[:3] == (failure.error, "builtins.ValueError", "builtins.Exception")


def test_text_is_pythons_traceback() -> None:
    """Causes, groups and notes included."""
    error = caught(throw, ExceptionGroup("several", [Own("inner")]))
    error.add_note("a note")
    error.__cause__ = KeyError("the cause")

    text = failure_of(error).exc_info

    assert text.index("KeyError: 'the cause'") < text.index("direct cause") < text.index("several")
    assert "Own: inner" in text
    assert "a note" in text
    assert "in throw" in text


def test_exception_without_a_traceback_is_text_as_well() -> None:
    """It was made and not raised."""
    assert failure_of(ValueError("x")).exc_info == "ValueError: x\n"


def test_text_is_bounded_and_keeps_both_ends() -> None:
    """However long the message is."""
    text = failure_of(ValueError(f"begin{'x' * 10_000_000}end")).exc_info

    assert MAX_TEXT < len(text) < MAX_TEXT + 100
    assert text.startswith("ValueError: begin")
    assert text.endswith("end\n")
    assert "characters left out" in text


def test_innermost_frames_of_a_deep_stack_are_kept() -> None:
    """They say where it happened."""

    def deep(levels: int) -> None:
        if levels == 0:
            throw(ValueError("at the bottom"))
        deeper(levels - 1)

    def deeper(levels: int) -> None:  # in turn, or Python would fold the lines
        deep(levels)

    text = failure_of(caught(deep, 100)).exc_info

    assert "in throw" in text
    assert text.count("in deep\n") < 40


class Unprintable(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


class Liar(Exception):
    """An exception whose text is none."""

    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


@pytest.mark.parametrize("kind", [Unprintable, Liar])
def test_exception_that_cannot_be_shown_is_named(kind: type[Exception]) -> None:
    """Whatever its methods raise."""
    text = failure_of(caught(throw, kind())).exc_info

    assert kind.__name__ in text
    assert len(text) < 1000


def test_text_can_be_written_as_utf_8() -> None:
    """Half a surrogate pair is spelled out, the rest stays."""
    text = failure_of(ValueError("é \ud800 \U0001f600")).exc_info

    assert text.encode()
    assert "é \\ud800 \U0001f600" in text
