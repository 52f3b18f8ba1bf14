"""Content root and content pages: what is stored (SPEC.md, 8.1 and 8.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Self

from p2uformat.digest import DIGEST_BYTES
from p2uformat.errors import LimitExceeded, Malformed, UnsupportedFormat
from p2uformat.limits import MAX_NAME_BYTES, MAX_PAGE_BYTES, MAX_PAGES, MAX_ROOT_BYTES
from p2uformat.manifest.parameters import TierSpec, parse_tiers
from p2uformat.manifest.quantized import check_policy
from p2uformat.manifest.records import (
    FILE,
    LEVELS,
    LOSSY,
    NO_FEATURES,
    QUANTIZERS,
    Key,
    Record,
    record_from_value,
)
from p2uformat.wire import as_array, as_bytes, as_int, as_map, as_text, decode, encode

__all__ = ["ContentPage", "ContentRoot", "PageRef", "Totals", "check_size", "open_root"]

VERSION: Final = 1
KIND: Final = "checkpoint"
_KEYS: Final = frozenset({"ext", "features", "kind", "pages", "tiers", "totals", "version"})
_FEATURES: Final[Mapping[str, str | None]] = {LEVELS: None, LOSSY: None, QUANTIZERS: "policy"}


def check_size(data: bytes, limit: int, name: str) -> bytes:
    """Return `data` if it is at most `limit` bytes long."""
    if len(data) > limit:
        raise LimitExceeded(f"{name}: expected at most {limit} bytes, got {len(data)}")
    return data


def open_root(
    data: bytes, name: str, keys: frozenset[str], known: Mapping[str, str | None] | None = None
) -> dict[str, object]:
    """Return the map of a root whose version and features this reader knows.

    Both are looked at before the keys: a newer root may have others, and "newer" is then the
    verdict that helps. `known` has the features that are understood, and the key that each adds, if
    any.
    """
    known = known or {}
    value = as_map(decode(check_size(data, MAX_ROOT_BYTES, name)), name)
    version = value.get("version")
    if type(version) is not int or version != VERSION:
        raise UnsupportedFormat(f"{name} version: expected 1, got {version}", hint=_NEWER)
    features = [as_text(item, "feature") for item in as_array(value.get("features"), "features")]
    if any(after <= before for before, after in pairwise(f.encode() for f in features)):
        raise Malformed("features: not in ascending order")
    for feature in features:
        if feature not in known:
            raise UnsupportedFormat(f"unknown feature {feature[:40]!r}", hint=_NEWER)
    more = {key for feature in features if (key := known[feature]) is not None}
    return as_map(value, name, keys=keys | more)


_NEWER: Final = "use a newer reader"


@dataclass(frozen=True, slots=True)
class PageRef:
    """How the content root names a page.

    Parameters
    ----------
    key : tuple
        Kind, name bytes and first block of the page's first record.
    length : int
        Bytes.
    digest : bytes
        Digest of them.
    """

    key: Key
    length: int
    digest: bytes

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        kind, name, first = self.key
        return [kind, name.decode(), first, self.length, self.digest]

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Return the reference that `value` describes."""
        items = as_array(value, "page reference", length=5)
        key = (
            as_int(items[0], "record kind", high=FILE),
            as_text(items[1], "page name", limit=MAX_NAME_BYTES).encode(),
            as_int(items[2], "first block"),
        )
        length = as_int(items[3], "page length", low=1, limit=MAX_PAGE_BYTES)
        return cls(key, length, as_bytes(items[4], "page digest", length=DIGEST_BYTES))


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the whole artifact.

    Parameters
    ----------
    parameters : int
        Elements of all tensors.
    quantized : int
        Of these, in tensors that are not opaque.
    source_bytes : int
        Sizes of the source files.
    """

    parameters: int
    quantized: int
    source_bytes: int

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        return [self.parameters, self.quantized, self.source_bytes]

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Return the totals that `value` describes."""
        items = as_array(value, "totals", length=3)
        return cls(*(as_int(item, "totals") for item in items))


@dataclass(frozen=True, slots=True)
class ContentRoot:
    """The identity of an artifact.

    Parameters
    ----------
    tiers : tuple of TierSpec
        Base first, ``exact`` last; a single one, of another name, in a lossy artifact.
    pages : tuple of PageRef
        In order of their keys.
    totals : Totals
        Sums over all records.
    ext : mapping
        Additions, kept as they are.
    features : frozenset of str
        What a reader must know.
    policy : mapping or None
        Which tensors were quantized, as it is encoded; with the feature ``quantizers`` only.
    """

    tiers: tuple[TierSpec, ...]
    pages: tuple[PageRef, ...]
    totals: Totals
    ext: Mapping[str, object] = field(default_factory=dict)
    features: frozenset[str] = NO_FEATURES
    policy: Mapping[str, object] | None = None

    @property
    def lossy(self) -> bool:
        """Whether the source is not to be had at any tier."""
        return LOSSY in self.features

    def encode(self) -> bytes:
        """Return the canonical bytes, whose digest is the root."""
        value: dict[str, object] = {
            "ext": dict(self.ext),
            "features": sorted(self.features),
            "kind": KIND,
            "pages": [page.to_value() for page in self.pages],
            "tiers": [tier.to_value() for tier in self.tiers],
            "totals": self.totals.to_value(),
            "version": VERSION,
        }
        if QUANTIZERS in self.features:
            value["policy"] = None if self.policy is None else dict(self.policy)
        return check_size(encode(value), MAX_ROOT_BYTES, "content root")

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the root that `data` encodes.

        Raises
        ------
        CorruptData, UnsupportedFormat
            If it breaks a rule, or is newer than this reader.
        """
        value = open_root(data, "content root", _KEYS, _FEATURES)
        kind = as_text(value["kind"], "kind")
        if kind != KIND:
            raise UnsupportedFormat(f"unknown kind of root {kind[:40]!r}", hint=_NEWER)
        pages = as_array(value["pages"], "pages", limit=MAX_PAGES)
        features = frozenset(
            as_text(item, "feature") for item in as_array(value["features"], "features")
        )
        if features & {LEVELS, LOSSY} and QUANTIZERS not in features:
            raise Malformed("features: a lossy artifact, or one of levels, has quantizers")
        root = cls(
            parse_tiers(value["tiers"], lossy=LOSSY in features),
            tuple(PageRef.from_value(page) for page in pages),
            Totals.from_value(value["totals"]),
            as_map(value["ext"], "ext"),
            features,
            check_policy(value.get("policy")),
        )
        if any(after.key <= before.key for before, after in pairwise(root.pages)):
            raise Malformed("pages: not in ascending order")
        return root


@dataclass(frozen=True, slots=True)
class ContentPage:
    """Consecutive records.

    Parameters
    ----------
    records : tuple of TensorRecord or FileRecord
        In order of their keys.
    """

    records: tuple[Record, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        value = [record.to_value() for record in self.records]
        return check_size(encode(value), MAX_PAGE_BYTES, "content page")

    @classmethod
    def parse(cls, data: bytes, *, tiers: int, features: frozenset[str] = NO_FEATURES) -> Self:
        """Return the page that `data` encodes, in an artifact of `tiers` tiers."""
        value = decode(check_size(data, MAX_PAGE_BYTES, "content page"))
        items = as_array(value, "content page")
        page = cls(tuple(record_from_value(item, tiers=tiers, features=features) for item in items))
        if not page.records:
            raise Malformed("content page: it holds no records")
        if any(after.key <= before.key for before, after in pairwise(page.records)):
            raise Malformed("content page: records are not in ascending order")
        return page
