"""The loader of the Lua scripts: names are bound, and what is wrong is found before anything is sent."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from aiorq2.backends import scripts
from aiorq2.backends.keys import Keys, lua_function
from aiorq2.backends.scripts import Script, ScriptError, _Prelude
from aiorq2.states import Reply

LUA = resources.files("aiorq2.backends") / "lua"


@pytest.mark.parametrize("name", scripts.all_names())
def test_script_is_bound_without_a_rest(name: str) -> None:
    """No name is left for Lua to stumble over, and it is known by what it is."""
    script = scripts.load(name)

    assert script.text.startswith(f"-- aiorq2 {name}\n")
    code = re.sub(r"'[^']*'|--.*", "", script.text)
    assert not re.search(r"\b(ARG|STATUS|REPLY|VERB)\.|\bK\.", code)
    assert re.fullmatch(r"[0-9a-f]{40}", script.sha)
    assert scripts.load(name) is script


@pytest.mark.parametrize("name", scripts.all_names())
def test_header_tells_what_a_script_answers(name: str) -> None:
    """The words of ``REPLY:`` are replies, and those in the code are in it or in an include's."""
    source = (LUA / f"{name}.lua").read_text()
    (header,) = re.findall(r"^--- REPLY: (.*)$", source, re.MULTILINE)

    words = {part.split()[0] for part in header.split("·")}

    assert words <= {reply.value for reply in Reply}
    assert set(re.findall(r"REPLY\.([A-Z_]+)", source)) <= words
    assert source.startswith("--- ")


@pytest.mark.parametrize("name", scripts.all_names())
def test_every_argument_of_the_header_is_used(name: str) -> None:
    """By the script or by what it includes."""
    script = scripts.load(name)

    for position in range(1, len(script.args) + 1):
        assert f"ARGV[{position}]" in script.text, script.args[position - 1]
    if script.rest:
        assert re.search(rf"\b{len(script.args) + 1}\b", script.text), script.rest


def test_arguments_are_given_by_name() -> None:
    """In any order; a wrong name is an error before anything is sent."""
    script = scripts.load("save_meta")

    assert script.arguments({"meta": b"m", "id": "j"}) == ["j", b"m"]
    with pytest.raises(TypeError, match=r"save_meta\.lua takes"):
        script.arguments({"id": "j"})
    with pytest.raises(TypeError, match=r"save_meta\.lua takes"):
        script.arguments({"id": "j", "meta": b"m", "more": 1})
    with pytest.raises(TypeError, match="no further arguments"):
        script.arguments({"id": "j", "meta": b"m"}, ["more"])


def test_further_arguments_come_last() -> None:
    """Where the header ends in three dots."""
    script = scripts.load("unregister")
    named: dict[str, scripts.Arg] = dict.fromkeys(script.args, "x")

    assert script.arguments(named, ["a", "b"])[-2:] == ["a", "b"]


@pytest.mark.parametrize(
    "line",
    [
        "return ARG.unknown",
        "return K.no_such_key(x)",
        "return K._private",
        "return K.job()",
        "return K.job(a, b)",
        "return K.job(a",
        "return STATUS.cancelled",
        "return REPLY.FINE",
        "return VERB.dance.from",
        "return VERB.cancel",
        "return VERB.retry.to",
    ],
)
def test_unknown_name_is_an_error_with_its_place(line: str) -> None:
    """When the script is loaded, with file and line."""
    with pytest.raises(ScriptError, match=r"somewhere\.lua:7: unknown name"):
        _Prelude(("id",), None).bind(line, "somewhere.lua:7")


def test_names_become_lua() -> None:
    """Positions, literals, sets and functions; a text that only looks like one stays."""
    prelude = _Prelude(("id", "now"), "fields")

    assert prelude.bind("f(ARG.now, ARG.fields)", "") == "f(ARGV[2], 3)"
    assert prelude.bind("STATUS.queued == REPLY.GONE", "") == "'queued' == 'GONE'"
    assert prelude.bind("VERB.cancel.to, FLAG.x", "") == "'canceled', FLAG.x"
    assert prelude.bind("VERB.claim.from[s]", "") == "FROM_claim[s]"
    assert prelude.bind("K.job(ARG.id)", "") == "(PREFIX .. ':job:' .. ARGV[1])"
    assert (
        prelude.bind("f(K.execution(job(K.queues()), a or b), 1)", "")
        == "f((PREFIX .. ':execution:' .. (job((PREFIX .. ':queues'))) .. ':' .. (a or b)), 1)"
    )
    assert prelude.bind("by[status] = K.job", "") == "by[status] = K_job"
    assert prelude.render() == [
        "local FROM_claim = {created = true, queued = true}",
        "local function K_job(job) return (PREFIX .. ':job:' .. job) end",
    ]


def test_lua_builds_the_same_keys_as_python() -> None:
    """A name is spelled once: in ``Keys``."""
    keys = Keys("p")
    parts = {
        "queue": "Q",
        "job": "J",
        "execution": "E",
        "worker": "W",
        "process": "X",
        "token": "T",
        "rate": "R",
        "group": "G",
        "cron": "C",
        "scheduler": "S",
    }
    for name in (one for one in vars(Keys) if not one.startswith("_") and one != "prefix"):
        rendered = lua_function(name)
        parameters = re.findall(r"\((.*?)\)", rendered)[0].split(", ")
        expression = rendered.split(" return (")[1].removesuffix(") end")
        values = {"PREFIX": "p", **parts}
        found = "".join(
            part[1:-1] if part.startswith("'") else values[part]
            for part in expression.split(" .. ")
        )

        assert found == getattr(keys, name)(*(parts[one] for one in parameters if one))


def test_lua_error_is_placed_in_its_source() -> None:
    """The line of the text that Redis got is of no use to anybody."""
    script = scripts.load("cancel")
    lines = script.text.splitlines()
    number = 1 + lines.index(
        next(line for line in lines if "PERSIST" in line and "changes nothing" in line)
    )

    placed = script.place(f"ERR user_script:{number}: attempt to call a nil value")

    source = (LUA / "cancel.lua").read_text().splitlines()
    line = int(re.findall(r"cancel\.lua:(\d+)", placed)[0])
    assert "changes nothing" in source[line - 1]
    assert script.place("user_script:99999: x") == "user_script:99999: x"


def test_script_is_known_by_its_content() -> None:
    """Old and new workers live side by side through a deploy."""
    texts = [scripts.load(name) for name in scripts.all_names()]

    assert len({script.sha for script in texts}) == len(texts)
    assert all(isinstance(script, Script) for script in texts)
