"""What a worker runs: registered functions and project code, and what it was told to allow; write access to Redis is no shell."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from aiorq2 import Job, JobFailed, Queue, Retry, register
from aiorq2.backends.redis import RedisBackend
from tests.flow.at_work import drain
from tests.support import jobs


async def forged(backend: RedisBackend, func_name: str, *args: str) -> Job:
    """Put a job into Redis by hand, as somebody does who has got at it."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.nothing, retry=Retry(3))
    listed = ", ".join(f'"{one}"' for one in args)
    data = f'["{func_name}", null, [{listed}], {{}}]'
    await backend.run(["HSET", backend.keys.job(job.id), "data", data])
    return job


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.call",
        "builtins.eval",
        "builtins.__import__",
        "shutil.rmtree",
        "redis.from_url",
        "aiorq2.connect",
        "tests.unit.sample_functions.system",
        "tests.support.jobs.os.system",
    ],
)
async def test_forged_job_does_not_get_a_shell(
    backend: RedisBackend, tmp_path: Path, name: str
) -> None:
    """Refused, whatever way leads there; neither run nor retried, and the payload is kept for whoever looks into it."""
    witness = tmp_path / "witness"
    job = await forged(backend, name, f"touch {witness}")

    await drain(backend)

    with pytest.raises(JobFailed, match=r"FunctionNotAllowed|UnknownFunction"):
        await job.wait(timeout=5)
    assert not witness.exists()
    assert name.encode() in job.data


async def test_refusal_names_the_function_and_the_option(backend: RedisBackend) -> None:
    """Whoever meant it knows what to do; it is not repeated."""
    job = await forged(backend, "os.getcwd")

    await drain(backend)

    with pytest.raises(JobFailed, match=r"'os\.getcwd' is part of Python.*--allow"):
        await job.wait(timeout=5)
    assert len(await job.results()) == 1


@pytest.mark.parametrize(
    "allow", [["textwrap.dedent"], ["textwrap.*"], ["*"], ["no.such", "text?rap.ded*"]]
)
async def test_function_that_the_worker_was_told_to_allow_is_run(
    backend: RedisBackend, allow: list[str]
) -> None:
    """By name or by pattern; project code needs no permission."""
    job = await Queue("q", backend).enqueue(textwrap.dedent, "  text")
    project = await Queue("q", backend).enqueue(jobs.add, 1, 2)

    await drain(backend, allow=allow)

    assert await job.wait(timeout=5) == "text"
    assert await project.wait(timeout=5) == 3


async def test_pattern_does_not_allow_what_only_passes_by_its_name(backend: RedisBackend) -> None:
    """``os.getcwd`` is really ``posix.getcwd``: by a pattern it is refused, by its own name it is run."""
    queue = Queue("q", backend)
    refused, run = await queue.enqueue(os.getcwd), await queue.enqueue(os.getcwd)
    await backend.run(["HSET", backend.keys.job(run.id), "data", '["os.getcwd", null, [], {}]'])

    await drain(backend, allow=["os.*"], max_jobs=1)
    await drain(backend, allow=["os.getcwd"])

    with pytest.raises(JobFailed, match="FunctionNotAllowed"):
        await refused.wait(timeout=5)
    assert await run.wait(timeout=5) == os.getcwd()


async def test_allowing_one_module_does_not_allow_another(backend: RedisBackend) -> None:
    """The list is exact."""
    job = await Queue("q", backend).enqueue("os.getcwd")

    await drain(backend, allow=["os.path.*", "shutil.*"])

    with pytest.raises(JobFailed, match="FunctionNotAllowed"):
        await job.wait(timeout=5)


async def test_registered_function_is_run_wherever_it_is_defined(
    backend: RedisBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed package that registers its functions needs no option."""
    package = tmp_path / "site-packages"
    package.mkdir()
    (package / "installed_tasks.py").write_text("def known(): return 1\ndef unknown(): return 2\n")
    monkeypatch.syspath_prepend(package)
    import installed_tasks  # type: ignore[import-not-found]

    register(installed_tasks.known)
    queue = Queue("q", backend)
    known = await queue.enqueue(installed_tasks.known)
    unknown = await queue.enqueue(installed_tasks.unknown)

    await drain(backend)

    assert await known.wait(timeout=5) == 1
    with pytest.raises(JobFailed, match="is installed code, not project code"):
        await unknown.wait(timeout=5)
    sys.modules.pop("installed_tasks")


async def test_pickled_jobs_are_not_restricted(backend: RedisBackend) -> None:
    """As in RQ: reading a pickle has trusted Redis already."""
    job = await Queue("q", backend, serializer="pickle").enqueue(os.getcwd)

    await drain(backend, serializer="pickle")

    assert await job.wait(timeout=5) == os.getcwd()


async def test_job_in_a_process_is_checked_before_it_gets_there(
    redis_backend: RedisBackend,
) -> None:
    """The worker decides, not the process."""
    job = await Queue("q", redis_backend).enqueue("os.getcwd", offload="process")

    await drain(redis_backend)

    with pytest.raises(JobFailed, match="FunctionNotAllowed"):
        await job.wait(timeout=5)


async def test_function_that_is_replaced_in_its_module_is_noticed(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The next job runs the new one, and the new one is checked, too."""
    queue = Queue("q", backend)
    first = await queue.enqueue(jobs.add_sync, 1, 2)
    await drain(backend)
    assert await first.wait(timeout=5) == 3

    def times(x: int, y: int) -> Any:
        return x * y

    times.__qualname__ = "add_sync"
    times.__module__ = jobs.__name__
    monkeypatch.setattr(jobs, "add_sync", times)
    second = await queue.enqueue("tests.support.jobs.add_sync", 3, 4)
    monkeypatch.setattr(jobs, "slow_sync", os.system)
    third = await queue.enqueue("tests.support.jobs.slow_sync", "true")
    with caplog.at_level(logging.CRITICAL):
        await drain(backend)

    assert await second.wait(timeout=5) == 12
    with pytest.raises(JobFailed, match="FunctionNotAllowed"):
        await third.wait(timeout=5)
