"""On which terms a job runs: how long, how often, when, after which others, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiorq2.backends.base import JobRecord
from aiorq2.callables import resolve
from aiorq2.terms import Webhook, webhooks_of


class JobTerms:
    """What was asked of a job, as it was last read; attributes that never touch Redis."""

    _record: JobRecord

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

    def get_ttl(self, default_ttl: int | None = None) -> int | None:
        """Return ``ttl``, or the default where the job does not say."""
        return default_ttl if self.ttl is None else self.ttl

    def get_result_ttl(self, default_ttl: int) -> int:
        """Return ``result_ttl``, or the default where the job does not say."""
        return default_ttl if self.result_ttl is None else self.result_ttl

    @property
    def retries_left(self) -> int | None:
        """How often it may still be repeated after an exception."""
        return self._record.number("retries_left")

    @property
    def should_retry(self) -> bool:
        """Whether it is repeated after the next exception."""
        return (self.retries_left or 0) > 0

    @property
    def retry_intervals(self) -> list[float]:
        """Seconds before each retry; counted from the end, as in RQ."""
        return self._record.reals("retry_intervals")

    @property
    def enqueue_at_front_on_retry(self) -> bool:
        """Whether a retry without delay goes to the front of its queue."""
        return self._record.number("enqueue_at_front_on_retry") == 1

    @property
    def number_of_retries(self) -> int | None:
        """How many retries it has asked for by returning a ``Retry``."""
        return self._record.number("number_of_retries")

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
    def has_rate_limit(self) -> bool:
        """Whether it has one."""
        return self.rate_limit_key is not None

    @property
    def webhooks(self) -> list[Webhook]:
        """The URLs that are called when it has ended.

        Raises:
            InvalidOption: somebody has written something else there.
        """
        return webhooks_of(self._record.text("webhooks"))

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

    @property
    def success_callback(self) -> Callable[..., Any] | None:
        """The function to call when it has succeeded, imported.

        Raises:
            UnknownFunction: there is none of its name here (so for the other two).
        """
        return self._callback("success")

    @property
    def failure_callback(self) -> Callable[..., Any] | None:
        """The function to call when it has failed."""
        return self._callback("failure")

    @property
    def stopped_callback(self) -> Callable[..., Any] | None:
        """The function to call when it was stopped."""
        return self._callback("stopped")

    def _callback(self, event: str) -> Callable[..., Any] | None:
        name = self.callback_name(event)
        return None if name is None else resolve(name)

    def callback_name(self, event: str) -> str | None:
        """Return the dotted name of the function to call on ``success``, ``failure`` or ``stopped``."""
        return self._record.text(f"{event}_callback_name")

    def callback_timeout(self, event: str) -> int | None:
        """Return how many seconds that function may take."""
        return self._record.number(f"{event}_callback_timeout")
