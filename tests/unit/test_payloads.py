"""What RQ's data, meta and result fields hold: exchange with rq, refusals, limits, hostile bytes."""

from __future__ import annotations

import json
import pickle
import random
import sys
import tracemalloc
import zlib
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis
from rq.job import Job
from rq.serializers import DefaultSerializer, JSONSerializer

from aiorq2.errors import DeserializationError, PayloadTooLarge, SerializationError
from aiorq2.payloads import (
    Call,
    decode_call,
    decode_value,
    encode_call,
    encode_value,
    function_name,
)
from aiorq2.serializers import Serializer, recognise, resolve
from aiorq2.signing import signed
from tests.unit import sample_functions
from tests.unit.sample_functions import Basket
from tests.unit.sample_values import Unknown, nested, plain_scalars, tagged_scalars

JSON = resolve("json")
PICKLE = resolve("pickle")
quick = settings(max_examples=30, deadline=None)
KEY = "0123456789abcdef0123456789abcdef"


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


@pytest.mark.parametrize("filler", ["", "a.long.text." * 50])
@pytest.mark.parametrize("inner", ["json", "pickle"])
def test_function_is_named_whatever_wrote_the_call(inner: str, filler: str) -> None:
    """Signed or not, compressed or not."""
    for serializer in (resolve(inner), signed(KEY, inner)):
        data = encode_call(serializer, "app.f", None, (filler,), {}, context="j")

        assert function_name(data) == "app.f"


def test_call_is_compressed_only_where_it_gets_smaller() -> None:
    """A small payload is stored as it is, a long one compressed, a random one never made longer."""
    noise = random.Random(1).randbytes(500)

    assert encode_call(JSON, "app.f", None, (1,), {}) == b'["app.f",null,[1],{}]'
    assert len(encode_call(JSON, "app.f", None, ("x" * 5000,), {})) < 200
    assert encode_call(PICKLE, "app.f", None, (noise,), {}) == PICKLE.dumps(
        ("app.f", None, (noise,), {})
    )


lookalikes = st.binary().map(zlib.compress) | st.binary().map(lambda rest: b"x\x9c" + rest)


@quick
@given(st.binary(max_size=200) | lookalikes)
def test_raw_bytes_are_never_mistaken_for_compressed_ones(raw: bytes) -> None:
    """Even a serializer whose own bytes look like zlib gets them back."""

    class Echo:
        name = "echo"

        def dumps(self, obj: Any) -> bytes:
            return raw

        def loads(self, data: bytes) -> Any:
            return f"f{data.hex()}", None, (), {}

    data = encode_call(Echo(), "f", None, (), {})

    assert decode_call(Echo(), data).func_name == f"f{raw.hex()}"
    assert rq_inflated(data) == raw


def test_raw_bytes_that_only_look_compressed_are_read_as_they_are() -> None:
    """rq falls back to the raw bytes where zlib cannot read them, and so do we."""
    assert decode_call(resolve(Plain), b"x\x9cf").func_name == "x\x9cf"


class Plain:
    """A serializer that knows one kind of call."""

    @staticmethod
    def dumps(obj: Any) -> bytes:
        """Return the name of the function."""
        return str(obj[0]).encode("latin-1")

    @staticmethod
    def loads(data: bytes) -> Any:
        """Return a call without arguments."""
        return [data.decode("latin-1"), None, [], {}]


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
        "app.f: args[0]['user'][0] is a tests.unit.sample_values.Unknown"
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


# -- serializers that break the rules --------------------------------------------------------------


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


def test_a_serializer_that_breaks_the_rules_gives_typed_errors() -> None:
    """Whatever a user's serializer raises or returns, callers see the two documented errors."""
    bad = resolve(Bad())

    with pytest.raises(SerializationError, match=r"KeyError.*boom"):
        encode_value(bad, "raise", what="result")
    with pytest.raises(SerializationError, match="became a str in bad, not bytes"):
        encode_value(bad, "x", what="result")
    with pytest.raises(DeserializationError, match="SystemExit"):
        decode_value(bad, b"x", what="result")


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
