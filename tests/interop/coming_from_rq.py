"""The rows of docs/coming-from-rq.md, and what the aiorq2 names in them stand for."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import click

from aiorq2.cli import commands
from aiorq2.options import OPTION_NAMES
from tests.interop.rq_names import instance_attributes, keywords

PAGE = Path(__file__).parents[2] / "docs" / "coming-from-rq.md"
VERDICTS = ("same", "async", "different", "left out")

_SECTION = re.compile(r"### (?:`(?P<module>rq[\w.]*)`|The (?P<title>command line)).*")
_KEYWORD = re.compile(r"(?P<callable>[\w.]+)\((?P<keyword>\w+)=\)")


@dataclass(frozen=True)
class Row:
    """One row: the section it stands in, rq's name, the verdict, and how the two differ; the first word in backticks there is
    aiorq2's name, unless it is left out."""

    module: str
    label: str
    verdict: str
    how: str
    cells: int

    @property
    def counterpart(self) -> str | None:
        """The name of what stands in its place in aiorq2."""
        found = re.match(r"`(aiorq2[^`]*)`", self.how)
        return found[1] if found else None

    @property
    def words(self) -> set[str]:
        """What the row says in backticks."""
        return {
            word
            for quoted in re.findall(r"`([^`]+)`", self.how)
            for word in re.findall(r"\w+", quoted)
        }

    def __str__(self) -> str:
        return f"{self.label} ({self.module})"


def rows() -> list[Row]:
    """Return the rows of the page, in its order."""
    return list(_rows(PAGE.read_text()))


def _rows(text: str) -> Iterator[Row]:
    module = ""
    for line in text.splitlines():
        section = _SECTION.fullmatch(line)
        if section:
            module = section["module"] or section["title"]
        elif line.startswith("#"):
            module = ""
        elif module and line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
            label, verdict, how = (*cells, "", "")[:3]
            yield Row(module, label.strip("`"), verdict, how, len(cells))


def found(name: str) -> Any:
    """Return what an aiorq2 name stands for: a module, class, function, property, keyword, command or option.

    Raises:
        LookupError: there is no such thing.
    """
    if " " in name:
        return _command_or_option(name)
    keyword = _KEYWORD.fullmatch(name)
    if keyword:
        return _keyword(found(keyword["callable"]), keyword["keyword"])
    module, attributes = _module(name)
    thing: Any = module
    for attribute in attributes:
        thing = _attribute(thing, attribute)
    return thing


def _module(name: str) -> tuple[Any, list[str]]:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            return importlib.import_module(".".join(parts[:end])), parts[end:]
        except ModuleNotFoundError:
            continue
    raise LookupError(name)


def _attribute(owner: Any, name: str) -> Any:
    try:
        return inspect.getattr_static(owner, name)
    except AttributeError:
        if inspect.isclass(owner) and _has_instance_attribute(owner, name):
            return None
        raise LookupError(f"{owner!r} has no {name!r}") from None


def _has_instance_attribute(owner: type, name: str) -> bool:
    if is_dataclass(owner) and name in {field.name for field in fields(owner)}:
        return True
    return any(
        name in instance_attributes(cls) or name in vars(cls).get("__annotations__", {})
        for cls in owner.__mro__
    )


def unwrapped(thing: Any) -> Any:
    """Return the function in a class method or a static one."""
    return thing.__func__ if isinstance(thing, classmethod | staticmethod) else thing


def _keyword(thing: Any, name: str) -> None:
    function = unwrapped(thing)
    is_option = name in OPTION_NAMES and inspect.getfullargspec(function).varkw == "options"
    if name not in keywords(function) and not is_option:
        raise LookupError(f"{function!r} takes no {name!r}")


def _command_or_option(name: str) -> click.Command | click.Parameter:
    _, first, *rest = name.split(" ")
    command = commands.commands.get(first)
    if command is None:
        raise LookupError(name)
    if not rest:
        return command
    for parameter in command.params:
        shown = (
            [*parameter.opts, *parameter.secondary_opts]
            if isinstance(parameter, click.Option)
            else [(parameter.name or "").upper()]
        )
        if rest[0] in shown:
            return parameter
    raise LookupError(name)
