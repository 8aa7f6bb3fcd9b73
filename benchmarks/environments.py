"""A virtual environment for each peer, in ``.bench/`` at the root of the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from benchmarks.peers import Peer

HERE = Path(__file__).parent
ROOT = HERE.parent
CACHE = ROOT / ".bench"
INSTALLING_S = 300

_VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


_CLIENTS = ("redis", "hiredis", "coredis", "uvloop")


class NotInstalled(Exception):
    """A peer that cannot be measured here, and why."""


@dataclass(frozen=True)
class Environment:
    """A peer, and the interpreter that has its library."""

    name: str
    peer: Peer
    python: Path
    versions: dict[str, str]

    def command(self, *arguments: str) -> list[str]:
        """Return how ``python -m peers`` is called for this peer; to be run in this folder."""
        return [str(self.python), "-m", "peers", self.name, *arguments]


def find_python() -> str:
    """Return the interpreter on which all peers run: this one, or a newer one if that is what ardiq needs."""
    if sys.version_info >= (3, 12):
        return sys.executable
    return next((path for path in _newer_pythons() if _version_of(path) >= (3, 12)), sys.executable)


def in_place(name: str) -> Environment:
    """Return a peer whose library the running interpreter has."""
    peer = cast(Peer, import_module(f"benchmarks.peers.{name}"))
    ours = Path(sys.executable)
    return Environment(name, peer, ours, _versions(ours, [name, *_names(peer.PACKAGES)]))


def prepare(name: str, python: str) -> Environment:
    """Return the environment of a peer, made if need be.

    Raises:
        NotInstalled: it cannot be made; the message is a sentence.
    """
    peer = cast(Peer, import_module(f"benchmarks.peers.{name}"))
    version = _version_of(python)
    if version < peer.PYTHON:
        raise NotInstalled(f"{name} is left out: it needs Python {_dotted(peer.PYTHON)} (--python)")
    folder = CACHE / f"{name}-{_dotted(version)}"
    ours = folder / "bin" / "python"
    stamp = folder / "packages.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != list(peer.PACKAGES):
        print(f"installing {name} into {folder.relative_to(ROOT)}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        _call(name, python, "-m", "venv", str(folder))
        _call(name, str(ours), "-m", "pip", "install", "--quiet", "--no-input", *peer.PACKAGES)
        stamp.write_text(json.dumps(peer.PACKAGES))
    return Environment(name, peer, ours, _versions(ours, [name, *_names(peer.PACKAGES)]))


def _call(name: str, *command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALLING_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{name} is left out: pip was not done in {INSTALLING_S} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotInstalled(f"{name} is left out: it could not be installed ({last})")


def _names(packages: Sequence[str]) -> list[str]:
    found = [re.match(r"[\w.-]+", package) for package in packages if not package.startswith("-")]
    return [each[0] for each in found if each]


def _versions(python: Path, wanted: Sequence[str]) -> dict[str, str]:
    done = subprocess.run(
        [str(python), "-c", _VERSIONS, *dict.fromkeys([*wanted, *_CLIENTS])],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _newer_pythons() -> Iterator[str]:
    for version in ("3.14", "3.13", "3.12"):
        yield from filter(None, [shutil.which(f"python{version}")])
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        yield from (str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python")))


def _version_of(python: str) -> tuple[int, int]:
    """Return the version of an interpreter; (0, 0) where there is none, as behind some of pyenv's shims."""
    try:
        done = subprocess.run(
            [python, "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return 0, 0
    major, minor = done.stdout.split()
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
