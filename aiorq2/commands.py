"""RQ's commands to a worker: JSON on its channel. What cannot be read is ignored; nothing that arrives here can end a worker.

Any worker understands them, rq's too. They are lost if the worker does not listen; ``job.cancel()`` and ``send_stop_job_command``
leave word in the job as well, which a worker of ours finds with its next heartbeat.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from aiorq2.backends.kept import Source, backend_of
from aiorq2.errors import InvalidJobOperation, NoSuchExecutionError
from aiorq2.executions import Execution
from aiorq2.options import any_job_id


@dataclass(frozen=True, slots=True)
class Command:
    """``shutdown``, ``kill-horse``, ``stop-job`` (with a job) or ``stop-execution`` (with a job and an execution)."""

    name: str
    job_id: str = ""
    execution_id: str = ""


def parse_command(message: bytes) -> Command | None:
    """Return the command in a message, None when there is none."""
    try:
        found = json.loads(message)
        return Command(
            str(found["command"]), str(found.get("job_id", "")), str(found.get("execution_id", ""))
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


async def send_command(
    connection: Source, worker_name: str, command: str, **arguments: str
) -> bool:
    """Send a command to a worker; returns whether anybody heard it. Redis: 1 call."""
    message = json.dumps({"command": command, **arguments})
    return await backend_of(connection).command(worker_name, message) > 0


async def send_shutdown_command(connection: Source, worker_name: str) -> bool:
    """Have a worker stop once its running jobs have ended; returns whether it heard. Redis: 1 call."""
    return await send_command(connection, worker_name, "shutdown")


async def send_kill_horse_command(connection: Source, worker_name: str) -> bool:
    """Have a worker stop all that it runs, and go on; returns whether it heard. Redis: 1 call."""
    return await send_command(connection, worker_name, "kill-horse")


async def send_stop_job_command(connection: Source, job_id: str) -> None:
    """Have its worker stop a job, which then is ``stopped``. Redis: 1 call.

    Raises:
        NoSuchJobError: there is none.
        InvalidJobOperation: it does not run.
    """
    await backend_of(connection).stop(any_job_id(job_id))


async def send_stop_execution_command(connection: Source, job_id: str, execution_id: str) -> bool:
    """Have its worker stop one run of a job; returns whether it heard. Redis: 2 calls.

    Raises:
        InvalidJobOperation: there is no such run.
    """
    try:
        execution = await Execution.fetch(execution_id, job_id, connection)
    except NoSuchExecutionError as error:
        raise InvalidJobOperation(str(error)) from None
    arguments = {"job_id": job_id, "execution_id": execution_id}
    return await send_command(connection, execution.worker_name, "stop-execution", **arguments)
