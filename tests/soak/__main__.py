"""``python -m tests.soak [--minutes 30] [--rate 500]``: soak, write samples down, draw them; the exit status is the verdict."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiorq2 import Scheduler, connect
from tests.soak import jobs, verdict
from tests.soak.fleet import QUEUES, Fleet, looked_at
from tests.soak.load import TTL_S, Load
from tests.soak.tally import Tally
from tests.soak.verdict import Sample, Soak
from tests.support.keys import leaks
from tests.support.redis_server import RedisServer

SWEPT_S = 100.0
"""In so many seconds every worker sweeps at least once."""
GONE_S = 180.0
"""In so many seconds a worker that has left is forgotten."""


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201  a program of its own


class Run:
    """One soak: the load, the workers, and somebody who looks at them every ``sample_s`` seconds."""

    def __init__(self, options: argparse.Namespace, server: RedisServer) -> None:
        self.options = options
        self.server = server
        self.seconds = options.minutes * 60
        self.out: Path = options.out
        self.sample_s = max(1.0, min(10.0, self.seconds / 60))
        self.ledger = self.out / "ledger"
        self.tally = Tally(int(self.seconds * options.rate))
        self.samples: list[Sample] = []
        self.backend = connect(server.url, retry_for=30)
        self.load = Load(self.backend, self.tally, str(self.ledger), options.rate, options.seed)

    async def soak(self) -> Soak:
        """Go through it and return what was seen."""
        options = self.options
        await Scheduler(QUEUES[0], backend=self.backend).cron(
            "* * * * * *", jobs.tick, [str(self.ledger)], name="secondly", catch_up="all", result_ttl=TTL_S,
        )  # fmt: skip
        fleet = Fleet(
            self.server, self.tally, steady=options.steady, churning=options.churning, churn_s=options.churn
        )  # fmt: skip
        await fleet.listens()
        self.began = time.monotonic()
        looking = asyncio.create_task(self._look_again_and_again(fleet))
        churning = asyncio.create_task(fleet.churn())
        await self.load.run(self.seconds)
        looking.cancel()
        churning.cancel()
        await asyncio.wait({looking, churning})
        await self.load.settled()
        left = await self._end(fleet)
        await self.backend.close()
        wrong = [*self.load.wrong[:20], *fleet.wrong]
        wrong += [
            f"the soak itself: {task.exception()!r}"
            for task in (looking, churning)
            if not task.cancelled() and task.exception()
        ]
        self.churned = (fleet.killed, fleet.stopped)
        return Soak(options.rate, self.samples, self.tally, left, wrong)

    async def _look_again_and_again(self, fleet: Fleet) -> None:
        with (self.out / "samples.jsonl").open("w") as file:
            while True:
                await asyncio.sleep(self.sample_s)
                sample = await asyncio.to_thread(self._look, fleet)
                self.samples.append(sample)
                file.write(json.dumps(asdict(sample)) + "\n")
                file.flush()
                if len(self.samples) % 6 == 0:
                    say(_line(sample))

    def _look(self, fleet: Fleet) -> Sample:
        self.tally.read(self.ledger)
        latencies, self.load.latencies_ms = sorted(self.load.latencies_ms), []
        with self.server.client() as client:
            memory: Any = client.info("memory")
            keys: Any = client.dbsize()
            queued: Any = client.llen(f"rq:queue:{QUEUES[0]}")
        return Sample(
            at=round(time.monotonic() - self.began, 1),
            enqueued=self.load.enqueued,
            keys=keys,
            redis_mb=round(memory["used_memory"] / 2**20, 2),
            queued=queued,
            p50_ms=_part(latencies, 0.5),
            p99_ms=_part(latencies, 0.99),
            workers=fleet.seen(),
            processes={"redis": looked_at(self.server.pid), "producer": looked_at(os.getpid())},
        )

    async def _end(self, fleet: Fleet) -> list[str]:
        """Wait until everything has ended, been forgotten and been swept; stop the workers; return what is left in Redis."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            await asyncio.to_thread(self.tally.read, self.ledger)
            if not await asyncio.to_thread(self.tally.unfinished):
                break
            await asyncio.sleep(1)
        await Scheduler(QUEUES[0], backend=self.backend).cancel("secondly")
        say("all has ended; waiting for what is kept to be forgotten and swept")
        await asyncio.sleep(TTL_S + SWEPT_S)
        await fleet.close()
        deadline = time.monotonic() + GONE_S
        while time.monotonic() < deadline and await asyncio.to_thread(self._is_forgetting):
            await asyncio.sleep(1)
        return await asyncio.to_thread(self._left)

    def _is_forgetting(self) -> bool:
        """Whether there are keys that are about to end."""
        with self.server.client() as client:
            names: Any = client.keys("*")
            return any(int(str(client.ttl(name))) >= 0 for name in names)

    def _left(self) -> list[str]:
        """Return what is in Redis though no job is: keys that may not stay, and entries in those that may."""
        with self.server.client() as client:
            found = leaks(client, "rq")
            names: Any = client.keys("*")
            for key in sorted(names):
                kind: Any = client.type(key)
                size = {"zset": client.zcard, "list": client.llen, "hash": client.hlen}.get(
                    kind.decode()
                )
                if size is not None and (count := size(key)):
                    found.append(f"{count} entries in {key.decode()}")
        return [one for one in found if "aio:wake" not in one and "cron-sources" not in one]


def _part(values: Sequence[float], part: float) -> float:
    return round(values[min(len(values) - 1, int(len(values) * part))], 2) if values else 0.0


def _line(sample: Sample) -> str:
    workers = ", ".join(f"{name} {one.rss_mb:.1f} MB" for name, one in sample.workers.items())
    return (
        f"{sample.at:6.0f} s: {sample.enqueued} enqueued, {sample.queued} queued, {sample.keys} keys,"
        f" Redis {sample.redis_mb:.1f} MB, latency {sample.p50_ms:.1f}/{sample.p99_ms:.1f} ms (p50/p99); {workers}"
    )


def summary(run: Run, soak: Soak, found: Sequence[str]) -> dict[str, Any]:
    """Return the figures of a soak."""
    samples, tally = soak.samples, soak.tally
    growths = {name: verdict.growth(samples, name) for name in verdict.steady_workers(samples)}
    return {
        "minutes": run.options.minutes,
        "rate demanded": soak.rate,
        "rate held": round(verdict.rate_held(samples), 1),
        "jobs": tally.planned,
        "runs": sum(tally.starts),
        "ticks": sum(tally.ticks.values()),
        "workers killed, stopped": run.churned,
        "runs repeated after a kill": tally.repeated(),
        "runs in flight at kills": tally.in_flight.total(),
        "lost": len(tally.unfinished()),
        "unexplained": len(tally.unexplained()),
        "RSS slope, MB per million jobs (MB in all)": {
            name: [round(one, 2) for one in growth] for name, growth in growths.items()
        },
        "keys, first and last third": verdict.thirds(samples, lambda one: one.keys),
        "Redis MB, first and last third": verdict.thirds(samples, lambda one: one.redis_mb),
        "p50 ms, first and last third": verdict.thirds(samples, lambda one: one.p50_ms),
        "p99 ms, first and last third": verdict.thirds(samples, lambda one: one.p99_ms),
        "left in Redis": list(soak.left),
        "violations": list(found),
    }


def _figure(figures: dict[str, Any]) -> dict[str, Any]:
    """Return what stands in the table of the faults' figures."""
    slopes = figures["RSS slope, MB per million jobs (MB in all)"].values()
    told = ", ".join(f"{per_million} ({in_all} MB in all)" for per_million, in_all in slopes)
    return {
        "name": "soak",
        "value": (
            f"{figures['minutes']:g} min, {figures['jobs']} jobs at {figures['rate held']:.0f}/s,"
            f" {sum(figures['workers killed, stopped'])} workers replaced: MB per million {told};"
            f" lost {figures['lost']}, unexplained runs {figures['unexplained']},"
            f" keys left {len(figures['left in Redis'])}"
        ),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=500.0, help="jobs a second")
    parser.add_argument("--steady", type=int, default=2, help="workers that stay")
    parser.add_argument("--churning", type=int, default=2, help="workers that are replaced")
    parser.add_argument("--churn", type=float, default=10.0, help="seconds between two of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/soak"))
    return parser.parse_args()


def main() -> int:
    """Soak; returns 1 if anything was not as it has to be."""
    options = _options()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "ledger").unlink(missing_ok=True)
    with RedisServer(appendonly="everysec") as server:
        run = Run(options, server)
        with suppress(KeyboardInterrupt):
            soak = asyncio.run(run.soak())
    found = verdict.violations(soak)
    figures = summary(run, soak, found)
    (options.out / "summary.json").write_text(json.dumps(figures, indent=2) + "\n")
    (options.out / "figures.jsonl").write_text(json.dumps(_figure(figures)) + "\n")
    for name, value in figures.items():
        say(f"{name}: {value}")
    from tests.soak.plots import draw

    say("drawn: " + ", ".join(str(path) for path in draw(soak.samples, options.out)))
    say("all is well" if not found else "NOT WELL:\n  " + "\n  ".join(found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
