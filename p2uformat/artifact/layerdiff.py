"""Which layers and chunks of an artifact a holder of another one has already."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from p2uformat.artifact.catalog import StoredFile, StoredTensor
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.difftypes import TierDiff

__all__ = ["LayerDiff"]

Stored = StoredTensor | StoredFile
_Key = tuple[int, bytes, int, str]
"""Kind and name of what a layer belongs to, its block, the name of its tier."""


@dataclass(frozen=True, slots=True)
class _Layer:
    key: _Key
    tier: int
    digest: bytes
    chunk: bytes
    length: int
    elements: int


def _layers(contents: Contents, stored: Stored) -> Iterator[_Layer]:
    """Yield all layers of a tensor or file; no page is damaged."""
    container = contents.container
    kind, name, _ = stored.record.key
    for number in range(stored.record.layers):
        tier = stored.record.layer_tier(number)
        for block in range(stored.blocks):
            own = contents.reader.owner(stored, number, block)
            entry = own.reader.entry(*own.layer)
            start, stop = stored.geometry.block_range(block)
            yield _Layer(
                (kind, name, block, container.tiers[tier]),
                tier,
                stored.digest(number, block),
                entry.id,
                entry.length,
                stop - start,
            )


class LayerDiff:
    """Layers and chunks of some tensors and files of `b`, beside all of `a`.

    Parameters
    ----------
    a, b : Contents
        The older and the newer artifact.
    chosen : sequence of StoredTensor or StoredFile
        What of `b` is looked at.
    """

    def __init__(self, a: Contents, b: Contents, chosen: Sequence[Stored]) -> None:
        theirs = [layer for stored in a.catalog.everything() for layer in _layers(a, stored)]
        self._digests = frozenset(layer.digest for layer in theirs)
        self._keys = frozenset(layer.key for layer in theirs)
        self._held = _held(a)
        self._names = b.tiers
        self._layers = [layer for stored in chosen for layer in _layers(b, stored)]

    def tiers(self) -> tuple[TierDiff, ...]:
        """Return what each tier shares."""
        counts: list[Counter[str]] = [Counter() for _ in self._names]
        # A file stores a chunk once in each tier that uses it.
        chunks = {(layer.tier, layer.chunk): layer.length for layer in self._layers}
        for layer in self._layers:
            counts[layer.tier][self._status(layer)] += 1
        for (tier, chunk), length in chunks.items():
            counts[tier]["held_bytes" if chunk in self._held else "new_bytes"] += length
        return tuple(
            TierDiff(
                name,
                count["shared"],
                count["changed"],
                count["added"],
                count["held_bytes"] + count["new_bytes"],
                count["held_bytes"],
                count["new_bytes"],
            )
            for name, count in zip(self._names, counts, strict=True)
        )

    def _status(self, layer: _Layer) -> str:
        if layer.digest in self._digests:
            return "shared"
        return "changed" if layer.key in self._keys else "added"

    def new_bytes(self) -> dict[str, tuple[int, ...]]:
        """Return for each tensor its new stored bytes per tier, by its elements in each chunk."""
        users: dict[tuple[int, bytes], list[_Layer]] = defaultdict(list)
        for layer in self._layers:
            if layer.chunk not in self._held:
                users[layer.tier, layer.chunk].append(layer)
        found: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(self._names))
        for layers in users.values():
            total = sum(layer.elements for layer in layers)
            for layer in layers:
                kind, name, *_ = layer.key
                if kind == 0 and total:
                    found[name.decode()][layer.tier] += layer.length * layer.elements / total
        return {name: tuple(map(round, shares)) for name, shares in found.items()}


def _held(contents: Contents) -> frozenset[bytes]:
    """Return the ids of the chunks that are here, or in the artifacts that it needs."""
    container = contents.container
    own = frozenset(
        entry.id
        for page in container.pages
        if page.encoding is not None
        for index, entry in enumerate(page.encoding.chunks)
        if container.held(page.number, index)
    )
    return own if contents.parent is None else own | _held(contents.parent)
