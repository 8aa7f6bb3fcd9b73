"""``redis+cluster://``: all keys of a namespace share a hash tag, so one node serves it; the others say which, and follow it.

Nothing but connecting knows of the cluster: a pipeline goes over the same ``Line`` as to a single server.

While a slot is on its way from one node to another, each key lies at one of them, and a script would see half of the keys. So it is
given two keys that never exist: both nodes then refuse it before it has begun (``ASK`` and ``TRYAGAIN``), and it waits. Commands
about a single key follow it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot
from redis.exceptions import MovedError, RedisError, ResponseError

from aiorq2.backends.line import is_refusal
from aiorq2.backends.routes import (
    Address,
    Crowd,
    NoRoute,
    RoutedConnection,
    SharedQuestion,
    first_answers,
    places,
)
from aiorq2.errors import BackendRefused

log = logging.getLogger("aiorq2.backend")

ANSWER_S = 1.0
"""How long a node gets to answer."""
FRESH_S = 0.5
"""How long an answer is taken for true when further connections are opened."""
WATCH_S = 2.0
"""How often is asked whether the slot has another owner, so that no connection waits for a node that has gone silent."""
ASKED = 5
"""How many nodes are asked at once."""


@dataclass(frozen=True, slots=True)
class _View:
    """What one node says: who serves the slot, since which epoch (the highest is the latest), and who else there is."""

    epoch: int
    owner: Address | None
    nodes: tuple[Address, ...]


class ClusterRoute:
    """Where the node is that serves a key prefix.

    Args:
        key_prefix: what every key begins with; it has a hash tag.
        seeds: the addresses of some nodes.
        connect: makes an unconnected connection to a node.
        timeout: seconds after which a silent node counts as gone.
    """

    def __init__(
        self,
        key_prefix: str,
        seeds: Sequence[Address],
        connect: Callable[[Address], AbstractConnection],
        timeout: float,
    ) -> None:
        self._prefix = key_prefix
        self._slot = key_slot(key_prefix.encode())
        self._seeds = tuple(seeds)
        self._connect = connect
        self._timeout = timeout
        self._nodes = self._seeds
        self._owner: Address | None = None
        self._known_at = 0.0
        self._question = SharedQuestion(self._ask_some)
        self._crowd = Crowd(self._watch)

    async def address(self) -> Address:
        """Return the owner of the slot, asking some nodes unless somebody has just done so.

        Raises:
            NoRoute: no node answers, or none serves the slot.
            BackendRefused: they are no cluster, or do not let us in.
        """
        owner = self._owner
        if owner is not None and time.monotonic() - self._known_at < FRESH_S:
            return owner
        return await self._question.answer()

    async def opened(self, connection: RoutedConnection) -> None:
        """From now on close the connection when the slot has another owner."""
        self._crowd.join(connection)

    async def closed(self, connection: RoutedConnection, *, for_good: bool) -> None:
        """Forget it, and stop asking when it was the last and is closed for good."""
        if not for_good:
            self._owner = None  # it may be that the node has gone: ask before connecting again
        await self._crowd.leave(connection, for_good=for_good)

    def misplaced(self, error: ResponseError) -> None:
        """Believe a node that says who serves the slot now."""
        if isinstance(error, MovedError) and error.host:
            self._know((error.host, error.port))

    async def news(self, seconds: float) -> None:
        """Wait for word that the master is another, so many seconds at the most."""
        await self._crowd.news(seconds)

    def beside(self, address: Address) -> AbstractConnection:
        """Return an unconnected connection to another node."""
        return self._connect(address)

    def _know(self, owner: Address) -> None:
        self._owner, self._known_at = owner, time.monotonic()

    async def _ask_some(self) -> Address:
        others = list({*self._nodes, *self._seeds})
        random.shuffle(others)
        answers = await first_answers(
            [self._ask(one) for one in others[:ASKED]],
            limit_s=min(ANSWER_S, self._timeout / 2),
            enough=lambda so_far: len([one for one in so_far if isinstance(one, _View)]) >= 3,
        )
        views = [one for one in answers if isinstance(one, _View)]
        if not views:
            raise self._nowhere([one for one in answers if isinstance(one, str)])
        self._nodes = max((one.nodes for one in views), key=len)
        latest = max(views, key=lambda view: (view.owner is not None, view.epoch))
        if latest.owner is None:
            raise NoRoute(
                f"cannot be reached: no node serves slot {self._slot} of {self._prefix!r}"
            )
        self._know(latest.owner)
        return latest.owner

    def _nowhere(self, answers: Sequence[str]) -> Exception:
        which = places(self._seeds)
        if "no cluster" in answers:
            return BackendRefused(f"Redis at {which} is no cluster; use redis:// instead")
        if "refused" in answers:
            return BackendRefused(f"the nodes {which} do not let us in: check the password")
        return NoRoute("cannot be reached: no node of the cluster answers")

    async def _ask(self, node: Address) -> _View | str:
        connection = self._connect(node)
        try:
            await connection.connect()
            commands = [["CLUSTER", "SLOTS"], ["CLUSTER", "NODES"]]
            await connection.send_packed_command(
                connection.pack_commands(commands), check_health=False
            )
            slots, nodes = [await connection.read_response(disable_decoding=True) for _ in commands]
        except (RedisError, OSError, TimeoutError, EOFError) as error:
            log.debug("node %s:%d: %s", *node, type(error).__name__)
            if "cluster support disabled" in str(error):
                return "no cluster"
            return "refused" if is_refusal(error) or "NOAUTH" in str(error) else "silent"
        finally:
            await connection.disconnect(nowait=True)
        return _view(self._slot, node[0], slots, nodes.decode())

    async def _watch(self) -> None:
        """Ask now and then who serves the slot."""
        while True:
            await asyncio.sleep(WATCH_S * random.uniform(0.5, 1.0))
            try:
                await self._crowd.move_to(await self._question.answer())
            except (RedisError, BackendRefused) as error:
                log.debug("who serves slot %d: %s", self._slot, error)


def _view(slot: int, asked: str, ranges: Sequence[Any], nodes: str) -> _View:
    """Return what ``CLUSTER SLOTS`` and ``CLUSTER NODES`` of one node say; a node without an address is the one that was asked."""
    epochs = {line.split()[0]: int(line.split()[6]) for line in nodes.splitlines() if line.strip()}
    everyone: dict[Address, None] = {}
    owner, epoch = None, -1
    for first, last, master, *replicas in ranges:
        for one in (master, *replicas):
            everyone[_address(one, asked)] = None
        if first <= slot <= last:
            owner = _address(master, asked)
            epoch = epochs.get(master[2].decode(), 0)
    return _View(epoch, owner, tuple(everyone))


def _address(node: Sequence[Any], asked: str) -> Address:
    host = node[0].decode() if node[0] else ""
    return (asked if host in ("", "?") else host), int(node[1])
