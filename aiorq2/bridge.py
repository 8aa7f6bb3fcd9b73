"""What rq's ``get_current_job()`` answers in a job that aiorq2 runs: rq's ``Job``, so that code written for RQ works as it stands.

rq is not needed, and not imported for a job that aiorq2 enqueued: where nobody has imported it, nobody asks.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar

from aiorq2.backends.base import JobRecord
from aiorq2.errors import BackendRefused
from aiorq2.serializers import Serializer
from aiorq2.states import JobStatus

log = logging.getLogger("aiorq2.worker")

E = TypeVar("E", bound=Exception)

_HOMES = {"JobTimeoutException": "rq.timeouts", "AbandonedJobError": "rq.exceptions"}
_reading = threading.Lock()


def enter(record: JobRecord, serializer: Serializer, client: Callable[[], Any]) -> Any:
    """Let rq's ``get_current_job()`` return the job of ``record`` from now on, in this context; return what it returns.

    That is None without rq. Else it is an ``rq.job.Job`` on the synchronous client that ``client()`` returns, which is made
    from the record when it is first looked at. Redis: no call.
    """
    rq_job = sys.modules.get("rq.job") or (None if record.is_ours else _imported())
    setter = None if rq_job is None else _setter(rq_job)
    if rq_job is None or setter is None:
        return None
    try:
        connection = client()
    except BackendRefused:
        return None
    job = _unread_class(rq_job.Job)(record, serializer, connection)
    setter(job)
    return job


def show_status(job: Any, status: JobStatus) -> None:
    """Let an rq job say ``status`` without asking Redis: callbacks run before it is written."""
    job._status = sys.modules["rq.job"].JobStatus(status.value)


def also_rqs(kind: type[E]) -> type[E]:
    """Return an exception of ours that is rq's of the same name as well, where rq is imported: code for RQ catches that one."""
    ours: Any = kind
    theirs = getattr(sys.modules.get(_HOMES[kind.__name__]), kind.__name__, None)
    return kind if theirs is None else _both(ours, theirs)


@cache
def _both(ours: Any, theirs: Any) -> Any:
    return type(ours.__name__, (ours, theirs), {"__module__": ours.__module__})


@cache
def _imported() -> Any:
    """Return ``rq.job``, or None where it cannot be imported."""
    try:
        return importlib.import_module("rq.job")
    except Exception as error:  # noqa: BLE001  whatever stands in its way, jobs run without it
        log.debug("rq.get_current_job() will return None: %s: %s", type(error).__name__, error)
        return None


def _setter(rq_job: Any) -> Callable[[Any], object] | None:
    """Return what makes a job the current one for this version of rq; None while its module is being imported, in a thread."""
    current = getattr(rq_job, "_current_job", None)
    if isinstance(current, ContextVar):
        return current.set
    stack = getattr(rq_job, "_job_stack", None)
    if stack is not None and not isinstance(stack, _ContextStack):
        rq_job._job_stack = stack = _ContextStack(stack)
    return None if stack is None else stack.push


class _ContextStack:
    """In the place of rq's stack, which before 3.0 is one per thread: one per context, since coroutines share a thread.

    rq's own workers and synchronous queues in this process go on with it; what they had pushed before is found in ``below``.
    """

    def __init__(self, below: Any) -> None:
        self._below = below
        self._jobs: ContextVar[tuple[Any, ...]] = ContextVar("aiorq2_rq_jobs", default=())

    def push(self, job: Any) -> None:
        self._jobs.set((*self._jobs.get(), job))

    def pop(self) -> Any:
        jobs = self._jobs.get()
        self._jobs.set(jobs[:-1])
        return jobs[-1] if jobs else self._below.pop()

    @property
    def top(self) -> Any:
        jobs = self._jobs.get()
        return jobs[-1] if jobs else self._below.top


@cache
def _unread_class(kind: Any) -> Any:
    """Return a subclass of rq's ``Job`` whose instances turn into a ``Job`` when anything of them is read or set."""

    class UnreadJob(kind):  # type: ignore[misc]
        def __init__(self, record: JobRecord, serializer: Serializer, connection: Any) -> None:
            self.__dict__["_unread"] = record, serializer, connection

        def __getattr__(self, name: str) -> Any:
            self._read()
            return getattr(self, name)

        def __setattr__(self, name: str, value: Any) -> None:
            self._read()
            setattr(self, name, value)

        def _read(self) -> None:
            with _reading:
                if type(self) is kind:
                    return  # another thread was quicker
                record, serializer, connection = self.__dict__["_unread"]
                job = kind(record.id, connection=connection, serializer=serializer)
                job.restore({name.encode(): value for name, value in record.fields.items()})
                self.__dict__.update(job.__dict__)
                del self.__dict__["_unread"]
                object.__setattr__(self, "__class__", kind)

    return UnreadJob
