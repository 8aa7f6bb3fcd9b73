"""Functions and their dotted names: how a producer names one, how a worker finds it, and which ones it may run.

A name is RQ's: ``module.function``, ``module.Class.method``, or a bare method name together with the instance.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import logging
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from aiorq2.errors import FunctionNotAllowed, InvalidFunction, InvalidOption, UnknownFunction

logger = logging.getLogger(__name__)

MAX_NAME = 255
"""The longest dotted name, in characters."""
MAX_REPR = 75
"""How much of each argument a description shows; RQ's."""
MAX_DESCRIPTION = 1000
"""The longest description, in characters."""

_CACHE = 1024  # functions or modules; a program has some dozens, and strangers' names must not fill the memory


class FunctionRef(NamedTuple):
    """How a payload refers to a function: a dotted name, or the name of a method and its instance."""

    name: str
    instance: object | None = None


def name_of(func: Callable[..., Any] | str) -> FunctionRef:
    """Return the name under which a worker finds ``func``, by RQ's rules.

    A classmethod is named through its class, ``module.Class.method``, because JSON cannot carry the class as an instance
    and rq finds it by that name as well. A string is checked for its shape only; nothing is imported.

    Raises:
        InvalidFunction: a worker could not find it again; the message has the reason and the way out.
    """
    if isinstance(func, str):
        return FunctionRef(_checked_name(func))
    if type(func) is FunctionType:
        return _ref_of_function(func)
    _refuse_what_is_no_function(func)
    owner = getattr(func, "__self__", None)
    if owner is not None and not isinstance(owner, ModuleType):
        return _ref_of_method(func, owner)
    if hasattr(func, "__qualname__"):  # built in, compiled, or wrapped, as by lru_cache
        return FunctionRef(_dotted(func))
    if type(func).__module__ == "__main__":
        raise InvalidFunction(_in_main(type(func).__qualname__))
    return FunctionRef("__call__", func)


@functools.lru_cache(maxsize=_CACHE)
def _ref_of_function(func: FunctionType) -> FunctionRef:
    _refuse_generator(func)
    return FunctionRef(_dotted(func))


def _ref_of_method(func: Callable[..., Any], owner: object) -> FunctionRef:
    _refuse_generator(func)
    name = func.__name__
    if getattr(owner, name, None) != func:  # a decorator renamed it, or it is private to its class
        raise InvalidFunction(
            f"{_cut_repr(func)} is not what its object has under the name {name!r}"
        )
    if isinstance(owner, type):
        return FunctionRef(f"{_dotted(owner)}.{name}")
    if getattr(func, "__module__", None) == "__main__":
        raise InvalidFunction(_in_main(func.__qualname__))
    return FunctionRef(name, owner)


def _dotted(func: object) -> str:
    """Return ``module.qualname`` of a function or class if an import can lead there."""
    module = getattr(func, "__module__", None)
    module = module or getattr(getattr(func, "__objclass__", None), "__module__", None)
    qualname: str = getattr(func, "__qualname__", "")
    if not module or not qualname:
        raise InvalidFunction(
            f"{_cut_repr(func)} has no module and no name that a worker could look up"
        )
    if "<lambda>" in qualname:
        raise InvalidFunction(
            f"a lambda in {module} has no name that a worker could look up; write a function with def"
        )
    if "<locals>" in qualname:
        raise InvalidFunction(
            f"{module}.{qualname} is defined inside a function, where a worker cannot find it; move it "
            "to the top level of its module"
        )
    if module == "__main__":
        raise InvalidFunction(_in_main(qualname))
    return _checked_name(f"{module}.{qualname}")


def _in_main(qualname: str) -> str:
    return (
        f"{qualname} is defined in __main__, the program that was started, and in a worker that is "
        "another program; move it to a module that both can import"
    )


def _checked_name(name: str) -> str:
    if not _is_dotted(name):
        raise InvalidFunction(
            f"{name[:80]!r} is not the dotted name of a function; write 'module.function', at most "
            f"{MAX_NAME} characters"
        )
    if name.startswith("__main__."):
        raise InvalidFunction(_in_main(name.removeprefix("__main__.")))
    return name


def _is_dotted(name: str) -> bool:
    parts = name.split(".") if len(name) <= MAX_NAME else []
    return len(parts) > 1 and all(part.isidentifier() for part in parts)


def _refuse_what_is_no_function(func: object) -> None:
    if inspect.iscoroutine(func):
        func.close()  # it will never be awaited, and Python would warn about that
        name = func.__qualname__
        raise InvalidFunction(
            f"{name}(…) was called already and gave a coroutine; pass the function and its "
            f"arguments apart: enqueue({name}, …)"
        )
    if isinstance(func, type):
        raise InvalidFunction(
            f"{_cut_repr(func)} is a class; enqueue a function that makes and uses the object"
        )
    if isinstance(func, functools.partial):
        raise InvalidFunction(
            f"{_cut_repr(func)} has no name that a worker could look up; pass the function and all "
            "its arguments to enqueue"
        )
    if not callable(func):
        raise InvalidFunction(f"{_cut_repr(func)} is neither a function nor the dotted name of one")
    _refuse_generator(func)


def _refuse_generator(func: object) -> None:
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        raise InvalidFunction(
            f"{_cut_repr(func)} yields: calling it would run nothing of it; enqueue a function that "
            "returns its result"
        )


def _cut_repr(value: object) -> str:
    return _short_repr(value, 120)


def resolve(name: str, instance: object | None = None) -> Callable[..., Any]:
    """Return the function of this name: the method of ``instance``, or what an import finds.

    Unlike RQ, an error inside the imported module is reported as what it is, and an instance may be falsy. The way leads
    through packages, modules and then attributes, never from a module into another one that it happens to have imported.

    Raises:
        UnknownFunction: there is none; what went wrong is chained to it.
    """
    if instance is not None:
        return _checked_callable(_attribute(instance, name, name), name)
    module_name, attributes = _located(name)
    found: Any = sys.modules.get(module_name) or _imported(module_name, name)
    for attribute in attributes:
        found = _attribute(found, attribute, name)
    return _checked_callable(found, name)


@functools.lru_cache(maxsize=_CACHE)
def _located(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the longest part of ``name`` that is a module, imported now, and the attributes that follow.

    What is cached is where to look and not what was found, so a function that is replaced in its module is noticed.
    """
    if not _is_dotted(name):
        raise UnknownFunction(f"{name[:80]!r} is not the dotted name of a function")
    module_name, *attributes = name.split(".")
    module = _imported(module_name, name)
    if module is None:
        raise UnknownFunction(f"function {name!r}: there is no module {module_name!r}")
    while len(attributes) > 1 and hasattr(module, "__path__"):
        module = _imported(f"{module_name}.{attributes[0]}", name)
        if module is None:
            break
        module_name = f"{module_name}.{attributes.pop(0)}"
    return module_name, tuple(attributes)


def _imported(module_name: str, name: str) -> ModuleType | None:
    """Return the module, or None when there is no such module."""
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module_name:
            return None
        raise UnknownFunction(
            f"function {name!r}: module {module_name!r} cannot be imported: {type(error).__name__}: {str(error)[:200]}"
        ) from error


def _attribute(owner: object, attribute: str, name: str) -> Any:
    special = attribute.startswith("__") and attribute != "__call__"
    if special or len(attribute) > MAX_NAME or not attribute.isidentifier():
        raise UnknownFunction(
            f"function {name[:MAX_NAME]!r}: {attribute[:80]!r} is no name for a job's function"
        )
    try:
        found = getattr(owner, attribute)
    except Exception as error:
        raise UnknownFunction(
            f"function {name!r}: {type(error).__name__}: {str(error)[:200]}"
        ) from error
    if isinstance(found, ModuleType):
        raise UnknownFunction(
            f"function {name!r}: {attribute!r} is another module; name the function by its own module"
        )
    return found


def _checked_callable(found: Any, name: str) -> Callable[..., Any]:
    if isinstance(found, type):
        raise UnknownFunction(f"function {name!r} is a class; a job runs a function")
    if not callable(found):
        raise UnknownFunction(f"function {name!r} is a {type(found).__name__} and cannot be called")
    return found  # type: ignore[no-any-return]


def is_coroutine_callable(func: Callable[..., Any]) -> bool:
    """Whether calling ``func`` gives a coroutine: partials, methods and callable instances are seen through.

    A plain function that wraps a coroutine function is not: it may return the coroutine or run it in a loop of its own
    (as ``asyncio.run`` and ``async_to_sync`` do), which only a thread stands. Whoever calls it has to await what comes back.
    """
    while isinstance(func, functools.partial):
        func = func.func
    func = getattr(func, "__func__", func)
    if hasattr(func, "__qualname__"):
        return _is_coroutine_function(func)
    return inspect.iscoroutinefunction(func) or _is_coroutine_function(type(func).__call__)


@functools.lru_cache(maxsize=_CACHE)
def _is_coroutine_function(func: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(func)


def describe_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the call as RQ describes it, ``module.function(1, 'a', key=None)``, in printable characters.

    Each argument is cut to ``MAX_REPR`` characters, the whole to ``MAX_DESCRIPTION``.
    """
    shown = [_short_repr(value) for value in args]
    shown += sorted(f"{key}={_short_repr(value)}" for key, value in kwargs.items())
    text = f"{name[:MAX_NAME]}({', '.join(shown)})"
    if len(text) > MAX_DESCRIPTION:
        text = f"{text[: MAX_DESCRIPTION - 4]}...)"
    return text if text.isprintable() else _escaped(text)


def _escaped(text: str) -> str:
    """Return ``text`` with everything that could move a cursor, end a line or hide spelled out."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _short_repr(value: object, length: int = MAX_REPR) -> str:
    try:
        text = _repr_up_to(value, length + 1)
    except Exception:  # noqa: BLE001  # the repr is the user's code, and nothing depends on it
        return "<unprintable>"
    return text if len(text) <= length else f"{text[:length]}..."


def _repr_up_to(value: object, length: int) -> str:
    """Return the repr, or at least its first ``length`` characters: of a million rows, only the first few are looked at."""
    if isinstance(value, str | bytes) and len(value) > length:
        return repr(value[:length])
    if type(value) is list:
        return f"[{_reprs_up_to(value, length)}]"
    if type(value) is tuple and len(value) > 1:
        return f"({_reprs_up_to(value, length)})"
    if type(value) is dict:
        return f"{{{_reprs_up_to(value.items(), length)}}}"
    return repr(value)


def _reprs_up_to(values: Iterable[Any], length: int) -> str:
    pairs = isinstance(values, type({}.items()))
    shown = ""
    for value in values:
        left = length - len(shown)
        if left <= 0:
            break
        separator = ", " if shown else ""
        if pairs:
            key, item = value
            shown += f"{separator}{_repr_up_to(key, left)}: {_repr_up_to(item, left)}"
        else:
            shown += separator + _repr_up_to(value, left)
    return shown


_registered: set[str] = set()


def register(func: Callable[..., Any]) -> str:
    """Let workers run this function wherever it is defined, and return its name; what ``@job`` does.

    The name is taken as it is: a decorator runs in ``__main__`` too, and it is ``enqueue`` that has to refuse.

    Raises:
        InvalidFunction: it is not a function.
    """
    if isinstance(func, type) or not callable(func) or not hasattr(func, "__qualname__"):
        raise InvalidFunction(f"{_cut_repr(func)} is not a function and cannot be made a job")
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
            if instance is None and len(self._cleared) < _CACHE:
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


@functools.lru_cache(maxsize=_CACHE)
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


@functools.lru_cache(maxsize=_CACHE)
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
