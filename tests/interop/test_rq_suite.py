"""rq's own tests, from its source distribution, with aiorq2's worker in the place of rq's (``rq_shim.py``).

What does not pass stands in ``docs/rq-test-suite.md``, with the reason; the list is read from there.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.processes import ROOT, PythonProcess
from tests.support.redis_server import RedisServer

HALVES = (
    [
        "commands",
        "group",
        "job_dependency",
        "results",
        "retry",
        "decorator",
        "job",
        "job_lifecycle",
    ],
    [
        "scheduler",
        "executions",
        "dependencies",
        "callbacks",
        "repeat",
        "rate_limit",
        "registry",
        "queue",
        "queue_unique",
    ],
)
"""The names of the files, in two parts that take about as long."""
DOCS = ROOT / "docs" / "rq-test-suite.md"
SUITE_S = 600.0
PATIENCE = (3, 6)
"""How many times as long a test waits for our worker when it is tried again: rq's tests trust the clock."""
TEST_S = 30


@dataclass
class Report:
    """How the tests ended, by id; and in which of them a worker was at work."""

    outcomes: dict[str, str] = field(default_factory=dict)
    at_work: set[str] = field(default_factory=set)
    output: str = ""

    def having(self, outcome: str) -> set[str]:
        """Return the tests that ended so."""
        return {id for id, found in self.outcomes.items() if found == outcome}


@dataclass(frozen=True)
class Listed:
    """What the docs say: the tests that fail and those that are not run, and the four figures."""

    failing: frozenset[str]
    not_run: frozenset[str]
    figures: tuple[int, ...]


def listed() -> Listed:
    """Read the docs."""
    text = DOCS.read_text()
    _, failing, not_run = re.split(r"^## .*$", text, flags=re.MULTILINE)
    row = re.compile(r"^\| `(test_\w+\.py::\w+::\w+)` \| \S.* \|$", re.MULTILINE)
    rows = re.findall(r"^\| `test.*$", text, re.MULTILINE)
    found = frozenset(row.findall(failing)), frozenset(row.findall(not_run))
    assert len(rows) == len(found[0]) + len(found[1]), "a row without a reason, or twice the same"
    return Listed(*found, tuple(int(number) for number in re.findall(r"\*\*(\d+)\*\*", text)))


def source(version: str) -> Path:
    """Return the folder that holds rq's package ``tests``; downloads it once."""
    home = ROOT / ".interop" / f"rq-{version}"
    if (home / "tests").is_dir():
        return home
    home.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as folder:
        command = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", folder]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--no-input", *command, f"rq=={version}"],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (archive,) = Path(folder).glob("rq-*.tar.gz")
        with tarfile.open(archive) as packed:
            inside = [one for one in packed.getmembers() if one.name.split("/")[1] == "tests"]
            packed.extractall(folder, inside, filter="data")
        (unpacked,) = Path(folder).glob("rq-*/")
        (unpacked / "pytest.ini").write_text("[pytest]\nfilterwarnings = ignore\n")
        with suppress(OSError):  # another test run was quicker
            unpacked.rename(home)
    return home


class Suite:
    """A pytest process that runs some of rq's tests on a Redis of its own."""

    def __init__(
        self, home: Path, tests: Iterable[str], *, without: Iterable[str] = (), patience: int = 1
    ) -> None:
        self._server = RedisServer()
        self._server.start()
        self._directory = Path(tempfile.mkdtemp(prefix="aiorq2-rq-suite-", dir=home.parent))
        report, at_work = self._files
        options = ["-p", "rq_shim", "-c", "pytest.ini", "--rootdir", ".", "--confcutdir", "."]
        options += [
            f"-pno:{name}" for name in ("asyncio", "cacheprovider", "xdist", "hypothesispytest")
        ]
        options += ["-o", f"timeout={TEST_S * patience}", "-q", "--tb=short"]
        options += [f"--deselect=tests/{id}" for id in without]
        self._process = PythonProcess(
            ["-m", "pytest", *options, *(f"tests/{one}" for one in tests)],
            cwd=home,
            env={
                "PYTHONPATH": str(Path(__file__).parent),
                "RUN_SLOW_TESTS_TOO": "1",
                "RQ_SUITE_PORT": str(self._server.port),
                "RQ_SUITE_REPORT": str(report),
                "RQ_SUITE_AT_WORK": str(at_work),
                "RQ_SUITE_PATIENCE": str(patience),
            },
        )

    @property
    def _files(self) -> tuple[Path, Path]:
        return self._directory / "report.json", self._directory / "at_work"

    def finish(self, into: Report) -> None:
        """Wait for its end, and add what came of it."""
        report, at_work = self._files
        self._process.wait(SUITE_S)
        into.output += self._process.output()
        assert report.exists(), into.output
        found: dict[str, str] = json.loads(report.read_text())
        into.outcomes |= {_bare(id): outcome for id, outcome in found.items()}
        if at_work.exists():
            into.at_work |= {_bare(line) for line in at_work.read_text().splitlines()}

    def close(self) -> None:
        """End it, whether it has ended or not."""
        self._process.close()
        self._server.close()
        for path in self._files:
            path.unlink(missing_ok=True)
        self._directory.rmdir()


def _bare(id: str) -> str:
    return id.strip().removeprefix("tests/")


def run(home: Path, halves: Sequence[Sequence[str]], *, without: Iterable[str]) -> Report:
    """Run the files of both halves side by side."""
    report, suites = Report(), list[Suite]()
    try:
        for half in halves:
            suites.append(Suite(home, [f"test_{name}.py" for name in half], without=without))
        for suite in suites:
            suite.finish(report)
    finally:
        for suite in suites:
            suite.close()
    return report


def run_again(home: Path, tests: Iterable[str], patience: int, into: Report) -> None:
    """Run some tests once more, one after the other."""
    suite = Suite(home, sorted(tests), patience=patience)
    try:
        suite.finish(into)
    finally:
        suite.close()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_tests_of_rq_pass_with_our_worker(capsys: pytest.CaptureFixture[str]) -> None:
    """All but those that the docs list, each with its reason; and the figures there are true."""
    version = importlib.metadata.version("rq")
    home, known = source(version), listed()

    report = run(home, HALVES, without=known.not_run)
    for patience in PATIENCE:
        unexpected = report.having("failed") - known.failing
        if unexpected:
            run_again(home, unexpected, patience, report)

    passed, failed = report.having("passed"), report.having("failed")
    assert failed - known.failing == set(), report.output
    assert passed & known.failing == set(), "listed as failing in the docs, but they pass"
    assert known.failing <= failed, "listed in the docs, but there is no such test"
    at_work = report.at_work | known.not_run
    figures = len(passed), len(passed | failed | known.not_run), len(at_work), len(passed & at_work)
    with capsys.disabled():
        text = "{} of the {} tests of rq {} pass; in {} a worker is at work, and {} of these pass"
        sys.stdout.write(f"\n{text.format(*figures[:2], version, *figures[2:])}\n")
    assert figures == known.figures
