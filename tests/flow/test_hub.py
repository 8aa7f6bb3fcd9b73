"""``RQ``: its settings, its queues and its workers. What Flask-RQ2's own tests ask of it, and what they should have."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from aiorq2 import RQ, Job, Queue, Worker
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import AiorqError, InvalidOption, NotConfigured
from aiorq2.scheduler import Scheduler
from tests.flow.hub_jobs import OwnJob, add, fail


@pytest.fixture
def rq(memory_backend: RedisBackend) -> RQ:
    """An ``RQ`` in memory."""
    return RQ(memory_backend)


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has said where Redis is."""
    for name in ("AIORQ2_URL", "RQ_REDIS_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_environment")
async def test_an_rq_without_a_url_decorates_and_does_not_connect() -> None:
    """The message says what is missing; a framework's says what is missing there."""
    rq = RQ()
    decorated = rq.job("low")(add)

    assert decorated(1, 2) == 3
    for ask in (lambda: rq.connection, lambda: rq.backend, rq.get_queue, rq.get_worker):
        with pytest.raises(RuntimeError, match="RQ is not ready yet to connect to Redis"):
            ask()
    with pytest.raises(NotConfigured, match="not ready yet"):
        await decorated.queue(1)

    rq.redis_url = "memory://late"
    async with rq:
        assert (await decorated.queue(1)).origin == "low"
        await rq.get_queue("low").empty()


@pytest.mark.usefixtures("no_environment")
def test_the_environment_may_say_where_redis_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for ``connect()``; what the code says stands above it."""
    monkeypatch.setenv("RQ_REDIS_URL", "redis://elsewhere:1/2")

    assert RQ().backend.location == "elsewhere:1/2"
    assert RQ("redis://here:3/4").backend.location == "here:3/4"


def test_settings_have_flask_rq2s_names_and_defaults() -> None:
    """On the class, on a subclass, on the object, and in the call."""
    rq = RQ()

    assert (rq.default_queue, rq.default_timeout, rq.default_result_ttl) == ("default", 180, 500)
    assert (list(rq.queues), rq.scheduler_queue, rq.scheduler_interval) == (
        ["default"],
        "default",
        60,
    )
    assert (rq.redis_url, rq.is_async, rq.connections) == (None, True, {})

    class Ours(RQ):
        default_queue = "ours"
        queues = ("ours", "theirs")

    assert RQ(default_timeout=911).default_timeout == 911
    assert RQ(default_timeout=None, is_async=None).settings().default_timeout == 180
    assert Ours().settings().default_queue == "ours"
    assert Ours(default_queue="mine").settings().default_queue == "mine"
    assert (RQ.default_queue, RQ.queues) == ("default", ("default",))


def test_unknown_settings_are_refused() -> None:
    """And the old keyword is understood, with a warning."""
    untyped: Any = RQ

    with pytest.raises(InvalidOption, match=r"RQ has no option 'default_timeuot'; there are conn"):
        untyped(default_timeuot=5)
    with pytest.warns(DeprecationWarning, match="is_async"):
        assert untyped(**{"async": False}).is_async is False


def test_an_rq_is_called_after_the_module_that_makes_it() -> None:
    """Its cron entries are told apart by it; another name can be given."""

    class Ours(RQ):
        def __init__(self) -> None:
            super().__init__("memory://x")

    assert (RQ().name, Ours().name) == ("tests.flow.test_hub", "tests.flow.test_hub")
    assert RQ(name="shop").name == "shop"
    assert repr(RQ(name="shop")) == "<RQ shop with 0 jobs>"


# -- queues --------------------------------------------------------------------------------------------------------------


def test_a_queue_of_the_same_name_is_the_same_object(rq: RQ) -> None:
    """It has the hub's settings, and is another one as soon as these are others."""
    rq.default_timeout, rq.is_async, rq.serializer = 55, False, "pickle"
    queue = rq.get_queue()

    assert (queue.name, queue.default_timeout, queue.is_async) == ("default", 55, False)
    assert (queue.backend, queue.serializer.name) == (rq.backend, "pickle")
    assert rq.get_queue() is queue
    assert rq.get_queue("default") is queue
    assert rq.get_queue("low") is rq.get_queue("low") is not queue

    rq.default_timeout = 56
    assert rq.get_queue() is not queue
    assert rq.get_queue().default_timeout == 56


def test_queue_classes_of_ones_own_are_used(rq: RQ) -> None:
    """And what is none is refused."""

    class Own(Queue):
        pass

    rq.queue_class = Own
    assert type(rq.get_queue()) is Own
    rq.queue_class = "tests.flow.hub_jobs.OwnJob"
    with pytest.raises(InvalidOption, match=r"queue_class='tests\.flow\.hub_jobs\.OwnJob'"):
        rq.get_queue("other")
    rq.job_class = "tests.flow.hub_jobs.OwnJob"
    rq.queue_class = "aiorq2.Queue"
    assert rq.get_queue().job_class is OwnJob


async def test_several_hubs_live_side_by_side(rq: RQ) -> None:
    """Each with its jobs, its queues and its Redis."""
    other = RQ("memory://another")
    rq.job(add)

    async with rq, other:
        await other.get_queue().enqueue(add, 1)

        assert other.jobs == {}
        assert [await one.get_queue().count() for one in (rq, other)] == [0, 1]
        await other.get_queue().empty()


# -- workers -------------------------------------------------------------------------------------------------------------


def test_a_worker_has_the_hubs_queues_or_those_that_are_named(rq: RQ) -> None:
    """In their order; further options are the worker's."""
    rq.queues = ["high", "low"]

    assert rq.get_worker().queues == ("high", "low")
    assert rq.get_worker("low", "simple").queues == ("low", "simple")
    worker = rq.get_worker("some-queue", name="w-1", concurrency=3)
    assert isinstance(worker, Worker)
    assert (worker.name, worker.concurrency) == ("w-1", 3)
    assert worker.backend is rq.backend
    with pytest.raises(InvalidOption, match=r"get_worker\('high', 'low'\)"):
        rq.get_worker(queues=["high", "low"])


@pytest.mark.parametrize(
    ("given", "kept_s"), [("1h", 3600), (timedelta(hours=1), 3600), ("3599.5s", 3600), (-1, -1)]
)
async def test_a_worker_keeps_results_for_any_duration(rq: RQ, given: Any, kept_s: int) -> None:
    """``default_result_ttl`` is one as every other option: text, a ``timedelta``, or -1 for ever."""
    rq.default_result_ttl = given
    job = await rq.get_queue().enqueue(add, 1)

    await rq.get_worker().work(burst=True)

    key = f"{rq.backend.key_prefix}:job:{job.id}"
    (left_s,) = await rq.backend.run(["TTL", key])
    assert kept_s - 60 < left_s <= kept_s
    await job.delete()


async def test_exception_handlers_are_called_by_workers(rq: RQ) -> None:
    """As Flask-RQ2's: with the job and what ``sys.exc_info()`` would say. The function stays what it was."""
    seen: list[Any] = []

    @rq.exception_handler
    def note(job: Job, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        seen.append((job.func_name, kind, str(error), trace is not None))

    await rq.job(fail).queue()
    await rq.get_worker().work(burst=True)

    assert rq.exception_handlers == [note]
    assert seen == [("tests.flow.hub_jobs.fail", ValueError, "boom", True)]


async def test_a_failing_job_never_makes_a_worker_raise(rq: RQ) -> None:
    """``work()`` says that it ran something, no more."""
    await rq.job(fail).queue()

    assert await rq.get_worker().work(burst=True) is True


# -- around the work of a worker -----------------------------------------------------------------------------------------


async def test_hooks_and_lifespans_surround_the_work(rq: RQ) -> None:
    """Plain or coroutine functions, with or without the worker, on its loop; the jobs come in between."""
    told: list[str] = []
    loop = asyncio.get_running_loop()

    @rq.on_startup
    async def open_database() -> None:
        assert asyncio.get_running_loop() is loop
        told.append("startup")

    @rq.on_startup
    def greet(worker: Worker) -> None:
        told.append(f"startup {worker.name}")

    @rq.on_shutdown
    async def close_database(worker: Worker) -> None:
        assert await rq.get_queue().is_empty()
        told.append("shutdown")

    @rq.lifespan
    async def pool(worker: Worker) -> Any:
        told.append("opened")
        yield
        told.append("closed")

    await rq.job(add).queue(1)
    worker = rq.get_worker(name="w-1")
    assert await worker.work(burst=True)

    assert told == ["opened", "startup", "startup w-1", "shutdown", "closed"]


async def test_a_failing_startup_keeps_the_worker_from_working(
    rq: RQ, caplog: pytest.LogCaptureFixture
) -> None:
    """The cause is named and chained; what had been opened is closed, and the jobs stay where they are."""
    told: list[str] = []

    @rq.lifespan
    async def pool() -> Any:
        try:
            yield
        finally:
            told.append("closed")

    @rq.on_startup
    def connect_database() -> None:
        raise ConnectionError("no route to host")

    rq.on_shutdown(lambda: told.append("shutdown"))
    await rq.job(add).queue(1)

    with pytest.raises(AiorqError, match="connect_database: ConnectionError: no route") as raised:
        await rq.get_worker().work(burst=True)

    assert isinstance(raised.value.__cause__, ConnectionError)
    assert told == ["closed"]
    assert "Traceback" in caplog.text
    assert await rq.get_queue().count() == 1
    await rq.get_queue().empty()


async def test_a_failing_shutdown_is_logged_and_the_others_run(
    rq: RQ, caplog: pytest.LogCaptureFixture
) -> None:
    """The jobs have been done by then."""
    told: list[str] = []

    @rq.on_shutdown
    def fail_to_close() -> None:
        raise RuntimeError("already closed")

    rq.on_shutdown(lambda: told.append("shutdown"))

    assert await rq.get_worker().work(burst=True) is False
    assert told == ["shutdown"]
    assert "fail_to_close raised" in caplog.text


async def test_a_lifespan_that_fails_at_its_end_is_logged(
    rq: RQ, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker returns all the same."""

    @rq.lifespan
    async def pool() -> Any:
        yield
        raise SystemExit(3)

    assert await rq.get_worker().work(burst=True) is False
    assert "closing what was opened before the first job" in caplog.text


async def test_a_worker_that_is_told_to_stop_while_it_starts_stops(rq: RQ) -> None:
    """What is being opened is cancelled."""
    told: list[str] = []
    is_opening = asyncio.Event()

    @rq.on_startup
    async def connect_database() -> None:
        is_opening.set()
        try:
            await asyncio.sleep(60)
        finally:
            told.append("cancelled")

    worker = rq.get_worker(handle_signals=False)
    working = asyncio.create_task(worker.work())
    await is_opening.wait()
    worker.request_stop()

    async with asyncio.timeout(10):
        assert await working is False
    assert told == ["cancelled"]


async def test_hooks_outlive_a_cancelled_worker(rq: RQ) -> None:
    """Who cancels ``work()`` still has the hooks called at its end."""
    told: list[str] = []
    has_started = asyncio.Event()
    rq.on_startup(lambda: has_started.set())
    rq.on_shutdown(lambda: told.append("shutdown"))
    working = asyncio.create_task(rq.get_worker(handle_signals=False).work())
    await has_started.wait()

    working.cancel()

    with pytest.raises(asyncio.CancelledError):
        await working
    assert told == ["shutdown"]


@pytest.mark.parametrize("what", ["on_startup", "on_shutdown", "lifespan"])
def test_hooks_that_cannot_be_called_are_refused_at_once(rq: RQ, what: str) -> None:
    """Not when the first worker starts."""
    decorate = getattr(rq, what)

    with pytest.raises(InvalidOption, match="is called without arguments, or with the worker"):
        decorate(lambda a, b: None)
    with pytest.raises(InvalidOption, match=f"{what}: a function is needed, not int"):
        decorate(5)


async def test_a_lifespan_is_an_asynchronous_context_manager(rq: RQ) -> None:
    """A plain generator is refused where it is decorated, anything else when it is opened."""

    def plain() -> Any:
        yield

    with pytest.raises(InvalidOption, match="plain yields; write it with async def"):
        rq.lifespan(plain)
    rq.lifespan(lambda: None)
    with pytest.raises(AiorqError, match="context manager is needed, not NoneType"):
        await rq.get_worker().work(burst=True)


async def test_the_caller_of_a_worker_is_not_seen_by_hooks_and_jobs(rq: RQ) -> None:
    """A worker inside a request handler does not hand the request on."""
    request: ContextVar[str | None] = ContextVar("request", default=None)
    seen: list[Any] = []
    rq.on_startup(lambda: seen.append(request.get()))
    rq.exception_handler(lambda *_: seen.append(request.get()))
    await rq.job(fail).queue()

    request.set("GET /doit7")
    await rq.get_worker().work(burst=True)

    assert seen == [None, None]


# -- schedulers ----------------------------------------------------------------------------------------------------------


def test_a_scheduler_has_the_hubs_queue_and_interval(rq: RQ) -> None:
    """Or those that are given."""
    rq.scheduler_queue, rq.scheduler_interval = "scheduled", 5

    scheduler = rq.get_scheduler()
    assert isinstance(scheduler, Scheduler)
    assert (scheduler.queue_name, scheduler.interval) == ("scheduled", 5)
    assert scheduler.backend is rq.backend
    assert rq.get_scheduler(interval=23).interval == 23
    assert rq.get_scheduler(queue="other").queue_name == "other"
