"""The state machine of a job, in one place: who may move it from where to where.

A legal move is a row of ``TRANSITIONS`` or it does not exist. The Lua scripts are bound to this table when they are loaded
(``backends/scripts.py``), ``docs/states.md`` is drawn from it, and the contract tests are parametrised by it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class JobStatus(StrEnum):
    """The eleven statuses of RQ 3.0. Any other value makes a reader of RQ's raise."""

    CREATED = "created"
    QUEUED = "queued"
    FINISHED = "finished"
    FAILED = "failed"
    STARTED = "started"
    DEFERRED = "deferred"
    SCHEDULED = "scheduled"
    STOPPED = "stopped"
    CANCELED = "canceled"
    RATE_LIMITED = "rate_limited"
    READY_TO_ENQUEUE = "ready_to_enqueue"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more happens to a job in this status unless somebody asks for it."""
        return self in TERMINAL


TERMINAL = frozenset({JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED})


class Verb(StrEnum):
    """What can be done to a job: one word for the table row, the backend method, the Lua file and the log event."""

    ADD = "add"
    RESCHEDULE = "reschedule"
    PROMOTE = "promote"
    CLAIM = "claim"
    EXTEND = "extend"
    FINISH = "finish"
    FAIL = "fail"
    STOP = "stop"
    RETRY = "retry"
    GIVE_BACK = "give_back"
    REAP = "reap"
    CANCEL = "cancel"
    REQUEUE = "requeue"
    DELETE = "delete"


class Reply(StrEnum):
    """The first word that a script answers with."""

    OK = "OK"
    GONE = "GONE"
    """There is no such job."""
    WRONG_STATUS = "WRONG_STATUS"
    """The job is in a status that the verb does not start from; the status follows."""
    WRONG_TYPE = "WRONG_TYPE"
    """Something that is not a job lies under the job's key."""
    DUPLICATE = "DUPLICATE"
    """A job with this id exists and may not be replaced; its status follows."""
    CIRCLE = "CIRCLE"
    """The job would wait for one that waits for it; which one follows."""
    LEASE_LOST = "LEASE_LOST"
    """The run no longer owns the job; nothing was written."""
    STOPPING = "STOPPING"
    """The job is running: its worker was told to stop it; the worker's name follows."""
    SUSPENDED = "SUSPENDED"
    """Workers are suspended; nothing was claimed."""
    CHANGED = "CHANGED"
    """The recurring entry is not as the caller has seen it; nothing was written."""
    NAME_TAKEN = "NAME_TAKEN"
    """A living worker has this name."""


@dataclass(frozen=True)
class Transition:
    """One row: the statuses a verb starts from (none: the job must be absent) and those it can lead to (none: absent)."""

    sources: tuple[JobStatus, ...]
    targets: tuple[JobStatus, ...]
    note: str = ""


_S = JobStatus
TRANSITIONS: dict[Verb, Transition] = {
    Verb.ADD: Transition(
        (),
        (_S.QUEUED, _S.SCHEDULED, _S.DEFERRED, _S.RATE_LIMITED, _S.CANCELED),
        "or replaces a job that is not running; a tick of a recurring entry adds one, too",
    ),
    Verb.RESCHEDULE: Transition((_S.SCHEDULED,), (_S.SCHEDULED,), "to another time"),
    Verb.PROMOTE: Transition(
        (_S.SCHEDULED, _S.DEFERRED, _S.RATE_LIMITED, _S.READY_TO_ENQUEUE),
        (_S.QUEUED, _S.RATE_LIMITED),
        "when it is due, when its parents are done, when there is room",
    ),
    Verb.CLAIM: Transition(
        (_S.QUEUED, _S.CREATED),
        (_S.STARTED,),
        "takes a lease for one worker; rq's users may push the id of a job that was only created",
    ),
    Verb.EXTEND: Transition((_S.STARTED,), (_S.STARTED,), "the heartbeat: moves the lease on"),
    Verb.FINISH: Transition(
        (_S.STARTED,),
        (_S.FINISHED, _S.QUEUED, _S.SCHEDULED),
        "the function returned; a repeated job waits for its next run",
    ),
    Verb.FAIL: Transition((_S.STARTED,), (_S.FAILED,), "it raised, timed out or could not be run"),
    Verb.STOP: Transition((_S.STARTED,), (_S.STOPPED,), "it was cancelled while it ran"),
    Verb.RETRY: Transition(
        (_S.STARTED,),
        (_S.SCHEDULED, _S.QUEUED, _S.STOPPED),
        "queued when the delay is 0; stopped when cancelled meanwhile",
    ),
    Verb.GIVE_BACK: Transition(
        (_S.STARTED,),
        (_S.QUEUED, _S.STOPPED),
        "at the front, no attempt burnt; stopped when cancelled meanwhile",
    ),
    Verb.REAP: Transition(
        (_S.STARTED,),
        (_S.QUEUED, _S.SCHEDULED, _S.FAILED, _S.STOPPED),
        "only when the lease is over; queued at the front",
    ),
    Verb.CANCEL: Transition(
        (_S.QUEUED, _S.SCHEDULED, _S.DEFERRED, _S.RATE_LIMITED, _S.READY_TO_ENQUEUE),
        (_S.CANCELED,),
        "a started job's worker is told to stop it",
    ),
    Verb.REQUEUE: Transition(
        (_S.FAILED, _S.STOPPED, _S.CANCELED, _S.FINISHED),
        (_S.QUEUED, _S.RATE_LIMITED),
        "by a person",
    ),
    Verb.DELETE: Transition(tuple(s for s in _S if s is not _S.STARTED), (), "all but started"),
}


def render_docs() -> str:
    """Return ``docs/states.md``, drawn from the tables above."""
    rows = [
        f"| {verb.value.replace('_', ' ')} | {_names(row.sources)} | {_names(row.targets)} | {row.note} |"
        for verb, row in TRANSITIONS.items()
    ]
    edges = [
        f"    {source.value if source else '[*]'} --> {target.value if target else '[*]'}: {verb.value}"
        for verb, row in TRANSITIONS.items()
        if verb not in (Verb.DELETE, Verb.EXTEND, Verb.RESCHEDULE)
        for source in row.sources or (None,)
        for target in row.targets or (None,)
    ]
    replies = [f"| `{reply.value}` |" for reply in Reply]
    return "\n".join(
        [
            "# States of a job",
            "",
            "Generated from `aiorq2/states.py` (`make fmt` writes it, `make check` compares it). Every move is one Lua script,",
            "`aiorq2/backends/lua/<verb>.lua`; a move that is not in this table is refused and writes nothing.",
            "",
            "| verb | from | to | |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            f"Terminal: {_names(tuple(s for s in JobStatus if s.is_terminal))}.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            *edges,
            "```",
            "",
            "| what a script can answer |",
            "| --- |",
            *replies,
            "",
        ]
    )


def _names(statuses: tuple[JobStatus, ...]) -> str:
    return " · ".join(status.value for status in statuses) or "*(absent)*"


def main(argv: list[str]) -> int:
    """Write or check the generated page: ``python -m aiorq2.states --check|--write FILE``."""
    match argv:
        case ["--write", path]:
            Path(path).write_text(render_docs())
            return 0
        case ["--check", path]:
            if Path(path).is_file() and Path(path).read_text() == render_docs():
                return 0
            sys.stderr.write(f"{path} is not what aiorq2/states.py renders; run `make fmt`\n")
            return 1
        case _:
            sys.stderr.write("usage: python -m aiorq2.states --check|--write FILE\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
