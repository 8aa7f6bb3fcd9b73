"""A server that loses data, holds other people's, or wants to throw some away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aiorq2 import NoSuchJobError, Queue, Repeat, Retry, Worker, connect
from tests.faults import functions, settings
from tests.faults.checker import SECRET
from tests.faults.figures import Report
from tests.faults.site import Site, exit_status, open_gate
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("how", ["flushed", "restarted without persistence"])
async def test_what_redis_has_lost_is_forgotten(tmp_path: Path, how: str) -> None:
    """Of jobs that are gone everybody says that there are none; what runs of them ends and changes nothing; workers go on."""
    with RedisServer(requirepass=SECRET) as server, ChaosProxy(server.url) as proxy:
        site = Site(server, proxy, tmp_path)
        try:
            worker = await site.worker(lease=4)
            held = await site.queue.enqueue(functions.hold, site.ledger, site.gate())
            await site.started(held)
            late = await site.queue.enqueue_in(60, functions.work, site.ledger, 1)
            waiting = asyncio.create_task(held.wait(30))
            await asyncio.sleep(0.1)

            if how == "flushed":
                server.command("FLUSHALL")
            else:
                server.kill()
                await asyncio.to_thread(server.restart)

            for job in (held, late):
                with pytest.raises(NoSuchJobError):
                    await job.refresh()
            with pytest.raises(NoSuchJobError):
                await waiting
            open_gate(site.gate())
            after = await site.queue.enqueue(functions.work, site.ledger, 21)
            assert await after.wait(20) == 42
            await eventually(lambda: site.runs_of(held)[0].how is not None, timeout=10)
            await eventually(lambda: _is_listed(site, worker.name), timeout=10)
            with pytest.raises(NoSuchJobError):
                await held.refresh()
            assert worker.is_running
        finally:
            await site.close()


async def _is_listed(site: Site, name: str | None) -> bool:
    return name in [one.name for one in await Worker.all(site.backend)]


async def test_server_that_drops_keys_is_refused_by_the_strict(site: Site) -> None:
    """One that evicts when it is full: a worker warns, or does not start if it was told to be strict."""
    site.server.config("maxmemory-policy", "allkeys-lru")

    strict = site.start_worker("--strict")
    status, _ = await exit_status(strict, 20)
    mild = await site.worker()

    assert status == 2
    assert "allkeys-lru" in strict.output()
    assert "Traceback" not in strict.output()
    assert "allkeys-lru" in mild.output()


async def test_jobs_whose_data_was_dropped_do_not_stop_the_others(site: Site) -> None:
    """Their ids are passed over; what a running one returns is refused."""
    await site.worker("--concurrency", "1", lease=4)
    held = await site.queue.enqueue(functions.hold, site.ledger, site.gate())
    await site.started(held)
    jobs = [await site.queue.enqueue(functions.work, site.ledger, number) for number in range(20)]
    keys = site.backend.keys

    for job in (held, *jobs[::2]):
        site.server.command("DEL", keys.job(job.id))
    open_gate(site.gate())

    assert [await job.wait(20) for job in jobs[1::2]] == [2 * n for n in range(1, 20, 2)]
    assert len(site.runs()) == 1 + 10
    await eventually(lambda: site.server.command("ZCARD", keys.wip("q")) == 0, timeout=10)
    assert site.server.command("LLEN", keys.queue("q")) == 0
    assert not site.server.command("EXISTS", keys.job(held.id))


async def test_only_what_is_ours_is_touched(site: Site, report: Report) -> None:
    """Every command of a worker and a producer stays in its database and under its prefix; none of them looks through all keys, so
    a server full of strangers costs nothing."""
    strangers = settings.size(20_000, 1_000_000)
    with site.server.client() as client:
        client.eval(
            "for i = 1, ARGV[1] do redis.call('SET', 'stranger:' .. i, 'x') end", 0, str(strangers)
        )
    env = {"RQ_KEY_PREFIX": "ours"}
    backend = connect(site.server.url, key_prefix="ours")
    queue = Queue("q", backend)

    with _listening_in(site.server) as seen:
        await site.worker(env=env)
        first = await queue.enqueue(functions.work, site.ledger, 1)
        jobs = [
            first,
            await queue.enqueue(functions.work, site.ledger, 2, depends_on=first),
            await queue.enqueue(functions.work_sync, site.ledger, 3, repeat=Repeat(1)),
            await queue.enqueue_in(0.2, functions.work, site.ledger, 4),
            await queue.enqueue(
                functions.work, site.ledger, 5, retries=1, failures=1, retry=Retry(1, interval=0.1)
            ),
        ]
        began = time.monotonic()
        assert [await job.wait(20) for job in jobs] == [2, 4, 6, 8, 10]
        took = time.monotonic() - began
    await backend.close()

    report(
        f"{len(seen)} commands seen beside {strangers} strange keys; five jobs took {took:.2f} s"
    )
    assert {command["db"] for command in seen} == {0}
    wrong = [command["command"] for command in seen if not _is_ours(command)]
    assert wrong == []
    assert len(seen) > 100


NO_KEY = {
    "AUTH", "HELLO", "CLIENT", "SELECT", "PING", "INFO", "SCRIPT", "TIME", "PUBLISH", "SUBSCRIBE",
    "UNSUBSCRIBE", "MULTI", "EXEC",
}  # fmt: skip


def _is_ours(command: dict[str, Any]) -> bool:
    words = command["command"].split(" ")
    name = words[0].upper()
    if name in ("EVALSHA", "EVAL"):
        return bool(words[3] == "ours")
    return name in NO_KEY or words[1].startswith("ours:")


@contextmanager
def _listening_in(server: RedisServer) -> Iterator[list[dict[str, Any]]]:
    """Write down every command that the server carries out, those in scripts too."""
    seen: list[dict[str, Any]] = []
    ready = threading.Event()

    def listen() -> None:
        with server.client(timeout=None) as client, client.monitor() as monitor:
            ready.set()
            for command in monitor.listen():
                if command["command"].startswith("ECHO end-of-"):
                    return
                seen.append(command)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield seen
    finally:
        server.command("ECHO", "end-of-listening")
        thread.join(10)


async def test_crash_in_the_middle_of_scripts_leaves_whole_ones(site: Site) -> None:
    """Redis is killed while it carries out large enqueues, again and again: what its file has is whole jobs, each in its queue."""
    crashes = settings.size(3, 10)
    data = Queue.prepare_data(functions.work, (site.ledger, 1))
    enqueued = 0

    for _ in range(crashes):
        adding = asyncio.create_task(site.queue.enqueue_many([data] * 400))
        await asyncio.sleep(0.02)
        site.server.kill()
        await asyncio.to_thread(site.server.restart)
        await adding
        enqueued += 400
        with site.server.client() as client:
            found: Any = client.lrange(site.backend.keys.queue("q"), 0, -1)
            assert len(set(found)) == len(found) == enqueued
            with client.pipeline(transaction=False) as pipeline:
                for job_id in found:
                    pipeline.hget(site.backend.keys.job(job_id.decode()), "status")
                assert pipeline.execute() == [b"queued"] * enqueued


def test_monitor_of_the_test_sees_what_it_should() -> None:
    """A command of somebody else's would be found."""
    assert _is_ours({"command": "EVALSHA abc 1 ours x"})
    assert _is_ours({"command": "HSET ours:job:x a b"})
    assert not _is_ours({"command": "HSET rq:job:x a b"})
    assert not _is_ours({"command": "EVALSHA abc 1 rq x"})
    assert not _is_ours({"command": "KEYS *"})
    assert not _is_ours({"command": "SCAN 0"})
