"""Announce a worker under a name that no other living worker has."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex

from aiorq2.backends.base import JobRecord, Seat
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
        "aio_pids": _pids(),
        "hostname": socket.gethostname(),
        "ip_address": "unknown",
        "version": _version(),
        "python_version": sys.version,
        "state": "idle",
        "aio_concurrency": concurrency,
        "aio_lease": str(seat.lease),
    }
    holder = await backend.register(seat, queues, fields, replaces=replaces)
    if holder is not None and _is_dead_here(JobRecord(seat.worker, holder), backend.time()):
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


def _pids() -> str:
    """Return what tells the world of our process id from others: two containers may share a host name, each with a process 1."""
    if sys.platform != "linux":
        return sys.platform  # the host is the world
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"unknown/{token_hex(8)}"  # like no other


def _is_dead_here(holder: JobRecord, now: float) -> bool:
    """Whether the worker of this name ran on this host and is gone: as far as its process can be told, else by its silence."""
    if holder.text("hostname") != socket.gethostname():
        return False
    if holder.text("aio_pids") != _pids():
        return _is_silent(holder, now)
    pid = holder.number("pid")
    if (
        pid == os.getpid()
    ):  # our own: a worker of this process, or that of a container before this one
        return holder.text("aio_instance") not in AT_WORK
    return pid is not None and _is_gone(pid)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # somebody else's, or none
        return False
    return False


def _is_silent(holder: JobRecord, now: float) -> bool:
    """Whether a worker has not been heard of for a whole lease: what it ran may be others' by now."""
    heard_at, lease = holder.time("last_heartbeat"), holder.real("aio_lease")
    return heard_at is not None and lease is not None and now - heard_at.timestamp() > lease
