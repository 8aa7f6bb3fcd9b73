"""How much is run, and with which seeds: by the environment, so that every test and every script here hears it.

``FAULTS=full`` runs everything at the size that the documentation speaks of (``make faults``); else sizes are small. ``FAULT_SEED``
is the first seed, ``FAULT_SEEDS`` how many there are. ``FAULT_FIGURES`` is a file to which every measured figure is appended.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

IS_FULL = os.environ.get("FAULTS", "small") == "full"
FIRST_SEED = int(os.environ.get("FAULT_SEED", "1"))
FIGURES = os.environ.get("FAULT_FIGURES", "")


def seeds(full: int = 5) -> list[int]:
    """Return the seeds to run with: one, or ``full`` of them, unless ``FAULT_SEEDS`` says how many."""
    count = int(os.environ.get("FAULT_SEEDS", full if IS_FULL else 1))
    return list(range(FIRST_SEED, FIRST_SEED + count))


def size(small: T, full: T) -> T:
    """Return one of the two."""
    return full if IS_FULL else small
