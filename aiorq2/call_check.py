"""Whether a call fits its function: found out where it is enqueued, not in a worker by whoever reads its log."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from aiorq2.callables import resolve
from aiorq2.errors import InvalidArguments, UnknownFunction
from aiorq2.job_options import ANY, meant_option


class CallCheck:
    """Checks the calls of one function against its signature, or that of the function which has taken its place in its module:
    that is the one which a worker finds. Where neither says what it takes, as with a decorator's ``*args``, everything fits."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.name = f"{func.__module__}.{func.__qualname__}"
        self._func = func
        self._called: Callable[..., Any] | None = None
        self._signature: inspect.Signature | None = None

    def fits(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Collection[str] = ()
    ) -> None:
        """Refuse arguments that the function does not take. ``options`` are the keywords that were taken for options.

        Raises:
            InvalidArguments: the message names the function and the argument.
        """
        signature = self._current()
        if signature is None:
            return
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            taken = sorted(signature.parameters.keys() & set(options))
            hint = (
                f"; {taken[0]!r} was taken for an option: pass it by position, or use .options(…)"
                if taken
                else ""
            )
            raise InvalidArguments(f"{self.name}: {error}{hint}") from None

    def resembles_no_option(
        self, kwargs: Mapping[str, Any], verb: str, options: Collection[str]
    ) -> None:
        """Refuse a keyword that is no parameter of the function and looks like an option.

        Raises:
            InvalidArguments: the message names the option that may have been meant.
        """
        signature = self._current()
        parameters = signature.parameters if signature is not None else {}
        for word in kwargs:
            if word in parameters:
                continue
            if word in ANY:
                raise InvalidArguments(f"{self.name}: {word!r} is no option of {verb}")
            meant = meant_option(word, options)
            if meant is not None:
                raise InvalidArguments(
                    f"{self.name}: unknown option {word!r}, did you mean {meant!r}? (Were it the job's own argument: use"
                    f" .options(…).{verb}(…), whose keywords all are.)"
                )

    def _current(self) -> inspect.Signature | None:
        called = self._found()
        if called is not self._called:
            self._called, self._signature = called, _signature(called)
        return self._signature

    def _found(self) -> Callable[..., Any]:
        try:
            return resolve(self.name)
        except UnknownFunction:
            return self._func


def _signature(func: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(func, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
