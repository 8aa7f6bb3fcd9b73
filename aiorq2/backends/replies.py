"""Turn what a script answered into an exception, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiorq2.errors import (
    AiorqError,
    BackendError,
    BackendUnavailable,
    DuplicateJobError,
    InvalidJobOperation,
    NoSuchJobError,
    WorkerNameTaken,
)
from aiorq2.states import Reply, Verb

_FINE = {Reply.OK, Reply.STOPPING, Reply.SUSPENDED}


def raise_for(verb: Verb, name: str, reply: Any) -> None:
    """Return if the script did its work, else raise what its first word means. ``name`` is the job (or worker)."""
    if reply[0] == b"OK":
        return
    word = Reply(reply[0].decode())
    if word in _FINE:
        return
    status = reply[1].decode() if len(reply) > 1 and isinstance(reply[1], bytes) else ""
    raise _error(word, verb.value.replace("_", " "), name, status)


@contextmanager
def naming(verb: Verb, job_id: str) -> Iterator[None]:
    """Have what goes wrong with Redis inside name the job and what was asked for; several callers may share one failure."""
    try:
        yield
    except BackendError as error:
        raise named(error, verb, job_id) from error


def named(error: BackendError, verb: Verb, job_id: str) -> BackendError:
    """Return an error that names the job and what was asked for, and says what this one does."""
    asked = verb.value.replace("_", " ")
    fact = f"no answer to {asked}" if isinstance(error, BackendUnavailable) else f"cannot {asked}"
    return type(error)(f"job {job_id!r}: {fact}: {error}")


def _error(word: Reply, verb: str, name: str, status: str) -> AiorqError:
    match word:
        case Reply.GONE:
            return NoSuchJobError(f"job {name!r}: cannot {verb}, there is no such job")
        case Reply.DUPLICATE:
            return DuplicateJobError(
                f"job {name!r}: cannot {verb}, a job with this id exists ({status or 'no status'})"
            )
        case Reply.WRONG_STATUS:
            return InvalidJobOperation(f"job {name!r}: cannot {verb} from {status!r}")
        case Reply.CIRCLE:
            return InvalidJobOperation(
                f"job {name!r}: cannot {verb}, it would wait for {status!r}, which waits for it"
            )
        case Reply.WRONG_TYPE:
            return BackendError(
                f"job {name!r}: cannot {verb}, something that is not a job lies under its key"
            )
        case Reply.NAME_TAKEN:
            return WorkerNameTaken(
                f"worker {name!r}: cannot {verb} its leases, another worker has this name now; give each its own (--name)"
            )
        case _:
            return InvalidJobOperation(f"job {name!r}: cannot {verb}, the run has lost its lease")
