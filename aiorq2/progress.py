"""How far a job is, as it says itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from aiorq2.errors import InvalidOption
from aiorq2.states import JobStatus

MAX_TEXT = 1000
"""Characters of a text; what is longer is cut."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a job was seen to be at: its status, the share that is done (0 to 1; None: it has not said), and its words."""

    status: JobStatus
    done: float | None = None
    text: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"status": self.status.value, "done": self.done, "text": self.text}


def packed(done: float, text: str) -> str:
    """Return what is written into the job.

    Raises:
        InvalidOption: ``done`` is no number from 0 to 1, or ``text`` no text.
    """
    if isinstance(done, bool) or not isinstance(done, int | float) or not 0 <= done <= 1:
        raise InvalidOption(f"progress({done!r:.40}): a number from 0 to 1 is needed")
    if not isinstance(text, str):
        raise InvalidOption(f"progress(text=…): a text is needed, not {type(text).__name__}")
    return json.dumps([float(done), text[:MAX_TEXT]])


def unpacked(status: JobStatus, raw: bytes | None) -> Progress:
    """Return what was written; whatever else lies there counts as nothing said."""
    try:
        done, text = json.loads(raw or b"")
        return Progress(status, float(done), str(text))
    except (ValueError, TypeError):
        return Progress(status)
