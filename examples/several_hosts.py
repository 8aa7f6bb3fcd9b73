"""Two hosts with a worker each, and Redis on a third; one of them is cut off for three leases while it runs jobs, and comes back.

The hosts are network namespaces of this machine, joined by cables that can be pulled (Linux, root, ``ip``). Its jobs are taken over
when their leases end; it notices by itself that it has lost them and cancels its runs; when it is back it works on.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from several_hosts_jobs import visit

from aiorq2 import Job, Queue, Worker, connect
from aiorq2.backends.redis import RedisBackend

LEASE_S = 2.0
STAY_S = 5.0
QUEUE = "visits"
JOBS = 8
HERE = Path(__file__).resolve().parent
NET = "10.213"
"""The addresses exist in the namespaces only."""


class NotPermitted(Exception):
    """This machine does not let us make hosts; the text says why."""


def main() -> int:
    """Run the example; returns the exit status."""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="aiorq2-hosts-") as folder,
            _site(Path(folder)) as site,
        ):
            return asyncio.run(run(site))
    except NotPermitted as reason:
        print(f"several hosts: not possible here: {reason}")
        return 2


async def run(site: Site) -> int:
    """Cut a host off, bring it back, and look at what was noted down."""
    backend = connect(site.url, retry_for=20)
    queue = Queue(QUEUE, backend)
    await _until(lambda: _both_listen(backend), "both hosts listen")
    jobs = []
    while len(jobs) < JOBS or "b" not in site.hosts_at_work():
        jobs.append(await queue.enqueue(visit, str(site.diary), STAY_S))
        await asyncio.sleep(0.1)
    site.pull("b")
    cut_off_at = time.monotonic()
    print(f"host b is cut off, with {len(site.open_on('b'))} jobs running there")
    await asyncio.sleep(3 * LEASE_S)
    site.plug("b")
    back_at = time.monotonic()
    print(f"host b is back, after {back_at - cut_off_at:.1f} s")
    results = [await job.wait(60) for job in jobs]
    later = await _visit_again(queue, site, back_at)
    await backend.close()
    return conclude(site, results, cut_off_at, back_at, later)


async def _visit_again(queue: Queue, site: Site, back_at: float) -> list[Job]:
    """Enqueue jobs until host b has begun one."""
    jobs = []
    deadline = back_at + 60
    while not any(one.host == "b" and one.at > back_at for one in site.entries("start")):
        if time.monotonic() > deadline:
            raise TimeoutError("host b did not come back to work")
        jobs.append(await queue.enqueue(visit, str(site.diary), 0.2))
        await asyncio.sleep(0.2)
    for job in jobs:
        await job.wait(30)
    return jobs


def conclude(
    site: Site, results: list[str], cut_off_at: float, back_at: float, later: list[Job]
) -> int:
    """Print what happened, and return whether it was right."""
    starts: dict[str, list[Entry]] = defaultdict(list)
    for one in site.entries("start"):
        starts[one.job_id].append(one)
    moved = {job_id: own for job_id, own in starts.items() if len(own) > 1}
    cuts = [one for one in site.entries("cut") if one.host == "b"]
    ends = [one.job_id for one in site.entries("end")]
    again_at = min(one.at for one in site.entries("start") if one.host == "b" and one.at > back_at)
    for job_id, own in moved.items():
        cut = next((one.at for one in cuts if one.job_id == job_id), None)
        said = "never" if cut is None else f"{cut - cut_off_at:.1f} s"
        print(
            f"  job {job_id[:8]}: cancelled on b after {said}, begun on {own[1].host} after {own[1].at - cut_off_at:.1f} s"
        )
    print(f"host b began its next job {again_at - back_at:.1f} s after it was back")
    overlaps = [
        job_id
        for job_id, own in moved.items()
        if not any(one.job_id == job_id and one.at < own[1].at for one in cuts)
    ]
    wrong = [one for one in results if one not in ("a", "b")]
    twice = len(ends) - len(set(ends))
    print(
        f"{len(results) + len(later)} jobs, {len(moved)} taken over, {twice} finished twice,"
        f" {len(overlaps)} ran in two places at once, {len(wrong)} wrong results"
    )
    return int(bool(overlaps or wrong or twice or not moved))


# -- hosts ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A line of the diary."""

    what: str
    job_id: str
    host: str
    at: float


@dataclass
class Site:
    """Redis in the middle, a host at each end of a cable."""

    folder: Path
    middle: str

    @property
    def url(self) -> str:
        """How this process reaches Redis: it is in none of the networks, but shares the file system."""
        return f"unix://{self.folder / 'redis.sock'}"

    @property
    def diary(self) -> Path:
        """The file in which jobs note down where they are."""
        return self.folder / "diary"

    def entries(self, what: str) -> list[Entry]:
        """Return the lines of one kind."""
        lines = self.diary.read_text().splitlines() if self.diary.exists() else []
        found = [line.split() for line in lines]
        return [Entry(one[0], one[1], one[2], float(one[3])) for one in found if one[0] == what]

    def hosts_at_work(self) -> set[str]:
        """Return the hosts that have begun a job."""
        return {one.host for one in self.entries("start")}

    def open_on(self, host: str) -> list[str]:
        """Return the jobs that run on a host."""
        ended = {one.job_id for one in [*self.entries("end"), *self.entries("cut")]}
        return [
            one.job_id
            for one in self.entries("start")
            if one.host == host and one.job_id not in ended
        ]

    def pull(self, host: str) -> None:
        """Pull the cable of a host."""
        _ip("-n", self.middle, "link", "set", f"to-{host}", "down")

    def plug(self, host: str) -> None:
        """Plug it in again."""
        _ip("-n", self.middle, "link", "set", f"to-{host}", "up")


@contextmanager
def _site(folder: Path) -> Iterator[Site]:
    for program in ("ip", "redis-server"):
        if shutil.which(program) is None:
            raise NotPermitted(f"{program} is not installed")
    middle = f"aiorq2-{os.getpid()}"
    with ExitStack() as stack:
        _make_host(stack, middle)
        site = Site(folder, middle)
        server = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]  # noqa: S104  # in there
        server += [
            "--unixsocket",
            str(folder / "redis.sock"),
            "--logfile",
            str(folder / "redis.log"),
        ]
        stack.enter_context(_running(middle, server, folder))
        for number, host in enumerate("ab", 1):
            _make_host(stack, f"{middle}-{host}")
            _join(middle, f"{middle}-{host}", host, f"{NET}.{number}")
            url = f"redis://{NET}.{number}.1:6379/0"
            worker = [
                sys.executable,
                "-m",
                "aiorq2",
                "worker",
                "--url",
                url,
                "--lease",
                str(LEASE_S),
            ]
            worker += ["--concurrency", str(2 * JOBS), "--name", f"host-{host}", QUEUE]
            stack.enter_context(_running(f"{middle}-{host}", worker, folder, AIORQ2_HOST=host))
        yield site


def _make_host(stack: ExitStack, name: str) -> None:
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "del", name)
    _ip("-n", name, "link", "set", "lo", "up")


def _join(middle: str, host: str, letter: str, net: str) -> None:
    """Lay a cable between the middle and a host."""
    _ip(
        "-n",
        middle,
        "link",
        "add",
        f"to-{letter}",
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        host,
    )
    _ip("-n", middle, "addr", "add", f"{net}.1/24", "dev", f"to-{letter}")
    _ip("-n", host, "addr", "add", f"{net}.2/24", "dev", "eth0")
    _ip("-n", middle, "link", "set", f"to-{letter}", "up")
    _ip("-n", host, "link", "set", "eth0", "up")


@contextmanager
def _running(host: str, command: list[str], folder: Path, **environment: str) -> Iterator[None]:
    path = os.pathsep.join(
        filter(None, [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")])
    )
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            ["ip", "netns", "exec", host, *command],
            env={**os.environ, "PYTHONPATH": path, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise NotPermitted(
            f"ip {' '.join(arguments[:2])}: {done.stderr.strip() or done.stdout.strip()}"
        )


async def _both_listen(backend: RedisBackend) -> bool:
    return await Worker.count(backend) == 2


async def _until(
    predicate: Callable[[], Awaitable[bool]], what: str, timeout: float = 60.0
) -> None:
    deadline = time.monotonic() + timeout
    while not await predicate():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {timeout:.0f} s: {what}")
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
