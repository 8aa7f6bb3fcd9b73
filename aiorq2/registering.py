"""Announce a worker under a name that no other living worker has."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from aiorq2.backends.base import Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import WorkerNameTaken
from aiorq2.timing import to_iso

AT_WORK: set[str] = set()
"""The instances of the workers that work in this process."""


async def register(
    backend: RedisBackend,
    seat: Seat,
    queues: Sequence[str],
    concurrency: int,
    *,
    replaces: str = "",
) -> None:
    """Announce a worker. Redis: 1 call, and 1 more in place of a worker that has died on this host.

    Args:
        replaces: the instance that may have the name: this one, when it is announced again.

    Raises:
        WorkerNameTaken: a living worker has this name.
    """
    now = to_iso(backend.time())
    fields: dict[str, str | int] = {
        "birth": now,
        "last_heartbeat": now,
        "queues": ",".join(queues),
        "pid": os.getpid(),
        "hostname": socket.gethostname(),
        "ip_address": "unknown",
        "version": _version(),
        "python_version": sys.version,
        "state": "idle",
        "aio_concurrency": concurrency,
        "aio_lease": str(seat.lease),
    }
    holder = await backend.register(seat, queues, fields, replaces=replaces)
    if holder is not None and _is_dead_here(holder):
        replaces = holder.get("aio_instance", b"").decode()
        holder = await backend.register(seat, queues, fields, replaces=replaces)
    if holder is not None:
        where = f"{holder.get('hostname', b'?').decode()}, pid {holder.get('pid', b'?').decode()}"
        raise WorkerNameTaken(
            f"worker {seat.worker!r}: a living worker has this name ({where}); choose another"
        )


def _version() -> str:
    """Return the version of this package as it was installed; it may just lie on the path."""
    try:
        return version("aiorq2")
    except PackageNotFoundError:
        return "unknown"


def _is_dead_here(holder: Mapping[str, bytes]) -> bool:
    """Whether the worker of this name ran on this host and is gone."""
    if holder.get("hostname", b"").decode() != socket.gethostname():
        return False
    try:
        pid = int(holder.get("pid", b""))
        if (
            pid == os.getpid()
        ):  # our own: a worker of this process, or that of a container before this one
            return holder.get("aio_instance", b"").decode() not in AT_WORK
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (ValueError, OSError):
        return False
    return False
