"""Refs: versions of names, and removals (SPEC.md, 20.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Final, Self

from p2uformat.digest import DIGEST_BYTES
from p2uformat.errors import Malformed
from p2uformat.store.keys import ID_BYTES, MOST_GENERATIONS, MOST_VERSIONS
from p2uformat.store.records import VERSION, versioned
from p2uformat.wire import as_array, as_bytes, as_int, encode

__all__ = ["Ref", "is_gone", "with_gone"]

Runs = tuple[tuple[int, int], ...]
"""Numbers as half-open runs, ascending and apart."""

_KEYS: Final = frozenset(
    {
        "added",
        "content",
        "encoding",
        "generation",
        "gone",
        "previous",
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
    gone : tuple of (int, int)
        Runs of the numbers that are no versions any more.
    content, encoding : bytes or None
        Roots; None in a removal.
    generation : int or None
        Of the record there was; None in a removal.
    size : int
        Bytes of the artifact as a file.
    added : int
        Bytes of packs that were written for it.
    """

    writer: bytes
    time: int
    previous: bytes | None
    gone: Runs = ()
    content: bytes | None = None
    encoding: bytes | None = None
    generation: int | None = None
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
                "gone": [list(run) for run in self.gone],
                "previous": self.previous,
                "size": self.size,
                "time": self.time,
                "version": VERSION,
                "writer": self.writer,
            }
        )

    @classmethod
    def parse(cls, data: bytes, seq: int) -> Self:
        """Return the ref that `data` encodes.

        Parameters
        ----------
        data : bytes
            The object.
        seq : int
            Its number.

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
            _runs(value["gone"], seq),
            _root(value["content"], "content"),
            _root(value["encoding"], "encoding"),
            None if generation is None else as_int(generation, "generation", high=MOST_GENERATIONS),
            as_int(value["size"], "size"),
            as_int(value["added"], "added"),
        )
        removal = is_gone(ref.gone, seq)
        if {ref.content is None, ref.encoding is None, ref.generation is None} != {removal}:
            raise Malformed("ref: neither a version nor a removal")
        if (ref.previous is None) != (seq == 1):
            raise Malformed("ref: exactly the first has none before it")
        return ref


def is_gone(gone: Runs, seq: int) -> bool:
    """Return whether a number is in runs.

    Examples
    --------
    >>> [is_gone(((2, 4),), seq) for seq in (1, 2, 3, 4)]
    [False, True, True, False]
    """
    return any(first <= seq < end for first, end in gone)


def with_gone(gone: Runs, more: Iterable[int]) -> Runs:
    """Return runs with more numbers.

    Examples
    --------
    >>> with_gone(((2, 4),), [4, 7, 1])
    ((1, 5), (7, 8))
    """
    runs: list[tuple[int, int]] = []
    for first, end in sorted(chain(gone, ((seq, seq + 1) for seq in more))):
        if runs and first <= runs[-1][1]:
            runs[-1] = runs[-1][0], max(end, runs[-1][1])
        else:
            runs.append((first, end))
    return tuple(runs)


def _root(value: object, name: str) -> bytes | None:
    return None if value is None else as_bytes(value, name, length=DIGEST_BYTES)


def _runs(value: object, seq: int) -> Runs:
    runs = tuple(map(_run, as_array(value, "gone")))
    if any(after[0] <= before[1] for before, after in pairwise(runs)):
        raise Malformed("gone: runs that do not ascend, or touch")
    if runs and runs[-1][1] > seq + 1:
        raise Malformed(f"gone: numbers above {seq}")
    return runs


def _run(value: object) -> tuple[int, int]:
    items = as_array(value, "run", length=2)
    first = as_int(items[0], "gone", low=1, high=MOST_VERSIONS)
    return first, as_int(items[1], "gone", low=first + 1, high=MOST_VERSIONS + 1)
