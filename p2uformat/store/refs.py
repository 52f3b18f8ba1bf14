"""Refs: versions of names, and removals (SPEC.md, 19.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

from p2uformat.digest import DIGEST_BYTES
from p2uformat.errors import Malformed
from p2uformat.store.keys import ID_BYTES, MOST_GENERATIONS, MOST_VERSIONS
from p2uformat.store.records import VERSION, versioned
from p2uformat.wire import as_array, as_bytes, as_int, encode

__all__ = ["Ref", "removed"]

_KEYS: Final = frozenset(
    {
        "added",
        "content",
        "encoding",
        "generation",
        "previous",
        "removes",
        "size",
        "time",
        "version",
        "writer",
    }
)


@dataclass(frozen=True, slots=True)
class Ref:
    """A version of a name, or a removal.

    Parameters
    ----------
    writer : bytes
        Id of who wrote it.
    time : int
        When, in milliseconds since 1970; informative.
    previous : bytes or None
        Digest of the ref before.
    content, encoding : bytes or None
        Roots; None in a removal.
    generation : int or None
        Of the record there was; None in a removal.
    removes : tuple of int or None
        In a removal the numbers that it removes, none for all before; None in a version.
    size : int
        Bytes of the artifact as a file.
    added : int
        Bytes of packs that were written for it.
    """

    writer: bytes
    time: int
    previous: bytes | None
    content: bytes | None = None
    encoding: bytes | None = None
    generation: int | None = None
    removes: tuple[int, ...] | None = None
    size: int = 0
    added: int = 0

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return encode(
            {
                "added": self.added,
                "content": self.content,
                "encoding": self.encoding,
                "generation": self.generation,
                "previous": self.previous,
                "removes": None if self.removes is None else list(self.removes),
                "size": self.size,
                "time": self.time,
                "version": VERSION,
                "writer": self.writer,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the ref that `data` encodes.

        Raises
        ------
        CorruptData, UnsupportedFormat
            If it breaks a rule.
        """
        value = versioned(data, "ref", _KEYS)
        generation = value["generation"]
        ref = cls(
            as_bytes(value["writer"], "writer", length=ID_BYTES),
            as_int(value["time"], "time"),
            _root(value["previous"], "previous"),
            _root(value["content"], "content"),
            _root(value["encoding"], "encoding"),
            None if generation is None else as_int(generation, "generation", high=MOST_GENERATIONS),
            _numbers(value["removes"]),
            as_int(value["size"], "size"),
            as_int(value["added"], "added"),
        )
        given = {ref.content is None, ref.encoding is None, ref.generation is None}
        if given != {ref.removes is not None}:
            raise Malformed("ref: neither a version nor a removal")
        return ref


def _root(value: object, name: str) -> bytes | None:
    return None if value is None else as_bytes(value, name, length=DIGEST_BYTES)


def _numbers(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    numbers = tuple(
        as_int(item, "removes", low=1, high=MOST_VERSIONS) for item in as_array(value, "removes")
    )
    if any(after <= before for before, after in pairwise(numbers)):
        raise Malformed("removes: numbers do not ascend")
    return numbers


def removed(refs: Mapping[int, Ref]) -> frozenset[int]:
    """Return the numbers of the versions of a name that are removed, and of the removals.

    Parameters
    ----------
    refs : mapping of int to Ref
        All refs of the name, by number.
    """
    gone: set[int] = set()
    for seq, ref in refs.items():
        if ref.removes is not None:
            gone.add(seq)
            gone.update(_before(refs, seq) if not ref.removes else _of(ref.removes, seq))
    return frozenset(gone)


def _before(refs: Iterable[int], seq: int) -> Iterable[int]:
    return (number for number in refs if number < seq)


def _of(numbers: Iterable[int], seq: int) -> Iterable[int]:
    # What comes after a removal it cannot have meant.
    return (number for number in numbers if number < seq)
