"""A job before it is in Redis: reading what ``enqueue`` was given, and encoding it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os import urandom
from typing import Any

from aiorq2.allowlist import warn_if_not_allowed
from aiorq2.backends.durable import token_of
from aiorq2.callables import describe_call, name_of
from aiorq2.errors import InvalidOption
from aiorq2.options import (
    DEFAULT_TIMEOUT,
    OPTION_NAMES,
    EnqueueOptions,
    JobSpec,
    ResultStore,
)
from aiorq2.payloads import PAYLOAD_LIMIT, Call, encode_call, encode_value
from aiorq2.quick import quick_dataclass
from aiorq2.serializers import Serializer
from aiorq2.terms import Durable
from aiorq2.timing import to_iso

Func = Callable[..., Any] | str

_LEFT_OUT = frozenset({"pipeline"})
"""RQ's reserved keywords that are refused, lest they reach the function."""


@quick_dataclass(kw_only=True)
class Draft:
    """What a queue adds to a call to make a job of it."""

    serializer: Serializer
    origin: str
    created_at: float
    """Seconds since the epoch."""
    default_timeout: int | float = DEFAULT_TIMEOUT
    payload_limit: int = PAYLOAD_LIMIT
    results: ResultStore = "hash"
    durable: Durable | None = None

    def of_call(
        self,
        func: Func,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: EnqueueOptions,
        *,
        group: str | None = None,
        context: str | None = None,
    ) -> tuple[JobSpec, Call]:
        """Encode a call into what travels; returns the call as well, by the name that travels.

        Args:
            context: what a signature of the payload is tied to; default: the job.

        Raises:
            InvalidOption: a function that a worker could not find.
            SerializationError, PayloadTooLarge: the arguments, or the meta, cannot be carried.
        """
        ref = name_of(func)
        if ref.instance is None:
            warn_if_not_allowed(ref.name)
        new_id, token = _new_names()
        job_id = options.job_id or new_id
        limit, context, meta = self.payload_limit, context or job_id, options.meta
        data = encode_call(
            self.serializer, ref.name, ref.instance, args, kwargs, limit=limit, context=context
        )
        spec = JobSpec(
            id=job_id,
            func_name=ref.name,
            origin=self.origin,
            data=data,
            options=options,
            description=options.description or describe_call(ref.name, args, kwargs),
            timeout=self.default_timeout if options.job_timeout is None else options.job_timeout,
            created_at=to_iso(self.created_at),
            token=token_of(job_id, self.origin, data) if self.durable else token,
            meta=encode_value(self.serializer, meta, what="meta", limit=limit, context=context)
            if meta
            else None,
            results=self.results,
            group=group,
            durable=self.durable,
        )
        return spec, Call(ref.name, ref.instance, args, kwargs)


def _new_names() -> tuple[str, str]:
    """Return what ``str(uuid4())`` does, as RQ names jobs, and a token, from one draw, in a third of the time."""
    digits = urandom(24).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    job_id = (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"
    )
    return job_id, digits[32:]


def split_options(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """Part the keywords of ``enqueue`` into the function's arguments and the options, by RQ's rule.

    Raises:
        InvalidOption: positional arguments beside ``args=``, or an option of RQ's that this version does not have.
    """
    options = {name: kwargs.pop(name) for name in OPTION_NAMES & kwargs.keys()}
    refuse_unknown(dict.fromkeys(_LEFT_OUT & kwargs.keys()))
    if "args" not in kwargs and "kwargs" not in kwargs:
        return args, kwargs, options
    if args:
        raise InvalidOption(
            "enqueue: give the arguments after the function or with args= and kwargs=, not both"
        )
    explicit_args, explicit_kwargs = kwargs.pop("args", None), kwargs.pop("kwargs", None)
    if kwargs:
        raise InvalidOption(
            f"enqueue: with args= or kwargs=, {sorted(kwargs)} must be given inside kwargs="
        )
    return *arguments_of(explicit_args, explicit_kwargs), options


def arguments_of(args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return explicit arguments as a call has them.

    Raises:
        InvalidOption: ``args`` is no list or ``kwargs`` no dict with texts as keys.
    """
    if args is not None and (isinstance(args, str | bytes) or not isinstance(args, Iterable)):
        raise InvalidOption(f"args must be a list or a tuple, not {type(args).__name__}")
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise InvalidOption(f"kwargs must be a dict, not {type(kwargs).__name__}")
    named = dict(kwargs or {})
    if not all(isinstance(name, str) for name in named):
        raise InvalidOption("kwargs: the names of arguments are texts")
    return tuple(args or ()), named


def refuse_unknown(options: Mapping[str, Any]) -> None:
    """Return if all of these are options.

    Raises:
        InvalidOption: one is none; all that there are, are named.
    """
    unknown = sorted(options.keys() - OPTION_NAMES)
    if unknown:
        what = (
            "are left out (calls share pipelines by themselves)"
            if _LEFT_OUT & set(unknown)
            else "are no options"
        )
        raise InvalidOption(
            f"{', '.join(unknown)} {what}; there are {', '.join(sorted(OPTION_NAMES))}"
        )
