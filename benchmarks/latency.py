"""A loopback proxy that makes each round trip to Redis longer: ``python latency.py HOST PORT SECONDS`` prints its own port.

Chunks travel independently, half of the time each way, so that pipelines and many connections are as quick as on a longer line.
The loop selects by ``select(2)``, whose time-outs are in microseconds; those of ``epoll`` are rounded up to milliseconds.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
from contextlib import suppress


class End(asyncio.Protocol):
    """One end of a connection: what it receives, the other end sends a little later."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._early: list[bytes] = []
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._loop.call_later(self._delay_s, self._pass_on, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._loop.call_later(self._delay_s, self._pass_on, b"")

    def join(self, other: End) -> None:
        """Send to ``other``, beginning with what has come already."""
        self.other, early, self._early = other, self._early, []
        for data in early:
            self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self._early.append(data)
        elif data:
            self.other.transport.write(data)
        else:
            self.other.transport.close()


async def serve(host: str, port: int, round_trip_s: float) -> None:
    """Relay until cancelled."""
    loop = asyncio.get_running_loop()
    joining: set[asyncio.Task[None]] = set()

    async def join(near: End) -> None:
        with suppress(OSError):
            _, far = await loop.create_connection(lambda: End(round_trip_s / 2), host, port)
            far.join(near)
            near.join(far)

    def accept() -> End:
        near = End(round_trip_s / 2)
        task = loop.create_task(join(near))
        joining.add(task)
        task.add_done_callback(joining.discard)
        return near

    server = await loop.create_server(accept, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main(host: str, port: str, seconds: str) -> None:
    """Relay until a signal comes."""
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(serve(host, int(port), float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
