"""Hosts of their own, one of them cut off for three leases: the example, where network namespaces can be made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.figures import Report
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow


def _run(path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "examples/several_hosts.py"],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def _can_make_hosts() -> bool:
    """Whether this machine lets us make a network namespace and a cable into it."""
    if shutil.which("ip") is None:
        return False
    name = f"aiorq2-probe-{os.getpid()}"
    commands = (
        ["netns", "add", name],
        ["-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"],
    )
    try:
        return all(
            subprocess.run(["ip", *one], capture_output=True, check=False).returncode == 0
            for one in commands
        )
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.faults_all
def test_host_that_was_cut_off_for_three_leases(report: Report) -> None:
    """Its jobs are taken over, it cancels its own runs before, nothing is finished twice, and it comes back to work. Where hosts
    cannot be made, the example says so and does nothing."""
    done = _run()

    lines = done.stdout.strip().splitlines()
    if _can_make_hosts():
        assert done.returncode == 0, done.stdout + done.stderr
        assert "0 finished twice, 0 ran in two places at once, 0 wrong results" in lines[-1]
        report(f"several hosts: {lines[-2]}; {lines[-1]}")
    else:
        assert done.returncode == 2, done.stdout + done.stderr
        assert len(lines) == 1
        assert lines[0].startswith("several hosts: not possible here: ")
        report(lines[0])


def test_machine_without_the_means_is_told(tmp_path: Path) -> None:
    """One line, no traceback."""
    done = _run(str(tmp_path))

    assert done.returncode == 2
    assert done.stdout == "several hosts: not possible here: ip is not installed\n"
    assert done.stderr == ""
