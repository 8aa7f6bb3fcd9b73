"""RQ's syntax for the arguments of ``aiorq2 enqueue``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rq.cli.helpers import parse_function_args

from aiorq2.cli.arguments import parse_arguments
from aiorq2.errors import InvalidOption

as_rq_reads: Any = parse_function_args
quick = settings(max_examples=200, deadline=None)


@pytest.mark.parametrize(
    ("given", "args", "kwargs"),
    [
        (["text"], ["text"], {}),
        (["two words", ""], ["two words", ""], {}),
        (["1"], ["1"], {}),
        ([":1", ':{"a": [true, null]}', ':"x"'], [1, {"a": [True, None]}, "x"], {}),
        (["%(1, {2})", "%None"], [(1, {2}), None], {}),
        (["key=text"], [], {"key": "text"}),
        (["key=", "other=a=b"], [], {"key": "", "other": "a=b"}),
        (["key:=[1, 2]", "other:=null"], [], {"key": [1, 2], "other": None}),
        (["key%=(1,)"], [], {"key": (1,)}),
        (["=text"], ["=text"], {}),
        ([":{}", "last", "key=1"], [{}, "last"], {"key": "1"}),
    ],
)
def test_arguments_are_read_as_rq_reads_them(
    given: list[str], args: list[Any], kwargs: dict[str, Any]
) -> None:
    """Text, JSON and literals are told apart by their first sign, keywords by the equals sign."""
    assert parse_arguments(given) == (args, kwargs)
    assert as_rq_reads(given) == (args, kwargs)


@quick
@given(st.lists(st.text("ab1:%={}[]\"' ", max_size=8), max_size=4))
def test_arguments_are_read_as_rq_reads_them_or_refused(given: list[str]) -> None:
    """What is not refused means the same to both."""
    try:
        found = parse_arguments(given)
    except InvalidOption:
        return

    assert found == as_rq_reads(given)


@pytest.mark.parametrize("prefix", ["", ":", "%", "key=", "key:=", "key%="])
def test_argument_is_read_from_a_file(prefix: str, tmp_path: Path) -> None:
    """``@file`` stands for the content of a file in every one of the six forms."""
    file = tmp_path / "value"
    file.write_text("[1, 2]")

    args, kwargs = parse_arguments([f"{prefix}@{file}"])

    expected = "[1, 2]" if prefix in ("", "key=") else [1, 2]
    assert (args, kwargs) == (([], {"key": expected}) if "key" in prefix else ([expected], {}))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([":{"], "argument 1: not readable as JSON"),
        (["a", ":nope"], "argument 2: not readable as JSON"),
        (["key:={"], "key: not readable as JSON"),
        (["%f()"], "argument 1: not readable as a Python literal"),
        (["%" + "(" * 10_000], "argument 1: not readable as a Python literal"),
        ([":" + "[" * 100_000], "argument 1: not readable as JSON"),
        (["key%=1 +"], "key: not readable as a Python literal"),
        (["key=1", "key:=2"], "key: the same keyword is given twice"),
        (["http://host/?a=b"], "'http://host/.a' is no keyword"),
        (["@/no/such/file"], r"argument 1: file '/no/such/file' cannot be read \(No such file"),
        (["@/"], r"argument 1: file '/' cannot be read"),
        (["key=@"], r"key: file '' cannot be read"),
        (["@a\0b"], "argument 1: file .* cannot be read"),
        (["not \udcff text"], "argument 1: not valid text"),
    ],
)
def test_argument_that_cannot_be_read_is_named(given: list[str], complaint: str) -> None:
    """The message says which argument it is and what it was taken for."""
    with pytest.raises(InvalidOption, match=complaint):
        parse_arguments(given)


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 do not become an argument."""
    file = tmp_path / "value"
    file.write_bytes(b"\xff\xfe")

    with pytest.raises(InvalidOption, match="not UTF-8"):
        parse_arguments([f"@{file}"])
