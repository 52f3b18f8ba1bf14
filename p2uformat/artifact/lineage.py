"""An artifact's parent: where shared layers lie, what differences are from (SPEC.md, 8.6)."""

from __future__ import annotations

from functools import cached_property

from p2uformat.artifact.catalog import Catalog, StoredFile, StoredTensor
from p2uformat.errors import Malformed
from p2uformat.manifest import BitplaneParameters, TensorRecord

__all__ = ["Lineage", "alike", "alike_records"]

Stored = StoredTensor | StoredFile
Layer = tuple[Stored, int, int]


class Lineage:
    """Finds the layers of an artifact in its parent.

    Parameters
    ----------
    catalog : Catalog
        The parent's tensors and files.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def namesake(self, stored: Stored) -> Stored | None:
        """Return the parent's tensor or file of the same name."""
        if isinstance(stored, StoredTensor):
            return self._catalog.tensors.get(stored.record.name)
        return self._catalog.files.get(stored.record.path)

    def shared(self, stored: Stored, layer: int, block: int) -> Layer:
        """Return the parent's layer of the same tier and digest.

        Raises
        ------
        Malformed
            If it has none.
        """
        digest = stored.digest(layer, block)
        tier = stored.record.layer_tier(layer)
        same = self.namesake(stored)
        if same is not None and _has(same, layer, block, tier, digest):
            return same, layer, block
        found = self._index.get((tier, digest))
        if found is None:
            raise Malformed("a layer is shared that the parent does not have")
        return found

    def find(self, tier: int, digest: bytes) -> Layer | None:
        """Return a layer of this tier and digest; None if there is none."""
        return self._index.get((tier, digest))

    def known(self, tier: int, digest: bytes) -> bool:
        """Return whether the parent has a layer."""
        return (tier, digest) in self._index

    @cached_property
    def _index(self) -> dict[tuple[int, bytes], Layer]:
        index: dict[tuple[int, bytes], Layer] = {}
        for stored in self._catalog.everything():
            for layer in range(stored.record.layers):
                tier = stored.record.layer_tier(layer)
                for block, place in enumerate(stored.places(layer)):
                    if place is not None:
                        index.setdefault(
                            (tier, stored.digest(layer, block)), (stored, layer, block)
                        )
        return index

    def same_block(self, stored: Stored, block: int) -> Stored:
        """Return the parent's tensor or file whose block of this number a difference is from.

        Raises
        ------
        Malformed
            If there is none, or it is cut or quantized in another way.
        """
        same = self.namesake(stored)
        if same is None:
            raise Malformed("a difference from something that the parent does not have")
        if not alike(same, stored) or block >= same.blocks or not _same_size(same, stored, block):
            raise Malformed("a difference from a block of another kind in the parent")
        return same


def alike(one: Stored, other: Stored) -> bool:
    """Return whether blocks of two tensors, or of two files, may be differences of each other.

    Their numbers of elements and step exponents have to be equal too.
    """
    if isinstance(one, StoredFile) or isinstance(other, StoredFile):
        if isinstance(one, StoredFile) and isinstance(other, StoredFile):
            return one.record.layout == other.record.layout
        return False
    return alike_records(one.record, other.record)


def alike_records(a: TensorRecord, b: TensorRecord) -> bool:
    """Return whether two tensors are quantized and cut into segments in the same way."""
    if (a.quantizer, a.dtype) != (b.quantizer, b.dtype):
        return False
    if not isinstance(a.parameters, BitplaneParameters):
        return True
    assert isinstance(b.parameters, BitplaneParameters)
    return (a.parameters.segment, a.parameters.planes) == (
        b.parameters.segment,
        b.parameters.planes,
    )


def _same_size(one: Stored, other: Stored, block: int) -> bool:
    (a, b), (c, d) = one.geometry.block_range(block), other.geometry.block_range(block)
    return b - a == d - c


def _has(stored: Stored, layer: int, block: int, tier: int, digest: bytes) -> bool:
    record = stored.record
    if layer >= record.layers or block >= stored.blocks or record.layer_tier(layer) != tier:
        return False
    return stored.place(layer, block) is not None and stored.digest(layer, block) == digest
