"""Encrypted connections: to one server, to sentinels and their master, to a cluster; and what is not to be trusted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiorq2.errors import BackendRefused, BackendUnavailable
from tests.contract.stage import add, opened, queued
from tests.support.certificates import Authority
from tests.support.redis_server import RedisServer, is_free
from tests.support.redis_topology import Cluster, SentinelTrio

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One that we trust."""
    return Authority(tmp_path_factory.mktemp("trusted"))


class TlsServer(RedisServer):
    """A server that speaks TLS on the port after its own."""

    def __init__(self, options: list[str]) -> None:
        super().__init__()
        self._beside = options

    @property
    def address(self) -> str:
        """Where it speaks TLS."""
        return f"{self.host}:{self.port + 1}"

    def _is_free(self) -> bool:
        return super()._is_free() and is_free(self.host, self.port + 1)

    def _arguments(self) -> list[str]:
        return [*super()._arguments(), "--tls-port", str(self.port + 1), *self._beside]


@pytest.fixture(scope="module")
def tls_server(authority: Authority) -> Iterator[TlsServer]:
    with TlsServer(authority.options("good")) as server:
        yield server


async def test_encrypted_connection_works(
    tls_server: TlsServer, authority: Authority, key_prefix: str
) -> None:
    """With the authority that has signed the server's certificate, or without asking."""
    for option in (f"ssl_ca_certs={authority.certificate}", "ssl_cert_reqs=none"):
        url = f"rediss://{tls_server.address}?{option}"
        async with opened(url, key_prefix=key_prefix) as backend:
            (job_id,) = await add(backend)
            assert job_id in await queued(backend)


async def _is_refused_at_once(url: str, words: str, key_prefix: str) -> None:
    async with opened(url, key_prefix=key_prefix, retry_for=30) as backend:
        began = time.monotonic()
        with pytest.raises(BackendRefused, match=words) as raised:
            await add(backend)
        assert time.monotonic() - began < 10
        assert "\n" not in str(raised.value)


async def test_certificate_of_a_stranger_is_refused(
    tls_server: TlsServer, tmp_path: Path, key_prefix: str
) -> None:
    """At once and with the reason; nothing is sent in plain instead."""
    stranger = Authority(tmp_path, "stranger").certificate
    url = f"rediss://{tls_server.address}?ssl_ca_certs={stranger}"

    await _is_refused_at_once(url, "its certificate is not accepted", key_prefix)


async def test_certificate_that_has_expired_is_refused(
    authority: Authority, key_prefix: str
) -> None:
    """With that reason."""
    with TlsServer(authority.options("old", days=-1)) as server:
        url = f"rediss://{server.address}?ssl_ca_certs={authority.certificate}"

        await _is_refused_at_once(url, "expired", key_prefix)


async def test_certificate_of_another_host_is_refused(
    authority: Authority, key_prefix: str
) -> None:
    """It is good, but not for this address."""
    with TlsServer(authority.options("elsewhere", address="127.0.0.9")) as server:
        url = f"rediss://{server.address}?ssl_ca_certs={authority.certificate}"

        await _is_refused_at_once(url, "127.0.0.1", key_prefix)


async def test_plain_port_is_no_tls_port(
    tls_server: TlsServer, authority: Authority, key_prefix: str
) -> None:
    """``rediss://`` at a port that does not encrypt gets no answer; the error says what may be wrong. Nothing is sent in plain."""
    plain = f"{tls_server.host}:{tls_server.port}"
    url = f"rediss://{plain}?ssl_ca_certs={authority.certificate}"
    async with opened(url, key_prefix=key_prefix, retry_for=0.2, timeout=0.3) as backend:
        with pytest.raises(BackendUnavailable, match="is this its TLS port"):
            await add(backend)
    async with opened(f"redis://{tls_server.address}", retry_for=0.2) as backend:
        with pytest.raises(BackendUnavailable):
            await add(backend)

    assert tls_server.command("KEYS", f"{key_prefix}:*") == []


async def test_untrusted_cluster_is_refused(
    tls_server: TlsServer, tmp_path: Path, key_prefix: str
) -> None:
    """The nodes and the sentinels that are asked have to be trusted as well."""
    stranger = Authority(tmp_path, "stranger").certificate
    prefix = f"{{{key_prefix.strip('{}')}}}"
    for url in (
        f"rediss+cluster://{tls_server.address}",
        f"rediss+sentinel://{tls_server.address}/m",
    ):
        refused = f"{url}?ssl_ca_certs={stranger}"
        await _is_refused_at_once(refused, "its certificate is not accepted", prefix)


@pytest.mark.slow
async def test_sentinels_and_their_master_may_be_encrypted(authority: Authority) -> None:
    """All the way: the sentinels that are asked, and the master; also after a failover."""
    with SentinelTrio(tls=authority.options("trio")) as trio:
        url = f"{trio.url}?ssl_ca_certs={authority.certificate}"
        async with opened(url, retry_for=20) as backend:
            (job_id,) = await add(backend)
            old = trio.master
            trio.fail_over()
            await asyncio.to_thread(trio.wait_for_switch, old)

            await add(backend, "x")

            assert await queued(backend) == [job_id, "x"]


@pytest.mark.slow
async def test_nodes_of_a_cluster_may_be_encrypted(authority: Authority) -> None:
    """The ports that they tell of are those that encrypt."""
    with Cluster(tls=authority.options("node")) as cluster:
        url = f"{cluster.url}?ssl_ca_certs={authority.certificate}"
        async with opened(url, retry_for=20) as backend:
            (job_id,) = await add(backend)
            assert await queued(backend) == [job_id]
