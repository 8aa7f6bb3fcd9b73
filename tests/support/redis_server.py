"""A real ``redis-server`` of our own: on a free loopback port, in a directory of its own, gone when the tests end."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# Below the range from which the kernel takes source ports (32768 on Linux, 49152 on macOS). In that range, while the server is
# down, somebody's outgoing connection may take its port, and a client that reconnects may end up connected to itself.
_PORTS = range(15_000, 32_000)
_ATTEMPTS = 20


class RedisServerError(RuntimeError):
    """redis-server is missing, did not start or did not answer; the end of its log is in the message."""


class RedisServer:
    """One redis-server process; started by ``start()`` or by ``with``, without persistence unless ``appendonly`` is given.

    ``tls`` are the options of one that speaks nothing else. ``appendonly`` is the fsync policy of an append-only file, ``extra``
    goes to the command line as it stands
    (``["--enable-debug-command", "yes"]``). The port stays the same over ``kill()``, ``stop()`` and ``restart()``::

        with RedisServer(appendonly="always") as server:
            redis.Redis.from_url(server.url).set("key", "value")
            server.kill()
            server.restart()
    """

    ports = _PORTS

    def __init__(
        self,
        *,
        appendonly: Literal["always", "everysec", "no"] | None = None,
        maxmemory: str | None = None,
        requirepass: str | None = None,
        unixsocket: bool = False,
        extra: Sequence[str] = (),
        tls: Sequence[str] = (),
        executable: str = "redis-server",
    ) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.directory = Path()
        self._password = requirepass
        self._tls = list(tls)
        self._unixsocket = unixsocket
        self._executable = executable
        self._options = ["--save", "", "--appendonly", "yes" if appendonly else "no", *extra]
        if appendonly:
            self._options += ["--appendfsync", appendonly]
        if maxmemory:
            self._options += ["--maxmemory", maxmemory]
        if requirepass:
            self._options += ["--requirepass", requirepass]
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._owner = os.getpid()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Start on a port that nobody uses, and return when the server answers."""
        if shutil.which(self._executable) is None:
            raise RedisServerError(f"{self._executable} is not on PATH; `make test` installs it")
        self.directory = Path(tempfile.mkdtemp(prefix="aiorq2-redis-"))
        atexit.register(self.close)
        try:
            self._start_on_a_free_port()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill the server and delete its directory; may be called twice."""
        if os.getpid() != self._owner:
            return  # a forked child runs our atexit functions, too
        atexit.unregister(self.close)
        self.kill()
        if self.directory != Path():
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def url(self) -> str:
        """``redis://…`` with the password, if there is one."""
        return f"redis://{self._credentials}{self.host}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """``unix://…`` of a server that was made with ``unixsocket=True``."""
        if not self._unixsocket:
            raise ValueError("this server has no unix socket")
        return f"unix://{self._credentials}{self._socket_path}"

    @property
    def pid(self) -> int:
        """The id of the running process."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether the process exists; a paused one does."""
        return self._process is not None and self._process.poll() is None

    def client(self, timeout: float | None = 5) -> redis.Redis:
        """Return a new blocking client that waits ``timeout`` seconds for a reply, once; close it, or use it in ``with``."""
        return redis.Redis(
            host=self.host,
            port=self.port,
            password=self._password,
            ssl=bool(self._tls),
            ssl_cert_reqs="none",
            socket_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )

    def command(self, *args: str | int | bytes) -> Any:
        """Run one command on a connection of its own and return the reply."""
        with self.client() as client:
            execute: Any = client.execute_command
            return execute(*args)

    def config(self, name: str, value: str | int | None = None) -> str:
        """Set a server parameter if ``value`` is given; return what it was before."""
        with self.client() as client:
            before: Any = client.config_get(name)
            if value is not None:
                client.config_set(name, value)
        return str(before[name])

    def kill(self) -> None:
        """End the process at once (SIGKILL) and reap it; nothing happens when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process, self._paused = None, False

    def stop(self, timeout: float = 10.0) -> None:
        """End the process in good order (SIGTERM), so that what it persists is on disk."""
        process = self._running()
        self.resume()
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RedisServerError(
                f"redis-server did not stop in {timeout} s\n{self.log()}"
            ) from None
        self._process = None

    def restart(self, timeout: float = 30.0) -> None:
        """Start again on the same port and directory, after ``kill()``, ``stop()`` or while running."""
        self.kill()
        deadline = time.monotonic() + timeout
        while not self._spawn(deadline - time.monotonic()):
            if time.monotonic() > deadline:
                raise RedisServerError(f"port {self.port} was taken meanwhile\n{self.log()}")
            time.sleep(0.05)

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): connections stay open, nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        if self._paused:
            self._running().send_signal(signal.SIGCONT)
            self._paused = False

    def log(self) -> str:
        """Return the last lines that the server logged."""
        path = self.directory / "redis.log"
        return (
            "\n".join(path.read_text(errors="replace").splitlines()[-15:]) if path.exists() else ""
        )

    @property
    def _credentials(self) -> str:
        return f":{self._password}@" if self._password else ""

    @property
    def _socket_path(self) -> Path:
        return self.directory / "redis.sock"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise RedisServerError(f"redis-server is not running\n{self.log()}")
        return self._process

    def _start_on_a_free_port(self) -> None:
        for _ in range(_ATTEMPTS):
            self.port = random.choice(self.ports)
            if self._is_free() and self._spawn(timeout=30):
                return
        raise RedisServerError(f"no free port found in {_ATTEMPTS} attempts\n{self.log()}")

    def _is_free(self) -> bool:
        return is_free(self.host, self.port)

    def _spawn(self, timeout: float) -> bool:
        """Start the process on ``self.port``; False when somebody else took the port first."""
        with (self.directory / "stderr.log").open("ab") as errors:
            self._process = subprocess.Popen(
                [self._executable, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the tests, which then close the server
            )
        return self._wait_until_it_answers(self._process, timeout)

    def _arguments(self) -> list[str]:
        """Return what the executable is started with."""
        ports = ["--port", "0", "--tls-port"] if self._tls else ["--port"]
        arguments = ["--bind", self.host, *ports, str(self.port), *self._tls]
        arguments += ["--dir", str(self.directory)]
        arguments += ["--logfile", str(self.directory / "redis.log")]
        if self._unixsocket:
            arguments += ["--unixsocket", str(self._socket_path)]
        return [*arguments, *self._options]

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while process.poll() is None:
            if self._answers(process.pid):
                return True
            if time.monotonic() > deadline:
                self.kill()
                raise RedisServerError(
                    f"redis-server did not answer in {timeout:.0f} s\n{self.log()}"
                )
            time.sleep(0.01)
        self._process = None
        complaint = self.log() + (self.directory / "stderr.log").read_text(errors="replace")
        if "already in use" in complaint.lower():
            (self.directory / "redis.log").unlink(missing_ok=True)
            return False
        raise RedisServerError(f"redis-server exited with {process.returncode}\n{complaint}")

    def _answers(self, pid: int) -> bool:
        """Whether it is *this* process that answers on the port, and not another one that was quicker."""
        try:
            with self.client() as client:
                info: Any = client.info("server")
        except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
            return False
        return bool(info["process_id"] == pid)


def is_free(host: str, port: int) -> bool:
    """Return whether nobody listens on a port."""
    with closing(socket.socket()) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str) -> int:
    """Return a port on which nobody listens, and which is given to nobody's outgoing connection.

    Raises:
        OSError: none was found.
    """
    for _ in range(_ATTEMPTS):
        port = random.choice(_PORTS)
        if is_free(host, port):
            return port
    raise OSError(f"no free port found in {_ATTEMPTS} attempts")
