"""Text from Redis, from jobs and from the network on its way to a terminal or a log: on one line, without secrets."""

from __future__ import annotations

import re
from typing import TextIO

MAX_LINE = 2048
"""Bytes of the longest line that is written."""

_CREDENTIALS = re.compile(r"(?<=://)[^\s'\"]*@")
_ELLIPSIS = "…"


def printable(text: str) -> str:
    """Return ``text`` with everything that does not print (line ends, ANSI sequences, bidi marks) written as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def without_passwords(text: str) -> str:
    """Return ``text`` with the credentials of every URL in it masked."""
    return _CREDENTIALS.sub("***@", text) if "://" in text else text


def cut(text: str, limit: int = MAX_LINE) -> str:
    """Return at most ``limit`` bytes of ``text``, as UTF-8."""
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= limit:
        return text
    return raw[: limit - len(_ELLIPSIS.encode())].decode("utf-8", "ignore") + _ELLIPSIS


def one_line(text: str, limit: int = MAX_LINE) -> str:
    """Return ``text`` as one line that is safe to show."""
    return cut(without_passwords(printable(text)), limit)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits at the other end of a standard stream; it may be closed, or not be there."""
    return stream is not None and not stream.closed and stream.isatty()


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
