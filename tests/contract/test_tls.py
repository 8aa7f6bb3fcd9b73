"""``rediss://``: the server's certificate is looked at, and there is no way back to a plain connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiorq2.errors import BackendRefused, BackendUnavailable
from tests.contract import stage
from tests.support.redis_server import RedisServer
from tests.support.tls import tls_before, written


@pytest.mark.redis
async def test_good_certificate_is_trusted(
    redis_server: RedisServer, redis_url: str, key_prefix: str, tmp_path: Path
) -> None:
    """With its authority named in the URL."""
    pem = written(tmp_path, "good")
    async with tls_before(redis_server.port, pem) as port:
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={pem}"
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
    shown: str,
    trusted: str,
    reason: str,
) -> None:
    """Waiting does not make it better; the sentence says what is wrong with it, and not the password."""
    pem = written(tmp_path, shown)  # type: ignore[arg-type]
    authority = f"?ssl_ca_certs={written(tmp_path, trusted)}" if trusted else ""  # type: ignore[arg-type]
    async with tls_before(redis_server.port, pem) as port:
        url = f"rediss://:s3cret@localhost:{port}/0{authority}"
        async with stage.opened(url, key_prefix=key_prefix, retry_for=30) as backend:
            with pytest.raises(BackendRefused, match=reason) as raised:
                await stage.add(backend)

    assert "s3cret" not in f"{raised.value!r} {raised.value.__cause__!r}"


@pytest.mark.redis
async def test_plain_server_is_not_spoken_to_plainly(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """A server without TLS gets neither a command nor the password."""
    url = f"rediss://:s3cret@localhost:{redis_server.port}/0"
    async with stage.opened(url, key_prefix=key_prefix, retry_for=0.2, timeout=0.5) as backend:
        with pytest.raises(BackendUnavailable):
            await stage.add(backend)
