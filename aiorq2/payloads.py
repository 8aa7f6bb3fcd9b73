"""Calls and values as bytes: what RQ's ``data``, ``meta`` and ``result`` fields hold.

What comes from Redis is bounded before it is read, and whatever a serializer raises becomes an error of the package.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pickletools import genops
from typing import Any, NamedTuple

from aiorq2.errors import DeserializationError, PayloadTooLarge, SerializationError
from aiorq2.serializers import SIGNED_PREFIX, Refused, Serializer, cut, kind_of, recognise, told

PAYLOAD_LIMIT = 1024 * 1024
"""The most bytes that a call or a value may take, serialised and before compression, unless told otherwise."""
READ_LIMIT = 16 * 1024 * 1024
"""The most bytes that are read back, after decompression."""


_FIRST_TEXT = re.compile(rb'\s*\[\s*("(?:[^"\\]|\\.)*")')
"""The beginning of a list in JSON whose first element is a text."""


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
    _check_size(raw, limit, f"the arguments of {cut(func_name, 100)}")
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
        raise DeserializationError(f"the payload names no function but a {kind_of(func_name)}")
    if not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
        raise DeserializationError(f"{cut(func_name, 100)}: args or kwargs are of the wrong type")
    if kwargs and not all(isinstance(key, str) for key in kwargs):
        raise DeserializationError(f"{cut(func_name, 100)}: a keyword argument has no name")
    return Call(func_name, instance, tuple(args), kwargs)


def function_name(data: bytes) -> str | None:
    """Return the name of the function in a ``data`` field, and read nothing else of it; None where it cannot be told.

    Nothing is unpickled, and a signature is not checked: this is for lists and filters, not for running anything.
    """
    try:
        raw = _inflated(data, READ_LIMIT)
        if raw.startswith(SIGNED_PREFIX):  # which has dots of its own
            raw = raw.removeprefix(SIGNED_PREFIX).partition(b".")[2]
        if found := _FIRST_TEXT.match(raw):
            name = json.loads(found[1])
        else:
            texts = (value for opcode, value, _ in genops(raw) if "UNICODE" in opcode.name)
            name = next(texts, None)
    except (DeserializationError, ValueError):
        return None
    return name if isinstance(name, str) else None


def written_with(data: bytes) -> str | None:
    """Return the name of the serializer of a ``data`` field as its first bytes tell; no more than those are looked at."""
    head = data
    if _looks_deflated(data):
        with suppress(zlib.error):  # else raw bytes after all
            head = zlib.decompressobj().decompress(data, 64)
    return recognise(head)


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
        raise Refused(f"cannot be carried by {serializer.name}: {told(error)}") from error
    if not isinstance(raw, bytes):
        raise Refused(f"became a {kind_of(raw)} in {serializer.name}, not bytes")
    return raw


def _loads(serializer: Serializer, data: bytes) -> Any:
    try:
        return serializer.loads(data)
    except (Exception, SystemExit) as error:  # unpickling can import a module that exits
        found = recognise(data)
        foreign = found is not None and not serializer.name.startswith(found)
        reason = str(error) if isinstance(error, DeserializationError) else told(error)
        raise DeserializationError(
            f"the payload cannot be read with serializer {serializer.name!r}"
            f"{f', it looks like {found}' if foreign else ''}: {cut(reason, 300)}"
        ) from error


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
    if isinstance(error, Refused):
        return f"{label}{cut(error.path, 200)} {error.reason}"
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
