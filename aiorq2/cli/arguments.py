"""The arguments of ``aiorq2 enqueue FUNCTION [ARGS]``, in RQ's syntax.

``text`` · ``:json`` · ``%literal`` are positional, ``key=text`` · ``key:=json`` · ``key%=literal`` go by keyword. A value that
begins with ``@`` is the name of a file that holds the value. A literal is what ``ast.literal_eval`` reads: Python, but no code.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiorq2.errors import InvalidOption

MAX_FILE = 16 * 1024 * 1024
"""Bytes of the largest file that is read."""


def parse_arguments(arguments: Iterable[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the keyword arguments that are meant.

    Raises:
        InvalidOption: one of them cannot be read; the message names it.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for argument in arguments:
        keyword, value = _parse(argument, f"argument {len(args) + 1}")
        if keyword is None:
            args.append(value)
        elif keyword in kwargs:
            raise InvalidOption(f"{keyword}: the same keyword is given twice")
        else:
            kwargs[keyword] = value
    return args, kwargs


def _parse(argument: str, label: str) -> tuple[str | None, Any]:
    keyword, mode, text = _split(argument)
    if keyword is not None and not keyword.isidentifier():
        raise InvalidOption(
            f"{label}: {keyword[:60]!r} is no keyword; a text with '=' in it is written as JSON: ':\"…\"'"
        )
    label = keyword or label
    if text.startswith("@"):
        text = _content(text[1:], label)
    _refuse_broken_text(text, label)
    return keyword, _read(mode, text, label)


def _split(argument: str) -> tuple[str | None, str, str]:
    """Return keyword, mode (``:`` JSON, ``%`` literal, empty for text) and value, by RQ's rule."""
    if argument[:1] in (":", "%"):
        return None, argument[0], argument[1:]
    left, separator, right = argument.partition("=")
    if not left or not separator:
        return None, "", argument
    for mode in (":", "%"):
        if left.find(mode) == len(left) - 1:
            return left[:-1], mode, right
    return left, "", right


def _read(mode: str, text: str, label: str) -> Any:
    try:
        match mode:
            case ":":
                return json.loads(text)
            case "%":
                return ast.literal_eval(text)
            case _:
                return text
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        kind = "JSON" if mode == ":" else "a Python literal"
        raise InvalidOption(f"{label}: not readable as {kind}") from None


def _content(name: str, label: str) -> str:
    try:
        with Path(name).open("rb") as file:
            raw = file.read(MAX_FILE + 1)
        if len(raw) > MAX_FILE:
            raise InvalidOption(f"{label}: file {name!r} is larger than {MAX_FILE} bytes")
        return raw.decode()
    except OSError as error:
        raise InvalidOption(f"{label}: file {name!r} cannot be read ({error.strerror})") from None
    except ValueError:
        raise InvalidOption(
            f"{label}: file {name!r} cannot be read (its name or content is not UTF-8 text)"
        ) from None


def _refuse_broken_text(text: str, label: str) -> None:
    """Refuse what Python made of bytes on the command line that are no text: nobody could write it down."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidOption(f"{label}: not valid text in this terminal's encoding") from None
