"""What a worker process logs: one event per line, nothing that moves a cursor, no password, at most 2 KB."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from aiorq2.cli.logs import JsonFormatter, TextFormatter
from aiorq2.cli.plain_text import MAX_LINE, cut, one_line, printable, without_passwords

FORMATTERS: list[logging.Formatter] = [TextFormatter(), TextFormatter("w-1"), JsonFormatter()]


def record(message: str, *args: object, trace: bool = False, **extra: Any) -> logging.LogRecord:
    """Return a record as ``logging`` makes it."""
    exc_info = sys.exc_info() if trace else None
    made = logging.LogRecord(
        "aiorq2.worker", logging.WARNING, "file.py", 1, message, args, exc_info
    )
    vars(made).update(extra)
    return made


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize(
    "message",
    [
        "two\nlines\r\n",
        "\x1b[31mred\x1b[0m",
        "right \u202e to left",
        "NUL \0",
        "%s %d",
        "x" * 10_000,
        "é" * 10_000,
        "\x1b" * 10_000,
        "\udcff",
    ],
)
def test_line_is_one_printable_line_of_2_kb(formatter: logging.Formatter, message: str) -> None:
    """Whatever a name, an id or an exception holds."""
    line = formatter.format(record("job %s", message))

    assert line.isprintable()
    assert len(line.encode()) <= MAX_LINE


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_traceback_stands_on_the_same_line_with_its_end(formatter: logging.Formatter) -> None:
    """Of a long traceback the end is kept, which says what happened."""
    try:
        raise ValueError("the end\nof it all" + " " * 5000 + "last words")
    except ValueError:
        line = formatter.format(record("failed", trace=True))

    assert line.isprintable()
    assert "failed" in line
    assert "last words" in line
    assert len(line.encode()) <= MAX_LINE


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_password_in_a_url_is_masked(formatter: logging.Formatter) -> None:
    """Also in an exception, and where it holds signs that should have been encoded."""
    try:
        raise ValueError("redis://:canary@host is wrong")
    except ValueError:
        line = formatter.format(
            record(
                "at %s",
                "redis://user:can/ary@canary@host:6379/0",
                trace=True,
                where="unix://:canary@/tmp/s",
            )
        )

    assert "canary" not in line
    assert "host" in line


def test_text_line_begins_with_time_level_and_process() -> None:
    """So that ``grep`` and eyes find their way."""
    line = TextFormatter("w-1").format(record("job %s: %s", "x", "done"))

    moment, level, label, message = line.split(maxsplit=3)
    assert moment.endswith("Z")
    assert (level, label, message) == ("WARNING", "[w-1]", "job x: done")


def test_json_line_is_an_object_with_what_the_event_adds() -> None:
    """Fields that were given with ``extra`` stand beside time, level, logger, pid and message."""
    event = json.loads(
        JsonFormatter().format(record("job %s", "x", job_id="x", attempt=2, tags=["a"]))
    )

    assert event["message"] == "job x"
    assert (event["level"], event["logger"], event["job_id"], event["attempt"], event["tags"]) == (
        "warning", "aiorq2.worker", "x", 2, "['a']",
    )  # fmt: skip
    assert event["time"].endswith("Z")
    assert event["pid"] > 0


def _fields(count: int) -> dict[str, Any]:
    return {f"field{n}": n for n in range(count)}


def test_json_line_with_too_many_fields_keeps_the_message() -> None:
    """What does not fit is left out; the line stays JSON."""
    line = JsonFormatter().format(record("told", trace=False, **_fields(1000)))

    assert len(line) <= MAX_LINE
    assert json.loads(line)["message"] == "told"


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_message_whose_arguments_do_not_fit_is_told_all_the_same(
    formatter: logging.Formatter,
) -> None:
    """A slip in somebody's logging call loses no event and prints no traceback."""
    assert "oops" in formatter.format(record("%d jobs", "oops"))


def test_plain_text_is_left_alone() -> None:
    """Only what needs it is changed."""
    assert one_line("job 'x1': späße ✓") == "job 'x1': späße ✓"
    assert printable("a\tb") == "a\\tb"
    assert without_passwords("see https://example.org/a?b=c") == "see https://example.org/a?b=c"
    assert (
        without_passwords("redis://h/0 and redis://u:p@h/0, b@c")
        == "redis://h/0 and redis://***@h/0, b@c"
    )
    assert cut("é" * 10, 9) == "é" * 3 + "…"
