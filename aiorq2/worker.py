"""The worker: it knows when. What happened, the executor knows; how it is written, the backend."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from functools import partial
from secrets import token_hex
from typing import Any, Never

from aiorq2 import left_out
from aiorq2.aftermath import Aftermath
from aiorq2.allowlist import AllowList
from aiorq2.backends.base import Extended, Seat, Tally
from aiorq2.backends.health import check_server, reap_after, warn_of_old_workers
from aiorq2.backends.kept import Source, backend_of
from aiorq2.backends.redis import RedisBackend
from aiorq2.commands import parse_command
from aiorq2.errors import AiorqError, InvalidJobOperation, InvalidOption, WorkerNameTaken
from aiorq2.executor import Executor, JobContext
from aiorq2.job import Job
from aiorq2.lifespan import Lifespan
from aiorq2.options import DEFAULT_RESULT_TTL, Offload, as_names, checked_name
from aiorq2.payloads import PAYLOAD_LIMIT
from aiorq2.pump import Appetite, Pump, Strategy
from aiorq2.registering import AT_WORK, register
from aiorq2.roster import Roster
from aiorq2.run import Reason
from aiorq2.runs import CANCEL_GRACE_S, ExceptionHandler
from aiorq2.serializers import Serializer
from aiorq2.serializers import resolve as resolve_serializer
from aiorq2.signals import stopping_on_signals
from aiorq2.slots import Slots
from aiorq2.ticking import Ticker
from aiorq2.timing import Duration, seconds
from aiorq2.upkeep import Heartbeat, Reaper, Sweeper

log = logging.getLogger("aiorq2.worker")

CLOSING_S = 1.0
"""How much of the last two seconds of a stop is kept for what comes after the jobs."""
SETTLING_S = 0.5
"""How much before that what was told to end and has not is given back, with the last pipeline."""
PROMOTE = 100
"""How many scheduled jobs of a queue one claim moves at the most, once they are due."""


class Worker(Roster):
    """Run the jobs of some queues, many at a time, on the running event loop.

    Args:
        queues: names (or ``Queue`` objects), the most important first.
        backend: where they live; default ``connect()``.
        name: must be unique among living workers; default host, process and some random letters.
        concurrency: how many jobs run at once.
        sync_concurrency: how many of them may be plain functions, each in a thread (or a process).
        offload: ``"process"`` runs plain functions whose job does not say in a process each, as RQ's worker does: what is killed
            there takes nothing along. Default ``"thread"``.
        lease: seconds after which others may take over the jobs of a worker that is not heard of.
        grace: seconds that jobs get to finish when the worker is told to stop.
        default_result_ttl: how long results are kept where the job does not say, in seconds rounded up; -1 for ever.
        exception_handlers: called ``handler(job, exc_type, exc, traceback)`` for every failed run, as RQ's; one that returns
            something false but None ends the chain.
        serializer: as the queues'.
        allow: patterns of functions that may run beside project code and registered ones; ``["*"]`` lifts the restriction.
        dequeue_strategy: ``"default"`` empties the first queue first, ``"round_robin"`` and ``"random"`` as RQ's.
        max_deaths: a job whose worker has died so many times has failed.
        strict: refuse to start on a Redis that may drop jobs (an evicting ``maxmemory-policy``), rather than warn.
        handle_signals: install handlers for SIGTERM and SIGINT; default: in the main thread, unless somebody else has, and not
            for a burst.
        job_class: what jobs, callbacks and exception handlers get as the job: ``Job``, or a class that is derived from it.
        job_context: ``job_context(job)`` returns an asynchronous context manager in which the job's function is called.
        lifespan: ``lifespan(worker)`` returns an asynchronous context manager that is opened before the first job and closed
            after the last, on the worker's loop.

    >>> await Worker(["high", "low"], backend=backend).work(burst=True)
    """

    def __init__(
        self,
        queues: str | Iterable[Any] = "default",
        backend: Source | None = None,
        *,
        name: str | None = None,
        concurrency: int = 100,
        sync_concurrency: int = 32,
        offload: Offload = "thread",
        lease: Duration = 15,
        grace: Duration = 30,
        default_result_ttl: Duration = DEFAULT_RESULT_TTL,
        exception_handlers: ExceptionHandler | Sequence[ExceptionHandler] = (),
        serializer: str | Serializer | object | None = None,
        allow: Iterable[str] = (),
        dequeue_strategy: Strategy = "default",
        max_deaths: int = 3,
        strict: bool = False,
        handle_signals: bool | None = None,
        result_limit: int = PAYLOAD_LIMIT,
        connection: Source | None = None,
        job_class: type[Job] = Job,
        job_context: JobContext | None = None,
        lifespan: Callable[[Worker], AbstractAsyncContextManager[object]] | None = None,
        **unused: Never,
    ) -> None:
        left_out.refuse("Worker", unused, left_out.WORKER)
        if concurrency < 1 or sync_concurrency < 1:
            raise InvalidOption("Worker: concurrency and sync_concurrency are at least 1")
        if offload not in ("thread", "process"):
            raise InvalidOption(f"Worker: offload={offload!r}: 'thread' or 'process'")
        one = isinstance(queues, str) or hasattr(queues, "name")  # a Queue
        given: list[Any] = [queues] if one else list(queues)
        self.queues = as_names([getattr(queue, "name", queue) for queue in given], "queue")
        if not self.queues:
            raise InvalidOption("Worker: at least one queue is needed")
        self.name = checked_name(
            name or f"{socket.gethostname()}-{os.getpid()}-{token_hex(4)}", "worker"
        )
        self.backend = backend_of(backend, connection)
        self.concurrency = concurrency
        self._make_slots: Callable[[], Slots] = lambda: Slots(concurrency, sync_concurrency)
        self.grace = seconds(grace, name="grace")
        self.serializer = resolve_serializer(serializer)
        self.stuck_threads = 0
        """How many threads and coroutines had not ended when ``work`` did; a process with any must be left with ``os._exit``.
        Not among them: those that jobs began with ``asyncio.to_thread``, for which whoever closes the loop waits."""
        self._seat = Seat(
            self.name,
            token_hex(8),
            float(seconds(lease, name="lease", minimum=0.1)),
            math.ceil(seconds(default_result_ttl, name="default_result_ttl", infinite=True)),
        )
        self._handlers = (
            [exception_handlers] if callable(exception_handlers) else list(exception_handlers)
        )
        allowed = AllowList(allow, trust_all=self.serializer.name == "pickle")
        self._make_executor: Callable[[RedisBackend, Slots], Executor] = lambda on, slots: Executor(
            on,
            self.serializer,
            allowed,
            slots=slots,
            offload=offload,
            result_limit=result_limit,
            job_class=job_class,
            job_context=job_context,
        )
        self._make_aftermath: Callable[[RedisBackend], Aftermath] = lambda on: Aftermath(
            on, self.serializer, allowed, job_class
        )
        self._strategy = _checked_strategy(dequeue_strategy)
        self._max_deaths = max_deaths
        self._strict = strict
        self._handle_signals = handle_signals
        self._lifespan = Lifespan(None if lifespan is None else lambda: lifespan(self))
        self._pump: Pump | None = None
        self._last_tally = Tally()
        self._is_forced = False
        self._name_taken: WorkerNameTaken | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.name}: {', '.join(self.queues)}>"

    @property
    def slots_lost(self) -> int:
        """How many slots are taken by jobs that were told to end and go on; with all of them lost, nothing more is run."""
        return 0 if self._pump is None else self._pump.runs.slots_lost

    @property
    def working_backend(self) -> RedisBackend:
        """The backend with which it works now: one that waits for Redis for ever, unless it works in a burst."""
        return self.backend if self._pump is None else self._backend

    def push_exc_handler(self, handler_func: ExceptionHandler) -> None:
        """Have another function called for every run that fails, after those of ``exception_handlers``."""
        self._handlers.append(handler_func)

    def pop_exc_handler(self) -> ExceptionHandler:
        """Take the last of these functions off, and return it."""
        return self._handlers.pop()

    # -- working ---------------------------------------------------------------------------------------------------------

    async def work(
        self,
        burst: bool = False,
        max_jobs: int | None = None,
        max_idle_time: Duration | None = None,
        with_scheduler: bool = True,
        dequeue_strategy: Strategy | None = None,
        **unused: Never,
    ) -> bool:
        """Run jobs until told to stop, and return whether any was run. The names are RQ's.

        Args:
            burst: return when nothing is left to do now.
            max_jobs: start no more than so many.
            max_idle_time: return after so many seconds without a job.
            with_scheduler: move scheduled jobs into their queues when they are due, and make the runs of recurring entries.
            dequeue_strategy: as for the constructor, in its place.

        Raises:
            StartupFailed: its ``lifespan`` did not open.
            WorkerNameTaken: a living worker has this name; or has taken it over, since this one was not heard of.
            BackendRefused: Redis does not want us, is too old, or (``strict``) may drop jobs.
            BackendUnavailable: only in a burst; otherwise the worker waits for Redis.

        Redis: idle, 1 blocking call at a time and a heartbeat; busy, 1 pipeline for all that ended and the next claim.
        """
        left_out.refuse("work", unused, left_out.WORK)
        if dequeue_strategy is not None:
            self._strategy = _checked_strategy(dequeue_strategy)
        pump = self._make_pump(burst, max_jobs, max_idle_time, with_scheduler)
        wanted = False if burst and self._handle_signals is None else self._handle_signals
        with stopping_on_signals(self.request_stop, wanted):
            try:
                await self._open(pump)
                await asyncio.shield(self._task)
            except asyncio.CancelledError:
                await self._flee(pump)
            finally:
                await self._close(pump)
        if self._name_taken is not None:
            raise self._name_taken
        return pump.runs.has_run_jobs

    def share(self, slots: Slots) -> None:
        """Take part in slots that several workers of this process share, rather than have as many as ``concurrency`` says."""
        self._make_slots = lambda: slots

    def request_stop(self) -> None:
        """Stop: at first let running jobs finish within ``grace``; told again, cancel and give them back at once."""
        pump, loop = self._pump, asyncio.get_running_loop()
        if pump is None:
            return
        if not pump.is_stopping:
            log.info("worker %s: stopping; %d jobs are running", self.name, len(pump.runs.running))
            pump.stop()
            loop.call_later(self.grace, pump.runs.interrupt_all, Reason.SHUTDOWN)
            end = self.grace + CANCEL_GRACE_S - CLOSING_S
            loop.call_later(end - SETTLING_S, pump.runs.abandon_all)
            loop.call_later(end, self._task.cancel)
            if pump.runs.is_idle:
                loop.call_later(0.3, self._leave_if_idle, pump, self._task)
        elif not self._is_forced:
            self._is_forced = True
            log.warning("worker %s: stopping at once", self.name)
            pump.runs.interrupt_all(Reason.SHUTDOWN)
            loop.call_later(CANCEL_GRACE_S - SETTLING_S, pump.runs.abandon_all)
            loop.call_later(CANCEL_GRACE_S + 0.2, self._task.cancel)

    def _leave_if_idle(self, pump: Pump, task: asyncio.Task[None]) -> None:
        """Redis is away and there is nothing to wait for; unless jobs have come that were being claimed at the stop."""
        if pump.runs.is_idle:
            task.cancel()  # not ``_task``: the worker may have ended, and be at work again

    def _make_pump(
        self,
        burst: bool,
        max_jobs: int | None,
        max_idle_time: Duration | None,
        with_scheduler: bool,
    ) -> Pump:
        if self._pump is not None:
            raise InvalidJobOperation(f"worker {self.name!r} is working already; make another one")
        if max_jobs is not None and max_jobs < 1:
            raise InvalidOption("max_jobs is at least 1")
        self._is_forced, self._name_taken = False, None
        self._backend = self.backend if burst else self.backend.patient(self._seat.lease)
        self._seat = replace(self._seat, instance=token_hex(8))
        AT_WORK.add(self._seat.instance)
        self._aftermath = self._make_aftermath(self._backend)
        self._ticker = (
            Ticker(self._backend, self._seat.instance, self.queues) if with_scheduler else None
        )
        slots = self._make_slots()
        self._pump = Pump(
            self._backend,
            self._seat,
            self._make_executor(self._backend, slots),
            self._handlers,
            Appetite(
                queues=self.queues,
                concurrency=self.concurrency,
                strategy=self._strategy,
                promote=PROMOTE if with_scheduler else 0,
                burst=burst,
                max_jobs=max_jobs,
                max_idle_s=None
                if max_idle_time is None
                else float(seconds(max_idle_time, name="max_idle_time")),
            ),
            on_settled=self._aftermath.settled,
            ticker=self._ticker,
            slots=slots,
            max_deaths=self._max_deaths,
        )
        return self._pump

    async def _open(self, pump: Pump) -> None:
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._pump_once_registered(pump))
        self._duties: list[asyncio.Task[None]] = []
        self._heartbeat: Heartbeat | None = None

    async def _pump_once_registered(self, pump: Pump) -> None:
        await self._lifespan.begin()
        began = time.monotonic()
        await register(self._backend, self._seat, self.queues, self.concurrency)
        await check_server(self._backend, strict=self._strict)
        await warn_of_old_workers(self._backend)
        await self._backend.subscribe(self._backend.keys.commands(self.name), self._on_message)
        self._heartbeat = Heartbeat(
            self._backend,
            self._seat,
            claims=pump.runs.leases,
            tally=lambda: pump.tally,
            on_extended=self._on_extended,
            on_cut_off=pump.runs.on_cut_off,
            on_name_taken=partial(self._on_name_taken, pump),
        )
        pump.kept_until = self._heartbeat.kept_until
        self._heartbeat.start()
        self._may_reap_after = await reap_after(self._backend, self._seat.lease)
        # Not before: what a worker may do without, such as INFO, has been asked for by now, and a refusal was an answer.
        self._backend.exchange.outlasts_refusals = not pump.appetite.burst
        if time.monotonic() - began > 1:  # Redis was away until now, for the others as well
            self._may_reap_after = time.monotonic() + self._seat.lease
        reaper = Reaper(
            self._backend,
            self.queues,
            max_deaths=self._max_deaths,
            is_trusted=self._is_trusted,
            lease=self._seat.lease,
            on_failed=self._aftermath.abandoned,
        )
        sweeper = Sweeper(self._backend, self.queues)
        loop = asyncio.get_running_loop()
        duties = [reaper.run(), sweeper.run()]
        if self._ticker is not None:
            duties.append(self._ticker.run())
        self._duties += [loop.create_task(duty, context=contextvars.Context()) for duty in duties]
        log.info("worker %s: listening on %s", self.name, ", ".join(self.queues))
        await pump.run()

    async def _flee(self, pump: Pump) -> None:
        """Cancelled: by ourselves because time is up (then return), or by our caller (then give back what runs, and go)."""
        if self._task.cancelled():
            if pump.runs.unsettled:
                log.warning(
                    "worker %s: leaving %d runs behind; they are run again when their leases end",
                    self.name,
                    pump.runs.unsettled,
                )
            return
        pump.stop()
        pump.runs.interrupt_all(Reason.SHUTDOWN)
        await asyncio.wait({self._task}, timeout=CANCEL_GRACE_S + 0.5)
        raise asyncio.CancelledError

    async def _close(self, pump: Pump) -> None:
        AT_WORK.discard(self._seat.instance)
        for task in (*self._duties, self._task):
            task.cancel()
        await asyncio.wait({*self._duties, self._task})
        if self._heartbeat is not None:
            await self._heartbeat.end(1.0)
        self.stuck_threads = await pump.close()
        with suppress(AiorqError, TimeoutError):
            async with asyncio.timeout(0.3 if pump.is_stopping else 2.0):
                await self._backend.unregister(self._seat, self.queues)
                await self._backend.unsubscribe(self._backend.keys.commands(self.name))
        await self._aftermath.close(2.0 if pump.is_stopping else 10.0)
        await self._lifespan.end(is_hasty=self._is_forced)
        if self._backend is not self.backend:
            await self._backend.close()
        self._last_tally, self._pump = pump.tally, None
        log.info("worker %s: stopped", self.name)

    # -- being told ------------------------------------------------------------------------------------------------------

    def _on_extended(self, extended: Extended) -> None:
        if self._pump is None:
            return
        if not extended.is_registered and not self._pump.is_stopping:
            self._duties.append(asyncio.get_running_loop().create_task(self._register_again()))
        self._pump.runs.on_extended(extended)

    async def _register_again(self) -> None:
        try:
            await register(
                self._backend,
                self._seat,
                self.queues,
                self.concurrency,
                replaces=self._seat.instance,
            )
        except AiorqError as error:
            log.error("%s", error)

    def _on_name_taken(self, pump: Pump, error: WorkerNameTaken) -> None:
        """End, and raise this: what is claimed now would stand among the runs of the other worker, who gives it back."""
        if pump is not self._pump:
            return
        log.error("%s; ending, its %d jobs are cancelled", error, len(pump.runs.running))
        self._name_taken = error
        pump.stop()
        pump.runs.interrupt_all(Reason.LEASE_LOST)
        asyncio.get_running_loop().call_later(CANCEL_GRACE_S + 0.2, self._task.cancel)

    def _on_message(self, message: bytes | None) -> None:
        command = parse_command(message) if message is not None and self._pump is not None else None
        if command is None or self._pump is None:
            return
        log.info("worker %s: told %s %s", self.name, command.name, command.job_id)
        match command.name:
            case "shutdown":
                self.request_stop()
            case "kill-horse":
                self._pump.runs.interrupt_all(Reason.STOP)
            case "stop-job":
                self._pump.runs.stop_job(command.job_id)
            case "stop-execution":
                self._pump.runs.stop_execution(command.execution_id)

    def _is_trusted(self) -> bool:
        """Whether this worker may reap: its heartbeats have arrived for a whole lease, or it has just found Redis long up."""
        now = time.monotonic()
        assert self._heartbeat is not None
        since = self._heartbeat.unbroken_since
        return now >= self._may_reap_after and (since is None or now - since > self._seat.lease)


def _checked_strategy(given: Strategy) -> Strategy:
    if given not in ("default", "round_robin", "random"):
        raise InvalidOption(f"dequeue_strategy={given!r}: 'default', 'round_robin' or 'random'")
    return given
