"""``@rq.job``: what a function becomes, and how it is enqueued; the names and the behaviour are Flask-RQ2's."""

from __future__ import annotations

import asyncio
import logging
import pickle
from datetime import timedelta
from typing import Any

import pytest

from aiorq2 import RQ, Job, JobStatus, Retry, Webhook, Worker
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import DuplicateJobError, InvalidArguments, InvalidFunction, InvalidOption
from aiorq2.functions import JobFunctions
from tests.flow import hub_jobs
from tests.flow.hub_jobs import Account, OwnJob, add, add_later, clash, collect
from tests.support import jobs as support_jobs


@pytest.fixture
def rq(memory_backend: RedisBackend) -> RQ:
    """An ``RQ`` in memory."""
    return RQ(memory_backend)


async def test_a_decorated_function_is_the_same_object_and_called_as_before(rq: RQ) -> None:
    """It pickles and imports as before, and knows its options."""
    decorated = rq.job(add)

    assert decorated is add
    assert decorated(1, 2) == 3
    assert pickle.loads(pickle.dumps(decorated)) is add
    assert rq.jobs == {"tests.flow.hub_jobs.add": add}
    assert isinstance(decorated.helper, JobFunctions)
    assert repr(decorated.helper) == "<JobFunctions tests.flow.hub_jobs.add>"
    assert await rq.job(add_later)(1, 2) == 3


@pytest.mark.parametrize("form", ["bare", "called", "empty name", "plain call"])
async def test_every_form_of_the_decorator_means_the_default_queue(rq: RQ, form: str) -> None:
    """``@rq.job``, ``@rq.job()``, ``@rq.job("")`` and ``rq.job(add)``."""
    decorate: Any = {"bare": rq.job, "plain call": rq.job}.get(form) or (
        rq.job() if form == "called" else rq.job("")
    )

    job = await decorate(add).queue(1, 2)

    assert (job.origin, job.args, job.kwargs) == ("default", (1, 2), {})
    assert (job.timeout, job.result_ttl) == (180, 500)
    await rq.get_queue().empty()


async def test_a_queued_job_runs_in_a_worker_of_the_same_hub(backend: RedisBackend) -> None:
    """Plain function or coroutine function; the queue's name stands first, and may be given by keyword."""
    rq = RQ(backend, queues=["low", "high"])

    first = await rq.job("low", timeout=60)(add).queue(1, 2)
    second = await rq.job(queue="high")(add_later).queue(3, 4)

    assert [job.status for job in await rq.get_queue("low").get_jobs()] == [JobStatus.QUEUED]
    assert (first.origin, first.timeout, second.origin) == ("low", 60, "high")
    assert await rq.get_worker().work(burst=True) is True
    assert [await first.wait(), await second.wait()] == [3, 7]
    assert await rq.get_worker().work(True) is False


async def test_options_of_a_call_beat_those_of_the_decorator(rq: RQ) -> None:
    """Flask-RQ2's nine words."""
    decorated = rq.job("low", timeout=111, result_ttl=222, ttl=333, description="one")(add)
    parent = await decorated.queue(0)
    plain = await decorated.queue(1, 2)
    told = await decorated.queue(
        3,
        4,
        queue="high",
        timeout=60 * 2,
        result_ttl=5,
        ttl="1h",
        description="two",
        job_id="chosen",
        meta={"key": "value"},
        depends_on=parent,
    )

    assert (plain.origin, plain.timeout, plain.result_ttl, plain.ttl) == ("low", 111, 222, 333)
    assert plain.description == "one"
    assert (told.origin, told.timeout, told.result_ttl, told.ttl) == ("high", 120, 5, 3600)
    assert (told.description, told.id, told.meta) == ("two", "chosen", {"key": "value"})
    assert (told.status, told.dependency_ids) == (JobStatus.DEFERRED, [parent.id])
    assert await rq.get_worker("low", "high").work(burst=True)
    assert await told.wait() == 7


async def test_every_other_option_of_enqueue_is_there_too(rq: RQ) -> None:
    """What Flask-RQ2's users asked for in vain: callbacks, retries, uniqueness and the rest."""
    decorated = rq.job(failure_ttl=9)(add)

    job = await decorated.queue(
        1,
        retry=Retry(3),
        repeat=2,
        on_success="app.done",
        on_failure="app.failed",
        on_stopped="app.stopped",
        at_front=True,
        job_id="only",
        unique=True,
        redeliver=False,
        offload="thread",
        on_parent_failure="run",
    )

    assert (job.retries_left, job.repeats_left, job.failure_ttl) == (3, 2, 9)
    assert job.callback_name("success") == "app.done"
    with pytest.raises(DuplicateJobError):
        await decorated.queue(1, job_id="only", unique=True)
    await rq.get_queue().empty()


async def test_a_result_ttl_of_zero_is_honoured(rq: RQ) -> None:
    """0 is "do not keep", not "nothing said"."""
    job = await rq.job("", result_ttl=0)(add).queue(1)

    assert (job.origin, job.result_ttl) == ("default", 0)
    waiting = asyncio.create_task(job.wait(10))
    await asyncio.sleep(0)
    await rq.get_worker().work(burst=True)
    assert await waiting == 1
    assert not await Job.exists(job.id, rq.backend)


async def test_defaults_are_read_when_a_job_is_enqueued(rq: RQ) -> None:
    """What is set after the decoration counts, as in an application that is configured late: first the hub's, then the helper's,
    then the call's."""
    decorated = rq.job(add)
    helper = decorated.helper

    rq.default_queue, rq.default_timeout, rq.default_result_ttl = "later", 10, 20
    assert (helper.queue_name, helper.timeout, helper.result_ttl) == ("later", 10, 20)
    job = await decorated.queue(1)
    assert (job.origin, job.timeout, job.result_ttl) == ("later", 10, 20)

    helper.queue_name, helper.timeout, helper.result_ttl = "mine", 30, 40
    helper.description = "told at run time"
    job = await decorated.queue(1)
    assert (job.origin, job.timeout, job.result_ttl) == ("mine", 30, 40)
    assert job.description == "told at run time"

    job = await decorated.queue(1, queue="call", timeout=50, result_ttl=60)
    assert (job.origin, job.timeout, job.result_ttl) == ("call", 50, 60)

    helper.queue_name = ""
    assert (await decorated.queue(1, timeout=None)).timeout == 10
    assert helper.queue_name == "later"
    for name in ("later", "mine", "call"):
        await rq.get_queue(name).empty()


async def test_arguments_that_do_not_fit_are_refused_where_they_are_enqueued(rq: RQ) -> None:
    """The message names function and argument, and nothing is sent."""
    decorated: Any = rq.job(add)

    with pytest.raises(TypeError, match=r"hub_jobs\.add: missing a required argument: 'x'"):
        await decorated.queue()
    with pytest.raises(InvalidArguments, match=r"add: got an unexpected keyword argument 'z'"):
        await decorated.queue(1, z=3)
    with pytest.raises(InvalidArguments, match=r"add: too many positional arguments"):
        await decorated.schedule(timedelta(seconds=60), 1, 2, 3)
    with pytest.raises(InvalidArguments, match=r"add: missing"):
        await decorated.cron("* * * * *", "add")
    assert await rq.get_queue().is_empty()


@pytest.mark.parametrize(
    ("word", "meant"),
    [("on_sucess", "on_success"), ("job_timeout", "timeout"), ("queues", "queue"), ("ttll", "ttl")],
)
async def test_a_keyword_that_looks_like_an_option_is_refused(
    rq: RQ, word: str, meant: str
) -> None:
    """Even by a function that takes any keyword; ``options()`` is the way to pass it all the same."""
    decorated: Any = rq.job(collect)

    with pytest.raises(InvalidArguments, match=f"unknown option '{word}', did you mean '{meant}'"):
        await decorated.queue(**{word: 1})
    job = await decorated.options(queue="low").queue(**{word: 1})

    assert (job.origin, job.kwargs) == ("low", {word: 1})
    await rq.get_queue("low").empty()


async def test_options_makes_room_for_arguments_of_the_same_name(rq: RQ) -> None:
    """And says so, when one of them was taken for an option."""
    decorated = rq.job(clash)

    with pytest.raises(InvalidArguments, match=r"'timeout' was taken for an option.*\.options"):
        await decorated.queue(timeout=5)  # an option of the job, not its argument
    by_position = await decorated.queue(5, timeout=9)
    by_name = await decorated.options(timeout=9).queue(timeout=5, queue="x")

    assert (by_position.args, by_position.timeout) == ((5,), 9)
    assert (by_name.kwargs, by_name.timeout) == ({"timeout": 5, "queue": "x"}, 9)
    assert decorated.options(queue="low")(1) == [1, "none"]
    assert repr(decorated.options(timeout=9)) == "<tests.flow.hub_jobs.clash with timeout=9>"
    await rq.get_worker().work(burst=True)
    assert await by_name.wait() == [5, "x"]


async def test_options_can_be_added_to_and_are_checked(rq: RQ) -> None:
    """Each ``options()`` is a copy; the job itself stays as it is."""
    decorated = rq.job(add)
    urgent = decorated.options(queue="high").options(timeout=7, retry=2)

    job = await urgent.queue(1)

    assert (job.origin, job.timeout, job.retries_left) == ("high", 7, 2)
    assert decorated.helper.queue_name == "default"
    unknown: Any = decorated
    with pytest.raises(InvalidOption, match="unknown option 'tiemout'; did you mean 'timeout'"):
        unknown.options(tiemout=5)
    with pytest.raises(InvalidOption, match="queue has no option 'timezone'"):
        await decorated.options(timezone="Europe/Berlin").queue(1)
    await rq.get_queue("high").empty()


async def test_an_iterator_among_the_options_holds_for_every_call(rq: RQ) -> None:
    """Of the decorator, of ``options()``, or set later: it is read once and kept."""
    hook = Webhook("http://localhost/", "failed")
    decorated = rq.job(webhooks=(one for one in [hook]))(add)
    parents = [await decorated.queue(n) for n in (1, 2)]
    ids = [one.id for one in parents]
    child = decorated.options(depends_on=(one for one in parents))

    first, second = await child.queue(3), await child.queue(4)
    decorated.helper.depends_on = iter(ids)
    third, fourth = await decorated.queue(5), await decorated.queue(6)

    for job in (first, second, third, fourth):
        assert (job.status, job.dependency_ids) == (JobStatus.DEFERRED, ids)
    for job in (*parents, first, fourth):
        assert job.webhooks == [hook]
    for job in (first, second, third, fourth):
        await job.cancel()
    await rq.get_queue().empty()


def test_bad_options_of_the_decorator_are_refused_at_once(rq: RQ) -> None:
    """Not when the first job is enqueued."""
    untyped: Any = rq

    with pytest.raises(InvalidOption, match="unknown option 'on_sucess'; did you mean 'on_succes"):
        untyped.job("low", on_sucess=print)
    with pytest.raises(InvalidOption, match="unknown option 'interval'"):
        untyped.job("low", interval=5)(add)
    with pytest.raises(ValueError, match="job_timeout: 'soon' is not a duration"):
        rq.job(timeout="soon")(add)
    with pytest.raises(InvalidOption, match="meta must be a dict"):
        untyped.job(meta=[1])(add)
    assert rq.jobs == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Account().deposit, "Account.deposit is a method, and a job has no object to call it on"),
        (Account.deposit, "Account.deposit is a method"),
        (Account.__dict__["open"], "Account.open is a class method"),
        (Account, "is a class; enqueue a function"),
        (5, "neither a function"),
        (len, "takes no attributes"),
    ],
)
def test_what_is_no_function_on_its_own_is_refused(rq: RQ, given: Any, message: str) -> None:
    """With the way out."""
    with pytest.raises(InvalidFunction, match=message):
        rq.job()(given)
    assert rq.jobs == {}


async def test_a_static_method_is_a_function(rq: RQ) -> None:
    """Decorated from the inside or from the outside."""
    inside: Any = rq.job("low")(Account.__dict__["interest"].__func__)
    outside: Any = rq.job("low")(Account.__dict__["interest"])

    assert isinstance(outside, staticmethod)
    assert Account.interest is inside
    job = await Account.interest.queue(50)
    await rq.get_worker("low").work(burst=True)
    assert await job.wait() == 5


async def test_a_function_without_a_place_is_called_but_not_enqueued(
    rq: RQ, caplog: pytest.LogCaptureFixture
) -> None:
    """A lambda, a function inside a function, or one of the program itself: a worker would not find it."""
    nameless = rq.job(lambda x: x)

    @rq.job
    def inner(x: int) -> int:
        return x

    assert (nameless(1), inner(2)) == (1, 2)
    with pytest.raises(InvalidFunction, match="lambda"):
        await nameless.queue(1)
    with pytest.raises(InvalidFunction, match="defined inside a function"):
        await inner.queue(1)


async def test_a_job_of_the_program_itself_is_warned_about(
    rq: RQ, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is decorated, not in a worker that does not find it; enqueueing it is refused."""

    def report() -> None: ...

    monkeypatch.setattr(report, "__module__", "__main__")
    monkeypatch.setattr(report, "__qualname__", "report")

    decorated = rq.job(report)

    assert "report is defined in __main__, where no worker can find it" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING
    with pytest.raises(InvalidFunction, match="__main__"):
        await decorated.queue()


async def test_decorators_may_stand_on_either_side(rq: RQ, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker finds under the name is what counts: for what runs, and for the arguments that fit."""
    outer: Any = rq.job("low")(hub_jobs.wrapped)
    hidden: Any = rq.job("low")(hub_jobs.given_ten)
    monkeypatch.setattr(hub_jobs, "nothing", hub_jobs.with_ten(rq.job("low")(_ten_and(hub_jobs))))
    inner: Any = hub_jobs.nothing

    queued = [await outer.queue(1), await hidden.queue(2), await inner.queue(3)]
    await rq.get_worker("low").work(burst=True)

    assert [await job.wait() for job in queued] == [2, 12, 13]


def _ten_and(module: Any) -> Any:
    def function(ten: int, x: int) -> int:
        return ten + x

    function.__module__, function.__qualname__ = module.__name__, "nothing"
    return function


async def test_the_last_decorator_has_the_last_word(rq: RQ) -> None:
    """Of the same hub, or of another."""
    rq.job("first")(add)
    decorated = rq.job("second", timeout=5)(add)
    assert (decorated.helper.queue_name, decorated.helper.timeout) == ("second", 5)
    assert len(rq.jobs) == 1

    async with RQ("memory://the other one") as other:
        job = await other.job("third")(add).queue(1)

        assert (job.origin, await rq.get_queue("third").count()) == ("third", 0)
        assert rq.jobs.keys() == other.jobs.keys()
        await other.get_queue("third").empty()


async def test_jobs_run_where_they_are_enqueued_with_is_async_false(
    backend: RedisBackend,
) -> None:
    """The handle that comes back has the result; a failure is in it, not raised."""
    rq = RQ(backend, is_async=False)

    job = await rq.job(add).queue(4, 4)
    later = await rq.job(add_later).queue(1, 2)
    failed = await rq.job(hub_jobs.fail).queue()

    assert (job.status, job.result, later.result) == (JobStatus.FINISHED, 8, 3)
    assert failed.status is JobStatus.FAILED
    assert "ValueError: boom" in (failed.exc_info or "")


async def test_a_job_class_of_ones_own_is_what_everybody_gets(backend: RedisBackend) -> None:
    """The producer, the queue, the job itself and the exception handlers."""
    rq = RQ(backend, job_class=OwnJob)
    seen: list[str] = []
    rq.exception_handler(lambda job, *_: seen.append(type(job).__name__))

    job = await rq.job(hub_jobs.where).queue()
    await rq.job(hub_jobs.fail).queue()
    waiting = await rq.get_queue().get_jobs()
    await rq.get_worker().work(burst=True)

    assert {type(one) for one in (job, *waiting)} == {OwnJob}
    assert type(await rq.get_queue().fetch_job(job.id)) is OwnJob
    assert await job.wait() == ["OwnJob", False]
    assert seen == ["OwnJob"]


async def test_plain_functions_can_be_enqueued_beside_jobs(rq: RQ) -> None:
    """With ``queue.enqueue``, whose keywords are RQ's: what is no option of its is the function's; nothing is checked there."""
    queue = rq.get_queue()
    rq.job(add)

    explicit = await queue.enqueue(add, args=(1, 2))
    big = await rq.get_queue("low").enqueue(add, args=(1e100, 2e200))
    foreign = await queue.enqueue(support_jobs.echo, "do it 2", name="low", connection="other")
    await rq.get_worker("default", "low").work(burst=True)

    assert [await explicit.wait(), await big.wait()] == [3, 1e100 + 2e200]
    assert foreign.kwargs == {"name": "low", "connection": "other"}
    assert (await foreign.get_status()) is JobStatus.FAILED
    assert "unexpected keyword argument 'name'" in (foreign.exc_info or "")


async def test_a_worker_class_of_ones_own_is_used(rq: RQ) -> None:
    """As a class or by its dotted name; one that is no worker is refused, and one that does not exist is an ``ImportError``."""

    class OwnWorker(Worker):
        pass

    rq.worker_class = OwnWorker
    assert type(rq.get_worker()) is OwnWorker
    rq.worker_class = "rq.worker.Worker"  # Flask-RQ2's default
    assert type(rq.get_worker()) is Worker
    rq.worker_class = Job
    with pytest.raises(InvalidOption, match=r"worker_class=.*aiorq2\.worker\.Worker or a class"):
        rq.get_worker()
    rq.scheduler_class = "no.such.Scheduler"
    with pytest.raises(ImportError, match=r"scheduler_class=.no\.such\.Scheduler."):
        rq.get_scheduler()
