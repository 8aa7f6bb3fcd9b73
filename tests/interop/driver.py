"""A program that knows rq, of whichever version, and nothing of aiorq2: the other side of the tests in this folder.

``python -m tests.interop.driver URL`` reads one JSON object a line, ``{"do": …, **arguments}``, and answers each with a line:
``{"ok": value}``, or ``{"error": class, "message": text}`` for whatever rq raised.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import redis

from tests.interop.functions import CALLABLES
from tests.interop.reading import SERIALIZERS, Reading, job_module, rq

commands: Any = importlib.import_module("rq.command")


class OneShot(rq.SimpleWorker):  # type: ignore[misc]  # of an untyped library
    """rq's worker in this process, but deaf to commands: its ear is a thread that takes a second to end."""

    def subscribe(self) -> None: ...

    def unsubscribe(self) -> None: ...


class Driver(Reading):
    """One public method for each thing that is asked for."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._handles: dict[str, Any] = {}

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
        there = self.queue_of(queue, serializer)
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
        there = self.queue_of(queue, serializer)
        datas = [there.prepare_data(CALLABLES[func], args=tuple(args)) for args in calls]
        return [job.id for job in there.enqueue_many(datas)]

    def enqueue_group(self, group: str, func: str, calls: Sequence[Sequence[Any]]) -> list[str]:
        """Enqueue jobs as a group."""
        there = self.queue_of("q", "json")
        datas = [there.prepare_data(CALLABLES[func], args=tuple(args)) for args in calls]
        groups = importlib.import_module("rq.group").Group
        made = groups.create(connection=self.connection, name=group)
        return [job.id for job in made.enqueue_many(there, datas)]

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
            jobs = [self.job_of(one, serializer) for one in depends_on]
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
        there = [self.queue_of(queue, serializer) for queue in queues]
        worker = OneShot(
            there, connection=self.connection, serializer=SERIALIZERS[serializer], name="driver"
        )
        self.connection.delete(worker.key)  # of an earlier call: rq keeps it for a minute
        return bool(worker.work(burst=True, max_jobs=max_jobs, logging_level="CRITICAL"))

    def schedule(self, queues: Sequence[str] = ("q",)) -> None:
        """Have rq's scheduler look once."""
        scheduling = importlib.import_module("rq.scheduler")
        scheduler = scheduling.RQScheduler(
            [self.queue_of(queue, "json") for queue in queues], connection=self.connection
        )
        scheduler.acquire_locks()
        try:
            scheduler.enqueue_scheduled_jobs()
        finally:
            scheduler.release_locks()

    def maintain(self, queues: Sequence[str] = ("q",), serializer: str = "json") -> None:
        """Do what an rq worker does every ten minutes."""
        there = [self.queue_of(queue, serializer) for queue in queues]
        worker = OneShot(
            there, connection=self.connection, serializer=SERIALIZERS[serializer], name="janitor"
        )
        worker.run_maintenance_tasks()

    # -- telling ---------------------------------------------------------------------------------------------------------

    def cancel(self, id: str, enqueue_dependents: bool = False) -> None:
        """Cancel a job."""
        self.job_of(id, "json").cancel(enqueue_dependents=enqueue_dependents)

    def requeue(self, id: str, serializer: str = "json") -> None:
        """Requeue a job that has failed."""
        self.job_of(id, serializer).requeue()

    def delete(self, id: str) -> None:
        """Delete a job."""
        self.job_of(id, "json").delete()

    def stop(self, id: str) -> None:
        """Have a running job stopped."""
        commands.send_stop_job_command(self.connection, id)

    def executions(self, id: str) -> list[str]:
        """Return the ids of a job's runs."""
        return [one.id for one in self.job_of(id, "json").get_executions()]

    def stop_execution(self, id: str, execution: str) -> None:
        """Have one run of a job stopped."""
        commands.send_stop_execution_command(self.connection, id, execution)

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
        job = self.job_of(id, "json")
        job.meta.update(meta)
        job.save_meta()

    def hold(self, id: str) -> None:
        """Keep a handle on a job as it is now."""
        self._handles[id] = self.job_of(id, "json")

    def save_held(self, id: str) -> None:
        """Save the job from that handle: every field that rq knows, as it was then."""
        job = self._handles.pop(id)
        job.meta["saved"] = True
        job.save()


class Dying(OneShot):
    """A worker that is killed when it has taken a job out of the queue and not started it."""

    def execute_job(self, job: Any, queue: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def die_before_start(url: str, queue: str) -> None:
    """Take a job out of a queue and be killed."""
    connection = redis.Redis.from_url(url)
    queues = [rq.Queue(queue, connection=connection, serializer=SERIALIZERS["json"])]
    Dying(queues, connection=connection, serializer=SERIALIZERS["json"]).work(burst=True)


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
