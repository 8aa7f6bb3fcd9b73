"""What rq's own readers see: the reading half of the driver."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import redis

rq: Any = importlib.import_module("rq")  # untyped: what one version has, another lacks
job_module: Any = importlib.import_module("rq.job")
registry_module: Any = importlib.import_module("rq.registry")
serializers: Any = importlib.import_module("rq.serializers")

SERIALIZERS = {"json": serializers.JSONSerializer, "pickle": serializers.DefaultSerializer}
VERSION = tuple(int(part) for part in rq.VERSION.split(".")[:2])
REGISTRIES = ("started", "finished", "failed", "deferred", "scheduled", "canceled")


class Reading:
    """One public method for each thing that is asked for."""

    def __init__(self, url: str) -> None:
        self.connection = redis.Redis.from_url(url)

    def facts(self, id: str, serializer: str = "json") -> dict[str, Any]:
        """Return what rq's reader sees of a job."""
        job = self.job_of(id, serializer)
        results = job.results()
        latest = job.latest_result()
        return {
            "status": _status(job.get_status()),
            "func_name": job.func_name,
            "args": list(job.args),
            "kwargs": job.kwargs,
            "meta": job.get_meta(),
            "description": job.description,
            "origin": job.origin,
            "timeout": job.timeout,
            "ttl": job.ttl,
            "result_ttl": job.result_ttl,
            "failure_ttl": job.failure_ttl,
            "retries_left": job.retries_left,
            "created_at": _time(job.created_at),
            "enqueued_at": _time(job.enqueued_at),
            "started_at": _time(job.started_at),
            "ended_at": _time(job.ended_at),
            "worker_name": job.worker_name or None,
            "dependency_ids": [text_of(one) for one in job._dependency_ids or ()],
            "return_value": job.return_value(),
            "result_types": [one.type.value for one in results],
            "latest_type": latest and latest.type.value,
            "exc_string": latest.exc_string if latest else None,
        }

    def status(self, id: str) -> str | None:
        """Return a job's status."""
        return _status(self.job_of(id, "json").get_status())

    def ids(self, place: str, queue: str = "q") -> list[str]:
        """Return the ids in a queue (``place`` is ``queued``) or in one of its registries."""
        there = self.queue_of(queue, "json")
        if place == "queued":
            return list(there.job_ids)
        return list(self._registry(place, there).get_job_ids())

    def workers(self) -> list[dict[str, Any]]:
        """Return what rq's reader sees of the workers."""
        return [self._worker(one) for one in rq.Worker.all(connection=self.connection)]

    def look_everywhere(self) -> list[str]:
        """Call every reader that rq has, and return the ids of the jobs that were found. What a reader raises is raised."""
        seen: dict[str, None] = {}
        for queue in rq.Queue.all(connection=self.connection):
            queue = self.queue_of(queue.name, "json")
            assert queue.count == len(queue.get_job_ids()) == len(queue.get_jobs())
            assert queue.is_empty() == (not queue.job_ids)
            seen.update(dict.fromkeys(queue.job_ids))
            for name in self._registries():
                registry = self._registry(name, queue)
                if name == "started" and VERSION < (2, 0):  # it takes runs for jobs
                    assert registry.count == len(registry.get_job_ids())
                    continue
                for id in registry.get_job_ids():
                    seen[id] = None
                    assert id in registry or name == "started"
                    if name not in ("started", "canceled"):
                        self._expiration(registry, self.job_of(id, "json"))
                if name == "scheduled":
                    for id in registry.get_job_ids():
                        registry.get_scheduled_time(id)
                        registry.get_jobs_to_schedule()
                assert registry.count == len(registry.get_job_ids())
        for id in seen:
            self._look_at(id)
        jobs = rq.job.Job.fetch_many(list(seen), connection=self.connection)
        assert [job.id for job in jobs if job is not None] == list(seen)
        for worker in rq.Worker.all(connection=self.connection):
            self._worker(worker)
            self._look_at_worker(worker)
        return list(seen)

    def _expiration(self, registry: Any, job: Any) -> None:
        try:
            registry.get_expiration_time(job)
        except OverflowError:  # rq's own way of writing "for ever", which it cannot read either
            assert self.connection.zscore(registry.key, job.id) == float("inf")

    def _look_at(self, id: str) -> None:
        job = self.job_of(id, "json")
        self.facts(id)
        for name in dir(type(job)):
            if name.startswith("is_") or isinstance(getattr(type(job), name), property):
                if name in (
                    "instance",
                    "func",
                    "exc_info",
                    "result",
                ):  # deprecated, or needs the module
                    continue
                getattr(job, name)
        job.get_position()
        job.get_call_string()
        job.fetch_dependencies()
        for dependent in job.dependent_ids:
            self.job_of(text_of(dependent), "json")
        job.dependencies_are_met()
        job.latest_result()
        if VERSION >= (2, 0):
            for execution in job.get_executions():
                assert execution.job.id == job.id
                assert execution.created_at <= execution.last_heartbeat

    def _look_at_worker(self, worker: Any) -> None:
        worker.get_state()
        worker.get_current_job_id()
        worker.queue_names()
        if VERSION >= (3, 0):
            assert len(worker.get_current_executions()) == worker.current_execution_count

    def _worker(self, worker: Any) -> dict[str, Any]:
        return {
            "name": worker.name,
            "state": _status(worker.get_state()),
            "queues": worker.queue_names(),
            "pid": worker.pid,
            "hostname": worker.hostname,
            "version": worker.version,
            "successes": worker.successful_job_count,
            "failures": worker.failed_job_count,
            "working_time": worker.total_working_time,
            "birth": _time(worker.birth_date),
            "last_heartbeat": _time(worker.last_heartbeat),
            "job_id": worker.get_current_job_id(),
        }

    def group(self, group: str) -> list[str]:
        """Return the ids of the jobs of a group."""
        groups = importlib.import_module("rq.group").Group
        return [job.id for job in groups.fetch(group, connection=self.connection).get_jobs()]

    # -- finding ---------------------------------------------------------------------------------------------------------

    def queue_of(self, name: str, serializer: str) -> Any:
        return rq.Queue(name, connection=self.connection, serializer=SERIALIZERS[serializer])

    def job_of(self, id: str, serializer: str) -> Any:
        return job_module.Job.fetch(
            id, connection=self.connection, serializer=SERIALIZERS[serializer]
        )

    def _registries(self) -> Iterator[str]:
        yield from REGISTRIES
        if VERSION >= (3, 0):
            yield "ready"

    def _registry(self, name: str, queue: Any) -> Any:
        return getattr(registry_module, f"{name.capitalize()}JobRegistry")(queue=queue)


def _status(status: Any) -> str | None:
    return status and str(getattr(status, "value", status))


def _time(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)  # noqa: UP017
    return aware.timestamp()


def text_of(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw
