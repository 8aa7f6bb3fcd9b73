"""The page on ``RQ``: its files are written down and run, and say what the page says."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT, PythonProcess, WorkerProcess

PAGE = (ROOT / "docs" / "hub.md").read_text()
FILES = dict(re.findall(r"`(\w+\.py)`[^\n]*:\n\n```python\n(.*?)```", PAGE, re.DOTALL))
_RUN = r'```console\n\$ python -c "import asyncio, (\w+); [^\n]*\n(.*?)```'
SAID = dict(re.findall(_RUN, PAGE, re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with every file of the page."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def environment(redis_url: str, key_prefix: str) -> dict[str, str]:
    """Where Redis is."""
    return {"RQ_REDIS_URL": redis_url, "RQ_KEY_PREFIX": key_prefix}


def test_every_file_of_the_page_is_here() -> None:
    """And what it says."""
    assert sorted(FILES) == [
        "bank.py", "clock.py", "mail.py", "order.py", "shop.py", "test_shop.py", "web.py",
    ]  # fmt: skip
    assert sorted(SAID) == ["bank", "clock", "mail"]


def test_thirty_seconds(folder: Path, environment: dict[str, str]) -> None:
    """A worker for the application, and a program that enqueues."""
    said = PAGE.partition("$ python order.py\n")[2].partition("```")[0]

    with (
        WorkerProcess(["--app", "shop:rq"], env=environment, cwd=folder) as worker,
        PythonProcess(["order.py"], env=environment, cwd=folder) as program,
    ):
        assert program.wait(30) == 0, program.output()
        assert program.output() == said
        worker.terminate()
        assert worker.wait(30) == 0


@pytest.mark.parametrize("name", SAID)
def test_programs_say_what_the_page_says(folder: Path, name: str) -> None:
    """In memory, each by itself."""
    quiet = "import logging; logging.disable(); "
    line = f"{quiet}import asyncio, {name}; asyncio.run({name}.main())"
    with PythonProcess(["-W", "error", "-c", line], cwd=folder) as program:
        assert program.wait(30) == 0, program.output()
        assert program.output() == SAID[name]


def test_the_test_passes(folder: Path) -> None:
    """With pytest-asyncio or anyio's plugin; here as a program."""
    line = "import asyncio, test_shop; asyncio.run(test_shop.test_orders())"
    with PythonProcess(["-W", "error", "-c", line], cwd=folder) as program:
        assert program.wait(30) == 0, program.output()


@pytest.fixture
def web(
    folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The web application, with a worker in it."""
    for name, value in {**environment, "WITH_WORKER": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    yield __import__("web")
    for name in ("web", "shop"):
        sys.modules.pop(name, None)


async def test_the_web_application_works(web: Any) -> None:
    """Its routes enqueue and read, and the worker that lives in it works."""
    import httpx

    async with (
        web.app.router.lifespan_context(web.app),
        httpx.AsyncClient(transport=httpx.ASGITransport(web.app), base_url="http://shop") as client,
    ):
        job_id = (await client.post("/sums", params={"x": 1, "y": 2})).json()["job"]
        async with asyncio.timeout(20):
            while (told := (await client.get(f"/sums/{job_id}")).json())["status"] != "finished":
                await asyncio.sleep(0.05)

    assert told == {"status": "finished", "result": 3}
