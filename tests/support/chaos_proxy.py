"""A TCP proxy in front of Redis that breaks the network on request.

It runs in a thread with an event loop of its own: its methods can be called from anywhere, worker processes can connect to it, and
it goes on while the test's loop is blocked. Both directions are parsed, so a rule finds its command however the bytes were cut.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

import hiredis

from tests.support.chaos_rules import Cut, Loss, Matching, Trap, matches

T = TypeVar("T")

_CHUNK = 256 * 1024
_SLICE_S = 0.05  # of a narrow line, so much is sent at a time
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s; closing then sends RST
_INCOMPLETE = object()
_PUBSUB = {b"message", b"pmessage", b"subscribe", b"psubscribe", b"unsubscribe", b"punsubscribe"}


@dataclass(frozen=True)
class Traffic:
    """What has gone through so far; subtract an earlier one to get what a test caused.

    ``client_writes`` are chunks from clients as they arrived: a long pipeline may come in several. ``round_trips`` are those before
    which the client had got all its replies, that is what it had to wait for, however it was cut.
    """

    connections: int = 0
    client_writes: int = 0
    round_trips: int = 0
    commands: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0

    def __sub__(self, earlier: Traffic) -> Traffic:
        pairs = zip(astuple(self), astuple(earlier), strict=True)
        return Traffic(*(now - then for now, then in pairs))


class ChaosProxy:
    """A proxy for ``redis_url`` on a loopback port, running from the start of ``with`` to its end.

    ``matching`` stands for bytes in a command and its arguments joined by spaces, as in ``b"SET key"`` or the SHA-1 of a script;
    ``b""`` is any command; it can also be a function of all commands that a chunk completes. What ``on_request`` and the losses
    return is set once they have happened, for the test to assert::

        with ChaosProxy(redis_url) as proxy:
            lost = proxy.drop_next_reply(b"INCR")
            ...  # connect to proxy.url: INCR runs, the client gets a connection error
            assert lost.is_set()
    """

    def __init__(self, redis_url: str) -> None:
        target = urlsplit(redis_url)
        self._redis_url = redis_url
        self._target = (target.hostname or "127.0.0.1", target.port or 6379)
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name="chaos-proxy", daemon=True)
        self._links: set[_Link] = set()
        self._traps: list[Trap] = []
        self._losses: list[Loss] = []
        self._errors: list[Exception] = []
        self._recorded: list[Sequence[bytes]] | None = None
        self._counts = dict.fromkeys(Traffic.__dataclass_fields__, 0)
        self._lost = 0
        self._delay = self._jitter = 0.0
        self._rate: float | None = None
        self._step: int | None = None
        self._idle_limit: float | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._do(self._stopping.set)
        self._thread.join(10)
        if self._errors and exc[0] is None:
            raise self._errors[0]

    @property
    def url(self) -> str:
        """The URL it was made for, leading through the proxy."""
        return self.url_for(self._redis_url)

    def url_for(self, redis_url: str) -> str:
        """Return ``redis_url`` (its user, password, database and options) leading through the proxy."""
        parts = urlsplit(redis_url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}"))

    @property
    def traffic(self) -> Traffic:
        """What has gone through so far."""
        return Traffic(**self._counts)

    @property
    def client_writes(self) -> int:
        """The number of chunks that came from clients."""
        return self.traffic.client_writes

    @property
    def open_connections(self) -> int:
        """The number of clients that are connected now."""
        return len(self._links)

    @property
    def replies_lost(self) -> int:
        """How often a reply was dropped or truncated."""
        return self._lost

    def record(self) -> list[Sequence[bytes]]:
        """Return a list to which the commands of every chunk are appended from now on."""
        recorded: list[Sequence[bytes]] = []
        self._recorded = recorded
        return recorded

    def reset_idle_after(self, seconds: float | None) -> None:
        """Reset connections on which nothing has come or gone for so long, as load balancers do; None stops it."""
        self._idle_limit = seconds

    def reset_all(self) -> None:
        """Reset every connection (RST, to both sides); new ones are taken as before."""
        self._do(self._reset_all)

    def stall(self) -> None:
        """Go half-open: connections stay up and are taken, nothing is relayed, not even that one side has gone."""
        self._do(lambda: self._flowing.clear())

    def stall_present(self) -> None:
        """Go half-open for ever on the connections that there are; new ones work."""
        self._do(self._stall_present)

    def resume(self) -> None:
        """Relay again, beginning with what was held back."""
        self._do(lambda: self._flowing.set())

    def delay(self, seconds: float, jitter: float = 0.0) -> None:
        """Add ``seconds``, and at random up to ``jitter`` more, to every round trip: half of it each way."""
        self._delay, self._jitter = seconds, jitter

    def throttle(self, bytes_per_second: float | None) -> None:
        """Limit what each connection gets through, in each direction; None lifts the limit."""
        self._rate = bytes_per_second

    def chunk(self, n: int | None) -> None:
        """Relay ``n`` bytes at a time, so that both sides see fragments; None stops it."""
        self._step = n

    def drop_next_reply(self, matching: Matching = b"") -> threading.Event:
        """Let the next matching command through, swallow its reply, then reset the connection.

        Commands that came in the same chunk (a pipeline) share the fate: all ran, all replies are lost.
        """
        return self._lose(Loss(matching, keep=0))

    def truncate_next_reply(self, matching: Matching = b"", keep: int = 1) -> threading.Event:
        """As ``drop_next_reply``, but let the first ``keep`` bytes through, then close the connection."""
        return self._lose(Loss(matching, keep))

    def drop_replies(self, rate: float, seed: int, matching: Matching = b"") -> threading.Event:
        """Drop the replies to a part of the matching chunks from now on, 0.02 for 2 %; ``heal()`` ends it."""
        return self._lose(Loss(matching, 0, rate, random.Random(seed)))

    def truncate_replies(
        self, rate: float, seed: int, matching: Matching = b"", keep: int = 1
    ) -> threading.Event:
        """Truncate instead of dropping."""
        return self._lose(Loss(matching, keep, rate, random.Random(seed)))

    def on_request(
        self, matching: Matching, n: int, callback: Callable[[], object], *, forward: bool = True
    ) -> threading.Event:
        """Call ``callback()``, in the proxy's thread, just before the n-th matching chunk from now on is forwarded.

        With ``forward=False`` Redis never sees that chunk, and the connection is reset. What the callback raises is raised when the
        proxy is closed.
        """
        trap = Trap(matching, n, callback, forward)
        self._do(lambda: self._traps.append(trap))
        return trap.fired

    def heal(self) -> None:
        """End every disturbance and forget every rule."""
        self._traps.clear()
        self._losses.clear()
        self._delay = self._jitter = 0.0
        self._rate = self._step = self._idle_limit = None
        self.resume()

    def _stall_present(self) -> None:
        for link in self._links:
            link.stall()

    def _reset_all(self) -> None:
        for link in list(self._links):
            link.reset()

    def _lose(self, loss: Loss) -> threading.Event:
        self._do(lambda: self._losses.append(loss))
        return loss.happened

    def _do(self, action: Callable[[], T]) -> T:
        """Run ``action`` in the proxy's thread and wait for it."""
        if threading.current_thread() is self._thread:
            return action()
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._loop.call_soon_threadsafe(lambda: future.set_result(action()))
        return future.result(10)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping, self._flowing = asyncio.Event(), asyncio.Event()
        self._flowing.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set_result(None)
        await self._stopping.wait()
        server.close()
        runs = [link.run for link in self._links]
        self._reset_all()
        await asyncio.gather(*runs, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets are closed one step later

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        run = asyncio.current_task()
        assert run is not None
        link = _Link(self, run, reader, writer)
        self._links.add(link)
        self.count("connections")
        try:
            await link.relay(self._target)
        except asyncio.CancelledError:
            pass  # by reset()
        except OSError:
            link.reset()  # Redis is not there
        except Exception as error:  # noqa: BLE001  # a mistake in here or in a callback: the test is to know
            self._errors.append(error)
            link.reset()
        finally:
            self.forget(link)

    # From here on: what the links ask.

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter of the traffic."""
        self._counts[name] += n

    def forget(self, link: _Link) -> None:
        """Take a connection that has ended off the list."""
        self._links.discard(link)

    async def passage(self) -> None:
        """Wait as long as it takes to come from one side to the other."""
        if seconds := self._delay + self._jitter * random.random():
            await asyncio.sleep(seconds / 2)
        await self._flowing.wait()

    def is_tired_of(self, idle_s: float) -> bool:
        """Whether a connection that has been idle for so long is reset."""
        return self._idle_limit is not None and idle_s > self._idle_limit

    async def send(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        """Write ``chunk``, in fragments if so wanted, and no faster than the line is."""
        rate = self._rate
        step = self._step or (max(1, int(rate * _SLICE_S)) if rate else len(chunk))
        for start in range(0, len(chunk), step):
            writer.write(chunk[start : start + step])
            await writer.drain()
            if rate or step < len(chunk):
                await asyncio.sleep(min(step, len(chunk) - start) / rate if rate else 0)

    def admits(self, commands: Sequence[bytes]) -> bool:
        """Spring the traps; False if a chunk that completes ``commands`` must not be forwarded."""
        if self._recorded is not None and commands:
            self._recorded.append(commands)
        sprung = []
        for trap in list(self._traps):
            if matches(trap.matching, commands):
                trap.remaining -= 1
                if trap.remaining == 0:
                    self._traps.remove(trap)
                    sprung.append(trap)
        for trap in sprung:
            trap.callback()
            trap.fired.set()
        return all(trap.forward for trap in sprung)

    def loss_for(self, commands: Sequence[bytes]) -> Loss | None:
        """Return the loss that strikes a chunk that completes ``commands``."""
        for loss in self._losses:
            if loss.strikes(commands):
                if loss.dice is None:
                    self._losses.remove(loss)
                return loss
        return None

    def note_lost(self, loss: Loss) -> None:
        """Count a loss that has happened."""
        self._lost += 1
        loss.happened.set()


class _Link:
    """One client's connection and its continuation to Redis."""

    def __init__(
        self,
        proxy: ChaosProxy,
        run: asyncio.Task[Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.run = run
        self._proxy = proxy
        self._client = (reader, writer)
        self._writers = [writer]
        self._requests = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._answers = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._commands = 0
        self._replies = 0
        self._answered = True
        self._subscribed = False
        self._cut: Cut | None = None
        self._busy_at = asyncio.get_running_loop().time()
        self._flowing = asyncio.Event()
        self._flowing.set()

    def stall(self) -> None:
        """Relay nothing any more."""
        self._flowing.clear()

    def reset(self) -> None:
        """Send RST to both sides."""
        self._proxy.forget(self)
        for writer in self._writers:
            connection = writer.get_extra_info("socket")
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        self.run.cancel()

    async def relay(self, target: tuple[str, int]) -> None:
        """Relay until one side has gone."""
        await self._proxy.passage()
        reader, writer = await asyncio.open_connection(*target, limit=_CHUNK)
        self._writers.append(writer)
        pumps = [
            asyncio.create_task(self._upstream(self._client[0], writer)),
            asyncio.create_task(self._downstream(reader, self._client[1])),
            asyncio.create_task(self._tire()),
        ]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for each in self._writers:
                each.close()
        for pump in done:
            with suppress(ConnectionError):
                pump.result()

    async def _upstream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await self._next(reader):
            commands = self._parse_commands(chunk)
            self._proxy.count("client_writes")
            self._proxy.count("round_trips", int(self._answered))
            self._proxy.count("bytes_to_server", len(chunk))
            self._answered = False
            if not self._proxy.admits(commands):
                self.reset()
                return
            if self._cut is None and (loss := self._proxy.loss_for(commands)):
                self._cut = Cut(loss, self._commands)
            await self._proxy.send(writer, chunk)

    async def _downstream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await self._next(reader):
            self._replies += self._count_replies(chunk)
            is_amid_command = self._requests.has_data()
            self._answered = self._replies >= self._commands and not is_amid_command
            if self._cut is None:
                await self._answer(writer, chunk)
            elif await self._is_cut(self._cut, chunk, writer):
                return

    async def _answer(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        self._proxy.count("bytes_to_client", len(chunk))
        await self._proxy.send(writer, chunk)

    async def _tire(self) -> None:
        """Reset the connection once it has been idle for as long as the proxy bears it."""
        loop = asyncio.get_running_loop()
        while not self._proxy.is_tired_of(loop.time() - self._busy_at):
            await asyncio.sleep(0.05)
        self.reset()

    async def _next(self, reader: asyncio.StreamReader) -> bytes:
        chunk = await reader.read(_CHUNK)
        self._busy_at = asyncio.get_running_loop().time()
        await self._proxy.passage()
        await self._flowing.wait()
        return chunk

    async def _is_cut(self, cut: Cut, chunk: bytes, writer: asyncio.StreamWriter) -> bool:
        cut.held += chunk
        if self._replies < cut.replies:
            return False
        self._proxy.note_lost(cut.loss)
        if cut.loss.keep:
            await self._answer(writer, bytes(cut.held[: cut.loss.keep]))
        else:
            self.reset()
        return True

    def _parse_commands(self, chunk: bytes) -> list[bytes]:
        """Return the commands that ``chunk`` completes."""
        self._requests.feed(chunk)
        commands = []
        while (command := self._requests.gets()) is not _INCOMPLETE:
            commands.append(b" ".join(command))
            if b"subscribe" in command[0].lower():  # is answered by messages, if at all
                self._subscribed = True
            else:
                self._commands += 1
        self._proxy.count("commands", len(commands))
        return commands

    def _count_replies(self, chunk: bytes) -> int:
        """Return the number of replies that ``chunk`` completes; messages are none."""
        self._answers.feed(chunk)
        count = 0
        while (reply := self._answers.gets()) is not _INCOMPLETE:
            is_message = isinstance(reply, hiredis.PushNotification) or (
                self._subscribed and isinstance(reply, list) and reply[:1] and reply[0] in _PUBSUB
            )
            count += not is_message
        return count
