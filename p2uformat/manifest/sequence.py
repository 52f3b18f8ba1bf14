"""Rules that hold across pages: order, continued records, totals (SPEC.md, 8.1 and 8.2)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from p2uformat.errors import LimitExceeded, Malformed
from p2uformat.limits import MAX_FILES
from p2uformat.manifest.content import ContentPage, ContentRoot, Totals
from p2uformat.manifest.parameters import OpaqueParameters
from p2uformat.manifest.records import FileRecord, Record, TensorRecord

__all__ = ["check_paths", "check_sequence", "totals_of"]


def check_sequence(root: ContentRoot, pages: Sequence[ContentPage | None]) -> None:
    """Check the records of all pages as one sequence; None stands for a page that is damaged.

    Raises
    ------
    Malformed
        If a page is not where the root says, a record of a large tensor is missing or disagrees
        with the one before it, a file lies in another, or the root's totals are not those of the
        records.
    LimitExceeded
        If there are too many files.
    """
    previous: Record | None = None
    gap = False
    for ref, page in zip(root.pages, pages, strict=True):
        if page is None:
            previous, gap = None, True
            continue
        if page.records[0].key != ref.key:
            raise Malformed("content page: its first record is not the one the root names")
        if previous is not None and previous.key >= ref.key:
            raise Malformed("content pages: records are not in ascending order")
        previous, gap = _check_records(page.records, previous, gap=gap), False
    if previous is not None and not _ends(previous):
        raise Malformed(f"record {_name(previous)!r}: its last blocks are missing")
    check_paths(
        record.path
        for page in pages
        for record in (page.records if page is not None else ())
        if isinstance(record, FileRecord) and not record.first_block
    )
    if None not in pages and totals_of([p for p in pages if p is not None]) != root.totals:
        raise Malformed("totals: not those of the records")


def check_paths(paths: Iterable[str]) -> None:
    """Check that files can lie beside each other: none is a folder of another (SPEC.md, 8.3).

    Raises
    ------
    Malformed
        If one is.
    LimitExceeded
        If there are too many.

    Examples
    --------
    >>> check_paths(["a", "a.b", "a/b"])
    Traceback (most recent call last):
    p2uformat.errors.Malformed: path: 'a' is a file and a folder
    """
    names = sorted(path.encode() for path in paths)
    if len(names) > MAX_FILES:
        raise LimitExceeded(f"expected at most {MAX_FILES} files, got {len(names)}")
    for name in names:
        # What lies in a folder sorts behind its name and the separator.
        place = bisect_left(names, name + b"/")
        if place < len(names) and names[place].startswith(name + b"/"):
            raise Malformed(f"path: {name.decode()[:80]!r} is a file and a folder")


def _check_records(records: Sequence[Record], previous: Record | None, *, gap: bool) -> Record:
    for record in records:
        if previous is None:
            # Behind a damaged page anything may continue; at the very start nothing can.
            if record.first_block and not gap:
                raise Malformed(f"record {_name(record)!r}: its first blocks are missing")
        else:
            _check_pair(previous, record)
        previous = record
    assert previous is not None
    return previous


def _check_pair(before: Record, after: Record) -> None:
    if not _ends(before):
        if after.first_block != before.first_block + before.block_count or not _same(before, after):
            raise Malformed(f"record {_name(before)!r}: what follows does not continue it")
    elif after.first_block:
        raise Malformed(f"record {_name(after)!r}: its first blocks are missing")


def _ends(record: Record) -> bool:
    return record.first_block + record.block_count == record.geometry.blocks()


def _same(before: Record, after: Record) -> bool:
    if isinstance(before, TensorRecord) and isinstance(after, TensorRecord):
        return before.same_tensor(after)
    if isinstance(before, FileRecord) and isinstance(after, FileRecord):
        return before.same_file(after)
    return False


def _name(record: Record) -> str:
    return record.key[1].decode()


def totals_of(pages: Sequence[ContentPage]) -> Totals:
    """Return the sums over all records."""
    parameters = quantized = size = 0
    for page in pages:
        for record in page.records:
            if record.first_block:
                continue
            if isinstance(record, FileRecord):
                size += record.size
                continue
            elements = record.geometry.elements
            parameters += elements
            if not isinstance(record.parameters, OpaqueParameters):
                quantized += elements
    return Totals(parameters, quantized, size)
