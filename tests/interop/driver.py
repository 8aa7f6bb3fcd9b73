"""A program that knows rq, of whichever version, and nothing of aiorq2: the other side of the tests in this folder.

``python -m tests.interop.driver URL`` reads one JSON object a line, ``{"do": …, **arguments}``, and answers each with a line:
``{"ok": value}``, or ``{"error": class, "message": text}`` for whatever rq raised.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import redis

from tests.interop.functions import CALLABLES

rq: Any = importlib.import_module("rq")  # untyped: what one version has, another lacks
job_module: Any = importlib.import_module("rq.job")
registry_module: Any = importlib.import_module("rq.registry")
serializers: Any = importlib.import_module("rq.serializers")
commands: Any = importlib.import_module("rq.command")

SERIALIZERS = {"json": serializers.JSONSerializer, "pickle": serializers.DefaultSerializer}
VERSION = tuple(int(part) for part in rq.VERSION.split(".")[:2])
REGISTRIES = ("started", "finished", "failed", "deferred", "scheduled", "canceled")


class OneShot(rq.SimpleWorker):  # type: ignore[misc]  # of an untyped library
    """rq's worker in this process, but deaf to commands: its ear is a thread that takes a second to end."""

    def subscribe(self) -> None: ...

    def unsubscribe(self) -> None: ...


class Driver:
    """One public method for each thing that is asked for."""

    def __init__(self, url: str) -> None:
        self.connection = redis.Redis.from_url(url)

    def version(self) -> str:
        return str(rq.VERSION)

    # -- enqueueing ------------------------------------------------------------------------------------------------------

    def enqueue(
        self,
        func: str,
        args: Sequence[Any] = (),
        queue: str = "q",
        serializer: str = "json",
        at: float | None = None,
        delay: float | None = None,
        **options: Any,
    ) -> str:
        """Enqueue a function of ``CALLABLES``; ``at`` is seconds since the epoch."""
        options = self._options(serializer, **options)
        there = self._queue(queue, serializer)
        function = CALLABLES[func]
        if at is not None:
            moment = datetime.fromtimestamp(at, timezone.utc)  # noqa: UP017  Python 3.10 has no UTC
            job = there.enqueue_at(moment, function, *args, **options)
        elif delay is not None:
            job = there.enqueue_in(timedelta(seconds=delay), function, *args, **options)
        else:
            job = there.enqueue(function, *args, **options)
        return str(job.id)

    def enqueue_many(
        self, func: str, calls: Sequence[Sequence[Any]], queue: str = "q", serializer: str = "json"
    ) -> list[str]:
        """Enqueue one job for each list of arguments."""
        there = self._queue(queue, serializer)
        datas = [there.prepare_data(CALLABLES[func], args=tuple(args)) for args in calls]
        return [job.id for job in there.enqueue_many(datas)]

    def enqueue_group(self, group: str, func: str, calls: Sequence[Sequence[Any]]) -> list[str]:
        """Enqueue jobs as a group."""
        there = self._queue("q", "json")
        datas = [there.prepare_data(CALLABLES[func], args=tuple(args)) for args in calls]
        groups = importlib.import_module("rq.group").Group
        made = groups.create(connection=self.connection, name=group)
        return [job.id for job in made.enqueue_many(there, datas).get_jobs()]

    def _options(
        self,
        serializer: str,
        retry: dict[str, Any] | None = None,
        repeat: dict[str, Any] | None = None,
        depends_on: list[str] | None = None,
        allow_failure: bool = False,
        rate_limit: dict[str, Any] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        if retry is not None:
            options["retry"] = rq.Retry(**retry)
        if repeat is not None:
            options["repeat"] = rq.Repeat(**repeat)
        if rate_limit is not None:
            options["rate_limit"] = rq.RateLimit(**rate_limit)
        if depends_on is not None:
            jobs = [self._job(one, serializer) for one in depends_on]
            options["depends_on"] = job_module.Dependency(jobs=jobs, allow_failure=allow_failure)
        for name in ("on_success", "on_failure", "on_stopped"):
            if name in options:
                options[name] = rq.Callback(CALLABLES[options[name]])
        return options

    # -- working ---------------------------------------------------------------------------------------------------------

    def work(
        self, queues: Sequence[str] = ("q",), serializer: str = "json", max_jobs: int | None = None
    ) -> bool:
        """Run what is queued; return whether there was anything."""
        there = [self._queue(queue, serializer) for queue in queues]
        worker = OneShot(
            there, connection=self.connection, serializer=SERIALIZERS[serializer], name="driver"
        )
        self.connection.delete(worker.key)  # of an earlier call: rq keeps it for a minute
        return bool(worker.work(burst=True, max_jobs=max_jobs, logging_level="CRITICAL"))

    def schedule(self, queues: Sequence[str] = ("q",)) -> None:
        """Have rq's scheduler look once."""
        scheduling = importlib.import_module("rq.scheduler")
        scheduler = scheduling.RQScheduler(
            [self._queue(queue, "json") for queue in queues], connection=self.connection
        )
        scheduler.acquire_locks()
        try:
            scheduler.enqueue_scheduled_jobs()
        finally:
            scheduler.release_locks()

    def maintain(self, queues: Sequence[str] = ("q",), serializer: str = "json") -> None:
        """Do what an rq worker does every ten minutes."""
        there = [self._queue(queue, serializer) for queue in queues]
        worker = OneShot(
            there, connection=self.connection, serializer=SERIALIZERS[serializer], name="janitor"
        )
        worker.run_maintenance_tasks()

    # -- looking ---------------------------------------------------------------------------------------------------------

    def facts(self, id: str, serializer: str = "json") -> dict[str, Any]:
        """Return what rq's reader sees of a job."""
        job = self._job(id, serializer)
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
            "dependency_ids": [_text(one) for one in job._dependency_ids or ()],
            "return_value": job.return_value(),
            "result_types": [one.type.value for one in results],
            "latest_type": latest and latest.type.value,
            "exc_string": latest.exc_string if latest else None,
        }

    def status(self, id: str) -> str | None:
        """Return a job's status."""
        return _status(self._job(id, "json").get_status())

    def ids(self, place: str, queue: str = "q") -> list[str]:
        """Return the ids in a queue (``place`` is ``queued``) or in one of its registries."""
        there = self._queue(queue, "json")
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
            queue = self._queue(queue.name, "json")
            assert queue.count == len(queue.get_job_ids()) == len(queue.get_jobs())
            assert queue.is_empty() == (not queue.job_ids)
            seen.update(dict.fromkeys(queue.job_ids))
            for name in self._registries():
                registry = self._registry(name, queue)
                for id in registry.get_job_ids():
                    seen[id] = None
                    assert id in registry or name == "started"
                    if name not in ("started", "deferred", "canceled"):
                        registry.get_expiration_time(id)
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

    def _look_at(self, id: str) -> None:
        job = self._job(id, "json")
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
            self._job(_text(dependent), "json")
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

    # -- telling ---------------------------------------------------------------------------------------------------------

    def cancel(self, id: str, enqueue_dependents: bool = False) -> None:
        """Cancel a job."""
        self._job(id, "json").cancel(enqueue_dependents=enqueue_dependents)

    def requeue(self, id: str, serializer: str = "json") -> None:
        """Requeue a job that has failed."""
        self._job(id, serializer).requeue()

    def delete(self, id: str) -> None:
        """Delete a job."""
        self._job(id, "json").delete()

    def stop(self, id: str) -> None:
        """Have a running job stopped."""
        commands.send_stop_job_command(self.connection, id)

    def shutdown(self, worker: str) -> None:
        """Have a worker shut down."""
        commands.send_shutdown_command(self.connection, worker)

    def kill_horse(self, worker: str) -> None:
        """Have what a worker runs killed."""
        commands.send_kill_horse_command(self.connection, worker)

    def suspend(self) -> None:
        """Suspend all workers."""
        importlib.import_module("rq.suspension").suspend(self.connection)

    def resume(self) -> None:
        """Let them go on."""
        importlib.import_module("rq.suspension").resume(self.connection)

    def is_suspended(self) -> bool:
        """Return whether they are suspended."""
        return bool(importlib.import_module("rq.suspension").is_suspended(self.connection))

    def save_meta(self, id: str, meta: dict[str, Any]) -> None:
        """Change a job's meta."""
        job = self._job(id, "json")
        job.meta.update(meta)
        job.save_meta()

    # -- finding ---------------------------------------------------------------------------------------------------------

    def _queue(self, name: str, serializer: str) -> Any:
        return rq.Queue(name, connection=self.connection, serializer=SERIALIZERS[serializer])

    def _job(self, id: str, serializer: str) -> Any:
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


def _text(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw


@contextmanager
def own_stdout() -> Iterator[Any]:
    """Keep stdout for answers: what rq and jobs print goes to stderr."""
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        yield answers


def main() -> None:
    """Answer until stdin ends."""
    driver = Driver(sys.argv[1])
    with own_stdout() as answers:
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                answer = {"ok": getattr(driver, asked.pop("do"))(**asked)}
            except Exception as error:  # noqa: BLE001  whatever rq raises is an answer
                answer = {"error": type(error).__name__, "message": str(error)}
            answers.write(json.dumps(answer, default=repr) + "\n")


if __name__ == "__main__":
    main()
