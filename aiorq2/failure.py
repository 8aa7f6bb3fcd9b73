"""An exception as text: bounded, printable, and safe to make from whatever user code raises."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

MAX_TEXT = 64 * 1024
"""Characters of a traceback that are kept: the beginning and the end."""
MAX_FRAMES = 60
"""Frames of a traceback that are kept: the innermost."""

_OURS = {"aiorq2.executor", "aiorq2.run", "aiorq2.offload"}


@dataclass(frozen=True)
class Failure:
    """What is kept of an exception: its class's dotted name, those of its bases, and the traceback as text."""

    error: str
    bases: tuple[str, ...]
    exc_info: str


def failure_of(error: BaseException) -> Failure:
    """Return what is kept of ``error``; the frames of ours at the top of its traceback are left out."""
    bases = tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)
    return Failure(bases[0], bases, _text(error))


def _text(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") in _OURS:
        trace = trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, trace, limit=-MAX_FRAMES))
    except BaseException:  # noqa: BLE001  a __str__ or __repr__ of the user's
        text = f"{type(error).__name__}: <unprintable>"
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) > MAX_TEXT:
        half = MAX_TEXT // 2
        text = f"{text[:half]}\n… {len(text) - MAX_TEXT} characters left out …\n{text[-half:]}"
    return text
