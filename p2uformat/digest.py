"""BLAKE3 with 32 bytes of output, unkeyed: the only digest of the format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from blake3 import blake3

from p2uformat.errors import InvalidArgument

DIGEST_BYTES: Final = 32
_PREFIX: Final = "blake3:"

Buffer = bytes | bytearray | memoryview


def digest(data: Buffer) -> bytes:
    """Return the digest of `data`.

    Examples
    --------
    >>> digest(b"").hex()[:16]
    'af1349b9f5f9a1a6'
    """
    return blake3(data).digest()


def stream(data: Buffer, length: int) -> bytes:
    """Return `length` bytes of the output of BLAKE3, which begins with the digest.

    Examples
    --------
    >>> stream(b"a", 40)[:32] == digest(b"a")
    True
    """
    return blake3(data).digest(length=length)


def digest_of(pieces: Iterable[Buffer]) -> bytes:
    """Return the digest of pieces put together.

    Examples
    --------
    >>> digest_of((b"a", b"", b"bc")) == digest(b"abc")
    True
    """
    state = blake3()
    for piece in pieces:
        state.update(piece)
    return state.digest()


class Hasher:
    """A digest of bytes that arrive in pieces.

    Examples
    --------
    >>> hasher = Hasher()
    >>> hasher.update(b"ab")
    >>> hasher.update(b"c")
    >>> hasher.digest() == digest(b"abc")
    True
    """

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = blake3()

    def update(self, data: Buffer) -> None:
        """Append `data`."""
        self._state.update(data)

    def digest(self) -> bytes:
        """Return the digest of everything so far."""
        return self._state.digest()


def to_text(value: bytes) -> str:
    """Return a digest as people and programs see it: ``blake3:`` and 64 hexadecimal digits.

    Examples
    --------
    >>> to_text(bytes(32))[:15]
    'blake3:00000000'
    """
    return _PREFIX + value.hex()


def from_text(text: str) -> bytes:
    """Return the digest that `text` spells, with or without ``blake3:``.

    Raises
    ------
    InvalidArgument
        Unless `text` is 64 hexadecimal digits.

    Examples
    --------
    >>> from_text("blake3:" + "0f" * 32) == bytes([15]) * 32
    True
    """
    digits = text.removeprefix(_PREFIX)
    if len(digits) == 2 * DIGEST_BYTES and all(c in "0123456789abcdefABCDEF" for c in digits):
        return bytes.fromhex(digits)
    raise InvalidArgument(
        f"not a digest: {text!r}", hint="a digest is 'blake3:' and 64 hexadecimal digits"
    )
