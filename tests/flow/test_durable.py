"""``durable=n``: an enqueue counts when n replicas have the job, so that no failover takes it away."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiorq2 import RQ, DuplicateJobError, Durable, InvalidOption, Job, NotDurable, Queue, connect
from aiorq2.backends import scripts
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendFull
from tests.flow import hub_jobs
from tests.flow.at_work import drain
from tests.support import jobs
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer
from tests.support.redis_topology import AT_ONCE, Replica

pytestmark = pytest.mark.redis

SHORT = Durable(1, timeout="100ms")
LONG = Durable(1, 10)


@dataclass
class Pair:
    """A master and its replica."""

    master: RedisServer
    replica: Replica
    backend: RedisBackend

    def is_waiting(self) -> bool:
        """Return whether somebody waits for replicas at the moment."""
        return b"cmd=wait" in self.master.command("CLIENT", "LIST")

    def connections(self) -> int:
        """Return how many connections to the master are open."""
        return int(self.master.command("CLIENT", "LIST").count(b"id="))

    def waits(self) -> int:
        """Return how many times the master was asked to wait for replicas."""
        with self.master.client() as client:
            stats: Any = client.info("commandstats")
        return int(stats.get("cmdstat_wait", {}).get("calls", 0))


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[RedisServer, Replica]]:
    with RedisServer(extra=AT_ONCE) as master, Replica(master) as replica:
        yield master, replica


@pytest.fixture
async def pair(servers: tuple[RedisServer, Replica], key_prefix: str) -> AsyncIterator[Pair]:
    """A backend on a server that has a replica, which is in step."""
    master, replica = servers
    master.command("FLUSHALL")
    assert master.command("WAIT", 1, 5000) == 1
    backend = connect(master.url, key_prefix=key_prefix)
    yield Pair(master, replica, backend)
    await backend.close()
    replica.resume()
    replica.wait_for_link()


async def test_durable_job_is_on_the_replica_when_enqueue_returns(pair: Pair) -> None:
    """What was acknowledged can be read from the replica at once."""
    queue = Queue("q", pair.backend, durable=1)

    job = await queue.enqueue(jobs.add, 1, 2)

    assert pair.replica.command("EXISTS", pair.backend.keys.job(job.id)) == 1
    assert pair.replica.command("LRANGE", pair.backend.keys.queue("q"), 0, -1) == [job.id.encode()]


async def test_enqueue_without_enough_replicas_raises_in_its_time(pair: Pair) -> None:
    """The error names the job and how many replicas have it; the job stays enqueued."""
    pair.replica.pause()
    took = []
    errors = []

    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(NotDurable) as raised:
            await Queue("q", pair.backend).enqueue(jobs.add, 1, 2, job_id="x", durable=SHORT)
        took.append(time.monotonic() - began)
        errors.append(raised.value)

    error = errors[0]
    assert 0.1 <= min(took) < 2
    assert (error.job_id, error.wanted, error.acknowledged) == ("x", 1, 0)
    assert "job 'x'" in str(error)
    assert "0 of the 1 replicas" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert await Queue("q", pair.backend).get_job_ids() == ["x"]


async def test_more_replicas_than_there_are_is_an_error(pair: Pair) -> None:
    """One of two is not two."""
    with pytest.raises(NotDurable) as raised:
        await Queue("q", pair.backend, durable=Durable(2, 3)).enqueue(jobs.add, 1, 2)

    assert raised.value.acknowledged == 1


async def test_same_call_again_is_recognised_and_waits_again(pair: Pair) -> None:
    """Repeating is safe: there is one job, and the repetition succeeds only when the replica has it."""
    queue = Queue("q", pair.backend, durable=SHORT)
    pair.replica.pause()
    for _ in range(2):
        with pytest.raises(NotDurable):
            await queue.enqueue(jobs.add, 1, 2, job_id="x")
    await pair.backend.close()  # a new connection has written nothing that it could wait for
    with pytest.raises(NotDurable):
        await queue.enqueue(jobs.add, 1, 2, job_id="x")
    pair.replica.resume()
    pair.replica.wait_for_link()

    job = await queue.enqueue(jobs.add, 1, 2, job_id="x", durable=1)

    assert await queue.get_job_ids() == ["x"]
    assert job.id == "x"
    assert pair.replica.command("EXISTS", pair.backend.keys.job("x")) == 1


async def test_repetition_of_a_job_that_has_run_does_not_run_it_again(pair: Pair) -> None:
    """The job may have been run meanwhile."""
    queue = Queue("q", pair.backend, durable=SHORT)
    pair.replica.pause()
    with pytest.raises(NotDurable):
        await queue.enqueue(jobs.add, 1, 2, job_id="x")
    await drain(pair.backend)
    pair.replica.resume()
    pair.replica.wait_for_link()

    job = await queue.enqueue(jobs.add, 1, 2, job_id="x", durable=1)

    assert await job.is_finished()
    assert await queue.count() == 0


async def test_another_call_with_the_same_id_is_no_repetition(pair: Pair) -> None:
    """Other arguments are another call: it replaces a job that does not run, as in RQ, or is a duplicate."""
    queue = Queue("q", pair.backend, durable=1)
    await queue.enqueue(jobs.add, 1, 2, job_id="x")

    again = await queue.enqueue(jobs.add, 3, 4, job_id="x")

    assert (await Job.fetch("x", pair.backend)).args == again.args == (3, 4)
    with pytest.raises(DuplicateJobError):
        await queue.enqueue(jobs.add, 5, 6, job_id="x", unique=True)


async def test_job_that_is_handed_back_is_durable_as_well(pair: Pair) -> None:
    """``unique="return"`` hands back the job that was there; that one is waited for."""
    await Queue("q", pair.backend).enqueue(jobs.add, 1, 2, job_id="x")
    pair.replica.pause()

    with pytest.raises(NotDurable):
        await Queue("q", pair.backend).enqueue(
            jobs.add, 3, 4, job_id="x", unique="return", durable=SHORT
        )


async def test_concurrent_callers_share_a_wait(pair: Pair) -> None:
    """A hundred callers cost a few waits, not a hundred."""
    queue = Queue("q", pair.backend, durable=1)
    await queue.enqueue(jobs.nothing)
    before = pair.waits()

    await asyncio.gather(*[queue.enqueue(jobs.nothing) for _ in range(100)])

    assert pair.waits() - before <= 5
    assert await queue.count() == 101


async def test_nobody_waits_with_those_who_want_replicas(pair: Pair) -> None:
    """While one call waits, others go on."""
    queue = Queue("q", pair.backend)
    pair.replica.pause()
    waiting = asyncio.create_task(queue.enqueue(jobs.nothing, durable=Durable(1, 30)))
    await eventually(lambda: pair.is_waiting())

    await queue.enqueue(jobs.nothing)

    assert not waiting.done()
    pair.replica.resume()
    await waiting


async def test_time_outs_of_all_sizes_share_a_few_connections(pair: Pair) -> None:
    """Who enqueues against a deadline has another time-out each time; that must not open a connection each time."""
    queue = Queue("q", pair.backend)
    before = pair.connections()

    for n in range(50):
        await queue.enqueue(jobs.nothing, durable=Durable(1, 2 * 1.1**n))

    assert pair.connections() - before <= 8


async def test_short_time_out_does_not_wait_for_a_long_one(pair: Pair) -> None:
    """Whoever else waits for the replicas at the moment."""
    queue = Queue("q", pair.backend)
    pair.replica.pause()
    waiting = asyncio.create_task(queue.enqueue(jobs.nothing, durable=Durable(1, 30)))
    await eventually(lambda: pair.is_waiting())
    began = time.monotonic()

    with pytest.raises(NotDurable):
        await queue.enqueue(jobs.nothing, durable=SHORT)

    assert time.monotonic() - began < 10
    pair.replica.resume()
    await waiting


async def test_time_out_of_who_is_alone_is_kept_to_the_letter(pair: Pair) -> None:
    """A connection that others of about the same patience have used is no reason to wait as long as they."""
    queue = Queue("q", pair.backend)
    await queue.enqueue(jobs.nothing, durable=Durable(1, 7.9))
    pair.replica.pause()
    began = time.monotonic()

    with pytest.raises(NotDurable):
        await queue.enqueue(jobs.nothing, durable=Durable(1, 4.1))

    assert 4.0 <= time.monotonic() - began < 7


async def test_queue_default_can_be_lifted_for_a_call(pair: Pair) -> None:
    """``durable=0`` asks for nothing."""
    pair.replica.pause()
    before = pair.waits()

    await Queue("q", pair.backend, durable=1).enqueue(jobs.nothing, durable=0)

    assert pair.waits() == before


SCHEDULED: dict[str, Callable[[Queue, Durable], Awaitable[Job]]] = {
    "enqueue_in": lambda queue, durable: queue.enqueue_in(
        60, jobs.nothing, job_id="x", durable=durable
    ),
    "enqueue_at": lambda queue, durable: queue.enqueue_at(
        datetime.now(UTC) + timedelta(hours=1), jobs.nothing, job_id="x", durable=durable
    ),
    "enqueue_call": lambda queue, durable: queue.enqueue_call(
        jobs.nothing, job_id="x", durable=durable
    ),
    "enqueue_job": lambda queue, durable: queue.enqueue_job(
        queue.create_job(jobs.nothing, job_id="x", durable=durable)
    ),
}


@pytest.mark.parametrize("way", SCHEDULED)
async def test_every_way_to_enqueue_takes_it(pair: Pair, way: str) -> None:
    """At once, later, prepared: each waits for the replica."""
    queue = Queue("q", pair.backend)
    pair.replica.pause()
    with pytest.raises(NotDurable):
        await SCHEDULED[way](queue, SHORT)
    pair.replica.resume()
    pair.replica.wait_for_link()

    await SCHEDULED[way](queue, LONG)

    assert pair.replica.command("EXISTS", pair.backend.keys.job("x")) == 1


async def test_many_are_all_enqueued_and_all_named(pair: Pair) -> None:
    """A replica that falls behind in the middle of a batch stops nothing; the error has the ids of those it lacks."""
    queue = Queue("q", pair.backend)
    short, long = (
        [
            Queue.prepare_data(jobs.nothing, job_id=f"j{n}", durable=durable if n % 2 else None)
            for n in range(600)
        ]
        for durable in (SHORT, LONG)
    )
    pair.replica.pause()

    with pytest.raises(NotDurable) as raised:
        await queue.enqueue_many(short)

    assert raised.value.job_ids == tuple(f"j{n}" for n in range(1, 600, 2))
    assert "and 299 more" in str(raised.value)
    assert await queue.count() == 600
    pair.replica.resume()
    pair.replica.wait_for_link()
    assert len(await queue.enqueue_many(long)) == 600
    assert await queue.count() == 600


async def test_forgotten_script_does_not_make_a_wait_too_early(pair: Pair) -> None:
    """When Redis lacks the script, the job is written after the first wait; then it is waited for again."""
    with ChaosProxy(pair.master.url) as proxy:
        backend = connect(proxy.url, key_prefix=pair.backend.key_prefix)
        queue = Queue("q", backend, durable=SHORT)
        await eventually(lambda: queue.enqueue(jobs.nothing, job_id="warm"))
        pair.master.command("SCRIPT", "FLUSH")
        fell_behind = proxy.on_request(b"SCRIPT LOAD", 1, pair.replica.pause)

        with pytest.raises(NotDurable):
            await queue.enqueue(jobs.nothing)

        assert fell_behind.is_set()
        await backend.close()


async def test_lost_reply_is_repeated_and_waits_again(pair: Pair) -> None:
    """The connection breaks after the script ran: one job, and the wait is about it."""
    with ChaosProxy(pair.master.url) as proxy:
        backend = connect(proxy.url, key_prefix=pair.backend.key_prefix)
        queue = Queue("q", backend, durable=SHORT)
        await eventually(lambda: queue.enqueue(jobs.nothing, job_id="warm"))
        pair.replica.pause()
        lost = proxy.drop_next_reply(scripts.load("add").sha.encode())

        with pytest.raises(NotDurable):
            await queue.enqueue(jobs.nothing)

        assert lost.is_set()
        assert await queue.count() == 2
        await backend.close()


async def test_full_redis_refuses_a_durable_job_as_any_other(pair: Pair) -> None:
    """It is not enqueued, and the error says so."""
    queue = Queue("q", pair.backend, durable=1)
    await queue.enqueue(jobs.nothing)
    pair.master.config("maxmemory", 1)
    try:
        with pytest.raises(BackendFull):
            await queue.enqueue(jobs.nothing)
    finally:
        pair.master.config("maxmemory", 0)

    assert await queue.count() == 1


async def test_what_has_no_replicas_refuses(memory_backend: RedisBackend) -> None:
    """In memory nothing is replicated, and a queue that runs its jobs at once enqueues nothing that could be."""
    with pytest.raises(InvalidOption, match="no replicas"):
        Queue("q", memory_backend, durable=1)
    with pytest.raises(InvalidOption, match="no replicas"):
        await Queue("q", memory_backend).enqueue(jobs.nothing, durable=1)
    with pytest.raises(InvalidOption, match="is_async"):
        await Queue("q", memory_backend, is_async=False).enqueue(jobs.nothing, durable=1)

    await Queue("q", memory_backend, durable=0).enqueue(jobs.nothing, durable=0)


async def test_a_function_may_ask_for_replicas(pair: Pair) -> None:
    """As ``@rq.job(durable=1)``; what recurs is enqueued by workers, and refuses it."""
    rq = RQ(pair.backend)
    job = rq.job(durable=SHORT)(hub_jobs.nothing)
    pair.replica.pause()

    with pytest.raises(NotDurable):
        await job.queue(job_id="x")
    await job.queue(job_id="y", durable=0)
    with pytest.raises(InvalidOption, match=r"durable: no option of what recurs"):
        await job.cron("* * * * *", "minutely")
    with pytest.raises(InvalidOption, match=r"durable: no option of a recurring entry"):
        await rq.get_scheduler().cron("* * * * *", hub_jobs.nothing, durable=1)
    cron = await job.cron("* * * * *", "minutely", durable=0)
    await (await job.schedule(60, interval=60, durable=0)).cancel()
    await cron.cancel()

    assert await rq.get_queue().count() == 2


@pytest.mark.parametrize("value", [-1, 1.5, True, "1", 101, object()])
def test_number_of_replicas_that_cannot_be_meant_is_refused(value: Any) -> None:
    """At the edge, with the option's name."""
    with pytest.raises(InvalidOption, match="durable"):
        Queue.prepare_data(jobs.nothing, durable=value)


@pytest.mark.parametrize("timeout", [0, -1, "soon", None])
def test_time_limit_that_cannot_be_meant_is_refused(timeout: Any) -> None:
    """So is a limit of no time."""
    with pytest.raises(InvalidOption, match="timeout"):
        Durable(1, timeout)
