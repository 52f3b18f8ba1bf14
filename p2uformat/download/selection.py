"""Which chunks of an artifact, and of those that it needs, are wanted: by tier, tensors, rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from p2uformat.artifact.catalog import StoredFile, StoredTensor
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.needs import containers, needs
from p2uformat.artifact.open import Artifact
from p2uformat.artifact.read import stored_tiers
from p2uformat.artifact.rows import Rows, row_range
from p2uformat.container import StoredChunk, stored_chunks
from p2uformat.errors import InvalidArgument, TensorNotFound, TierNotFound

__all__ = ["Selection", "Tensors", "wanted_chunks"]

Patterns = str | Sequence[str] | Mapping[str, str] | None
Tensors = Patterns | Callable[[Artifact], Patterns]
"""Patterns of names, with a tier for each in a mapping, or what chooses them."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What of an artifact is wanted.

    Parameters
    ----------
    tier : int
        Number of the highest tier.
    patterns : mapping of str to int, or None
        Patterns of tensors' names, as in a shell, and the tier of each; None for everything, files
        too.
    rows : slice, tuple of int, or None
        Range of the first axis of each of the tensors.
    """

    tier: int
    patterns: Mapping[str, int] | None = None
    rows: Rows | None = None

    @classmethod
    def of(
        cls,
        contents: Contents,
        tier: str | None,
        tensors: Tensors,
        rows: Rows | None,
    ) -> Selection:
        """Return what a caller asked for.

        Raises
        ------
        TierNotFound
            If there is no such tier.
        InvalidArgument
            If there is no pattern, or a tier beside those of the patterns.
        """
        if callable(tensors):
            tensors = tensors(Artifact(contents, 1))
        number = contents.reader.exact if tier is None else contents.tier_number(tier)
        if tensors is None:
            return cls(number, None, rows)
        if not tensors:
            raise InvalidArgument("tensors: no pattern", hint="leave it out for all tensors")
        if not isinstance(tensors, Mapping):
            patterns = (tensors,) if isinstance(tensors, str) else tensors
            return cls(number, dict.fromkeys(patterns, number), rows)
        if tier is not None:
            raise InvalidArgument(
                "a tier, and tiers for patterns of names", hint="give one of the two"
            )
        each = {pattern: contents.tier_number(name) for pattern, name in tensors.items()}
        return cls(max(each.values()), each, rows)

    @property
    def partial(self) -> bool:
        """Whether it is not all of a tier."""
        return self.patterns is not None or self.rows is not None


def wanted_chunks(contents: Contents, selection: Selection) -> list[list[StoredChunk]]:
    """Return what is wanted of an artifact, then of its parent, that one's, and so on.

    Parameters
    ----------
    contents : Contents
        The artifact, with its parents as far as they are at hand.
    selection : Selection
        What of it is wanted.

    Returns
    -------
    list of list of StoredChunk
        In file order.

    Raises
    ------
    TensorNotFound, TierNotFound
        If a pattern matches nothing, or only what travels in higher tiers.
    InvalidArgument
        If the rows are no range.
    """
    chain = list(containers(contents.reader))
    every = [stored_chunks(container, selection.tier) for container in chain]
    if not selection.partial:
        return every
    places = _places(contents, selection)
    return [
        [chunk for chunk in chunks if not places.get(id(container), set()).isdisjoint(chunk.uses)]
        for container, chunks in zip(chain, every, strict=True)
    ]


def _places(contents: Contents, selection: Selection) -> dict[int, set[tuple[int, int]]]:
    """Return pages and chunks, by the container that they are in."""
    places: dict[int, set[tuple[int, int]]] = {}
    seen: set[tuple[int, int, int]] = set()
    for stored, blocks, tier in _chosen(contents, selection):
        layers = stored_tiers(stored, tier)
        for block in blocks:
            for need in needs(contents.reader, stored, block, layers, seen):
                if need is not None:
                    container, place = need
                    places.setdefault(id(container), set()).add((place.page, place.chunk))
    return places


def _chosen(
    contents: Contents, selection: Selection
) -> Iterator[tuple[StoredTensor | StoredFile, Sequence[int], int]]:
    # Heads are small, and name the tensors in their order.
    heads = [f for f in contents.catalog.files.values() if f.record.layout == "safetensors"]
    for head in heads:
        if head.record.tier <= selection.tier:
            yield head, range(head.blocks), selection.tier
    for stored, tier in _matching(contents, selection):
        start, stop, _ = row_range(stored, selection.rows if _has_rows(stored) else None)
        yield stored, stored.geometry.blocks_for(start, stop), tier


def _has_rows(stored: StoredTensor) -> bool:
    return bool(stored.record.shape)


def _matching(contents: Contents, selection: Selection) -> list[tuple[StoredTensor, int]]:
    """Return tensors with their tiers: of several patterns that match, the finest."""
    tensors = contents.catalog.tensors
    patterns = {"*": selection.tier} if selection.patterns is None else selection.patterns
    found: dict[str, int] = {}
    for pattern, tier in patterns.items():
        names = [pattern] if pattern in tensors else _names(tensors, pattern)
        if not names:
            raise TensorNotFound(
                f"no tensor in {contents.path!r} matches {pattern!r}",
                hint="p2u inspect --tensors lists them",
            )
        for name in names:
            found[name] = max(tier, found.get(name, 0))
    here = [
        (tensors[name], tier)
        for name, tier in found.items()
        if tensors[name].record.layer_tier(0) <= tier
    ]
    if not here:
        raise TierNotFound(
            f"none of these tensors is part of tier {contents.tiers[selection.tier]}",
            hint=f"fetch a higher tier, up to {contents.tiers[-1]}",
        )
    return here


def _names(tensors: Mapping[str, StoredTensor], pattern: str) -> list[str]:
    return [name for name in tensors if fnmatchcase(name, pattern)]
