"""A tick makes one job, whoever looks and however many, and what the policies say about earlier runs is done in the same step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiorq2.backends import crons
from aiorq2.backends.base import Claim
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendError
from aiorq2.states import JobStatus, Verb
from aiorq2.terms import RateLimit
from tests.contract import cron_stage, stage
from tests.contract.cron_stage import NEXT, PAST, entry, read, tick, ticking
from tests.contract.stage import QUEUE, SEAT
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually

FIRST = "cron-x-20200913T122640"


# -- one job ---------------------------------------------------------------------------------------------------------------


async def test_tick_makes_a_job_that_is_linked_both_ways(backend: RedisBackend) -> None:
    """A job of its own with the template's fields; the entry remembers it and says what is pending."""
    await entry(backend, timeout=55, args=(1,))

    assert await tick(backend) == [FIRST]

    job = await stage.fields(backend, FIRST)
    assert (job["status"], job["origin"], job["timeout"]) == ("queued", QUEUE, "55")
    assert (job["aio_cron"], job["aio_tick"]) == ("x", "2020-09-13T12:26:40.000000Z")
    assert job["aio_token"]
    assert job["created_at"] == job["enqueued_at"] != ""
    record = await read(backend)
    assert (record.tick, record.due) == (NEXT, NEXT)
    assert record.entry.text("last_job") == FIRST
    assert record.entry.real("last_tick") == PAST
    assert record.entry.number("runs") == 1
    assert await cron_stage.runs(backend) == [FIRST]
    assert await backend.wait(SEAT, [QUEUE], 5)


async def test_of_many_that_look_one_makes_the_job(backend: RedisBackend) -> None:
    """The decision of the others is refused, and writes nothing."""
    record = await entry(backend)
    decisions = [await ticking(backend, record) for _ in range(5)]
    (first,) = await crons.tick(backend, decisions[:1])
    before = await stage.everything(backend)

    assert first == [FIRST]
    assert await crons.tick(backend, decisions[1:]) == [None] * 4
    assert await stage.everything(backend) == before


@pytest.mark.parametrize("change", ["edited", "paused", "moved", "removed"])
async def test_decision_about_an_entry_that_was_changed_is_refused(
    backend: RedisBackend, change: str
) -> None:
    """It was made about another one; nothing is written."""
    record = await entry(backend)
    decision = await ticking(backend, record)
    match change:
        case "edited":
            await crons.save(backend, cron_stage.draft(backend, args=(1,)), "update")
        case "paused":
            await crons.adjust(backend, record, "pause", state="paused", tick=None, due=None)
        case "moved":
            await crons.adjust(backend, record, "move", state="active", tick=PAST, due=PAST)
        case _:
            await crons.remove(backend, "x")
    before = await stage.everything(backend)

    assert await crons.tick(backend, [decision]) == [None]
    assert await stage.everything(backend) == before


async def test_decision_of_a_process_that_was_frozen_is_refused(backend: RedisBackend) -> None:
    """What it has seen is long ago, though nobody has come between: it has to look again."""
    record = await entry(backend)
    now = await crons.now(backend)
    before = await stage.everything(backend)

    assert await crons.tick(backend, [await ticking(backend, record, seen_at=now - 6)]) == [None]
    assert await stage.everything(backend) == before

    assert await crons.tick(backend, [await ticking(backend, record, seen_at=now - 1)]) == [[FIRST]]


async def test_tick_whose_job_is_there_makes_no_second_one(backend: RedisBackend) -> None:
    """The id of a job is that of its tick: an entry that was removed and written again does not run it twice."""
    await entry(backend)
    await tick(backend)
    await crons.remove(backend, "x")
    await entry(backend)

    assert await tick(backend) == []

    assert await stage.queued(backend) == [FIRST]
    assert (await read(backend)).tick == NEXT


async def test_tick_makes_several_jobs_for_several_ticks(backend: RedisBackend) -> None:
    """In their order; those beyond ``history`` are forgotten, not deleted."""
    await entry(backend, history=2)
    ticks = [PAST, PAST + 0.25, PAST + 60]

    made = await tick(backend, "x", *ticks)

    assert made == [FIRST, f"{FIRST}_250", "cron-x-20200913T122740"]
    assert await stage.queued(backend) == made
    assert await cron_stage.runs(backend) == made[:0:-1]


async def test_job_of_an_entry_follows_its_options(backend: RedisBackend) -> None:
    """Its place in the queue, its time to live and its rate limit are those of the template."""
    await stage.add(backend, "waiting")
    await entry(backend, at_front=True, ttl=60)
    (job_id,) = await tick(backend)
    assert await stage.queued(backend) == [job_id, "waiting"]
    assert 0 < await stage.ttl(backend, backend.keys.job(job_id)) <= 60

    await entry(backend, "limited", rate_limit=RateLimit("r", 1))
    made = await tick(backend, "limited", PAST, PAST + 60)
    assert [await stage.status_of(backend, one) for one in made] == ["queued", "rate_limited"]


async def test_run_at_once_changes_no_time(backend: RedisBackend) -> None:
    """A run that a person asks for is one more; the entry goes on as before, paused or not."""
    record = await entry(backend, repeat=1, overlap="skip")
    await crons.adjust(backend, record, "pause", state="paused", tick=None, due=None)

    await crons.run(backend, "x", "x-1")
    await crons.run(backend, "x", "x-2")

    record = await read(backend)
    assert await stage.queued(backend) == ["x-1", "x-2"]
    assert await cron_stage.runs(backend) == ["x-2", "x-1"]
    assert (record.state, record.entry.number("runs_left")) == ("paused", 1)
    assert record.entry.number("runs") == 2


# -- the end ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["repeat", "no tick left"])
async def test_entry_that_has_ended_is_seen_for_a_day(backend: RedisBackend, by: str) -> None:
    """With all that is its; then it is gone, and off the list with the next one that ends."""
    await entry(backend, repeat=1 if by == "repeat" else None)

    made = await tick(backend, next_tick=PAST + 60 if by == "repeat" else None)

    record = await read(backend)
    assert (made, record.state, record.tick) == ([FIRST], "ended", None)
    assert await cron_stage.due_names(backend) == []
    for key in (backend.keys.cron, backend.keys.cron_job, backend.keys.cron_runs):
        assert 86_000 < await stage.ttl(backend, key("x")) <= 86_400
    assert await crons.names(backend) == ["x"]

    await backend.run(["DEL", *[key("x") for key in (backend.keys.cron, backend.keys.cron_job)]])
    await backend.run(["DEL", backend.keys.cron_runs("x")])
    await backend.run(["ZADD", backend.keys.cron_names(), 5, "x"])
    await entry(backend, "y", repeat=1)
    await tick(backend, "y")
    assert await crons.names(backend) == ["y"]


async def test_entry_that_code_declares_is_seen_for_a_year(backend: RedisBackend) -> None:
    """Lest it begins again when the code is started the next time."""
    made = cron_stage.declared(cron_stage.draft(backend, repeat=1), "app")
    await crons.save(backend, made, "declare")

    await tick(backend)

    assert await stage.ttl(backend, backend.keys.cron("x")) > 31_000_000


async def test_entry_without_a_name_of_its_own_is_gone_at_its_end(backend: RedisBackend) -> None:
    """Nobody could ask for it, and there may be a million."""
    await entry(backend, repeat=1)
    await backend.run(["HSET", backend.keys.cron("x"), "anonymous", 1])

    await tick(backend)

    assert await crons.names(backend) == []
    assert not await stage.exists(backend, backend.keys.cron("x"))
    assert await stage.queued(backend) == [FIRST]


async def test_repeat_counts_runs_not_ticks(backend: RedisBackend) -> None:
    """What is left out because an earlier run goes on is no run; what is too many is not made, and not counted as left out."""
    await entry(backend, repeat=2, overlap="skip")
    assert await tick(backend) == [FIRST]
    assert await tick(backend, "x", PAST + 60) == []
    record = await read(backend)
    assert (record.entry.number("runs_left"), record.entry.number("skipped")) == (1, 1)

    await entry(backend, "y", repeat=2)
    assert len(await tick(backend, "y", PAST, PAST + 60, PAST + 120)) == 2
    record = await read(backend, "y")
    assert (record.state, record.entry.number("skipped")) == ("ended", 0)


# -- overlap ---------------------------------------------------------------------------------------------------------------

SECOND = "cron-x-20200913T122740"
THIRD = "cron-x-20200913T122840"


async def _finish(backend: RedisBackend, claim: Claim, verb: Verb = Verb.FINISH) -> None:
    await stage.settle(backend, claim, stage.OUTCOMES[verb])
    await backend.released()


async def _run_next(backend: RedisBackend) -> str:
    claim = await stage.claim_one(backend)
    await _finish(backend, claim)
    return claim.job_id


@pytest.mark.parametrize("status", ["queued", "started", "scheduled"])
async def test_skip_makes_no_job_while_an_earlier_one_has_not_ended(
    backend: RedisBackend, status: str
) -> None:
    """Be it that it waits, runs, or waits for its retry."""
    await entry(backend, overlap="skip")
    await tick(backend)
    if status != "queued":
        claim = await stage.claim_one(backend)
        if status == "scheduled":
            await stage.settle(backend, claim, stage.LATER)
    assert await stage.status_of(backend, FIRST) == status

    assert await tick(backend, "x", PAST + 60) == []

    record = await read(backend)
    assert record.tick == NEXT
    assert record.entry.number("skipped") == 1
    assert await cron_stage.runs(backend) == [FIRST]


@pytest.mark.parametrize("verb", [Verb.FINISH, Verb.FAIL, Verb.STOP])
async def test_skip_makes_a_job_when_the_earlier_one_has_ended(
    backend: RedisBackend, verb: Verb
) -> None:
    """Whichever way."""
    await entry(backend, overlap="skip")
    await tick(backend)
    await _finish(backend, await stage.claim_one(backend), verb)

    assert await tick(backend, "x", PAST + 60) == [SECOND]


@pytest.mark.parametrize("verb", [Verb.FINISH, Verb.FAIL, Verb.STOP])
async def test_queue_makes_jobs_wait_for_one_another(backend: RedisBackend, verb: Verb) -> None:
    """Each behind the one before, whichever way that one ends."""
    await entry(backend, overlap="queue")
    await tick(backend)
    claim = await stage.claim_one(backend)
    assert await tick(backend, "x", PAST + 60) == [SECOND]
    assert await tick(backend, "x", PAST + 120) == [THIRD]
    assert await stage.places(backend, SECOND) == ["deferred:q"]
    assert await stage.places(backend, THIRD) == ["deferred:q"]

    await _finish(backend, claim, verb)
    assert await stage.queued(backend) == [SECOND]
    await _run_next(backend)
    assert await stage.queued(backend) == [THIRD]


async def test_queue_goes_on_when_the_one_before_is_deleted(backend: RedisBackend) -> None:
    """Or cancelled: nobody waits for ever."""
    await entry(backend, overlap="queue")
    await tick(backend, "x", PAST, PAST + 60, PAST + 120)

    await backend.delete(FIRST)
    assert await stage.queued(backend) == [SECOND]
    await backend.cancel(SECOND)
    assert await stage.queued(backend) == [THIRD]


async def test_replace_cancels_what_waits(backend: RedisBackend) -> None:
    """The new job takes its place at once."""
    await entry(backend, overlap="replace")
    await tick(backend)

    assert await tick(backend, "x", PAST + 60) == [SECOND]

    assert await stage.places(backend, FIRST) == ["canceled:q"]
    assert await stage.queued(backend) == [SECOND]


async def test_replace_stops_what_runs_and_waits_until_it_is_gone(backend: RedisBackend) -> None:
    """Its worker is told; a third tick replaces the second, which has not begun, and still waits for the first."""
    await entry(backend, overlap="replace")
    await tick(backend)
    claim = await stage.claim_one(backend)

    await tick(backend, "x", PAST + 60)
    assert (await backend.extend(SEAT, [claim], stage.TALLY)).stopping == {claim.execution_id}
    assert await stage.places(backend, SECOND) == ["deferred:q"]
    await tick(backend, "x", PAST + 120)
    assert await stage.places(backend, SECOND) == ["canceled:q"]
    assert await stage.places(backend, THIRD) == ["deferred:q"]

    await _finish(backend, claim, Verb.STOP)
    assert await stage.queued(backend) == [THIRD]


async def test_replace_does_not_overrule_who_has_cancelled_before(backend: RedisBackend) -> None:
    """A run that somebody has cancelled so that its dependents are enqueued, counts as done for them all the same."""
    await entry(backend, overlap="replace")
    await tick(backend)
    claim = await stage.claim_one(backend)
    await stage.add(backend, "child", depends_on=FIRST)
    await backend.cancel(FIRST, enqueue_dependents=True)

    await tick(backend, "x", PAST + 60)
    await _finish(backend, claim, Verb.STOP)

    assert sorted(await stage.queued(backend)) == sorted([SECOND, "child"])


async def test_allow_makes_jobs_side_by_side(backend: RedisBackend) -> None:
    """Whatever the earlier ones do."""
    await entry(backend)

    await tick(backend, "x", PAST, PAST + 60)

    assert await stage.queued(backend) == [FIRST, SECOND]


# -- who looks -------------------------------------------------------------------------------------------------------------


async def test_what_is_due_is_handed_to_one_process(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has seen to everything, or is not heard of for as long as its duty lasts: a second."""
    assert crons.DUTY_S == 1
    monkeypatch.setattr(crons, "DUTY_S", 10.0)  # longer than anything in here takes
    await entry(backend)
    assert await cron_stage.due_names(backend, "i1") == ["x"]
    other = await crons.due(backend, "i2", [QUEUE])
    assert other.records == ()
    assert other.next_due is not None  # when to look whether it was done
    assert 0 < other.next_due - other.now <= 10
    assert await cron_stage.due_names(backend, "i1") == ["x"]

    await tick(backend)
    assert await cron_stage.due_names(backend, "i1") == []
    await entry(backend, "y")
    assert await cron_stage.due_names(backend, "i2") == ["y"]
    assert await cron_stage.due_names(backend, "i1") == []

    async def takes_over() -> bool:
        return await cron_stage.due_names(backend, "i1") == ["y"]

    monkeypatch.setattr(crons, "DUTY_S", 1.0)
    assert await cron_stage.due_names(backend, "i2") == ["y"]
    await eventually(takes_over, timeout=10)


async def test_due_entries_come_in_slices_and_tell_when_the_next_is(backend: RedisBackend) -> None:
    """The earliest first; what is not due yet is not handed out, nor what is of another queue."""
    for name in ("a", "b", "c"):
        await entry(backend, name)
    await entry(backend, "later", at=4_000_000_000.0)
    await entry(backend, "elsewhere", queue="elsewhere")

    found = await crons.due(backend, "i1", [QUEUE], limit=2)

    assert [one.name for one in found.records] == ["a", "b"]
    assert found.next_due == 4_000_000_000.0
    assert abs(found.now - await crons.now(backend)) < 5


async def test_nothing_is_due_while_workers_are_suspended(backend: RedisBackend) -> None:
    """Afterwards the policies decide about what was missed."""
    await entry(backend)
    await backend.run(["SET", backend.keys.suspended(), 1, "EX", 60])

    assert await cron_stage.due_names(backend) == []

    await backend.run(["DEL", backend.keys.suspended()])
    assert await cron_stage.due_names(backend) == ["x"]


async def test_claim_tells_that_an_entry_is_due(backend: RedisBackend) -> None:
    """Only a worker that schedules asks; of one that is due later it knows when, and sleeps no longer."""
    await entry(backend)
    assert (await backend.claim(SEAT, stage.request())).has_ticks
    assert not (await backend.claim(SEAT, stage.request(promote=0))).has_ticks
    await crons.remove(backend, "x")

    await entry(backend, at=await crons.now(backend) + 30)
    claimed = await backend.claim(SEAT, stage.request())
    assert not claimed.has_ticks
    assert claimed.next_due_in is not None
    assert 25 < claimed.next_due_in <= 30


async def test_earlier_tick_wakes_a_worker_to_watch(backend: RedisBackend) -> None:
    """As an earlier scheduled job does; a later one wakes nobody."""
    now = await crons.now(backend)
    await entry(backend, at=now + 60)
    await backend.claim(SEAT, stage.request())
    while await backend.wait(SEAT, [QUEUE], 0.02):
        pass

    await entry(backend, "later", at=now + 90)
    assert not await backend.wait(SEAT, [QUEUE], 0.02)
    await entry(backend, "earlier", at=now + 30)
    assert await backend.wait(SEAT, [QUEUE], 5)
    assert (await backend.claim(stage.OTHER_SEAT, stage.request())).is_watching


async def test_schedulers_hear_what_is_due_earlier(backend: RedisBackend) -> None:
    """By a message with the name of the queue, for jobs and entries alike."""
    heard: list[bytes | None] = []
    await backend.subscribe(backend.keys.due_news(), heard.append)

    await stage.add(backend, status=JobStatus.SCHEDULED, due_in=60)
    await entry(backend, queue="crons")

    await eventually(lambda: {b"q", b"crons"} <= set(heard))
    await backend.unsubscribe(backend.keys.due_news())


async def test_one_scheduler_leads(backend: RedisBackend) -> None:
    """Until it gives up, or is not heard of; the lead is no lock: what the others do is done once all the same."""

    async def leads(instance: str, lead_ms: int = 10_000) -> bool:
        return bool((await backend.call("lead", group="g", instance=instance, lead_ms=lead_ms))[1])

    assert (await leads("a"), await leads("b"), await leads("a")) == (True, False, True)
    await leads("a", 0)
    assert await leads("b", 20)
    await eventually(lambda: leads("a"))
    await leads("a", 0)


# -- odd data --------------------------------------------------------------------------------------------------------------


@pytest.mark.leaks_allowed("the test itself writes what should not be there")
@pytest.mark.parametrize(
    "odd",
    ["no hash", "a string", "no state", "another queue", "no template", "a list for a template"],
)
async def test_what_is_no_entry_is_dropped_from_the_due_ones(
    backend: RedisBackend, odd: str
) -> None:
    """It is due for ever otherwise; the others are seen to."""
    record = await entry(backend, "odd")
    await entry(backend, "sound")
    key, template = backend.keys.cron("odd"), backend.keys.cron_job("odd")
    match odd:
        case "no hash":
            await backend.run(["DEL", key])
        case "a string":
            await backend.run(["SET", key, "a string"])
        case "no state":
            await backend.run(["HDEL", key, "state"])
        case "another queue":
            await backend.run(["HSET", key, "queue", "other"])
        case "no template":
            await backend.run(["DEL", template])
        case _:
            await backend.run(["DEL", template], ["RPUSH", template, "x"])

    for one in (await crons.due(backend, "i1", [QUEUE])).records:
        await crons.tick(backend, [await ticking(backend, one)])

    assert await cron_stage.due_names(backend) == []
    assert await stage.queued(backend) == ["cron-sound-20200913T122640"]
    assert record.name == "odd"


@pytest.mark.leaks_allowed("the test itself writes what should not be there")
async def test_tick_of_a_queue_of_the_wrong_type_is_refused_whole(backend: RedisBackend) -> None:
    """A job that cannot be put into its queue is not made."""
    await entry(backend)
    await backend.run(["SET", backend.keys.queue(QUEUE), "a string"])
    before = await stage.everything(backend)

    with pytest.raises(BackendError, match="queue q is no list"):
        await tick(backend)

    assert await stage.everything(backend) == before


@pytest.mark.leaks_allowed("the test itself writes what should not be there")
async def test_entry_of_a_queue_of_the_wrong_type_can_be_put_off(backend: RedisBackend) -> None:
    """It is due later, and says why; those beside it have had their runs."""
    record = await entry(backend, queue="broken")
    await entry(backend, "sound")
    await backend.run(["SET", backend.keys.queue("broken"), "a string"])
    decisions = [await ticking(backend, one) for one in (record, await read(backend, "sound"))]

    refused, made = await crons.tick(backend, decisions)
    assert isinstance(refused, BackendError)
    assert made == ["cron-sound-20200913T122640"]

    later = replace(decisions[0], runs=(), next_tick=PAST, next_due=NEXT, error=str(refused))
    assert await crons.tick(backend, [later]) == [[]]
    record = await read(backend)
    assert (record.state, record.tick, record.due) == ("active", PAST, NEXT)
    assert "queue broken is no list" in (record.entry.text("error") or "")
    assert await cron_stage.due_names(backend, "i1", "broken") == []


@pytest.mark.leaks_allowed("the test itself writes what should not be there")
async def test_scheduled_jobs_of_the_wrong_type_are_none(backend: RedisBackend) -> None:
    """Whoever promotes in all queues goes on with the next one."""
    await backend.run(["SET", backend.keys.scheduled(QUEUE), "a string"])

    assert await backend.promote(QUEUE) == (0, None)


@pytest.mark.leaks_allowed("the test itself writes what should not be there")
async def test_due_list_of_the_wrong_type_hides_no_other(backend: RedisBackend) -> None:
    """Neither from who ticks nor from who claims."""
    await backend.run(["SET", backend.keys.crons("broken"), "a string"])
    await stage.add(backend, "job", queue="broken")
    await entry(backend)

    assert await cron_stage.due_names(backend, "i1", "broken", QUEUE) == ["x"]
    claimed = await backend.claim(SEAT, stage.request(9, ["broken", QUEUE]))
    assert ([one.job_id for one in claimed.claims], claimed.has_ticks) == (["job"], True)


@pytest.mark.leaks_allowed("the test itself writes what should not be there")
@pytest.mark.parametrize("value", ["", "soon", "nan", "1e400", "-3"])
@pytest.mark.parametrize("field", ["runs_left", "history", "runs", "grace", "jitter", "start"])
async def test_entry_with_a_number_that_is_none_ticks_or_is_refused_whole(
    backend: RedisBackend, field: str, value: str
) -> None:
    """Nonsense in a field makes no second job, and no half of one."""
    await entry(backend)
    await backend.run(["HSET", backend.keys.cron("x"), field, value])

    record = await read(backend)
    record.policies  # noqa: B018  is read without an error
    (made,) = await crons.tick(backend, [await ticking(backend, record)])

    assert await stage.queued(backend) == ([] if isinstance(made, BackendError) else made or [])


# -- a bad network and a full Redis ------------------------------------------------------------------------------------------


def _sha(name: str) -> bytes:
    from aiorq2.backends import scripts

    return scripts.load(name).sha.encode()


@pytest.mark.parametrize(
    "verb", ["save_cron", "adjust_cron", "remove_cron", "run_cron", "tick_cron", "due_crons"]
)
async def test_verb_whose_reply_is_lost_happens_once(
    shaky: RedisBackend, chaos_proxy: ChaosProxy, verb: str
) -> None:
    """Whatever was asked for has happened once, and the caller sees no error."""
    record = await entry(shaky)
    lost = chaos_proxy.drop_next_reply(_sha(verb))
    match verb:
        case "save_cron":
            assert (
                await crons.save(shaky, cron_stage.draft(shaky, args=(1,)), "update") == "updated"
            )
            assert (await read(shaky)).revision == "2"
        case "adjust_cron":
            assert await crons.adjust(shaky, record, "pause", state="paused", tick=None, due=None)
            assert (await read(shaky)).state == "paused"
        case "remove_cron":
            assert await crons.remove(shaky, "x")
            assert await crons.names(shaky) == []
        case "run_cron":
            await crons.run(shaky, "x", "x-1")
            assert await stage.queued(shaky) == ["x-1"]
        case "tick_cron":
            await crons.tick(shaky, [await ticking(shaky, record)])
            assert await stage.queued(shaky) == [FIRST]
        case _:
            assert await cron_stage.due_names(shaky) == ["x"]
    assert lost.is_set()
