"""A TCP proxy in front of Redis that breaks the network on request.

It runs in a thread with an event loop of its own: its methods can be called from anywhere, worker processes can connect to it, and
it goes on while the test's loop is blocked. Both directions are parsed, so a rule that names a command (``matching``: bytes in the
command and its arguments joined by spaces, ``b"SET key"`` or a script's SHA; ``b""`` is any) finds it however the bytes were cut.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

import hiredis

T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_CHUNK = 256 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s; close() then sends RST
_INCOMPLETE = object()


@dataclass(frozen=True)
class Traffic:
    """What has gone through so far; subtract an earlier one to get what a test caused.

    ``client_writes`` are chunks from clients as they arrived; a long pipeline may come in several. ``round_trips`` are the chunks
    before which the client had got all its replies: what a client cannot do faster than the network allows.
    """

    connections: int = 0
    client_writes: int = 0
    round_trips: int = 0
    commands: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0

    def __sub__(self, earlier: Traffic) -> Traffic:
        return Traffic(*(getattr(self, name) - getattr(earlier, name) for name in self.__slots__))

    __slots__ = (
        "bytes_to_client",
        "bytes_to_server",
        "client_writes",
        "commands",
        "connections",
        "round_trips",
    )
