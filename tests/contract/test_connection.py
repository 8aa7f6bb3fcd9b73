"""A connection breaks: the call is repeated and nobody notices, or it ends with an error that names the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiorq2.backends import connect, scripts
from aiorq2.backends.base import ClaimRequest
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendRefused, BackendUnavailable
from aiorq2.states import JobStatus, Verb
from tests.contract import stage
from tests.contract.stage import QUEUE, SEAT, TALLY, Seat, Staged, in_status
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer


@pytest.fixture
async def shaky(chaos_proxy: ChaosProxy, key_prefix: str) -> Any:
    """A backend whose connections lead through the proxy, with its scripts loaded."""
    backend = connect(chaos_proxy.url, key_prefix=key_prefix)
    await backend.run(*[["SCRIPT", "LOAD", scripts.load(one).text] for one in scripts.all_names()])
    yield backend
    await backend.close()


def _sha(verb: str) -> bytes:
    return scripts.load(verb).sha.encode()


# -- replies that are lost ------------------------------------------------------------------------


async def test_add_whose_reply_is_lost_adds_one_job(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """The add ran, its reply was dropped, it was sent again: there is one job, and the caller sees nothing of it."""
    lost = chaos_proxy.drop_next_reply(_sha("add"))

    (job_id,) = await stage.add(shaky)

    assert lost.is_set()
    assert await stage.queued(shaky) == [job_id]


async def test_reply_that_is_cut_in_the_middle_is_asked_for_again(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Half a reply is never taken for a whole one, nor is its other half for the next reply."""
    cut = chaos_proxy.truncate_next_reply(_sha("add"), keep=3)

    (job_id,) = await stage.add(shaky)

    assert cut.is_set()
    assert await stage.queued(shaky) == [job_id]


async def test_claim_whose_reply_is_lost_gives_back(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """The claim started jobs and its reply was dropped: they are put back, in order, with no attempt burnt."""
    await stage.add(shaky, "a", "b", "c")
    lost = chaos_proxy.drop_next_reply(_sha("claim"))

    claimed = await stage.claim(shaky, count=2)

    assert lost.is_set()
    assert claimed == []
    assert await stage.queued(shaky) == ["a", "b", "c"]
    assert [one.attempt for one in await stage.claim(shaky, count=3)] == [1, 1, 1]


async def test_settle_whose_reply_is_lost_settles_once(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Runs that ended in a pipeline whose replies were dropped have ended, once; what it claimed is given back."""
    first = await stage.start(shaky, "first")
    await stage.add(shaky, "second")
    lost = chaos_proxy.drop_next_reply(_sha("finish"))

    answer = await shaky.settle(SEAT, [(first, stage.OUTCOMES[Verb.FINISH])], stage.request(1))

    assert lost.is_set()
    assert (answer.claims, answer.refused) == ((), ())
    assert await stage.status_of(shaky, "first") == "finished"
    assert await stage.queued(shaky) == ["second"]


async def _reap(backend: RedisBackend, job: Staged) -> None:
    await stage.end_lease(backend, job.claim)
    await backend.reap(QUEUE, max_deaths=3)


LOST: dict[str, tuple[JobStatus, Callable[[RedisBackend, Staged], Awaitable[Any]], str]] = {
    "cancel": (JobStatus.QUEUED, lambda backend, job: backend.cancel(job.id), "canceled:q"),
    "requeue": (JobStatus.FAILED, lambda backend, job: backend.requeue(job.id), "queue:q"),
    "delete": (JobStatus.QUEUED, lambda backend, job: backend.delete(job.id), ""),
    "reap": (JobStatus.STARTED, _reap, "queue:q"),
    "promote": (JobStatus.SCHEDULED, lambda backend, _: backend.promote(QUEUE), "queue:q"),
    "retry": (
        JobStatus.STARTED,
        lambda backend, job: stage.settle(backend, job.claim, stage.OUTCOMES[Verb.RETRY]),
        "queue:q",
    ),
}


@pytest.mark.parametrize("verb", LOST)
async def test_verb_whose_reply_is_lost_happens_once(
    shaky: RedisBackend, chaos_proxy: ChaosProxy, verb: str
) -> None:
    """Whatever was asked for has happened once, and the caller sees no error."""
    status, act, place = LOST[verb]
    job = await in_status(shaky, status)
    if status is JobStatus.SCHEDULED:
        await stage.make_due(shaky, job.id)
    lost = chaos_proxy.drop_next_reply(_sha(verb))

    await act(shaky, job)

    assert lost.is_set()
    assert await stage.places(shaky, job.id) == ([place] if place else [])


async def test_nothing_is_lost_or_doubled_on_a_bad_network(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Every fifth reply is dropped: each of 60 jobs is added, claimed and finished once."""
    chaos_proxy.drop_replies(0.2, seed=7)
    ids = {f"job{n}" for n in range(60)}
    patient = connect(chaos_proxy.url, key_prefix=shaky.key_prefix, retry_for=None)

    for job_id in sorted(ids):
        await stage.add(patient, job_id)
    finished: list[str] = []

    async def all_are_finished() -> bool:
        claims = await stage.claim(patient, count=10)
        outcomes = [(one, stage.OUTCOMES[Verb.FINISH]) for one in claims]
        assert (await patient.settle(SEAT, outcomes)).refused == ()
        finished.extend(one.job_id for one in claims)
        return len(finished) >= 60

    await eventually(all_are_finished, timeout=30)

    assert sorted(finished) == sorted(ids)
    assert chaos_proxy.replies_lost > 5
    chaos_proxy.heal()
    await patient.close()


async def test_fragmented_replies_are_put_together(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """A network that delivers byte by byte is slow, not wrong."""
    chaos_proxy.chunk(1)

    claimed = await stage.start(shaky)
    settled = await stage.settle(shaky, claimed, stage.OUTCOMES[Verb.FINISH])

    assert settled.refused == ()
    chaos_proxy.heal()


# -- a Redis that is away -------------------------------------------------------------------------


async def test_reset_connection_is_not_noticed(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Connections that were reset between two calls are opened again in silence."""
    for _ in range(3):
        claimed = await stage.start(shaky)
        chaos_proxy.reset_all()
        settled = await stage.settle(shaky, claimed, stage.OUTCOMES[Verb.FINISH])
        assert settled.refused == ()


async def test_claim_on_a_broken_connection_is_to_be_repeated(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """A claim is not sent twice; when its connection breaks it comes back empty and says that there may be more."""
    await stage.add(shaky, "a")
    await shaky.claim(SEAT, stage.request(0))
    chaos_proxy.reset_all()

    first = await shaky.claim(SEAT, stage.request(1))
    second = await shaky.claim(SEAT, stage.request(1))

    assert (first.claims, first.has_more) == ((), True)
    assert [one.job_id for one in second.claims] == ["a"]


async def test_call_waits_for_redis_to_come_back(key_prefix: str) -> None:
    """A call that is made while Redis is down succeeds if it comes back in time."""
    with RedisServer() as server:
        backend = connect(server.url, key_prefix=key_prefix, retry_for=20)
        await stage.add(backend)
        server.kill()
        adding = asyncio.create_task(stage.add(backend, "x"))
        await asyncio.sleep(0.2)
        assert not adding.done()

        await asyncio.to_thread(server.restart)

        assert await adding == ["x"]
        assert await stage.queued(backend) == ["x"]
        await backend.close()


@pytest.mark.parametrize("retry_for", [0.0, 0.5])
async def test_call_gives_up_after_its_time(key_prefix: str, retry_for: float) -> None:
    """After ``retry_for`` seconds the caller gets an error that names host and port, and not the password."""
    with RedisServer() as server:
        port = server.port
    url = f"redis://someone:s3cret@127.0.0.1:{port}/0"
    backend = connect(url, key_prefix=key_prefix, retry_for=retry_for)
    started = time.monotonic()

    with pytest.raises(BackendUnavailable) as raised:
        await stage.add(backend)

    assert time.monotonic() - started < retry_for + 0.5
    assert f"127.0.0.1:{port}" in str(raised.value)
    assert "s3cret" not in f"{raised.value!r} {raised.value.__cause__!r}"
    await backend.close()


async def test_silent_redis_counts_as_away(chaos_proxy: ChaosProxy, key_prefix: str) -> None:
    """A peer that takes commands and answers nothing is given up after ``timeout``, and after ``retry_for`` the call is."""
    backend = connect(chaos_proxy.url, key_prefix=key_prefix, retry_for=0.4, timeout=0.2)
    await stage.add(backend)
    chaos_proxy.stall()
    started = time.monotonic()

    with pytest.raises(BackendUnavailable):
        await stage.add(backend)

    assert 0.2 <= time.monotonic() - started < 1.5
    chaos_proxy.resume()
    await stage.add(backend)
    await backend.close()


async def test_heartbeat_does_not_wait_for_redis(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """A heartbeat that cannot be sent is an error at once: its worker must know how old its leases are."""
    claimed = await stage.start(shaky)
    await shaky.extend(SEAT, [claimed], TALLY)
    lost = chaos_proxy.drop_next_reply(_sha("extend"))

    with pytest.raises(BackendUnavailable):
        await shaky.extend(SEAT, [claimed], TALLY)

    assert lost.is_set()
    assert (await shaky.extend(SEAT, [claimed], TALLY)).lost == frozenset()


async def test_wait_that_is_cut_off_says_so(shaky: RedisBackend, chaos_proxy: ChaosProxy) -> None:
    """A blocking wait whose connection is lost ends with an error of ours; the next one works."""
    waiting = asyncio.create_task(shaky.wait(SEAT, [QUEUE], 10))
    await eventually(lambda: chaos_proxy.open_connections >= 2)
    chaos_proxy.reset_all()

    with pytest.raises(BackendUnavailable):
        await waiting

    await stage.add(shaky)
    assert await shaky.wait(SEAT, [QUEUE], 5)


async def test_wait_that_was_unblocked_says_so(redis_backend: RedisBackend) -> None:
    """A server that turns into a replica unblocks its clients with an error: that passes, too."""
    waiting = asyncio.create_task(redis_backend.wait(SEAT, [QUEUE], 10))

    async def is_unblocked() -> bool:
        (clients,) = await redis_backend.run(["CLIENT", "LIST"])
        blocked = [one for one in clients.splitlines() if b"cmd=bzpopmin" in one]
        client_id = blocked[0].split()[0].removeprefix(b"id=")
        return bool((await redis_backend.run(["CLIENT", "UNBLOCK", client_id, "ERROR"]))[0])

    await eventually(is_unblocked)

    with pytest.raises(BackendUnavailable):
        await waiting


# -- one connection for many callers --------------------------------------------------------------


async def test_concurrent_adds_share_one_connection_and_few_writes(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """64 tasks that add at the same time use one connection and a handful of pipelines."""
    await stage.add(shaky)
    before = chaos_proxy.traffic

    await asyncio.gather(*[stage.add(shaky) for _ in range(64)])

    used = chaos_proxy.traffic - before
    assert used.commands == 64
    assert used.connections == 0
    assert used.round_trips <= 4
    assert len(await stage.queued(shaky)) == 65


async def test_adds_in_one_call_share_few_writes(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """A thousand jobs in one call are a handful of pipelines."""
    await stage.add(shaky)
    before = chaos_proxy.traffic

    await shaky.add([stage.job_spec() for _ in range(1000)])

    used = chaos_proxy.traffic - before
    assert used.commands == 1000
    assert used.round_trips <= 8
    assert len(await stage.queued(shaky)) == 1001


async def test_adds_of_one_task_keep_their_order(backend: RedisBackend) -> None:
    """Jobs of one call, and of calls one after the other, are queued in that order."""
    ids = [f"job{n}" for n in range(600)]

    await backend.add([stage.job_spec(job_id) for job_id in ids[:500]])
    for job_id in ids[500:]:
        await stage.add(backend, job_id)

    assert await stage.queued(backend) == ids


async def test_cancelled_caller_harms_no_other(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """Of many callers whose calls travel together some are cancelled; the others get their own replies."""
    chaos_proxy.delay(0.05)
    adding = [asyncio.create_task(stage.add(shaky, f"job{n}")) for n in range(64)]
    await asyncio.sleep(0.01)
    for task in adding[::2]:
        task.cancel()

    results = await asyncio.gather(*adding, return_exceptions=True)

    assert results[1::2] == [[f"job{n}"] for n in range(1, 64, 2)]
    assert all(isinstance(one, asyncio.CancelledError) for one in results[::2])
    queued = await stage.queued(shaky)
    assert {f"job{n}" for n in range(1, 64, 2)} <= set(queued)


async def test_cancelled_call_leaves_no_reply_for_the_next(
    shaky: RedisBackend, chaos_proxy: ChaosProxy
) -> None:
    """A claim that is cancelled while its reply is on its way does not shift the replies after it."""
    await stage.add(shaky, "a", "b")
    chaos_proxy.delay(0.05)
    for _ in range(5):
        claiming = asyncio.create_task(stage.claim(shaky))
        await asyncio.sleep(0.01)
        claiming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming

    chaos_proxy.heal()
    extended = await shaky.extend(SEAT, [], TALLY)
    await shaky.give_back(SEAT, [(job, run) for run, job in extended.standing.items()])
    claimed = await stage.claim(shaky, count=2)

    assert sorted(one.job_id for one in claimed) == ["a", "b"]


async def test_workers_of_one_process_do_not_mix(backend: RedisBackend) -> None:
    """Settling, claiming and heartbeats of several workers on one backend each get their own replies."""
    await backend.add([stage.job_spec(f"job{n}") for n in range(40)])

    async def work(seat: Seat) -> list[str]:
        ids = []
        while claims := await stage.claim(backend, count=2, seat=seat):
            extended = await backend.extend(seat, claims, TALLY)
            assert extended.lost == frozenset()
            outcomes = [(one, stage.OUTCOMES[Verb.FINISH]) for one in claims]
            assert (await backend.settle(seat, outcomes)).refused == ()
            ids += [one.job_id for one in claims]
        return ids

    done = await asyncio.gather(*[work(Seat(f"w{n}", f"i{n}", lease=15)) for n in range(4)])

    assert sorted(sum(done, [])) == sorted(f"job{n}" for n in range(40))


async def test_error_of_one_call_is_not_the_others(backend: RedisBackend) -> None:
    """Of calls that travel together each gets its own error."""
    job = await in_status(backend, JobStatus.FINISHED)

    outcomes = await asyncio.gather(
        backend.requeue("nobody"),
        backend.requeue(job.id),
        backend.run(["NOSUCHCOMMAND"]),
        backend.run(["ECHO", "hello"]),
        return_exceptions=True,
    )

    names = [type(one).__name__ for one in outcomes]
    assert names == ["NoSuchJobError", "NoneType", "BackendRefused", "list"]


# -- what the server says -------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["", "wr0ng"])
async def test_wrong_password_is_refused_at_once(key_prefix: str, password: str) -> None:
    """Waiting does not mend a password: the error comes at once, and does not show it."""
    with RedisServer(requirepass="s3cret") as server:
        credentials = f":{password}@" if password else ""
        url = f"redis://{credentials}{server.host}:{server.port}/0"
        backend = connect(url, key_prefix=key_prefix, retry_for=30)
        started = time.monotonic()

        with pytest.raises(BackendRefused) as raised:
            await stage.add(backend)

        assert time.monotonic() - started < 5
        assert str(server.port) in str(raised.value)
        assert "wr0ng" not in str(raised.value)
        await backend.close()


async def test_missing_rights_are_refused_at_once(key_prefix: str) -> None:
    """So it is with a user that may not do what is needed."""
    with RedisServer() as server:
        server.command("ACL", "SETUSER", "poor", "on", ">pw", "~*", "+@connection", "+get")
        backend = connect(f"redis://poor:pw@{server.host}:{server.port}/0", retry_for=30)

        with pytest.raises(BackendRefused):
            await stage.add(backend)

        await backend.close()


async def test_scripts_that_redis_forgot_are_sent_again(redis_backend: RedisBackend) -> None:
    """After a flush of its scripts, or a restart, Redis gets them again, and nobody notices."""
    for _ in range(2):
        await redis_backend.run(["SCRIPT", "FLUSH"])
        first = await stage.start(redis_backend)
        await stage.add(redis_backend, "next")
        await redis_backend.run(["SCRIPT", "FLUSH"])
        answer = await redis_backend.settle(
            SEAT, [(first, stage.OUTCOMES[Verb.FINISH])], ClaimRequest(1, (QUEUE,))
        )
        assert [one.job_id for one in answer.claims] == ["next"]
        await redis_backend.delete(first.job_id)
        await stage.settle(redis_backend, answer.claims[0], stage.OUTCOMES[Verb.FINISH])


async def test_replica_is_waited_out(key_prefix: str) -> None:
    """READONLY, as after a fail-over, passes: the call succeeds when the server is a master again."""
    with RedisServer() as server:
        backend = connect(server.url, key_prefix=key_prefix, retry_for=20)
        claimed = await stage.start(backend)
        server.command("REPLICAOF", "127.0.0.1", 1)
        settling = asyncio.create_task(
            stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH])
        )
        await asyncio.sleep(0.2)
        assert not settling.done()

        server.command("REPLICAOF", "NO", "ONE")

        assert (await settling).refused == ()
        assert await stage.status_of(backend, claimed.job_id) == "finished"
        await backend.close()


async def test_missing_replicas_are_waited_out(key_prefix: str) -> None:
    """NOREPLICAS passes when the replicas are back."""
    with RedisServer() as server:
        backend = connect(server.url, key_prefix=key_prefix, retry_for=20)
        server.config("min-replicas-to-write", 1)
        adding = asyncio.create_task(stage.add(backend, "x"))
        await asyncio.sleep(0.2)
        assert not adding.done()

        server.config("min-replicas-to-write", 0)

        assert await adding == ["x"]
        await backend.close()


async def test_loading_server_is_waited_out(key_prefix: str) -> None:
    """A Redis that has just started and still reads its data is waited for."""
    slow = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]
    with RedisServer(appendonly="always", extra=["--aof-use-rdb-preamble", "yes", *slow]) as server:
        backend = connect(server.url, key_prefix=key_prefix, retry_for=30)
        await backend.add([stage.job_spec() for _ in range(200)])
        await backend.run(["BGREWRITEAOF"])
        await eventually(lambda: _is_rewritten(server))
        server.kill()
        restarting = asyncio.create_task(asyncio.to_thread(server.restart))

        await stage.add(backend, "x", at_front=True)

        assert (await stage.queued(backend))[0] == "x"
        assert len(await stage.queued(backend)) == 201
        await restarting
        await backend.close()


def _is_rewritten(server: RedisServer) -> bool:
    with server.client() as client:
        info: Any = client.info("persistence")
    return not info["aof_rewrite_in_progress"]


async def test_busy_server_is_waited_out(key_prefix: str) -> None:
    """A script of somebody else's that does not end makes Redis BUSY until it is killed."""
    with RedisServer() as server:
        server.config("busy-reply-threshold", 20)
        backend = connect(server.url, key_prefix=key_prefix, retry_for=20)
        await stage.add(backend)
        looping = asyncio.create_task(asyncio.to_thread(_loop_for_ever, server))
        await asyncio.sleep(0.2)
        adding = asyncio.create_task(stage.add(backend, "x"))
        await asyncio.sleep(0.2)
        assert not adding.done()

        server.command("SCRIPT", "KILL")

        assert await adding == ["x"]
        await looping
        await backend.close()


def _loop_for_ever(server: RedisServer) -> None:
    with pytest.raises(Exception, match="killed"):
        server.command("EVAL", "while true do end", 0)


async def test_crowded_server_is_waited_out(key_prefix: str) -> None:
    """A Redis that takes no more clients is waited for."""
    with RedisServer() as server, server.client() as client:
        client.config_set("maxclients", 1)
        backend = connect(server.url, key_prefix=key_prefix, retry_for=20)
        adding = asyncio.create_task(stage.add(backend, "x"))
        await asyncio.sleep(0.2)
        assert not adding.done()

        client.config_set("maxclients", 100)

        assert await adding == ["x"]
        await backend.close()


async def test_server_state_that_lasts_too_long_is_named(key_prefix: str) -> None:
    """When a passing state does not pass in time, the error says what Redis said."""
    with RedisServer() as server:
        server.config("min-replicas-to-write", 1)
        backend = connect(server.url, key_prefix=key_prefix, retry_for=0.1)

        with pytest.raises(BackendUnavailable, match="NOREPLICAS"):
            await stage.add(backend)

        await backend.close()
