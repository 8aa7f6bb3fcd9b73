"""The rules of the proxy: which chunk of a client's commands is struck, and how."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Matching = bytes | Callable[[Sequence[bytes]], bool]
"""Bytes in a command, or what is asked of all commands that a chunk completes."""


def matches(matching: Matching, commands: Sequence[bytes]) -> bool:
    """Return whether a rule is about a chunk that completes ``commands``."""
    if callable(matching):
        return bool(commands) and matching(commands)
    return any(matching in command for command in commands)


@dataclass
class Trap:
    """Call back at the n-th matching chunk."""

    matching: Matching
    remaining: int
    callback: Callable[[], object]
    forward: bool
    fired: threading.Event = field(default_factory=threading.Event)


@dataclass
class Loss:
    """Swallow the reply of a matching command: the next one, or a part of all if there is a ``rate``."""

    matching: Matching
    keep: int
    rate: float = 1.0
    dice: random.Random | None = None
    happened: threading.Event = field(default_factory=threading.Event)

    def strikes(self, commands: Sequence[bytes]) -> bool:
        """Return whether this chunk is struck."""
        if not matches(self.matching, commands):
            return False
        return self.dice is None or self.dice.random() < self.rate


@dataclass
class Cut:
    """A loss under way on one connection: it ends when ``replies`` replies have come back."""

    loss: Loss
    replies: int
    held: bytearray = field(default_factory=bytearray)
