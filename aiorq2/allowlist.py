"""Which functions a worker may run: registered ones, project code, and what the operator allows."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable
from fnmatch import translate
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from aiorq2.callables import CACHE_SIZE, MAX_NAME, cut_repr, resolve
from aiorq2.errors import FunctionNotAllowed, InvalidFunction, InvalidOption

logger = logging.getLogger(__name__)

_registered: set[str] = set()


def register(func: Callable[..., Any]) -> str:
    """Let workers run this function wherever it is defined, and return its name; what ``@job`` does.

    The name is taken as it is: a decorator runs in ``__main__`` too, and it is ``enqueue`` that has to refuse.

    Raises:
        InvalidFunction: it is not a function.
    """
    if isinstance(func, type) or not callable(func) or not hasattr(func, "__qualname__"):
        raise InvalidFunction(f"{cut_repr(func)} is not a function and cannot be made a job")
    name = f"{func.__module__}.{func.__qualname__}"
    _registered.add(name)
    return name


class AllowList:
    """What a worker may run, so that writing to Redis is not yet a shell.

    Allowed are registered functions, project code (modules outside the standard library and site-packages, found without
    importing them) and what ``allow`` names. Entries are dotted names or patterns in which ``*`` stands for any text, dots
    included, ``?`` for one character: ``"myapp.*"`` covers ``myapp.tasks.send``. ``"*"`` allows everything.

    A function has to be allowed at the place where it is defined too: ``from os import system`` does not make
    ``myapp.tasks.system`` project code. Only an entry without wildcards is taken at its word.

    >>> AllowList(["newsletter.*"]).check("os.system")
    Traceback (most recent call last):
    aiorq2.errors.FunctionNotAllowed: function 'os.system' is part of Python; a worker runs ...
    """

    def __init__(self, allow: Iterable[str] = (), *, trust_all: bool = False) -> None:
        entries = (allow,) if isinstance(allow, str) else tuple(allow)
        for entry in entries:
            if not isinstance(entry, str) or not entry.strip():
                raise InvalidOption(
                    f"allow: {entry!r} is not a dotted name or a pattern such as 'myapp.*'"
                )
        self.trust_all = trust_all or "*" in entries
        self._exact = frozenset(entry for entry in entries if not re.search(r"[*?\[]", entry))
        patterns = [translate(entry) for entry in entries if entry not in self._exact]
        self._pattern = re.compile("|".join(patterns)) if patterns else None
        self._cleared: dict[str, Callable[..., Any]] = {}

    def check(self, name: str, instance: object | None = None) -> None:
        """Refuse a function that may not run, without importing anything.

        A module that does not exist passes: that is for ``resolve`` to report.

        Raises:
            FunctionNotAllowed: the message has the function, the reason and the option.
        """
        full_name = _full_name(name, instance)
        _refuse(full_name, self._objection(full_name))

    def resolve_allowed(self, name: str, instance: object | None = None) -> Callable[..., Any]:
        """Return the function if it may run, judged by its name and by where it is defined.

        Raises:
            FunctionNotAllowed: it may not run.
            UnknownFunction: there is no such function.
        """
        cleared = self._cleared.get(name) if instance is None else None
        if not self.trust_all and cleared is None:
            self.check(name, instance)
        func = resolve(name, instance)
        if not self.trust_all and cleared is not func:
            self._check_home(_full_name(name, instance), func)
            if instance is None and len(self._cleared) < CACHE_SIZE:
                self._cleared[name] = func
        return func

    def _is_named(self, full_name: str) -> bool:
        """Whether the function itself, and not a pattern or a place, is allowed."""
        return self.trust_all or full_name in self._exact or full_name in _registered

    def _objection(self, full_name: str, if_unknown: str | None = None) -> str | None:
        if self._is_named(full_name) or (self._pattern and self._pattern.match(full_name)):
            return None
        try:
            return _outside_project(full_name.rpartition(".")[0])
        except LookupError:
            return if_unknown

    def _check_home(self, full_name: str, func: Callable[..., Any]) -> None:
        if self._is_named(full_name):
            return
        home = _home(func)
        if home is None:
            _refuse(full_name, "does not tell where it is defined")
        elif home != full_name:
            objection = self._objection(home, if_unknown="is in no module that can be found")
            _refuse(full_name, objection and f"is really {home}, which {objection}")


_STRICTEST = AllowList()


@functools.lru_cache(maxsize=CACHE_SIZE)
def warn_if_not_allowed(name: str) -> None:
    """Log, once per function, that a worker refuses it unless told otherwise; for producers, who cannot know."""
    try:
        _STRICTEST.check(name)
    except FunctionNotAllowed as refusal:
        logger.warning("%s", refusal)


def _refuse(full_name: str, objection: str | None) -> None:
    if objection:
        raise FunctionNotAllowed(_refusal(full_name, objection))


def _refusal(full_name: str, objection: str) -> str:
    return (
        f"function {full_name[:MAX_NAME]!r} {objection}; a worker runs registered functions (import "
        "their modules with --import), project code, and what --allow (allow=[…]) adds: this name, "
        "or a pattern such as 'myapp.*'"
    )


def _full_name(name: str, instance: object | None) -> str:
    if instance is None:
        return name
    owner = instance if isinstance(instance, type) else type(instance)
    return f"{owner.__module__}.{owner.__qualname__}.{name}"


def _home(func: Callable[..., Any]) -> str | None:
    """Return the dotted name of ``func`` where it is defined."""
    while isinstance(func, functools.partial):
        func = func.func
    owner = getattr(func, "__self__", None)
    module = getattr(func, "__module__", None)
    if module is None and owner is not None:  # a method of a type that is written in C
        return _full_name(func.__name__, owner)
    qualname = getattr(func, "__qualname__", None) or type(func).__qualname__
    return f"{module}.{qualname}" if isinstance(module, str) else None


@functools.lru_cache(maxsize=CACHE_SIZE)
def _outside_project(module_name: str) -> str | None:
    """Return why this module is not project code, None if it is.

    Raises:
        LookupError: there is no such module; not cached, for it may appear.
    """
    package = module_name.partition(".")[0]
    if package in _NEVER_PROJECT:
        return _NEVER_PROJECT[package]
    if package in sys.stdlib_module_names or package in sys.builtin_module_names:
        return "is part of Python"
    location = _location(module_name)
    if location is None:
        return None
    if _INSTALLED.search(location) or _is_below(location, ("purelib", "platlib")):
        return "is installed code, not project code"
    if location in ("built-in", "frozen") or _is_below(location, ("stdlib", "platstdlib")):
        return "is part of Python"
    return None


_NEVER_PROJECT = {
    __name__.partition(".")[0]: "is part of aiorq2 itself",
    "__main__": "is in __main__, which is another program in every process",
}
_INSTALLED = re.compile(r"[/\\](site|dist)-packages[/\\]")


def _is_below(location: str, schemes: tuple[str, ...]) -> bool:
    paths = [sysconfig.get_path(scheme) for scheme in schemes]
    real = os.path.realpath(location)
    return any(path and real.startswith(os.path.join(os.path.realpath(path), "")) for path in paths)


def _location(module_name: str) -> str | None:
    """Return the file of the first module on the way to ``module_name``, None for a module without one.

    A namespace package has no code and is passed through.
    """
    package, *rest = module_name.split(".")
    spec = _spec(package)
    while spec is not None:
        if spec.origin is not None or spec.submodule_search_locations is None:
            return spec.origin
        if not rest:
            break
        # Under its bare name: the full one would require the parent to have been imported.
        spec = PathFinder.find_spec(rest.pop(0), list(spec.submodule_search_locations))
    raise LookupError(module_name)


def _spec(package: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(package)
    except ImportError:
        return None
    except ValueError:
        module = sys.modules.get(package)
        if module is None:
            return None
        # Without a spec, it was made by hand and put there: by the project.
        return ModuleSpec(package, None, origin=getattr(module, "__file__", None))
