"""Certificates for servers that speak TLS: an authority of our own, made with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """Signs certificates for 127.0.0.1 into a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self.certificate, self._key = folder / f"{name}.crt", folder / f"{name}.key"
        _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                 "-keyout", self._key, "-out", self.certificate)  # fmt: skip

    def options(self, name: str, address: str = "127.0.0.1", days: int = 2) -> list[str]:
        """Return the options of a redis-server with a certificate for an address; with ``days=-1`` it has expired."""
        key, request, signed = (self._folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        extra = self._folder / f"{name}.ext"
        extra.write_text(f"subjectAltName=IP:{address}\n")
        _openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            f"/CN={name}",
            "-keyout",
            key,
            "-out",
            request,
        )
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
                 "-days", days, "-extfile", extra, "-out", signed)  # fmt: skip
        return [
            *("--tls-cert-file", str(signed), "--tls-key-file", str(key)),
            *("--tls-ca-cert-file", str(self.certificate), "--tls-auth-clients", "no"),
        ]


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
