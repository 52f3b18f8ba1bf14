"""Where one content page ends and the next begins (SPEC.md, section 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2uformat.digest import digest
from p2uformat.errors import LimitExceeded
from p2uformat.limits import MAX_PAGE_BYTES
from p2uformat.manifest.records import Record
from p2uformat.wire import encode

__all__ = ["PAGE_TARGET", "page_bytes", "paginate", "starts_page"]

PAGE_TARGET: Final = 1 << 19  # half the limit: the encoding page may be half as large again
_ENOUGH: Final = 16384
_CUT_BELOW: Final = 32


def paginate(records: Sequence[Record], lengths: Sequence[int] | None = None) -> list[list[Record]]:
    """Cut records, in key order, into pages.

    Cuts depend on names alone, so that a change in one tensor leaves the pages of others as they
    were: that is what lets two versions of a model share them.

    Parameters
    ----------
    records : sequence of Record
        In key order.
    lengths : sequence of int, optional
        Their encoded lengths, where they are known.

    Raises
    ------
    LimitExceeded
        If a single record is larger than a page may be.
    """
    pages: list[list[Record]] = []
    size = 0
    if lengths is None:
        lengths = [len(encode(record.to_value())) for record in records]
    for record, length in zip(records, lengths, strict=True):
        if page_bytes(1, length) > MAX_PAGE_BYTES:
            raise LimitExceeded(f"record {record.key[1].decode()!r}: {length} bytes fill a page")
        if (
            not pages
            or starts_page(record.key[1], size)
            or page_bytes(len(pages[-1]) + 1, size + length) > PAGE_TARGET
        ):
            pages.append([])
            size = 0
        pages[-1].append(record)
        size += length
    return pages


def starts_page(name: bytes, size: int) -> bool:
    """Return whether a record of this name starts a page behind `size` bytes of records."""
    return size >= _ENOUGH and digest(name)[0] < _CUT_BELOW


def page_bytes(records: int, size: int) -> int:
    """Return the bytes of a page: an array prefix, and its records."""
    if records < 16:
        return 1 + size
    return (3 if records < 1 << 16 else 5) + size
