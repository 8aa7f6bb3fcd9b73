"""Applications under hypercorn, each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import ROOT, PythonProcess
from tests.support.redis_server import free_port

EXAMPLES = ROOT / "examples"


def free_place() -> str:
    """Return a host and a port on which nobody listens."""
    return f"127.0.0.1:{free_port('127.0.0.1')}"


@contextmanager
def served(folder: Path, env: dict[str, str]) -> Iterator[tuple[str, PythonProcess]]:
    """Serve ``app:app`` of a folder with hypercorn; yields its address."""
    place = free_place()
    arguments = ["-u", "-m", "hypercorn", "app:app", "--bind", place]
    with PythonProcess(
        arguments, env={**env, "PYTHONPATH": f"{folder}:{ROOT}"}, cwd=folder
    ) as server:
        server.wait_for_output("Running on", 30)
        yield f"http://{place}", server
        server.terminate()
        server.wait(30)
