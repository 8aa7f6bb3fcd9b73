"""TLS in front of a server that speaks none, with a certificate for ``localhost`` that is good until 2126, or one that has expired.

The keys guard nothing: they are for tests on the loopback.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

GOOD = """\
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUUqV5TFdr4Cf3HnDXE7CI9SD3hB4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNTIwNTk1MloYDzIxMjYxMTAx
MjA1OTUyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARtt00Go5MW9fjLd7AsnlmM/vunoSW/qzQweI4Nvb568D4+uEUbYny6
RW16EWM6/vB3LH4gsoY/xbwdFpj69n/Go28wbTAdBgNVHQ4EFgQUFkhiIdHoRbDz
gV8kCNdOytdiruEwHwYDVR0jBBgwFoAUFkhiIdHoRbDzgV8kCNdOytdiruEwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhALc0Lk0hDjd61k8q06IiFQgq30Mn9brrAFHRwv699UbGAiEA
xkn9/Z0DvHlywMkpAp0/XiUHFBXOkGBz2J75xZoejJM=
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgp6u+06DfZQlz8tmq
wkonDJi+yAFbBw05AnuQjq4mqJKhRANCAARtt00Go5MW9fjLd7AsnlmM/vunoSW/
qzQweI4Nvb568D4+uEUbYny6RW16EWM6/vB3LH4gsoY/xbwdFpj69n/G
-----END PRIVATE KEY-----
"""
EXPIRED = """\
-----BEGIN CERTIFICATE-----
MIIBUjCB+qADAgECAgEBMAoGCCqGSM49BAMCMBQxEjAQBgNVBAMMCWxvY2FsaG9z
dDAeFw0yMDAxMDEwMDAwMDBaFw0yMTAxMDEwMDAwMDBaMBQxEjAQBgNVBAMMCWxv
Y2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNrzce2JmNGrUYUbuyIK
LemXA5sxDdnkPH9JD3T+C7nVCblL0AiO2pyOOdFHrnWgJ+Xby/eRMVpY7IzFpTNP
prKjPTA7MBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAdBgNVHQ4EFgQUrMaY
IEauK/k6r496sdvrnJR7dJwwCgYIKoZIzj0EAwIDRwAwRAIgIEN3OaxebYQ/hPdE
qEP+fWDbtR2W8Qwm4aXGR2GcS6UCIH4hN/Gr9O1oFl+wcxwBxfrlClGpQXFQp8bS
8T+Tz2WS
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgrFZ966Z7LuG3bki4
c55aFbDFCBMpqYUXrFYoTpa9ejihRANCAATa83HtiZjRq1GFG7siCi3plwObMQ3Z
5Dx/SQ90/gu51Qm5S9AIjtqcjjnRR651oCfl28v3kTFaWOyMxaUzT6ay
-----END PRIVATE KEY-----
"""
"""Certificate and key, in PEM; each certificate has signed itself, so it is its own authority."""

Which = Literal["good", "expired"]


def written(folder: Path, which: Which) -> Path:
    """Write a certificate with its key into a file and return its path; it can stand for the authority as well."""
    path = folder / f"{which}.pem"
    path.write_text(GOOD if which == "good" else EXPIRED)
    return path


def options_of(certificate: Path) -> list[str]:
    """Return the options of a redis-server that encrypts by itself and trusts its like."""
    pem = str(certificate)
    return [
        *("--tls-cert-file", pem, "--tls-key-file", pem),
        *("--tls-ca-cert-file", pem, "--tls-auth-clients", "no"),
    ]


@asynccontextmanager
async def tls_before(
    port: int, certificate: Path, *, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """Take TLS connections and hand what comes on them to ``port``; yields the port on which."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    server = await asyncio.start_server(serve, host, 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
