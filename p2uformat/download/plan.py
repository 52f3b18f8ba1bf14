"""What is wanted, what is here, what is near: and so what has to be asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from p2uformat.container import StoredChunk
from p2uformat.reading import Piece
from p2uformat.transport.pieces import Span, merge

__all__ = ["Plan", "gaps", "length", "make_plan", "piece", "spans_of"]


_FEWEST_SPANS: Final = 3
_SMALLEST_SPAN: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """Where each wanted chunk comes from.

    Parameters
    ----------
    present, reused, rebuilt, fetched : tuple of StoredChunk
        Held by the destination; held by a seed; to be made of a seed's layers; from the source.
    """

    present: tuple[StoredChunk, ...]
    reused: tuple[StoredChunk, ...]
    rebuilt: tuple[StoredChunk, ...]
    fetched: tuple[StoredChunk, ...]

    @property
    def total(self) -> int:
        """Bytes of all that is wanted."""
        return sum(map(length, (self.present, self.reused, self.rebuilt, self.fetched)))


def length(chunks: Iterable[StoredChunk]) -> int:
    """Return the bytes of chunks."""
    return sum(chunk.length for chunk in chunks)


def spans_of(chunks: Iterable[StoredChunk], near: int, most: int) -> list[Span]:
    """Return what to ask the source for.

    Parameters
    ----------
    chunks : iterable of StoredChunk
        In file order.
    near : int
        Bytes at the source's start that are here already: the answer to the first request.
    most : int
        Most bytes of one request.
    """
    pieces = [piece(chunk) for chunk in chunks if chunk.offset + chunk.length > near]
    # Several connections are of use for little as well; more requests than these are not (R8).
    share = sum(part.length for part in pieces) // _FEWEST_SPANS
    return merge(pieces, most=min(most, max(share, _SMALLEST_SPAN)))


def gaps(spans: Iterable[Span]) -> int:
    """Return the bytes between chunks that are read in vain."""
    return sum(span.stop - span.start - sum(part.length for part in span.pieces) for span in spans)


def piece(chunk: StoredChunk) -> Piece:
    """Return a chunk as the transfer knows it."""
    return Piece(chunk.offset, chunk.length, chunk.id)


def make_plan(
    wanted: Sequence[StoredChunk],
    held: Callable[[StoredChunk], bool],
    copied: Callable[[StoredChunk], bool],
    made: Callable[[StoredChunk], bool],
) -> Plan:
    """Return the plan of a fetch; nothing is read or asked for.

    Parameters
    ----------
    wanted : sequence of StoredChunk
        In file order.
    held, copied, made : callable
        Whether the destination holds a chunk, a seed has it, a seed has what it can be made of.
    """
    rows: tuple[list[StoredChunk], ...] = ([], [], [], [])
    for chunk in wanted:
        number = next((n for n, has in enumerate((held, copied, made)) if has(chunk)), 3)
        rows[number].append(chunk)
    return Plan(*map(tuple, rows))
