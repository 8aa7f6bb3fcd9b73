"""``python -m tests.faults.brisk worker …``: a worker that sweeps every moment, so that short tests see it."""

from __future__ import annotations

from aiorq2.cli import main
from aiorq2.upkeep import Sweeper

if __name__ == "__main__":
    Sweeper.INTERVAL_S = 0.3
    main()
