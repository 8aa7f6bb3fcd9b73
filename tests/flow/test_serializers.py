"""Arguments, results and meta on their way: JSON, pickle, a signature around either, and what happens when two sides differ."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from aiorq2 import DeserializationError, Job, JobFailed, Queue, Retry, connect, signed
from aiorq2.backends.redis import RedisBackend
from tests.flow import samples
from tests.flow.at_work import drain
from tests.support import jobs

PLAIN = [None, True, 0, -1.5, "text \u00e9 \u4e2d \U0001f600", [1, [2]], {"a": {"": None}}]
TAGGED = [
    datetime(2024, 5, 1, 12, 30, tzinfo=UTC),
    date(2024, 5, 1),
    timedelta(days=1, seconds=2),
    UUID("12345678-1234-5678-1234-567812345678"),
    Decimal("1.10"),
    b"\x00\xff",
    {1, 2},
    {"$aio.date": "not a date"},
]
SECRET = "0" * 32


@dataclass
class Point:
    """Something of the user's own."""

    x: int
    y: int


class Reversed:
    """A serializer of the user's own: JSON backwards."""

    name = "reversed"

    def dumps(self, obj: Any) -> bytes:
        """Return bytes."""
        return json.dumps(obj).encode()[::-1]

    def loads(self, data: bytes) -> Any:
        """Return the value."""
        return json.loads(data[::-1])


SERIALIZERS: dict[str, Any] = {
    "json": "json",
    "pickle": "pickle",
    "signed json": signed(SECRET),
    "signed pickle": signed(SECRET, "pickle"),
    "own": Reversed(),
}


@pytest.mark.parametrize("name", SERIALIZERS)
async def test_plain_data_comes_back_as_it_went(backend: RedisBackend, name: str) -> None:
    """As an argument, as a result and as meta, with every serializer."""
    serializer = SERIALIZERS[name]
    queue = Queue("q", backend, serializer=serializer)
    job = await queue.enqueue(jobs.echo, PLAIN, meta={"plain": PLAIN})

    await drain(backend, serializer=serializer)

    assert await job.wait(timeout=5) == PLAIN
    fetched = await Job.fetch(job.id, backend, serializer)
    assert fetched.args == (PLAIN,)
    assert fetched.meta == {"plain": PLAIN}
    assert fetched.result == PLAIN


@pytest.mark.parametrize("name", ["json", "pickle", "signed json"])
async def test_dates_numbers_and_bytes_come_back_as_they_went(
    backend: RedisBackend, name: str
) -> None:
    """JSON lacks them; it carries them in tags."""
    serializer = SERIALIZERS[name]
    queue = Queue("q", backend, serializer=serializer)
    job = await queue.enqueue(jobs.echo, TAGGED, meta={"tagged": TAGGED})

    await drain(backend, serializer=serializer)

    assert await job.wait(timeout=5) == TAGGED
    assert (await Job.fetch(job.id, backend, serializer)).meta == {"tagged": TAGGED}


@pytest.mark.parametrize("name", ["pickle", "signed pickle"])
async def test_pickle_carries_objects(backend: RedisBackend, name: str) -> None:
    """Tuples stay tuples, too."""
    serializer = SERIALIZERS[name]
    value = (Point(1, 2), {(1, 2): "tuple"})
    job = await Queue("q", backend, serializer=serializer).enqueue(jobs.echo, value)

    await drain(backend, serializer=serializer)

    assert await job.wait(timeout=5) == value


async def test_tuples_inside_json_come_back_as_lists(backend: RedisBackend) -> None:
    """JSON has no tuples; ``job.args`` is one all the same."""
    job = await Queue("q", backend).enqueue(jobs.echo, (1, (2,)))

    await drain(backend)

    assert await job.wait(timeout=5) == [1, [2]]
    assert (await Job.fetch(job.id, backend)).args == ([1, [2]],)


@pytest.mark.parametrize("name", ["json", "pickle", "own"])
async def test_serializer_of_a_job_in_a_process_is_the_workers(
    redis_backend: RedisBackend, name: str
) -> None:
    """It is used for the meta, over there."""
    serializer = SERIALIZERS[name]
    queue = Queue("q", redis_backend, serializer=serializer)
    job = await queue.enqueue(samples.count_in_meta_sync, meta={"count": 1}, offload="process")

    await drain(redis_backend, serializer=serializer)

    assert await job.wait(timeout=5) == 2
    assert await job.get_meta() == {"count": 2}


async def test_secret_does_not_reach_a_process(redis_backend: RedisBackend) -> None:
    """So a job there cannot write meta; its arguments and its result travel all the same."""
    serializer = signed(SECRET)
    queue = Queue("q", redis_backend, serializer=serializer)
    good = await queue.enqueue(jobs.add_sync, 1, 2, offload="process")
    meta = await queue.enqueue(samples.count_in_meta_sync, offload="process")

    await drain(redis_backend, serializer=serializer)

    assert await good.wait(timeout=5) == 3
    with pytest.raises(JobFailed, match="serializer cannot be used in a process"):
        await meta.wait(timeout=5)


# -- two sides that differ ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read", "names"),
    [
        ("json", "pickle", ("'pickle'", "looks like json")),
        ("pickle", "json", ("'json'", "looks like pickle")),
        ("json", "signed json", ("'signed(json)'", "looks like json")),
        ("signed json", "json", ("'json'", "looks like signed")),
        ("signed pickle", "pickle", ("'pickle'", "looks like signed")),
    ],
)
async def test_wrong_serializer_fails_the_job_with_both_named_and_its_bytes_kept(
    backend: RedisBackend, written: str, read: str, names: tuple[str, str]
) -> None:
    """Once; with the right one the same job can then be requeued and run."""
    queue = Queue("q", backend, serializer=SERIALIZERS[written])
    job = await queue.enqueue(jobs.add, 1, 2, retry=Retry(3))
    data = job.data

    await drain(backend, serializer=SERIALIZERS[read])

    with pytest.raises(JobFailed, match="DeserializationError") as failure:
        await job.wait(timeout=5)
    assert all(name in str(failure.value) for name in names)
    assert job.data == data
    assert len(await job.results()) == 1
    await job.requeue()
    await drain(backend, serializer=SERIALIZERS[written])
    assert await job.wait(timeout=5) == 3


async def test_result_in_another_serializer_is_an_error_of_the_reader(
    backend: RedisBackend,
) -> None:
    """The rest of the job can be seen."""
    job = await Queue("q", backend, serializer="pickle").enqueue(jobs.echo, Point(1, 2))
    await drain(backend, serializer="pickle")

    fetched = await Job.fetch(job.id, backend)

    assert fetched.status == "finished"
    with pytest.raises(DeserializationError, match="looks like pickle"):
        fetched.result  # noqa: B018
    with pytest.raises(DeserializationError, match="looks like pickle"):
        await fetched.wait(timeout=5)
    assert (await Job.fetch(job.id, backend, "pickle")).result == Point(1, 2)


async def test_pickle_bomb_does_not_go_off_where_json_is_read(
    backend: RedisBackend, tmp_path: Any
) -> None:
    """Not in a worker, and not in who looks at the job."""
    witness = tmp_path / "witness"

    class Bomb:
        def __reduce__(self) -> Any:
            return (open, (str(witness), "w"))

    job = await Queue("q", backend).enqueue(jobs.nothing)
    bomb = pickle.dumps(("tests.support.jobs.nothing", None, (Bomb(),), {}))
    await backend.run(["HSET", backend.keys.job(job.id), "data", bomb, "meta", bomb])

    await drain(backend)
    with pytest.raises(JobFailed):
        await job.wait(timeout=5)
    with pytest.raises(DeserializationError):
        await job.get_meta()

    assert not witness.exists()


# -- signed ------------------------------------------------------------------------------------------


async def test_payload_that_was_tampered_with_is_not_run(backend: RedisBackend) -> None:
    """One bit is enough."""
    serializer = signed(SECRET)
    job = await Queue("q", backend, serializer=serializer).enqueue(jobs.record, "never")
    data = bytearray(job.data)
    data[-3] ^= 1
    await backend.run(["HSET", backend.keys.job(job.id), "data", bytes(data)])

    await drain(backend, serializer=serializer)

    with pytest.raises(JobFailed, match="signature does not match"):
        await job.wait(timeout=5)
    assert jobs.recorded == []


async def test_payload_of_another_job_is_not_run(backend: RedisBackend) -> None:
    """A signature holds for one job id: what was signed once cannot be run again under another."""
    serializer = signed(SECRET)
    queue = Queue("q", backend, serializer=serializer)
    first = await queue.enqueue(jobs.record, "signed once")
    second = await queue.enqueue(jobs.record, "harmless")
    await backend.run(["HSET", backend.keys.job(second.id), "data", first.data])

    await drain(backend, serializer=serializer)

    assert jobs.recorded == ["signed once"]
    with pytest.raises(JobFailed, match="signature does not match"):
        await second.wait(timeout=5)


async def test_keys_are_rotated_without_losing_jobs(backend: RedisBackend) -> None:
    """The new key signs, the old one is still accepted; a worker that has only the old one refuses."""
    old, new = signed("old" * 10), signed("new" * 10, fallbacks=["old" * 10])
    before = await Queue("q", backend, serializer=old).enqueue(jobs.add, 1, 2)
    after = await Queue("q", backend, serializer=new).enqueue(jobs.add, 3, 4)
    late = await Queue("late", backend, serializer=new).enqueue(jobs.add, 5, 6)

    await drain(backend, serializer=new)
    await drain(backend, "late", serializer=old)

    assert (await Job.fetch(before.id, backend, new)).result == 3
    assert await after.wait(timeout=5) == 7
    with pytest.raises(JobFailed, match="signature does not match"):
        await late.wait(timeout=5)


async def test_secret_is_shown_nowhere(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in Redis nor in what is printed."""
    serializer = signed("canary-secret-canary")
    queue = Queue("q", backend, serializer=serializer)
    job = await queue.enqueue(jobs.fail)
    await drain(backend, serializer=serializer)

    with pytest.raises(JobFailed) as failure:
        await job.wait(timeout=5)
    (flat,) = await backend.run(["HGETALL", backend.keys.job(job.id)])
    told = [repr(serializer), repr(queue), repr(job), str(failure.value), caplog.text, repr(flat)]

    assert "canary" not in "".join(told)


async def test_queue_names_a_serializer_that_is_none() -> None:
    """A typing error is found when the queue is made."""
    with pytest.raises(ValueError, match="'jsn'"):
        Queue("q", connect("memory://x"), serializer="jsn")
    with pytest.raises(ValueError, match="no dumps and loads"):
        Queue("q", connect("memory://x"), serializer=object())
