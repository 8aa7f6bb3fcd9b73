"""Serializers, and what RQ's data, meta and result fields hold: round trips, refusals, hostile bytes."""

from __future__ import annotations

import json
import pickle
import pickletools
import sys
import tracemalloc
import zlib
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis
from rq import Retry
from rq.job import Job
from rq.serializers import DefaultSerializer, JSONSerializer

from aiorq2.errors import (
    DeserializationError,
    InvalidOption,
    PayloadTooLarge,
    SerializationError,
)
from aiorq2.serializers import (
    MAX_DEPTH,
    Call,
    Json,
    Pickle,
    RetryStandIn,
    Secret,
    Serializer,
    decode_call,
    decode_value,
    encode_call,
    encode_value,
    recognise,
    resolve,
    signed,
)
from tests.unit import sample_functions
from tests.unit.sample_functions import Basket

RQ_JSON: Any = JSONSerializer
JSON = resolve("json")
PICKLE = resolve("pickle")
quick = settings(max_examples=50, deadline=None)
KEY = "0123456789abcdef0123456789abcdef"

any_text = st.text(st.characters())  # lone surrogates too
keys = any_text | st.sampled_from(["$aio.datetime", "$aio.$aio.set", "$aio.", "$aio.x", ""])
plain_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | any_text
offsets = st.none() | st.integers(-80_000, 80_000).map(lambda s: timezone(timedelta(seconds=s)))
tagged_scalars = (
    st.datetimes(timezones=offsets)
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.binary()
)
members = plain_scalars | tagged_scalars | st.tuples(plain_scalars, tagged_scalars)
sets = st.sets(members, max_size=4) | st.frozensets(members, max_size=4)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists and dicts of these, a few levels deep."""
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=6,
    )


class Unknown:
    """Something that JSON has no word for."""


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


class Bad:
    """A serializer that breaks the rules."""

    name: ClassVar[str] = "bad"

    def dumps(self, obj: Any) -> Any:
        """Return no bytes, or raise what it likes."""
        if obj == "raise":
            raise KeyError("boom")
        return "text"

    def loads(self, data: bytes) -> Any:
        """Raise."""
        raise SystemExit(3)


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


def test_a_serializer_that_breaks_the_rules_gives_typed_errors() -> None:
    """Whatever a user's serializer raises or returns, callers see the two documented errors."""
    bad = resolve(Bad())

    with pytest.raises(SerializationError, match=r"KeyError.*boom"):
        encode_value(bad, "raise", what="result")
    with pytest.raises(SerializationError, match="became a str in bad, not bytes"):
        encode_value(bad, "x", what="result")
    with pytest.raises(DeserializationError, match="SystemExit"):
        decode_value(bad, b"x", what="result")


# -- calls -----------------------------------------------------------------------------------------


@quick
@given(
    st.lists(nested(plain_scalars | tagged_scalars), max_size=3),
    st.dictionaries(st.text(), plain_scalars, max_size=3),
)
def test_call_comes_back_with_either_serializer(args: list[Any], kwargs: dict[str, Any]) -> None:
    """Function, arguments and keyword arguments come back; args are always a tuple."""
    for serializer in (JSON, PICKLE, signed(KEY)):
        data = encode_call(serializer, "app.f", None, args, kwargs, context="j")

        assert decode_call(serializer, data, context="j") == Call(
            "app.f", None, tuple(args), kwargs
        )


@pytest.mark.parametrize("filler", ["", "x" * 500, "a long and long and long text " * 3])
@pytest.mark.parametrize(("ours", "rqs"), [("json", JSONSerializer), ("pickle", DefaultSerializer)])
def test_call_is_read_by_rq_and_rqs_by_us(ours: str, rqs: Any, filler: str) -> None:
    """rq restores the job from our bytes, raw or compressed, and we read what rq stores."""
    data = encode_call(resolve(ours), "app.f", None, (1, filler), {"x": 2})
    job = Job("j", connection=Redis(), serializer=rqs)
    job.restore({"created_at": b"2024-05-01T12:00:00.000000Z", "data": data})
    theirs = zlib.compress(rqs.dumps(("app.f", None, (1, filler), {"x": 2})))

    assert (job.func_name, job.instance, tuple(job.args), job.kwargs) == (
        "app.f",
        None,
        (1, filler),
        {"x": 2},
    )
    assert decode_call(resolve(ours), theirs) == ("app.f", None, (1, filler), {"x": 2})


def test_pickled_call_carries_an_instance() -> None:
    """A bound method travels as its object and its name, an empty and so falsy object too."""
    data = encode_call(PICKLE, "size", Basket(), (), {})

    assert decode_call(PICKLE, data) == Call("size", Basket(), (), {})


def test_call_is_compressed_only_where_it_gets_smaller() -> None:
    """A small payload is stored as it is, a long one compressed, a random one never made longer."""
    small = encode_call(JSON, "app.f", None, (1,), {})
    long = encode_call(JSON, "app.f", None, ("x" * 5000,), {})
    noise = encode_call(PICKLE, "app.f", None, (uuid4().bytes * 2,), {})

    assert small == b'["app.f",null,[1],{}]'
    assert len(long) < 200
    assert noise == PICKLE.dumps(("app.f", None, decode_call(PICKLE, noise).args, {}))


@quick
@given(st.binary(min_size=0, max_size=200))
def test_raw_bytes_are_never_mistaken_for_compressed_ones(raw: bytes) -> None:
    """Even a serializer whose own bytes look like zlib gets them back."""

    class Echo:
        name = "echo"

        def dumps(self, obj: Any) -> bytes:
            return raw

        def loads(self, data: bytes) -> Any:
            return data.hex(), None, (), {}

    data = encode_call(Echo(), "f", None, (), {})

    if raw:
        assert decode_call(Echo(), data).func_name == raw.hex()
    assert rq_inflated(data) == raw


def rq_inflated(data: bytes) -> bytes:
    """Undo compression as rq does."""
    try:
        return zlib.decompress(data)
    except zlib.error:
        return data


@pytest.mark.parametrize("serializer", [JSON, PICKLE, signed(KEY)], ids=lambda s: s.name)
def test_call_refusal_names_function_and_argument(serializer: Serializer) -> None:
    """The error of an argument that cannot be carried has the function, the argument and the type."""
    bad = sample_functions.count_up()

    with pytest.raises(SerializationError, match=r"^app\.f: args\[1\].*generator"):
        encode_call(serializer, "app.f", None, (1, bad), {})
    with pytest.raises(SerializationError, match=r"^app\.f: kwargs\['x'\].*generator"):
        encode_call(serializer, "app.f", None, (1,), {"y": 2, "x": [bad]})
    with pytest.raises(
        SerializationError, match=r"^app\.f: the object that this is a method of .*generator"
    ):
        encode_call(serializer, "app.f", bad, (1,), {})


def test_call_refusal_shows_the_path_within_the_argument() -> None:
    """With JSON the way into the argument is there too, and the way out of the trouble."""
    with pytest.raises(SerializationError) as caught:
        encode_call(JSON, "app.f", None, ({"user": [Unknown()]},), {})

    assert str(caught.value).startswith(
        "app.f: args[0]['user'][0] is a tests.unit.test_serializers.Unknown"
    )
    assert "pass an id" in str(caught.value)
    assert "serializer='pickle'" in str(caught.value)


def test_too_large_call_is_refused_before_compression() -> None:
    """The limit counts the bytes as they are in memory, and the error has both numbers."""
    with pytest.raises(
        PayloadTooLarge, match=r"app\.f: 2\d\d\d bytes are more than the limit of 1000"
    ):
        encode_call(JSON, "app.f", None, ("x" * 2000,), {}, limit=1000)
    with pytest.raises(PayloadTooLarge, match="limit of 1048576"):
        encode_call(JSON, "app.f", None, ("x" * 2**20,), {})
    with pytest.raises(PayloadTooLarge, match="the result: 1002 bytes"):
        encode_value(JSON, "x" * 1000, what="result", limit=1000)


@pytest.mark.parametrize(
    ("written", "read", "looks_like"),
    [
        ("json", "pickle", "json"),
        ("pickle", "json", "pickle"),
        ("json", "signed", "json"),
        ("signed", "pickle", "signed"),
    ],
)
@pytest.mark.parametrize("filler", ["", "x" * 500])
def test_wrong_serializer_is_named_together_with_the_right_one(
    written: str, read: str, looks_like: str, filler: str
) -> None:
    """A worker with another serializer says what it expected and what it found, and unpickles nothing on the way."""
    serializers = {"json": JSON, "pickle": PICKLE, "signed": signed(KEY)}
    data = encode_call(serializers[written], "app.f", None, (filler,), {})

    with pytest.raises(
        DeserializationError, match=rf"serializer '{read}.*', it looks like {looks_like}:"
    ):
        decode_call(serializers[read], data)


@pytest.mark.parametrize(
    "shape",
    [
        None,
        {},
        "abcd",
        [],
        ["f"],
        ["f", None, [], {}, 1],
        [None, None, [], {}],
        ["", None, [], {}],
        [["f"], None, [], {}],
        ["f", None, {}, {}],
        ["f", None, "xy", {}],
        ["f", None, [], []],
        ["f", None, None, None],
    ],
)
def test_payload_of_the_wrong_shape_is_refused(shape: Any) -> None:
    """What can be decoded but is no call is an error of the same kind."""
    with pytest.raises(DeserializationError):
        decode_call(JSON, json.dumps(shape).encode())
    with pytest.raises(DeserializationError):
        decode_call(PICKLE, zlib.compress(pickle.dumps(shape)))


def test_keyword_without_a_name_is_refused() -> None:
    """A pickled call can have keyword arguments that are not text; a function could not take them."""
    with pytest.raises(DeserializationError, match="keyword"):
        decode_call(PICKLE, pickle.dumps(("f", None, (), {1: 2})))


def test_truncated_payloads_are_refused() -> None:
    """Wherever a pickle or its compressed form was cut, the error is a DeserializationError."""
    raw = pickle.dumps(("app.f", None, (list(range(20)), "x" * 100), {"a": Basket()}))
    for data in (raw, zlib.compress(raw)):
        for length in range(len(data)):
            with pytest.raises(DeserializationError):
                decode_call(PICKLE, data[:length])


@quick
@given(st.binary(max_size=300))
def test_junk_is_refused_or_a_call(junk: bytes) -> None:
    """No bytes whatever raise anything but a DeserializationError from a JSON or a signed serializer."""
    for serializer in (JSON, signed(KEY)):
        for data in (junk, zlib.compress(junk)):
            with pytest.raises(DeserializationError):
                decode_call(serializer, data)
            recognise(data)


def test_zip_bomb_is_stopped_at_the_limit() -> None:
    """Half a megabyte that would inflate to 512 MiB costs no more memory than about the limit."""
    bomb = zip_bomb(512)
    assert len(bomb) < 600_000

    tracemalloc.start()
    try:
        with pytest.raises(DeserializationError, match="more than 4194304 bytes"):
            decode_call(JSON, bomb, limit=4 * 2**20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 3 * 4 * 2**20


def zip_bomb(mebibytes: int) -> bytes:
    """Return a zlib stream of zeros, put together from one block that repeats."""
    deflater = zlib.compressobj()
    zeros = bytes(2**20)
    start = deflater.compress(zeros) + deflater.flush(zlib.Z_FULL_FLUSH)
    block = deflater.compress(zeros) + deflater.flush(zlib.Z_FULL_FLUSH)
    return start + block * (mebibytes - 1)


def test_uncompressed_payload_over_the_limit_is_refused() -> None:
    """The limit holds for raw bytes and for values too."""
    with pytest.raises(DeserializationError, match="more than 10 bytes"):
        decode_call(JSON, b'["app.f",null,[1],{}]', limit=10)
    with pytest.raises(DeserializationError, match="more than 3"):
        decode_value(JSON, b"12345", what="result", limit=3)


def test_payload_whose_code_exits_does_not_end_the_worker() -> None:
    """A pickle that calls sys.exit when it is read is an undecodable payload."""

    class Exits:
        def __reduce__(self) -> tuple[Any, tuple[int]]:
            return (sys.exit, (1,))

    with pytest.raises(DeserializationError, match="SystemExit"):
        decode_call(PICKLE, pickle.dumps(Exits()))


# -- values ----------------------------------------------------------------------------------------


@quick
@given(nested(plain_scalars | tagged_scalars))
def test_value_is_the_serializers_bytes(value: Any) -> None:
    """Results and meta are stored as RQ stores them: the plain bytes of the serializer."""
    data = encode_value(JSON, value, what="meta")

    assert data == JSON.dumps(value)
    assert decode_value(JSON, data, what="meta") == value


def test_value_refusal_names_what_it_is() -> None:
    """An unserialisable result is called the result, with the path into it."""
    with pytest.raises(SerializationError, match=r"^result\['a'\] is a .*Unknown"):
        encode_value(JSON, {"a": Unknown()}, what="result")
    with pytest.raises(SerializationError, match=r"^meta cannot be carried by pickle: "):
        encode_value(PICKLE, sample_functions.count_up(), what="meta")


def test_recognise_tells_the_formats_apart() -> None:
    """The first bytes tell who wrote a payload, without decoding it."""
    assert recognise(pickletools.optimize(PICKLE.dumps([1]))) == "pickle"
    assert recognise(b'["app.f",null,[],{}]') == "json"
    assert recognise(b"-1") == "json"
    assert recognise(signed(KEY).dumps(1)) == "signed"
    assert recognise(b"") is None
    assert recognise(zlib.compress(b"")) is None
