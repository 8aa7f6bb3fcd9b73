"""The Redis that the tests start themselves starts, stops, dies and comes back as it is told."""

from __future__ import annotations

import itertools
import random

import pytest
import redis

from tests.support.redis_server import RedisServer, RedisServerError


@pytest.mark.redis
def test_server_keeps_acknowledged_writes_over_kill() -> None:
    """With ``appendonly="always"`` whatever was answered is there after SIGKILL and restart, on the same port."""
    with RedisServer(appendonly="always") as server:
        url = server.url
        server.command("SET", "k", "v")

        server.kill()
        with pytest.raises(redis.ConnectionError):
            server.command("GET", "k")
        server.restart()

        assert server.url == url
        assert server.command("GET", "k") == b"v"


@pytest.mark.redis
def test_server_forgets_without_persistence() -> None:
    """Without ``appendonly`` a restart is an empty Redis; ``stop()`` ends it in good order."""
    with RedisServer() as server:
        server.command("SET", "k", "v")

        server.stop()
        assert not server.is_running
        server.restart()

        assert server.command("GET", "k") is None


@pytest.mark.redis
def test_server_takes_password_socket_and_limits() -> None:
    """The options reach the server, and the URLs carry the password."""
    with RedisServer(requirepass="s3cret", unixsocket=True, maxmemory="8mb") as server:
        for url in (server.url, server.unix_url):
            with redis.Redis.from_url(url) as client:
                assert client.ping()

        assert server.config("maxmemory", 4_000_000) == str(8 * 1024 * 1024)
        assert server.config("maxmemory") == "4000000"


@pytest.mark.redis
def test_server_pause_leaves_connections_open() -> None:
    """A frozen server is silent, not gone."""
    with RedisServer() as server, redis.Redis.from_url(server.url, socket_timeout=0.1) as client:
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()

        server.resume()
        assert client.ping()


def test_server_takes_another_port_when_somebody_was_quicker(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that was free when we looked and taken when redis-server started is given up."""
    ports = itertools.count(redis_server.port)
    monkeypatch.setattr(random, "choice", lambda _: next(ports))
    monkeypatch.setattr("tests.support.redis_server.is_free", lambda *_: True)

    with RedisServer() as server:
        assert server.port > redis_server.port
        assert server.command("PING")


def test_server_missing_is_an_error() -> None:
    """No redis-server: a failure that says so, never a skip."""
    with pytest.raises(RedisServerError, match="not on PATH"):
        RedisServer(executable="no-such-server").start()


@pytest.mark.redis
def test_server_refused_options_are_an_error() -> None:
    """A server that does not start says why."""
    with pytest.raises(RedisServerError, match="no-such-option"):
        RedisServer(extra=["--no-such-option", "1"]).start()
