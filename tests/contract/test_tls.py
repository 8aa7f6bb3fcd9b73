"""``rediss://``: the server's certificate is looked at, and there is no way back to a plain connection.

So it is with sentinels, the master that they name, and the nodes of a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiorq2.errors import BackendRefused, BackendUnavailable
from tests.contract import stage
from tests.support.redis_server import RedisServer
from tests.support.tls import Which, tls_before, written


@pytest.mark.redis
@pytest.mark.parametrize("is_asked", [True, False], ids=["trusted", "unasked"])
async def test_good_certificate_is_trusted(
    redis_server: RedisServer, redis_url: str, key_prefix: str, tmp_path: Path, is_asked: bool
) -> None:
    """With its authority named in the URL, or where the URL says that nobody asks."""
    pem = written(tmp_path, "good")
    option = f"ssl_ca_certs={pem}" if is_asked else "ssl_cert_reqs=none"
    async with tls_before(redis_server.port, pem) as port:
        url = f"rediss://localhost:{port}/0?{option}"
        async with stage.opened(url, key_prefix=key_prefix) as backend:
            await stage.add(backend, "x")
            assert await stage.queued(backend) == ["x"]


@pytest.mark.redis
@pytest.mark.parametrize(
    ("shown", "trusted", "reason"),
    [
        ("good", None, "self.signed certificate"),
        ("good", "expired", "self.signed certificate"),
        ("expired", "expired", "certificate has expired"),
    ],
)
async def test_bad_certificate_is_an_error_at_once(
    redis_server: RedisServer,
    key_prefix: str,
    tmp_path: Path,
    shown: Which,
    trusted: Which | None,
    reason: str,
) -> None:
    """Waiting does not make it better; the sentence says what is wrong with it, and not the password."""
    pem = written(tmp_path, shown)
    authority = f"?ssl_ca_certs={written(tmp_path, trusted)}" if trusted else ""
    async with tls_before(redis_server.port, pem) as port:
        url = f"rediss://:s3cret@localhost:{port}/0{authority}"
        async with stage.opened(url, key_prefix=key_prefix, retry_for=30) as backend:
            with pytest.raises(BackendRefused, match=reason) as raised:
                await stage.add(backend)

    assert "s3cret" not in f"{raised.value!r} {raised.value.__cause__!r}"


@pytest.mark.redis
async def test_certificate_of_another_host_is_an_error_at_once(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """It is good, but not for this address."""
    pem = written(tmp_path, "good")
    async with tls_before(redis_server.port, pem, host="127.0.0.9") as port:
        url = f"rediss://127.0.0.9:{port}/0?ssl_ca_certs={pem}"
        async with stage.opened(url, key_prefix=key_prefix, retry_for=30) as backend:
            with pytest.raises(BackendRefused, match=r"not valid for '127\.0\.0\.9'"):
                await stage.add(backend)


@pytest.mark.redis
@pytest.mark.parametrize("scheme", ["rediss+cluster", "rediss+sentinel"])
async def test_who_is_asked_for_the_way_has_to_be_trusted_as_well(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path, scheme: str
) -> None:
    """The nodes and the sentinels, that is."""
    prefix = f"{{{key_prefix.strip('{}')}}}"
    async with tls_before(redis_server.port, written(tmp_path, "good")) as port:
        url = f"{scheme}://:s3cret@localhost:{port}{'/m' if 'sentinel' in scheme else ''}"
        async with stage.opened(url, key_prefix=prefix, retry_for=30) as backend:
            with pytest.raises(
                BackendRefused, match=r"not to be trusted: self.signed certificate"
            ) as raised:
                await stage.add(backend)

    assert "s3cret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.redis
async def test_plain_server_is_not_spoken_to_plainly(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """A server without TLS gets neither a command nor the password; the error says what may be wrong."""
    url = f"rediss://:s3cret@localhost:{redis_server.port}/0"
    async with stage.opened(url, key_prefix=key_prefix, retry_for=0.2, timeout=0.5) as backend:
        with pytest.raises(BackendUnavailable, match="is this its TLS port"):
            await stage.add(backend)


@pytest.mark.redis
async def test_encrypting_server_is_not_spoken_to_plainly(
    redis_server: RedisServer, redis_url: str, key_prefix: str, tmp_path: Path
) -> None:
    """The other way round it is an error as well, and nothing arrives."""
    async with tls_before(redis_server.port, written(tmp_path, "good")) as port:
        url = f"redis://localhost:{port}/0"
        async with stage.opened(url, key_prefix=key_prefix, retry_for=0.2) as backend:
            with pytest.raises(BackendUnavailable):
                await stage.add(backend)

    assert redis_server.command("KEYS", f"{key_prefix}:*") == []
