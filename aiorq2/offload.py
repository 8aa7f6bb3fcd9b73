"""Run a function in a process that can be killed: the half that runs over there.

Results and failures come back as plain text and values, so that an exception that cannot be pickled breaks nothing.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiorq2.backends import connect
from aiorq2.backends.base import JobRecord
from aiorq2.callables import is_coroutine_callable, resolve
from aiorq2.failure import Failure, failure_of
from aiorq2.job import Job, current_job
from aiorq2.options import Retry
from aiorq2.payloads import Call
from aiorq2.serializers import Serializer


@dataclass(frozen=True)
class Parcel:
    """All that a process needs to run a job; it is pickled. Who allowed the function has done so before."""

    job_id: str
    fields: Mapping[str, bytes]
    call: Call
    serializer: Serializer | None
    url: str | None
    key_prefix: str


@dataclass(frozen=True)
class Return:
    """What came of it: a value, or a failure, or a retry that was asked for."""

    value: Any = None
    failure: Failure | None = None
    retry: Retry | None = None


def run_parcel(parcel: Parcel) -> Return:
    """Run a job in this process and return what came of it; never raises."""
    token = current_job.set(_job_of(parcel))
    try:
        func = resolve(parcel.call.func_name, parcel.call.instance)
        value = _run(func, parcel.call)
    except BaseException as error:  # noqa: BLE001  user code
        retry = error if isinstance(error, Retry) else None
        return Return(failure=failure_of(error), retry=retry)
    finally:
        current_job.reset(token)
    return Return(retry=value) if isinstance(value, Retry) else Return(value=value)


def _run(func: Any, call: Call) -> Any:
    if is_coroutine_callable(func):
        return asyncio.run(func(*call.args, **call.kwargs))
    value = func(*call.args, **call.kwargs)
    return asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value


async def _awaited(value: Any) -> Any:
    return await value


def _job_of(parcel: Parcel) -> Job | None:
    if parcel.url is None or parcel.serializer is None:
        return None
    backend = connect(parcel.url, key_prefix=parcel.key_prefix)
    return Job(
        JobRecord(parcel.job_id, parcel.fields), backend, parcel.serializer, call=parcel.call
    )
