"""Which chunks of an artifact are wanted: by tier, by tensors, by rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from p2uformat.artifact.catalog import SHARED, StoredFile, StoredTensor
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.read import stored_tiers
from p2uformat.artifact.rows import Rows, row_range
from p2uformat.container import StoredChunk, stored_chunks
from p2uformat.errors import InvalidArgument, TensorNotFound, TierNotFound

__all__ = ["Selection", "wanted_chunks"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What of an artifact is wanted.

    Parameters
    ----------
    tier : int
        Number of the highest tier.
    patterns : tuple of str or None
        Of tensors' names, as in a shell; None for everything, files too.
    rows : slice, tuple of int, or None
        Range of the first axis of each of the tensors.
    """

    tier: int
    patterns: tuple[str, ...] | None = None
    rows: Rows | None = None


def wanted_chunks(contents: Contents, selection: Selection) -> list[StoredChunk]:
    """Return the chunks that this artifact itself has of a selection, in file order.

    Raises
    ------
    TensorNotFound, TierNotFound
        If a pattern matches nothing, or only what travels in higher tiers.
    InvalidArgument
        If the rows are no range.
    """
    chunks = stored_chunks(contents.container, selection.tier)
    if selection.patterns is None and selection.rows is None:
        return chunks
    chosen = set(_places(contents, selection))
    return [chunk for chunk in chunks if not chosen.isdisjoint(chunk.uses)]


def _places(contents: Contents, selection: Selection) -> Iterator[tuple[int, int]]:
    # Heads are small, and name the tensors in their order.
    heads = [f for f in contents.catalog.files.values() if f.record.layout == "safetensors"]
    for head in heads:
        if head.record.tier <= selection.tier:
            yield from _layers(head, range(head.blocks), selection.tier)
    for stored in _matching(contents, selection):
        start, stop, _ = row_range(stored, selection.rows if _has_rows(stored) else None)
        yield from _layers(stored, stored.geometry.blocks_for(start, stop), selection.tier)


def _has_rows(stored: StoredTensor) -> bool:
    return bool(stored.record.shape)


def _layers(
    stored: StoredTensor | StoredFile, blocks: Sequence[int], tier: int
) -> Iterator[tuple[int, int]]:
    for layer in stored_tiers(stored, tier):
        for block in blocks:
            place = stored.place(layer, block)
            if place is not None and place is not SHARED:
                yield place.page, place.chunk


def _matching(contents: Contents, selection: Selection) -> list[StoredTensor]:
    tensors = contents.catalog.tensors
    patterns = ("*",) if selection.patterns is None else selection.patterns
    if not patterns:
        raise InvalidArgument("tensors: no pattern", hint="leave it out for all tensors")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in tensors):
            raise TensorNotFound(
                f"no tensor in {contents.path!r} matches {pattern!r}",
                hint="p2u inspect --tensors lists them",
            )
    found = [s for name, s in tensors.items() if any(fnmatchcase(name, p) for p in patterns)]
    here = [stored for stored in found if stored.record.layer_tier(0) <= selection.tier]
    if not here:
        raise TierNotFound(
            f"none of these tensors is part of tier {contents.tiers[selection.tier]}",
            hint=f"fetch a higher tier, up to {contents.tiers[-1]}",
        )
    return here
