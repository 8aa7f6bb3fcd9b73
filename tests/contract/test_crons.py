"""Recurring entries in Redis: written, changed and removed whole, by whoever has seen how they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiorq2.backends import crons, inspect
from aiorq2.backends.line import Command
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import BackendError, InvalidJobOperation, NoSuchCronJobError
from tests.contract import cron_stage, stage
from tests.contract.cron_stage import PAST, draft, entry, read
from tests.contract.stage import QUEUE

LATER = 4_000_000_000.0


async def _due(backend: RedisBackend, queue: str = QUEUE) -> dict[str, float]:
    (flat,) = await backend.run(["ZRANGE", backend.keys.crons(queue), 0, -1, "WITHSCORES"])
    pairs = iter(flat)
    return {name.decode(): float(score) for name, score in zip(pairs, pairs, strict=True)}


async def test_entry_is_written_with_its_template(backend: RedisBackend) -> None:
    """It is on the list, due when it says, and its template has what every job of it gets."""
    assert await crons.save(backend, draft(backend, timeout=55, meta={"a": 1}), "update") == "added"

    record = await read(backend)
    assert (record.state, record.tick, record.due, record.revision) == ("active", PAST, PAST, "1")
    assert record.template.id == "cron-x"
    assert record.template.number("timeout") == 55
    assert record.template.text("aio_cron") == "x"
    assert "status" not in record.template.fields
    assert "created_at" not in record.template.fields
    assert await _due(backend) == {"x": PAST}
    assert await crons.names(backend) == ["x"]


@pytest.mark.parametrize("mode", ["update", "declare"])
async def test_same_declaration_changes_nothing(backend: RedisBackend, mode: crons.Mode) -> None:
    """However many processes declare it, and however often."""
    await crons.save(backend, draft(backend), mode)
    before = await stage.everything(backend)

    assert await crons.save(backend, draft(backend, at=PAST + 77), mode) == "unchanged"

    assert await stage.everything(backend) == before


@pytest.mark.parametrize("act", ["declare", "update", "resume", "tick"])
async def test_queue_of_an_entry_is_known_again(backend: RedisBackend, act: str) -> None:
    """Though somebody has deleted it: rq takes it off the list, and who looks after all queues would pass over the entry."""
    record = await entry(backend)
    if act == "resume":
        await crons.adjust(backend, record, "pause", state="paused", tick=None, due=None)
        record = await read(backend)
    await backend.run(["SREM", backend.keys.queues(), backend.keys.queue(QUEUE)])

    match act:
        case "resume":
            await crons.adjust(backend, record, act, state="active", tick=PAST, due=PAST)
        case "tick":
            decision = replace(await cron_stage.ticking(backend, record), runs=())
            assert await crons.tick(backend, [decision]) == [[]]
        case _:
            mode: crons.Mode = "declare" if act == "declare" else "update"
            assert await crons.save(backend, draft(backend), mode) == "unchanged"

    assert await inspect.queue_names(backend) == [QUEUE]


async def test_change_of_what_is_run_leaves_the_time_alone(backend: RedisBackend) -> None:
    """A tick that is pending, or was missed, is not lost because the arguments are others; the counters go on."""
    await entry(backend)
    await cron_stage.tick(backend, next_tick=PAST + 60)

    assert await crons.save(backend, draft(backend, at=LATER, args=(1,)), "update") == "updated"

    record = await read(backend)
    assert (record.tick, record.due) == (PAST + 60, PAST + 60)
    assert record.entry.number("runs") == 1
    assert record.entry.real("anchor") == PAST
    assert await cron_stage.runs(backend) == ["cron-x-20200913T122640"]


async def test_change_of_the_time_is_a_new_time(backend: RedisBackend) -> None:
    """What was pending is not any more."""
    await entry(backend)

    await crons.save(backend, draft(backend, at=LATER, interval=30), "update")

    assert await _due(backend) == {"x": LATER}
    assert (await read(backend)).entry.real("interval") == 30


async def test_change_of_the_queue_moves_the_entry(backend: RedisBackend) -> None:
    """It is due on the other one only."""
    await entry(backend)

    await crons.save(backend, draft(backend, queue="other"), "update")

    assert await _due(backend) == {}
    assert await _due(backend, "other") == {"x": PAST}
    await crons.remove(backend, "x")


async def test_option_that_is_gone_from_the_declaration_is_gone(backend: RedisBackend) -> None:
    """Nothing stays behind of what was declared before."""
    await entry(backend, jitter=5, repeat=3, timeout=7, pattern="* * * * *")

    await crons.save(backend, draft(backend), "update")

    record = await read(backend)
    assert not {"jitter", "repeat", "runs_left", "pattern"} & record.entry.fields.keys()
    assert record.template.number("timeout") == 180


async def test_replacement_begins_anew(backend: RedisBackend) -> None:
    """Counters, state and time are those of a new entry."""
    record = await entry(backend, repeat=3)
    await cron_stage.tick(backend)
    record = await read(backend)
    await crons.adjust(backend, record, "pause", state="paused", tick=None, due=None)

    await crons.save(backend, draft(backend, at=LATER, repeat=3), "replace")

    record = await read(backend)
    assert (record.state, record.tick, record.entry.number("runs")) == ("active", LATER, None)
    assert record.entry.number("runs_left") == 3


async def test_pause_survives_a_declaration(backend: RedisBackend) -> None:
    """What an operator has paused, a deploy does not set going."""
    await crons.adjust(backend, await entry(backend), "pause", state="paused", tick=None, due=None)

    await crons.save(backend, draft(backend, args=(1,)), "declare")
    await crons.save(backend, draft(backend, interval=7), "declare")

    assert (await read(backend)).state == "paused"
    assert await _due(backend) == {}


async def test_repeat_goes_on_counting_unless_it_is_another(backend: RedisBackend) -> None:
    """A redeclared entry with the same ``repeat`` has as many runs left as before."""
    await entry(backend, repeat=3)
    await cron_stage.tick(backend)

    await crons.save(backend, draft(backend, repeat=3, args=(1,)), "update")
    assert (await read(backend)).entry.number("runs_left") == 2

    await crons.save(backend, draft(backend, repeat=5, args=(1,)), "update")
    assert (await read(backend)).entry.number("runs_left") == 5


async def test_entry_that_has_ended_stays_so_for_code_that_declares_it(
    backend: RedisBackend,
) -> None:
    """``repeat=1`` is one run, however often the process starts; a person who asks again gets another."""
    await entry(backend, repeat=1)
    await cron_stage.tick(backend)
    assert (await read(backend)).state == "ended"

    assert await crons.save(backend, draft(backend, repeat=1), "declare") == "unchanged"
    assert (await read(backend)).state == "ended"

    assert await crons.save(backend, draft(backend, repeat=1), "update") == "updated"
    record = await read(backend)
    assert (record.state, record.entry.number("runs_left")) == ("active", 1)
    assert await stage.ttl(backend, backend.keys.cron("x")) == -1
    assert await stage.ttl(backend, backend.keys.cron_runs("x")) == -1


async def test_edit_of_an_entry_that_has_ended_leaves_it_so(backend: RedisBackend) -> None:
    """Whoever edits it has perhaps not seen that: what it says is other, and it is gone when it would have been."""
    seen = await entry(backend, repeat=1)
    await cron_stage.tick(backend)

    edited = draft(backend, repeat=1, args=(1,), interval=30)
    assert await crons.save(backend, edited, "edit", revision=seen.revision) == "updated"

    record = await read(backend)
    assert (record.state, record.tick, record.entry.number("runs_left")) == ("ended", None, 0)
    assert (record.entry.number("runs"), record.entry.real("interval")) == (1, 30)
    assert await _due(backend) == {}
    for key in (backend.keys.cron, backend.keys.cron_job, backend.keys.cron_runs):
        assert 86_000 < await stage.ttl(backend, key("x")) <= 86_400
    (forgotten_at,) = await backend.run(["ZSCORE", backend.keys.cron_names(), "x"])
    assert float(forgotten_at) > 0
    assert await crons.save(backend, edited, "edit") == "unchanged"


async def test_edit_that_gives_an_ended_entry_runs_sets_it_going(backend: RedisBackend) -> None:
    """Another ``repeat`` does; other times do where runs are left, and these are not begun anew."""
    await entry(backend, repeat=1)
    await cron_stage.tick(backend)
    await entry(backend, "y", repeat=3)
    await cron_stage.tick(backend, "y", next_tick=None)

    await crons.save(backend, draft(backend, at=LATER, repeat=2), "edit")
    await crons.save(backend, draft(backend, "y", at=LATER, repeat=3, interval=30), "edit")

    for name in ("x", "y"):
        record = await read(backend, name)
        assert (record.state, record.tick, record.entry.number("runs_left")) == ("active", LATER, 2)
        assert await stage.ttl(backend, backend.keys.cron(name)) == -1
    assert await _due(backend) == {"x": LATER, "y": LATER}


async def test_edit_of_what_was_changed_meanwhile_writes_nothing(backend: RedisBackend) -> None:
    """Whoever has seen an older revision is told."""
    seen = await entry(backend)
    await crons.save(backend, draft(backend, args=(1,)), "update")
    before = await stage.everything(backend)

    edited = draft(backend, args=(2,))
    assert await crons.save(backend, edited, "update", revision=seen.revision) == "outdated"
    assert not await crons.adjust(backend, seen, "pause", state="paused", tick=None, due=None)

    assert await stage.everything(backend) == before


async def test_newer_code_wins(backend: RedisBackend) -> None:
    """Of two versions that declare at the same time, as in a rolling deploy, the older one changes and removes nothing."""

    async def declare(version: float, *args: int) -> crons.Saved:
        made = cron_stage.declared(draft(backend, args=args), "app")
        return await crons.save(backend, made, "declare", version=version)

    assert await declare(2, 2) == "added"
    before = await stage.everything(backend)

    assert await declare(1, 1) == "outdated"
    assert not await crons.remove(backend, "x", source="app", version=1)
    assert await stage.everything(backend) == before

    assert await declare(3, 3) == "updated"
    assert await crons.remove(backend, "x", source="app", version=3)
    assert await declare(2, 2) == "outdated"


async def test_code_does_not_take_another_codes_entry(backend: RedisBackend) -> None:
    """It is told whose it is; what was made at run time becomes the code's that declares it."""
    await entry(backend)
    await crons.save(backend, cron_stage.declared(draft(backend), "one"), "declare")
    assert (await read(backend)).entry.text("source") == "one"
    before = await stage.everything(backend)

    with pytest.raises(InvalidJobOperation, match="cannot declare for 'two', 'one' declares it"):
        await crons.save(backend, cron_stage.declared(draft(backend), "two"), "declare")
    assert not await crons.remove(backend, "x", source="two")

    assert await stage.everything(backend) == before


async def test_edit_at_run_time_leaves_an_entry_with_its_code(backend: RedisBackend) -> None:
    """Which takes the change back when it declares it again."""
    await crons.save(backend, cron_stage.declared(draft(backend), "app"), "declare")

    await crons.save(backend, draft(backend, args=(1,)), "update")
    assert (await read(backend)).entry.text("source") == "app"

    again = await crons.save(backend, cron_stage.declared(draft(backend), "app"), "declare")
    assert again == "updated"


async def test_removed_entry_leaves_nothing_but_its_jobs(backend: RedisBackend) -> None:
    """The jobs that it has made are jobs like others."""
    await entry(backend)
    (job_id,) = await cron_stage.tick(backend)

    await crons.remove(backend, "x")

    assert [name for name in await stage.everything(backend) if name.startswith("aio:cron")] == []
    assert await stage.status_of(backend, job_id) == "queued"


@pytest.mark.parametrize("verb", ["pause", "remove", "run"])
async def test_what_is_not_there_is_refused(backend: RedisBackend, verb: str) -> None:
    """By name, and nothing is written."""
    seen = await entry(backend)
    await crons.remove(backend, "x")
    before = await stage.everything(backend)

    async def act() -> None:
        match verb:
            case "pause":
                await crons.adjust(backend, seen, verb, state="paused", tick=None, due=None)
            case "remove":
                await crons.remove(backend, "x")
            case _:
                await crons.run(backend, "x", "x-1")

    with pytest.raises(NoSuchCronJobError, match=f"cron 'x': cannot {verb}, there is no such"):
        await act()

    assert await stage.everything(backend) == before


async def test_entry_that_has_ended_cannot_be_paused(backend: RedisBackend) -> None:
    """It is told, and nothing is written."""
    await entry(backend, repeat=1)
    await cron_stage.tick(backend)
    record = await read(backend)
    before = await stage.everything(backend)

    with pytest.raises(InvalidJobOperation, match="cron 'x': cannot pause, it has ended"):
        await crons.adjust(backend, record, "pause", state="paused", tick=None, due=None)

    assert await stage.everything(backend) == before


@pytest.mark.leaks_allowed("the test itself writes what should not be there")
async def test_something_else_under_the_key_of_an_entry_stays(backend: RedisBackend) -> None:
    """It is an error, not overwritten, and not shown."""
    await backend.run(["SET", backend.keys.cron("x"), "a string"])

    with pytest.raises(BackendError, match="cron 'x': cannot save"):
        await crons.save(backend, draft(backend), "update")

    assert await crons.records(backend, ["x", "y"]) == [None, None]
    with pytest.raises(NoSuchCronJobError):
        await crons.remove(backend, "x")
    assert (await backend.run(["GET", backend.keys.cron("x")]))[0] == b"a string"


# -- sent twice ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb", ["add", "update", "tick", "end", "vanish", "pause", "remove", "run"]
)
async def test_command_sent_twice_does_what_it_does_once(backend: RedisBackend, verb: str) -> None:
    """The second copy of a command finds that it has been carried out, says OK, and changes not a byte."""
    command = await _command(backend, verb)
    first = await stage.send(backend, command)
    once = await stage.everything(backend)

    second = await stage.send(backend, command)

    assert (first[0], second[0]) == (b"OK", b"OK")
    assert await stage.everything(backend) == once


async def _command(backend: RedisBackend, verb: str) -> Command:
    if verb == "add":
        return cron_stage.save_command(backend, draft(backend))
    record = await entry(backend, repeat=5)
    iso = "2024-05-01T12:00:00.000000Z"
    match verb:
        case "update":
            return cron_stage.save_command(backend, draft(backend, interval=5))
        case "tick":
            return await cron_stage.tick_command(backend, record)
        case "end":
            return await cron_stage.tick_command(backend, record, next_tick=None)
        case "vanish":
            key = backend.keys.cron("x")
            await backend.run(["HSET", key, "anonymous", 1])
            return await cron_stage.tick_command(backend, await read(backend), next_tick=None)
        case "pause":
            named = {"cron": "x", "token": "t", "revision": "1", "state": "paused", "now_iso": iso}
            return backend._command("adjust_cron", {**named, "tick": "", "due": ""}, ["a", "b"])
        case "remove":
            named = {"cron": "x", "token": "t", "source": "", "version": ""}
            return backend._command("remove_cron", named)
        case _:
            named = {"cron": "x", "token": "t", "job": "x-1", "tick_iso": iso, "now_iso": iso}
            return backend._command("run_cron", named)
