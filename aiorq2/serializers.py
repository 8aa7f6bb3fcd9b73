"""Bytes for calls and values: which serializer, and what RQ's ``data``, ``meta`` and ``result`` fields hold.

Nothing here unpickles unless the configured serializer is ``pickle``. What comes from Redis is bounded before it is read.
"""

from __future__ import annotations

import base64
import hmac
import importlib
import inspect
import io
import json
import pickle
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple, NoReturn, Protocol
from uuid import UUID

from itsdangerous import Signer

from aiorq2.errors import (
    DeserializationError,
    InvalidOption,
    PayloadTooLarge,
    SerializationError,
)

PAYLOAD_LIMIT = 1024 * 1024
"""The most bytes that a call or a value may take, serialised and before compression, unless told otherwise."""
READ_LIMIT = 16 * 1024 * 1024
"""The most bytes that are read back, after decompression."""
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
        try:
            plain = obj if _is_plain((obj,), MAX_DEPTH) else _tagged(obj, MAX_DEPTH)
            return _ENCODER.encode(plain).encode("ascii")
        except ValueError as error:
            _tagged(obj, MAX_DEPTH)  # an int too long to print: this finds out where
            raise _Refused(f"cannot be written: {error}") from error
        except RecursionError:
            raise _Refused("is nested too deeply") from None

    def loads(self, data: bytes, /) -> Any:
        """Return the value.

        Raises:
            DeserializationError: it is not JSON, is nested too deeply, or has a tag that cannot be read.
        """
        decoder = _TAG_DECODER if _MARK_BYTES in data else _PLAIN_DECODER
        try:
            return decoder.decode(data.decode("utf-8"))
        except RecursionError:
            raise DeserializationError("the JSON is nested too deeply") from None
        except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
            raise DeserializationError(f"not readable as JSON: {error}") from error


class _Refused(SerializationError):
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
_SCALARS = frozenset({str, int, float, bool, type(None)})


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
    """Return ``value`` with tags and escapes, ready for the encoder, or raise ``_Refused``."""
    if value is None or isinstance(value, str | float | bool):
        return value
    if isinstance(value, int):
        return _printable_int(value)
    if depth == 0:
        raise _Refused(f"is nested more than {MAX_DEPTH} levels deep, or contains itself")
    if isinstance(value, dict):
        return _escaped(dict(_tagged_items(value.items(), depth - 1)))
    if isinstance(value, list | tuple):
        return [item for _, item in _tagged_items(enumerate(value), depth - 1)]
    for tag in _TAGS.values():
        if isinstance(value, tag.kind):
            return {_MARK + tag.name: _tagged(tag.encode(value), depth - 1)}
    raise _Refused(
        f"is a {_kind(value)}, which json cannot carry: pass an id or plain data, or use "
        "serializer='pickle'"
    )


def _printable_int(value: int) -> int:
    if value.bit_length() > 2000:  # Python's limit, in digits, can be set, but not below 640
        try:
            str(value)
        except ValueError:
            raise _Refused(
                "is an integer with more digits than Python prints; send it as text"
            ) from None
    return value


def _tagged_items(items: Iterable[tuple[Any, Any]], depth: int) -> list[tuple[Any, Any]]:
    tagged = []
    for key, item in items:
        try:
            tagged.append((key, _tagged(item, depth)))
        except _Refused as refused:
            refused.path = f"[{_cut(repr(key), 40)}]{refused.path}"
            raise
    return tagged


def _escaped(value: dict[Any, Any]) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise _Refused(f"has a key of type {_kind(key)}: keys in JSON are text")
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
        raise ValueError(
            f"the tag {_cut(repr(key), 40)} is not known here; a newer aiorq2 wrote it"
        )
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


class Secret:
    """A signing key that shows itself only when asked: not in a repr, not in a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str | bytes) -> None:
        if not value:
            raise InvalidOption("the signing secret is empty")
        self._value = value.encode() if isinstance(value, str) else bytes(value)

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing secret is not written anywhere")

    def reveal(self) -> bytes:
        """Return the key itself."""
        return self._value


_SIGNED = b"aio-signed.1."
_SIGNATURE_LENGTH = 43  # SHA-256 in base64 without padding


class Signed:
    """Another serializer's bytes behind an HMAC-SHA256 that is checked before they are read. Made by ``signed``."""

    __slots__ = ("_context", "_signers", "inner", "name")

    def __init__(self, inner: Serializer, signers: Sequence[Signer], context: str = "") -> None:
        self.inner = inner
        self.name = f"signed({inner.name})"
        self._signers = signers
        context_bytes = context.encode("utf-8", "surrogatepass")
        # With its length in front, a context cannot end where another one's payload begins.
        self._context = b"%d:%b:" % (len(context_bytes), context_bytes)

    def __repr__(self) -> str:
        return f"<Serializer {self.name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing serializer holds its secret and is not pickled")

    def bind(self, context: str, /) -> Signed:
        """Return this serializer for one context: what it signs is refused in every other."""
        return Signed(self.inner, self._signers, context)

    def dumps(self, obj: Any, /) -> bytes:
        """Return the inner bytes behind a signature with the newest key."""
        payload = self.inner.dumps(obj)
        signature = self._signers[0].get_signature(self._context + payload)
        return b"%b%b.%b" % (_SIGNED, signature, payload)

    def loads(self, data: bytes, /) -> Any:
        """Return the value, if any of the keys signed it for this context.

        Raises:
            DeserializationError: it is not signed, or not with one of our keys, or for something else.
        """
        start = len(_SIGNED)
        end = start + _SIGNATURE_LENGTH
        if not data.startswith(_SIGNED) or data[end : end + 1] != b".":
            raise DeserializationError("the payload carries no signature")
        signature, payload = data[start:end], data[end + 1 :]
        message = self._context + payload
        # Signatures are compared as text: base64 has several spellings of the same bytes, and only one is ours.
        if not any(
            hmac.compare_digest(signature, signer.get_signature(message))
            for signer in self._signers
        ):
            raise DeserializationError("the signature does not match this payload and job")
        return self.inner.loads(payload)


def signed(
    secret: str | bytes | Secret,
    inner: str | Serializer | object | None = "json",
    *,
    fallbacks: Iterable[str | bytes | Secret] = (),
) -> Signed:
    """Return a serializer that signs what ``inner`` writes and reads nothing that it did not sign.

    The signature covers the payload and the job id, so a payload moved to another job is refused too. rq cannot read it.

    Args:
        secret: the key; the longer the better, from ``secrets.token_hex`` for instance.
        inner: the serializer inside; with ``pickle`` only bytes that a holder of the key wrote are ever unpickled.
        fallbacks: older keys that are still accepted. To rotate, put the new key first and keep the old one here until
            the last job that it signed is gone.

    Raises:
        InvalidOption: a key is empty, or the inner serializer is none.
    """
    keys = [key if isinstance(key, Secret) else Secret(key) for key in (secret, *fallbacks)]
    signers = tuple(
        Signer(key.reveal(), salt=b"aiorq2", key_derivation="hmac", digest_method=sha256)
        for key in keys
    )
    return Signed(resolve(inner), signers)


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
    return _adapt(serializer, _kind(serializer))


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
        raise InvalidOption(f"serializer {path!r}: {_told(error)}") from error


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


class Call(NamedTuple):
    """A call as it stands in a job: what a worker looks up and with what it calls it."""

    func_name: str
    instance: object | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def encode_call(
    serializer: Serializer,
    func_name: str,
    instance: object | None,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    limit: int = PAYLOAD_LIMIT,
    context: str = "",
) -> bytes:
    """Return RQ's ``data`` field: the serialised call, compressed where that makes it smaller.

    Args:
        limit: the most bytes before compression.
        context: the job id; a signing serializer ties the payload to it.

    Raises:
        SerializationError: an argument cannot be carried; function, argument and path are named.
        PayloadTooLarge: size and limit are named.
    """
    bound = _bound(serializer, "call", context)
    try:
        raw = _dumps(bound, (func_name, instance, args, kwargs))
    except SerializationError as error:
        raise _blame(bound, Call(func_name, instance, tuple(args), dict(kwargs)), error) from error
    _check_size(raw, limit, f"the arguments of {_cut(func_name, 100)}")
    return _deflated(raw)


def decode_call(
    serializer: Serializer, data: bytes, *, limit: int = READ_LIMIT, context: str = ""
) -> Call:
    """Return the call that a ``data`` field holds, ours or RQ's, compressed or not.

    Raises:
        DeserializationError: it is longer than ``limit``, written with another serializer (both are named), or no call.
    """
    call = _loads(_bound(serializer, "call", context), _inflated(data, limit))
    if not isinstance(call, list | tuple) or len(call) != 4:
        raise DeserializationError("the payload is not a call: [function, instance, args, kwargs]")
    func_name, instance, args, kwargs = call
    if not isinstance(func_name, str) or not func_name:
        raise DeserializationError(f"the payload names no function but a {_kind(func_name)}")
    if not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
        raise DeserializationError(f"{_cut(func_name, 100)}: args or kwargs are of the wrong type")
    if not all(isinstance(key, str) for key in kwargs):
        raise DeserializationError(f"{_cut(func_name, 100)}: a keyword argument has no name")
    return Call(func_name, instance, tuple(args), kwargs)


def encode_value(
    serializer: Serializer, value: Any, *, what: str, limit: int = PAYLOAD_LIMIT, context: str = ""
) -> bytes:
    """Return a result or the meta of a job as RQ keeps them: the serializer's bytes, not compressed.

    Args:
        what: ``"result"`` or ``"meta"``; it stands in messages, and a signature holds for nothing else.

    Raises:
        SerializationError: it cannot be carried; the path to the reason is named.
        PayloadTooLarge: size and limit are named.
    """
    try:
        raw = _dumps(_bound(serializer, what, context), value)
    except SerializationError as error:
        raise SerializationError(_located(error, what)) from error
    _check_size(raw, limit, f"the {what}")
    return raw


def decode_value(
    serializer: Serializer, data: bytes, *, what: str, limit: int = READ_LIMIT, context: str = ""
) -> Any:
    """Return the result or the meta that ``encode_value``, or RQ, wrote.

    Raises:
        DeserializationError: it is longer than ``limit``, or not what this serializer writes.
    """
    if len(data) > limit:
        raise DeserializationError(f"the {what} takes {len(data)} bytes, more than {limit}")
    return _loads(_bound(serializer, what, context), data)


def recognise(data: bytes) -> str | None:
    """Return the name of the serializer that wrote ``data``, as far as its first bytes tell; nothing is decoded."""
    if data.startswith(_SIGNED):
        return "signed"
    if data[:1] == b"\x80" and data[1:2] <= b"\x0f":
        return "pickle"
    if data[:1] and data[:1] in b'[{"-0123456789tfnNI':
        return "json"
    return None


def _bound(serializer: Serializer, purpose: str, context: str) -> Serializer:
    # A signed result must not pass for a call, nor one job's call for another's.
    bind = getattr(serializer, "bind", None)
    return serializer if bind is None else bind(f"{purpose}/{context}")


def _dumps(serializer: Serializer, value: Any) -> bytes:
    try:
        raw = serializer.dumps(value)
    except SerializationError:
        raise
    except Exception as error:
        raise _Refused(f"cannot be carried by {serializer.name}: {_told(error)}") from error
    if not isinstance(raw, bytes):
        raise _Refused(f"became a {_kind(raw)} in {serializer.name}, not bytes")
    return raw


def _loads(serializer: Serializer, data: bytes) -> Any:
    try:
        return serializer.loads(data)
    except (Exception, SystemExit) as error:  # unpickling can import a module that exits
        found = recognise(data)
        foreign = found is not None and not serializer.name.startswith(found)
        reason = str(error) if isinstance(error, DeserializationError) else _told(error)
        raise DeserializationError(
            f"the payload cannot be read with serializer {serializer.name!r}"
            f"{f', it looks like {found}' if foreign else ''}: {_cut(reason, 300)}"
        ) from error


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {_cut(str(error), 200)}"


def _blame(serializer: Serializer, call: Call, error: SerializationError) -> SerializationError:
    """Return the error that names the argument on which ``serializer`` failed."""
    parts: list[tuple[str, Any]] = [
        *((f"args[{index}]", value) for index, value in enumerate(call.args)),
        *((f"kwargs[{key!r}]", value) for key, value in call.kwargs.items()),
        ("the object that this is a method of", call.instance),
    ]
    for label, value in parts:
        try:
            _dumps(serializer, value)
        except SerializationError as found:
            return SerializationError(f"{call.func_name}: {_located(found, label)}")
    return SerializationError(f"{call.func_name}: {_located(error, 'the call')}")


def _located(error: SerializationError, label: str) -> str:
    if isinstance(error, _Refused):
        return f"{label}{_cut(error.path, 200)} {error.reason}"
    return f"{label}: {error}"


def _check_size(raw: bytes, limit: int, what: str) -> None:
    if len(raw) > limit:
        raise PayloadTooLarge(
            f"{what}: {len(raw)} bytes are more than the limit of {limit}; store the data "
            "elsewhere and pass a reference, or raise the limit"
        )


# Redis keeps a hash in its compact form while no value is longer than 64 bytes; below that, compression gains nothing.
_COMPACT = 64


def _deflated(raw: bytes) -> bytes:
    """Return ``raw`` compressed, or as it is where that is no longer.

    RQ's reader takes what is not zlib for the serialised call itself, so either will do, as long as raw bytes do not look
    like zlib. Those of JSON, pickle and ``signed`` cannot: the low half of a zlib stream's first byte is 8.
    """
    ambiguous = _looks_deflated(raw)
    if len(raw) <= _COMPACT and not ambiguous:
        return raw
    # A window that fits: the default one of 32 KiB costs 60 µs to clear, ten times more than a small payload needs.
    window = min(max(len(raw).bit_length(), 10), 15)
    deflater = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, window, window - 7)
    deflated = deflater.compress(raw) + deflater.flush()
    return deflated if ambiguous or len(deflated) < len(raw) else raw


def _inflated(data: bytes, limit: int) -> bytes:
    raw, complete = data, True
    if _looks_deflated(data):
        inflater = zlib.decompressobj()
        try:
            raw = inflater.decompress(data, limit + 1)
            complete = inflater.eof
        except zlib.error:
            pass  # raw bytes after all, of some other serializer
    if len(raw) > limit:
        raise DeserializationError(f"the payload takes more than {limit} bytes")
    if not complete:
        raise DeserializationError("the payload is compressed and has been cut short")
    return raw


def _looks_deflated(data: bytes) -> bool:
    """Whether ``data`` begins with a header of zlib's (RFC 1950): method 8, and a check sum of five bits."""
    return len(data) >= 2 and data[0] & 0x8F == 8 and (data[0] << 8 | data[1]) % 31 == 0


def _kind(value: object) -> str:
    kind = value if isinstance(value, type) else type(value)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"
