"""``python -m peers NAME ACTION URL …``: the part of a measurement that runs in the peer's own environment.

- ``many TASK N FILE``: enqueue, and write the ids into the file; ``results FILE``: write the results of these jobs in their place.
- ``one N``, ``bulk N``, ``together N CALLERS``: enqueue no-ops one at a time, in bulk or by so many callers at once; print what
  that took.
- ``pace N RATE``: enqueue so many a second, and wait for each; print when.
- ``at FILE IN SPREAD N``: enqueue no-ops that are due in so many seconds, or spread over so many from then on; print when.
- ``work SETUP``: be a worker; ``fleet N``: so many, in forked processes.

What is printed is JSON. Whatever is timed begins when a line comes on the standard input.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import Peer, Producer, Setup, chunks, run

WARM_UP = 100
"""How many jobs are enqueued before the clock starts: connections are open then, scripts loaded and caches filled."""
SLICE = 20_000
"""How many jobs are enqueued in one call at the most: what a producer holds in memory."""


def main(name: str, action: str, url: str, *rest: str) -> None:
    """Do one thing and say what came of it."""
    peer: Peer = importlib.import_module(f".{name}", __package__)  # type: ignore[assignment]
    match action, *rest:
        case "work", setup:
            peer.work(url, Setup(**json.loads(setup)))
        case "fleet", number:
            _fleet(peer, url, int(number))
        case "many", task, number, file:
            Path(file).write_text(json.dumps(run(_many(peer, url, task, int(number)))))
        case "at", file, due_in, spread, number:
            ids, due = run(_at(peer, url, float(due_in), float(spread), int(number)))
            Path(file).write_text(json.dumps(ids))
            _report(due)
        case "one", number:
            _report(run(_timed(peer, url, int(number), _one_by_one)))
        case "bulk", number:
            _report(run(_timed(peer, url, int(number), _in_bulk)))
        case "together", number, callers:
            act = _in_tasks(int(callers)) if peer.IS_ASYNC else _in_threads(int(callers))
            _report(run(_timed(peer, url, int(number), act)))
        case "pace", number, rate:
            _report(run(_pace(peer, url, int(number), float(rate))))
        case "results", file:
            ids = json.loads(Path(file).read_text())
            Path(file).write_text(json.dumps(run(peer.results(url, ids))))
        case _:
            raise SystemExit(__doc__)


async def _many(peer: Peer, url: str, task: Any, number: int) -> list[str]:
    ids: list[str] = []
    async with peer.producer(url) as producer:
        for numbers in chunks(range(number), SLICE):
            ids += await producer.many(task, numbers)
    return ids


async def _at(
    peer: Peer, url: str, due_in: float, spread: float, number: int
) -> tuple[list[str], dict[str, float]]:
    """Return the ids, when the first is due (on the monotonic clock), and how long it took to enqueue them."""
    async with peer.producer(url) as producer:
        assert producer.at is not None
        _wait_for_go()
        due, begun = time.time() + due_in, time.monotonic()
        ids = await producer.at(range(number), [due + spread * i / number for i in range(number)])
        return ids, {"due": begun + due_in, "took": time.monotonic() - begun}


# -- what enqueueing takes ----------------------------------------------------------------------------------------------------

Enqueue = Callable[[Producer, range], Awaitable[object]]


async def _timed(peer: Peer, url: str, number: int, enqueue: Enqueue) -> dict[str, float]:
    async with peer.producer(url) as producer:
        await enqueue(producer, range(WARM_UP))
        _wait_for_go()
        cpu, started_at = _cpu_s(), time.perf_counter()
        await enqueue(producer, range(WARM_UP, WARM_UP + number))
        return {"seconds": time.perf_counter() - started_at, "cpu_s": _cpu_s() - cpu}


async def _one_by_one(producer: Producer, numbers: range) -> None:
    for number in numbers:
        await producer.one("noop", number)


async def _in_bulk(producer: Producer, numbers: range) -> None:
    await producer.many("noop", numbers)


def _in_tasks(callers: int) -> Enqueue:
    async def enqueue(producer: Producer, numbers: range) -> None:
        await asyncio.gather(*[_one_by_one(producer, numbers[i::callers]) for i in range(callers)])

    return enqueue


def _in_threads(callers: int) -> Enqueue:
    async def enqueue(producer: Producer, numbers: range) -> None:
        with ThreadPoolExecutor(callers) as pool:
            parts = [_one_by_one(producer, numbers[i::callers]) for i in range(callers)]
            for _ in pool.map(_finish, parts):
                pass

    return enqueue


def _finish(blocking: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine that never suspends, since all that it calls blocks."""
    try:
        blocking.send(None)
    except StopIteration:
        return
    raise AssertionError("this peer's producer awaits something")


# -- how long a job takes -----------------------------------------------------------------------------------------------------


async def _pace(peer: Peer, url: str, number: int, rate: float) -> dict[str, list[float]]:
    """Return when each job was sent and when its result was known, on the monotonic clock."""
    sent, known = [0.0] * number, [0.0] * number

    async def hear(i: int, handle: Any) -> None:
        result = await producer.wait(handle)
        known[i] = time.monotonic()
        if result != i:
            raise SystemExit(f"job {i} returned {result!r}")

    async with peer.producer(url) as producer:
        _wait_for_go()
        begun, hearing = time.monotonic(), []
        for i in range(number):
            await asyncio.sleep(begun + i / rate - time.monotonic())
            sent[i] = time.monotonic()
            hearing.append(asyncio.create_task(hear(i, await producer.one("noop", i))))
        await asyncio.gather(*hearing)
    return {"sent": sent, "known": known}


# -- many workers -------------------------------------------------------------------------------------------------------------


def _fleet(peer: Peer, url: str, number: int) -> None:
    """Fork workers, each with one slot, once the library is imported: they share the memory of its code."""
    importlib.import_module(peer.LIBRARY)
    for _ in range(number):
        if not os.fork():
            peer.work(url, Setup("noop", 1))
            os._exit(0)
    signal.pause()  # until the process group is killed


# -- steps --------------------------------------------------------------------------------------------------------------------


def _wait_for_go() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _report(figures: object) -> None:
    print(json.dumps(figures))


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(*sys.argv[1:])
