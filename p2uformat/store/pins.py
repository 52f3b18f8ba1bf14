"""Pins and their ends, and what is condemned (SPEC.md, 20.4): values, no protocol."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final, Self

from p2uformat.digest import DIGEST_BYTES
from p2uformat.errors import Malformed
from p2uformat.store.keys import ID_BYTES, MOST_GENERATIONS, PackId
from p2uformat.store.records import VERSION, versioned
from p2uformat.wire import as_array, as_bytes, as_int, as_text, encode

__all__ = ["Condemned", "End", "Outcome", "Pin", "RecordId"]

RecordId = tuple[bytes, int]
"""Content root and generation."""

_PIN: Final = frozenset({"bundles", "lease", "packs", "records", "version"})
_END: Final = frozenset({"outcome", "record", "version"})
_CONDEMNED: Final = frozenset({"keys", "version"})
_LONGEST_LEASE: Final = 30 * 86400
_KEY_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Pin:
    """What a writer relies on that it did not write.

    Parameters
    ----------
    lease : int
        Seconds after which it may be taken for dead.
    packs : tuple of PackId
        Packs.
    bundles : tuple of bytes
        Bundles.
    records : tuple of (bytes, int)
        Records, by content root and generation.
    """

    lease: int
    packs: tuple[PackId, ...] = ()
    bundles: tuple[bytes, ...] = ()
    records: tuple[RecordId, ...] = ()

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return encode(
            {
                "bundles": list(self.bundles),
                "lease": self.lease,
                "packs": [pack.to_value() for pack in self.packs],
                "records": list(map(list, self.records)),
                "version": VERSION,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the pin that `data` encodes.

        Raises
        ------
        CorruptData, UnsupportedFormat
            If it breaks a rule.
        """
        value = versioned(data, "pin", _PIN)
        return cls(
            as_int(value["lease"], "lease", low=1, high=_LONGEST_LEASE),
            tuple(map(PackId.from_value, as_array(value["packs"], "packs"))),
            tuple(
                as_bytes(item, "bundle", length=ID_BYTES)
                for item in as_array(value["bundles"], "bundles")
            ),
            tuple(map(_record, as_array(value["records"], "records"))),
        )


class Outcome(StrEnum):
    """How a writer's pins ended."""

    COMMIT = "commit"
    EXPIRED = "expired"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class End:
    """The end of a writer's pins.

    Parameters
    ----------
    outcome : Outcome
        What it was.
    record : (bytes, int) or None
        Of a commit the record.
    """

    outcome: Outcome
    record: RecordId | None = None

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        record = None if self.record is None else list(self.record)
        return encode({"outcome": str(self.outcome), "record": record, "version": VERSION})

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the end that `data` encodes.

        Raises
        ------
        CorruptData, UnsupportedFormat
            If it breaks a rule.
        """
        value = versioned(data, "end", _END)
        text = as_text(value["outcome"], "outcome", limit=16)
        if text not in set(Outcome):
            raise Malformed(f"end: no outcome {text!r}")
        record = None if value["record"] is None else _record(value["record"])
        if (record is None) == (text == Outcome.COMMIT):
            raise Malformed("end: exactly a commit has a record")
        return cls(Outcome(text), record)


@dataclass(frozen=True, slots=True)
class Condemned:
    """What a collector is going to delete.

    Parameters
    ----------
    keys : tuple of str
        Keys, ascending.
    """

    keys: tuple[str, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return encode({"keys": list(self.keys), "version": VERSION})

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the list that `data` encodes.

        Raises
        ------
        CorruptData, UnsupportedFormat
            If it breaks a rule; if it names anything that is not a pack, a bundle or a record.
        """
        value = versioned(data, "condemned", _CONDEMNED)
        items = as_array(value["keys"], "keys")
        keys = tuple(as_text(item, "key", limit=_KEY_BYTES) for item in items)
        if any(after <= before for before, after in pairwise(keys)):
            raise Malformed("keys: they do not ascend")
        if not all(key.startswith(("packs/", "meta/", "roots/")) for key in keys):
            raise Malformed("keys: only packs, bundles and records are condemned")
        return cls(keys)


def _record(value: object) -> RecordId:
    items = as_array(value, "record", length=2)
    return (
        as_bytes(items[0], "content root", length=DIGEST_BYTES),
        as_int(items[1], "generation", high=MOST_GENERATIONS),
    )
