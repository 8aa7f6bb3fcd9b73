"""What was last seen of a job: attributes that never touch Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from aiorq2.backends.base import Ended, JobRecord, Observed
from aiorq2.backends.redis import RedisBackend
from aiorq2.callables import describe_call, resolve
from aiorq2.errors import DeserializationError, JobCancelled, JobFailed, NoSuchJobError
from aiorq2.job_terms import JobTerms
from aiorq2.options import JobSpec
from aiorq2.payloads import Call, decode_call, decode_value, encode_value
from aiorq2.progress import Progress, unpacked
from aiorq2.results import Result, ResultType, result_of_entry, value_of_record
from aiorq2.serializers import Serializer
from aiorq2.states import JobStatus


class SeenJob(JobTerms):
    """The record of a job as it was last read, decoded where it is looked at. ``Job`` is what can be done to one."""

    def __init__(
        self,
        record: JobRecord,
        backend: RedisBackend,
        serializer: Serializer,
        *,
        call: Call | None = None,
    ) -> None:
        self.id = record.id
        self._backend = backend
        self._serializer = serializer
        self._record = record
        self._call = call
        self._meta: dict[str, Any] | None = None
        self.spec: JobSpec | None = None
        """What ``Queue.create_job`` made, until it is enqueued."""
        self._latest: Result | None = None
        self._value: Any = None
        self._unreadable: DeserializationError | None = None
        self.exc_info: str | None = None
        """The traceback of the last failure as text, if the job had failed when it was last looked at; else None."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {self.description}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeenJob) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # -- what was last seen ----------------------------------------------------------------------------------------------

    @property
    def func_name(self) -> str:
        """The dotted name of the function.

        Raises:
            DeserializationError: the payload was written with another serializer (also ``args`` and ``kwargs``).
        """
        return self._decoded().func_name

    @property
    def func(self) -> Callable[..., Any]:
        """The function itself, imported, or the method of ``instance``.

        Raises:
            UnknownFunction: there is none of this name here.
        """
        return resolve(self.func_name, self.instance)

    @property
    def instance(self) -> object | None:
        """The object whose method is called, if one is."""
        return self._decoded().instance

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments."""
        return self._decoded().args

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments."""
        return self._decoded().kwargs

    def get_call_string(self) -> str:
        """Return the call as a text, with what is long cut; also where ``description`` says something else."""
        return describe_call(self.func_name, self.args, self.kwargs)

    @property
    def data(self) -> bytes:
        """The payload as it lies in Redis."""
        return self._record.fields.get("data", b"")

    @property
    def result(self) -> Any:
        """The return value, if the job had finished when it was last looked at; else None.

        Raises:
            DeserializationError: it was written with another serializer. Only here: the rest of the job can be read.
        """
        if self._unreadable is not None:
            raise self._unreadable
        return self._value

    @property
    def description(self) -> str:
        """A text for people, by default the call."""
        told = self._record.text("description")
        if told is not None or self._call is None:
            return told or ""
        return describe_call(self._call.func_name, self._call.args, self._call.kwargs)

    @property
    def origin(self) -> str:
        """The name of the queue."""
        return self._record.origin

    @property
    def meta(self) -> dict[str, Any]:
        """What the job and its users keep beside it. Change it freely, then ``await job.save_meta()``; before ``enqueue_job`` there
        is no need of that."""
        if self._meta is None:
            raw = self._record.fields.get("meta")
            self._meta = (
                decode_value(self._serializer, raw, what="meta", context=self._record.context)
                if raw
                else {}
            )
        return self._meta

    @meta.setter
    def meta(self, meta: dict[str, Any]) -> None:
        self._meta = meta

    def with_meta(self, spec: JobSpec, limit: int) -> JobSpec:
        """Return ``spec`` with the meta that this handle has by now, of ``limit`` bytes at the most; for ``Queue``.

        Raises:
            SerializationError, PayloadTooLarge: it cannot be carried.
        """
        if self._meta is None:  # nobody has looked at it
            return spec
        given, context = self._meta, self._record.context
        raw = encode_value(self._serializer, given, what="meta", limit=limit, context=context)
        return replace(spec, meta=raw if given else None)

    @property
    def status(self) -> JobStatus:
        """The status that was last seen; ``await get_status()`` asks Redis."""
        return self._record.status

    @property
    def created_at(self) -> datetime | None:
        """When it was made."""
        return self._record.time("created_at")

    @property
    def enqueued_at(self) -> datetime | None:
        """When it was last put into its queue."""
        return self._record.time("enqueued_at")

    @property
    def started_at(self) -> datetime | None:
        """When its last run began."""
        return self._record.time("started_at")

    @property
    def ended_at(self) -> datetime | None:
        """When its last run ended."""
        return self._record.time("ended_at")

    @property
    def last_heartbeat(self) -> datetime | None:
        """When its worker was last heard of, if that is one of rq's; ours tell by run: ``get_executions()``."""
        return self._record.time("last_heartbeat")

    @property
    def worker_name(self) -> str | None:
        """The worker of the last run."""
        return self._record.text("worker_name")

    @property
    def attempt(self) -> int:
        """How often it has been started; runs that were given back do not count."""
        return self._record.number("aio_attempt") or 0

    @property
    def cron_name(self) -> str | None:
        """The name of the recurring entry that has made it; None: none has."""
        return self._record.text("aio_cron")

    @property
    def cron_tick(self) -> datetime | None:
        """The time for which that has made it."""
        return self._record.time("aio_tick")

    @property
    def progressed(self) -> Progress:
        """How far it had said it was."""
        return unpacked(self.status, self._record.fields.get("aio_progress"))

    def to_dict(self) -> Mapping[str, bytes]:
        """Return the fields as they lie in Redis."""
        return dict(self._record.fields)

    @property
    def key(self) -> str:
        """The key in Redis."""
        return self._backend.keys.job(self.id)

    @property
    def dependents_key(self) -> str:
        """The key of the set of those that wait for it."""
        return self._backend.keys.dependents(self.id)

    @property
    def dependencies_key(self) -> str:
        """The key of the set of those that it waits for."""
        return self._backend.keys.dependencies(self.id)

    @property
    def backend(self) -> RedisBackend:
        """Where it lives."""
        return self._backend

    @property
    def serializer(self) -> Serializer:
        """What reads its payload and results."""
        return self._serializer

    def see_status(self, status: JobStatus) -> None:
        """Take ``status`` for the last one seen: callbacks run before it is written, and see it all the same, as in RQ."""
        seen = status.value.encode()
        if self._record.fields.get("status") != seen:
            self._record = JobRecord(self.id, {**self._record.fields, "status": seen})

    # -- seeing ----------------------------------------------------------------------------------------------------------

    def _decoded(self) -> Call:
        if self._call is None:
            self._call = decode_call(self._serializer, self.data, context=self._record.context)
        return self._call

    def _see(self, observed: Observed) -> None:
        if observed.record is None:
            raise NoSuchJobError(f"job {self.id!r}: there is no such job")
        if observed.record.fields.get("data") != self.data:
            self._call = None  # the id was used again
        self._record = observed.record
        self._meta = None
        self._latest = None
        self._value, self._unreadable = None, None
        try:
            if observed.entry is not None:
                self._latest = result_of_entry(self.id, *observed.entry, self._serializer)
            self._value = self._value_seen()
        except DeserializationError as error:
            self._unreadable = error
        self.exc_info = self._exc_info_seen()

    def _value_seen(self) -> Any:
        if self.status is not JobStatus.FINISHED:
            return None
        if self._latest is not None and self._latest.type is ResultType.SUCCESSFUL:
            return self._latest.return_value
        return value_of_record(self._record, self._serializer)

    def _exc_info_seen(self) -> str | None:
        if self.status not in (JobStatus.FAILED, JobStatus.STOPPED) or self._latest is None:
            return None
        if self._latest.type is ResultType.MAX_RETRIES_EXCEEDED:
            return self._latest.exc_string or "the job asked for more retries than it gets"
        return self._latest.exc_string

    def _see_pushed(self, news: Ended) -> bool:
        """Take from the message what was not to be kept (``result_ttl=0``); returns whether there was anything."""
        ended = JobRecord(self.id, {**self._record.fields, "status": news.status.encode()})
        if not ended.status.is_terminal:
            return False
        self._record = ended
        self._value = (
            decode_value(self._serializer, news.value, what="result", context=self.id)
            if news.value
            else None
        )
        return True

    def _value_or_error(self) -> Any:
        match self.status:
            case JobStatus.FINISHED:
                return self.result
            case JobStatus.FAILED:
                raise JobFailed(self.id, self.exc_info)
            case status:
                how = "stopped" if status is JobStatus.STOPPED else "cancelled"
                raise JobCancelled(f"job {self.id!r} was {how}")
