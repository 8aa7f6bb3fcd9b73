"""What a worker may run: write access to Redis is not yet a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiorq2 import JobStatus, Queue
from aiorq2.backends.redis import RedisBackend
from tests.flow.at_work import drain
from tests.support import jobs


async def test_function_of_the_standard_library_is_refused(
    backend: RedisBackend, tmp_path: Path
) -> None:
    """``os.mkdir`` does not run; the job has failed, with the way out in its error."""
    target = tmp_path / "made"
    job = await Queue("q", backend).enqueue("os.mkdir", str(target))

    await drain(backend)

    await job.refresh()
    assert job.status is JobStatus.FAILED
    assert "FunctionNotAllowed" in (job.exc_info or "")
    assert "--allow" in (job.exc_info or "")
    assert not target.exists()


@pytest.mark.parametrize("allow", [["os.mkdir"], ["*"]])
async def test_function_that_is_allowed_runs(
    backend: RedisBackend, tmp_path: Path, allow: list[str]
) -> None:
    """A name, or a star, lets it through."""
    job = await Queue("q", backend).enqueue("os.mkdir", str(tmp_path / "made"))

    await drain(backend, allow=allow)

    assert await job.is_finished()
    assert (tmp_path / "made").is_dir()


async def test_unsigned_pickle_runs_any_function(backend: RedisBackend, tmp_path: Path) -> None:
    """Unpickling has trusted Redis already, so names are not checked: RQ's rule."""
    job = await Queue("q", backend, serializer="pickle").enqueue("os.mkdir", str(tmp_path / "made"))

    await drain(backend, serializer="pickle")

    assert await job.is_finished()


async def test_project_code_needs_no_permission(backend: RedisBackend) -> None:
    """Modules outside the standard library and site-packages run as they are."""
    job = await Queue("q", backend).enqueue(jobs.add, 1, 2)

    await drain(backend)

    assert await job.wait(5) == 3


async def test_unknown_function_fails_and_is_kept(backend: RedisBackend) -> None:
    """A vanished module makes a failed job, with its payload, and the worker goes on."""
    gone = await Queue("q", backend).enqueue("nowhere.at.all", 1)
    after = await Queue("q", backend).enqueue(jobs.add, 1, 2)

    await drain(backend)

    await gone.refresh()
    assert gone.status is JobStatus.FAILED
    assert "UnknownFunction" in (gone.exc_info or "")
    assert gone.args == (1,)
    assert await after.wait(5) == 3
