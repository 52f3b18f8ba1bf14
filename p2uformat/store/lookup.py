"""Records by content root, and what they name."""

from __future__ import annotations

from dataclasses import dataclass

from p2uformat.errors import CorruptData
from p2uformat.limits import MAX_RECORD_BYTES
from p2uformat.store.keys import ROOTS, record_key, record_of
from p2uformat.store.objects import Objects
from p2uformat.store.records import Record

__all__ = ["Found", "find_record", "newest", "read_record"]


@dataclass(frozen=True, slots=True)
class Found:
    """A record and where it was.

    Parameters
    ----------
    root : bytes
        The content root.
    generation : int
        Its generation.
    record : Record
        What it says.
    """

    root: bytes
    generation: int
    record: Record

    @property
    def key(self) -> str:
        """Its key."""
        return record_key(self.root, self.generation)


def read_record(objects: Objects, root: bytes, generation: int) -> Found:
    """Return a record.

    Raises
    ------
    NotFound
        If there is none.
    CorruptData, UnsupportedFormat
        If it breaks a rule; the error names it.
    """
    key = record_key(root, generation)
    try:
        record = Record.parse(objects.get(key, most=MAX_RECORD_BYTES))
    except CorruptData as error:
        raise error.locate(artifact=f"{objects.name}/{key}", region="record") from error.__cause__
    return Found(root, generation, record)


def newest(objects: Objects, root: bytes) -> int | None:
    """Return the highest generation of the records of a content root; None if there is none."""
    found = (record_of(stat.key) for stat in objects.scan(f"{ROOTS}{root.hex()}/"))
    return max((known[1] for known in found if known is not None), default=None)


def find_record(objects: Objects, root: bytes) -> Found | None:
    """Return the record of a content root that counts, the newest; None if there is none.

    One before it may name packs that are damaged, or about to be deleted.
    """
    last = newest(objects, root)
    return None if last is None else read_record(objects, root, last)
