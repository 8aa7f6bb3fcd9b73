"""``python -m peers NAME ACTION URL …``: the part of a measurement that runs in the peer's own environment.

``many N FILE``: enqueue, and write the ids into the file · ``one N``: enqueue one at a time, and print what that took ·
``work CONCURRENCY`` · ``results FILE``: write the results of the jobs whose ids are in the file in their place. All in JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import resource
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from peers import Peer

WARM_UP = 100
"""How many jobs are enqueued before the clock starts: connections are open then, scripts loaded and caches filled."""


def main(name: str, action: str, url: str, *rest: str) -> None:
    """Do one thing and say what came of it."""
    peer: Peer = importlib.import_module(f"peers.{name}")  # type: ignore[assignment]
    match action, *rest:
        case "work", concurrency:
            peer.work(url, int(concurrency))
        case "many", number, file:
            Path(file).write_text(json.dumps(_run(_many(peer, url, int(number)))))
        case "one", number:
            print(json.dumps(_run(_one_by_one(peer, url, int(number)))))
        case "results", file:
            ids = json.loads(Path(file).read_text())
            Path(file).write_text(json.dumps(_run(peer.results(url, ids))))
        case _:
            raise SystemExit(__doc__)


async def _many(peer: Peer, url: str, number: int) -> list[str]:
    async with peer.producer(url) as producer:
        return await producer.many(range(number))


async def _one_by_one(peer: Peer, url: str, number: int) -> dict[str, float]:
    async with peer.producer(url) as producer:
        for i in range(WARM_UP):
            await producer.one(i)
        print("ready", flush=True)
        sys.stdin.readline()
        cpu, started_at = _cpu_s(), time.perf_counter()
        for i in range(WARM_UP, WARM_UP + number):
            await producer.one(i)
        return {"seconds": time.perf_counter() - started_at, "cpu_s": _cpu_s() - cpu}


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run on uvloop where it is installed, as the peers' workers do."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
