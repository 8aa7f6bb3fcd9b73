"""The stage of the tests on several servers."""

from __future__ import annotations

from tests.faults.conftest import report

__all__ = ["report"]
