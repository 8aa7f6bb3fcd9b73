"""What runs of a job left behind: one ``Result`` per attempt that was kept."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from aiorq2.backends import wire
from aiorq2.backends.base import JobRecord
from aiorq2.errors import DeserializationError
from aiorq2.payloads import decode_value
from aiorq2.serializers import Serializer
from aiorq2.states import JobStatus


class ResultType(Enum):
    """RQ's ``Result.Type``."""

    SUCCESSFUL = 1
    FAILED = 2
    STOPPED = 3
    RETRIED = 4
    MAX_RETRIES_EXCEEDED = 5


@dataclass(frozen=True)
class Result:
    """How one run ended, as RQ's ``Result``; ``attempt`` is ours and None where rq's worker ran the job."""

    job_id: str
    type: ResultType
    created_at: datetime | None
    return_value: Any = None
    exc_string: str | None = None
    worker_name: str = ""
    execution_id: str | None = None
    execution_started_at: datetime | None = None
    execution_ended_at: datetime | None = None
    attempt: int | None = None
    id: str | None = None

    Type = ResultType


def result_of_entry(
    job_id: str, entry_id: str, fields: Mapping[str, bytes], serializer: Serializer
) -> Result:
    """Return the result that an entry of the stream holds; a value that cannot be read is said in its place."""
    record = JobRecord(job_id, fields)
    packed = fields.get("exc_string")
    number = record.number("aio_type") or record.number("type")
    return Result(
        job_id=job_id,
        type=ResultType(number)
        if number in {kind.value for kind in ResultType}
        else ResultType.FAILED,
        created_at=_instant(int(entry_id.split("-")[0]) / 1000),
        return_value=_value(job_id, fields.get("return_value"), number, serializer),
        exc_string=wire.unpack_text(packed) if packed else None,
        worker_name=record.text("worker_name") or "",
        execution_id=record.text("execution_id"),
        execution_started_at=_instant(record.real("execution_started_at")),
        execution_ended_at=_instant(record.real("execution_ended_at")),
        attempt=record.number("aio_attempt"),
        id=entry_id,
    )


def result_of_record(record: JobRecord, serializer: Serializer) -> Result | None:
    """Return the result that a finished job keeps in its hash."""
    if record.status is not JobStatus.FINISHED:
        return None
    return Result(
        job_id=record.id,
        type=ResultType.SUCCESSFUL,
        created_at=record.time("ended_at"),
        return_value=value_of_record(record, serializer),
        worker_name=record.text("worker_name") or "",
        execution_id=record.text("aio_settled"),
        execution_started_at=record.time("started_at"),
        execution_ended_at=record.time("ended_at"),
        attempt=record.number("aio_attempt"),
    )


def value_of_record(record: JobRecord, serializer: Serializer) -> Any:
    """Return the value in the hash field ``result``, None where there is none.

    Raises:
        DeserializationError: it was written with another serializer.
    """
    raw = record.fields.get("result")
    return decode_value(serializer, raw, what="result", context=record.id) if raw else None


def _value(job_id: str, packed: bytes | None, kind: int | None, serializer: Serializer) -> Any:
    if packed is None or kind != ResultType.SUCCESSFUL.value:
        return None  # with a retry rq keeps a pickled rq.Retry there
    try:
        raw = b64decode(packed)
    except ValueError as error:
        raise DeserializationError(f"job {job_id!r}: the result is not base64") from error
    return decode_value(serializer, raw, what="result", context=job_id)


def _instant(epoch: float | None) -> datetime | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)
