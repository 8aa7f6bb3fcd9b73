"""Functions and their dotted names: how a producer names one, how a worker finds it, and how a call is described.

A name is RQ's: ``module.function``, ``module.Class.method``, or a bare method name together with the instance.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from aiorq2.errors import InvalidFunction, UnknownFunction

MAX_NAME = 255
"""The longest dotted name, in characters."""
MAX_REPR = 75
"""How much of each argument a description shows; RQ's."""
MAX_DESCRIPTION = 1000
"""The longest description, in characters."""
CACHE_SIZE = 1024
"""How many functions or modules are remembered: a program has some dozens, and strangers' names must not fill the memory."""


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
    refuse_what_is_no_function(func)
    owner = getattr(func, "__self__", None)
    if owner is not None and not isinstance(owner, ModuleType):
        return _ref_of_method(func, owner)
    if hasattr(func, "__qualname__"):  # built in, compiled, or wrapped, as by lru_cache
        return FunctionRef(_dotted(func))
    if type(func).__module__ == "__main__":
        raise InvalidFunction(_in_main(type(func).__qualname__))
    return FunctionRef("__call__", func)


@functools.lru_cache(maxsize=CACHE_SIZE)
def _ref_of_function(func: FunctionType) -> FunctionRef:
    _refuse_generator(func)
    return FunctionRef(_dotted(func))


def _ref_of_method(func: Callable[..., Any], owner: object) -> FunctionRef:
    _refuse_generator(func)
    name = func.__name__
    if getattr(owner, name, None) != func:  # a decorator renamed it, or it is private to its class
        raise InvalidFunction(
            f"{cut_repr(func)} is not what its object has under the name {name!r}"
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
            f"{cut_repr(func)} has no module and no name that a worker could look up"
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


def refuse_what_is_no_function(func: object) -> None:
    """Refuse what no job can be made of: a coroutine, a class, a partial, a generator, or what cannot be called.

    Raises:
        InvalidFunction: the message says what to do instead.
    """
    if inspect.iscoroutine(func):
        func.close()  # it will never be awaited, and Python would warn about that
        name = func.__qualname__
        raise InvalidFunction(
            f"{name}(…) was called already and gave a coroutine; pass the function and its "
            f"arguments apart: enqueue({name}, …)"
        )
    if isinstance(func, type):
        raise InvalidFunction(
            f"{cut_repr(func)} is a class; enqueue a function that makes and uses the object"
        )
    if isinstance(func, functools.partial):
        raise InvalidFunction(
            f"{cut_repr(func)} has no name that a worker could look up; pass the function and all "
            "its arguments to enqueue"
        )
    if not callable(func):
        raise InvalidFunction(f"{cut_repr(func)} is neither a function nor the dotted name of one")
    _refuse_generator(func)


def _refuse_generator(func: object) -> None:
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        raise InvalidFunction(
            f"{cut_repr(func)} yields: calling it would run nothing of it; enqueue a function that "
            "returns its result"
        )


def cut_repr(value: object) -> str:
    """Return the repr of a value as refusals show it."""
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


@functools.lru_cache(maxsize=CACHE_SIZE)
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


@functools.lru_cache(maxsize=CACHE_SIZE)
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
