"""Kill a worker at any of the calls to Redis that it makes as it goes through all that workers do, and have another one go on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from aiorq2 import Job, Queue, RateLimit, Repeat, Retry, Scheduler, Worker, connect
from aiorq2.backends import scripts
from aiorq2.backends.base import ClaimRequest, Seat
from aiorq2.errors import AiorqError
from tests.faults import functions, ledger
from tests.faults.checker import Evidence, Plan
from tests.faults.ledger import Run
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually
from tests.support.processes import WorkerProcess
from tests.support.redis_server import RedisServer

LEASE_S = 3.0
"""Two cores with two tests at work have kept a heartbeat waiting for a second: leases were lost without a kill."""
GRACE_S = 0.3
CHILDREN = 105
"""More than one script frees."""
TICKS = 2
LINGER_S = 5.0
"""How long a life goes on when its work is done and its point is still to come: what a worker does every moment, it does when idle
too, and the life that was watched may have taken longer and seen more of it."""
TERMINAL = ("finished", "failed", "stopped", "canceled")

SETTLING = {"claim", "finish", "finish_many", "fail", "retry", "stop", "give_back"}
"""What travels together on purpose; calls that share a pipeline by chance are looked at one by one."""


def kinds_of(commands: Sequence[bytes]) -> set[str]:
    """Return what a chunk is a call of: scripts and commands by name."""
    names = {_name(command) for command in commands}
    return {"+".join(sorted(names))} if names & SETTLING else names


def _name(command: bytes) -> str:
    words = command.split(b" ", 2)
    if words[0] == b"EVALSHA":
        return _scripts()[words[1]]
    name = words[0].decode(errors="replace").upper()
    return f"{name} {words[1].decode().upper()}" if name in ("SCRIPT", "CLIENT") else name


@cache
def _scripts() -> dict[bytes, str]:
    return {scripts.load(name).sha.encode(): name for name in scripts.all_names()}


@dataclass(frozen=True)
class Point:
    """A moment in the life of a worker: its n-th call of a kind, before Redis sees it or after Redis has carried it out."""

    kind: str
    n: int
    is_sent: bool

    def __str__(self) -> str:
        return f"{'after' if self.is_sent else 'before'} {self.kind} #{self.n}"


def points_of(recorded: Sequence[Sequence[bytes]]) -> list[Point]:
    """Return the points at which a worker can be killed: at each kind of call, the first time and later on."""
    points = []
    counts = Counter(kind for commands in recorded for kind in kinds_of(commands))
    for kind, count in counts.items():
        for n in sorted({1, (count + 1) // 2}):
            points += [Point(kind, n, is_sent) for is_sent in (False, True)]
    return points


class Life:
    """One life of a worker on work of every kind, under a key prefix of its own, and what another one makes of what it leaves."""

    def __init__(self, server: RedisServer, folder: Path, name: str) -> None:
        folder.mkdir()
        self._server = server
        self._prefix = f"life-{name}"
        self._folder = folder
        self._ledger = str(folder / "ledger")
        self._backend = connect(server.url, key_prefix=self._prefix, retry_for=20)
        self._queue = Queue("q", self._backend)
        self._plans: dict[str, Plan] = {}
        self._deaths: dict[str, float] = {}
        self._in_flight: Counter[str] = Counter()
        self.recorded: list[Sequence[bytes]] = []
        self.was_reached = False

    async def go_through(self, point: Point | None) -> Evidence:
        """Do the work, be killed at the point (or not at all), have it finished by another worker, and return what was seen."""
        await self._enqueue()
        stopping = asyncio.create_task(self._stop_what_is_to_be_stopped())
        try:
            await self._live(point)
            self._gate.touch()
            async with self._heir():
                with suppress(AssertionError):  # what is left over is found by the checker
                    await eventually(self._is_over, timeout=25, interval=0.05)
        finally:
            stopping.cancel()
            await asyncio.wait({stopping})
        evidence = await self._evidence()
        await self._backend.close()
        return evidence

    # -- the work --------------------------------------------------------------------------------------------------------

    @property
    def _gate(self) -> Path:
        return self._folder / "gate"

    async def _enqueue(self) -> None:
        queue, path = self._queue, self._ledger
        work, work_sync = functions.work, functions.work_sync
        await self._orphan()
        await self._plan(queue.enqueue(work, path, 1), Plan(2))
        await self._plan(queue.enqueue(work_sync, path, 2), Plan(4))
        await self._plan(queue.enqueue(work_sync, path, 3, offload="process"), Plan(6))
        retried = partial(queue.enqueue, work, path, 4, retries=2, failures=2)
        await self._plan(retried(retry=Retry(2, interval=[0, 0.3])), Plan(8, raises=2))
        await self._plan(queue.enqueue(work_sync, path, 5, failures=1), Plan(raises=1, fails=True))
        await self._plan(
            queue.enqueue(work, path, 6, result_ttl=60, repeat=Repeat(1)), Plan(12, repeats=1)
        )
        await self._plan(
            queue.enqueue_in(0.4, work, path, 7), Plan(14, due_at=time.monotonic() + 0.4)
        )
        for value in (8, 9):
            job = queue.enqueue(work, path, value, 0.05, rate_limit=RateLimit("r", 1))
            await self._plan(job, Plan(2 * value))
        await self._plan(queue.enqueue(functions.remember, path, 10), Plan(20))
        parent = await self._plan(queue.enqueue(work, path, 11, 0.2), Plan(22))
        for value in range(CHILDREN):
            child = queue.enqueue(work, path, value, depends_on=parent)
            await self._plan(child, Plan(2 * value, after=(parent.id,)))
        never = str(self._folder / "never")
        self._stopped = await self._plan(
            queue.enqueue(functions.hold, path, never), Plan(is_stopped=True)
        )
        self._held = await self._plan(
            queue.enqueue(functions.hold, path, str(self._gate)), Plan("held")
        )
        await Scheduler("q", backend=self._backend).cron(
            "* * * * * *", work, args=(path, 12), id="tick", repeat=TICKS
        )  # fmt: skip

    async def _plan(self, job: Any, plan: Plan) -> Job:
        enqueued: Job = await job
        self._plans[enqueued.id] = plan
        return enqueued

    async def _orphan(self) -> None:
        """Leave a job behind whose worker has died, to be reaped."""
        await self._plan(self._queue.enqueue(functions.work, self._ledger, 0), Plan(0))
        request = ClaimRequest(1, ("q",))
        await self._backend.claim(Seat("ghost", "ghost", lease=0.2), request)

    async def _stop_what_is_to_be_stopped(self) -> None:
        await eventually(lambda: self._runs_of(self._stopped), timeout=40, interval=0.02)
        with suppress(AiorqError):
            await self._stopped.cancel()

    # -- the life --------------------------------------------------------------------------------------------------------

    async def _live(self, point: Point | None) -> None:
        with ChaosProxy(self._server.url) as proxy:
            self.recorded = proxy.record()
            proxy.drop_next_reply(scripts.load("claim").sha.encode())
            killed = None
            if point is not None:
                killed = proxy.on_request(
                    lambda commands: point.kind in kinds_of(commands),
                    point.n,
                    lambda: worker.kill(),
                    forward=point.is_sent,
                )
            options = ["--url", proxy.url, "--lease", str(LEASE_S), "--grace", str(GRACE_S)]
            options += ["--concurrency", "30", "--log-level", "warning", "q"]
            env = {"RQ_KEY_PREFIX": self._prefix}
            program = ("-m", "tests.faults.brisk")
            with WorkerProcess(options, name="dying", program=program, env=env) as worker:
                await eventually(lambda: self._has_lived(worker), timeout=30, interval=0.05)
                if killed is not None:
                    with suppress(AssertionError):
                        await eventually(lambda: not worker.is_running, timeout=LINGER_S)
                if worker.is_running:
                    self._in_flight[self._held.id] += 1  # it is given back
                    worker.terminate()
                    await asyncio.to_thread(worker.wait)
            self._deaths["dying"] = time.monotonic()
            self.was_reached = killed is None or killed.is_set()
            proxy.heal()
        key = self._backend.keys.worker_executions("dying")
        (held,) = await self._backend.run(["SMEMBERS", key])
        self._in_flight.update(member.decode().rpartition(":")[0] for member in held)

    async def _has_lived(self, worker: WorkerProcess) -> bool:
        """Whether it was killed, or all is done but the one job that is to be given back."""
        if not worker.is_running:
            return True
        return bool(self._runs_of(self._held)) and await self._is_over(but=self._held.id)

    @asynccontextmanager
    async def _heir(self) -> Any:
        heir = Worker(
            "q", self._backend, name="heir", lease=LEASE_S, concurrency=30, handle_signals=False
        )
        working = asyncio.create_task(heir.work())
        try:
            yield
        finally:
            heir.request_stop()
            await working

    # -- looking ---------------------------------------------------------------------------------------------------------

    def _runs(self) -> list[Run]:
        return ledger.read(Path(self._ledger))

    def _runs_of(self, job: Job) -> list[Run]:
        return [run for run in self._runs() if run.job_id == job.id]

    def _tick_ids(self) -> list[str]:
        return sorted({run.job_id for run in self._runs() if run.job_id.startswith("tick")})

    async def _is_over(self, but: str = "") -> bool:
        keys = self._backend.keys
        ticks = self._tick_ids()
        ids = [job_id for job_id in [*self._plans, *ticks] if job_id != but]
        statuses = await self._backend.run(*[["HGET", keys.job(one), "status"] for one in ids])
        return len(ticks) >= TICKS and all(
            one is not None and one.decode() in TERMINAL for one in statuses
        )

    async def _evidence(self) -> Evidence:
        ticks = self._tick_ids()
        plans = {**self._plans, **dict.fromkeys(ticks, Plan(24))}
        outcomes = {}
        for job in await Job.fetch_many(list(plans), self._backend):
            if job is not None:
                await job.refresh()
                outcomes[job.id] = (job.status.value, job.result, job.exc_info)
        seen = {f"tick {n}": int(n < len(ticks)) for n in range(max(TICKS, len(ticks)))}
        return Evidence(
            plans=plans,
            runs=self._runs(),
            outcomes=outcomes,
            deaths=self._deaths,
            in_flight=self._in_flight,
            ticks={**seen, "ticks beyond the last": 1 + max(0, len(ticks) - TICKS)},
        )
