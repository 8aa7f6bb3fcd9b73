"""RQ's commands to a worker: JSON on its channel. What cannot be read is ignored; nothing that arrives here can end a worker."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """``shutdown``, ``kill-horse``, ``stop-job`` (with a job) or ``stop-execution`` (with a job and an execution)."""

    name: str
    job_id: str = ""
    execution_id: str = ""


def parse_command(message: bytes) -> Command | None:
    """Return the command in a message, None when there is none."""
    try:
        found = json.loads(message)
        return Command(
            str(found["command"]), str(found.get("job_id", "")), str(found.get("execution_id", ""))
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
