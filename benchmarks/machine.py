"""On what, and when, was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def facts(python: Path, redis_version: str, command: str, rounds: int) -> dict[str, str]:
    """Return what belongs at the head of a table."""
    asked = subprocess.run([str(python), "-V"], capture_output=True, text=True, check=True)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} CPUs ({_processor()}), {_memory()}, {platform.system()} {platform.machine()}",
        "python": asked.stdout.strip(),
        "redis": f"Redis {redis_version}, on the same machine, without persistence",
        "rounds": str(rounds),
        "command": command,
        "load average at the start": load(),
    }


def load() -> str:
    """Return how busy the machine is: the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


def _memory() -> str:
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return "memory unknown"
    return f"{pages / 2**30:.0f} GiB"
