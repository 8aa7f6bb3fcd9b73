"""How much is run, and with which seeds: by the environment, so that every test and every script here hears it.

``FAULTS=full`` runs everything at the size that the documentation speaks of (``make faults``); else sizes are small.
``FAULT_SEEDS`` are the seeds (``make faults SEEDS="1 2 3"``). ``FAULT_FIGURES`` is a file to which every figure is appended.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

IS_FULL = os.environ.get("FAULTS", "small") == "full"
SEEDS = [int(seed) for seed in os.environ.get("FAULT_SEEDS", "").replace(",", " ").split()]
FIRST_SEED = SEEDS[0] if SEEDS else 1
FIGURES = os.environ.get("FAULT_FIGURES", "")


def seeds(full: int = 5) -> list[int]:
    """Return the seeds to run with: one, or ``full`` of them, unless ``FAULT_SEEDS`` names others. Where more than ten are wanted
    at full size, since each is small, it names the first."""
    if SEEDS and not (IS_FULL and full > 10):
        return SEEDS
    return list(range(FIRST_SEED, FIRST_SEED + (full if IS_FULL else 1)))


def size(small: T, full: T) -> T:
    """Return one of the two."""
    return full if IS_FULL else small
