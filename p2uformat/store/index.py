"""The index: which artifacts are alike. Nothing depends on it (SPEC.md, 20.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from p2uformat.digest import DIGEST_BYTES
from p2uformat.errors import Malformed
from p2uformat.store.records import VERSION, versioned
from p2uformat.wire import as_array, as_bytes, encode

__all__ = ["alike", "encode_index", "parse_index", "sketch"]

_KEYS: Final = frozenset({"entries", "version"})
_WORD: Final = 8
_MOST: Final = 512


def sketch(digests: Iterable[bytes]) -> bytes:
    """Return the sketch of an artifact with these blocks.

    The least digests are a sample that does not depend on how many others there are: two
    artifacts that share a tenth of their blocks share about a tenth of it (Broder, "On the
    resemblance and containment of documents", 1997).

    Examples
    --------
    >>> sketch([b"b" * 32, b"a" * 32, b"b" * 32])
    b'aaaaaaaabbbbbbbb'
    """
    return b"".join(sorted({digest[:_WORD] for digest in digests})[:_MOST])


def alike(mine: bytes, others: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the content roots of artifacts that share blocks with one, the most alike first.

    Parameters
    ----------
    mine : bytes
        A sketch.
    others : mapping of bytes to bytes
        Sketches by content root.
    """
    words = np.frombuffer(mine, ">u8")
    counts = {
        root: int(np.isin(words, np.frombuffer(other, ">u8")).sum())
        for root, other in others.items()
    }
    found = [root for root, count in counts.items() if count]
    return sorted(found, key=lambda root: (-counts[root], root))


def encode_index(entries: Mapping[bytes, bytes]) -> bytes:
    """Return the bytes of an index: sketches by content root."""
    return encode({"entries": [list(item) for item in entries.items()], "version": VERSION})


def parse_index(data: bytes) -> dict[bytes, bytes]:
    """Return the sketches of an index by content root.

    Raises
    ------
    CorruptData, UnsupportedFormat
        If it breaks a rule.
    """
    value = versioned(data, "index", _KEYS)
    return dict(map(_entry, as_array(value["entries"], "entries")))


def _entry(value: object) -> tuple[bytes, bytes]:
    items = as_array(value, "entry", length=2)
    words = as_bytes(items[1], "sketch")
    if len(words) % _WORD or len(words) > _WORD * _MOST:
        raise Malformed(f"sketch: {len(words)} bytes")
    return as_bytes(items[0], "content root", length=DIGEST_BYTES), words
