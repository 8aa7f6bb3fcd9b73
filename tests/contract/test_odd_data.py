"""What lies in Redis may have been written by anybody: a claim does not raise, loses no job, and hands out the healthy ones."""

from __future__ import annotations

from math import inf

import pytest

from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendError
from aiorq2.outcome import Finished
from aiorq2.states import JobStatus, Reply, Verb
from tests.contract import stage
from tests.contract.stage import OTHER_SEAT, QUEUE, SEAT, TALLY, in_status

pytestmark = pytest.mark.leaks_allowed("the tests themselves write what should not be there")


async def _claimed_ids(backend: RedisBackend, *queues: str) -> list[str]:
    claimed = await backend.claim(SEAT, stage.request(9, queues or (QUEUE,)))
    return [one.job_id for one in claimed.claims]


@pytest.mark.parametrize(
    "junk", [b"nobody", b"", b"\xff\xfe\x00", b"a:b:c", b"x" * 5000, "ünïcode".encode()]
)
async def test_claim_skips_ids_without_a_job(backend: RedisBackend, junk: bytes) -> None:
    """An id of which there is no job, be it no id at all, is dropped from the queue."""
    await backend.run(["RPUSH", backend.keys.queue(QUEUE), junk])
    await stage.add(backend, "healthy")

    assert await _claimed_ids(backend) == ["healthy"]
    assert await stage.queued(backend) == []


async def test_claim_gives_up_on_endless_junk_for_now(backend: RedisBackend) -> None:
    """One claim looks at a bounded number of ids; the next one goes on from there, and somebody is woken for it."""
    await backend.run(["RPUSH", backend.keys.queue(QUEUE), *[f"junk{n}" for n in range(150)]])
    await stage.add(backend, "healthy")

    assert await _claimed_ids(backend) == []
    assert await backend.wait(SEAT, [QUEUE], timeout=5)
    assert await _claimed_ids(backend) == ["healthy"]


async def test_claim_takes_an_id_that_stands_twice_once(backend: RedisBackend) -> None:
    """RQ can put an id into the queue twice; the job is not run by two workers at a time."""
    await stage.add(backend, "x")
    await backend.run(["RPUSH", backend.keys.queue(QUEUE), "x"])

    first = await stage.claim(backend, count=5)
    second = await stage.claim(backend, count=5, seat=OTHER_SEAT)

    assert ([one.job_id for one in first], second) == (["x"], [])


@pytest.mark.parametrize("kind", ["string", "list", "hash without status", "unknown status"])
async def test_claim_skips_what_is_not_a_job(backend: RedisBackend, kind: str) -> None:
    """Something else under the key of a job is left as it is."""
    key = backend.keys.job("odd")
    writes: dict[str, list[str]] = {
        "string": ["SET", key, "a string"],
        "list": ["RPUSH", key, "a list"],
        "hash without status": ["HSET", key, "last_heartbeat", "then"],
        "unknown status": ["HSET", key, "status", "bored", "data", "x", "origin", QUEUE],
    }
    await backend.run(writes[kind], ["RPUSH", backend.keys.queue(QUEUE), "odd"])
    await stage.add(backend, "healthy")
    before = (await stage.everything(backend))["job:odd"]

    assert await _claimed_ids(backend) == ["healthy"]
    assert (await stage.everything(backend))["job:odd"] == before


@pytest.mark.parametrize("key", ["queue:broken", "wip:broken", "scheduled:broken"])
async def test_claim_passes_over_a_queue_with_a_key_of_the_wrong_type(
    backend: RedisBackend, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A queue that cannot be worked on costs no job, and the queues after it are served."""
    if key == "queue:broken":
        await backend.run(["SET", backend.keys.queue("broken"), "a string"])
    else:
        await stage.add(backend, "x", queue="broken")
        await backend.run(["SET", f"{backend.key_prefix}:{key}", "a string"])
    await stage.add(backend, "healthy")

    assert "healthy" in await _claimed_ids(backend, "broken", QUEUE)
    assert await _claimed_ids(backend, "broken", QUEUE) == []
    assert "failed" not in caplog.text
    if key == "wip:broken":
        assert await stage.queued(backend, "broken") == ["x"]
        assert await stage.status_of(backend, "x") == "queued"


async def test_heartbeat_of_a_queue_that_cannot_be_worked_on_is_an_error_of_ours(
    backend: RedisBackend,
) -> None:
    """A heartbeat that Redis cannot carry out raises what a worker expects."""
    claimed = await stage.start(backend)
    await backend.run(["RENAME", backend.keys.wip(QUEUE), backend.keys.wip("saved")])
    await backend.run(["SET", backend.keys.wip(QUEUE), "a string"])

    with pytest.raises(BackendError):
        await backend.extend(SEAT, [claimed], TALLY)


async def test_claim_of_a_queue_that_cannot_be_worked_on_wakes_nobody(
    backend: RedisBackend,
) -> None:
    """Jobs that cannot be claimed do not keep the workers spinning."""
    await stage.add(backend, "x", queue="broken")
    await backend.run(["SET", backend.keys.wip("broken"), "a string"])
    await backend.wait(SEAT, ["broken"], timeout=0.05)

    claimed = await backend.claim(SEAT, stage.request(9, ["broken"]))

    assert (claimed.claims, claimed.has_more) == ((), False)
    assert not await backend.wait(SEAT, ["broken"], timeout=0.05)


async def test_due_jobs_of_a_queue_of_the_wrong_type_stay_scheduled(backend: RedisBackend) -> None:
    """A due job that cannot be pushed into its queue is not lost on the way."""
    job = await in_status(backend, JobStatus.SCHEDULED)
    await stage.make_due(backend, job.id)
    await backend.run(["SET", backend.keys.queue(QUEUE), "a string"])

    assert await _claimed_ids(backend) == []
    assert await stage.places(backend, job.id) == ["scheduled:q"]


@pytest.mark.parametrize("parents", ["[{}]", "[[]]", "[1, true, null]", "nonsense", "{}"])
async def test_promote_of_a_job_with_odd_parents_keeps_no_other_waiting(
    backend: RedisBackend, parents: str
) -> None:
    """Who waits for what can be no job waits for nobody, and those that are due beside it are moved as well."""
    await stage.plant(backend, "odd", JobStatus.SCHEDULED, dependency_ids=parents)
    await stage.plant(backend, "healthy", JobStatus.SCHEDULED)

    await stage.make_due(backend, "odd")
    await stage.make_due(backend, "healthy")

    assert sorted(await _claimed_ids(backend)) == ["healthy", "odd"]


async def test_claim_of_a_job_whose_origin_is_broken_does_not_lose_it(
    backend: RedisBackend,
) -> None:
    """A job that came from another queue, whose leases cannot be kept there, is leased where it was found."""
    await backend.run(["SET", backend.keys.wip("broken"), "a string"])
    await stage.plant(backend, "x", origin="broken")

    claimed = await stage.claim_one(backend)
    settled = await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH])

    assert (claimed.origin, settled.refused) == (QUEUE, ())
    assert await stage.status_of(backend, "x") == "finished"


async def test_job_in_another_queue_than_its_origin_is_settled_where_it_came_from(
    backend: RedisBackend,
) -> None:
    """Whoever pushes an id by hand into another queue finds the job in the registries of its origin, as in RQ."""
    await stage.plant(backend, "x", origin="elsewhere")

    claimed = await stage.claim_one(backend)
    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FINISH])

    assert claimed.origin == "elsewhere"
    assert await stage.places(backend, "x") == ["finished:elsewhere"]


async def test_job_without_origin_belongs_to_the_queue_it_was_found_in(
    backend: RedisBackend,
) -> None:
    """A hash without origin is leased and settled in the queue that its id stood in."""
    await stage.plant(backend, "x", origin="")

    claimed = await stage.claim_one(backend)
    await stage.settle(backend, claimed, stage.OUTCOMES[Verb.FAIL])

    assert claimed.origin == QUEUE
    assert await stage.places(backend, "x") == ["failed:q"]


async def test_job_whose_id_has_colons_survives_its_worker(backend: RedisBackend) -> None:
    """rq 1 allowed any id: such a job is claimed, known by its heartbeat, reaped and settled like all others."""
    await stage.plant(backend, "a:b", aio_token="t")
    claimed = await stage.claim_one(backend)

    extended = await backend.extend(SEAT, [claimed], TALLY)
    await stage.end_lease(backend, claimed)
    reaped = await backend.reap(QUEUE, max_deaths=3)

    assert extended.standing == {claimed.execution_id: "a:b"}
    assert reaped.requeued == ("a:b",)
    assert await stage.queued(backend) == ["a:b"]


async def test_lease_that_rq_1_wrote_is_reaped(backend: RedisBackend) -> None:
    """rq 1 wrote leases without an execution; a job behind one is freed as well."""
    await stage.plant(backend, "x", JobStatus.STARTED, aio_token="t")
    await backend.run(["ZADD", backend.keys.wip(QUEUE), 1, "x"])

    reaped = await backend.reap(QUEUE, max_deaths=3)

    assert reaped.requeued == ("x",)
    assert await stage.places(backend, "x") == ["queue:q"]


async def test_claim_hands_out_the_others_when_one_id_is_not_text(backend: RedisBackend) -> None:
    """A job under a key that no client can spell is not handed out, hides no other one, and fails in the end."""
    odd = b"\xff\xfe"
    key = backend.keys.job("").encode() + odd
    await backend.run(
        ["HSET", key, "status", "queued", "data", "x", "origin", QUEUE],
        ["RPUSH", backend.keys.queue(QUEUE), odd],
    )
    await stage.add(backend, "healthy")

    assert await _claimed_ids(backend) == ["healthy"]
    (members,) = await backend.run(["ZRANGE", backend.keys.wip(QUEUE), 0, -1])
    assert len(members) == 2
    await backend.extend(SEAT, [], TALLY)
    await backend.run(*[["ZADD", backend.keys.wip(QUEUE), 1, member] for member in members])
    reaped = await backend.reap(QUEUE, max_deaths=1)
    assert (await backend.run(["HGET", key, "status"]))[0] == b"failed"
    assert len(reaped.failed) == 2
    await backend.run(["DEL", key, backend.keys.results("").encode() + odd])


@pytest.mark.parametrize("field", ["ttl", "failure_ttl", "result_ttl", "retries_left"])
@pytest.mark.parametrize("value", ["", "soon", "1e400", "-1e400", "nan", "1.5"])
async def test_job_with_a_number_that_is_none_ends_all_the_same(
    backend: RedisBackend, field: str, value: str
) -> None:
    """Nonsense in a number field counts as if it were not there, for every verb on the way."""
    await stage.plant(backend, "x", aio_token="t")
    await backend.run(["HSET", backend.keys.job("x"), field, value])

    for verb in (Verb.GIVE_BACK, Verb.RETRY):
        await stage.settle(backend, await stage.claim_one(backend), stage.OUTCOMES[verb])
    await stage.end_lease(backend, await stage.claim_one(backend))
    await backend.reap(QUEUE, max_deaths=3)
    await stage.settle(backend, await stage.claim_one(backend), stage.OUTCOMES[Verb.FAIL])
    await backend.requeue("x")
    await stage.settle(backend, await stage.claim_one(backend), stage.OUTCOMES[Verb.FINISH])

    assert await stage.places(backend, "x") == ["finished:q"]


@pytest.mark.parametrize(
    ("value", "left"),
    [("3", 2), ("1.5", 0), ("soon", 0), ("nan", 0), ("-5", 0), (str(2**63), 9_999_999_999)],
)
async def test_job_with_an_odd_number_of_repeats_is_repeated_all_the_same(
    backend: RedisBackend, value: str, left: int
) -> None:
    """Nothing fails once its lease is gone: it waits for its next run, and what is left is a number that rq can read."""
    await stage.plant(backend, "x", aio_token="t", repeats_left=value)
    claimed = await stage.claim_one(backend)

    await stage.settle(backend, claimed, Finished(1_700_000_000.0, b"42", repeat_delay=0.0))

    assert await stage.places(backend, "x") == ["queue:q"]
    assert await backend.run(["HGET", backend.keys.job("x"), "repeats_left"]) == [
        str(left).encode()
    ]


@pytest.mark.parametrize("value", ["", "[]", "nonsense", '{"a": 1}', '["soon"]', "[-5]", "[[]]"])
async def test_reap_of_a_job_with_odd_intervals_requeues_it_at_once(
    backend: RedisBackend, value: str
) -> None:
    """Retry intervals that cannot be meant count as none."""
    await stage.plant(backend, "x", retries_left=1, retry_intervals=value)
    await stage.end_lease(backend, await stage.claim_one(backend))

    reaped = await backend.reap(QUEUE, max_deaths=3)

    assert reaped.requeued == ("x",)
    assert await stage.queued(backend) == ["x"]


async def test_empty_deletes_only_what_waits(backend: RedisBackend) -> None:
    """Emptying a queue takes the waiting jobs; a job that runs or has ended stays, though its id stands in the queue."""
    started = await in_status(backend, JobStatus.STARTED)
    finished = await in_status(backend, JobStatus.FINISHED)
    await backend.run(["RPUSH", backend.keys.queue(QUEUE), started.id, finished.id, "gone"])
    await stage.add(backend, "waiting")

    reply = await backend.call("empty", queue=QUEUE, limit=100, now_iso="")

    assert (reply[0], reply[2]) == (b"OK", 0)
    assert await stage.queued(backend) == []
    assert await stage.status_of(backend, "waiting") is None
    assert await stage.status_of(backend, started.id) == "started"
    assert await stage.status_of(backend, finished.id) == "finished"


async def test_promote_takes_a_repeating_job_of_rq_2(backend: RedisBackend) -> None:
    """rq 2 leaves a job finished while it waits to be repeated; what has merely finished is no such job."""
    for id, fields in (("repeats", ["repeats_left", "1"]), ("finished", ["aio_attempt", "1"])):
        await stage.add(backend, id)
        (claim,) = await stage.claim(backend)
        await stage.settle(backend, claim, stage.OUTCOMES[Verb.FINISH])
        await backend.run(
            ["HSET", backend.keys.job(id), *fields],
            ["ZADD", backend.keys.scheduled(QUEUE), 1, id],
        )

    await backend.promote(QUEUE)

    assert await _claimed_ids(backend) == ["repeats"]
    assert await stage.status_of(backend, "finished") == JobStatus.FINISHED


async def test_one_odd_job_keeps_no_other_from_ending(backend: RedisBackend) -> None:
    """Runs that end in one call: that something else lies under the key of one job is no matter of the others'."""
    await stage.add(backend, "a", "b", "c")
    a, b, c = await stage.claim(backend, count=3)
    await backend.run(["DEL", backend.keys.job("b")], ["SET", backend.keys.job("b"), "odd"])

    answer = await backend.settle(SEAT, [(one, stage.OUTCOMES[Verb.FINISH]) for one in (a, b, c)])

    assert [(one.job_id, reply) for one, reply in answer.refused] == [("b", Reply.WRONG_TYPE)]
    assert [await stage.status_of(backend, one) for one in "ac"] == ["finished", "finished"]


async def test_run_whose_end_cannot_be_written_keeps_no_other_from_ending(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """It has failed, with the reason."""
    await stage.add(backend, "a", "b", "c")
    a, b, c = await stage.claim(backend, count=3)
    done = stage.OUTCOMES[Verb.FINISH]

    answer = await backend.settle(SEAT, [(a, done), (b, Finished(7.0, b"1", 0, (inf,))), (c, done)])

    assert answer.refused == ()
    assert [await stage.status_of(backend, one) for one in "abc"] == [
        "finished",
        "failed",
        "finished",
    ]
    assert "job b: the end of its run cannot be written" in caplog.text
    assert "OverflowError" in caplog.text


@pytest.mark.parametrize("kind", ["finished", "executions", "worker"])
async def test_odd_registry_keeps_no_run_from_ending(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """What cannot be written is said, and everything else is written."""
    await stage.add(backend, "a", "b")
    claims = await stage.claim(backend, count=2)
    keys = backend.keys
    key = {
        "finished": keys.finished(QUEUE),
        "executions": keys.executions("a"),
        "worker": keys.worker_executions(SEAT.worker),
    }[kind]
    await backend.run(["DEL", key], ["SET", key, "odd"])

    await backend.settle(SEAT, [(one, stage.OUTCOMES[Verb.FINISH]) for one in claims])

    assert [await stage.status_of(backend, one) for one in "ab"] == ["finished", "finished"]
    assert await backend.run(["EXISTS", keys.wip(QUEUE)]) == [0]
    assert "could not be settled" in caplog.text
    await backend.run(["DEL", key])
