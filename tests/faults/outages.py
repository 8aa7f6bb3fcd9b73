"""What can happen to Redis, or on the way there, while workers and producers go on: each of these does it, and undoes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import redis

from tests.faults.checker import SECRET
from tests.faults.site import Site
from tests.support.eventually import eventually

Outage = Callable[[Site], Awaitable[None]]


async def killed(site: Site) -> None:
    """The server crashes and comes back."""
    site.server.kill()
    await asyncio.sleep(3)
    await asyncio.to_thread(site.server.restart)


async def flapping(site: Site) -> None:
    """It crashes five times in a row."""
    for _ in range(5):
        site.server.kill()
        await asyncio.sleep(0.4)
        await asyncio.to_thread(site.server.restart)
        await asyncio.sleep(0.1)


async def half_open(site: Site) -> None:
    """Nothing comes through, and nobody says so."""
    site.proxy.stall()
    await asyncio.sleep(8)
    site.proxy.resume()


async def half_open_then_reset(site: Site) -> None:
    """The same, and the connections are dead in the end."""
    site.proxy.stall()
    await asyncio.sleep(4)
    site.proxy.reset_all()
    site.proxy.resume()


async def silent(site: Site) -> None:
    """The server is frozen."""
    site.server.pause()
    await asyncio.sleep(3)
    site.server.resume()


async def read_only(site: Site) -> None:
    """The server becomes the replica of one that is not there."""
    site.server.command("REPLICAOF", "127.0.0.1", 1)
    await asyncio.sleep(3)
    site.server.command("REPLICAOF", "NO", "ONE")


async def full(site: Site) -> None:
    """The server's memory is used up."""
    site.server.config("maxmemory", "100kb")
    await asyncio.sleep(3)
    site.server.config("maxmemory", 0)


async def crowded(site: Site) -> None:
    """All connections are cut and no new ones are taken."""
    with site.server.client() as client, client.client() as only:
        only.config_set("maxclients", 1)
        only.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        only.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(3)
        only.config_set("maxclients", 10000)


async def scripts_flushed(site: Site) -> None:
    """Redis forgets the scripts twice a second."""
    for _ in range(6):
        site.server.command("SCRIPT", "FLUSH")
        await asyncio.sleep(0.5)


async def clients_killed(site: Site) -> None:
    """Every connection is cut twice a second."""
    for _ in range(6):
        site.server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        site.server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(0.5)


async def busy(site: Site) -> None:
    """Somebody's script does not end."""
    site.server.config("busy-reply-threshold", 50)
    with site.server.client() as other:
        looping = asyncio.create_task(asyncio.to_thread(_loop_for_ever, other))
        await asyncio.sleep(3)
        site.server.command("SCRIPT", "KILL")
        await looping


def _loop_for_ever(client: redis.Redis) -> None:
    execute: Any = client.execute_command
    with suppress(redis.ResponseError, redis.TimeoutError):
        execute("EVAL", "while true do end", 0)


async def disk_full(site: Site) -> None:
    """The server cannot save its snapshots, and takes no more writes."""
    in_the_way = site.server.directory / "dump.rdb"
    in_the_way.mkdir()
    site.server.config("save", "3600 1")
    site.server.command("BGSAVE")
    await eventually(lambda: _cannot_write(site), timeout=10)
    await asyncio.sleep(3)
    in_the_way.rmdir()
    site.server.command("BGSAVE")
    await eventually(lambda: not _cannot_write(site), timeout=10)
    site.server.config("save", "")


def _cannot_write(site: Site) -> bool:
    try:
        site.server.command("SET", "elsewhere", "x", "PX", 1)
    except redis.ResponseError as error:
        return "MISCONF" in str(error)
    return False


async def rights_taken_away(site: Site) -> None:
    """Somebody edits the rights of the user that all of them are."""
    with site.server.client() as client, client.client() as admin:
        admin.acl_setuser("admin", enabled=True, passwords=["+x"], keys=["*"], commands=["+@all"])
        admin.execute_command("AUTH", "admin", "x")
        admin.execute_command("ACL", "SETUSER", "default", "-@all", "+ping")
        await asyncio.sleep(3)
        admin.execute_command("ACL", "SETUSER", "default", "+@all")
        admin.execute_command("AUTH", "default", SECRET)
        admin.acl_deluser("admin")


async def password_changed(site: Site) -> None:
    """The password is another one for a while, and all have to say it again."""
    with site.server.client() as client, client.client() as admin:
        admin.config_set("requirepass", "another")
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(3)
        admin.config_set("requirepass", SECRET)


async def rewritten(site: Site) -> None:
    """The server forks and writes its file anew, again and again."""
    for _ in range(6):
        with suppress(redis.ResponseError):  # one is under way
            site.server.command("BGREWRITEAOF")
        await asyncio.sleep(0.5)


async def subscribers_dropped(site: Site) -> None:
    """Whoever listens is cut off with the first message."""
    before = site.server.config("client-output-buffer-limit", "pubsub 1 1 1")
    await asyncio.sleep(3)
    site.server.config("client-output-buffer-limit", before)


AWAY: list[Outage] = [
    killed, half_open, half_open_then_reset, silent, read_only, full, crowded,
    busy, disk_full, rights_taken_away, password_changed,
]  # fmt: skip
"""Nothing can be done meanwhile."""
DISTURBED: list[Outage] = [
    flapping, scripts_flushed, clients_killed, rewritten, subscribers_dropped,
]  # fmt: skip
"""Work goes on."""
