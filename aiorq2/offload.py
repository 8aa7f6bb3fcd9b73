"""Run a function in a process that can be killed: the half that runs over there.

Results and failures come back as plain text and bytes, so that an exception or a value that cannot be pickled breaks nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Any, NoReturn

from aiorq2 import bridge
from aiorq2.backends import connect
from aiorq2.backends.base import JobRecord
from aiorq2.backends.clients import close_sync_client
from aiorq2.backends.redis import RedisBackend
from aiorq2.callables import resolve
from aiorq2.errors import BackendUnavailable, ResultNotSerializable, SerializationError
from aiorq2.failure import Failure, failure_of
from aiorq2.job import Job, current_job
from aiorq2.loops import closing
from aiorq2.payloads import Call
from aiorq2.retrying import Asked, as_asked
from aiorq2.serializers import Serializer

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Parcel:
    """All that a process needs to run a job; it is pickled. Who allowed the function has done so before."""

    job_id: str
    fields: Mapping[str, bytes]
    call: Call
    serializer: Serializer | None
    url: str | None
    key_prefix: str
    job_class: type[Job] = Job
    begin_by: float = inf
    """Until when the job may begin (monotonic seconds, which processes share): its lease is over then, for all that is known."""


@dataclass(frozen=True)
class Return:
    """What came of it: a pickled value, or a failure, or a retry that was asked for; or nothing, since it is late."""

    value: bytes = b""
    failure: Failure | None = None
    may_retry: bool = True
    asked: Asked | None = None
    is_late: bool = False
    """The job was not begun."""


def warm_up() -> None:
    """When this has been called, the process is there, has imported what it needs, and will not outlive the worker: a job of a
    dead worker is run again elsewhere."""
    _die_with_parent()


@cache
def _die_with_parent() -> None:
    """End this process when its parent has: by the kernel where it offers that (Linux), else by looking now and then."""
    with suppress(OSError, AttributeError, TypeError):  # another system's C library
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def run_parcel(parcel: Parcel) -> Return:
    """Run a job in this process and return what came of it; never raises."""
    _die_with_parent()  # another job may have been given the process that was warmed up for this one
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # meant for the worker, who decides; programs started here take their own
        signal.signal(number, _go_on)
    with _own_streams():
        return Context().run(_run_parcel, parcel)


def _go_on(*_: object) -> None: ...


@contextmanager
def _own_streams() -> Iterator[None]:
    """Keep the job, and programs that it starts, away from the pipes to the worker: what they print is lost.

    That of stderr is read by nobody, and who writes into a full one stands still.
    """
    names = sys.stdin, sys.stdout, sys.stderr
    pipes = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = names
        for number, descriptor in enumerate((*pipes, nothing)):  # the job may have closed them
            os.dup2(descriptor, number)
            os.close(descriptor)


def _run_parcel(parcel: Parcel) -> Return:
    record = JobRecord(parcel.job_id, parcel.fields)
    serializer = parcel.serializer or _NotHere()
    backend, call = _backend_of(parcel), parcel.call
    current_job.set(parcel.job_class(record, backend, serializer, call=call))
    with ExitStack() as held:
        try:
            func = resolve(call.func_name, call.instance)
            bridge.enter(record, serializer, lambda: _client_of(backend, held))
            if time.monotonic() >= parcel.begin_by:
                return Return(is_late=True)
            value = func(*call.args, **call.kwargs)
            if inspect.isawaitable(value):
                value = asyncio.run(closing(_awaited(value), backend.close))
        except BaseException as error:  # noqa: BLE001  user code
            return Return(failure=failure_of(error), asked=as_asked(error))
    asked = as_asked(value)
    return _packed(value) if asked is None else Return(asked=asked)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _packed(value: Any) -> Return:
    try:
        return Return(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    except Exception as error:  # noqa: BLE001  pickling is user code, too
        reason = f"the result cannot leave its process: {type(error).__name__}: {error}"
        return Return(failure=failure_of(ResultNotSerializable(reason)), may_retry=False)


def _backend_of(parcel: Parcel) -> RedisBackend:
    if parcel.url is not None:
        return connect(parcel.url, key_prefix=parcel.key_prefix)
    return RedisBackend(_out_of_reach, location="the worker's", key_prefix=parcel.key_prefix)


def _out_of_reach() -> NoReturn:
    raise BackendUnavailable(
        "a job in a process cannot reach its Redis: it is memory://, or the worker has it from a client and not from a URL"
    )


def _client_of(backend: RedisBackend, held: ExitStack) -> Any:
    client = backend.new_sync_client()
    held.callback(close_sync_client, client)
    return client


class _NotHere:
    """The serializer of a worker whose cannot be pickled: it holds a secret, for instance."""

    name = "of the worker"

    def dumps(self, obj: Any, /) -> bytes:
        raise SerializationError("the worker's serializer cannot be used in a process")

    def loads(self, data: bytes, /) -> Any:
        raise SerializationError("the worker's serializer cannot be used in a process")
