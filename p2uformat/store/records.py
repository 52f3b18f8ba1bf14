"""Records: where the bytes of an artifact lie (SPEC.md, 20.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from p2uformat.errors import LimitExceeded, Malformed, UnsupportedFormat
from p2uformat.limits import MAX_BUNDLE_BYTES, MAX_DEPTH, MAX_PACK_BYTES, MAX_RECORD_BYTES
from p2uformat.store.keys import ID_BYTES, PackId
from p2uformat.wire import as_array, as_bytes, as_int, as_map, decode, encode

__all__ = ["Blob", "Extent", "Placed", "Record", "versioned"]

VERSION: Final = 1
HEADER_BYTES: Final = 128
_KEYS: Final = frozenset({"artifacts", "bundles", "packs", "version", "writer"})


class Blob(NamedTuple):
    """Where a root or page lies.

    Attributes
    ----------
    bundle : int
        The bundle, by its place in the record.
    offset, length : int
        The bytes in it.
    """

    bundle: int
    offset: int
    length: int


class Extent(NamedTuple):
    """Where a stretch of chunks lies.

    Attributes
    ----------
    pack : int
        The pack, by its place in the record.
    offset, length : int
        The bytes in it.
    """

    pack: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Placed:
    """One artifact of a record.

    Parameters
    ----------
    header : bytes
        The first bytes of its file.
    blobs : tuple of Blob
        Its roots, then its pages.
    extents : tuple of Extent
        The bytes behind its manifest, as far as they are there.
    """

    header: bytes
    blobs: tuple[Blob, ...]
    extents: tuple[Extent, ...]

    @property
    def payload(self) -> int:
        """Bytes behind the manifest that are there."""
        return sum(extent.length for extent in self.extents)

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        return [self.header, list(map(list, self.blobs)), list(map(list, self.extents))]

    @classmethod
    def from_value(cls, value: object, bundles: int, packs: int) -> Self:
        """Return the artifact that `value` describes."""
        items = as_array(value, "artifact", length=3)
        blobs = as_array(items[1], "blobs")
        extents = as_array(items[2], "extents")
        if len(blobs) < 2:
            raise Malformed(f"blobs: expected two roots, got {len(blobs)}")
        placed = cls(
            as_bytes(items[0], "header", length=HEADER_BYTES),
            tuple(Blob(*_place(blob, "blob", bundles, MAX_BUNDLE_BYTES)) for blob in blobs),
            tuple(Extent(*_place(part, "extent", packs, MAX_PACK_BYTES)) for part in extents),
        )
        if placed.extents != joined(placed.extents):
            raise Malformed("extents: empty ones, or neighbours that are one")
        return placed


def joined(extents: Sequence[Extent]) -> tuple[Extent, ...]:
    """Return extents without empty ones, and those as one that go on where the one before ends.

    Examples
    --------
    >>> joined([Extent(0, 0, 5), Extent(0, 5, 3), Extent(1, 8, 0), Extent(0, 9, 1)])
    (Extent(pack=0, offset=0, length=8), Extent(pack=0, offset=9, length=1))
    """
    runs: list[Extent] = []
    for extent in extents:
        last = runs[-1] if runs else None
        if last is not None and (extent.pack, extent.offset) == (last.pack, sum(last[1:])):
            runs[-1] = last._replace(length=last.length + extent.length)
        elif extent.length:
            runs.append(extent)
    return tuple(runs)


@dataclass(frozen=True, slots=True)
class Record:
    """Where an artifact, and all that it needs, lies.

    Parameters
    ----------
    writer : bytes
        Id of who wrote it.
    artifacts : tuple of Placed
        The artifact, its parent, that one's, and so on.
    bundles : tuple of bytes
        Ids of bundles.
    packs : tuple of PackId
        Packs.
    """

    writer: bytes
    artifacts: tuple[Placed, ...]
    bundles: tuple[bytes, ...]
    packs: tuple[PackId, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes.

        Raises
        ------
        LimitExceeded
            If they are too many.
        """
        data = encode(
            {
                "artifacts": [artifact.to_value() for artifact in self.artifacts],
                "bundles": list(self.bundles),
                "packs": [pack.to_value() for pack in self.packs],
                "version": VERSION,
                "writer": self.writer,
            }
        )
        if len(data) > MAX_RECORD_BYTES:
            raise LimitExceeded(
                f"record: expected at most {MAX_RECORD_BYTES} bytes, got {len(data)}"
            )
        return data

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the record that `data` encodes.

        Raises
        ------
        CorruptData, UnsupportedFormat
            If it breaks a rule.
        """
        value = versioned(data, "record", _KEYS)
        bundles = as_array(value["bundles"], "bundles")
        packs = as_array(value["packs"], "packs")
        artifacts = as_array(value["artifacts"], "artifacts", limit=MAX_DEPTH + 1)
        if not artifacts:
            raise Malformed("artifacts: expected one, got none")
        return cls(
            as_bytes(value["writer"], "writer", length=ID_BYTES),
            tuple(Placed.from_value(item, len(bundles), len(packs)) for item in artifacts),
            tuple(as_bytes(bundle, "bundle", length=ID_BYTES) for bundle in bundles),
            tuple(map(PackId.from_value, packs)),
        )


def versioned(data: bytes, name: str, keys: frozenset[str]) -> dict[str, object]:
    """Return the map of an object of a store, whose version is looked at before its keys.

    Raises
    ------
    CorruptData, UnsupportedFormat
        If it is none, or one of a newer format.
    """
    value = as_map(decode(data), name)
    version = as_int(value.get("version"), f"{name} version")
    if version != VERSION:
        raise UnsupportedFormat(
            f"{name}: store format version {version}, this reader knows {VERSION}",
            hint="install a newer p2uformat",
        )
    return as_map(value, name, keys=keys)


def _place(value: object, name: str, count: int, limit: int) -> tuple[int, int, int]:
    items = as_array(value, name, length=3)
    number = as_int(items[0], f"{name} place")
    if number >= count:
        raise Malformed(f"{name}: no place {number} among {count}")
    offset = as_int(items[1], f"{name} offset", limit=limit)
    return number, offset, as_int(items[2], f"{name} length", limit=limit - offset)
