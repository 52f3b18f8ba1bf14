"""Which bytes to ask for together: pure arithmetic on offsets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from p2uformat.reading import Piece

__all__ = ["Span", "merge"]

# One request answers faster than two if what lies between is small (R6, R11 bound the waste).
MAX_GAP: Final = 1 << 16
SPAN_BYTES: Final = 1 << 23
_WASTE: Final = 200  # at most a 200th of what is wanted is read in vain


@dataclass(frozen=True, slots=True)
class Span:
    """A range of bytes for one request, and what of it is wanted.

    Parameters
    ----------
    pieces : tuple of Piece
        By offset, without overlaps.
    """

    pieces: tuple[Piece, ...]

    @property
    def start(self) -> int:
        """Offset of the first byte."""
        return self.pieces[0].offset

    @property
    def stop(self) -> int:
        """Offset behind the last byte."""
        return self.pieces[-1].stop


def merge(pieces: Sequence[Piece], *, most: int = SPAN_BYTES) -> list[Span]:
    """Put neighbours into spans of at most `most` bytes, a single larger piece apart.

    The order of the pieces is kept; only what follows in the file as well is put together. Gaps are
    read where they are small, and all of them together at most half a per cent of what is wanted.

    Examples
    --------
    >>> near = [Piece(0, 10000, None), Piece(10000, 5000, None), Piece(15010, 9990, None)]
    >>> [(span.start, span.stop) for span in merge([*near, Piece(9 << 20, 7, None)])]
    [(0, 25000), (9437184, 9437191)]
    """
    wanted = [piece for piece in pieces if piece.length]
    spare = sum(piece.length for piece in wanted) // _WASTE
    bridged = _cheapest_gaps(wanted, spare)
    spans: list[list[Piece]] = []
    for number, piece in enumerate(wanted):
        run = spans[-1] if spans else []
        near = bool(run) and (piece.offset == run[-1].stop or number in bridged)
        if near and piece.stop - run[0].offset <= most:
            run.append(piece)
        else:
            spans.append([piece])
    return [Span(tuple(run)) for run in spans]


def _cheapest_gaps(pieces: Sequence[Piece], spare: int) -> set[int]:
    """Return the numbers of the pieces before which a gap is worth reading."""
    chosen: set[int] = set()
    for gap, number in sorted(_gaps(pieces)):
        spare -= gap
        if spare < 0:
            break
        chosen.add(number)
    return chosen


def _gaps(pieces: Sequence[Piece]) -> Iterator[tuple[int, int]]:
    for number in range(1, len(pieces)):
        gap = pieces[number].offset - pieces[number - 1].stop
        if 0 < gap <= MAX_GAP:
            yield gap, number
