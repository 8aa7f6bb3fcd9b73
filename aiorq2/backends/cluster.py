"""``redis+cluster://``: all keys of a namespace share a hash tag, so one node serves it; the others say which, and follow it.

Nothing but connecting knows of the cluster: a pipeline goes over the same ``Line`` as to a single server.

While a slot is on its way from one node to another, each key lies at one of them, and a script would see half of the keys. It names
one key, the prefix, under which there is never anything: so the node that hands the slot over refuses the script before it has
begun (``ASK``), and since scripts do not follow to the other node, they wait. Commands about a single key follow it.
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

from aiorq2.backends.line import Line, distrust, is_refusal
from aiorq2.backends.routes import (
    UNTRUSTED,
    Address,
    Crowd,
    NoRoute,
    RoutedConnection,
    SharedQuestion,
    first_answers,
    places,
    refuse_untrusted,
)
from aiorq2.errors import BackendRefused

log = logging.getLogger("aiorq2.backend")

ANSWER_S = 1.0
"""How long a node gets to answer."""
FRESH_S = 0.5
"""How long an answer is taken for true when further connections are opened."""
WATCH_S = 1.5
"""How often is asked whether the slot has another owner, so that no connection waits for a node that has gone silent."""
WATCHES_AT_ONE = 100
"""How often one node is asked before it is another's turn."""
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

    def opening(self, connection: RoutedConnection) -> None:
        """From now on give the connection up when it leads elsewhere than it should."""
        self._crowd.expect(connection)

    async def opened(self, connection: RoutedConnection) -> None:
        """From now on close the connection when the slot has another owner."""
        self._crowd.join(connection)

    async def closed(self, connection: RoutedConnection, *, for_good: bool) -> None:
        """Forget it, and stop asking when it was the last and is closed for good."""
        if not for_good:
            self._known_at = 0.0  # it may be that the node has gone: ask before connecting again
        await self._crowd.leave(connection, for_good=for_good)

    def misplaced(self, error: ResponseError) -> BackendRefused | None:
        """Believe a node that says who serves the slot now; a key in another slot is out of reach."""
        if not isinstance(error, MovedError):
            return None
        if error.slot_id != self._slot:
            return BackendRefused(
                f"the cluster {places(self._seeds)}: a key outside of {self._prefix!r} was asked for, and only those with this"
                " prefix are reached"
            )
        if error.host:
            self._know((error.host, error.port))
        return None

    async def news(self, seconds: float) -> None:
        """Wait for word that the master is another, so many seconds at the most."""
        await self._crowd.news(seconds)

    def beside(self, address: Address) -> AbstractConnection:
        """Return an unconnected connection to another node."""
        return self._connect(address)

    def _know(self, owner: Address) -> None:
        self._owner, self._known_at = owner, time.monotonic()

    def _others(self) -> list[Address]:
        """Return the nodes that are known, in any order."""
        nodes = list({*self._nodes, *self._seeds})
        random.shuffle(nodes)
        return nodes

    async def _ask_some(self) -> Address:
        asked = self._others()[:ASKED]
        answers = await first_answers(
            [self._ask(one) for one in asked],
            limit_s=min(ANSWER_S, self._timeout / 2),
            enough=lambda so_far: sum(isinstance(one, _View) for one in so_far) > len(asked) / 2,
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
        refuse_untrusted(answers, which)
        if "no cluster" in answers:
            return BackendRefused(f"Redis at {which} is no cluster; use redis:// instead")
        if "refused" in answers:
            return BackendRefused(f"the nodes {which} do not let us in: check the password")
        return NoRoute("cannot be reached: no node of the cluster answers")

    async def _ask(self, node: Address) -> _View | str:
        line = self._line(node)
        try:
            return await self._view_of(line, node)
        except (RedisError, OSError, TimeoutError, EOFError) as error:
            log.debug("node %s:%d: %s", *node, type(error).__name__)
            if "cluster support disabled" in str(error):
                return "no cluster"
            if (reason := distrust(error)) is not None:
                return f"{UNTRUSTED}{reason}"
            return "refused" if is_refusal(error) or "NOAUTH" in str(error) else "silent"
        finally:
            await line.drop()

    def _line(self, node: Address) -> Line:
        return Line(lambda: self._connect(node), min(ANSWER_S, self._timeout / 2))

    async def _view_of(self, line: Line, node: Address) -> _View:
        slots, nodes = await line.run([["CLUSTER", "SLOTS"], ["CLUSTER", "NODES"]])
        for reply in (slots, nodes):
            if isinstance(reply, BaseException):
                raise reply
        return _view(self._slot, node[0], slots, nodes.decode())

    async def _watch(self) -> None:
        """Ask one of the nodes now and then who serves the slot, and several when that is news."""
        while True:
            nodes = self._others()
            node = next((one for one in nodes if one != self._owner), nodes[0])
            line = self._line(node)
            try:
                await self._watch_at(line, node)
            except (RedisError, OSError, TimeoutError, EOFError, BackendRefused) as error:
                log.debug("node %s:%d: %s", *node, type(error).__name__)
            finally:
                await line.close()

    async def _watch_at(self, line: Line, node: Address) -> None:
        for _ in range(WATCHES_AT_ONE):
            await asyncio.sleep(WATCH_S * random.uniform(0.5, 1.0))
            owner = (await self._view_of(line, node)).owner
            if owner != self._owner or (owner and self._crowd.is_astray(owner)):
                await self._crowd.move_to(await self._question.answer())


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
