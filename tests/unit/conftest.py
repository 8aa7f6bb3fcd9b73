"""Fixtures of the unit tests."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiorq2 import allowlist, callables

WriteModule = Callable[..., str]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModule]:
    """A function that writes a module below a folder on ``sys.path`` and returns its folder; forgotten after the test."""
    before = set(sys.modules)

    def write(path: str, source: str = "", root: str = "") -> str:
        folder = tmp_path / root
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
        if str(folder) not in sys.path:
            monkeypatch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        return str(folder)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]
    for cache in (callables._located, allowlist._outside_project):
        cache.cache_clear()
