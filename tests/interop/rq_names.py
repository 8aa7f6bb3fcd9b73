"""Every public name of the installed rq, found by looking at it: modules, what they define, members, keywords, commands, options.

A module's own names are those that its source binds; what it imports belongs to another one, unless ``__all__`` says otherwise.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import rq

COMMAND_LINE = "command line"
"""The section of the page in which commands and their options stand."""


@dataclass(frozen=True)
class Name:
    """One public name: the module it stands in, and what a row calls it there.

    ``Queue`` and ``Queue.enqueue`` are what they look like, ``Queue(name=)`` is a keyword of the constructor, ``rq info --raw`` an
    option, and ``rq --url`` one that all commands have.
    """

    module: str
    label: str
    thing: Any = None

    def __str__(self) -> str:
        return f"{self.label} ({self.module})"


def names() -> list[Name]:
    """Return every public name, in the order of the source."""
    found = [name for module in _modules() for name in _names_of_module(module)]
    return [*found, *_names_of_commands()]


def _modules() -> Iterator[ModuleType]:
    yield rq
    for info in pkgutil.walk_packages(rq.__path__, "rq."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def _names_of_module(module: ModuleType) -> Iterator[Name]:
    tree = ast.parse(Path(module.__file__ or "").read_text())
    bound = [name for statement in tree.body for name in _bound_by(statement)]
    for name in dict.fromkeys([*bound, *getattr(module, "__all__", ())]):
        if name.startswith("_"):
            continue
        thing = getattr(module, name, None)
        yield Name(module.__name__, name, thing)
        if inspect.isclass(thing) and thing.__module__ == module.__name__:
            yield from _names_of_class(module.__name__, name, thing)


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (
                one.id
                for target in targets
                for one in ast.walk(target)
                if isinstance(one, ast.Name)
            )
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            yield name
        case ast.Try() | ast.If():
            for child in ast.iter_child_nodes(statement):
                inner = child.body if isinstance(child, ast.ExceptHandler) else [child]
                for one in inner:
                    if isinstance(one, ast.stmt):
                        yield from _bound_by(one)


def _names_of_class(module: str, label: str, cls: type) -> Iterator[Name]:
    for keyword in keywords(cls) if "__init__" in vars(cls) else ():
        yield Name(module, f"{label}({keyword}=)", cls)
    for member in dict.fromkeys([*getattr(cls, "_fields", ()), *vars(cls), *_new_attributes(cls)]):
        if not member.startswith("_"):
            yield Name(module, f"{label}.{member}", vars(cls).get(member))


def keywords(function: Any) -> list[str]:
    """Return the names by which arguments can be given to a function or a class."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.kind in named and one.name not in ("self", "cls")]


def _new_attributes(cls: type) -> list[str]:
    """Return what the methods of a class put on its instances, beside what the class or a base of it has."""
    inherited = {
        name for base in cls.__mro__[1:] for name in (*vars(base), *instance_attributes(base))
    }
    return [
        name
        for name in instance_attributes(cls)
        if name not in inherited and not issubclass(cls, Enum)
    ]


def instance_attributes(cls: type) -> list[str]:
    """Return the names that are assigned to ``self`` in the source of a class."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return []
    stores = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    )
    return list(
        dict.fromkeys(
            one.attr for one in stores if isinstance(one.value, ast.Name) and one.value.id == "self"
        )
    )


def _names_of_commands() -> Iterator[Name]:
    commands: dict[str, click.Command] = importlib.import_module("rq.cli").main.commands
    shared = set.intersection(*(set(map(_label, command.params)) for command in commands.values()))
    for option in sorted(shared):
        yield Name(COMMAND_LINE, f"rq {option}")
    for name, command in sorted(commands.items()):
        yield Name(COMMAND_LINE, f"rq {name}")
        for parameter in command.params:
            if _label(parameter) not in shared:
                yield Name(COMMAND_LINE, f"rq {name} {_label(parameter)}")


def _label(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return (parameter.name or "").upper()
