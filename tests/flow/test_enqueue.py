"""A call becomes a job: what can be enqueued, with which options, and what is refused before anything is sent."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from aiorq2 import (
    BackendError,
    DuplicateJobError,
    InvalidFunction,
    InvalidJobOperation,
    InvalidOption,
    Job,
    JobFailed,
    JobStatus,
    NoSuchJobError,
    PayloadTooLarge,
    Queue,
    Retry,
    SerializationError,
    signed,
)
from aiorq2.allowlist import warn_if_not_allowed
from aiorq2.backends import connect
from aiorq2.backends.redis import RedisBackend
from tests.flow import samples
from tests.flow.at_work import at_work, drain, let_expire, stored
from tests.support import jobs
from tests.support.eventually import eventually, gates
from tests.support.redis_server import RedisServer

# -- calls -------------------------------------------------------------------------------------------


async def test_job_waits_in_its_queue_until_a_worker_runs_it(backend: RedisBackend) -> None:
    """Enqueue, run, wait: the value that the function returned comes back."""
    queue = Queue("q", backend)

    job = await queue.enqueue(jobs.add, 1, 2)

    assert await job.is_queued()
    assert await queue.get_job_ids() == [job.id]
    assert UUID(job.id).version == 4
    assert await drain(backend)
    assert await job.wait(timeout=5) == 3
    assert await queue.get_job_ids() == []


CALLS: dict[str, tuple[Any, tuple[Any, ...], Any]] = {
    "coroutine function": (jobs.add, (1, 2), 3),
    "plain function": (jobs.add_sync, (1, 2), 3),
    "dotted name": ("tests.support.jobs.add", (1, 2), 3),
    "classmethod": (jobs.Account.bank, ("!",), "Account!"),
    "staticmethod": (jobs.Account.double, (4,), 8),
    "static method by name": ("tests.support.jobs.Account.double", (4,), 8),
    "plain function around a coroutine function": (samples.wrapped, (4,), 8),
}


@pytest.mark.parametrize("kind", CALLS)
async def test_functions_of_every_kind_are_found_by_their_name(
    backend: RedisBackend, kind: str
) -> None:
    """By object or by dotted name; the methods of a class travel by name, too."""
    func, args, expected = CALLS[kind]

    job = await Queue("q", backend).enqueue(func, *args)

    await drain(backend)
    assert await job.wait(timeout=5) == expected


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (jobs.Account(10).deposit, 15),
        (jobs.Account(10).withdraw, 5),
        (jobs.Greeter("good day"), "good day 5"),
    ],
    ids=["coroutine method", "plain method", "callable object"],
)
async def test_bound_method_travels_with_its_object_where_the_serializer_can_carry_it(
    backend: RedisBackend, method: Callable[..., Any], expected: object
) -> None:
    """Pickle carries the object along; the worker calls the method of a copy."""
    job = await Queue("q", backend, serializer="pickle").enqueue(method, 5)

    await drain(backend, serializer="pickle")
    assert await job.wait(timeout=5) == expected


async def test_bound_method_is_refused_where_the_serializer_cannot_carry_its_object(
    backend: RedisBackend,
) -> None:
    """JSON has no form for an object; the message says which object, and the way out."""
    with pytest.raises(SerializationError, match=r"Account.*pickle"):
        await Queue("q", backend).enqueue(jobs.Account(10).deposit, 5)

    assert await stored(backend) == []


async def test_positional_and_keyword_arguments_reach_the_function(backend: RedisBackend) -> None:
    """What is no option is an argument."""
    job = await Queue("q", backend).enqueue(samples.collect, 1, "two", three=3, timeout=4)

    await drain(backend)
    assert await job.wait(timeout=5) == [[1, "two"], {"three": 3, "timeout": 4}]


async def test_reserved_keywords_are_options_and_do_not_reach_the_function(
    backend: RedisBackend,
) -> None:
    """RQ's rule: the same words as RQ's, the rest is the function's."""
    job = await Queue("q", backend).enqueue(
        samples.collect,
        1,
        job_timeout="1h30m",
        result_ttl=60,
        ttl=timedelta(minutes=5),
        failure_ttl="1d",
        description="what it is for",
        job_id="my-job",
        at_front=True,
        meta={"tenant": 7},
        retry=Retry(2, interval=10),
        unique=True,
        redeliver=False,
    )

    assert job.id == "my-job"
    assert (job.args, job.kwargs) == ((1,), {})
    await job.refresh()
    assert (job.timeout, job.result_ttl, job.ttl, job.failure_ttl) == (5400, 60, 300, 86400)
    assert (job.description, job.meta, job.retries_left) == ("what it is for", {"tenant": 7}, 2)


async def test_args_and_kwargs_can_be_given_explicitly(backend: RedisBackend) -> None:
    """So that a function can be given keyword arguments that have the name of an option."""
    job = await Queue("q", backend).enqueue(
        samples.collect, args=[1, 2], kwargs={"description": "the function's"}, description="ours"
    )

    assert job.description == "ours"
    await drain(backend)
    assert await job.wait(timeout=5) == [[1, 2], {"description": "the function's"}]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1,), {"args": (2,)}),
        ((1,), {"kwargs": {}}),
        ((), {"args": (1,), "x": 2}),
        ((), {"args": "ab"}),
        ((), {"args": 5}),
        ((), {"kwargs": [1]}),
        ((), {"kwargs": {1: 2}}),
    ],
)
async def test_explicit_arguments_are_not_mixed_with_others(
    backend: RedisBackend, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Two ways to give arguments at once cannot be meant, nor can a text in the place of a list."""
    with pytest.raises(InvalidOption):
        await Queue("q", backend).enqueue(samples.collect, *args, **kwargs)

    assert await stored(backend) == []


async def test_keyword_that_is_no_option_goes_to_the_function(backend: RedisBackend) -> None:
    """``name`` is no option of ``enqueue``: the function does not know it either, and the job says so."""
    job = await Queue("q", backend).enqueue(jobs.add, 1, 2, name="low")

    await drain(backend)
    with pytest.raises(JobFailed, match=r"TypeError: add\(\) got an unexpected keyword argument"):
        await job.wait(timeout=5)


async def test_enqueue_call_has_everything_explicit(backend: RedisBackend) -> None:
    """RQ's other form: ``timeout`` is the job's there."""
    job = await Queue("q", backend).enqueue_call(
        samples.collect, args=(1,), kwargs={"at_front": True}, timeout=77, meta={"a": 1}
    )

    assert (job.timeout, job.meta) == (77, {"a": 1})
    await drain(backend)
    assert await job.wait(timeout=5) == [[1], {"at_front": True}]


async def test_options_that_do_not_exist_are_refused(backend: RedisBackend) -> None:
    """They must not reach the function as arguments, which would be a failure in a worker, later."""
    queue = Queue("q", backend)

    with pytest.raises(InvalidOption, match="pipeline are left out"):
        await queue.enqueue(jobs.nothing, pipeline=object())
    with pytest.raises(InvalidOption, match="job_timeot are no options"):
        await queue.enqueue_call(jobs.nothing, job_timeot=3)

    assert await stored(backend) == []


# -- what is no job ----------------------------------------------------------------------------------


def _closure() -> Callable[[], None]:
    def inner() -> None: ...

    return inner


REFUSED_FUNCTIONS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "a number": lambda: 5,
    "an object": object,
    "a lambda": lambda: lambda: None,
    "a closure": _closure,
    "a partial": lambda: functools.partial(jobs.add, 1),
    "a class": lambda: jobs.Account,
    "a coroutine": lambda: jobs.nothing(),
    "a generator function": lambda: samples.count_up,
    "an async generator function": lambda: samples.count_up_later,
    "a name without a module": lambda: "add",
    "an empty name": lambda: "",
    "a name with spaces": lambda: "my module.add",
    "a name with a hole": lambda: "tests..add",
    "a name of __main__": lambda: "__main__.add",
    "a huge name": lambda: f"tests.{'x' * 1_000_000}",
}


@pytest.mark.parametrize("kind", REFUSED_FUNCTIONS)
async def test_what_no_worker_could_find_is_refused(backend: RedisBackend, kind: str) -> None:
    """At once, in the producer, in a short sentence; nothing has reached Redis."""
    func = REFUSED_FUNCTIONS[kind]()

    with pytest.raises(InvalidFunction) as refusal:
        await Queue("q", backend).enqueue(func)

    assert len(str(refusal.value)) < 400
    assert await stored(backend) == []


async def test_function_of_main_is_refused(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is another program, with another ``__main__``."""
    monkeypatch.setattr(samples.greet, "__module__", "__main__")

    with pytest.raises(InvalidFunction, match="__main__"):
        await Queue("q", backend).enqueue(samples.greet, "x")


async def test_function_given_by_name_is_not_imported_by_the_producer(
    backend: RedisBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's code need not even be installed where the job is enqueued."""
    (tmp_path / "with_side_effects.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    queue = Queue("q", backend)

    await queue.enqueue("with_side_effects.task")
    await queue.enqueue("there_is_no_such_module.task")

    assert "with_side_effects" not in sys.modules
    assert await queue.count() == 2


async def test_producer_is_warned_of_a_function_that_workers_refuse(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """It is enqueued all the same: the worker may have been told to allow it."""
    warn_if_not_allowed.cache_clear()
    with caplog.at_level(logging.WARNING):
        job = await Queue("q", backend).enqueue("shutil.disk_usage", "/")

    assert await job.is_queued()
    assert "function 'shutil.disk_usage' is part of Python" in caplog.text


# -- what cannot be meant ----------------------------------------------------------------------------

BAD_DURATIONS: list[Any] = [
    0,
    -2,
    float("nan"),
    float("inf"),
    10**20,
    10**5000,
    "5 parsecs",
    "",
    True,
    timedelta(seconds=-5),
    [],
    object(),
]

BAD_OPTIONS: list[tuple[str, Any]] = [
    *(
        ("job_id", one)
        for one in ("", "x" * 1_000_000, "a b", "a:b", "{a}", "*", "a\n", "a\0", "\ud800")
    ),
    *(("job_id", one) for one in ("\u202eabc", "../a", "%s", "é", b"bytes", 7)),
    *(("job_timeout", one) for one in BAD_DURATIONS),
    *(("ttl", one) for one in [*BAD_DURATIONS, -1]),
    *(("result_ttl", one) for one in BAD_DURATIONS[1:]),
    *(("failure_ttl", one) for one in BAD_DURATIONS[1:]),
    *(("retry", one) for one in (0, -1, True, "3", [1], object())),
    *(("meta", one) for one in ("text", [("a", 1)], 5)),
    *(("description", one) for one in (5, b"bytes", ["text"])),
    *(("offload", one) for one in ("gpu", True, b"process")),
    ("unique", True),
]


@pytest.mark.parametrize(
    ("name", "value"), BAD_OPTIONS, ids=[f"{name}-{n}" for n, (name, _) in enumerate(BAD_OPTIONS)]
)
async def test_option_that_cannot_be_meant_is_refused_by_name(
    memory_url: str, name: str, value: object
) -> None:
    """With a short sentence that names the option, before anything is sent."""
    backend = connect(memory_url)

    with pytest.raises(InvalidOption) as refusal:
        await Queue("q", backend).enqueue(jobs.nothing, **{name: value})

    assert name in str(refusal.value).lower()
    assert len(str(refusal.value)) < 300
    assert await stored(backend) == []
    await backend.close()


@pytest.mark.parametrize("job_id", ["a", "A-b_9", "__proto__", "-", "x" * 255])
async def test_job_id_of_letters_digits_underscores_and_dashes_is_taken(
    backend: RedisBackend, job_id: str
) -> None:
    """RQ's rule."""
    job = await Queue("q", backend).enqueue(jobs.nothing, job_id=job_id)

    assert await Job.exists(job_id, backend)
    assert job.id == job_id


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " q",
        "q ",
        "a\nb",
        "a\0b",
        "\ud800",
        "\u202eq",
        "x" * 256,
        "q:intermediate",
        None,
        1,
    ],
)
async def test_queue_name_that_cannot_be_shown_or_is_rqs_own_is_refused(name: Any) -> None:
    """A queue's name stands in keys, logs and terminals."""
    with pytest.raises(InvalidOption, match="queue name"):
        Queue(name)


@pytest.mark.parametrize("name", ["q", "a b", "a:b", "{a}", "*", "../a", "%s", "größe", "x" * 255])
async def test_queue_name_of_printable_characters_is_taken(
    backend: RedisBackend, name: str
) -> None:
    """Glob characters and colons included: names are never patterns."""
    queue = Queue(name, backend)

    job = await queue.enqueue(jobs.add, 1, 2)

    assert await queue.get_job_ids() == [job.id]
    await drain(backend, name)
    assert await job.wait(timeout=5) == 3


async def test_argument_that_cannot_be_carried_is_refused_with_its_place(
    backend: RedisBackend,
) -> None:
    """The message has the function, the argument and the way out."""
    queue = Queue("q", backend)

    with pytest.raises(SerializationError, match=r"samples\.collect: args\[1\]\['a'\]"):
        await queue.enqueue(samples.collect, 1, {"a": object()})
    with pytest.raises(SerializationError, match=r"kwargs\['lock'\]"):
        await queue.enqueue(samples.collect, lock=object())
    with pytest.raises(SerializationError, match="meta"):
        await queue.enqueue(jobs.nothing, meta={"a": object()})

    assert await stored(backend) == []


async def test_payload_above_the_limit_is_refused(backend: RedisBackend) -> None:
    """1 MiB unless the queue says otherwise, for the arguments and for the meta."""
    queue, small = Queue("q", backend), Queue("q", backend, payload_limit=100)

    with pytest.raises(PayloadTooLarge, match="1048576"):
        await queue.enqueue(jobs.echo, "x" * 1024 * 1024)
    with pytest.raises(PayloadTooLarge, match="limit of 100"):
        await small.enqueue(jobs.echo, "x" * 100)
    with pytest.raises(PayloadTooLarge, match="the meta"):
        await small.enqueue(jobs.nothing, meta={"a": "x" * 100})
    assert await stored(backend) == []

    job = await queue.enqueue(jobs.echo, "x" * 1024 * 1000)
    await drain(backend)
    assert await job.wait(timeout=5) == "x" * 1024 * 1000


async def test_description_that_is_not_utf_8_harms_nobody(backend: RedisBackend) -> None:
    """Half a surrogate pair is written out; the enqueues that share its pipeline are not its victims."""
    queue = Queue("q", backend)

    odd, good = await asyncio.gather(
        queue.enqueue(jobs.nothing, description="half \ud800 a pair"), queue.enqueue(jobs.nothing)
    )

    await odd.refresh()
    assert odd.description == "half \\ud800 a pair"
    assert await good.is_queued()


# -- options -----------------------------------------------------------------------------------------


async def test_job_without_options_has_rqs_defaults(backend: RedisBackend) -> None:
    """180 seconds for a run; results are kept as the worker has it, failures for a year."""
    job = await Queue("q", backend).enqueue(jobs.add, 1, 2)

    await job.refresh()
    assert job.timeout == 180
    assert (job.ttl, job.result_ttl, job.failure_ttl) == (None, None, None)
    assert job.description == "tests.support.jobs.add(1, 2)"
    assert job.meta == {}


async def test_timeout_is_the_queues_unless_the_job_has_its_own(backend: RedisBackend) -> None:
    """-1 is for ever; fractions of a second are kept."""
    queue = Queue("q", backend, default_timeout="5m")

    own = await queue.enqueue(jobs.nothing, job_timeout=0.25)
    queues = await queue.enqueue(jobs.nothing)
    endless = await queue.enqueue(jobs.nothing, job_timeout=-1)

    fetched = await Job.fetch_many([own.id, queues.id, endless.id], backend)
    assert [job and job.timeout for job in fetched] == [0.25, 300, -1]


async def test_job_at_front_overtakes(backend: RedisBackend) -> None:
    """The last one put at the front is the first to start."""
    queue = Queue("q", backend)
    for key, at_front in (("a", False), ("b", False), ("c", True), ("d", True)):
        await queue.enqueue(jobs.record, key, at_front=at_front)

    await drain(backend, concurrency=1)

    assert jobs.recorded == ["d", "c", "a", "b"]


async def test_job_past_its_ttl_is_not_started(backend: RedisBackend) -> None:
    """``ttl`` is how long a job may wait; what is left of it is its id, which the worker drops."""
    queue = Queue("q", backend)
    late = await queue.enqueue(jobs.record, "late", ttl=60)
    await queue.enqueue(jobs.record, "in time", ttl=60)
    await let_expire(backend, backend.keys.job(late.id))

    await drain(backend)

    assert jobs.recorded == ["in time"]
    with pytest.raises(NoSuchJobError):
        await late.wait(timeout=5)


async def test_ttl_does_not_run_out_while_the_job_runs(backend: RedisBackend) -> None:
    """It is for waiting; a job that has started is there until it has ended."""
    job = await Queue("q", backend).enqueue(jobs.wait_gate, "g", ttl=60)

    async with at_work(backend):
        await eventually(lambda: gates["g"].arrivals == 1)
        (left,) = await backend.run(["TTL", backend.keys.job(job.id)])
        gates["g"].open()
        await job.wait(timeout=5)

    assert left == -1


async def test_unique_job_is_enqueued_once(backend: RedisBackend) -> None:
    """The second one is told so, whatever has become of the first, until that is gone."""
    queue = Queue("q", backend)
    await queue.enqueue(jobs.add, 1, 2, job_id="only", unique=True)

    with pytest.raises(DuplicateJobError, match=r"'only'.*queued"):
        await queue.enqueue(jobs.add, 3, 4, job_id="only", unique=True)
    await drain(backend)
    with pytest.raises(DuplicateJobError, match=r"'only'.*finished"):
        await queue.enqueue(jobs.add, 3, 4, job_id="only", unique=True)

    await (await Job.fetch("only", backend)).delete()
    await queue.enqueue(jobs.add, 3, 4, job_id="only", unique=True)


async def test_of_a_hundred_unique_enqueues_one_wins(backend: RedisBackend) -> None:
    """However close they come."""
    queue = Queue("q", backend)

    outcomes = await asyncio.gather(
        *[queue.enqueue(jobs.nothing, job_id="only", unique=True) for _ in range(100)],
        return_exceptions=True,
    )

    assert sum(isinstance(one, Job) for one in outcomes) == 1
    assert sum(isinstance(one, DuplicateJobError) for one in outcomes) == 99
    assert await queue.get_job_ids() == ["only"]


# -- the same id again -------------------------------------------------------------------------------


async def _bring_into(status: str, backend: RedisBackend, job_id: str) -> None:
    queue = Queue("q", backend)
    match status:
        case "queued" | "canceled":
            job = await queue.enqueue(jobs.record, "first", job_id=job_id)
            if status == "canceled":
                await job.cancel()
        case "scheduled" | "failed":
            retry = Retry(1, interval=60) if status == "scheduled" else None
            await queue.enqueue(jobs.fail, job_id=job_id, retry=retry)
            await drain(backend)
        case "finished":
            await queue.enqueue(jobs.echo, "first", job_id=job_id)
            await drain(backend)
        case "stopped":
            job = await queue.enqueue(jobs.wait_gate, "g", job_id=job_id)
            async with at_work(backend):
                await eventually(job.is_started)
                await job.cancel()
                await eventually(job.is_stopped)
    assert await (await Job.fetch(job_id, backend)).get_status() == status


@pytest.mark.parametrize(
    "status", ["queued", "scheduled", "finished", "failed", "canceled", "stopped"]
)
async def test_same_id_replaces_a_job_that_does_not_run(backend: RedisBackend, status: str) -> None:
    """Atomically and altogether: it is in one place, and nothing of the old one is left."""
    await _bring_into(status, backend, "same")
    queue = Queue("other", backend)

    job = await queue.enqueue(jobs.record, "second", job_id="same")

    assert await job.is_queued()
    assert await job.results() == []
    assert await Queue("q", backend).get_job_ids() == []
    assert await queue.get_job_ids() == ["same"]
    await drain(backend, ["q", "other"])
    assert jobs.recorded == ["second"]
    assert await job.wait(timeout=5) == "second"


async def test_same_id_is_refused_while_the_job_runs(backend: RedisBackend) -> None:
    """Two runs of one job would fight for one result; the running one is not touched."""
    queue = Queue("q", backend)
    job = await queue.enqueue(jobs.wait_gate, "g", job_id="same")

    async with at_work(backend):
        await eventually(lambda: gates["g"].arrivals == 1)
        with pytest.raises(InvalidJobOperation, match="'same': cannot add from 'started'"):
            await queue.enqueue(jobs.record, "second", job_id="same")
        gates["g"].open()
        assert await job.wait(timeout=5) == "g"


# -- many --------------------------------------------------------------------------------------------


async def test_many_jobs_are_enqueued_in_order(redis_backend: RedisBackend) -> None:
    """Ten thousand, each with options of its own."""
    queue = Queue("q", redis_backend)

    made = await queue.enqueue_many(
        queue.prepare_data(jobs.echo, (n,), meta={"n": n}) for n in range(10_000)
    )

    assert await queue.get_job_ids() == [job.id for job in made]
    last = await Job.fetch(made[-1].id, redis_backend)
    assert (last.args, last.meta, last.origin) == ((9_999,), {"n": 9_999}, "q")
    await queue.empty()


async def test_bad_one_among_many_leaves_none_behind(backend: RedisBackend) -> None:
    """All are encoded before the first is sent."""
    queue = Queue("q", backend)
    datas = [queue.prepare_data(jobs.echo, (n,)) for n in range(1000)]

    with pytest.raises(SerializationError):
        await queue.enqueue_many([*datas, queue.prepare_data(jobs.echo, (object(),))])
    with pytest.raises(InvalidFunction):
        await queue.enqueue_many([*datas, queue.prepare_data(lambda: None)])
    twins = [queue.prepare_data(jobs.nothing, job_id="twin") for _ in range(2)]
    with pytest.raises(InvalidOption, match="the same job_id stands twice"):
        await queue.enqueue_many(twins)

    assert await stored(backend) == []
    assert await queue.enqueue_many([]) == []


async def test_refused_one_among_many_does_not_keep_the_others_out(backend: RedisBackend) -> None:
    """What only Redis knows, that an id is taken, is raised when all have been sent."""
    queue = Queue("q", backend)
    await queue.enqueue(jobs.nothing, job_id="taken")

    with pytest.raises(DuplicateJobError, match="'taken'"):
        await queue.enqueue_many(
            queue.prepare_data(jobs.nothing, job_id=job_id, unique=True)
            for job_id in ("a", "taken", "b")
        )

    assert await queue.get_job_ids() == ["taken", "a", "b"]


async def test_concurrent_enqueues_all_arrive(backend: RedisBackend) -> None:
    """64 at once: each returns a job of its own, and every job is there."""
    queue = Queue("q", backend)

    made = await asyncio.gather(*[queue.enqueue(jobs.echo, n) for n in range(64)])

    assert sorted(await queue.get_job_ids()) == sorted(job.id for job in made)
    await drain(backend)
    assert await asyncio.gather(*[job.wait(5) for job in made]) == list(range(64))


# -- in two steps ------------------------------------------------------------------------------------


async def test_job_can_be_made_first_and_enqueued_later(backend: RedisBackend) -> None:
    """``create_job`` touches nothing; ``enqueue_job`` sends."""
    queue = Queue("q", backend)
    job = queue.create_job(jobs.add, (1, 2), meta={"a": 1})

    assert await stored(backend) == []
    assert repr(job) == f"<Job {job.id}: tests.support.jobs.add(1, 2)>"
    assert await queue.enqueue_job(job) is job
    await drain(backend)
    assert await job.wait(timeout=5) == 3


WAYS: dict[str, Callable[[Queue, Job], Awaitable[Job]]] = {
    "enqueued": lambda queue, job: queue.enqueue_job(job),
    "scheduled": lambda queue, job: queue.schedule_job(job, datetime.now(UTC)),
    "at another queue": lambda queue, job: queue.named("other").enqueue_job(job),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("serializer", ["json", signed("secret")], ids=["json", "signed"])
async def test_made_job_takes_the_meta_along_that_it_was_given(
    backend: RedisBackend, serializer: Any, way: str
) -> None:
    """What was changed in place, set as a whole, or taken out, before it was sent."""
    queue = Queue("q", backend, serializer=serializer)
    changed = queue.create_job(jobs.nothing, meta={"a": 1})
    changed.meta["tenant"] = 7
    anew = Job.create(jobs.nothing, backend=backend, serializer=serializer)
    anew.meta = {"b": None}
    emptied = queue.create_job(jobs.nothing, meta={"a": 1})
    emptied.meta.clear()

    for job in (changed, anew, emptied):
        await WAYS[way](queue, job)

    ids = [changed.id, anew.id, emptied.id]
    found = await Job.fetch_many(ids, backend, serializer)
    assert [job and job.meta for job in found] == [{"a": 1, "tenant": 7}, {"b": None}, {}]
    assert changed.meta == {"a": 1, "tenant": 7}


async def test_meta_of_a_made_job_that_cannot_be_carried_is_refused(backend: RedisBackend) -> None:
    """Nothing is sent; when it is mended, the job can be."""
    queue = Queue("q", backend, payload_limit=100)
    job = queue.create_job(jobs.nothing)

    job.meta["a"] = object()
    with pytest.raises(SerializationError, match="meta"):
        await queue.enqueue_job(job)
    job.meta["a"] = "x" * 100
    with pytest.raises(PayloadTooLarge, match="the meta"):
        await queue.enqueue_job(job)
    assert await stored(backend) == []

    job.meta["a"] = "x"
    await queue.enqueue_job(job)
    assert (await Job.fetch(job.id, backend)).meta == {"a": "x"}


async def test_made_job_can_go_to_another_queue_and_to_its_front(backend: RedisBackend) -> None:
    """The queue that enqueues it is its queue."""
    low = Queue("low", backend)
    await low.enqueue(jobs.nothing, job_id="first")

    job = await low.enqueue_job(Queue("high", backend).create_job(jobs.nothing), at_front=True)

    assert job.origin == "low"
    assert await low.get_job_ids() == [job.id, "first"]
    assert (await Job.fetch(job.id, backend)).origin == "low"


async def test_job_that_has_ended_can_be_enqueued_again(backend: RedisBackend) -> None:
    """By the same handle or another one; while it waits, it is refused."""
    queue = Queue("q", backend)
    job = await queue.enqueue_job(queue.create_job(jobs.record, ("x",)))

    with pytest.raises(InvalidJobOperation, match="cannot requeue from 'queued'"):
        await queue.enqueue_job(job)
    await drain(backend)
    await queue.enqueue_job(job)
    await drain(backend)
    await queue.enqueue_job(await Job.fetch(job.id, backend))
    await drain(backend)

    assert jobs.recorded == ["x", "x", "x"]


async def test_job_of_another_queue_is_not_enqueued_here(backend: RedisBackend) -> None:
    """It would go to its own queue, which is not what was said."""
    job = await Queue("q", backend).enqueue(jobs.nothing)
    await job.cancel()

    with pytest.raises(InvalidJobOperation, match="of queue 'q'"):
        await Queue("other", backend).enqueue_job(job)


# -- where to ----------------------------------------------------------------------------------------


async def test_queue_takes_rqs_connection_argument(
    redis_server: RedisServer, redis_url: str, key_prefix: str
) -> None:
    """By name or in RQ's place; a blocking client is refused in a sentence."""
    import redis
    import redis.asyncio

    client = redis.asyncio.Redis.from_url(redis_server.url, decode_responses=True)
    blocking = redis.Redis.from_url(redis_server.url)

    for queue in (Queue("q", connection=client), Queue("q", client)):
        queue.backend = connect(client, key_prefix=key_prefix)
        assert await (await queue.enqueue(jobs.nothing)).is_queued()
        await queue.backend.close()
    with pytest.raises(InvalidOption, match="synchronous client"):
        Queue("q", connection=blocking)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="synchronous client"):
        Queue("q", blocking)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="not both"):
        Queue("q", connect(redis_url), connection=redis_url)
    await client.aclose()
    blocking.close()


@pytest.mark.leaks_allowed("a key of another kind is planted")
async def test_enqueue_that_finds_something_else_under_the_jobs_key_says_so(
    backend: RedisBackend,
) -> None:
    """It is not overwritten."""
    await backend.run(["SET", backend.keys.job("odd"), "not a job", "EX", 60])

    with pytest.raises(BackendError, match="not a job"):
        await Queue("q", backend).enqueue(jobs.nothing, job_id="odd")

    assert await Queue("q", backend).count() == 0


async def test_status_is_one_of_rqs(backend: RedisBackend) -> None:
    """``JobStatus`` is a text and an enum."""
    job = await Queue("q", backend).enqueue(jobs.nothing)

    assert await job.get_status() is JobStatus.QUEUED
    assert job.status == "queued"
