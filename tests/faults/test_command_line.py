"""The command line in odd surroundings: interrupted at every phase, without a terminal, in another locale, with arguments that are
no text, with a broken pipe. It ends with its status and a sentence, and never with a traceback."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from tests.faults import functions, settings
from tests.faults.checker import SECRET
from tests.faults.site import Site, exit_status
from tests.support.eventually import eventually
from tests.support.processes import ROOT, PythonProcess

pytestmark = pytest.mark.slow

CANARY = "c4nary-4rgument"


def run(*args: str | bytes, url: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``aiorq2 <args>`` without a terminal; arguments may be any bytes."""
    return subprocess.run(
        [sys.executable, "-m", "aiorq2", *args],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "AIORQ2_URL": url, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return what a command has said, and see that it said nothing unseemly."""
    text = (done.stdout + done.stderr).decode(errors="replace")
    assert "Traceback" not in text, text
    assert SECRET not in text
    return text


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (["info"], 0),
        (["enqueue", "tests.faults.functions.compute", b"\xff\xfe"], (0, 2)),
        (["enqueue", b"\xff.\xfe"], 2),
        (["enqueue", "--queue", b"\xff", "tests.faults.functions.compute"], 2),
        (["worker", "--burst", b"q\xff"], 2),
        (["worker", "--burst", "--name", b"\xff"], 2),
        (["cancel", b"\xff"], (1, 2)),
        (["requeue", b"\xff"], (1, 2)),
        (["empty", "q"], 2),
        (["cron", "list"], 0),
        (["worker", "--burst", "q"], 0),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "locale",
    [
        "C",
        *[
            pytest.param(one, marks=pytest.mark.faults_all)
            for one in ("C.UTF-8", "de_DE.ISO-8859-1")
        ],
    ],
)
async def test_command_in_any_locale(
    site: Site, args: list[str | bytes], status: int | tuple[int, ...], locale: str
) -> None:
    """Also where arguments are no UTF-8; a name that is none is a usage error."""
    done = await asyncio.to_thread(run, *args, url=site.server.url, LC_ALL=locale)

    expected = status if isinstance(status, tuple) else (status,)
    assert done.returncode in expected, said(done)
    assert said(done) or done.returncode == 0


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:99999", "redis://127.0.0.1:0", "gopher://x", "redis://h/db", " "]
)
async def test_address_that_cannot_be_is_a_usage_error(url: str) -> None:
    """Of every command, at once."""
    every = [["info"], ["worker", "--burst"], ["enqueue", "a.b"], ["scheduler"]]
    for args in settings.size(every[1:2], every):
        done = await asyncio.to_thread(run, *args, url=url)

        assert done.returncode == 2, said(done)
        assert said(done)


async def test_empty_variable_is_none(site: Site) -> None:
    """``AIORQ2_URL=""`` means that nothing was said: the next one counts."""
    done = await asyncio.to_thread(run, "info", "--json", url="", REDIS_URL=site.server.url)

    assert done.returncode == 0, said(done)


async def test_broken_pipe_is_no_error(site: Site) -> None:
    """Whoever reads only the first line gets it."""
    for number in range(200):
        await site.queue.named(f"queue-{number}").enqueue(functions.compute, 1)
    command = f"{sys.executable} -m aiorq2 info | head -1"

    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-c", command],
        env={**os.environ, "AIORQ2_URL": site.server.url, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
    )

    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


@pytest.mark.parametrize("phase", ["starting", "away", "idle", "busy", "claiming"])
async def test_interrupt_at_every_phase(site: Site, phase: str) -> None:
    """Ctrl-C ends a worker in good order, whatever it is at."""
    if phase == "away":
        site.server.kill()
    if phase == "claiming":
        site.proxy.delay(0.3)
        for number in range(20):
            await site.queue.enqueue(functions.compute, number)
    claimed = site.proxy.on_request(site.claims, 1, lambda: None)
    worker = site.start_worker("--grace", "1", "--concurrency", "2")
    match phase:
        case "starting":
            await asyncio.sleep(0.4)
        case "away":
            await eventually(lambda: "cannot be reached" in worker.output(), timeout=30)
        case "claiming":
            await eventually(claimed.is_set, timeout=30)
        case _:
            await eventually(lambda: "listening on" in worker.output(), timeout=30)
    if phase == "busy":
        await site.started(await site.queue.enqueue(functions.hold, site.ledger, site.gate()))

    worker.send_signal(signal.SIGINT)

    status, _ = await exit_status(worker, 30)
    # Before Python has got as far as our handlers, it is Python that ends.
    assert status in ((0, 1, 130, -signal.SIGINT) if phase == "starting" else (0,))
    if phase != "starting":
        assert "Traceback" not in worker.output()


async def test_two_schedulers_and_info_beside_them(site: Site) -> None:
    """Two of them on the same queues are no error, and both end at the first signal."""
    both = [
        PythonProcess(["-m", "aiorq2", "scheduler"], env={"AIORQ2_URL": site.server.url})
        for _ in range(2)
    ]
    await eventually(lambda: all("scheduling for" in one.output() for one in both), timeout=30)
    assert [one.is_running for one in both] == [True, True]

    for one in both:
        one.terminate()

    assert [await asyncio.to_thread(one.wait, 20) for one in both] == [0, 0]
    assert all("Traceback" not in one.output() for one in both)
    for one in both:
        one.close()


async def test_arguments_are_in_no_log(site: Site) -> None:
    """What a job was given and what it returned stand in no line of a worker, at any level but ``debug``."""
    worker = await site.worker("--log-level", "info")
    jobs = [
        await site.queue.enqueue(functions.weigh, site.ledger, CANARY),
        await site.queue.enqueue(functions.compute, value=CANARY),
        await site.queue.enqueue(functions.weigh, site.ledger, "x", CANARY),  # one too many
        await site.queue.enqueue(f"tests.no_such.{'x'}", CANARY),
    ]

    await eventually(lambda: _have_ended(site, [job.id for job in jobs]), timeout=30)

    assert all(job.id in worker.output() for job in jobs)
    assert CANARY not in worker.output()


async def _have_ended(site: Site, ids: list[str]) -> bool:
    return {one[0] for one in (await site.outcomes(ids)).values()} <= {"finished", "failed"}
