"""aiorq2: RQ's job API, rebuilt for asyncio. Start with ``Queue`` and ``Worker``; ``connect`` says where jobs live."""

from aiorq2.allowlist import register
from aiorq2.backends import connect
from aiorq2.cron import CronPattern
from aiorq2.cron_jobs import CronJob
from aiorq2.cron_spec import CronSpec
from aiorq2.errors import (
    AbandonedJobError,
    AiorqError,
    BackendError,
    BackendFull,
    BackendRefused,
    BackendUnavailable,
    ClassNotFound,
    DeserializationError,
    DuplicateJobError,
    FunctionNotAllowed,
    InvalidArguments,
    InvalidCronPattern,
    InvalidFunction,
    InvalidJobOperation,
    InvalidOption,
    JobCancelled,
    JobFailed,
    JobTimeoutException,
    NoSuchCronJobError,
    NoSuchGroupError,
    NoSuchJobError,
    NotConfigured,
    NotDurable,
    PayloadTooLarge,
    SerializationError,
    StartupFailed,
    TimeoutFormatError,
    UnknownFunction,
    WorkerNameTaken,
)
from aiorq2.executions import Execution
from aiorq2.group import Group
from aiorq2.hub import RQ
from aiorq2.job import Job, cancel_job, get_current_job, requeue_job
from aiorq2.options import Retry
from aiorq2.queue import Queue
from aiorq2.results import Result
from aiorq2.scheduler import Scheduler
from aiorq2.sharded import ShardedScheduler, ShardedWorker
from aiorq2.signing import signed
from aiorq2.states import JobStatus
from aiorq2.terms import Callback, Dependency, Durable, RateLimit, Repeat, Webhook
from aiorq2.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "RQ",
    "AbandonedJobError",
    "AiorqError",
    "BackendError",
    "BackendFull",
    "BackendRefused",
    "BackendUnavailable",
    "Callback",
    "ClassNotFound",
    "CronJob",
    "CronPattern",
    "CronSpec",
    "Dependency",
    "DeserializationError",
    "DuplicateJobError",
    "Durable",
    "Execution",
    "FunctionNotAllowed",
    "Group",
    "InvalidArguments",
    "InvalidCronPattern",
    "InvalidFunction",
    "InvalidJobOperation",
    "InvalidOption",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobStatus",
    "JobTimeoutException",
    "NoSuchCronJobError",
    "NoSuchGroupError",
    "NoSuchJobError",
    "NotConfigured",
    "NotDurable",
    "PayloadTooLarge",
    "Queue",
    "RateLimit",
    "Repeat",
    "Result",
    "Retry",
    "Scheduler",
    "SerializationError",
    "ShardedScheduler",
    "ShardedWorker",
    "StartupFailed",
    "TimeoutFormatError",
    "UnknownFunction",
    "Webhook",
    "Worker",
    "WorkerNameTaken",
    "__version__",
    "cancel_job",
    "connect",
    "get_current_job",
    "register",
    "requeue_job",
    "signed",
]
