"""aiorq2 and rq as two sides that can be asked the same things, so that a test can say who enqueues, who runs and who reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Protocol

from aiorq2 import Callback, Dependency, Job, JobStatus, Queue, RateLimit, Repeat, Retry, Worker
from aiorq2.backends import inspect
from aiorq2.backends.redis import RedisBackend
from aiorq2.commands import send_kill_horse_command, send_shutdown_command, send_stop_job_command
from aiorq2.options import ResultStore
from aiorq2.suspension import is_suspended, resume, suspend
from aiorq2.upkeep import Sweeper
from tests.interop.functions import CALLABLES
from tests.interop.peer import Peer


@dataclass(frozen=True)
class Facts:
    """What a reader sees of a job; times are seconds since the epoch."""

    status: str
    func_name: str
    args: list[Any]
    kwargs: dict[str, Any]
    meta: dict[str, Any]
    description: str
    origin: str
    timeout: int
    ttl: int | None
    result_ttl: int | None
    failure_ttl: int | None
    retries_left: int | None
    created_at: float | None
    enqueued_at: float | None
    started_at: float | None
    ended_at: float | None
    worker_name: str | None
    dependency_ids: list[str]
    return_value: Any
    result_types: list[int]
    latest_type: int | None
    exc_string: str | None


class Side(Protocol):
    """Either library. Options of ``enqueue`` are plain values, as ``driver.py`` takes them."""

    name: str

    async def enqueue(self, func: str, *args: Any, **options: Any) -> str: ...
    async def work(self, *queues: str, **how: Any) -> bool: ...
    async def schedule(self) -> None: ...
    async def facts(self, id: str, serializer: str = "json") -> Facts: ...
    async def status(self, id: str) -> str: ...
    async def ids(self, place: str, queue: str = "q") -> list[str]: ...
    async def cancel(self, id: str, enqueue_dependents: bool = False) -> None: ...
    async def requeue(self, id: str) -> None: ...
    async def delete(self, id: str) -> None: ...
    async def stop(self, id: str) -> None: ...
    async def shutdown(self, worker: str) -> None: ...
    async def kill_horse(self, worker: str) -> None: ...
    async def suspend(self) -> None: ...
    async def resume(self) -> None: ...
    async def is_suspended(self) -> bool: ...


@dataclass(frozen=True)
class Direction:
    """Who enqueues, and who runs."""

    producer: Side
    worker: Side


class Theirs:
    """rq, by way of the driver."""

    name = "rq"

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def enqueue(self, func: str, *args: Any, **options: Any) -> str:
        """Enqueue a function of ``CALLABLES`` and return the id."""
        return str(await self.peer("enqueue", func=func, args=args, **options))

    async def work(self, *queues: str, **how: Any) -> bool:
        """Run what is queued, in rq's SimpleWorker."""
        return bool(await self.peer("work", queues=queues or ("q",), **how))

    async def schedule(self) -> None:
        """Have the scheduler look once."""
        await self.peer("schedule")

    async def facts(self, id: str, serializer: str = "json") -> Facts:
        """Return what this side sees of a job."""
        return Facts(**await self.peer("facts", id=id, serializer=serializer))

    async def status(self, id: str) -> str:
        """Return the status."""
        return str(await self.peer("status", id=id))

    async def ids(self, place: str, queue: str = "q") -> list[str]:
        """Return the ids in the queue (``queued``) or in a registry."""
        return [str(id) for id in await self.peer("ids", place=place, queue=queue)]

    async def cancel(self, id: str, enqueue_dependents: bool = False) -> None:
        """Cancel a job."""
        await self.peer("cancel", id=id, enqueue_dependents=enqueue_dependents)

    async def requeue(self, id: str) -> None:
        """Requeue a failed job."""
        await self.peer("requeue", id=id)

    async def delete(self, id: str) -> None:
        """Delete a job."""
        await self.peer("delete", id=id)

    async def stop(self, id: str) -> None:
        """Have a running job stopped."""
        await self.peer("stop", id=id)

    async def shutdown(self, worker: str) -> None:
        """Have a worker shut down."""
        await self.peer("shutdown", worker=worker)

    async def kill_horse(self, worker: str) -> None:
        """Have what a worker runs killed."""
        await self.peer("kill_horse", worker=worker)

    async def suspend(self) -> None:
        """Suspend all workers."""
        await self.peer("suspend")

    async def resume(self) -> None:
        """Let them go on."""
        await self.peer("resume")

    async def is_suspended(self) -> bool:
        """Return whether they are suspended."""
        return bool(await self.peer("is_suspended"))


class Ours:
    """aiorq2. Results go into streams, where rq's readers look for them, unless told otherwise."""

    name = "aiorq2"

    def __init__(self, backend: RedisBackend, results: ResultStore = "stream") -> None:
        self.backend = backend
        self.results: ResultStore = results

    def queue(self, name: str = "q", serializer: str = "json") -> Queue:
        """Return a queue."""
        return Queue(name, self.backend, serializer=serializer, results=self.results)

    async def enqueue(self, func: str, *args: Any, **options: Any) -> str:
        """Enqueue a function of ``CALLABLES`` and return the id."""
        queue = self.queue(options.pop("queue", "q"), options.pop("serializer", "json"))
        at, delay = options.pop("at", None), options.pop("delay", None)
        named = _options(**options)
        if at is not None:
            moment = datetime.fromtimestamp(at).astimezone()
            job = await queue.enqueue_at(moment, CALLABLES[func], *args, **named)
        elif delay is not None:
            job = await queue.enqueue_in(timedelta(seconds=delay), CALLABLES[func], *args, **named)
        else:
            job = await queue.enqueue(CALLABLES[func], *args, **named)
        return job.id

    async def work(self, *queues: str, **how: Any) -> bool:
        """Run what is queued or due."""
        max_jobs = how.pop("max_jobs", None)
        worker = Worker(queues or "q", self.backend, **how)
        return await worker.work(burst=True, max_jobs=max_jobs)

    async def schedule(self) -> None:
        """Move what is due, and run nothing."""
        await self.backend.call(
            "promote", queue="q", limit=100, now_iso="2030-01-01T00:00:00.000000Z"
        )

    async def sweep(self) -> None:
        """Do what our workers do every minute."""
        await Sweeper(self.backend, ["q"]).sweep()

    async def facts(self, id: str, serializer: str = "json") -> Facts:
        """Return what this side sees of a job."""
        job = await Job.fetch(id, self.backend, serializer)
        results = await job.results()
        latest = await job.latest_result()
        seen = {
            one.name: getattr(job, one.name)
            for one in fields(Facts)
            if hasattr(type(job), one.name)
        }
        told = {
            "status": job.status.value,
            "args": list(job.args),
            "return_value": job.result,
            "result_types": [one.type.value for one in results],
            "latest_type": latest and latest.type.value,
            "exc_string": latest and latest.exc_string,
        }
        times = {
            name: value.timestamp() for name, value in seen.items() if isinstance(value, datetime)
        }
        return Facts(**{**seen, **times, **told})

    async def status(self, id: str) -> str:
        """Return the status."""
        return (await (await self.job(id)).get_status()).value

    async def job(self, id: str) -> Job:
        """Return a handle."""
        return await Job.fetch(id, self.backend)

    async def ids(self, place: str, queue: str = "q") -> list[str]:
        """Return the ids in the queue (``queued``) or in a registry."""
        if place == JobStatus.QUEUED:
            return await inspect.queued_ids(self.backend, queue)
        return await inspect.registry_ids(self.backend, place, queue)

    async def cancel(self, id: str, enqueue_dependents: bool = False) -> None:
        """Cancel a job."""
        await (await self.job(id)).cancel(enqueue_dependents=enqueue_dependents)

    async def requeue(self, id: str) -> None:
        """Requeue a job."""
        await (await self.job(id)).requeue()

    async def delete(self, id: str) -> None:
        """Delete a job."""
        await (await self.job(id)).delete()

    async def stop(self, id: str) -> None:
        """Have a running job stopped."""
        await send_stop_job_command(self.backend, id)

    async def shutdown(self, worker: str) -> None:
        """Have a worker shut down."""
        await send_shutdown_command(self.backend, worker)

    async def kill_horse(self, worker: str) -> None:
        """Have what a worker runs killed."""
        await send_kill_horse_command(self.backend, worker)

    async def suspend(self) -> None:
        """Suspend all workers."""
        await suspend(self.backend)

    async def resume(self) -> None:
        """Let them go on."""
        await resume(self.backend)

    async def is_suspended(self) -> bool:
        """Return whether they are suspended."""
        return await is_suspended(self.backend)


def _options(
    retry: dict[str, Any] | None = None,
    repeat: dict[str, Any] | None = None,
    depends_on: Sequence[str] | None = None,
    allow_failure: bool = False,
    rate_limit: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    if retry is not None:
        options["retry"] = Retry(**retry)
    if repeat is not None:
        options["repeat"] = Repeat(**repeat)
    if rate_limit is not None:
        options["rate_limit"] = RateLimit(**rate_limit)
    if depends_on is not None:
        options["depends_on"] = Dependency(list(depends_on), allow_failure=allow_failure)
    for name in ("on_success", "on_failure", "on_stopped"):
        if name in options:
            options[name] = Callback(CALLABLES[options[name]])
    return options
