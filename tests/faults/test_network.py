"""A network that is slow, torn or silent: nothing is lost, nothing is run twice, and what is dead is noticed."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from aiorq2 import JobStatus, Queue, Retry, connect
from aiorq2.errors import BackendUnavailable
from tests.faults import functions, settings
from tests.faults.checker import Evidence, Plan, violations
from tests.faults.figures import Report
from tests.faults.site import Site
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow

SLACK_S = 2.0
"""What a busy machine may add to a time."""

BAD: dict[str, Callable[[ChaosProxy], object]] = {
    "20 ms": lambda proxy: proxy.delay(0.015, jitter=0.01),
    "500 ms": lambda proxy: proxy.delay(0.5),
    "byte by byte": lambda proxy: proxy.chunk(1),
    "idle connections reset": lambda proxy: proxy.reset_idle_after(0.7),
    "2 % of the replies cut": lambda proxy: proxy.truncate_replies(0.02, seed=settings.FIRST_SEED),
}


@pytest.mark.parametrize(
    "how",
    [pytest.param(how, marks=() if how == "500 ms" else pytest.mark.faults_all) for how in BAD],
)
async def test_network_that_is_bad_repeats_nothing(site: Site, how: str) -> None:
    """Two workers and a producer behind it: every job ends as planned, none is run more often than that."""
    for _ in range(2):
        await site.worker("--concurrency", "10", lease=4)
    BAD[how](site.proxy)
    dice = random.Random(settings.FIRST_SEED)
    plans: dict[str, Plan] = {}

    for number in range(60):
        function = functions.work if number % 2 else functions.work_sync
        seconds, retry = dice.uniform(0, 0.3), Retry(1) if number % 10 == 0 else None
        failures = int(retry is not None)
        job = await site.queue.enqueue(
            function, site.ledger, number, seconds, failures, failures, retry=retry
        )
        plans[job.id] = Plan(2 * number, raises=failures)
        await asyncio.sleep(dice.choice([0, 0, 0, 1.0 if "idle" in how else 0.02]))

    await eventually(lambda: _all_finished(site, plans), timeout=60, interval=0.2)
    site.proxy.heal()
    outcomes = await site.outcomes(plans)
    assert violations(Evidence(plans, site.runs(), outcomes)) == []
    assert len(site.runs()) == sum(plan.runs for plan in plans.values())


async def _all_finished(site: Site, plans: dict[str, Plan]) -> bool:
    statuses = [status for status, _, _ in (await site.outcomes(plans)).values()]
    return statuses == ["finished"] * len(plans)


@pytest.mark.faults_all
async def test_network_that_is_narrow_carries_large_jobs(site: Site) -> None:
    """64 KB a second and jobs of half a megabyte: they arrive, and the leases of those that run meanwhile hold."""
    worker = await site.worker("--concurrency", "3", lease=5)
    long = await site.queue.enqueue(functions.work, site.ledger, 21, 20.0)
    await site.started(long)
    site.proxy.throttle(64 * 1024)
    data = [
        Queue.prepare_data(functions.weigh, (site.ledger, noise(500_000)), {}) for _ in range(2)
    ]
    large = await site.enqueue_directly("q", data)

    waited = [await job.wait(70) for job in [long, *large]]
    assert waited == [42, 500_000, 500_000]
    assert [run.how for run in site.runs()] == ["end"] * 3
    assert worker.is_running


def noise(size: int) -> str:
    """Return text that cannot be compressed by much."""
    return random.Random(size).randbytes(size // 2).hex()


@pytest.mark.parametrize("lease", [5, pytest.param(15, marks=pytest.mark.faults_all)])
async def test_silent_connections_are_replaced_within_the_lease(
    site: Site, report: Report, lease: int
) -> None:
    """Every connection of an idle worker goes dead without a word: the one that it sleeps on, the one that it listens on,
    the one that
    it works on. New ones work."""
    await site.worker(lease=lease)
    await eventually(lambda: _sleeps(site) == 1, timeout=10)

    site.proxy.stall_present()
    dead_at = time.monotonic()
    job = await site.queue.enqueue(functions.hold, site.ledger, site.gate())
    (run,) = await site.started(job, timeout=3 * lease)
    works = run.started_at - dead_at
    await eventually(lambda: _sleeps(site) == 2, timeout=3 * lease, interval=0.05)
    sleeps = time.monotonic() - dead_at
    await eventually(lambda: _listeners(site) == 2, timeout=3 * lease, interval=0.05)
    listens = time.monotonic() - dead_at

    report(
        f"lease {lease} s: silence noticed after {works:.1f} s (working), {sleeps:.1f} s (sleeping), {listens:.1f} s (listening)"
    )
    report.figure("silent", round(max(works, sleeps, listens) / lease, 2), lease=lease)
    assert max(works, sleeps, listens) < lease + SLACK_S
    await job.cancel()
    await site.has_status(job, JobStatus.STOPPED)


def _sleeps(site: Site) -> int:
    clients = site.server.command("CLIENT", "LIST")
    return int(clients.count(b"cmd=bzpopmin"))


def _listeners(site: Site) -> int:
    channel = site.backend.keys.commands("w1")
    return int(site.server.command("PUBSUB", "NUMSUB", channel)[1])


async def test_calls_that_are_cancelled_disturb_no_other(
    server: RedisServer, report: Report
) -> None:
    """Calls are given up at random moments on a slow line: no answer ever belongs to another call."""
    dice = random.Random(settings.FIRST_SEED)
    calls, given_up = settings.size(400, 5000), 0
    wrong: list[tuple[int, bytes]] = []

    async def ask(number: int) -> None:
        nonlocal given_up
        try:
            async with asyncio.timeout(dice.uniform(0, 0.2)):
                (echo,) = await backend.run(["ECHO", f"{number}"])
        except TimeoutError:
            given_up += 1
        else:
            if echo != str(number).encode():
                wrong.append((number, echo))

    with ChaosProxy(server.url) as proxy:
        proxy.delay(0.05)
        backend = connect(proxy.url)
        for start in range(0, calls, 20):
            await asyncio.gather(*[ask(start + number) for number in range(20)])
        await backend.close()
    report(f"{calls} calls, {given_up} given up, {len(wrong)} wrong answers")
    assert wrong == []
    assert 0 < given_up < calls


async def test_name_that_leads_nowhere_at_first(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the server cannot be resolved for a while, and then to a dead address before the living one."""
    loop = asyncio.get_running_loop()
    asked = 0

    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, ("127.0.0.1", 1)), (*kind, ("127.0.0.1", port))]

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    backend = connect(server.url.replace("127.0.0.1", "redis.example"), retry_for=20)

    assert await backend.run(["ECHO", "there"]) == [b"there"]
    assert asked == 3
    await backend.close()


async def test_name_that_leads_nowhere_is_an_error_in_time() -> None:
    """It names the server, and comes when the time is over."""
    backend = connect("redis://no-such-host.invalid:6379", retry_for=0.3)

    with pytest.raises(BackendUnavailable, match=r"no-such-host\.invalid"):
        await backend.run(["PING"])

    await backend.close()
