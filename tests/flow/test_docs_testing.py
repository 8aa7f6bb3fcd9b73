"""The page on tests: its examples are run as they stand, by each of the plugins that they may be run by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.processes import ROOT, PythonProcess

PAGE = (ROOT / "docs" / "testing.md").read_text()
FILES = dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL))
STRICT = ["-W", "error", "-p", "no:cacheprovider"]
SCOPE = ["-o", "asyncio_default_fixture_loop_scope=function"]  # else pytest-asyncio itself warns
EXAMPLES = ["test_enqueued.py", "test_results.py", "test_time.py", "test_app.py"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with every file of the page."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_every_example_is_here() -> None:
    """Five, and what they test."""
    assert sorted(FILES) == sorted(["shop.py", "test_anyio.py", *EXAMPLES])


@pytest.mark.parametrize(
    ("options", "names", "count"),
    [
        pytest.param(["-o", "asyncio_mode=strict", *SCOPE], EXAMPLES, 8, id="strict"),
        pytest.param(["-o", "asyncio_mode=auto", *SCOPE], EXAMPLES, 8, id="auto"),
        pytest.param(["-p", "no:asyncio"], ["test_anyio.py"], 1, id="anyio"),
    ],
)
def test_examples_pass(folder: Path, options: list[str], names: list[str], count: int) -> None:
    """And warn of nothing."""
    arguments = ["-m", "pytest", *STRICT, *options, *names]
    with PythonProcess(arguments, cwd=folder) as process:
        assert process.wait(60) == 0, process.output()
        assert f"{count} passed" in process.output()


def test_plugin_is_idle_unless_asked(folder: Path) -> None:
    """It has fixtures and no hooks, and has not imported what they need."""
    (folder / "test_idle.py").write_text(
        "import sys\n\n\ndef test_idle():\n    assert 'fakeredis' not in sys.modules\n"
        "    assert 'aiorq2.testing' not in sys.modules\n"
    )
    with PythonProcess(["-m", "pytest", *STRICT, *SCOPE, "test_idle.py"], cwd=folder) as process:
        assert process.wait(60) == 0, process.output()
