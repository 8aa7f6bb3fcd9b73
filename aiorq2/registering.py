"""Announce a worker under a name that no other living worker has."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex

from aiorq2.backends.base import JobRecord, Seat
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import WorkerNameTaken
from aiorq2.timing import to_iso

log = logging.getLogger("aiorq2.worker")

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
    """Announce a worker.

    Redis: 1 call; where its name is that of a worker on this host that has died, 1 more; and before that some 20 while one that
    cannot be seen from here is silent, for its lease.

    Args:
        replaces: the instance that may have the name: this one, when it is announced again.

    Raises:
        WorkerNameTaken: a living worker has this name.
    """
    holder = await backend.register(
        seat, queues, _facts(backend, seat, queues, concurrency), replaces=replaces
    )
    if holder is not None and await _is_dead_here(backend, JobRecord(seat.worker, holder)):
        replaces = holder.get("aio_instance", b"").decode()
        facts = _facts(backend, seat, queues, concurrency)
        holder = await backend.register(seat, queues, facts, replaces=replaces)
    if holder is not None:
        where = f"{holder.get('hostname', b'?').decode()}, pid {holder.get('pid', b'?').decode()}"
        raise WorkerNameTaken(
            f"worker {seat.worker!r}: a living worker has this name ({where}); choose another"
        )


def _facts(
    backend: RedisBackend, seat: Seat, queues: Sequence[str], concurrency: int
) -> dict[str, str | int]:
    now = to_iso(backend.time())
    return {
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


def _version() -> str:
    """Return the version of this package as it was installed; it may just lie on the path."""
    try:
        return version("aiorq2")
    except PackageNotFoundError:
        return "unknown"


_UNKNOWN = token_hex(8)


def _pids() -> str:
    """Return what tells the world of our process id from others: two containers may share a host name, each with a process 1."""
    if sys.platform != "linux":
        return sys.platform  # the host is the world
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"unknown/{_UNKNOWN}"  # like no other process's


async def _is_dead_here(backend: RedisBackend, holder: JobRecord) -> bool:
    """Whether the worker of this name ran on this host and is gone: as far as its process can be told, else by its silence."""
    if holder.text("hostname") != socket.gethostname():
        return False
    if holder.text("aio_pids") != _pids():
        return await _stays_silent(backend, holder)
    pid = holder.number("pid")
    if pid == os.getpid():  # a worker of this very process
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


async def _stays_silent(backend: RedisBackend, holder: JobRecord) -> bool:
    """Watch a worker for its lease, and return whether nothing was heard of it: no clock but our own tells how long it is dead."""
    lease_s = holder.real("aio_lease")
    if lease_s is None:
        return False
    log.warning(
        "worker %s: one of this name was on this host, where it cannot be seen; waiting for its lease, %g s, to be over",
        holder.id,
        lease_s,
    )
    deadline = time.monotonic() + lease_s
    while time.monotonic() < deadline:
        await asyncio.sleep(max(lease_s / 20, 0.01))
        (heard,) = await backend.run(["HGET", backend.keys.worker(holder.id), "last_heartbeat"])
        if heard is None:
            return True
        if heard != holder.fields.get("last_heartbeat"):
            return False
    return True
