"""Every exception that aiorq2 raises on purpose.

::

    AiorqError
    ├── NoSuchJobError              there is no job with this id
    ├── NoSuchGroupError            … no group with this name
    ├── NoSuchCronJobError          … no recurring entry with this name
    ├── NoSuchExecutionError (ValueError) … no run: it is over
    ├── InvalidJobOperation         the job is in a status that does not allow this
    ├── DuplicateJobError           unique=True and the id is taken
    ├── InvalidOption (ValueError)  an argument that cannot be meant
    │   ├── TimeoutFormatError      … a duration
    │   ├── InvalidCronPattern      … a cron pattern
    │   ├── InvalidFunction         … a function that a worker could not find again
    │   ├── InvalidArguments (TypeError) … arguments that a job's function does not take
    │   └── ClassNotFound (ImportError) … the dotted name of a class that cannot be imported
    ├── FunctionNotAllowed          a worker may not run this function
    ├── UnknownFunction             a worker cannot find this function
    ├── SerializationError (TypeError)
    ├── DeserializationError
    ├── PayloadTooLarge (ValueError)
    ├── BackendError
    │   ├── BackendUnavailable      Redis could not be reached in time; safe to call again
    │   ├── BackendFull             Redis is out of memory; nothing was enqueued
    │   ├── NotDurable              the job is enqueued, but fewer replicas have it than ``durable`` asks for
    │   └── BackendRefused          wrong password, missing rights, too old: waiting does not help
    ├── NotConfigured (RuntimeError) an ``RQ`` that has not been told where Redis is
    ├── StartupFailed               what a worker was to do before it works has raised
    ├── WorkerNameTaken             a living worker has this name
    ├── JobFailed                   raised by ``await job.wait()``: the job failed, with its traceback as text
    ├── JobCancelled                raised by ``await job.wait()``, and inside a job that is being stopped
    ├── AbandonedJobError           the job's worker died once too often
    ├── UncancellableJobError       the job did not end when it was told to
    ├── ResultNotSerializable       the job returned something that the serializer cannot carry
    └── ResultTooLarge              … or more of it than the limit allows

    JobTimeoutException (Exception) raised inside a job at its timeout, as in RQ
"""

from __future__ import annotations

import re


class AiorqError(Exception):
    """The root of the tree."""


class NoSuchJobError(AiorqError):
    """There is no job with this id (never was, expired, or was deleted)."""


class NoSuchGroupError(AiorqError):
    """There is no group of this name, or none of its jobs is left."""


class NoSuchCronJobError(AiorqError):
    """There is no recurring entry of this name: never was, was removed, or has ended a while ago."""


class NoSuchExecutionError(AiorqError, ValueError):
    """There is no such run of this job; it is over. (RQ raises ``ValueError``.)"""


class InvalidJobOperation(AiorqError):
    """The job is in a status that does not allow what was asked."""


class DuplicateJobError(AiorqError):
    """A job with this id exists and was not to be replaced."""


class InvalidOption(AiorqError, ValueError):
    """An argument that cannot be meant; nothing was sent."""


class TimeoutFormatError(InvalidOption):
    """A duration that cannot be read. The name is RQ's."""


class InvalidFunction(InvalidOption):
    """A function that a worker could not find again by its name."""


class InvalidArguments(InvalidOption, TypeError):
    """Arguments that the function of a job does not take, or that look like an option and are none."""


class ClassNotFound(InvalidOption, ImportError):
    """The dotted name of a class that cannot be imported."""


class InvalidCronPattern(InvalidOption):
    """A cron pattern that cannot be meant, could be meant in two ways, or has no date to fire on."""


class FunctionNotAllowed(AiorqError):
    """The worker's allow-list does not cover this function."""


class UnknownFunction(AiorqError):
    """No function of this name can be imported."""


class SerializationError(AiorqError, TypeError):
    """A value that the serializer cannot carry."""


class DeserializationError(AiorqError):
    """A payload that the serializer cannot read."""


class PayloadTooLarge(AiorqError, ValueError):
    """A payload above the limit; nothing was sent."""


class BackendError(AiorqError):
    """Redis did not do what was asked."""


class BackendUnavailable(BackendError):
    """Redis could not be reached, or was not ready, in the time allowed. The call may be repeated safely."""


class BackendFull(BackendError):
    """Redis is out of memory and refused the write; nothing was enqueued."""


class NotDurable(BackendError):
    """Fewer replicas than asked for have acknowledged the job in time. It stays enqueued, and is run as usual.

    The same call may be repeated with the same ``job_id``: it is recognised, and waits for the replicas again.

    Attributes:
        job_ids: the jobs; several only after ``enqueue_many``.
        wanted: how many replicas were to acknowledge them.
        acknowledged: how many did.
    """

    def __init__(self, job_ids: tuple[str, ...], wanted: int, acknowledged: int) -> None:
        which = f"job {job_ids[0]!r}" + (f" and {len(job_ids) - 1} more" if job_ids[1:] else "")
        super().__init__(
            f"{which}: enqueued, but {acknowledged} of the {wanted} replicas asked for have acknowledged it in time;"
            " the call may be repeated with the same job_id"
        )
        self.job_ids = job_ids
        self.wanted = wanted
        self.acknowledged = acknowledged

    @property
    def job_id(self) -> str:
        """The job, or the first of them."""
        return self.job_ids[0]

    def __reduce__(self) -> tuple[type[NotDurable], tuple[tuple[str, ...], int, int]]:
        return (NotDurable, (self.job_ids, self.wanted, self.acknowledged))


class BackendRefused(BackendError):
    """Redis refuses us: password, rights, version. Waiting does not help."""


class NotConfigured(AiorqError, RuntimeError):
    """An ``RQ`` that has not been told where Redis is."""


class StartupFailed(AiorqError):
    """What a worker was to do before its first job has raised; the exception is chained to this one."""


class WorkerNameTaken(AiorqError, ValueError):
    """A living worker has this name."""


class JobFailed(AiorqError):
    """The job failed.

    Attributes:
        job_id: the job.
        exc_info: the traceback of the last attempt, as text, or None where none was kept.
    """

    def __init__(self, job_id: str, exc_info: str | None = None) -> None:
        super().__init__(f"job {job_id!r} failed: {_summary(exc_info)}")
        self.job_id = job_id
        self.exc_info = exc_info

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n\nRemote traceback:\n{self.exc_info}" if self.exc_info else message

    def __reduce__(self) -> tuple[type[JobFailed], tuple[str, str | None]]:
        return (JobFailed, (self.job_id, self.exc_info))


def _summary(exc_info: str | None) -> str:
    """Return the line of a traceback that names the exception: the last one that is not indented and looks like it."""
    lines = (exc_info or "").strip().splitlines()
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(: |$)", line)]
    return (named or lines or ["no traceback was kept"])[-1]


class JobCancelled(AiorqError):
    """The job was cancelled or stopped."""


class AbandonedJobError(AiorqError):
    """The job's worker died and the job may not be run again. The name is RQ's."""


class UncancellableJobError(AiorqError):
    """The job did not end although it was told to; its slot is lost until it does."""


class ResultNotSerializable(AiorqError):
    """The job returned something that the serializer cannot carry."""


class ResultTooLarge(AiorqError):
    """The job returned more than the limit allows."""


class JobTimeoutException(Exception):
    """Raised inside a job when its time is over. The name and the base are RQ's."""
