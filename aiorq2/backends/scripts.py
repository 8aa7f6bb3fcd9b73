"""Load the Lua scripts and bind their names.

A script is written with names and checked when it is loaded: ``ARG.id`` becomes ``ARGV[1]`` by the header's ``ARGV:`` line,
``K.job(id)`` the text by which ``keys.py`` builds that key, ``STATUS.queued`` and ``REPLY.GONE`` literals, ``VERB.cancel.from``
a set from ``states.py``. What is not known is an error at load, with file and line. Python calls with names as well; nobody
counts positions.

Redis runs a script from its first line each time that it is called, and so makes all of its functions anew. Therefore a key is
built where it is needed, without a function, and what is seldom needed is included by ``@rarely <include> <function>``: that
function is made of the include's text when it is called, and not before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from aiorq2.backends.keys import Keys, lua_expression, lua_function
from aiorq2.states import TERMINAL, TRANSITIONS, JobStatus, Reply, Verb

Arg = str | bytes | int | float
_ROOT = resources.files("aiorq2.backends") / "lua"
_HEADER = re.compile(r"^--- (?P<key>ARGV|REPLY|@include|@rarely):? (?P<value>.*)$")
_NAME = re.compile(r"\b(?P<space>ARG|K|STATUS|REPLY|VERB)\.(?P<name>[A-Za-z_]+)(?P<tail>\.[a-z]+)?")


_AT_HAND = ("local redis, ARGV, PREFIX = redis, ARGV, KEYS[1]",)
"""Locals are found faster than globals."""


class ScriptError(Exception):
    """A Lua source that cannot be bound, or a Lua error while it ran, with its place."""


@dataclass(frozen=True)
class Script:
    """One bound script: its name, the Lua text that Redis gets, its SHA-1, and the names of its arguments."""

    name: str
    text: str
    sha: str
    args: tuple[str, ...]
    rest: str | None
    lines: tuple[str, ...]
    takes_now: bool = False
    """Whether the time comes as one more argument, the last (``connect(clock=…)``)."""

    def arguments(self, named: Mapping[str, Arg], rest: Sequence[Arg] = ()) -> list[Arg]:
        """Return ``named`` in the order of the header, then ``rest``.

        Raises:
            TypeError: a name is missing or unknown.
        """
        if rest and self.rest is None:
            raise TypeError(f"{self.name}.lua takes no further arguments")
        try:
            ordered = [named[name] for name in self.args]
        except KeyError:
            ordered = []
        if len(ordered) != len(named):
            raise TypeError(f"{self.name}.lua takes {self.args}, got {tuple(named)}")
        return ordered + list(rest)

    def place(self, message: str) -> str:
        """Return a Lua error message with the source file and line in place of the flattened one."""

        def source(match: re.Match[str]) -> str:
            number = int(match[1]) - 1
            return self.lines[number] if 0 <= number < len(self.lines) else match[0]

        return re.sub(r"user_script:(\d+)", source, message)


@cache
def load(name: str, *, given_clock: bool = False) -> Script:
    """Return the script ``lua/<name>.lua``, bound and ready to send.

    Args:
        given_clock: the time that counts is an argument, not Redis' own.
    """
    included: set[str] = set()
    lines, places, headers = _flatten(
        name, included, {"clock": "given_clock"} if given_clock else {}
    )
    *plain, last = headers.get("ARGV", "").split() or [""]
    rest = last[3:] if last.startswith("...") else None
    args = tuple(plain if rest else [*plain, last] if last else plain)
    prelude = _Prelude(args, rest)
    body = [prelude.bind(line, place) for line, place in zip(lines, places, strict=True)]
    head = [f"-- aiorq2 {name}", *_AT_HAND, *prelude.render()]
    text = "\n".join([*head, *body])
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    origin = tuple([f"{name}.lua:prelude"] * len(head) + places)
    return Script(name, text, sha, args, rest, origin, "given_clock" in included)


def all_names() -> list[str]:
    """Return the names of all scripts."""
    return sorted(path.name[:-4] for path in _ROOT.iterdir() if path.name.endswith(".lua"))


def _flatten(
    name: str, seen: set[str], instead: Mapping[str, str]
) -> tuple[list[str], list[str], dict[str, str]]:
    """Return the code lines of a script after those of its includes, the place of each, and the script's headers.

    ``seen`` are the includes that stand before, ``instead`` those that others take the place of.
    """
    lines: list[str] = []
    places: list[str] = []
    headers: dict[str, str] = {}
    for number, line in enumerate((_ROOT / f"{name}.lua").read_text().splitlines(), 1):
        header = _HEADER.match(line)
        if header and header["key"] == "@include":
            for asked in header["value"].split():
                included = instead.get(asked, asked)
                if included not in seen:
                    seen.add(included)
                    more = _flatten(f"include/{included}", seen, instead)
                    lines += more[0]
                    places += more[1]
        elif header and header["key"] == "@rarely":
            included, function = header["value"].split()
            if included not in seen:
                body = _flatten(f"include/{included}", {*seen, included}, instead)
                lines += [
                    f"local function {function}(...)",
                    *body[0],
                    f"return {function}(...)",
                    "end",
                ]
                place = f"{name}.lua:{number}"
                places += [place, *body[1], place, place]
        elif header:
            headers[header["key"]] = header["value"]
        elif line and not line.lstrip().startswith("--"):
            lines.append(line)
            places.append(f"{name}.lua:{number}")
    return lines, places, headers


class _Prelude:
    """Replace names in Lua lines and remember which definitions they need."""

    def __init__(self, args: tuple[str, ...], rest: str | None) -> None:
        self._args = args
        self._rest = rest
        self._definitions: dict[str, str] = {}

    def bind(self, line: str, place: str) -> str:
        bound, rest = "", line
        while match := _NAME.search(rest):
            bound, rest = bound + rest[: match.start()], rest[match.end() :]
            try:
                if match["space"] == "K" and rest.startswith("("):
                    given, rest = _call(rest)
                    values = [self.bind(one, place) for one in given]
                    bound += lua_expression(match["name"], values)
                else:
                    bound += self._replacement(match["space"], match["name"], match["tail"] or "")
            except (KeyError, ValueError, AttributeError):
                raise ScriptError(f"{place}: unknown name {match[0]!r}") from None
        return bound + rest

    def render(self) -> list[str]:
        return list(self._definitions.values())

    def _replacement(self, space: str, name: str, tail: str) -> str:
        match space:
            case "ARG" if name == self._rest:
                return str(len(self._args) + 1) + tail
            case "ARG":
                return f"ARGV[{self._args.index(name) + 1}]" + tail
            case "K" if name == "prefix":
                return "PREFIX" + tail
            case "K":
                if not callable(getattr(Keys, name)):
                    raise ValueError(name)
                self._definitions[f"K.{name}"] = lua_function(name)
                return f"K_{name}" + tail
            case "STATUS" if name == "terminal":
                self._definitions["terminal"] = f"local TERMINAL = {_lua_set(TERMINAL)}"
                return "TERMINAL" + tail
            case "STATUS":
                return f"'{JobStatus(name)}'" + tail
            case "REPLY":
                return f"'{Reply(name)}'" + tail
            case _:
                return self._verb(Verb(name), tail)

    def _verb(self, verb: Verb, tail: str) -> str:
        row = TRANSITIONS[verb]
        if tail == ".from":
            self._definitions[f"from.{verb}"] = f"local FROM_{verb} = {_lua_set(row.sources)}"
            return f"FROM_{verb}"
        if tail == ".to" and len(row.targets) == 1:
            return f"'{row.targets[0]}'"
        raise ValueError(tail)


def _lua_set(statuses: Sequence[JobStatus] | frozenset[JobStatus]) -> str:
    return "{" + ", ".join(f"{status} = true" for status in sorted(statuses)) + "}"


def _call(text: str) -> tuple[list[str], str]:
    """Return the arguments of the call that ``text`` begins with, and what follows it."""
    arguments, depth = [""], 0
    for index, character in enumerate(text):
        depth += (character in "({[") - (character in ")}]")
        if depth == 0:
            return [one.strip() for one in arguments if one.strip()], text[index + 1 :]
        if depth == 1 and character == ",":
            arguments.append("")
        elif index > 0:
            arguments[-1] += character
    raise ValueError(text)
