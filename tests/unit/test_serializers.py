"""Serializers, signed ones too, and how an option names one: round trips, refusals, hostile bytes."""

from __future__ import annotations

import json
import pickle
import pickletools
import sys
import zlib
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from rq import Retry
from rq.serializers import DefaultSerializer, JSONSerializer

from aiorq2.errors import DeserializationError, InvalidOption, SerializationError
from aiorq2.payloads import decode_call, decode_value, encode_call, encode_value
from aiorq2.serializers import MAX_DEPTH, Json, Pickle, RetryStandIn, recognise, resolve
from aiorq2.signing import Secret, signed
from tests.unit.sample_functions import Basket
from tests.unit.sample_values import Unknown, nested, plain_scalars, sets, tagged_scalars

RQ_JSON: Any = JSONSerializer
JSON = resolve("json")
PICKLE = resolve("pickle")
quick = settings(max_examples=30, deadline=None)
KEY = "0123456789abcdef0123456789abcdef"


# -- json ------------------------------------------------------------------------------------------


@quick
@given(nested(plain_scalars))
def test_json_and_rqs_json_read_each_other(value: Any) -> None:
    """Plain data goes from rq to aiorq2 and back, whatever its keys look like."""
    assert JSON.loads(JSON.dumps(value)) == value
    if "$aio." not in repr(value):
        assert RQ_JSON.loads(JSON.dumps(value)) == value
        assert JSON.loads(RQ_JSON.dumps(value)) == value


@quick
@given(nested(plain_scalars | tagged_scalars | sets))
def test_json_gives_back_every_type_that_it_takes(value: Any) -> None:
    """Times, ids, decimals, bytes and sets come back equal and of the same type."""
    back = JSON.loads(JSON.dumps(value))

    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2024, 5, 1, 12, 30, 1, 5),  # noqa: DTZ001
        datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=2))),
        date(2024, 5, 1),
        time(12, 30, tzinfo=UTC),
        timedelta(days=-1, microseconds=1),
        UUID("12345678-1234-5678-1234-567812345678"),
        Decimal("1.10"),
        b"\x00\xff",
        {1, "a", (1, (2, 3))},
        frozenset({frozenset({1})}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_json_writes_a_readable_tag(value: Any) -> None:
    """A tagged value is one JSON object whose key names the type."""
    name = type(value).__name__.lower()

    assert json.loads(JSON.dumps(value)).keys() == {f"$aio.{name}"}
    assert JSON.loads(JSON.dumps({"x": [value]})) == {"x": [value]}


def test_json_does_not_take_a_users_dict_for_a_tag() -> None:
    """A dict that looks like a tag, or like an escaped one, comes back as it was."""
    for lookalike in (
        {"$aio.datetime": "2024-05-01"},
        {"$aio.$aio.set": [1]},
        {"$aio.": {"$aio.": 1}},
    ):
        assert JSON.loads(JSON.dumps([lookalike])) == [lookalike]


def test_json_is_small_and_ascii() -> None:
    """There are no spaces to store, and text of any kind is escaped as RQ does."""
    assert JSON.dumps({"a": [1, "é\ud800"]}) == b'{"a":[1,"\\u00e9\\ud800"]}'


def test_json_turns_tuples_into_lists_and_subclasses_into_their_base() -> None:
    """What JSON has no word for but a near one becomes that; the documentation says so."""

    class Level(IntEnum):
        HIGH = 3

    class Colour(StrEnum):
        RED = "red"

    value = (Level.HIGH, Colour.RED, OrderedDict(a=(1,)))

    assert JSON.loads(JSON.dumps(value)) == [3, "red", {"a": [1]}]


def test_json_carries_nan_as_rq_does() -> None:
    """NaN and the infinities are what RQ's serializer writes, though they are not standard JSON."""
    assert JSON.dumps([float("nan"), float("inf")]) == b"[NaN,Infinity]"
    assert JSON.loads(RQ_JSON.dumps(float("-inf"))) == float("-inf")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"user": {"x": Unknown()}}, r"^value\['user'\]\['x'\] is a .*Unknown, which json cannot carry: pass an id"),
        ([0, {1: "a"}], r"^value\[1\] has a key of type int: keys in JSON are text"),
        ({None: 1}, r"^value has a key of type NoneType"),
        ({True: 1, "a": 2}, r"^value has a key of type bool"),
        ([[], [10**5000]], r"^value\[1\]\[0\] is an integer with more digits"),
        ({"d": {"t": date.today, "u": UUID(int=0)}}, r"^value\['d'\]\['t'\] is a builtin_function"),
        (bytearray(b"x"), r"^value is a bytearray"),
        (Path("x"), r"^value is a pathlib.*Path"),
    ],
)  # fmt: skip
def test_json_refusal_names_the_path_and_the_type(value: Any, message: str) -> None:
    """What cannot be written is named by where it is and what it is; no key is silently turned into text."""
    with pytest.raises(SerializationError, match=message):
        JSON.dumps(value)


def test_json_refuses_a_value_that_contains_itself() -> None:
    """A cycle, and depth beyond the limit, is an error and no RecursionError; so is a fan of cycles."""
    cycle: list[Any] = []
    cycle += [cycle, cycle]
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]

    for value in (cycle, deep, {"k": cycle}):
        with pytest.raises(SerializationError, match="levels deep, or contains itself"):
            JSON.dumps(value)


def test_json_reads_back_its_deepest() -> None:
    """What is just within the depth limit is also read, tags included."""
    for leaf in (0, date(2024, 5, 1)):
        value: Any = leaf
        for _ in range(MAX_DEPTH - 2):
            value = [value]

        assert JSON.loads(JSON.dumps(value)) == value


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\xff",
        b"nul",
        b'"\x00"',
        b"[" * 100_000,
        b'{"$aio.set":' * 100_000,
        b"1" * 1_000_000,
        b'{"$aio.int":1}',
        b'{"$aio.uuid":5}',
        b'{"$aio.uuid":"x"}',
        b'{"$aio.datetime":[1]}',
        b'{"$aio.decimal":"x"}',
        b'{"$aio.timedelta":[1e300]}',
        b'{"$aio.timedelta":5}',
        b'{"$aio.bytes":"*"}',
        b'{"$aio.set":[{}]}',
        b'{"$aio.set":1}',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_json_refuses_hostile_bytes(hostile: bytes) -> None:
    """Junk, depth bombs, digit bombs and false tags are one kind of error."""
    with pytest.raises(DeserializationError):
        JSON.loads(hostile)


# -- pickle ----------------------------------------------------------------------------------------


def test_pickle_uses_the_newest_protocol() -> None:
    """The bytes are those of RQ's default serializer."""
    value = [1, Basket(("a",))]

    assert PICKLE.dumps(value) == DefaultSerializer.dumps(value)
    assert PICKLE.loads(PICKLE.dumps(value)) == value


def test_pickled_retry_of_rqs_is_read_with_and_without_rq(monkeypatch: pytest.MonkeyPatch) -> None:
    """RQ pickles its Retry into results; without rq a stand-in with the same attributes appears."""
    data = DefaultSerializer.dumps(Retry(max=3, interval=[1, 2]))
    assert isinstance(PICKLE.loads(data), Retry)

    monkeypatch.setitem(sys.modules, "rq.job", None)
    monkeypatch.setitem(sys.modules, "rq", None)
    found = PICKLE.loads(data)

    assert isinstance(found, RetryStandIn)
    assert (found.max, found.intervals, found.enqueue_at_front) == (3, [1, 2], False)


def test_pickle_still_reports_other_missing_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in is for rq's Retry only."""
    data = PICKLE.dumps([Basket(), "Retry"])
    monkeypatch.setitem(sys.modules, "tests.unit.sample_functions", None)

    with pytest.raises(ImportError):
        PICKLE.loads(data)


# -- signed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["json", "pickle"])
def test_signed_payload_comes_back(inner: str) -> None:
    """Behind the signature lies what the inner serializer wrote."""
    serializer = signed(KEY, inner)

    data = encode_call(serializer, "app.f", None, (1,), {"x": "y"}, context="job1")

    assert decode_call(serializer, data, context="job1") == ("app.f", None, (1,), {"x": "y"})
    assert serializer.loads(serializer.dumps([1])) == [1]


def test_signed_refuses_every_flipped_byte() -> None:
    """No byte can be changed, the last letter of the signature with its spare bits included."""
    serializer = signed(KEY).bind("job1")
    data = serializer.dumps(["app.f", None, [1], {}])

    for position in range(len(data)):
        for flip in (0x01, 0x02, 0x80):
            changed = bytearray(data)
            changed[position] ^= flip
            with pytest.raises(DeserializationError):
                serializer.loads(bytes(changed))


def test_signed_refuses_every_shorter_or_longer_payload() -> None:
    """Neither cutting nor appending goes unnoticed."""
    serializer = signed(KEY)
    data = serializer.dumps([1, 2])

    for length in range(len(data)):
        with pytest.raises(DeserializationError):
            serializer.loads(data[:length])
    with pytest.raises(DeserializationError):
        serializer.loads(data + b" ")


def test_signed_payload_holds_for_one_job_and_one_purpose() -> None:
    """A payload that is moved to another job, or from the result into the call, is refused."""
    serializer = signed(KEY)
    call = encode_call(serializer, "app.f", None, (), {}, context="job1")
    result = encode_value(serializer, ["app.f", None, [], {}], what="result", context="job1")

    for stolen in (call, result):
        with pytest.raises(DeserializationError, match="signature does not match"):
            decode_call(serializer, stolen, context="job2")
    with pytest.raises(DeserializationError, match="signature does not match"):
        decode_call(serializer, result, context="job1")
    with pytest.raises(DeserializationError, match="signature does not match"):
        decode_value(serializer, result, what="meta", context="job1")


def test_signed_context_cannot_be_shifted_into_the_payload() -> None:
    """Two contexts never sign the same bytes, however the border between context and payload is moved."""
    one, other = signed(KEY).bind("a"), signed(KEY).bind("a1")

    with pytest.raises(DeserializationError):
        other.loads(one.dumps(11).replace(b".11", b".1"))


def test_signed_checks_before_it_unpickles(tmp_path: Path) -> None:
    """A forged pickle is refused unread: its code does not run."""
    marker = tmp_path / "marker"
    serializer = signed(KEY, "pickle")
    forged = signed("another key", "pickle").dumps(_Bomb(str(marker)))

    for payload in (forged, pickle.dumps(_Bomb(str(marker)))):
        with pytest.raises(DeserializationError):
            decode_value(serializer, payload, what="result")
    assert not marker.exists()


def test_signing_keys_rotate() -> None:
    """A worker that has the old key as fallback reads both; the new key signs; a dropped key is refused."""
    old, new = signed("old key"), signed("new key", fallbacks=["old key"])

    assert new.loads(old.dumps("x")) == "x"
    with pytest.raises(DeserializationError):
        old.loads(new.dumps("x"))
    with pytest.raises(DeserializationError):
        signed("new key").loads(old.dumps("x"))


def test_signing_key_shows_nowhere() -> None:
    """Neither a repr nor a pickle of the serializer has the key; an empty key is refused."""
    secret = Secret("canary")
    serializer = signed(secret, fallbacks=[b"canary2"])

    assert "canary" not in repr((secret, serializer, serializer.bind("x"), vars(Secret)))
    assert secret.reveal() == b"canary"
    for holder in (secret, serializer):
        with pytest.raises(TypeError):
            pickle.dumps(holder)
    with pytest.raises(InvalidOption, match="empty"):
        signed("")


class _Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return (open, (self.path, "w"))


# -- which serializer ------------------------------------------------------------------------------


class Upper:
    """A serializer with ordinary methods and no name."""

    def dumps(self, obj: Any) -> bytes:
        """Return the text in capitals."""
        return str(obj).upper().encode()

    def loads(self, data: bytes) -> Any:
        """Return the text."""
        return data.decode()


upper = Upper()


def test_resolve_knows_names_paths_classes_and_objects() -> None:
    """json is the default; a dotted path may lead to a class or an instance; RQ's classes fit as they are."""
    assert resolve() is resolve("json") is resolve(None)
    assert isinstance(resolve("json"), Json)
    assert isinstance(resolve("pickle"), Pickle)
    assert resolve(JSON) is JSON
    for given_serializer in (Upper, upper, f"{__name__}.Upper", f"{__name__}.upper"):
        found = resolve(given_serializer)
        assert found.dumps("x") == b"X"
        assert "pper" in found.name


@pytest.mark.parametrize(
    "rqs",
    [
        "rq.serializers.JSONSerializer",
        JSONSerializer,
        "rq.serializers.PickleSerializer",
        DefaultSerializer,
    ],
)
def test_resolve_adapts_rqs_serializers(rqs: object) -> None:
    """The serializer classes that rq users have configured go on working."""
    found = resolve(rqs)

    assert found.loads(found.dumps([1])) == [1]
    assert found.name.startswith("rq.serializers.")


@pytest.mark.parametrize(
    "bad", ["xml", "signed", "", "nosuchmodule.x", "json.nosuch", "json.decoder", object(), 5, int]
)
def test_resolve_refuses_what_is_no_serializer(bad: object) -> None:
    """An unknown name or an object without dumps and loads is a typed error."""
    with pytest.raises(InvalidOption, match="serializer"):
        resolve(bad)


def test_recognise_tells_the_formats_apart() -> None:
    """The first bytes tell who wrote a payload, without decoding it."""
    assert recognise(pickletools.optimize(PICKLE.dumps([1]))) == "pickle"
    assert recognise(b'["app.f",null,[],{}]') == "json"
    assert recognise(b"-1") == "json"
    assert recognise(signed(KEY).dumps(1)) == "signed"
    assert recognise(b"") is None
    assert recognise(zlib.compress(b"")) is None
