"""``redis+sentinel://``: the sentinels are asked for the master whenever a connection is opened, and are listened to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from aiorq2.backends.line import distrust, is_refusal
from aiorq2.backends.listener import Listener
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
"""How long a sentinel gets to answer."""
SWITCH = "+switch-master"
"""The channel on which sentinels tell that they have chosen another master."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What one sentinel says; of several words, the one with the highest epoch is the latest."""

    epoch: int
    address: Address


class SentinelRoute:
    """Where the master of a name is.

    Args:
        name: what the sentinels call it.
        sentinels: their addresses.
        connect: makes an unconnected connection to a sentinel.
        timeout: seconds after which a silent sentinel counts as gone.
    """

    def __init__(
        self,
        name: str,
        sentinels: Sequence[Address],
        connect: Callable[[Address], AbstractConnection],
        timeout: float,
    ) -> None:
        self._name = name
        self._sentinels = tuple(sentinels)
        self._connect = connect
        self._timeout = timeout
        self._epoch = 0  # of the latest word
        self._question = SharedQuestion(self._ask_all)
        self._crowd = Crowd(self._watch)

    async def address(self) -> Address:
        """Ask all sentinels at once.

        Raises:
            NoRoute: none answers.
            BackendRefused: those that answer know no master of this name, or do not let us in.
        """
        return await self._question.answer()

    def opening(self, connection: RoutedConnection) -> None:
        """From now on give the connection up when it leads elsewhere than it should."""
        self._crowd.expect(connection)

    async def opened(self, connection: RoutedConnection) -> None:
        """Refuse a server that is no master (any more, or yet), and from now on close the connection when there is another."""
        if await _role(connection) not in ("master", None):
            raise NoRoute(
                f"cannot be reached: {connection.host}:{connection.port} is not its master yet"
            )
        self._crowd.join(connection)

    async def closed(self, connection: RoutedConnection, *, for_good: bool) -> None:
        """Stop listening when the last connection is closed for good."""
        await self._crowd.leave(connection, for_good=for_good)

    def misplaced(self, error: ResponseError) -> None:
        """Do nothing: the sentinels are asked again anyway."""

    async def news(self, seconds: float) -> None:
        """Wait for word that the master is another, so many seconds at the most."""
        await self._crowd.news(seconds)

    def beside(self, address: Address) -> AbstractConnection:
        """Return an unconnected connection to a sentinel."""
        return self._connect(address)

    async def _ask_all(self, *, is_told: bool = False) -> Address:
        """Ask until most say the same; if one has told of another master, until one names it: most may not know it yet."""
        majority, known = len(self._sentinels) // 2 + 1, self._epoch

        def is_enough(answers: list[_Word | str]) -> bool:
            word = answers[-1]
            if not isinstance(word, _Word):
                return False
            if is_told:
                return word.epoch > known
            return word.epoch >= known and answers.count(word) >= majority

        answers = await first_answers(
            [self._ask(one) for one in self._sentinels],
            limit_s=min(ANSWER_S, self._timeout / 2),
            enough=is_enough,
        )
        words = [one for one in answers if isinstance(one, _Word)]
        if words:
            latest = max(words, key=lambda word: word.epoch)
            self._epoch = latest.epoch
            return latest.address
        which = places(self._sentinels)
        refuse_untrusted(answers, which)
        if "unknown" in answers:
            raise BackendRefused(f"the sentinels {which} know no master {self._name!r}")
        if "no sentinel" in answers:
            raise BackendRefused(f"Redis at {which} is no sentinel; use redis:// instead")
        if "refused" in answers:
            raise BackendRefused(
                f"the sentinels {which} want another password (sentinel_username, sentinel_password)"
            )
        raise NoRoute(f"cannot be reached: none of its {len(self._sentinels)} sentinels answers")

    async def _ask(self, sentinel: Address) -> _Word | str:
        connection = self._connect(sentinel)
        try:
            await connection.connect()
            await connection.send_packed_command(
                connection.pack_commands([["SENTINEL", "MASTER", self._name]]), check_health=False
            )
            facts = _pairs(await connection.read_response(disable_decoding=True))
        except (RedisError, OSError, TimeoutError, EOFError) as error:
            log.debug("sentinel %s:%d: %s", *sentinel, type(error).__name__)
            if "No such master" in str(error):
                return "unknown"
            if "unknown command" in str(error):
                return "no sentinel"
            if (reason := distrust(error)) is not None:
                return f"{UNTRUSTED}{reason}"
            return "refused" if is_refusal(error) or "NOAUTH" in str(error) else "silent"
        finally:
            await connection.disconnect(nowait=True)
        return _Word(int(facts["config-epoch"]), (facts["ip"], int(facts["port"])))

    async def _watch(self) -> None:
        """Hear from one of the sentinels when there is another master."""
        switched = asyncio.Event()
        turns = count()
        listener = Listener(
            lambda: self._connect(self._sentinels[next(turns) % len(self._sentinels)]),
            self._timeout,
        )

        def hear(message: bytes | None) -> None:  # None: there may have been one
            if message is None or message.decode().split(" ")[0] == self._name:
                switched.set()

        try:
            await listener.subscribe(SWITCH, hear)
            while await switched.wait():
                switched.clear()
                try:
                    await self._crowd.move_to(await self._ask_all(is_told=True))
                except (RedisError, BackendRefused) as error:
                    log.debug("another master: %s", error)
        finally:
            await listener.close()


async def _role(connection: RoutedConnection) -> str | None:
    """Return what a server says that it is, None where it may not be asked."""
    try:
        return str((await connection.ask("ROLE"))[0].decode())
    except ResponseError:
        return None


def _pairs(reply: Any) -> dict[str, str]:
    if isinstance(reply, dict):  # RESP3
        return {name.decode(): value.decode() for name, value in reply.items()}
    texts = iter([part.decode() for part in reply])
    return dict(zip(texts, texts, strict=True))
