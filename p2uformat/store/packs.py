"""Packs: chunks of one tier in one object, with a trailer that names them (SPEC.md, 20.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from p2uformat.digest import DIGEST_BYTES, digest
from p2uformat.errors import Malformed
from p2uformat.limits import MAX_CHUNK_BYTES, MAX_PACK_BYTES, MAX_TIERS
from p2uformat.store.records import VERSION, versioned
from p2uformat.wire import as_array, as_bytes, as_int, encode

__all__ = ["FOOTER_BYTES", "FULL_BYTES", "PackBuilder", "Trailer"]

FULL_BYTES: Final = 1 << 26
_MAGIC: Final = b"p2u-pack"
_FOOTER: Final = struct.Struct("<I16s8s")
FOOTER_BYTES: Final = _FOOTER.size
_KEYS: Final = frozenset({"chunks", "tier", "version"})
_MOST_OF_A_CHUNK: Final = 38  # bytes of the trailer: a digest and a length
_REST_OF_TRAILER: Final = 64


class PackedChunk(NamedTuple):
    """A chunk of a pack.

    Attributes
    ----------
    id : bytes
        Its digest.
    offset, length : int
        Where it lies.
    """

    id: bytes
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Trailer:
    """What a pack says of itself.

    Parameters
    ----------
    tier : int
        Number of the tier of its chunks.
    chunks : tuple of (bytes, int)
        Their ids and lengths, in order.
    """

    tier: int
    chunks: tuple[tuple[bytes, int], ...]

    @property
    def payload(self) -> int:
        """Bytes of all chunks."""
        return sum(length for _, length in self.chunks)

    def placed(self) -> Iterator[PackedChunk]:
        """Yield the chunks with their places."""
        at = 0
        for name, length in self.chunks:
            yield PackedChunk(name, at, length)
            at += length

    def encode(self) -> bytes:
        """Return the trailer with its footer."""
        value = {
            "chunks": [list(chunk) for chunk in self.chunks],
            "tier": self.tier,
            "version": VERSION,
        }
        data = encode(value)
        return data + _FOOTER.pack(len(data), digest(data)[:16], _MAGIC)

    @staticmethod
    def length(footer: bytes, size: int) -> int:
        """Return the bytes of the trailer in front of a pack's footer.

        Raises
        ------
        Malformed
            If it is none, of a pack of `size` bytes.
        """
        if len(footer) != FOOTER_BYTES or footer[-len(_MAGIC) :] != _MAGIC:
            raise Malformed("a pack that is cut short: its last bytes are others", region="pack")
        length, _, _ = _FOOTER.unpack(footer)
        if not length <= size - FOOTER_BYTES or size > MAX_PACK_BYTES:
            raise Malformed(f"a trailer of {length} bytes in a pack of {size}", region="pack")
        return int(length)

    @classmethod
    def parse(cls, data: bytes, size: int) -> Self:
        """Return the trailer of a pack.

        Parameters
        ----------
        data : bytes
            The trailer and its footer.
        size : int
            Bytes of the pack.

        Raises
        ------
        CorruptData, UnsupportedFormat
            If it breaks a rule.
        """
        length = cls.length(data[-FOOTER_BYTES:], size)
        body = data[:-FOOTER_BYTES]
        if len(body) != length or _FOOTER.unpack(data[-FOOTER_BYTES:])[1] != digest(body)[:16]:
            raise Malformed("the trailer of a pack is damaged", region="pack")
        value = versioned(body, "pack", _KEYS)
        chunks = tuple(map(_chunk, as_array(value["chunks"], "chunks")))
        trailer = cls(as_int(value["tier"], "tier", high=MAX_TIERS - 1), chunks)
        if trailer.payload != size - len(data):
            raise Malformed(
                f"chunks of {trailer.payload} bytes in front of a trailer at {size - len(data)}",
                region="pack",
            )
        return trailer


def _chunk(value: object) -> tuple[bytes, int]:
    items = as_array(value, "chunk", length=2)
    return (
        as_bytes(items[0], "chunk id", length=DIGEST_BYTES),
        as_int(items[1], "chunk length", limit=MAX_CHUNK_BYTES),
    )


class PackBuilder:
    """A pack that is being filled.

    Parameters
    ----------
    tier : int
        Number of the tier.
    """

    def __init__(self, tier: int) -> None:
        self.tier = tier
        self.size = 0
        self._parts: list[bytes | memoryview] = []
        self._chunks: list[tuple[bytes, int]] = []

    def fits(self, length: int) -> bool:
        """Return whether it takes another chunk; one alone it always takes."""
        trailer = _REST_OF_TRAILER + _MOST_OF_A_CHUNK * (len(self._chunks) + 1) + FOOTER_BYTES
        return not self._chunks or self.size + length + trailer <= FULL_BYTES

    def add(self, name: bytes, data: bytes | memoryview) -> int:
        """Append a chunk and return where it lies."""
        at = self.size
        self._parts.append(data)
        self._chunks.append((name, len(data)))
        self.size += len(data)
        return at

    def finish(self) -> bytes:
        """Return the pack."""
        data = b"".join([*self._parts, Trailer(self.tier, tuple(self._chunks)).encode()])
        self._parts = []
        return data
