"""Values of every kind that a serializer takes, and one that it does not, for the tests of this package."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

from hypothesis import strategies as st

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
