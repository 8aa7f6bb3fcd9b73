"""The library in the wrong hands: odd names, forked and threaded callers, handles of jobs that are not there, jobs that never stop
making others. Each is refused with a sentence, or does what it says."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from aiorq2 import Job, JobStatus, NoSuchJobError, Queue, connect
from aiorq2.errors import AiorqError, InvalidOption
from tests.faults import functions, settings
from tests.faults.site import Site, exit_status, open_gate
from tests.support.processes import PythonProcess

pytestmark = pytest.mark.slow

ODD_NAMES = [
    "", " ", "x" * 1_000_000, "a b", "a:b", "{a}", "*", "a\nb", "a\0b", "\ud800", "\u202eabc", "../../etc/passwd", "%s%n",
    "__proto__", "'] redis.call('flushall') --", "rq:job:x", "é", "\x1b[31m",
]  # fmt: skip
VERBS: dict[str, Callable[[Job], Awaitable[object]]] = {
    "cancel": lambda job: job.cancel(),
    "requeue": lambda job: job.requeue(),
    "delete": lambda job: job.delete(),
    "refresh": lambda job: job.refresh(),
}


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: ascii(name[:12]))
async def test_odd_name_is_refused_or_works(site: Site, name: str) -> None:
    """As the id of a job and as the name of a queue; nothing else in Redis is touched, and no job of such an id is found."""
    site.server.command("SET", "stranger", "there")
    try:
        job = await Queue(name, site.backend).enqueue(functions.compute, 21)
    except InvalidOption:
        pass
    else:
        worker = site.start_worker("--burst", queues=[name])
        assert (await exit_status(worker, 60))[0] == 0
        assert await job.wait(5) == 42
    try:
        job = await site.queue.enqueue(functions.compute, 1, job_id=name)
    except InvalidOption:
        neighbour, found = await asyncio.gather(
            site.queue.enqueue(functions.compute, 1),
            Job.fetch(name, site.backend),
            return_exceptions=True,
        )
        assert isinstance(neighbour, Job)
        assert isinstance(found, NoSuchJobError | InvalidOption)
    else:
        assert (await Job.fetch(name, site.backend)).id == name
    assert site.server.command("GET", "stranger") == b"there"


@pytest.mark.parametrize("job_id", [b"bytes", 5, True, ["a"]], ids=repr)
async def test_id_that_is_no_text_is_refused(site: Site, job_id: object) -> None:
    """By name, before anything is sent."""
    with pytest.raises(InvalidOption, match=r"job_id|job id"):
        await site.queue.enqueue(functions.compute, 1, job_id=job_id)

    assert await site.queue.count() == 0


@pytest.mark.parametrize("verb", VERBS)
async def test_handle_of_a_job_that_is_gone_says_so(site: Site, verb: str) -> None:
    """Whatever is asked of it, also by a hundred at once."""
    job = await site.queue.enqueue(functions.compute, 1)
    await job.delete()

    told = await asyncio.gather(*[VERBS[verb](job) for _ in range(100)], return_exceptions=True)

    assert {type(one) for one in told} == {NoSuchJobError}
    assert all(job.id in str(one) for one in told)


async def test_many_that_cancel_or_delete_at_once_agree(site: Site) -> None:
    """A hundred cancellations of one job are one; of cancellations, deletions and requeues at the same time none is half done."""
    job = await site.queue.enqueue(functions.compute, 1)
    await asyncio.gather(*[job.cancel() for _ in range(100)], return_exceptions=True)
    assert await job.get_status() is JobStatus.CANCELED
    assert await site.queue.count() == 0
    keys = site.backend.keys
    for _ in range(20):
        job = await site.queue.enqueue(functions.compute, 1)
        verbs = [VERBS["cancel"](job), VERBS["requeue"](job), VERBS["delete"](job)] * 5
        told = await asyncio.gather(*verbs, return_exceptions=True)
        assert all(one is None or isinstance(one, AiorqError) for one in told), told
        assert not await Job.exists(job.id, site.backend)
        (left,) = await site.backend.run(["LPOS", keys.queue("q"), job.id])
        assert left is None


async def test_callers_in_many_threads_have_a_loop_each(site: Site) -> None:
    """One backend, one queue, four threads: every job arrives, every loop has connections of its own."""
    count = 50
    made: list[list[str]] = [[] for _ in range(4)]

    async def enqueue(mine: list[str]) -> None:
        for _ in range(count):
            job = await site.queue.enqueue(functions.compute, 1)
            mine.append(job.id)
        await site.backend.close()

    threads = [threading.Thread(target=asyncio.run, args=(enqueue(mine),)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, 60)

    ids = [one for mine in made for one in mine]
    assert len(set(ids)) == 4 * count
    assert Counter(await site.queue.get_job_ids()) == Counter(ids)


FORK = """
import asyncio, os, sys
from aiorq2 import Queue, connect

backend = connect(os.environ["AIORQ2_URL"])
queue = Queue("q", backend)

async def enqueue(who):
    for number in range(50):
        job = await queue.enqueue("tests.faults.functions.compute", number, job_id=f"{who}-{number}")
        assert job.id == f"{who}-{number}", job.id
        assert (await job.get_status()).value == "queued"

async def parent():
    await enqueue("before")
    child = os.fork()
    if child:
        await enqueue("parent")
        return await asyncio.to_thread(os.waitpid, child, 0)
    asyncio._set_running_loop(None)
    asyncio.set_event_loop(None)
    try:
        asyncio.run(enqueue("child"))
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
    os._exit(0)

_, status = asyncio.run(parent())
sys.exit(os.waitstatus_to_exitcode(status))
"""


async def test_forked_child_does_not_share_its_parents_connection(site: Site) -> None:
    """Both go on enqueueing with the same queue object; every answer is one's own."""
    with PythonProcess(["-c", FORK], env={"AIORQ2_URL": site.proxy.url}) as process:
        status = await asyncio.to_thread(process.wait, 60)

        assert (status, process.output()) == (0, "")
    expected = {f"{who}-{n}" for who in ("before", "parent", "child") for n in range(50)}
    assert set(await site.queue.get_job_ids()) == expected


async def test_many_at_once_are_all_or_say_which_not(site: Site) -> None:
    """None at all, very many, and the same id twice."""
    assert await site.queue.enqueue_many([]) == []
    count = settings.size(5_000, 100_000)
    made = await site.queue.enqueue_many([Queue.prepare_data(functions.compute, (1,))] * count)
    assert len({job.id for job in made}) == await site.queue.count() == count
    twice = [Queue.prepare_data(functions.compute, (n,), job_id="same") for n in (1, 2)]
    with pytest.raises(InvalidOption, match="twice"):
        await site.queue.enqueue_many(twice)
    assert await site.queue.count() == count


async def test_closed_backend_and_address_that_cannot_be(site: Site) -> None:
    """What is closed opens again when it is used; an address that means nothing is refused before anything is sent."""
    await site.backend.close()
    job = await site.queue.enqueue(functions.compute, 1)
    assert await job.get_status() is JobStatus.QUEUED
    for url in ("redis://h:99999", "redis://h:0x", "http://h", "redis://h:0", "", "redis://h/db"):
        with pytest.raises(InvalidOption):
            connect(url)


# -- jobs that go on and on ------------------------------------------------------------------------------------------------


async def test_job_that_enqueues_itself_is_one_at_a_time(site: Site) -> None:
    """A chain without an end stops where it is told to; the queue never holds more than one of it, and others get their turn."""
    worker = await site.worker("--concurrency", "2")
    await site.queue.enqueue(functions.breed, site.ledger, site.gate(), site.proxy.url)
    others = [await site.queue.enqueue(functions.work, site.ledger, n) for n in range(20)]

    assert [await job.wait(30) for job in others] == [2 * n for n in range(20)]
    assert await site.queue.count() <= 1
    open_gate(site.gate())
    worker.terminate()
    status, _ = await exit_status(worker, 20)
    assert status == 0
    assert len(site.runs()) > 20


@pytest.mark.parametrize("offload", [None, "process"])
async def test_job_that_prints_without_measure_disturbs_nobody(
    site: Site, offload: str | None
) -> None:
    """Megabytes with control characters and NULs; nothing of it comes into Redis."""
    worker = await site.worker()
    before = int(site.server.command("DBSIZE"))

    job = await site.queue.enqueue(functions.shout, site.ledger, 20, offload=offload)
    other = await site.queue.enqueue(functions.work, site.ledger, 21)

    assert await other.wait(60) == 42
    assert await job.wait(60) == 20
    assert int(site.server.command("DBSIZE")) <= before + 6
    assert worker.is_running


async def test_job_that_leaves_tasks_and_settings_behind_harms_no_other(site: Site) -> None:
    """A task that goes on, another folder, another handler of SIGTERM: later jobs run, and the worker stops when it is told to."""
    worker = await site.worker("--concurrency", "1", "--grace", "3")
    litter = await site.queue.enqueue(functions.litter, site.ledger)
    after = [await site.queue.enqueue(functions.work, site.ledger, n) for n in range(5)]

    assert await litter.wait(20) == "done"
    assert [await job.wait(20) for job in after] == [0, 2, 4, 6, 8]
    worker.terminate()
    status, _ = await exit_status(worker, 20)
    assert status == 0
