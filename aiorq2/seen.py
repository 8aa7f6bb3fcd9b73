"""What was last seen of a job: attributes that never touch Redis."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiorq2.backends.base import Ended, JobRecord, Observed
from aiorq2.backends.redis import RedisBackend
from aiorq2.callables import describe_call
from aiorq2.errors import DeserializationError, JobCancelled, JobFailed, NoSuchJobError
from aiorq2.options import JobSpec
from aiorq2.payloads import Call, decode_call, decode_value
from aiorq2.results import Result, ResultType, result_of_entry, value_of_record
from aiorq2.serializers import Serializer
from aiorq2.states import JobStatus


class SeenJob:
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
        """What the job and its users keep beside it. Change it freely, then ``await job.save_meta()``."""
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

    @property
    def status(self) -> JobStatus:
        """The status that was last seen; ``await get_status()`` asks Redis."""
        return self._record.status

    @property
    def timeout(self) -> float | int | None:
        """Seconds that a run may take; -1 for ever."""
        exact = self._record.real("aio_timeout")
        return exact if exact is not None else self._record.number("timeout")

    @property
    def ttl(self) -> int | None:
        """Seconds for which the job may wait before it is dropped."""
        return self._record.number("ttl")

    @property
    def result_ttl(self) -> int | None:
        """Seconds for which a result is kept; -1 for ever, None as the worker has it."""
        return self._record.number("result_ttl")

    @property
    def failure_ttl(self) -> int | None:
        """Seconds for which a failed job is kept; -1 for ever, None a year."""
        return self._record.number("failure_ttl")

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
    def worker_name(self) -> str | None:
        """The worker of the last run."""
        return self._record.text("worker_name")

    @property
    def retries_left(self) -> int | None:
        """How often it may still be repeated after an exception."""
        return self._record.number("retries_left")

    @property
    def number_of_retries(self) -> int | None:
        """How many retries it has asked for by returning a ``Retry``."""
        return self._record.number("number_of_retries")

    @property
    def attempt(self) -> int:
        """How often it has been started; runs that were given back do not count."""
        return self._record.number("aio_attempt") or 0

    @property
    def group_id(self) -> str | None:
        """The name of the group it belongs to."""
        return self._record.text("group_id")

    @property
    def repeats_left(self) -> int | None:
        """How many more runs there will be after a success."""
        return self._record.number("repeats_left")

    @property
    def repeat_intervals(self) -> list[float]:
        """Seconds before each of them; the last one counts for all that follow."""
        return self._record.reals("repeat_intervals")

    @property
    def rate_limit_key(self) -> str | None:
        """The key of its rate limit."""
        return self._record.text("rate_limit_key")

    @property
    def rate_limit_concurrency(self) -> int | None:
        """How many jobs with this key may be queued or running at once."""
        return self._record.number("rate_limit_concurrency")

    @property
    def enqueue_at_front(self) -> bool:
        """Whether it goes to the front of its queue when its time has come."""
        return self._record.number("enqueue_at_front") == 1

    @property
    def allow_dependency_failures(self) -> bool:
        """Whether a failed one among the jobs that it waits for counts as done."""
        return self._record.number("allow_dependency_failures") == 1

    @property
    def on_parent_failure(self) -> str:
        """What becomes of it when one of them ends badly: ``wait``, ``cancel`` or ``run``."""
        return self._record.text("aio_on_parent_failure") or "wait"

    @property
    def dependency_ids(self) -> list[str]:
        """The ids of the jobs that it waits, or waited, for."""
        return self._record.texts("dependency_ids")

    def callback_name(self, event: str) -> str | None:
        """Return the dotted name of the function to call on ``success``, ``failure`` or ``stopped``."""
        return self._record.text(f"{event}_callback_name")

    def callback_timeout(self, event: str) -> int | None:
        """Return how many seconds that function may take."""
        return self._record.number(f"{event}_callback_timeout")

    def see_status(self, status: JobStatus) -> None:
        """Take ``status`` for the last one seen: callbacks run before it is written, and see it all the same, as in RQ."""
        self._record = JobRecord(self.id, {**self._record.fields, "status": status.value.encode()})

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
