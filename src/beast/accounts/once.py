"""Creations that may be sent again: the same Idempotency-Key and body get the first one's answer for a day.

The answer to the creation of a key holds its text, which is to be stored nowhere. It is kept sealed, under a secret
that takes the operator's key and the Idempotency-Key to make. The database has neither.
"""

import hmac
import secrets
from hashlib import sha256
from typing import Final, Self

import msgspec

from beast.base.errors import UsageError

KEY_MAX: Final = 255
SECRET_BYTES: Final = 32
"""One block of HMAC-SHA256, used once."""


class Kept(msgspec.Struct, frozen=True):
    """A row of `idempotent_answers`."""

    request: bytes
    answer: str
    salt: bytes | None
    sealed: bytes | None


class Once(msgspec.Struct, frozen=True):
    """One creation as its sender names it."""

    digest: bytes
    """Of the path and the Idempotency-Key."""
    request: bytes
    """Of the body."""
    _lock: bytes

    @classmethod
    def named(cls, key: str, *, path: str, body: bytes, operator_key: str) -> Self:
        """From the header's value.

        Args:
            key: As sent, with or without the quotation marks of a structured field.
            path: Where it was sent.
            body: As sent.
            operator_key: The server's own secret.

        Raises:
            UsageError: The value can't be one.
        """
        if len(key) > 1 and key[0] == key[-1] == '"':
            key = key[1:-1]
        if not 0 < len(key) <= KEY_MAX or not (key.isascii() and key.isprintable()):
            raise UsageError(
                "can't be an Idempotency-Key", todo=f"1 to {KEY_MAX} printable ASCII characters, such as a UUID"
            )
        lock = hmac.digest(operator_key.encode(), b"beast idempotency\0" + key.encode(), "sha256")
        return cls(sha256(f"{path}\0{key}".encode()).digest(), sha256(body).digest(), lock)

    def seal(self, secret: bytes) -> tuple[bytes, bytes]:
        """(salt, sealed secret) of 32 random bytes: a pad of their length that no other salt gives."""
        salt = secrets.token_bytes(SECRET_BYTES)
        return salt, self._padded(secret, salt)

    def open(self, kept: Kept) -> bytes | None:
        """The secret; another one when the operator's key is not the same any more; None when there was none."""
        return None if kept.salt is None or kept.sealed is None else self._padded(kept.sealed, kept.salt)

    def _padded(self, text: bytes, salt: bytes) -> bytes:
        if len(text) != SECRET_BYTES:
            raise ValueError(f"a secret has {SECRET_BYTES} bytes")
        pad = hmac.digest(self._lock, salt, "sha256")
        return bytes(a ^ b for a, b in zip(text, pad, strict=True))
