"""Signed payloads: an HMAC in front of another serializer's bytes, checked before they are read."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, NoReturn

from itsdangerous import Signer

from aiorq2.errors import DeserializationError, InvalidOption
from aiorq2.serializers import SIGNED_PREFIX, Serializer, resolve


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
        return b"%b%b.%b" % (SIGNED_PREFIX, signature, payload)

    def loads(self, data: bytes, /) -> Any:
        """Return the value, if any of the keys signed it for this context.

        Raises:
            DeserializationError: it is not signed, or not with one of our keys, or for something else.
        """
        start = len(SIGNED_PREFIX)
        end = start + _SIGNATURE_LENGTH
        if not data.startswith(SIGNED_PREFIX) or data[end : end + 1] != b".":
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
