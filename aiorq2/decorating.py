"""How a function becomes a job: what it is refused for, and what it gets."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from aiorq2.allowlist import register
from aiorq2.callables import cut_repr, refuse_what_is_no_function
from aiorq2.errors import InvalidFunction
from aiorq2.functions import JobFunctions

log = logging.getLogger("aiorq2.hub")

_RECEIVERS = ("self", "cls")


def decorate(
    given: Any, functions_of: Callable[[Callable[..., Any]], JobFunctions]
) -> JobFunctions:
    """Give a function, or the one in a static method, the methods of a job, let workers run it, and return them.

    Raises:
        InvalidFunction: it is no function, or one that needs an object to be called.
    """
    func: Any = given.__func__ if isinstance(given, staticmethod) else given
    _refuse(func)
    helper = functions_of(func)
    try:
        func.helper = helper
        for name in helper.functions:
            setattr(func, name, getattr(helper, name))
    except AttributeError:
        raise InvalidFunction(
            f"{cut_repr(func)} takes no attributes and cannot be made a job; write a function that calls it"
        ) from None
    register(func)
    if func.__module__ == "__main__":
        log.warning(
            "%s is defined in __main__, where no worker can find it: it can be called, and not be enqueued; move it to a module",
            func.__qualname__,
        )
    return helper


def _refuse(func: Any) -> None:
    if isinstance(func, classmethod):
        raise InvalidFunction(
            f"{func.__qualname__} is a class method, which cannot be made a job; decorate a function or a static method"
        )
    refuse_what_is_no_function(func)
    owner, _, name = getattr(func, "__qualname__", "").rpartition(".")
    is_in_class = owner and not owner.endswith("<locals>")
    if inspect.ismethod(func) or (is_in_class and _first_parameter(func) in _RECEIVERS):
        raise InvalidFunction(
            f"{func.__qualname__} is a method, and a job has no object to call it on; decorate a function or a static"
            f" method, or enqueue the method of an object: await rq.get_queue().enqueue(object.{name}, …)"
        )


def _first_parameter(func: Callable[..., Any]) -> str | None:
    try:
        return next(iter(inspect.signature(func).parameters), None)
    except (TypeError, ValueError):
        return None
