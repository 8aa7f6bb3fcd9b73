"""Every key name, once.

Python builds keys with ``Keys(prefix).job("x")``; the loader of the Lua scripts renders the same methods into Lua functions, so
a name is never spelled twice. Names without ``aio`` are RQ 3.0's (the doubled colon in ``dependencies`` is RQ's own).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence

PREFIX_PATTERN = re.compile(r"[A-Za-z0-9_.:{}-]+")
"""RQ's rule for ``RQ_KEY_PREFIX``."""


_TAG = re.compile(r"[^{]*\{[^}]+\}")


def has_hash_tag(prefix: str) -> bool:
    """Return whether all keys under a prefix lie in one slot of a cluster: it has something between its first braces."""
    return _TAG.match(prefix) is not None


class Keys:
    """The key names under one prefix. Each docstring says the Redis type and how long the key lives."""

    __slots__ = ("prefix",)

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def queues(self) -> str:
        """Set of queue *keys*; for ever."""
        return f"{self.prefix}:queues"

    def queue(self, queue: str) -> str:
        """List of queued job ids, the next one on the left; for ever."""
        return f"{self.prefix}:queue:{queue}"

    def job(self, job: str) -> str:
        """Hash, the job itself; until its TTL or its deletion."""
        return f"{self.prefix}:job:{job}"

    def dependents(self, job: str) -> str:
        """Set of the ids that wait for this job; as long as the job."""
        return f"{self.prefix}:job:{job}:dependents"

    def dependencies(self, job: str) -> str:
        """Set of the ids this job waits for; as long as the job."""
        return f"{self.prefix}:job::{job}:dependencies"

    def results(self, job: str) -> str:
        """Stream, one entry per failed attempt or streamed result; as long as the job."""
        return f"{self.prefix}:results:{job}"

    def executions(self, job: str) -> str:
        """Sorted set of the execution ids that run this job, by expiry; lease + 60 s, refreshed."""
        return f"{self.prefix}:executions:{job}"

    def execution(self, job: str, execution: str) -> str:
        """Hash of one run; as long as its lease, refreshed."""
        return f"{self.prefix}:execution:{job}:{execution}"

    def wip(self, queue: str) -> str:
        """Sorted set ``<job>:<execution>`` by lease deadline (RQ's StartedJobRegistry); for ever."""
        return f"{self.prefix}:wip:{queue}"

    def finished(self, queue: str) -> str:
        """Sorted set of finished jobs by expiry; for ever."""
        return f"{self.prefix}:finished:{queue}"

    def failed(self, queue: str) -> str:
        """Sorted set of failed and stopped jobs by expiry; for ever."""
        return f"{self.prefix}:failed:{queue}"

    def deferred(self, queue: str) -> str:
        """Sorted set of jobs that wait for others, by time of adding (ours with 1e10 seconds more, see add.lua); for ever."""
        return f"{self.prefix}:deferred:{queue}"

    def scheduled(self, queue: str) -> str:
        """Sorted set of jobs by due time (ours with milliseconds); for ever."""
        return f"{self.prefix}:scheduled:{queue}"

    def canceled(self, queue: str) -> str:
        """Sorted set of canceled jobs by time of cancelling; for ever."""
        return f"{self.prefix}:canceled:{queue}"

    def ready(self, queue: str) -> str:
        """Sorted set of jobs whose parents are done and that rq has not queued yet; rq's."""
        return f"{self.prefix}:ready:{queue}"

    def rates(self) -> str:
        """Set of rate limit keys; members are dropped when their limit is not in use."""
        return f"{self.prefix}:rl-keys"

    def rate(self, rate: str) -> str:
        """Hash, the concurrency of a rate limit; while it is in use."""
        return f"{self.prefix}:rl:{rate}"

    def rate_allowed(self, rate: str) -> str:
        """Sorted set of the jobs of a rate limit that are queued or running; while there are any."""
        return f"{self.prefix}:rl:{rate}:allowed"

    def rate_waiting(self, rate: str) -> str:
        """Sorted set of the jobs of a rate limit that wait in line; while there are any."""
        return f"{self.prefix}:rl:{rate}:rate_limited"

    def groups(self) -> str:
        """Set of group names; until they are cleaned up."""
        return f"{self.prefix}:groups"

    def group(self, group: str) -> str:
        """Set of the ids of a group's jobs; until it is cleaned up."""
        return f"{self.prefix}:group:{group}"

    def releasing(self) -> str:
        """Hash of jobs that have ended and whose dependents are still to be freed; while there are any."""
        return f"{self.prefix}:aio:releasing"

    def scheduler_lock(self, queue: str) -> str:
        """String, the name of the rq scheduler in charge of this queue; rq's, 61 s."""
        return f"{self.prefix}:scheduler-lock:{queue}"

    def scheduler(self, scheduler: str) -> str:
        """Hash of one rq scheduler; rq's, 61 s, refreshed."""
        return f"{self.prefix}:scheduler:{scheduler}"

    def cleaning(self, queue: str) -> str:
        """String, rq's maintenance lock; rq's, 899 s."""
        return f"{self.prefix}:clean_registries:{queue}"

    def intermediate(self, queue: str) -> str:
        """List of ids that an rq worker has taken and not started yet; rq's."""
        return f"{self.prefix}:queue:{queue}:intermediate"

    def stuck(self, queue: str) -> str:
        """Hash of those of them that seem to be stuck, by the time when they were first seen there; an hour, refreshed."""
        return f"{self.prefix}:aio:stuck:{queue}"

    def first_seen(self, queue: str, job: str) -> str:
        """String by which rq's maintenance finds stuck jobs; rq's, a day."""
        return f"{self.prefix}:queue:{queue}:intermediate:first_seen:{job}"

    def suspended(self) -> str:
        """String; while it exists, no worker starts a job."""
        return f"{self.prefix}:suspended"

    def workers(self) -> str:
        """Set of worker *keys*; members are dropped when their hash is gone."""
        return f"{self.prefix}:workers"

    def queue_workers(self, queue: str) -> str:
        """Set of the worker keys that listen on a queue; as above."""
        return f"{self.prefix}:workers:{queue}"

    def worker(self, worker: str) -> str:
        """Hash of one worker process; a few leases, refreshed."""
        return f"{self.prefix}:worker:{worker}"

    def worker_executions(self, worker: str) -> str:
        """Set ``<job>:<execution>`` of a worker's runs; as the worker."""
        return f"{self.prefix}:worker:{worker}:executions"

    def commands(self, worker: str) -> str:
        """Channel on which a worker takes RQ's commands."""
        return f"{self.prefix}:pubsub:{worker}"

    def inbox(self, process: str) -> str:
        """Channel on which a process hears that a job it waits for has ended."""
        return f"{self.prefix}:aio:inbox:{process}"

    def wake(self, queue: str) -> str:
        """Sorted set with at most one marker: there is something to claim; for ever, one per queue."""
        return f"{self.prefix}:aio:wake:{queue}"

    def doorbell(self, worker: str) -> str:
        """Sorted set with at most one marker, by which a worker wakes its own blocking read; 60 s."""
        return f"{self.prefix}:aio:doorbell:{worker}"

    def watch(self, queue: str) -> str:
        """String, the worker that watches the queue's next due time; a few seconds."""
        return f"{self.prefix}:aio:watch:{queue}"

    def fence(self) -> str:
        """String that a durable enqueue writes before it waits for replicas, which have then got all that came before; 60 s."""
        return f"{self.prefix}:aio:fence"

    def due_news(self) -> str:
        """Channel on which schedulers hear the name of a queue where something is due earlier than before."""
        return f"{self.prefix}:aio:due"

    def cron_names(self) -> str:
        """Sorted set of the names of all recurring entries, by 0, or by when one that has ended is forgotten; for ever."""
        return f"{self.prefix}:aio:crons"

    def crons(self, queue: str) -> str:
        """Sorted set of the active recurring entries of a queue by due time; for ever."""
        return f"{self.prefix}:aio:crons:{queue}"

    def cron(self, cron: str) -> str:
        """Hash, a recurring entry; until it is removed, or some time after it has ended."""
        return f"{self.prefix}:aio:cron:{cron}"

    def cron_job(self, cron: str) -> str:
        """Hash, the fields of the jobs that the entry makes; as long as the entry."""
        return f"{self.prefix}:aio:cron-job:{cron}"

    def cron_runs(self, cron: str) -> str:
        """Sorted set of the latest jobs that the entry has made, by their time; as long as the entry."""
        return f"{self.prefix}:aio:cron-runs:{cron}"

    def cron_sources(self) -> str:
        """Hash, the newest version of each code that declares entries; for ever, one field for each."""
        return f"{self.prefix}:aio:cron-sources"

    def ticking(self, queue: str) -> str:
        """String, the process that sees to what is due of a queue's entries; a second."""
        return f"{self.prefix}:aio:ticking:{queue}"

    def lead(self, group: str) -> str:
        """String, the one of several schedulers of the same queues that sees to what is due; about a second, refreshed."""
        return f"{self.prefix}:aio:lead:{group}"

    def rate_home(self, rate: str) -> str:
        """String, the shard whose jobs a rate limit counts; a week, refreshed. In the first of several shards only."""
        return f"{self.prefix}:aio:rate-home:{rate}"

    def replay(self, token: str) -> str:
        """String: the call with this token was carried out and left nothing else behind; 60 s."""
        return f"{self.prefix}:aio:replay:{token}"


def lua_expression(name: str, values: Sequence[str]) -> str:
    """Render the Lua expression that builds the key of the method ``name`` from ``PREFIX`` and these expressions.

    Raises:
        ValueError: it takes another number of them.
    """
    method = getattr(Keys, name)
    parameters = _parameters(name)
    if len(parameters) != len(values):
        raise ValueError(name)
    text: str = method(Keys("\0P\0"), *(f"\0{parameter}\0" for parameter in parameters))
    parts = [part for part in text.split("\0") if part]
    given = {"P": "PREFIX", **dict(zip(parameters, map(_in_brackets, values), strict=True))}
    return "(" + " .. ".join(given.get(part, f"'{part}'") for part in parts) + ")"


def lua_function(name: str) -> str:
    """Render the method ``name`` as a Lua function that builds the same key."""
    parameters = _parameters(name)
    return f"local function K_{name}({', '.join(parameters)}) return {lua_expression(name, parameters)} end"


def _parameters(name: str) -> list[str]:
    return list(inspect.signature(getattr(Keys, name)).parameters)[1:]


def _in_brackets(expression: str) -> str:
    return expression if re.fullmatch(r"[\w.\[\]]+", expression) else f"({expression})"
