"""Serializers: the ones that come with the package, JSON and pickle, and how an option names one.

Nothing here unpickles unless the configured serializer is ``pickle``.
"""

from __future__ import annotations

import base64
import importlib
import inspect
import io
import json
import pickle
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from aiorq2.errors import DeserializationError, InvalidOption, SerializationError

MAX_DEPTH = 300
"""The deepest nesting that ``json`` writes: Python's usual stack has room for it, wherever it is written or read."""


class Serializer(Protocol):
    """Anything that turns a value into bytes and back. It may raise what it likes: the callers below translate."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def dumps(self, obj: Any, /) -> bytes:
        """Return ``obj`` as bytes."""
        ...

    def loads(self, data: bytes, /) -> Any:
        """Return what ``dumps`` was given."""
        ...


class ContextSerializer(Serializer, Protocol):
    """A serializer that can tie its bytes to one place, so that they are refused in any other."""

    def bind(self, context: str, /) -> Serializer:
        """Return the same serializer for this context: a purpose and a job id."""
        ...


class Json:
    """JSON as RQ's ``JSONSerializer`` writes it, and tags for what JSON lacks.

    Plain data (text, numbers, booleans, None, lists, dicts with text as keys) can be exchanged with rq in both directions,
    ``NaN`` and ``Infinity`` included, which Python reads and writes although JSON has no word for them. ``datetime``,
    ``date``, ``time``, ``timedelta``, ``UUID``, ``Decimal``, ``bytes``, ``set`` and ``frozenset`` travel as
    ``{"$aio.<type>": …}``; a dict of the user's that looks like that has its key marked twice. Tuples come back as lists,
    subclasses as their base, and an aware time keeps its offset but not the name of its zone. Keys that are not text are
    refused rather than turned into text.

    >>> Json().loads(Json().dumps({"due": date(2024, 5, 1)}))
    {'due': datetime.date(2024, 5, 1)}
    """

    name = "json"

    def dumps(self, obj: Any, /) -> bytes:
        """Return ``obj`` as ASCII JSON without spaces.

        Raises:
            SerializationError: something in it has no JSON form; the message has the path to it.
        """
        if (short := _short(obj)) is not None:
            return short
        try:
            plain = obj if _is_plain((obj,), MAX_DEPTH) else _tagged(obj, MAX_DEPTH)
            return _ENCODER.encode(plain).encode("ascii")
        except ValueError as error:
            _tagged(obj, MAX_DEPTH)  # an int too long to print: this finds out where
            raise Refused(f"cannot be written: {error}") from error
        except RecursionError:
            raise Refused("is nested too deeply") from None

    def loads(self, data: bytes, /) -> Any:
        """Return the value.

        Raises:
            DeserializationError: it is not JSON, is nested too deeply, or has a tag that cannot be read.
        """
        decoder = _TAG_DECODER if _MARK_BYTES in data else _PLAIN_DECODER
        try:
            return _decoded(decoder, data.decode("utf-8"))
        except RecursionError:
            raise DeserializationError("the JSON is nested too deeply") from None
        except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
            raise DeserializationError(f"not readable as JSON: {error}") from error


class Refused(SerializationError):
    """A value that cannot be written, with the path to it, which grows while the walk unwinds."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        return f"value{self.path[:200]} {self.reason}"


_ENCODER = json.JSONEncoder(check_circular=False, separators=(",", ":"))
_MARK = "$aio."
_MARK_BYTES = b'"$aio.'
_WORD = 2**63
_SCALARS = frozenset({str, int, float, bool, type(None)})


def _short(obj: Any) -> bytes | None:
    """Return what many jobs return, written without the encoder, which is made anew for each value."""
    if obj is None:
        return b"null"
    kind = type(obj)
    if kind is bool:
        return b"true" if obj else b"false"
    return b"%d" % obj if kind is int and -_WORD < obj < _WORD else None


def _decoded(decoder: Any, text: str) -> Any:
    """Return the value of ``text`` as ``decoder.decode`` does, which looks for white space around it first."""
    try:
        value, end = decoder.scan_once(text, 0)
    except StopIteration:
        return decoder.decode(text)
    return value if end == len(text) else decoder.decode(text)


def _is_plain(values: Collection[Any], depth: int) -> bool:
    """Whether the C encoder writes these values as they are: no tag, no escape, no key turned into text."""
    if len(values) > 16 and _SCALARS.issuperset(map(type, values)):
        return True  # the loop below in C, which pays from some length on
    for value in values:
        kind = type(value)
        if kind in _SCALARS:
            continue
        if kind is dict:
            if not _has_plain_keys(value):
                return False
            value = value.values()
        elif kind is not list and kind is not tuple:
            return False
        if depth == 0 or not _is_plain(value, depth - 1):
            return False
    return True


def _has_plain_keys(value: dict[Any, Any]) -> bool:
    if len(value) == 1:
        (key,) = value
        return type(key) is str and not key.startswith(_MARK)
    return _TEXT.issuperset(map(type, value))


_TEXT = frozenset({str})


def _tagged(value: Any, depth: int) -> Any:
    """Return ``value`` with tags and escapes, ready for the encoder, or raise ``Refused``."""
    if value is None or isinstance(value, str | float | bool):
        return value
    if isinstance(value, int):
        return _printable_int(value)
    if depth == 0:
        raise Refused(f"is nested more than {MAX_DEPTH} levels deep, or contains itself")
    if isinstance(value, dict):
        return _escaped(dict(_tagged_items(value.items(), depth - 1)))
    if isinstance(value, list | tuple):
        return [item for _, item in _tagged_items(enumerate(value), depth - 1)]
    for tag in _TAGS.values():
        if isinstance(value, tag.kind):
            return {_MARK + tag.name: _tagged(tag.encode(value), depth - 1)}
    raise Refused(
        f"is a {kind_of(value)}, which json cannot carry: pass an id or plain data, or use "
        "serializer='pickle'"
    )


def _printable_int(value: int) -> int:
    if value.bit_length() > 2000:  # Python's limit, in digits, can be set, but not below 640
        try:
            str(value)
        except ValueError:
            raise Refused(
                "is an integer with more digits than Python prints; send it as text"
            ) from None
    return value


def _tagged_items(items: Iterable[tuple[Any, Any]], depth: int) -> list[tuple[Any, Any]]:
    tagged = []
    for key, item in items:
        try:
            tagged.append((key, _tagged(item, depth)))
        except Refused as refused:
            refused.path = f"[{cut(repr(key), 40)}]{refused.path}"
            raise
    return tagged


def _escaped(value: dict[Any, Any]) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise Refused(f"has a key of type {kind_of(key)}: keys in JSON are text")
    if len(value) == 1:
        ((key, item),) = value.items()
        if key.startswith(_MARK):
            return {_MARK + key: item}
    return value


class _Tag(NamedTuple):
    name: str
    kind: type
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def _hashable(value: Any) -> Any:
    """Return a member of a set as it was: a list can only have been a tuple."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


_TAGS = {
    tag.name: tag
    for tag in (
        _Tag(
            "datetime", datetime, datetime.isoformat, datetime.fromisoformat
        ),  # before date, its base
        _Tag("date", date, date.isoformat, date.fromisoformat),
        _Tag("time", time, time.isoformat, time.fromisoformat),
        _Tag(
            "timedelta",
            timedelta,
            lambda t: [t.days, t.seconds, t.microseconds],
            lambda v: timedelta(*v),
        ),
        _Tag("uuid", UUID, str, UUID),
        _Tag("decimal", Decimal, str, Decimal),
        _Tag(
            "bytes",
            bytes,
            lambda b: base64.b64encode(b).decode(),
            lambda v: base64.b64decode(v, validate=True),
        ),
        _Tag("set", set, list, lambda v: set(map(_hashable, v))),
        _Tag("frozenset", frozenset, list, lambda v: frozenset(map(_hashable, v))),
    )
}


def _untagged(pairs: dict[str, Any]) -> Any:
    """Return what an object of JSON stands for; the decoder calls it from the inside outwards."""
    if len(pairs) != 1:
        return pairs
    ((key, value),) = pairs.items()
    if not key.startswith(_MARK):
        return pairs
    name = key[len(_MARK) :]
    if name.startswith(_MARK):
        return {name: value}
    if name not in _TAGS:
        raise ValueError(f"the tag {cut(repr(key), 40)} is not known here; a newer aiorq2 wrote it")
    return _TAGS[name].decode(value)


_PLAIN_DECODER = json.JSONDecoder()
_TAG_DECODER = json.JSONDecoder(object_hook=_untagged)


class Pickle:
    """Python's pickle, RQ's default: any object, and any code of whoever can write to Redis."""

    name = "pickle"

    def dumps(self, obj: Any, /) -> bytes:
        """Return the pickle in the newest protocol, as RQ does."""
        return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)

    def loads(self, data: bytes, /) -> Any:
        """Return the object. A ``Retry`` of rq's can be read where rq is not installed."""
        if b"Retry" in data:
            return _RetryUnpickler(io.BytesIO(data)).load()
        return pickle.loads(data)


class RetryStandIn:
    """What a pickled ``rq.Retry`` becomes where rq is not installed: the same attributes, nothing else."""

    max: int
    intervals: list[int]
    enqueue_at_front: bool


class _RetryUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return super().find_class(module_name, global_name)
        except ImportError:
            if (module_name, global_name) in (("rq.job", "Retry"), ("rq", "Retry")):
                return RetryStandIn
            raise


@dataclass(frozen=True, slots=True)
class _Adapted:
    """An object or class of somebody else's that has ``dumps`` and ``loads``."""

    name: str
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


_BY_NAME: dict[str, Serializer] = {"json": Json(), "pickle": Pickle()}


def resolve(serializer: str | Serializer | object | None = None) -> Serializer:
    """Return the serializer that is meant.

    Args:
        serializer: ``"json"`` (also for None), ``"pickle"``, the dotted path of a class or an instance, or anything with
            ``dumps`` and ``loads``, RQ's own serializer classes included.

    Raises:
        InvalidOption: there is none of that name, or it has no ``dumps`` and ``loads``.
    """
    if serializer is None:
        return _BY_NAME["json"]
    if isinstance(serializer, str):
        return _BY_NAME.get(serializer) or _adapt(_imported(serializer), serializer)
    return _adapt(serializer, kind_of(serializer))


def _imported(path: str) -> object:
    module, _, attribute = path.rpartition(".")
    if not module:
        raise InvalidOption(
            f"serializer {path!r}: give 'json', 'pickle', the dotted path of a class or an "
            "instance, or an object such as signed(secret)"
        )
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise InvalidOption(f"serializer {path!r}: {told(error)}") from error


def _adapt(found: object, name: str) -> Serializer:
    if isinstance(found, type) and _needs_an_instance(found):
        try:
            found = found()
        except TypeError as error:
            raise InvalidOption(f"serializer {name}: {error}; give an instance") from error
    dumps, loads = getattr(found, "dumps", None), getattr(found, "loads", None)
    if not callable(dumps) or not callable(loads):
        raise InvalidOption(f"serializer {name}: it has no dumps and loads")
    if isinstance(getattr(found, "name", None), str):
        return found  # type: ignore[return-value]  # it has what the protocol asks for
    return _Adapted(name, dumps, loads)


def _needs_an_instance(kind: type) -> bool:
    """Whether ``dumps`` is an ordinary method; RQ's classes are used as they are, with static methods."""
    dumps = inspect.getattr_static(kind, "dumps", None)
    return inspect.isfunction(dumps) and "self" in inspect.signature(dumps).parameters


SIGNED_PREFIX = b"aio-signed.1."
"""What the bytes of ``signed`` begin with."""


def recognise(data: bytes) -> str | None:
    """Return the name of the serializer that wrote ``data``, as far as its first bytes tell; nothing is decoded."""
    if data.startswith(SIGNED_PREFIX):
        return "signed"
    if data[:1] == b"\x80" and data[1:2] <= b"\x0f":
        return "pickle"
    if data[:1] and data[:1] in b'[{"-0123456789tfnNI':
        return "json"
    return None


def told(error: BaseException) -> str:
    """Return type and text of an error, cut for a message."""
    return f"{type(error).__name__}: {cut(str(error), 200)}"


def kind_of(value: object) -> str:
    """Return the name of the type of a value, with its module, for a message."""
    kind = value if isinstance(value, type) else type(value)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def cut(text: str, length: int) -> str:
    """Return at most so many characters of a text, and a mark where some are missing."""
    return text if len(text) <= length else f"{text[:length]}…"
