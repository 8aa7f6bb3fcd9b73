"""Compare aiorq2's worker with a bare loop on the same scripts: ``python benchmarks/floor.py`` takes the options of ``run.py``."""

from __future__ import annotations

import sys

from run import main

if __name__ == "__main__":
    sys.exit(main(["--peers", "floor,aiorq2", "--workloads", "drain", *sys.argv[1:]]))
